"""What `nnaccel train` and `predict` say of data, network and results, in lines for people and as values for JSON."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from nnaccel.assessment import Assessment, assess, constant_prediction
from nnaccel.cli.screen import duration, plot
from nnaccel.encoding import describe_format
from nnaccel.errors import counted
from nnaccel.targets import Target

if TYPE_CHECKING:
    from nnaccel.metrics import Metric
    from nnaccel.model import Model
    from nnaccel.network import Network
    from nnaccel.preparation import Part, Prepared
    from nnaccel.report import TrainingReport
    from nnaccel.sources import Source

_MOST_SHOWN = 8
_LARGEST_CONFUSION = 12


def describe(source: "Source", prepared: "Prepared", network: "Network") -> list[str]:
    """What was read, what it was made into, and the network that is trained on it."""
    encoding, findings, held_out = prepared.encoding, prepared.findings, prepared.held_out
    rows, others = len(prepared.training.y), 0 if held_out is None else len(held_out.y)
    kinds = Counter(findings.kinds.values())
    used = [
        f"{count:,} {kind if count == 1 else _plural(kind)}"
        for kind, count in sorted(kinds.items(), key=lambda item: item[0] != "number")
    ]
    columns = f"{len(source.columns):,} columns" + (f": {', '.join(used)}" if used else "")
    lines = [
        f"data       {source.name}: {prepared.rows_read:,} rows, {columns}",
        *_describe_target(encoding.target, prepared.training),
        f"task       {prepared.task}: {prepared.reason}",
    ]
    if findings.gaps:
        counts = sorted(findings.gaps.items(), key=lambda item: -item[1])
        shown = ", ".join(f"{name!r} {count:,}" for name, count in counts[:_MOST_SHOWN])
        lines.append(
            f"gaps       in {counted(len(counts), 'column')}, in the training rows: {shown}{_more(len(counts))}"
        )
    if findings.dropped:
        shown = ", ".join(f"{name!r} {reason}" for name, reason in islice(findings.dropped.items(), _MOST_SHOWN))
        lines.append(f"dropped    {shown}{_more(len(findings.dropped))}")
    lines += [
        f"dates      {name!r} are read like {describe_format(form).removeprefix('a date like ')}"
        for name, form in findings.formats.items()
        if form != "boolean"
    ]
    lines += [f"note       {remark}" for remark in prepared.remarks]
    how = f" ({prepared.held_out_by})" if prepared.held_out_by else ""
    lines.append(f"rows       {rows:,} to train on, {others:,} held out{how}")
    lines.append(f"network    {describe_network(network)}")
    return lines


def describe_network(network: "Network") -> str:
    """The layers of a network in one line."""
    chain = f"{network.input_shape[0]} features"
    for layer, shape in zip(network.layers, network.shapes[1:], strict=True):
        dropped = f" (dropout {layer.dropout:g})" if layer.dropout else ""
        chain += f" -> {shape[0]} {layer.activation}{dropped}"
    return f"{chain}: {network.parameter_count:,} parameters"


def assess_training(model: "Model", prepared: "Prepared", metrics: "Sequence[Metric]") -> Assessment:
    """How good a model without an encoding, just trained, is on the rows held out."""
    held_out, training, target = prepared.held_out, prepared.training, prepared.encoding.target
    if held_out is None:
        return Assessment()
    constant = constant_prediction(model.loss, training.y, target.outputs, training.weights)
    return assess(target, model.loss, metrics, held_out.y, model.outputs(held_out.x), held_out.weights, constant)


def result_of(report: "TrainingReport", prepared: "Prepared", parameters: int, scores: Assessment) -> dict[str, Any]:
    """What `nnaccel train --json` prints."""
    described = report.describe()
    taken = (
        "backend", "kernel", "reason", "seconds", "seconds_compile", "epochs", "best_epoch", "stopped_by", "rows",
        "train_loss", "history", "settings",
    )  # fmt: skip
    return {
        **{name: described[name] for name in taken},
        "rows_held_out": 0 if prepared.held_out is None else len(prepared.held_out.y),
        "features": prepared.encoding.width,
        "parameters": parameters,
        "task": prepared.task,
        **without_nothing(scores),
    }


def without_nothing(scores: Assessment) -> dict[str, Any]:
    """An assessment for JSON."""
    return {name: value for name, value in asdict(scores).items() if value is not None and name != "rows"}


def summary(report: "TrainingReport", prepared: "Prepared", seconds_read: float, scores: Assessment) -> list[str]:
    """How a training went."""
    losses = report.history.as_dict().get("train_loss", [])
    stop = "" if report.stopped_by == "epochs" else f", ended by {_ENDS.get(report.stopped_by, report.stopped_by)}"
    kept = "" if report.best_epoch == report.epochs else f", epoch {report.best_epoch} kept"
    scaled = " (of the standardised target)" if prepared.encoding.target.scale is not None else ""
    lines = [
        f"backend    {report.backend}, kernel {report.kernel} ({report.reason})",
        f"time       {duration(seconds_read)} reading, {duration(report.seconds_compile)} compiling, "
        f"{duration(report.seconds)} training ({counted(report.epochs, 'epoch')}{stop}{kept})",
        f"train loss {report.train_loss:.4g}{scaled}",
        *score_lines(scores, prepared.task, "held out"),
    ]
    if prepared.held_out is not None and prepared.held_out.weights is not None:
        lines.append("           all of it weighted, as the rows are")
    if prepared.held_out is not None and "early stopping" in report.settings:
        lines.append("           these rows chose the epoch as well: other rows may score a little lower")
    lines += _overfitted(report)
    if len(losses) > 1:
        lines += ["", "train loss by epoch", *plot(losses)]
    return lines


def _overfitted(report: "TrainingReport") -> list[str]:
    """A hint, where the loss on the rows held out has risen again since it was lowest."""
    losses = report.history.as_dict().get("validation_loss", [])
    if "early stopping" in report.settings or not losses or not losses[-1] > _RISEN * min(losses):
        return []
    best = losses.index(min(losses)) + 1
    return [
        f"           their loss was lowest after epoch {best} ({min(losses):.4g}) and is {losses[-1]:.4g} now: "
        "--early-stopping 10 keeps the best epoch"
    ]


_RISEN = 1.02


def score_lines(scores: Assessment, task: str, on: str) -> list[str]:
    """The metrics, each beside the baseline where there is one, and the confusion matrix or the errors' spread."""
    lines = []
    constant = _CONSTANTS.get(task, "the mean")
    for name, value in scores.metrics.items():
        if name != "loss":
            beside = [f"{scores.rows:,} rows"] if scores.rows else []
            beside += [f"always {constant}: {_score(scores.baseline[name])}"] if name in scores.baseline else []
            explained = f"  ({'; '.join(beside)})" if beside else ""
            lines.append(f"{on:<11}{name.replace('_', ' ')} {_score(value)}{explained}")
    if scores.confusion is not None:
        lines += _confusion_lines(scores.confusion["classes"], scores.confusion["counts"])
    for name, quantiles in (scores.error_quantiles or {}).items():
        spread = "  ".join(f"{float(q):.0%} {value:+.4g}" for q, value in quantiles.items())
        lines.append(f"errors     {name!r} predicted minus true, quantiles: {spread}")
    return lines


