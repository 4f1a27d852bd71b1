"""What `nnaccel bench` does with results that are kept: compare them, or make a page of them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from nnaccel.bench import compare, keeping
from nnaccel.bench.reading import ESTIMATES_FORMAT, KINDS, read_result
from nnaccel.bench.report import page
from nnaccel.bench.scaling import FORMAT as SCALING_FORMAT
from nnaccel.cli.options import Speaker
from nnaccel.cli.outputs import check_no_input
from nnaccel.described import to_json
from nnaccel.errors import InputError, check
from nnaccel.files import check_writable, written_whole

BESIDE = {"scaling": SCALING_FORMAT, "estimates": ESTIMATES_FORMAT}
"""What else may be kept of a machine, and belongs on the page of what was just measured."""


def check_report(report: Path, results: Sequence[Path]) -> None:
    """Raise `InputError` if the page couldn't be written, or is an input."""
    check(report.suffix in (".html", ".htm"), f"--report takes a file named *.html, not {report}.")
    check_writable(report)
    check_no_input(report, *results)


def use(results: Sequence[Path], comparing: bool, report: Path | None, say: Speaker, as_json: bool) -> None:
    """Compare results, make a page of them, or both.

    Raises
    ------
    InputError
        If a file isn't there, or is no result, damaged, of another version or not comparable; nothing is written then.
    """
    check(comparing or report is not None, "RESULT files are for --compare or --report: say which.")
    check(comparing or not as_json, "--json is for --compare, or for what is measured.")
    contents = [read_result(path, *KINDS) for path in results] if report is not None else []
    if comparing:
        found = compare.read_results(results)
        for line in compare.comparison_lines(found):
            say(line)
        if as_json:
            print(to_json(compare.describe(found)))
    if report is not None:
        write_report(report, contents)
        say(f"written    {report}")


def write_report(report: Path, results: Sequence[Mapping[str, Any]]) -> None:
    """Write the page of some results."""
    with written_whole(report) as part:
        part.write_text(page(results), encoding="utf-8")


def kept_beside(path: Path | None, machine: Mapping[str, Any], say: Speaker) -> list[dict[str, Any]]:
    """What else is kept of a machine in the folder of a result; what can't be read is told and left out."""
    found = []
    for kind, form in BESIDE.items():
        beside = keeping.kept_path(kind, machine, path.parent if path is not None else None)
        if not beside.exists() or beside == path:
            continue
        try:
            found.append(read_result(beside, form))
        except InputError as error:
            say(f"left out   {error}")
    return found
