"""`nnaccel bench`: how fast a backend trains on this machine, beside its peers and the machine's own limit."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

import typer

from nnaccel.cli import options
from nnaccel.cli.screen import ProgressLine, duration
from nnaccel.errors import check

if TYPE_CHECKING:
    from nnaccel.backends import Backend
    from nnaccel.bench.suite import Settings, Suite

WRONG = 1
"""The exit code if a backend disagrees with the reference."""


def bench(
    backend: Annotated[
        str,
        typer.Option(metavar="NAME,...", help="auto, or a name as in nnaccel info; the first is compared with all."),
    ] = "auto",
    peers: Annotated[
        bool, typer.Option("--peers", help="Beside NumPy, also scikit-learn, torch and JAX, where installed.")
    ] = False,
    case: Annotated[
        str, typer.Option(metavar="NAME,...", help="tabular, digits, mnist, wide, neuron. [default: all]")
    ] = "",
    optimizer: Annotated[str, typer.Option(metavar="NAME,...", help="sgd, adam. [default: both]")] = "",
    threads: Annotated[int | None, typer.Option(help="The most threads that each may use.")] = None,
    rounds: Annotated[
        int | None, typer.Option(help="The most samples of each; fewer where time is short. [default: 11]")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer and shorter samples, to see whether all works.")
    ] = False,
    scaling: Annotated[
        bool, typer.Option("--scaling", help="Instead: how the cost grows over width, depth, rows, batch and threads.")
    ] = False,
    estimators: Annotated[
        bool, typer.Option("--estimators", help="Instead: MLPClassifier beside scikit-learn's, from import to predict.")
    ] = False,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw --scaling: FILE.png, .svg, .pdf.")] = None,
    out: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Keep every sample and what it was taken on.")
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Measure how fast a backend trains, in turn with other libraries, each checked before it is timed.

    All train the same batches from the same parameters. The floor is what the matrix products alone would take at the speed
    of the fastest product measured in the same run. With --peers it takes up to 5 minutes; an interruption keeps what is
    measured, if --out was given.
    """
    from nnaccel.backends import choose_backend
    from nnaccel.bench.suite import Settings
    from nnaccel.cli.outputs import Outputs
    from nnaccel.files import check_writable
    from nnaccel.threads import at_most

    settings = Settings(options.names(case), options.names(optimizer), peers, threads, rounds, quick)
    check(plot is None or scaling, "--plot draws what --scaling measures: give both.")
    check(not scaling or not (peers or case or optimizer), "--scaling has its own cases: leave out --case and --peers.")
    Outputs(None, plot, None).check()
    if out is not None:
        check_writable(out)
    choices = {choice.backend.name: choice for choice in map(choose_backend, options.names(backend))}
    check(
        not estimators or not (scaling or peers or case or optimizer or threads),
        "--estimators has its own cases: leave out --scaling, --case, --optimizer, --peers and --threads.",
    )
    check(len(choices) > 0, "--backend takes a name such as cpu.")
    check(not scaling or len(choices) == 1, "--scaling takes one backend.")

    say = options.speaker(quiet, as_json)
    for name, choice in choices.items():
        say(f"backend    {name}: {choice.backend.device} ({choice.reason})")
    backends = [choice.backend for choice in choices.values()]
    ways = _Ways(say, ProgressLine(say.stream, silent=quiet), out, plot)
    if estimators:
        result = _contest(settings, ways)
    elif scaling:
        # Each point has its own number of threads, which a limit around all would override.
        result = _scale(backends[0], settings, ways)
    else:
        with at_most(threads):
            result = _compare(backends, settings, ways)
    if as_json:
        from nnaccel.described import to_json

        print(to_json(result))
    if _wrong(result):
        raise typer.Exit(WRONG)


def _wrong(result: dict[str, Any]) -> bool:
    """Whether a backend computed something else than the reference."""
    entries = [entry for case in result.get("results", ()) for entry in case["contenders"]]
    return any(entry["kind"] == "backend" and entry["status"] == "disagrees" for entry in entries)


