"""What result files hold, each kind by a JSON schema as plain data."""

from nnaccel.bench.scaling import FORMAT as SCALING_FORMAT
from nnaccel.bench.scaling import VERSION as SCALING_VERSION
from nnaccel.bench.validation import (
    BOOLEAN,
    COUNT,
    LASTING,
    NUMBER,
    POSITIVE,
    SECONDS,
    TEXT,
    WORDS,
    Schema,
    by_name,
    list_of,
    one_of,
    or_null,
    partial,
    record,
)

FORMAT, VERSION = "nnaccel-bench", 2

MOST_SAMPLES, MOST_POINTS = 200, 5000
"""Of one contender on one case, whose pairs with another's are looked at; and in a plot."""

SAMPLES = list_of(LASTING, maxItems=MOST_SAMPLES)

_DTYPE = one_of("float32", "float64")

_GPU = record(name=TEXT, memory_bytes=or_null(COUNT), driver=TEXT)

_MACHINE = record(
    system=TEXT, architecture=TEXT, processor=or_null(TEXT), logical_cores=POSITIVE, physical_cores=or_null(COUNT),
    affinity_cores=POSITIVE, usable_cores=POSITIVE, quota_cores=or_null(SECONDS), instruction_sets=list_of(WORDS),
    caches=record(l1d=or_null(COUNT), l2=or_null(COUNT), l3=or_null(COUNT)), memory_bytes=or_null(COUNT),
    available_memory_bytes=or_null(COUNT), gpus=list_of(_GPU),
)  # fmt: skip

_CONDITIONS = {
    "date": WORDS,
    "load_before": or_null(list_of(SECONDS)),
    "machine": _MACHINE,
    "system": record(name=TEXT, release=TEXT, libc=TEXT),
    "python": record(version=WORDS, implementation=WORDS, compiler=TEXT),
    "versions": by_name(WORDS),
    "environment": by_name(TEXT),
    "commit": or_null(record(hash=WORDS, dirty=BOOLEAN)),
    "blas": list_of(record(name=WORDS, version=or_null(TEXT), architecture=or_null(TEXT), threads=POSITIVE)),
}

_LEFT_OUT = record(name=WORDS, reason=WORDS)

_CASE = record(
    name=WORDS, optimizer=WORDS, rows=POSITIVE, features=POSITIVE, hidden=list_of(POSITIVE), outputs=POSITIVE,
    activation=WORDS, output_activation=WORDS, bias=BOOLEAN, loss=WORDS, batch=POSITIVE,
    dtype=_DTYPE,
)  # fmt: skip

_CONTENDER = record(
    name=WORDS,
    kind=one_of("backend", "peer"),
    status=one_of("timed", "disagrees", "failed", "left out"),
    kernel=TEXT,
    reason=TEXT,
    difference=or_null(record(largest=or_null(SECONDS), relative=or_null(SECONDS), allowed=SECONDS)),
    start_seconds=SECONDS,
    first_seconds=list_of(SECONDS, minItems=2),
    compile_seconds=or_null(SECONDS),
    seconds_per_epoch=or_null(LASTING),
    samples=SAMPLES,
)

_RESULT = record(
    case=_CASE,
    steps_per_epoch=POSITIVE,
    epochs_per_sample=POSITIVE,
    operations_per_epoch=POSITIVE,
    peak=record(library=WORDS, size=POSITIVE, operations_per_second=SECONDS),
    floor_seconds_per_epoch=SECONDS,
    contenders=list_of(_CONTENDER, maxItems=MOST_SAMPLES),
)

_GOAL = record(
    data=WORDS, task=one_of("classification", "regression"), rows=POSITIVE, held_out=POSITIVE, features=POSITIVE,
    hidden=list_of(POSITIVE), outputs=POSITIVE, loss=WORDS, optimizer=WORDS, batch=POSITIVE, dtype=_DTYPE, seed=COUNT,
    metric=WORDS, score=NUMBER, most_epochs=POSITIVE,
    contenders=list_of(
        record(
            name=WORDS, kernel=TEXT, reached=BOOLEAN, epochs=COUNT, score=or_null(NUMBER), reason=TEXT,
            compile_seconds=SECONDS, samples=SAMPLES,
        )
    ),
)  # fmt: skip

SCHEMA: Schema = record(
    format=one_of(FORMAT),
    version=one_of(VERSION),
    finished=BOOLEAN,
    seconds=SECONDS,
    settings=record(
        backends=list_of(WORDS), cases=list_of(WORDS), optimizers=list_of(WORDS), peers=BOOLEAN,
        threads=or_null(POSITIVE), rounds=POSITIVE, quick=BOOLEAN,
    ),
    **_CONDITIONS,
    unavailable=list_of(_LEFT_OUT),
    skipped=list_of(_LEFT_OUT),
    notes=by_name(WORDS),
    results=list_of(_RESULT, maxItems=MOST_SAMPLES),
    goal=or_null(_GOAL),
)  # fmt: skip
"""What `nnaccel bench` writes. Times are in seconds; `samples` of a case are of `epochs_per_sample` epochs each, those of the
goal of a whole training. A new key is a new version."""

SCALING: Schema = record(
    format=one_of(SCALING_FORMAT),
    version=one_of(SCALING_VERSION),
    backend=WORDS,
    **_CONDITIONS,
    points=list_of(
        record(
            sweep=WORDS, value=POSITIVE, hidden=list_of(POSITIVE), rows=POSITIVE, batch=POSITIVE, threads=or_null(POSITIVE),
            parameters=POSITIVE, epochs_per_sample=POSITIVE, seconds_per_row=LASTING, samples=SAMPLES,
        ),
        maxItems=MOST_POINTS,
    ),
)  # fmt: skip
"""What `nnaccel bench --scaling` writes."""

ESTIMATES: Schema = partial(
    configurations=list_of(
        partial(
            backend=WORDS,
            dtype=WORDS,
            rows=POSITIVE,
            predicted_s=LASTING,
            low_s=LASTING,
            high_s=LASTING,
            actual_s=LASTING,
        ),
        maxItems=MOST_POINTS,
    )
)
"""What `nnaccel bench --estimates` writes: the part of it that is read here."""
