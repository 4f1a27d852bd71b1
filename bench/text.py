"""What people see of a benchmark: a block of lines for each case and for the goal, and one table at the end."""

from collections.abc import Iterator, Sequence

from nnaccel.bench.goal import DTYPE, OPTIMIZER, Attempt, Goal
from nnaccel.bench.measure import CaseResult, Entry
from nnaccel.bench.peers import Skipped


def case_lines(result: CaseResult, base: str) -> Iterator[str]:
    """What one case came to.

    Parameters
    ----------
    result : CaseResult
    base : str
        The contender that the others are compared with.
    """
    case, peak = result.case, result.peak
    yield f"{case.name}, {case.optimizer.name}: {case.shape}, {case.loss}, {case.dtype}"
    yield (
        f"  floor {milliseconds(result.floor)} an epoch, at {peak.operations_per_second / 1e9:.0f} GFLOP/s "
        f"({peak.library}, {peak.size} x {peak.size})"
    )
    yield (f"  {'':14}{'ms an epoch':>12}{'spread':>8}{'rows/s':>13}{'of peak':>9}{f'{base} is':>11}{'start':>9}  runs")
    reference = entry_of(result, base)
    for entry in result.entries:
        yield "  " + (_timed_line(entry, result, reference) if entry in result.timed else _other_line(entry))


def _timed_line(entry: Entry, result: CaseResult, base: Entry | None) -> str:
    seconds = result.epoch_seconds(entry)
    ratio = "" if base is None or base is entry else f"{entry.timing.ratio(base.timing):.3g} x"
    return (
        f"{entry.name:14}{seconds * 1e3:12.4g}{entry.timing.spread:8.0%}{result.case.rows_per_epoch / seconds:13,.0f}"
        f"{result.floor / seconds:9.1%}{ratio:>11}{entry.compile_seconds(result.case):7.2f} s  {entry.kernel}"
    )


def _other_line(entry: Entry) -> str:
    return f"{entry.name:14}{entry.status}: {entry.reason}" if entry.reason else f"{entry.name:14}not timed"


def summary_lines(results: Sequence[CaseResult], base: str) -> Iterator[str]:
    """One line a case: its floor, the base's time, and how many times as fast as each other contender the base is."""
    others = list(dict.fromkeys(entry.name for result in results for entry in result.entries if entry.name != base))
    yield f"{'':16}{'floor':>12}{base:>12}{'of peak':>9}  {base} is so many times as fast as"
    yield f"{'':16}{'ms':>12}{'ms':>12}{'':9}" + "".join(f"{name:>14}" for name in others)
    for result in results:
        reference = entry_of(result, base)
        yield _summary_line(result, reference, others)


def _summary_line(result: CaseResult, base: Entry | None, others: Sequence[str]) -> str:
    label = f"{result.case.name}, {result.case.optimizer.name}"
    if base is None:
        return f"{label:16}{result.floor * 1e3:12.4g}{'-':>12}"
    seconds = result.epoch_seconds(base)
    cells = []
    for name in others:
        entry = entry_of(result, name)
        cells.append("-" if entry is None else f"{entry.timing.ratio(base.timing):.3g}")
    return f"{label:16}{result.floor * 1e3:12.4g}{seconds * 1e3:12.4g}{result.floor / seconds:9.1%}" + "".join(
        f"{cell:>14}" for cell in cells
    )


def goal_lines(goal: Goal, attempts: Sequence[Attempt]) -> Iterator[str]:
    """What people see of it."""
    prepared = goal.prepared
    assert prepared.held_out is not None, "a goal has rows held out"
    yield (
        f"{goal.data} to {goal.metric.name} {goal.score:g} on {len(prepared.held_out.y):,} rows held out: {goal.shape}, "
        f"{OPTIMIZER}, {DTYPE}"
    )
    yield f"  {'':14}{'seconds':>10}{'spread':>8}{'epochs':>8}{'score':>9}{'rows/s':>13}  runs"
    for attempt in attempts:
        if len(attempt.samples) < 2:
            yield f"  {attempt.name:14}{attempt.reason or 'not timed'}"
            continue
        seconds = attempt.timing.median
        rate = len(prepared.training.y) * attempt.epochs / seconds
        yield (
            f"  {attempt.name:14}{seconds:10.4g}{attempt.timing.spread:8.0%}{attempt.epochs:8}{attempt.score:9.4f}"
            f"{rate:13,.0f}  {attempt.kernel}"
        )


def skipped_lines(skipped: Sequence[Skipped]) -> Iterator[str]:
    """Who can't take part here, and what mends it."""
    for name, reason in skipped:
        yield f"{name:<10} left out: {reason}"


def entry_of(result: CaseResult, name: str) -> Entry | None:
    """What a contender came to; None if it wasn't timed."""
    return next((entry for entry in result.timed if entry.name == name), None)


def milliseconds(seconds: float) -> str:
    """Milliseconds for people to read.

    Examples
    --------
    >>> milliseconds(0.0123456)
    '12.35 ms'
    """
    return f"{seconds * 1e3:.4g} ms"
