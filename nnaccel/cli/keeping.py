"""The options for checkpoints, and what is said of them."""

import contextlib
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import typer

from nnaccel.cli import options
from nnaccel.errors import check

_EVERY = "60s"


@dataclass(frozen=True)
class CheckpointOptions:
    """Where a training is kept while it goes on, as it was written on the command line."""

    checkpoint: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Keep checkpoints there, from which --resume goes on after whatever happens."),
    ] = None
    every: Annotated[
        str | None, typer.Option(metavar="TIME", help=f"How often, such as 30s or 10m. [default: {_EVERY}]")
    ] = None
    resume: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Go on from the checkpoint there, if there is one, and keep further ones."),
    ] = None

    @property
    def folder(self) -> Path | None:
        """The folder for checkpoints."""
        return self.resume or self.checkpoint

    def arguments(self) -> dict[str, Any]:
        """The arguments of `nnaccel.train` that they are.

        Raises
        ------
        InputError
            If they make no sense, or checkpoints can't be kept there.
        """
        from nnaccel.checkpoint import open_folder

        check(
            self.checkpoint is None or self.resume is None or self.checkpoint.resolve() == self.resume.resolve(),
            "--resume goes on keeping checkpoints in its folder: leave --checkpoint out.",
        )
        check(self.every is None or self.folder is not None, "--every is for checkpoints: add --checkpoint DIR.")
        every = options.seconds(self.every or _EVERY)
        if self.folder is not None:
            open_folder(self.folder, self.resume is not None)
        return {"checkpoint": self.folder, "every": every, "resume": self.resume is not None}

    def describe(self) -> list[str]:
        """Where a training goes on, for people."""
        from nnaccel.checkpoint import newest

        if self.resume is None:
            return []
        found = newest(self.resume)
        if found is None:
            return [f"checkpoint none in {self.resume} yet: it starts from the beginning"]
        return [f"checkpoint {found[0]}: it goes on from {found[1].place}, on {found[1].backend} so far"]

    def how_to_go_on(self, has_kept: bool) -> str:
        """What to do after an interruption, for people."""
        if not has_kept:
            return "to go on   nothing was kept for that: --checkpoint DIR would"
        return f"to go on   the same command, with --resume {self.folder}" + (
            " instead of --checkpoint" if self.resume is None else ""
        )


@contextlib.contextmanager
def warnings_said(tell: Callable[[str], None]) -> Iterator[None]:
    """Have warnings about checkpoints be lines for people while the block runs."""
    from nnaccel.checkpoint import CheckpointWarning

    with warnings.catch_warnings():
        warnings.simplefilter("always", CheckpointWarning)
        usual = warnings.showwarning

        def show(message: Warning | str, category: type[Warning], *place: Any, **more: Any) -> None:
            if issubclass(category, CheckpointWarning):
                tell(str(message))
            else:
                usual(message, category, *place, **more)

        warnings.showwarning = show
        yield
