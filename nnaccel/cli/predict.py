"""`nnaccel predict`: a model file and new rows, of which there may be more than fit in memory, to a file of predictions."""

import contextlib
import csv
import gzip
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnaccel.cli import options
from nnaccel.cli.screen import ProgressLine, duration
from nnaccel.errors import check

if TYPE_CHECKING:
    import numpy as np

    from nnaccel.model import Model
    from nnaccel.table import Table

_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def predict(
    model_file: Annotated[Path, typer.Argument(metavar="MODEL", help="A file that nnaccel train --out wrote.")],
    data: Annotated[
        str, typer.Argument(metavar="DATA", help="Rows as the model was trained on, with or without the target.")
    ],
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="FILE.csv or .tsv, with .gz to compress; by default stdout.")
    ] = None,
    proba: Annotated[bool, typer.Option("--proba", help="The probability of each class as well.")] = False,
    keep: Annotated[
        str, typer.Option(metavar="COL,...", help="Columns of DATA to copy beside the predictions, such as an id.")
    ] = "",
    target: Annotated[
        Path | None, typer.Option(metavar="FILE", help="The file of the truth, where rows are an array.")
    ] = None,
    metric: options.Metrics = None,
    rows: options.RowRange = ":",
    header: options.Header = None,
    delimiter: options.Delimiter = None,
    encoding: options.TextEncoding = "utf-8",
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Predict rows with a model file alone; where the target is among their columns, print how good it is as well."""
    from nnaccel.cli.summary import score_lines
    from nnaccel.model import load
    from nnaccel.model_file import to_json
    from nnaccel.sources import FileOptions
    from nnaccel.sources.opening import open_source

    say = options.speaker(quiet, as_json or out is None)
    check(not as_json or out is not None, "--json takes stdout for the result: give the predictions a file with --out.")
    _check_out(out)
    model = _encoded(load(model_file))
    learnt = model.encoding
    assert learnt is not None, "it was just seen to"
    judge = _Judge(model, options.names(metric))
    aside = None if target is None else str(target)
    source = open_source(data, FileOptions(header, delimiter, encoding, aside), learnt.columns if learnt.named else ())
    places = learnt.places(source)
    judge.has_truth = all(name in places for name in learnt.target.names)
    # They are read a second time, as text, under names that no column has.
    kept = {f"\0{source.columns[place]}": place for place in source.positions(keep)}

    began, count = time.perf_counter(), 0
    progress = ProgressLine(say.stream, silent=quiet)
    with _writer(out) as writer:
        writer.writerow([*(name[1:] for name in kept), *_column_names(model, proba)])
        for table in source.parts(places | kept, learnt.texts | kept.keys(), options.row_range(rows)):
            outputs = model.outputs(table)
            copied = [table.text(name) for name in kept]
            columns = [text.mapped(text.words, "", object).tolist() for text in copied]
            writer.writerows(zip(*columns, *_columns(model, outputs, proba), strict=True))
            judge.add(table, outputs)
            count += len(table)
            progress.show(f"{count:,} rows")
        check(count > 0, f"{source.name} has no rows" + ("." if rows == ":" else " there: see --rows."))
    progress.clear()

    result: dict[str, Any] = {"rows": count, "seconds": time.perf_counter() - began} | judge.result()
    if out is not None:
        result["out"] = str(out)
    where = "" if out is None else f", written to {out}"
    say(f"predicted  {count:,} rows of {source.name} in {duration(result['seconds'])}{where}")
    for line in judge.remarks:
        say(f"note       {line}")
    for line in score_lines(result, "scored", judge.rows):
        say(line)
    if as_json:
        print(to_json(result))


class _Judge:
    """Collects the truth, where it is known, beside the network's outputs, and judges them in the end.

    Only these are kept of the rows: metrics such as the area under a curve need all of them at once.
    """

    def __init__(self, model: "Model", names: list[str]) -> None:
        from nnaccel.assessment import in_own_units
        from nnaccel.metrics import as_metric, check_metrics, default_metrics

        assert model.encoding is not None, "a model without one gets the plain one"
        self._model, self._target = model, model.encoding.target
        metrics = tuple(map(as_metric, names)) or default_metrics(model.loss)
        check_metrics(model.loss, metrics)
        self._metrics = in_own_units(metrics, self._target)
        self._truths: list[np.ndarray] = []
        self._outputs: list[np.ndarray] = []
        self.remarks: dict[str, None] = {}
        self.has_truth, self.rows = False, 0

    def add(self, table: "Table", outputs: "np.ndarray") -> None:
        """Take the rows of a table that have a target."""
        from nnaccel.targets import present

        if not self.has_truth:
            return
        there = present(table, self._target.names)
        self._truths.append(self._target.encode(table)[there])
        self._outputs.append(outputs[there])
        self.rows += len(self._truths[-1])
        self.remarks |= dict.fromkeys(
            f"{word!r} is read as the class {label!r}" for word, label in self._target.respelled(table).items()
        )

    def result(self) -> dict[str, Any]:
        """The metrics and the confusion matrix or the errors' spread, for JSON; no metrics without truth."""
        import numpy as np

        from nnaccel.cli.summary import judged
        from nnaccel.metrics import evaluate

        if not self.rows:
            return {"metrics": {}}
        truth, outputs = np.concatenate(self._truths), np.concatenate(self._outputs)
        scores = evaluate(self._model.loss, self._metrics, truth, outputs, None)
        return {"rows_scored": self.rows, "metrics": scores} | judged(self._target, self._model.loss, truth, outputs)


