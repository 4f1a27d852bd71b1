"""The command line: `nnaccel train`, `predict`, `estimate`, `calibrate`, `info`, `bench`, `warmup` and `demo`.

Everything slow to import is imported where a command needs it, so that `nnaccel --help` answers at once.
"""

import io
import sys
from typing import Annotated, Any

import typer

from nnaccel.cli.bench import bench
from nnaccel.cli.calibrate import calibrate
from nnaccel.cli.demo import demo
from nnaccel.cli.estimate import estimate
from nnaccel.cli.info import info
from nnaccel.cli.predict import predict
from nnaccel.cli.screen import complain
from nnaccel.cli.train import train
from nnaccel.cli.warmup import warmup
from nnaccel.errors import BackendUnavailable, InputError
from nnaccel.version import VERSION

BAD_INPUT, NO_BACKEND, INTERRUPTED = 2, 3, 130
_ENDS = {129: "the terminal was closed.", INTERRUPTED: "interrupted.", 143: "terminated."}
"""What to say of the signals that end a command, by exit code."""

app = typer.Typer(
    name="nnaccel",
    help="Train neural networks as fast as this machine allows, on the backend of your choice.",
    epilog="Example: nnaccel train digits --hidden 100 --epochs 30",
    rich_markup_mode=None,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command(
    epilog="Example: nnaccel train people.csv --target income --early-stopping 5 --out model.safetensors\n\n"
    "How long it took is kept on this machine for nnaccel estimate --accuracy, unless NNACCEL_RECORDS=off."
)(train)
app.command(epilog="Example: nnaccel predict model.safetensors new.csv --out predictions.csv --proba")(predict)
app.command(epilog="Example: nnaccel estimate people.csv --target income --hidden 256,256 --epochs 50 --within 6h")(
    estimate
)
app.command(epilog="Example: nnaccel calibrate --out laptop.json")(calibrate)
app.command(epilog="Example: nnaccel info model.safetensors")(info)
app.command(epilog="Example: nnaccel bench --backend cpu --peers --out result.json")(bench)
app.command(epilog="Example: nnaccel warmup --dtype float32")(warmup)
app.add_typer(demo, name="demo")


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nnaccel {VERSION}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Show the version and exit.")
    ] = False,
) -> None:
    """Train neural networks as fast as this machine allows, on the backend of your choice."""


def main(arguments: list[str] | None = None) -> None:
    """Run the program and exit: 0 when all went well, 2 for bad input, 3 for a backend that can't run here, 130 on Ctrl-C.

    Parameters
    ----------
    arguments : list of str, optional
        By default those of the process.
    """
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: list[str]) -> int:
    """Run the program and return its exit code; a user's mistake is one sentence on stderr."""
    # Typer's errors all derive from the parent of this one, whichever copy of click it uses.
    usage_error: Any = typer.BadParameter.__bases__[0]
    for stream in (sys.stdout, sys.stderr):
        # A word that the terminal can't show shall not end a training.
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        code: int = app(arguments, standalone_mode=False) or 0
        return _complain(_ENDS[code], code) if code in _ENDS else code
    except InputError as error:
        return _complain(str(error), BAD_INPUT)
    except BackendUnavailable as error:
        return _complain(str(error), NO_BACKEND)
    except typer.Abort:
        return _complain("interrupted.", INTERRUPTED)
    except usage_error as error:
        return _complain(error.format_message(), BAD_INPUT)


def _complain(sentence: str, code: int) -> int:
    # Called without arguments, a command answers with its help instead of a sentence.
    if sentence.startswith("Usage:"):
        typer.echo(sentence, err=True)
    else:
        complain(sentence)
    return code
