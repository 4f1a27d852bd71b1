"""`nnaccel bench`: how long training takes on this machine, beside its peers, its own limit and other machines."""

from pathlib import Path
from typing import Annotated, Any

import typer

from nnaccel.cli import options
from nnaccel.errors import check

WRONG = 1
"""The exit code if a backend disagrees with the reference."""


def bench(
    results: Annotated[
        list[Path] | None,
        typer.Argument(metavar="RESULT", help="Files that were kept, for --compare or --report."),
    ] = None,
    backend: Annotated[
        str,
        typer.Option(
            metavar="NAME,...",
            help="auto, or a name as in nnaccel info; the first is compared with all. [default: all that can run here]",
        ),
    ] = "",
    peers: Annotated[
        bool, typer.Option("--peers", help="Beside NumPy, also scikit-learn, torch and JAX, where installed.")
    ] = False,
    case: Annotated[
        str, typer.Option(metavar="NAME,...", help="tabular, digits, mnist, wide, neuron. [default: all]")
    ] = "",
    optimizer: Annotated[
        str, typer.Option(metavar="NAME,...", help="sgd, adam. [default: both; with --quick, sgd]")
    ] = "",
    data: Annotated[
        str | None, typer.Option(metavar="DATA", help="What to learn, as in nnaccel train. [default: digits]")
    ] = None,
    target: Annotated[
        str | None, typer.Option(metavar="COLUMN", help="What to predict of --data: a column's name or position.")
    ] = None,
    score: Annotated[
        float | None,
        typer.Option(
            help="The accuracy, or R2, to reach on rows held out. [default: for digits 0.95, for --data 95 % of the way "
            "to the best of 30 epochs]"
        ),
    ] = None,
    threads: Annotated[int | None, typer.Option(help="The most threads that each may use.")] = None,
    rounds: Annotated[
        int | None, typer.Option(help="The most samples of each; fewer where time is short. [default: 11]")
    ] = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="Fewer and shorter samples, in half a minute: to see whether all works.")
    ] = False,
    scaling: Annotated[
        bool, typer.Option("--scaling", help="Instead: how the cost grows over width, depth, rows, batch and threads.")
    ] = False,
    estimators: Annotated[
        bool, typer.Option("--estimators", help="Instead: MLPClassifier beside scikit-learn's, from import to predict.")
    ] = False,
    estimates: Annotated[
        bool, typer.Option("--estimates", help="Instead: how good nnaccel estimate is, on trainings drawn at random.")
    ] = False,
    compare: Annotated[
        bool, typer.Option("--compare", help="Compare the RESULT files with the first of them.")
    ] = False,
    report: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A page with plots, of the RESULT files or of what is measured: FILE.html."),
    ] = None,
    plot: Annotated[Path | None, typer.Option(metavar="FILE", help="Draw --scaling: FILE.png, .svg, .pdf.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Where to keep the result, or the folder for it. [default: the user's cache folder]"
        ),
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Measure how long training takes here: an epoch of each case, and real data until a score is reached.

    All backends, and NumPy by hand, train the same batches from the same parameters, in turn; each is checked before it is
    timed. The floor is what the matrix products alone would take at the speed of the fastest product measured in the same
    run. It takes up to 3 minutes, or 5 with --peers. Every sample is kept in a file, one for each machine; an interruption
    keeps what is measured.

    nnaccel bench --compare before.json after.json says what has changed, and on one machine whether that is more than noise.
    nnaccel bench --report report.html a.json b.json draws machines side by side.
    """
    from nnaccel.bench.suite import Settings
    from nnaccel.cli import bench_files, bench_run
    from nnaccel.cli.outputs import Outputs
    from nnaccel.files import check_writable

    say = options.speaker(quiet, as_json)
    check(plot is None or scaling, "--plot draws what --scaling measures: give both.")
    Outputs(None, plot, None).check()
    check(report is None or not estimators, "--report draws no --estimators: leave out one of them.")
    if report is not None:
        bench_files.check_report(report, results or ())
    if out is not None and not out.is_dir():
        check_writable(out)
    if results or compare:
        measuring = (
            backend, peers, case, optimizer, data, target, score, threads, rounds, quick, scaling, estimators, estimates, out,
        )  # fmt: skip
        check(
            not any(measuring), "nothing is measured where RESULT files are given: leave out what says how to measure."
        )
        bench_files.use(results or (), compare, report, say, as_json)
        return
    wishes = bench_run.Wishes(
        backend, Settings(options.names(case), options.names(optimizer), peers, threads, rounds, quick),
        data, target, score, scaling, estimators, estimates,
    )  # fmt: skip
    result = bench_run.run(wishes, bench_run.Ways(say, quiet, out, plot, report))
    if as_json:
        from nnaccel.described import to_json

        print(to_json(result))
    if _wrong(result):
        raise typer.Exit(WRONG)


def _wrong(result: dict[str, Any]) -> bool:
    """Whether a backend computed something else than the reference."""
    entries = [entry for case in result.get("results", ()) for entry in case["contenders"]]
    return any(entry["kind"] == "backend" and entry["status"] == "disagrees" for entry in entries)
