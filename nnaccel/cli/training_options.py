"""The options that decide what is trained: those of `nnaccel train` and of whatever tells of a training beforehand."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import typer

from nnaccel.activations import ACTIVATIONS
from nnaccel.cli import options
from nnaccel.losses import LOSSES
from nnaccel.optimizers import OPTIMIZERS
from nnaccel.schedules import SCHEDULES


@dataclass(frozen=True)
class TrainOptions:
    """What is asked for on the command line, as it was written there, but for the data and the outputs."""

    target: Annotated[
        str | None,
        typer.Option(
            metavar="COLUMN",
            help="What to predict: a column's name, or its position from 0, or from the end as -1; for arrays, a file.",
        ),
    ] = None
    drop: Annotated[str, typer.Option(metavar="COL,...", help="Columns not to use.")] = ""
    categorical: Annotated[str, typer.Option(metavar="COL,...", help="Numbers to take as categories.")] = ""
    weight: Annotated[str | None, typer.Option(metavar="COLUMN", help="How much each row counts.")] = None
    class_weight: Annotated[
        str | None, typer.Option(metavar="balanced", help="Let each class count the same, however rare.")
    ] = None
    task: Annotated[str, typer.Option(help="auto, classification or regression.")] = "auto"
    validation: Annotated[str, typer.Option(help="Part of the rows to hold out, 0 for none; or a file.")] = "0.2"
    group: Annotated[str | None, typer.Option(metavar="COLUMN", help="Hold out whole groups; no feature.")] = None
    time_column: Annotated[
        str | None, typer.Option("--time", metavar="COLUMN", help="Hold out the latest rows; no feature.")
    ] = None
    rows: options.RowRange = ":"
    header: options.Header = None
    delimiter: options.Delimiter = None
    encoding: options.TextEncoding = "utf-8"
    hidden: Annotated[
        str | None, typer.Option(help="Widths of the hidden layers: 64,64; '' for none. [default: 100]")
    ] = None
    activation: Annotated[
        str | None, typer.Option(help=f"After each hidden layer: {', '.join(ACTIVATIONS)}. [default: relu]")
    ] = None
    dropout: Annotated[float | None, typer.Option(help="Part of each hidden layer's outputs to drop. [default: 0]")] = (
        None
    )
    init: Annotated[
        Path | None,
        typer.Option(metavar="MODEL", help="A model file to go on from: its network, parameters, encoding."),
    ] = None
    loss: Annotated[str | None, typer.Option(help=f"By default what suits the target: {', '.join(LOSSES)}.")] = None
    epochs: Annotated[int, typer.Option(help="How often each row is used.")] = 100
    batch_size: Annotated[str, typer.Option(help="Rows a step, or 'full'.")] = "64"
    optimizer: Annotated[
        str, typer.Option(help=f"{', '.join(OPTIMIZERS)}; with settings: sgd,momentum=0.9,nesterov=true.")
    ] = "adam"
    learning_rate: Annotated[float | None, typer.Option(help="By default the optimizer's own.")] = None
    schedule: Annotated[str, typer.Option(help=f"{', '.join(SCHEDULES)}; with settings: cosine,warmup=3 (epochs).")] = (
        "constant"
    )
    weight_decay: Annotated[
        float | None, typer.Option(help="Decoupled with adamw; else an L2 penalty on the weights.")
    ] = None
    clip_norm: Annotated[float | None, typer.Option(help="The largest norm of a gradient.")] = None
    early_stopping: Annotated[
        int | None,
        typer.Option(metavar="PATIENCE", help="Stop after so many epochs without improvement; keep the best."),
    ] = None
    metric: options.Metrics = None
    time_limit: Annotated[str | None, typer.Option(help="Such as 90s, 10m or 1h30m.")] = None
    seed: Annotated[int, typer.Option(help="Of everything random.")] = 0
    dtype: Annotated[str | None, typer.Option(help="float32 or float64. [default: float32, or that of --init]")] = None
    threads: Annotated[int | None, typer.Option(help="The most threads to use.")] = None
    backend: Annotated[str, typer.Option(help="auto, cpu, numba or cuda; see nnaccel info.")] = "auto"
