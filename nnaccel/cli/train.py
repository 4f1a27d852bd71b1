"""`nnaccel train`: from a table to a trained network, its score on rows that it hasn't seen, and a model file."""

import contextlib
import tempfile
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnaccel.cli import options
from nnaccel.cli.further import held_out_before, trained_on
from nnaccel.cli.interrupts import EXIT_CODE, answered
from nnaccel.cli.keeping import CheckpointOptions, warnings_said
from nnaccel.cli.ready import Ready, make_ready
from nnaccel.cli.screen import ProgressLine, complain, duration
from nnaccel.cli.training_options import TrainOptions
from nnaccel.errors import InputError

if TYPE_CHECKING:
    from nnaccel.assessment import Assessment
    from nnaccel.interruption import TrainingInterrupted
    from nnaccel.model import Model
    from nnaccel.progress import Status
    from nnaccel.report import TrainingReport


@options.flat
def train(
    data: Annotated[str, typer.Argument(metavar="DATA", help=options.DATA_HELP)],
    wanted: TrainOptions,
    out: Annotated[Path | None, typer.Option(metavar="FILE", help="Where to save the model: FILE.safetensors.")] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Draw loss and metrics: FILE.png, .svg, .pdf.")
    ] = None,
    log: Annotated[Path | None, typer.Option(metavar="FILE", help="Each epoch's numbers: FILE.csv or .jsonl.")] = None,
    *,
    kept: CheckpointOptions,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Train a network on a table and score it on rows held out; save it for nnaccel predict."""
    from nnaccel.cli.outputs import Outputs
    from nnaccel.cli.summary import assess_training, summary

    say = options.speaker(quiet, as_json)
    # What can be known to be wrong is said before the work, not after it.
    outputs = Outputs(out, plot, log)
    outputs.check(data, wanted.validation, wanted.target)
    keeping = kept.arguments()
    ready = make_ready(data, wanted, say)
    for line in kept.describe():
        say(line)
    model, interrupted = _fit(ready, wanted.backend, keeping, say, quiet, out)
    scores = assess_training(model, ready.prepared, ready.metrics)
    record = _record(ready, wanted)
    model = _recorded(model, ready, scores, record)
    assert model.report is not None, "train() leaves a report"
    # First what is to last: whoever reads the lines below may have gone.
    written, failure = outputs.write(model, ready.source.name)
    if interrupted is None and kept.resume is None:
        _note(ready, model.report)
    if ready.before is not None and not held_out_before(ready.before, record):
        say(
            f"note       rows held out now may be among those that {wanted.init} was trained on, which flatters its score"
        )
    for line in summary(model.report, ready.prepared, ready.seconds_read, scores):
        say(line)
    for path in written:
        say(f"written    {path}")
    if interrupted is not None:
        say(kept.how_to_go_on(interrupted.checkpoint is not None))
    if as_json:
        _print_json(ready, model, scores, out)
    if failure is not None:
        lost = out is not None and out not in written
        raise InputError(f"{failure} {_where_it_is(model, kept.folder)}" if lost else str(failure))
    if interrupted is not None:
        raise typer.Exit(EXIT_CODE + interrupted.signal)


def _fit(
    ready: Ready, backend: str, keeping: Mapping[str, Any], say: options.Speaker, quiet: bool, out: Path | None
) -> "tuple[Model, TrainingInterrupted | None]":
    """Train; what there is where that is interrupted; where the loss diverges, save the best epoch before saying so."""
    from nnaccel.interruption import TrainingInterrupted
    from nnaccel.loop import TrainingDiverged
    from nnaccel.training import train

    progress = ProgressLine(say.stream, silent=quiet)

    def tell(sentence: str) -> None:
        progress.clear()
        complain(sentence)

    try:
        with answered(tell), warnings_said(tell):
            model = train(
                ready.network,
                **ready.arguments(),
                **keeping,
                backend=backend,
                report=lambda status: progress.show(_status_line(status)),
            )
        return model, None
    except TrainingInterrupted as error:
        return error.model, error
    except TrainingDiverged as error:
        if out is None or error.model is None:
            raise
        replace(error.model, encoding=ready.prepared.encoding).save(out)
        raise InputError(f"{error} That epoch's model is saved as {out}.") from error
    finally:
        progress.clear()


def _where_it_is(model: "Model", folder: Path | None) -> str:
    """Where a model that couldn't be written can be had."""
    if folder is not None:
        return f"Nothing is lost: --resume {folder} ends at once, and writes it elsewhere."
    with contextlib.suppress(InputError, OSError):
        elsewhere = Path(tempfile.mkdtemp()) / "model.safetensors"
        model.save(elsewhere)
        return f"The model is saved as {elsewhere}."
    return "Nor can it be written to the folder for temporary files."


def _record(ready: Ready, wanted: TrainOptions) -> dict[str, str | None]:
    """What the model's file tells of the data."""
    source, prepared = ready.source, ready.prepared
    return {
        "source": source.name,
        "sources": "; ".join(dict.fromkeys([*trained_on(ready.before), source.name])),
        "rows read": f"{prepared.rows_read}",
        "rows": None if wanted.rows == ":" else wanted.rows,
        "validation": wanted.validation,
        "held out": prepared.held_out_by,
        "weight": None if wanted.weight is None else source.columns[source.position(wanted.weight)],
        "class weight": wanted.class_weight,
        "dropped": wanted.drop,
        "from": None if wanted.init is None else wanted.init.name,
    }


def _recorded(model: "Model", ready: Ready, scores: "Assessment", record: Mapping[str, str | None]) -> "Model":
    """The model with its encoding, and with a report that tells what it was trained on and what it had to beat."""
    assert model.report is not None, "train() leaves a report"
    data = {name: value for name, value in record.items() if value}
    report = replace(model.report, metrics=scores.metrics, baseline=scores.baseline, data=data)
    return replace(model, encoding=ready.prepared.encoding, report=report)


def _note(ready: Ready, report: "TrainingReport") -> None:
    """Write down how long it took, beside what was estimated."""
    from nnaccel.optimizers import L2
    from nnaccel.plan import Plan
    from nnaccel.records import note_training

    settings, held_out = ready.settings, ready.prepared.held_out
    l2, clip_norm = L2(settings["l2"]), settings["clip_norm"]
    plan = Plan(ready.network, settings["loss"], settings["optimizer"], l2, clip_norm, settings["dtype"])
    note_training(
        report,
        plan,
        report.rows,
        settings["batch_size"] or report.rows,
        0 if held_out is None else len(held_out.y),
        settings["threads"],
    )


def _print_json(ready: Ready, model: "Model", scores: "Assessment", out: Path | None) -> None:
    from nnaccel.cli.summary import result_of
    from nnaccel.described import to_json

    assert model.report is not None, "train() leaves a report"
    result: dict[str, Any] = result_of(model.report, ready.prepared, ready.network.parameter_count, scores)
    print(to_json(result | {"seconds_read": ready.seconds_read, "out": None if out is None else str(out)}))


def _status_line(status: "Status") -> str:
    scores = "".join(f"  {name} {value:.4g}" for name, value in status.validation.items() if name != "loss")
    return (
        f"epoch {status.epoch}/{status.epochs}  loss {status.train_loss:.4g}{scores}  "
        f"{status.rows_per_second:,.0f} rows/s  {duration(status.seconds_left)} left"
    )
