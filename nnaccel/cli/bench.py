"""`nnaccel bench`: how fast a backend trains on this machine, beside its peers and the machine's own limit."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnaccel.cli import options
from nnaccel.cli.screen import ProgressLine, duration
from nnaccel.errors import check

if TYPE_CHECKING:
    from nnaccel.bench.suite import Suite


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
    from nnaccel.bench.suite import Settings, Suite
    from nnaccel.bench.text import skipped_lines, summary_lines
    from nnaccel.described import to_json
    from nnaccel.files import check_writable
    from nnaccel.threads import at_most

    say = options.speaker(quiet, as_json)
    settings = Settings(options.names(case), options.names(optimizer), peers, threads, rounds, quick)
    if out is not None:
        check_writable(out)
    choices = [choose_backend(name) for name in options.names(backend)]
    check(len(choices) > 0, "--backend takes a name such as cpu.")
    with at_most(threads):
        suite = Suite([choice.backend for choice in choices], settings)
        for choice in choices:
            say(f"backend    {choice.backend.name}: {choice.backend.device} ({choice.reason})")
        for line in skipped_lines(suite.skipped):
            say(line)
        _run(suite, choices[0].backend.name, say, ProgressLine(say.stream, silent=quiet), out)
        say()
        for line in summary_lines(suite.results, choices[0].backend.name):
            say(line)
        result = suite.describe()
    say()
    say(f"time       {duration(result['seconds'])}")
    if out is not None:
        say(f"written    {out}")
    if as_json:
        print(to_json(result))


def _run(suite: "Suite", base: str, say: options.Speaker, progress: ProgressLine, out: Path | None) -> None:
    """Measure case after case; whatever ends it, what is there is kept."""
    from nnaccel.bench.text import case_lines

    try:
        while not suite.finished:
            result = suite.run_next(progress.show)
            progress.clear()
            say()
            for line in case_lines(result, base):
                say(line)
            _keep(suite, out)
    except KeyboardInterrupt:
        progress.clear()
        _keep(suite, out)
        if out is not None:
            say(f"written    {out}, as far as it got")
        raise


def _keep(suite: "Suite", out: Path | None) -> None:
    from nnaccel.described import to_json
    from nnaccel.files import written_whole

    if out is not None:
        with written_whole(out) as part:
            part.write_text(to_json(suite.describe()), encoding="utf-8")
