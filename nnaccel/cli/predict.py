"""`nnaccel predict`: a model file and new rows, of which there may be more than fit in memory, to a file of predictions."""

import contextlib
import csv
import gzip
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnaccel.cli import options
from nnaccel.cli.screen import ProgressLine, duration
from nnaccel.errors import check

if TYPE_CHECKING:
    import numpy as np

    from nnaccel.assessment import Assessment
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
    from nnaccel.cli.summary import score_lines, without_nothing
    from nnaccel.described import to_json
    from nnaccel.model import load
    from nnaccel.sources import FileOptions
    from nnaccel.sources.opening import open_source

    say = options.speaker(quiet, as_json or out is None)
    check(not as_json or out is not None, "--json takes stdout for the result: give the predictions a file with --out.")
    _check_out(out, model_file, data, target)
    model = load(model_file).with_encoding()
    learnt = model.encoding
    assert learnt is not None, "it was just seen to"
    judge = _Judge(model, options.names(metric))
    aside = None if target is None else str(target)
    source = open_source(data, FileOptions(header, delimiter, encoding, aside), learnt.columns if learnt.named else ())
    places = learnt.places(source)
    has_truth = all(name in places for name in learnt.target.names)
    # They are read a second time, as text, under names that no column has.
    kept = {f"\0{source.columns[place]}": place for place in source.positions(keep)}
    names = [*(name[1:] for name in kept), *_column_names(model, proba)]
    check(len(set(names)) == len(names), "--keep names a column twice, or one that is predicted: leave it out.")

    began, count, new_gaps = time.perf_counter(), 0, Counter[str]()
    progress = ProgressLine(say.stream, silent=quiet)
    with _writer(out) as writer:
        writer.writerow(names)
        for table in source.parts(places | kept, learnt.texts | kept.keys(), options.row_range(rows)):
            outputs = model.outputs(table)
            copied = [table.text(name) for name in kept]
            columns = [text.mapped(text.words, "", object).tolist() for text in copied]
            writer.writerows(zip(*columns, *_columns(model, outputs, proba), strict=True))
            if has_truth:
                judge.add(table, outputs)
            new_gaps.update(learnt.new_gaps(table))
            count += len(table)
            progress.show(f"{count:,} rows")
        check(count > 0, f"{source.name} has no rows" + ("." if rows == ":" else " there: see --rows."))
    progress.clear()

    scores, seconds = judge.result(), time.perf_counter() - began
    where = "" if out is None else f", written to {out}"
    say(f"predicted  {count:,} rows of {source.name} in {duration(seconds)}{where}")
    for line in judge.remarks:
        say(f"note       {line}")
    for name, rows_lacking in new_gaps.items():
        say(f"note       {name!r} has gaps in {rows_lacking:,} rows, but had none in training")
    for line in score_lines(scores, learnt.target.task, "scored"):
        say(line)
    if as_json:
        result = {"rows": count, "seconds": seconds, "out": str(out), "rows_scored": scores.rows}
        print(to_json(result | without_nothing(scores)))


class _Judge:
    """Collects the truth, where it is known, beside the network's outputs, and judges them in the end.

    Only these are kept of the rows: metrics such as the area under a curve need all of them at once.
    """

    def __init__(self, model: "Model", names: list[str]) -> None:
        from nnaccel.metrics import as_metric, check_metrics, default_metrics

        assert model.encoding is not None, "a model without one gets the plain one"
        self._model, self._target = model, model.encoding.target
        self._metrics = tuple(map(as_metric, names)) or default_metrics(model.loss)
        check_metrics(model.loss, self._metrics)
        self._truths: list[np.ndarray] = []
        self._outputs: list[np.ndarray] = []
        self._respelled: dict[str, str] = {}
        self._strangers = 0

    def add(self, table: "Table", outputs: "np.ndarray") -> None:
        """Take the rows of a table that have a target."""
        from nnaccel.targets import present

        known = self._target.known(table)
        self._truths.append(self._target.encode(table, known))
        self._outputs.append(outputs[known])
        self._strangers += int((present(table, self._target.names) & ~known).sum())
        self._respelled |= {word: repr(label) for word, label in self._target.respelled(table).items()}

    @property
    def remarks(self) -> list[str]:
        """What the user should know of how the truth was read."""
        lines = [f"{word!r} is read as the class {label}" for word, label in self._respelled.items()]
        if self._strangers:
            lines.append(f"{self._strangers:,} rows are of classes that training had not; they are not scored")
        return lines

    def result(self) -> "Assessment":
        """How good the predictions are where the truth is known."""
        import numpy as np

        from nnaccel.assessment import Assessment, assess

        if not any(map(len, self._truths)):
            return Assessment()
        truth, outputs = np.concatenate(self._truths), np.concatenate(self._outputs)
        return assess(self._target, self._model.loss, self._metrics, truth, outputs)


def _column_names(model: "Model", proba: bool) -> list[str]:
    assert model.encoding is not None, "a model without one gets the plain one"
    target = model.encoding.target
    if not proba:
        return list(target.names)
    check(target.task != "regression", "--proba is for classes, but this model predicts numbers: leave it out.")
    return [*target.names, *(f"probability_{label}" for label in target.classes or target.names)]


def _columns(model: "Model", outputs: "np.ndarray", proba: bool) -> list[list[str]]:
    """The columns of the file of predictions, as text."""
    import numpy as np

    assert model.encoding is not None, "a model without one gets the plain one"
    target, decided = model.encoding.target, model.decide(outputs).reshape(len(outputs), -1)
    if target.task != "regression":
        columns = [list(map(str, column.tolist())) for column in decided.T]
    else:
        scales = np.abs(decided).max(axis=0, initial=1e-300) if target.scale is None else target.scale
        columns = [
            _rounded(column, _decimals(outputs.dtype, scale)) for column, scale in zip(decided.T, scales, strict=True)
        ]
    if proba:
        probabilities = model.probabilities(outputs)[:, -len(target.classes or target.names) :]
        columns += [[f"{p:.{_digits(outputs.dtype)}g}" for p in column.tolist()] for column in probabilities.T]
    return columns


def _rounded(column: "np.ndarray", decimals: int) -> list[str]:
    return list(map(str, column.astype("float64").round(decimals).tolist()))


def _decimals(precision: "np.dtype[Any]", scale: float) -> int:
    """How many decimals of numbers of this scale, computed in this precision, mean something."""
    return _digits(precision) - math.ceil(math.log10(scale))


def _digits(precision: "np.dtype[Any]") -> int:
    return 7 if precision.itemsize == 4 else 16


def _check_out(out: Path | None, *inputs: str | Path | None) -> None:
    from nnaccel.cli.outputs import check_no_input
    from nnaccel.files import check_writable

    if out is None:
        return
    check(
        out.name.removesuffix(".gz").endswith(tuple(_DELIMITERS)),
        f"--out takes a file named *.csv or *.tsv, perhaps with .gz, not {out}.",
    )
    check_writable(out)
    check_no_input(out, *inputs)


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