_ENDS = {"time limit": "the time limit", "callback": "a callback", "interrupt": "an interruption"}
_CONSTANTS = {"classification": "the most frequent class", "multilabel": "the frequencies of the labels"}


def _confusion_lines(classes: Sequence[Any], counts: Sequence[Sequence[int]]) -> list[str]:
    """The matrix, or of a large one the most frequent confusions."""
    if len(classes) > _LARGEST_CONFUSION:
        wrong = [(n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and n]
        worst = sorted(wrong, reverse=True)[:_MOST_SHOWN]
        shown = ", ".join(f"{classes[i]} as {classes[j]} {n:,.6g}" for n, i, j in worst)
        return [f"confused   {shown}"] if worst else []
    names = [str(label)[:14] for label in classes]
    if len(set(names)) < len(names):
        names = [str(label) for label in classes]
    width = max(map(len, [*names, *(f"{n:,.6g}" for row in counts for n in row)])) + 2
    head = max(map(len, names))
    lines = ["", "true class, down; predicted, across", " " * head + "".join(name.rjust(width) for name in names)]
    for name, row in zip(names, counts, strict=True):
        lines.append(name.ljust(head) + "".join(f"{n:,.6g}".rjust(width) for n in row))
    return lines


def _describe_target(target: Target, part: "Part") -> list[str]:
    names = ", ".join(map(repr, target.names))
    if target.task == "classification":
        shares = np.bincount(part.y, minlength=len(target.classes)) / len(part.y)
        order = np.argsort(-shares, kind="stable")[:_MOST_SHOWN]
        shown = ", ".join(f"{target.classes[k]!r} {shares[k]:.1%}" for k in order)
        return [f"target     {names}: {len(target.classes)} classes: {shown}{_more(len(target.classes))}"]
    if target.task == "multilabel":
        means = zip(target.names, part.y.mean(axis=0), strict=True)
        labels = ", ".join(f"{name!r} {mean:.1%}" for name, mean in means)
        return [f"target     {len(target.names)} label{'s' if len(target.names) > 1 else ''}: {labels}"]
    return [
        f"target     {name!r}: from {column.min():.6g} to {column.max():.6g}, mean {column.mean():.6g}"
        for name, column in zip(target.names, target.decode(part.y).T, strict=True)
    ]


def _score(value: float) -> str:
    """A metric with digits that can be compared, whatever its units."""
    return f"{value:.4f}" if value == 0 or 1e-2 <= abs(value) < 1e4 else f"{value:.5g}"


def _more(count: int) -> str:
    return f" and {count - _MOST_SHOWN} more" if count > _MOST_SHOWN else ""


def _plural(kind: str) -> str:
    return "categories" if kind == "category" else f"{kind}s"