class _Ways(NamedTuple):
    """Where a result goes."""

    say: options.Speaker
    progress: ProgressLine
    out: Path | None
    plot: Path | None


def _compare(backends: "list[Backend]", settings: "Settings", ways: _Ways) -> dict[str, Any]:
    """Measure case after case, then show all in one table."""
    from nnaccel.bench.suite import Suite
    from nnaccel.bench.text import skipped_lines, summary_lines

    suite, base, say = Suite(backends, settings), backends[0].name, ways.say
    for line in skipped_lines(suite.skipped):
        say(line)
    if suite.busy is not None:
        say(f"busy       a load of {suite.busy:.1f} before the run: other work disturbs what is measured")
    _run(suite, base, ways)
    say()
    for line in summary_lines(suite.results, base):
        say(line)
    result = suite.describe()
    say()
    say(f"time       {duration(result['seconds'])}")
    if ways.out is not None:
        say(f"written    {ways.out}")
    return result


def _run(suite: "Suite", base: str, ways: _Ways) -> None:
    """Measure case after case; whatever ends it, what is there is kept."""
    from nnaccel.bench.text import case_lines

    try:
        while not suite.finished:
            result = suite.run_next(ways.progress.show)
            ways.progress.clear()
            ways.say()
            for line in case_lines(result, base):
                ways.say(line)
            _keep(suite, ways.out)
    except KeyboardInterrupt:
        ways.progress.clear()
        if ways.out is not None and suite.results:
            _keep(suite, ways.out)
            ways.say(f"written    {ways.out}, as far as it got")
        raise


def _keep(suite: "Suite", out: Path | None) -> None:
    if out is not None:
        _write(out, suite.describe())


def _write(out: Path, result: dict[str, Any]) -> None:
    from nnaccel.described import to_json
    from nnaccel.files import written_whole

    with written_whole(out) as part:
        part.write_text(to_json(result), encoding="utf-8")


def _contest(settings: "Settings", ways: _Ways) -> dict[str, Any]:
    """Measure the estimators beside scikit-learn's; an interruption leaves what is in the file."""
    from nnaccel.bench import estimators
    from nnaccel.bench.conditions import read_conditions

    conditions, found = read_conditions(), []
    ways.say()
    ways.say(estimators.HEAD)
    for contest in estimators.contests():
        ways.progress.show(contest.name)
        found.append(estimators.measure_contest(contest, settings.most_rounds, 5.0 if settings.quick else 20.0))
        ways.progress.clear()
        ways.say(estimators.outcome_line(found[-1]))
        if ways.out is not None:
            _write(ways.out, estimators.describe(found, conditions))
    return estimators.describe(found, conditions)


def _scale(backend: "Backend", settings: "Settings", ways: _Ways) -> dict[str, Any]:
    """Measure how the cost of a row grows; an interruption leaves what is in the file."""
    from nnaccel.bench import scaling, scaling_view
    from nnaccel.bench.conditions import read_conditions
    from nnaccel.files import written_whole
    from nnaccel.machine import read_machine

    conditions, found = read_conditions(), []
    limits = scaling.scaling_limits(settings.rounds, settings.quick, settings.threads)
    for points in scaling.sweeps(settings.threads or read_machine().usable_cores()):
        found.append(scaling.measure_sweep(backend, points, limits, ways.progress.show))
        ways.progress.clear()
        ways.say()
        for line in scaling_view.sweep_lines(found[-1]):
            ways.say(line)
        if ways.out is not None:
            _write(ways.out, scaling.describe(backend, found, conditions))
    if ways.plot is not None:
        with written_whole(ways.plot) as part:
            figure = scaling_view.draw(found, f"backend {backend.name}, {backend.device}")
            figure.savefig(part, format=ways.plot.suffix[1:], dpi=150)
    for path in (ways.out, ways.plot):
        if path is not None:
            ways.say(f"written    {path}")
    return scaling.describe(backend, found, conditions)
