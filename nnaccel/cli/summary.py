"""What `nnaccel train` and `predict` say of data, network and results, in lines for people and as values for JSON."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import islice
from typing import TYPE_CHECKING, Any

import numpy as np

from nnaccel.assessment import QUANTILES, baseline, confusion_matrix, constant_prediction, error_quantiles
from nnaccel.cli.screen import duration, plot
from nnaccel.encoding import describe_format
from nnaccel.targets import Target

if TYPE_CHECKING:
    from nnaccel.losses import Loss
    from nnaccel.metrics import Metric
    from nnaccel.model import Model
    from nnaccel.network import Network
    from nnaccel.preparation import Part, Prepared
    from nnaccel.sources import Source

_MOST_SHOWN = 8
_LARGEST_CONFUSION = 12


def describe(source: "Source", prepared: "Prepared", network: "Network") -> list[str]:
    """What was read, what it was made into, and the network that is trained on it."""
    encoding, findings, held_out = prepared.encoding, prepared.findings, prepared.held_out
    rows, others = len(prepared.training.y), 0 if held_out is None else len(held_out.y)
    kinds = Counter(findings.kinds.values())
    used = [
        f"{count} {kind if count == 1 else _plural(kind)}"
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
        lines.append(f"gaps       in {len(counts)} columns, in the training rows: {shown}{_more(len(counts))}")
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


def result_of(model: "Model", prepared: "Prepared", metrics: "Sequence[Metric]") -> dict[str, Any]:
    """What `nnaccel train --json` prints."""
    report, held_out = model.report, prepared.held_out
    assert report is not None, "train() leaves a report"
    result = {
        "backend": report.backend,
        "kernel": report.kernel,
        "reason": report.reason,
        "seconds": report.seconds,
        "seconds_compile": report.seconds_compile,
        "epochs": report.epochs,
        "best_epoch": report.best_epoch,
        "stopped_by": report.stopped_by,
        "rows": report.rows,
        "rows_held_out": 0 if held_out is None else len(held_out.y),
        "features": prepared.encoding.width,
        "parameters": model.network.parameter_count,
        "task": prepared.task,
        "train_loss": report.train_loss,
        "standardised": prepared.encoding.target.scale is not None,
        "metrics": report.metrics,
        "baseline": {},
        "history": report.history.as_dict(),
        "settings": report.settings,
    }
    if held_out is None:
        return result
    target, training = prepared.encoding.target, prepared.training
    constant = constant_prediction(model.loss, training.y, target.outputs, training.weights)
    result["baseline"] = baseline(metrics, target.decode(constant), target.decode(held_out.y), held_out.weights)
    outputs = replace(model, encoding=None).outputs(held_out.x)
    return result | judged(target, model.loss, held_out.y, outputs)


def judged(target: Target, loss: "Loss", y: np.ndarray, outputs: np.ndarray) -> dict[str, Any]:
    """The confusion matrix of a classification, or the quantiles of a regression's errors, for JSON.

    Parameters
    ----------
    y : array
        Encoded targets.
    outputs : array (n, outputs)
        Of the network.
    """
    if target.task == "classification":
        counts = confusion_matrix(y, np.argmax(outputs, axis=1), len(target.classes))
        return {"confusion": {"classes": list(target.classes), "counts": counts.tolist()}}
    if target.task == "regression":
        errors = error_quantiles(target.decode(y), target.decode(loss.predict(outputs, np)))
        return {"error_quantiles": dict(zip(map(str, QUANTILES), errors, strict=True))}
    return {}


def summary(result: Mapping[str, Any]) -> list[str]:
    """How a training went."""
    losses = result["history"].get("train_loss", [])
    stop = "" if result["stopped_by"] == "epochs" else f", stopped by the {result['stopped_by']}"
    kept = "" if result["best_epoch"] == result["epochs"] else f", epoch {result['best_epoch']} kept"
    lines = [
        f"backend    {result['backend']}, kernel {result['kernel']} ({result['reason']})",
        f"time       {duration(result['seconds_read'])} reading, {duration(result['seconds_compile'])} compiling, "
        f"{duration(result['seconds'])} training ({result['epochs']} epochs{stop}{kept})",
        f"train loss {result['train_loss']:.4g}" + (" (of the standardised target)" if result["standardised"] else ""),
        *score_lines(result, "held out", result["rows_held_out"]),
    ]
    if "early stopping" in result["settings"]:
        lines.append("           these rows chose the epoch as well: other rows may score a little lower")
    if len(losses) > 1:
        lines += ["", "train loss by epoch", *plot(losses)]
    return lines


def score_lines(result: Mapping[str, Any], on: str, rows: int | None = None) -> list[str]:
    """The metrics, each beside the baseline where there is one, and the confusion matrix or the errors' spread."""
    lines = []
    constant = {"classification": "the most frequent class", "multilabel": "the frequencies of the labels"}.get(
        result.get("task", ""), "the mean"
    )
    for name, value in result["metrics"].items():
        if name != "loss":
            beaten = result.get("baseline", {}).get(name)
            beside = [] if rows is None else [f"{rows:,} rows"]
            beside += [] if beaten is None else [f"always {constant}: {_score(beaten)}"]
            explained = f"  ({'; '.join(beside)})" if beside else ""
            lines.append(f"{on:<11}{name.replace('_', ' ')} {_score(value)}{explained}")
    if "confusion" in result:
        lines += _confusion_lines(result["confusion"]["classes"], result["confusion"]["counts"])
    if "error_quantiles" in result:
        spread = "  ".join(f"{float(q):.0%} {value:+.4g}" for q, value in result["error_quantiles"].items())
        lines.append(f"errors     predicted minus true, quantiles: {spread}")
    return lines


def _confusion_lines(classes: Sequence[Any], counts: Sequence[Sequence[int]]) -> list[str]:
    """The matrix, or of a large one the most frequent confusions."""
    if len(classes) > _LARGEST_CONFUSION:
        wrong = [(n, i, j) for i, row in enumerate(counts) for j, n in enumerate(row) if i != j and n]
        worst = sorted(wrong, reverse=True)[:_MOST_SHOWN]
        shown = ", ".join(f"{classes[i]} as {classes[j]} {n:,}" for n, i, j in worst)
        return [f"confused   {shown}"] if worst else []
    names = [str(label)[:14] for label in classes]
    if len(set(names)) < len(names):
        names = [str(label) for label in classes]
    width = max(map(len, [*names, *(f"{n:,}" for row in counts for n in row)])) + 2
    head = max(map(len, names))
    lines = ["", "true class, down; predicted, across", " " * head + "".join(name.rjust(width) for name in names)]
    for name, row in zip(names, counts, strict=True):
        lines.append(name.ljust(head) + "".join(f"{n:,}".rjust(width) for n in row))
    return lines


def _describe_target(target: Target, part: "Part") -> list[str]:
    names = ", ".join(map(repr, target.names))
    if target.task == "classification":
        shares = np.bincount(part.y, minlength=len(target.classes)) / len(part.y)
        order = np.argsort(-shares, kind="stable")[:_MOST_SHOWN]
        shown = ", ".join(f"{target.classes[k]!r} {shares[k]:.1%}" for k in order)
        return [f"target     {names}: {len(target.classes)} classes: {shown}{_more(len(target.classes))}"]
    if target.task == "multilabel":
        shares = ", ".join(
            f"{name!r} {share:.1%}" for name, share in zip(target.names, part.y.mean(axis=0), strict=True)
        )
        return [f"target     {len(target.names)} label{'s' if len(target.names) > 1 else ''}: {shares}"]
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
