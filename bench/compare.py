"""Results side by side: how many times as long one took as another, and whether on one machine that is beyond the noise."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, NamedTuple

from nnaccel.bench.interval import LEVEL, Interval, ratio_interval
from nnaccel.bench.measured import Measured, Series, is_busy, machine_label, measured, same_machine
from nnaccel.bench.reading import read_result
from nnaccel.errors import InputError, check

Verdict = Literal["faster, beyond the noise", "slower, beyond the noise", "within the noise", "too few samples to tell",
                  "the control", ""]  # fmt: skip


class Result(NamedTuple):
    """A result and the file that it is from."""

    path: Path
    content: Mapping[str, Any]


@dataclass(frozen=True)
class Difference:
    """What one contender took for one case in two results.

    Attributes
    ----------
    case, contender : str
    first, second : float
        The medians, in seconds.
    interval : Interval
        How many times as long the second took.
    verdict : str
        Empty between two machines.
    """

    case: str
    contender: str
    first: float
    second: float
    interval: Interval
    verdict: Verdict


def read_results(paths: Sequence[Path]) -> list[Result]:
    """The results of some files, each comparable with the first.

    Raises
    ------
    InputError
        If one can't be read, or isn't comparable.
    """
    check(len(paths) > 1, "--compare takes two RESULT files or more: nnaccel bench --compare before.json after.json.")
    found = [Result(path, read_result(path)) for path in paths]
    for other in found[1:]:
        check_comparable(found[0], other)
    return found


def check_comparable(first: Result, second: Result) -> None:
    """Raise `InputError` unless both have a case in common, and all that they have in common are the same."""
    cases = {each.label: each for each in measured(first.content)}
    shared = [each for each in measured(second.content) if each.label in cases]
    check(bool(shared), f"{second.path} has no case in common with {first.path}: measure the same cases.")
    for each in shared:
        theirs = cases[each.label].definition
        for name in theirs:
            if theirs[name] != each.definition[name]:
                values = (str(given)[:60] for given in (each.definition[name], theirs[name]))
                raise InputError(
                    f"{second.path} isn't comparable with {first.path}: the {name} of {each.label[:60]!r} is "
                    f"{' in the one and '.join(values)} in the other; measure both by one version."
                )


def differences(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[Difference]:
    """Every contender of every case that two comparable results share.

    On one machine, a difference is called beyond the noise if `ratio_interval` rules out that there is none twice: for the
    times as they were measured, and for the times by those of a control in the same rounds, NumPy's loop by hand. The second
    is there because a machine is now faster and now slower for minutes, by more than the samples of one run show: what hits
    the control alike cancels, though what hits one of them alone doesn't, so that both must be measured at rest (Georges et al. 2007, doi:10.1145/1297027.1297033, on why samples of one run alone mislead).
    """
    alike, before = same_machine(first, second), {each.label: each for each in measured(first)}
    for after in measured(second):
        earlier = before.get(after.label)
        if earlier is None:
            continue
        for name in [name for name in earlier.series if name in after.series]:
            a, b = earlier.series[name], after.series[name]
            interval = ratio_interval(a.seconds, b.seconds)
            verdict = _verdict(name, interval, earlier, after) if alike else ""
            yield Difference(after.label, name, a.median, b.median, interval, verdict)


def _verdict(name: str, interval: Interval, first: Measured, second: Measured) -> Verdict:
    controls = first.control, second.control
    if controls[0] is not None and controls[0].contender == name and len(first.series) > 1:
        return "the control"
    relative = interval
    if controls[0] is not None and controls[1] is not None:
        relative = ratio_interval(_by(first.series[name], controls[0]), _by(second.series[name], controls[1]))
    if not interval.tells:
        return "too few samples to tell"
    if not (interval.without_one and relative.without_one) or (interval.ratio > 1) != (relative.ratio > 1):
        return "within the noise"
    return "slower, beyond the noise" if interval.ratio > 1 else "faster, beyond the noise"


def _by(series: Series, control: Series) -> list[float]:
    """The times by those of the control in the same round."""
    return [a / b for a, b in zip(series.seconds, control.seconds, strict=False)]


def comparison_lines(results: Sequence[Result]) -> Iterator[str]:
    """Who is compared, and a table for each result beside the first."""
    first = results[0]
    for number, result in enumerate(results, start=1):
        yield f"{number:<3}{result.path.name}: {_heading(result.content)}"
    for number, result in enumerate(results[1:], start=2):
        alike = same_machine(first.content, result.content)
        yield ""
        yield (
            f"{'one machine' if alike else 'two machines':<40}{'1, ms':>11}{f'{number}, ms':>11}{f'{number} / 1':>9}"
            + (f"  {LEVEL:.0%} sure" if alike else "")
        )
        for difference in differences(first.content, result.content):
            yield _line(difference)


def _heading(content: Mapping[str, Any]) -> str:
    settings, commit = content["settings"], content["commit"]
    words = [
        machine_label(content["machine"]),
        f"nnaccel {content['versions'].get('nnaccel', 'unknown')}",
        content["date"],
    ]
    if commit is not None:
        words.append(f"commit {commit['hash'][:10]}" + (" with changes" if commit["dirty"] else ""))
    words += [] if settings["threads"] is None else [f"threads {settings['threads']}"]
    words += ["quick"] if settings["quick"] else []
    words += [f"other work: a load of {content['load_before'][0]:.1f}"] if is_busy(content) else []
    words += [] if content["finished"] else ["incomplete: it was interrupted"]
    return "; ".join(words)


def _line(difference: Difference) -> str:
    interval = difference.interval
    line = (
        f"{difference.case[:26]:<26}{difference.contender[:13]:<14}{difference.first * 1e3:11.4g}"
        f"{difference.second * 1e3:11.4g}{interval.ratio:9.3g}"
    )
    if not difference.verdict:
        return line
    sure = f"{interval.low:.3g} to {interval.high:.3g}" if interval.tells else ""
    return f"{line}  {sure:<19}{difference.verdict}"


def describe(results: Sequence[Result]) -> dict[str, Any]:
    """The comparison for JSON."""
    first = results[0]
    return {
        "files": [
            {
                "name": result.path.name,
                "machine": machine_label(result.content["machine"]),
                "same_machine": same_machine(first.content, result.content),
                "finished": result.content["finished"],
            }
            for result in results
        ],
        "differences": [
            {
                "file": number, "case": each.case, "contender": each.contender, "first_seconds": each.first,
                "second_seconds": each.second, "ratio": each.interval.ratio, "low": each.interval.low,
                "high": each.interval.high, "verdict": each.verdict or None,
            }
            for number, result in enumerate(results[1:], start=1)
            for each in differences(first.content, result.content)
        ],
    }  # fmt: skip
