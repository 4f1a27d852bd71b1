"""`nnaccel train`: from a data set to a trained network and its score on rows that it hasn't seen."""

import json
import math
import sys
import time
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnaccel.activations import ACTIVATIONS
from nnaccel.cli.options import batch_size as read_batch_size
from nnaccel.cli.options import seconds as read_seconds
from nnaccel.cli.options import widths
from nnaccel.cli.screen import ProgressLine, duration, plot
from nnaccel.losses import LOSSES, as_loss
from nnaccel.optimizers import OPTIMIZERS, AdamW, Optimizer, as_optimizer
from nnaccel.schedules import SCHEDULES

if TYPE_CHECKING:
    from nnaccel.model import Model
    from nnaccel.network import Network
    from nnaccel.tables import Encoding, Table
    from nnaccel.training import Status


def train(
    source: Annotated[
        str,
        typer.Argument(
            metavar="DATA", help="digits, iris, wine, breast_cancer, diabetes, or FILE.npz with arrays X and y."
        ),
    ],
    hidden: Annotated[str, typer.Option(help="Widths of the hidden layers, such as 64,64; '' for none.")] = "100",
    activation: Annotated[str, typer.Option(help=f"After each hidden layer: {', '.join(ACTIVATIONS)}.")] = "relu",
    loss: Annotated[str | None, typer.Option(help=f"By default what suits the target: {', '.join(LOSSES)}.")] = None,
    task: Annotated[str, typer.Option(help="auto, classification or regression.")] = "auto",
    epochs: Annotated[int, typer.Option(help="How often each row is used.")] = 100,
    batch_size: Annotated[str, typer.Option(help="Rows a step, or 'full'.")] = "64",
    optimizer: Annotated[
        str, typer.Option(help=f"{', '.join(OPTIMIZERS)}; with settings: sgd,momentum=0.9,nesterov=true.")
    ] = "adam",
    learning_rate: Annotated[float | None, typer.Option(help="By default the optimizer's own.")] = None,
    schedule: Annotated[
        str, typer.Option(help=f"{', '.join(SCHEDULES)}; with settings: cosine,warmup=3 (epochs).")
    ] = "constant",
    dropout: Annotated[float, typer.Option(help="Part of each hidden layer's outputs to drop.")] = 0.0,
    weight_decay: Annotated[
        float | None, typer.Option(help="Decoupled with adamw; else an L2 penalty on the weights.")
    ] = None,
    clip_norm: Annotated[float | None, typer.Option(help="The largest norm of a gradient.")] = None,
    validation: Annotated[float, typer.Option(help="Part of the rows to hold out; 0 for none.")] = 0.2,
    early_stopping: Annotated[
        int | None,
        typer.Option(metavar="PATIENCE", help="Stop after so many epochs without improvement; keep the best."),
    ] = None,
    time_limit: Annotated[str | None, typer.Option(help="Such as 90s, 10m or 1h30m.")] = None,
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0,
    dtype: Annotated[str, typer.Option(help="float32 or float64.")] = "float32",
    threads: Annotated[int | None, typer.Option(help="The most threads to use.")] = None,
    backend: Annotated[str, typer.Option(help="auto, cpu or cuda; see nnaccel info.")] = "auto",
    quiet: Annotated[bool, typer.Option("--quiet", help="Show nothing but errors and what --json asks for.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as one JSON object; the rest on stderr.")
    ] = False,
) -> None:
    """Train a network on a data set and score it on rows held out."""
    from nnaccel.network import Dense, Network
    from nnaccel.order import split
    from nnaccel.tables import Encoding, read_table
    from nnaccel.training import train as train_network

    stream = sys.stderr if as_json else sys.stdout

    def say(line: str = "") -> None:
        if not quiet:
            print(line, file=stream, flush=True)

    hidden_widths, limit = widths(hidden), read_seconds(time_limit) if time_limit else math.inf
    rule, l2 = _optimizer(optimizer, learning_rate, weight_decay)

    began = time.perf_counter()
    table = read_table(source, task)
    rows = range(len(table.x))
    kept, held_out = split(len(rows), validation, seed, _labels(table)) if validation else (slice(None), slice(0))
    bounded = loss is not None and as_loss(loss).domain[0] > -math.inf
    encoding = Encoding.learn(table.x[kept], table.y[kept], table.task, scale_targets=not bounded)
    x, y = encoding.features(table.x[kept], dtype), encoding.targets(table.y[kept])
    x_held_out, y_held_out = encoding.features(table.x[held_out], dtype), encoding.targets(table.y[held_out])
    seconds_read = time.perf_counter() - began

    outputs = len(encoding.classes) if encoding.classes is not None else y.reshape(len(y), -1).shape[1]
    layers = [Dense(width, activation, dropout=dropout) for width in hidden_widths]
    network = Network(x.shape[1:], [*layers, Dense(outputs)])
    for line in _describe(table, encoding, len(x), len(x_held_out), network):
        say(line)

    progress = ProgressLine(stream, silent=quiet)
    try:
        model = train_network(
            network, x, y, loss=loss or encoding.loss, optimizer=rule, schedule=schedule, epochs=epochs,
            batch_size=read_batch_size(batch_size), l2=l2, clip_norm=clip_norm,
            validation=(x_held_out, y_held_out) if validation else None, early_stopping=early_stopping,
            time_limit=limit, seed=seed, dtype=dtype, backend=backend, threads=threads,
            report=lambda status: progress.show(_status_line(status)),
        )  # fmt: skip
    finally:
        progress.clear()
    model = replace(model, encoding=encoding)
    result = _result(model, encoding, table.y[held_out], model.predict(table.x[held_out]) if validation else None)
    result["seconds_read"] = seconds_read
    for line in _summary(result, len(x_held_out)):
        say(line)
    if as_json:
        print(json.dumps(result))


