"""`nnaccel train`: from a table to a trained network, its score on rows that it hasn't seen, and a model file."""

import math
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnaccel.activations import ACTIVATIONS
from nnaccel.cli import options
from nnaccel.cli.further import check_continues, held_out_before, trained_on
from nnaccel.cli.screen import ProgressLine, duration
from nnaccel.errors import InputError, check
from nnaccel.losses import LOSSES
from nnaccel.optimizers import OPTIMIZERS, AdamW, Optimizer, as_optimizer
from nnaccel.schedules import SCHEDULES

if TYPE_CHECKING:
    from nnaccel.assessment import Assessment
    from nnaccel.encoding import Encoding
    from nnaccel.losses import Loss
    from nnaccel.metrics import Metric
    from nnaccel.model import Model
    from nnaccel.network import Network
    from nnaccel.preparation import Prepared
    from nnaccel.progress import Status
    from nnaccel.sources import FileOptions, Source


def train(
    data: Annotated[
        str,
        typer.Argument(
            metavar="DATA",
            help="A CSV, TSV, Parquet, NPY, NPZ (arrays X and y) or IDX file, compressed or not; or digits, iris, wine, "
            "breast_cancer, diabetes.",
        ),
    ],
    target: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="What to predict: a column's name, or its position from 0, or from the end as -1; for arrays, a file.",
        ),
    ] = None,
    drop: Annotated[str, typer.Option(metavar="COL,...", help="Columns not to use.")] = "",
    categorical: Annotated[str, typer.Option(metavar="COL,...", help="Numbers to take as categories.")] = "",
    weight: Annotated[str | None, typer.Option(metavar="COLUMN", help="How much each row counts.")] = None,
    class_weight: Annotated[
        str | None, typer.Option(metavar="balanced", help="Let each class count the same, however rare.")
    ] = None,
    task: Annotated[str, typer.Option(help="auto, classification or regression.")] = "auto",
    validation: Annotated[str, typer.Option(help="Part of the rows to hold out, 0 for none; or a file.")] = "0.2",
    group: Annotated[str | None, typer.Option(metavar="COLUMN", help="Hold out whole groups; no feature.")] = None,
    time_column: Annotated[
        str | None, typer.Option("--time", metavar="COLUMN", help="Hold out the latest rows; no feature.")
    ] = None,
    rows: options.RowRange = ":",
    header: options.Header = None,
    delimiter: options.Delimiter = None,
    encoding: options.TextEncoding = "utf-8",
    hidden: Annotated[
        str | None, typer.Option(help="Widths of the hidden layers: 64,64; '' for none. [default: 100]")
    ] = None,
    activation: Annotated[
        str | None, typer.Option(help=f"After each hidden layer: {', '.join(ACTIVATIONS)}. [default: relu]")
    ] = None,
    dropout: Annotated[
        float | None, typer.Option(help="Part of each hidden layer's outputs to drop. [default: 0]")
    ] = None,
    init: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="A model file to go on from: its network, parameters, encoding."),
    ] = None,
    loss: Annotated[str | None, typer.Option(help=f"By default what suits the target: {', '.join(LOSSES)}.")] = None,
    epochs: Annotated[int, typer.Option(help="How often each row is used.")] = 100,
    batch_size: Annotated[str, typer.Option(help="Rows a step, or 'full'.")] = "64",
    optimizer: Annotated[
        str, typer.Option(help=f"{', '.join(OPTIMIZERS)}; with settings: sgd,momentum=0.9,nesterov=true.")
    ] = "adam",
    learning_rate: Annotated[float | None, typer.Option(help="By default the optimizer's own.")] = None,
    schedule: Annotated[
        str, typer.Option(help=f"{', '.join(SCHEDULES)}; with settings: cosine,warmup=3 (epochs).")
    ] = "constant",
    weight_decay: Annotated[
        float | None, typer.Option(help="Decoupled with adamw; else an L2 penalty on the weights.")
    ] = None,
    clip_norm: Annotated[float | None, typer.Option(help="The largest norm of a gradient.")] = None,
    early_stopping: Annotated[
        int | None,
        typer.Option(metavar="PATIENCE", help="Stop after so many epochs without improvement; keep the best."),
    ] = None,
    metric: options.Metrics = None,
    time_limit: Annotated[str | None, typer.Option(help="Such as 90s, 10m or 1h30m.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    dtype: Annotated[str | None, typer.Option(help="float32 or float64. [default: float32, or that of --init]")] = None,
    threads: Annotated[int | None, typer.Option(help="The most threads to use.")] = None,
    backend: Annotated[str, typer.Option(help="auto, cpu, numba or cuda; see nnaccel info.")] = "auto",
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to save the model: FILE.safetensors.")] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw loss and metrics: FILE.png, .svg, .pdf.")
    ] = None,
    log: Annotated[Path | None, typer.Option(metavar="FILE", help="Each epoch's numbers: FILE.csv or .jsonl.")] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Train a network on a table and score it on rows held out; save it for nnaccel predict."""
    from nnaccel.cli.outputs import Outputs
    from nnaccel.cli.summary import assess_training, describe, result_of, summary
    from nnaccel.described import to_json
    from nnaccel.losses import as_loss
    from nnaccel.model import load
    from nnaccel.preparation import Question, Roles, prepare, prepare_further
    from nnaccel.recipe import EarlyStopping
    from nnaccel.sources import FileOptions
    from nnaccel.targets import USUAL_LOSS

    say = options.speaker(quiet, as_json)
    # What can be known to be wrong is said before the work, not after it.
    outputs = Outputs(out, plot, log)
    outputs.check(data, validation, target)
    before = None if init is None else load(init)
    dtype = dtype or ("float32" if before is None else str(before.parameters.dtype))
    rule, l2 = _optimizer(optimizer, learning_rate, weight_decay)
    settings: dict[str, Any] = {
        "optimizer": rule, "l2": l2, "schedule": schedule, "epochs": epochs, "clip_norm": clip_norm, "seed": seed,
        "batch_size": options.batch_size(batch_size), "dtype": dtype, "backend": backend, "threads": threads,
        "time_limit": options.seconds(time_limit) if time_limit else math.inf,
    }  # fmt: skip
    _check_settings(settings, early_stopping)
    if before is not None:
        check_continues(before, init, hidden, activation, task, drop, categorical)
    wanted_loss = as_loss(loss) if loss is not None else None if before is None else before.loss

    began = time.perf_counter()
    known = None if before is None else before.encoding
    held_out = options.fraction_or_file(validation)
    source, validation_source = _open(data, target, held_out, FileOptions(header, delimiter, encoding), known)
    roles = Roles(
        None if _is_file_of_targets(target, source) else target, drop, weight, group, time_column, categorical
    )
    fraction = held_out if isinstance(held_out, float) else 0.0
    question = Question(roles, task, wanted_loss, class_weight, fraction, options.row_range(rows), seed, dtype)
    if known is None:
        prepared = prepare(source, question, validation_source)
    else:
        prepared = prepare_further(source, question, known, validation_source)
    seconds_read = time.perf_counter() - began

    settings["loss"] = wanted_loss or as_loss(USUAL_LOSS[prepared.task])
    metrics = _metrics(metric, settings["loss"])
    network = _network(prepared, before, hidden, activation, dropout)
    for line in describe(source, prepared, network):
        say(line)
    if early_stopping is not None:
        settings["early_stopping"] = EarlyStopping(early_stopping, metrics[0].name if metric else "loss")
    if before is not None:
        settings["initial"] = before.parameters

    model = _fit(network, prepared, metrics, settings, ProgressLine(say.stream, silent=quiet), out)
    scores = assess_training(model, prepared, metrics)
    record = {
        "source": source.name,
        "sources": "; ".join(dict.fromkeys([*trained_on(before), source.name])),
        "rows read": f"{prepared.rows_read}",
        "rows": None if rows == ":" else rows,
        "validation": validation,
        "held out": prepared.held_out_by,
        "weight": None if weight is None else source.columns[source.position(weight)],
        "class weight": class_weight,
        "dropped": drop,
        "from": None if init is None else init.name,
    }
    model = _recorded(model, prepared, scores, record)
    assert model.report is not None, "train() leaves a report"
    # First what is to last: whoever reads the lines below may have gone.
    written = list(outputs.write(model, source.name))
    if before is not None and not held_out_before(before, record):
        say(f"note       rows held out now may be among those that {init} was trained on, which flatters its score")
    for line in summary(model.report, prepared, seconds_read, scores):
        say(line)
    for path in written:
        say(f"written    {path}")
    if as_json:
        result = result_of(model.report, prepared, network.parameter_count, scores)
        print(to_json(result | {"seconds_read": seconds_read, "out": None if out is None else str(out)}))


def _check_settings(settings: Mapping[str, Any], patience: int | None) -> None:
    """Refuse what doesn't depend on the data before they are read."""
    from nnaccel.backends import choose_backend
    from nnaccel.optimizers import L2
    from nnaccel.plan import DTYPES
    from nnaccel.recipe import EarlyStopping, Recipe
    from nnaccel.schedules import as_schedule

    batch_size = 1 if settings["batch_size"] is None else settings["batch_size"]
    Recipe(settings["epochs"], batch_size, as_schedule(settings["schedule"]), time_limit=settings["time_limit"])
    L2(settings["l2"])
    check(settings["dtype"] in DTYPES, f"unknown dtype {settings['dtype']!r}; known: {', '.join(DTYPES)}.")
    if patience is not None:
        EarlyStopping(patience)
    choose_backend(settings["backend"])