def _encoded(model: "Model") -> "Model":
    """The model; one that was saved from arrays takes columns of numbers as they are."""
    from nnaccel.encoding import plain_encoding
    from nnaccel.metrics import is_classification
    from nnaccel.targets import Target

    if model.encoding is not None:
        return model
    outputs = model.network.output_shape[0]
    if model.loss.targets == "labels":
        target = Target(("target",), "classification", tuple(range(outputs)))
    else:
        names = ("target",) if outputs == 1 else tuple(f"target {k}" for k in range(outputs))
        target = Target(names, "multilabel" if is_classification(model.loss) else "regression")
    return replace(model, encoding=plain_encoding(model.network.input_shape[0], target))


def _column_names(model: "Model", proba: bool) -> list[str]:
    assert model.encoding is not None, "a model without one gets the plain one"
    target = model.encoding.target
    if not proba:
        return list(target.names)
    check(target.task != "regression", "--proba is for classes, but this model predicts numbers: leave it out.")
    return [*target.names, *(f"probability_{label}" for label in target.classes or target.names)]


def _columns(model: "Model", outputs: "np.ndarray", proba: bool) -> list[list[str]]:
    """The columns of the file of predictions, as text."""
    decided = model.decide(outputs)
    columns = [_as_text(column, outputs.dtype) for column in decided.reshape(len(outputs), -1).T]
    if proba:
        probabilities = model.probabilities(outputs)[:, -len(_column_names(model, True)) + len(columns) :]
        columns += [_as_text(column, outputs.dtype) for column in probabilities.T]
    return columns


def _as_text(column: "np.ndarray", precision: "np.dtype[Any]") -> list[str]:
    """Numbers with the digits that mean something in the network's precision."""
    if column.dtype.kind != "f":
        return list(map(str, column.tolist()))
    digits = 7 if precision.itemsize == 4 else 16
    return [f"{value:.{digits}g}" for value in column.tolist()]


def _check_out(out: Path | None) -> None:
    from nnaccel.files import check_writable

    if out is None:
        return
    check(
        out.name.removesuffix(".gz").endswith(tuple(_DELIMITERS)),
        f"--out takes a file named *.csv or *.tsv, perhaps with .gz, not {out}.",
    )
    check_writable(out)


@contextlib.contextmanager
def _writer(out: Path | None) -> Iterator[Any]:
    """A writer of lines of values, to a file that is there in the end or not at all, or to stdout."""
    from nnaccel.files import written_whole

    if out is None:
        yield csv.writer(sys.stdout, lineterminator="\n")
        return
    delimiter = _DELIMITERS[Path(out.name.removesuffix(".gz")).suffix]
    opener: Any = gzip.open if out.suffix == ".gz" else open
    with written_whole(out) as part, opener(part, "wt", encoding="utf-8", newline="") as file:
        yield csv.writer(file, delimiter=delimiter, lineterminator="\n")
