"""`nnaccel predict`: a model file and new rows, of which there may be more than fit in memory, to a file of predictions."""

import contextlib
import csv
import gzip
import math
import sys
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnaccel.cli import options
from nnaccel.cli.screen import ProgressLine, duration
from nnaccel.errors import check, counted

if TYPE_CHECKING:
    import numpy as np

    from nnaccel.encoding import Encoding
    from nnaccel.model import Model
    from nnaccel.sources import Source

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
    from nnaccel.cli.judge import Judge
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
    aside = None if target is None else str(target)
    source = open_source(data, FileOptions(header, delimiter, encoding, aside), learnt.columns if learnt.named else ())
    weight = None if model.report is None else model.report.data.get("weight")
    places = learnt.places(source, () if weight is None else (weight,))
    judge = Judge(model, options.names(metric), weight if weight in places else None)
    # They are read a second time, as text, under names that no column has.
    kept = {f"\0{source.columns[place]}": place for place in source.positions(keep)}
    names = [*(name[1:] for name in kept), *_column_names(model, proba)]
    check(len(set(names)) == len(names), "--keep names a column twice, or one that is predicted: leave it out.")

    began, count, new_gaps = time.perf_counter(), 0, Counter[str]()
    progress = ProgressLine(say.stream, silent=quiet)
    has_truth = all(name in places for name in learnt.target.names)
    with _writer(out) as writer:
        for table in source.parts(places | kept, learnt.texts | kept.keys(), options.row_range(rows)):
            outputs = model.outputs(table)
            # Not before the first rows are read: they may be refused.
            if not count:
                writer.writerow(names)
            copied = [table.text(name) for name in kept]
            columns = [text.mapped(text.words, "", object).tolist() for text in copied]
            writer.writerows(zip(*columns, *_columns(model, outputs, proba), strict=True))
            if has_truth:
                judge.add(table, outputs)
            new_gaps.update(learnt.new_gaps(table))
            count += len(table)
            progress.show(counted(count, "row"))
        check(count > 0, f"{source.name} has no rows" + ("." if rows == ":" else " there: see --rows."))
    progress.clear()

    scores, seconds = judge.result(), time.perf_counter() - began
    where = "" if out is None else f", written to {out}"
    say(f"predicted  {counted(count, 'row')} of {source.name} in {duration(seconds)}{where}")
    for line in [*_taken_by_position(learnt, source, places), *judge.remarks, *_new_gaps(new_gaps)]:
        say(f"note       {line}")
    for line in score_lines(scores, learnt.target.task, "scored"):
        say(line)
    if as_json:
        result = {"rows": count, "seconds": seconds, "out": str(out), "rows_scored": scores.rows}
        print(to_json(result | without_nothing(scores)))


def _taken_by_position(learnt: "Encoding", source: "Source", places: Mapping[str, int]) -> list[str]:
    """A remark, where a file without names is read by a model that knows names."""
    if source.named or not learnt.named:
        return []
    taken = ", ".join(f"{name!r} {place}" for name, place in sorted(places.items(), key=lambda item: item[1])[:8])
    return [f"without names, columns are taken by position: {taken}{' and so on' if len(places) > 8 else ''}"]


def _new_gaps(counts: Mapping[str, int]) -> list[str]:
    return [f"{name!r} has gaps in {counted(rows, 'row')}, but had none in training" for name, rows in counts.items()]


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