def _open(
    data: str, target: str | None, held_out: float | str, files: "FileOptions", known: "Encoding | None"
) -> "tuple[Source, Source | None]":
    """The source to train on and, if it is one, that to validate on."""
    from nnaccel.files import is_same
    from nnaccel.sources.opening import open_source

    expected = None if known is None else known.columns if known.named else ()
    source = open_source(data, files, expected)
    if _is_file_of_targets(target, source):
        source = open_source(data, replace(files, target=target), expected)
    if not isinstance(held_out, str):
        return source, None
    check(
        not is_same(held_out, data),
        f"{held_out} is trained on, so it proves nothing: give --validation another file, or a part such as 0.2.",
    )
    return source, open_source(held_out, files, source.columns if source.named else ())


def _is_file_of_targets(target: str | None, source: "Source") -> bool:
    """Whether the target is no column, but a file."""
    return target is not None and target not in source.columns and Path(target).is_file()


def _metrics(names: str | None, loss: "Loss") -> "tuple[Metric, ...]":
    from nnaccel.metrics import as_metric, check_metrics, default_metrics

    metrics = tuple(as_metric(name) for name in options.names(names)) or default_metrics(loss)
    check_metrics(loss, metrics)
    return metrics


def _network(
    prepared: "Prepared", before: "Model | None", hidden: str | None, activation: str | None, dropout: float | None
) -> "Network":
    """The network asked for; or the one before, with another dropout if there is a wish for one."""
    from nnaccel.network import Dense, Network

    if before is None:
        layers = [
            Dense(width, activation or "relu", dropout=dropout or 0.0)
            for width in options.widths("100" if hidden is None else hidden)
        ]
        return Network(prepared.encoding.width, [*layers, Dense(prepared.encoding.target.outputs)])
    if dropout is None:
        return before.network
    described = before.network.describe()
    for layer in described["layers"][:-1]:
        layer["dropout"] = dropout
    return Network.restore(described)


