"""`nnaccel calibrate`: measures this machine, for `--backend auto`, for estimates here and for those on other machines."""

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from nnaccel.cli import options
from nnaccel.cli.estimate_table import WIDTH
from nnaccel.cli.screen import ProgressLine
from nnaccel.errors import check

if TYPE_CHECKING:
    from nnaccel.profile import MachineProfile


def calibrate(
    out: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Write the profile to FILE.json as well, to take to another machine."),
    ] = None,
    name: Annotated[
        str | None, typer.Option(metavar="TEXT", help="What to call this machine. [default: its processor and cores]")
    ] = None,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Measure this machine in less than half a minute, and keep what is found as its profile.

    From then on, --backend auto goes by it. On another machine, nnaccel estimate --machine FILE.json projects how long a
    training would take here.
    """
    from nnaccel.described import to_json
    from nnaccel.files import check_writable
    from nnaccel.profile import place_to_store, store_profile, write_profile

    say = options.speaker(quiet, as_json)
    if out is not None:
        check(out.suffix == ".json", f"--out takes a file named *.json, not {out}.")
        check_writable(out)
    place_to_store()
    profile = _measure(name, ProgressLine(say.stream, silent=quiet))
    # Only now that it is whole, so that an interrupted measurement leaves the old one.
    written = [store_profile(profile)]
    if out is not None:
        write_profile(out, profile)
        written.append(out)
    for line in profile.summary():
        for piece in textwrap.wrap(line, WIDTH, subsequent_indent="  ", break_on_hyphens=False):
            say(piece)
    for path in written:
        say(f"written    {path}")
    if as_json:
        print(to_json({"profile": profile.describe(), "written": [str(path) for path in written]}))


def _measure(name: str | None, progress: ProgressLine) -> "MachineProfile":
    from nnaccel.calibration import calibrate

    check(name is None or bool(name.strip()), "--name takes a name for this machine: leave it out, or say one.")
    try:
        return calibrate(name, report=progress.show)
    finally:
        progress.clear()
