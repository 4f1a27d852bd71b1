"""What a result file holds: a JSON schema as plain data, and a validator for the part of JSON Schema that it uses."""

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from nnaccel.errors import InputError, check
from nnaccel.files import first_sentence, opened

FORMAT, VERSION = "nnaccel-bench", 1

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WORDS: Schema = {"type": "string", "minLength": 1}
BOOLEAN: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
POSITIVE: Schema = {"type": "integer", "minimum": 1}
SECONDS: Schema = {"type": "number", "minimum": 0}


def list_of(items: Schema, **more: Any) -> Schema:
    """A list whose items all follow one schema."""
    return {"type": "array", "items": items, **more}


def record(**properties: Schema) -> Schema:
    """An object with exactly these keys."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def or_null(schema: Schema) -> Schema:
    """The same, or null where it is unknown."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return schema | {"type": [*kinds, "null"]}


def by_name(values: Schema) -> Schema:
    """An object with any keys, whose values all follow one schema."""
    return {"type": "object", "additionalProperties": values}


def one_of(*values: object) -> Schema:
    """One of some constants."""
    return {"enum": list(values)}


_GPU = record(name=TEXT, memory_bytes=or_null(COUNT), driver=TEXT)

_MACHINE = record(
    system=TEXT, architecture=TEXT, processor=or_null(TEXT), logical_cores=POSITIVE, physical_cores=or_null(COUNT),
    affinity_cores=POSITIVE, usable_cores=POSITIVE, quota_cores=or_null(SECONDS), instruction_sets=list_of(WORDS),
    caches=record(l1d=or_null(COUNT), l2=or_null(COUNT), l3=or_null(COUNT)), memory_bytes=or_null(COUNT),
    available_memory_bytes=or_null(COUNT), gpus=list_of(_GPU),
)  # fmt: skip

_CASE = record(
    name=WORDS, optimizer=WORDS, rows=POSITIVE, features=POSITIVE, hidden=list_of(POSITIVE), outputs=POSITIVE,
    activation=WORDS, output_activation=WORDS, bias=BOOLEAN, loss=WORDS, batch=POSITIVE,
    dtype=one_of("float32", "float64"),
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
    seconds_per_epoch=or_null(SECONDS),
    samples=list_of(SECONDS),
)

_RESULT = record(
    case=_CASE,
    steps_per_epoch=POSITIVE,
    epochs_per_sample=POSITIVE,
    operations_per_epoch=POSITIVE,
    peak=record(library=WORDS, size=POSITIVE, operations_per_second=SECONDS),
    floor_seconds_per_epoch=SECONDS,
    contenders=list_of(_CONTENDER),
)

SCHEMA: Schema = record(
    format=one_of(FORMAT),
    version=one_of(VERSION),
    finished=BOOLEAN,
    seconds=SECONDS,
    settings=record(
        backends=list_of(WORDS), cases=list_of(WORDS), optimizers=list_of(WORDS), peers=BOOLEAN,
        threads=or_null(POSITIVE), rounds=POSITIVE, quick=BOOLEAN,
    ),
    date=WORDS,
    load_before=or_null(list_of(SECONDS)),
    machine=_MACHINE,
    system=record(name=TEXT, release=TEXT, libc=TEXT),
    python=record(version=WORDS, implementation=WORDS, compiler=TEXT),
    versions=by_name(WORDS),
    environment=by_name(TEXT),
    commit=or_null(record(hash=WORDS, dirty=BOOLEAN)),
    blas=list_of(record(name=WORDS, version=or_null(TEXT), architecture=or_null(TEXT), threads=POSITIVE)),
    skipped=list_of(record(name=WORDS, reason=WORDS)),
    notes=by_name(WORDS),
    results=list_of(_RESULT),
)  # fmt: skip
"""A result file. Times are in seconds; `samples` are of `epochs_per_sample` epochs each. A new key is a new version."""


def read_result(path: Path) -> dict[str, Any]:
    """A result that `nnaccel bench --out` wrote.

    Raises
    ------
    InputError
        If there is no such file, or it is no such result, damaged, or of another version.
    """
    with opened(path) as file:
        text = file.read()
    try:
        found: dict[str, Any] = json.loads(text)
    except ValueError as error:
        raise InputError(f"{path} is no JSON file, or a damaged one: {first_sentence(error)}.") from None
    check(
        isinstance(found, dict) and found.get("format") == FORMAT,
        f"{path} is no result of a benchmark: give one that nnaccel bench --out wrote.",
    )
    version = found.get("version")
    check(version == VERSION, f"{path} has version {version} of its format, where {VERSION} is read: measure again.")
    fault = first_fault(found, SCHEMA)
    check(fault is None, f"{path} is damaged: {fault}.")
    return found


def first_fault(value: object, schema: Schema) -> str | None:
    """What is the first thing wrong with a value; None if it follows the schema.

    Examples
    --------
    >>> first_fault({"samples": [1.5, None]}, record(samples=list_of(SECONDS)))
    'samples[1] must be number, not null'
    >>> first_fault({"samples": []}, record(samples=list_of(SECONDS))) is None
    True
    """
    return next(_faults(value, schema, ""), None)


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "null": (type(None),), "integer": (int,),
    "number": (int, float),
}  # fmt: skip


def _faults(value: object, schema: Schema, place: str) -> Iterator[str]:
    """Everything that is wrong with a value at a place such as "results[0].case"."""
    here = place or "it"
    if "enum" in schema and not any(value == each and type(value) is type(each) for each in schema["enum"]):
        yield f"{here} must be {' or '.join(map(json.dumps, schema['enum']))}, not {_short(value)}"
    if "type" in schema and not _is(value, schema["type"]):
        yield f"{here} must be {' or '.join(_names(schema['type']))}, not {_short(value)}"
    elif isinstance(value, dict):
        yield from _object_faults(value, schema, place)
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"{here} must have {schema['minItems']} items or more, not {len(value)}"
        for i, item in enumerate(value):
            yield from _faults(item, schema["items"], f"{place}[{i}]")
    elif isinstance(value, str) and len(value) < schema.get("minLength", 0):
        yield f"{here} is empty"
    elif isinstance(value, (int, float)) and not value >= schema.get("minimum", -math.inf):
        yield f"{here} must be {schema['minimum']} or more, not {_short(value)}"


def _object_faults(value: dict[str, object], schema: Schema, place: str) -> Iterator[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    for key in schema.get("required", ()):
        if key not in value:
            yield f"{place or 'it'} lacks {key!r}"
    for key, item in value.items():
        inside = f"{place}.{key}" if place else key
        if key not in known and others is False:
            yield f"{inside} isn't known"
        else:
            yield from _faults(item, known.get(key, others), inside)


def _names(kinds: str | list[str]) -> list[str]:
    return kinds if isinstance(kinds, list) else [kinds]


def _is(value: object, kinds: str | list[str]) -> bool:
    # To Python, but not to JSON, a truth value is a number.
    return any(
        isinstance(value, _TYPES[kind]) and isinstance(value, bool) == (kind == "boolean") for kind in _names(kinds)
    )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