def _optimizer(text: str, learning_rate: float | None, weight_decay: float | None) -> tuple[Optimizer, float]:
    """The optimizer with its options, and the L2 penalty where the weight decay isn't the optimizer's own."""
    rule = as_optimizer(text)
    if learning_rate is not None:
        rule = replace(rule, learning_rate=learning_rate)
    if weight_decay is not None and isinstance(rule, AdamW):
        return replace(rule, weight_decay=weight_decay), 0.0
    return rule, weight_decay or 0.0


def _labels(table: "Table") -> Any:
    return table.y if table.task == "classification" else None


def _describe(table: "Table", encoding: "Encoding", rows: int, held_out: int, network: "Network") -> list[str]:
    what = f"{len(encoding.classes)} classes" if encoding.classes is not None else table.task
    chain = str(network.input_shape[0])
    for layer, shape in zip(network.layers, network.shapes[1:], strict=True):
        dropped = f" (dropout {layer.dropout:g})" if layer.dropout else ""
        chain += f" -> {shape[0]} {layer.activation}{dropped}"
    return [
        f"data       {table.name}: {rows + held_out:,} rows, {table.x.shape[1]:,} features, {what}",
        f"rows       {rows:,} to train on, {held_out:,} held out",
        f"network    {chain}: {network.parameter_count:,} parameters",
    ]


def _status_line(status: "Status") -> str:
    scores = "".join(f"  {name} {value:.4g}" for name, value in status.validation.items() if name != "loss")
    return (
        f"epoch {status.epoch}/{status.epochs}  loss {status.train_loss:.4g}{scores}  "
        f"{status.rows_per_second:,.0f} rows/s  {duration(status.seconds_left)} left"
    )


def _result(model: "Model", encoding: "Encoding", truth: Any, predictions: Any) -> dict[str, Any]:
    """What `--json` prints; the metrics of numeric targets in their own units."""
    from nnaccel.metrics import METRICS

    report = model.report
    assert report is not None, "train() leaves a report"
    metrics = dict(report.metrics)
    if predictions is not None and encoding.task == "regression":
        truth, predictions = (array.reshape(len(truth), -1) for array in (truth, predictions))
        for name in metrics:
            if name in METRICS:
                metrics[name] = METRICS[name].function(truth, predictions, None)
    return {
        "backend": report.backend,
        "kernel": report.kernel,
        "reason": report.reason,
        "seconds": report.seconds,
        "seconds_compile": report.seconds_compile,
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "stopped_by": report.stopped_by,
        "rows": report.rows,
        "parameters": model.network.parameter_count,
        "train_loss": report.train_loss,
        "metrics": metrics,
        "history": report.history.as_dict(),
    }


def _summary(result: dict[str, Any], held_out: int) -> list[str]:
    losses = result["history"].get("train_loss", [])
    stop = "" if result["stopped_by"] == "epochs" else f", stopped by the {result['stopped_by']}"
    kept = "" if result["best_epoch"] == result["epochs"] else f", epoch {result['best_epoch']} kept"
    lines = [
        f"backend    {result['backend']}, kernel {result['kernel']} ({result['reason']})",
        f"time       {duration(result['seconds_read'])} reading, {duration(result['seconds_compile'])} compiling, "
        f"{duration(result['seconds'])} training ({result['epochs']} epochs{stop}{kept})",
        f"train loss {result['train_loss']:.4g}",
    ]
    names = [name for name in result["metrics"] if name != "loss"]
    for name in names:
        lines.append(f"held out   {name.replace('_', ' ')} {result['metrics'][name]:.4f}  ({held_out:,} rows)")
    if len(losses) > 1:
        lines += ["", "train loss by epoch", *plot(losses)]
    return lines