def _fit(
    network: "Network",
    prepared: "Prepared",
    metrics: "tuple[Metric, ...]",
    settings: dict[str, Any],
    progress: ProgressLine,
    out: Path | None,
) -> "Model":
    """Train; where the loss diverges, save the best epoch before saying so."""
    from nnaccel.assessment import in_own_units
    from nnaccel.loop import TrainingDiverged
    from nnaccel.training import train

    training, held_out = prepared.training, prepared.held_out
    try:
        return train(
            network, training.x, training.y, sample_weight=prepared.training_weights,
            validation=None if held_out is None else (held_out.x, held_out.y, held_out.weights),
            metrics=in_own_units(metrics, prepared.encoding.target),
            report=lambda status: progress.show(_status_line(status)), **settings,
        )  # fmt: skip
    except TrainingDiverged as error:
        if out is None or error.model is None:
            raise
        replace(error.model, encoding=prepared.encoding).save(out)
        raise InputError(f"{error} That epoch's model is saved as {out}.") from error
    finally:
        progress.clear()


def _recorded(model: "Model", prepared: "Prepared", scores: "Assessment", record: Mapping[str, str | None]) -> "Model":
    """The model with its encoding, and with a report that tells what it was trained on and what it had to beat."""
    assert model.report is not None, "train() leaves a report"
    data = {name: value for name, value in record.items() if value}
    report = replace(model.report, metrics=scores.metrics, baseline=scores.baseline, data=data)
    return replace(model, encoding=prepared.encoding, report=report)


def _optimizer(text: str, learning_rate: float | None, weight_decay: float | None) -> tuple[Optimizer, float]:
    """The optimizer with its options, and the L2 penalty where the weight decay isn't the optimizer's own."""
    rule = as_optimizer(text)
    if learning_rate is not None:
        rule = replace(rule, learning_rate=learning_rate)
    if weight_decay is not None and isinstance(rule, AdamW):
        return replace(rule, weight_decay=weight_decay), 0.0
    return rule, weight_decay or 0.0


def _status_line(status: "Status") -> str:
    scores = "".join(f"  {name} {value:.4g}" for name, value in status.validation.items() if name != "loss")
    return (
        f"epoch {status.epoch}/{status.epochs}  loss {status.train_loss:.4g}{scores}  "
        f"{status.rows_per_second:,.0f} rows/s  {duration(status.seconds_left)} left"
    )
