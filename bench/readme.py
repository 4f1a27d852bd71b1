"""The README's figures, written from the results in bench/results.

python -m nnaccel.bench.readme             write them anew
python -m nnaccel.bench.readme --check     exit code 1 if they aren't those of the results
python -m nnaccel.bench.readme --measure   measure this machine first, beside all peers that are installed
"""

import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from nnaccel.bench.measured import Measured, case_shape, machine_label, measured
from nnaccel.bench.picture import bars, standalone, time_text
from nnaccel.bench.reading import ESTIMATES_FORMAT, KINDS, read_result
from nnaccel.bench.report import estimates_plot, estimates_sentence
from nnaccel.bench.schema import FORMAT
from nnaccel.errors import InputError, check
from nnaccel.files import written_whole
from nnaccel.version import VERSION

ROOT = Path(__file__).resolve().parent.parent

BEGIN, END = "<!-- begin of what python -m nnaccel.bench.readme writes -->", "<!-- end of it -->"

COMMAND = "python -m nnaccel.bench.readme"


def generated(root: Path = ROOT) -> dict[Path, str]:
    """What the results make of the README and its plots, by the files' paths.

    Raises
    ------
    InputError
        If a result is damaged, or the README lacks the place for the figures.
    """
    readme, folder = root / "README.md", root / "bench" / "results"
    check(
        readme.is_file(), f"there is no {readme}: run {COMMAND} in a checkout that is installed with pip install -e ."
    )
    results = [read_result(path, *KINDS) for path in sorted(folder.rglob("*.json")) if _is_shown(path)]
    suites = [result for result in results if result.get("format") == FORMAT]
    trainings = [each for result in results if _is_estimates(result) for each in result["configurations"]]
    text = readme.read_text(encoding="utf-8")
    check(text.count(BEGIN) == text.count(END) == 1, f"{readme} lacks the lines {BEGIN!r} and {END!r}: put them back.")
    head, rest = text.split(BEGIN)
    lines = [*(line for suite in suites for line in _machine(suite)), *_pictures(bool(suites), trainings)]
    found = {readme: f"{head}{BEGIN}\n" + "\n".join(lines) + f"\n{END}{rest.split(END)[1]}"}
    if suites:
        found[folder / "epochs.svg"] = standalone(bars("Time per epoch", _rows(suites)))
    if trainings:
        found[folder / "estimates.svg"] = standalone(estimates_plot(trainings))
    return found


def _is_shown(path: Path) -> bool:
    """Whether a file is of a kind that the README shows; files of others have their own tables."""
    return path.name.startswith(("suite--", "peers--", "estimates--"))


def _is_estimates(result: Mapping[str, Any]) -> bool:
    return bool(result.get("format", ESTIMATES_FORMAT) == ESTIMATES_FORMAT)


def _sgd(suite: Mapping[str, Any]) -> list[Measured]:
    return [case for case in measured(suite) if not case.goal and case.definition["optimizer"].startswith("sgd")]


def _machine(suite: Mapping[str, Any]) -> Iterator[str]:
    """The table of one machine: the times of an epoch, and of the training that reaches a score."""
    cases = _sgd(suite)
    names = list(dict.fromkeys(name for case in cases for name in case.series))
    floors = {result["case"]["name"]: result["floor_seconds_per_epoch"] for result in suite["results"]}
    yield f"Time of an epoch on {machine_label(suite['machine'])}, nnaccel {suite['versions']['nnaccel']}, {suite['date'][:10]}:"
    yield ""
    yield f"| SGD | floor | {' | '.join(names)} |"
    yield "|---" * (2 + len(names)) + "|"
    for case in cases:
        name = case.definition["name"]
        times = [time_text(case.series[who].median) if who in case.series else "-" for who in names]
        # Of the neuron's few products no floor can be told.
        floor = time_text(floors[name]) if floors[name] > 1e-6 else "-"
        yield f"| {name}: {case_shape(case.definition)} | {floor} | {' | '.join(times)} |"
    yield ""
    for case in measured(suite):
        if case.goal:
            said = [f"{time_text(series.median)} on {name}" for name, series in case.series.items()]
            yield f"{case.label} on rows held out, from call to model: {', '.join(said)}."
            yield ""


def _pictures(suites: bool, trainings: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    if suites:
        yield "![Time of an epoch by case and contender, the numbers of the table above](bench/results/epochs.svg)"
    if trainings:
        yield ""
        yield f"Predicted against actual time, {estimates_sentence(trainings)}"
        yield ""
        yield "![Predicted against actual time of trainings](bench/results/estimates.svg)"


def _rows(suites: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float]]:
    """The bars of all machines; which machine, is said where there are several."""
    return {
        (f"{machine_label(suite['machine'])}: " if len(suites) > 1 else "")
        + f"{case.label}: {case_shape(case.definition)}": {name: series.median for name, series in case.series.items()}
        for suite in suites
        for case in _sgd(suite)
    }


def _measure(root: Path) -> None:
    """Measure this machine, into the folder of this version."""
    folder = root / "bench" / "results" / VERSION
    folder.mkdir(parents=True, exist_ok=True)
    subprocess.run([sys.executable, "-m", "nnaccel", "bench", "--peers", "--out", str(folder)], check=True)


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Write or check the figures and return the exit code."""
    if arguments not in ([], ["--check"], ["--measure"]):
        print(__doc__, file=sys.stderr)
        return 2
    try:
        if arguments == ["--measure"]:
            _measure(root)
        wanted = generated(root)
        stale = [path for path, text in wanted.items() if not path.exists() or path.read_text(encoding="utf-8") != text]
        if arguments == ["--check"]:
            for path in stale:
                print(f"{path.relative_to(root)} isn't what bench/results says: run {COMMAND}.", file=sys.stderr)
            return 1 if stale else 0
        for path in stale:
            with written_whole(path) as part:
                part.write_text(wanted[path], encoding="utf-8")
            print(f"written    {path.relative_to(root)}")
    except InputError as error:
        print(error, file=sys.stderr)
        return 2
    except subprocess.CalledProcessError as error:
        return error.returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
