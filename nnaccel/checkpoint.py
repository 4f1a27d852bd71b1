"""Checkpoints of a training in a folder: written now and then, the last two kept, and the newest sound one found again."""

import contextlib
import re
import time
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path

from nnaccel.checkpoint_file import Checkpoint, Frame, Header, read_checkpoint, read_header, write_checkpoint
from nnaccel.errors import InputError, check
from nnaccel.files import check_writable
from nnaccel.identity import difference

SHARE = 0.01
"""Writing takes no more than about this part of the time of a training: where it is slow, it is done less often."""

KEPT = 2

_NAME = re.compile(r"checkpoint-(\d{6,18})\.safetensors")
_PART = re.compile(r"\.checkpoint-\d{6,18}\.safetensors\.[0-9a-f]+\.part")


class CheckpointWarning(UserWarning):
    """What there is to know of checkpoints: one couldn't be written or read; the training goes on all the same."""


def open_folder(folder: Path, resume: bool) -> None:
    """Make sure that checkpoints can be written to a folder, which is made if it isn't there.

    Raises
    ------
    InputError
        If they can't, or if there are some and they aren't to be gone on from: they would be lost.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        names = [path.name for path in folder.iterdir()]
    except OSError as error:
        raise InputError(
            f"checkpoints can't be written to {folder}: {error.strerror or error}; name another folder."
        ) from error
    check_writable(folder / "checkpoint")
    check(
        resume or not any(map(_NAME.fullmatch, names)),
        f"{folder} has the checkpoints of a training: resume that (--resume, or resume=True), or name another folder.",
    )
    for name in filter(_PART.fullmatch, names):
        # What a process left behind that was killed while it wrote.
        with contextlib.suppress(OSError):
            (folder / name).unlink()


def newest(folder: Path) -> tuple[Path, Header] | None:
    """The checkpoint in a folder from which a training would go on, by what the files say of themselves.

    Returns
    -------
    (Path, Header) or None
        None if there is none, or none that can be read.
    """
    headers, _ = _headers(folder)
    return headers[0] if headers else None


def resume_from(folder: Path, identity: Mapping[str, str], frame: Frame, epochs: int) -> tuple[Path, Checkpoint] | None:
    """The checkpoint in a folder that is the furthest, among those that are sound; None if there are none at all.

    Parameters
    ----------
    folder : Path
    identity : dict of str to str
        That of the training that is to go on.
    frame : Frame
    epochs : int
        Those asked for.

    Raises
    ------
    InputError
        If it is of another training, has gone further than asked for, or if there are some and none is sound.

    Warns
    -----
    CheckpointWarning
        If it isn't the last one that was written.
    """
    headers, problems = _headers(folder)
    paths = _paths(folder)
    for path, header in headers:
        other = difference(header.identity, identity)
        check(
            other is None,
            f"{path} is of another training ({other}): ask for the same, or name another folder.",
        )
        check(
            (header.epoch, header.step) <= (epochs, 0),
            f"{path} has gone further, to {header.place}, than the {epochs} asked for: ask for more than {header.epoch}.",
        )
        try:
            found = read_checkpoint(path, frame)
        except InputError as error:
            problems.append(str(error))
            continue
        if path != paths[0]:
            problem = problems[0] if problems else f"{paths[0]} is older than its name says."
            warnings.warn(
                f"{problem[:-1]}; it goes on from {path}, at {header.place}.", CheckpointWarning, stacklevel=4
            )
        return path, found
    if problems:
        raise InputError(
            f"{problems[0][:-1]}, and no other one there is sound: remove them to start from the beginning."
        )
    return None


class Keeper:
    """Writes checkpoints into a folder, as often as was asked for and as is cheap, and keeps the last two.

    Parameters
    ----------
    folder : Path
    every : float
        Seconds between two of them.
    take : callable
        Returns the present `Checkpoint`, or None if there is none worth keeping.
    last : Path, optional
        The one from which the training went on: it stays until two others are safe.
    """

    def __init__(
        self, folder: Path, every: float, take: Callable[[], Checkpoint | None], last: Path | None = None
    ) -> None:
        self.folder = folder
        self._every, self._take = every, take
        self._kept = [] if last is None else [last]
        self._number = max([_number(path) for path in _paths(folder)], default=0)
        self._next = time.perf_counter() + every
        self._warned = False

    @property
    def is_due(self) -> bool:
        """Whether it is time for the next one."""
        return time.perf_counter() >= self._next

    @property
    def has_kept(self) -> bool:
        """Whether there is one to go on from."""
        return bool(self._kept)

    def save(self, is_last: bool = False) -> bool:
        """Write one now; whether that went well. Nothing is lost by a failure; the first and the last are warned of."""
        began = time.perf_counter()
        try:
            checkpoint = self._take()
            if checkpoint is None:
                return False
            self._write(checkpoint)
        except (InputError, OSError, MemoryError) as error:
            if is_last or not self._warned:
                self._warned = True
                warnings.warn(
                    f"{_sentence(error)[:-1]}: {self._consequence(is_last)}.", CheckpointWarning, stacklevel=2
                )
            return False
        finally:
            ended = time.perf_counter()
            self._next = ended + max(self._every, (ended - began) / SHARE)
        return True

    def _consequence(self, is_last: bool) -> str:
        if not is_last:
            return "the training goes on without it"
        return f"{self._kept[-1]} is what there is to go on from" if self._kept else "there is none to go on from"

    def _write(self, checkpoint: Checkpoint) -> None:
        # Where somebody removed the folder, what comes next shall be safe again.
        with contextlib.suppress(OSError):
            self.folder.mkdir()
        path = self.folder / f"checkpoint-{self._number + 1:06}.safetensors"
        write_checkpoint(path, checkpoint)
        self._number += 1
        self._kept = [*self._kept, path][-KEPT:]
        for other in _paths(self.folder):
            if other not in self._kept:
                with contextlib.suppress(OSError):
                    other.unlink()


def _sentence(error: Exception) -> str:
    return (
        str(error) if isinstance(error, InputError) else f"a checkpoint can't be written: {str(error) or 'no memory'}."
    )


def _headers(folder: Path) -> tuple[list[tuple[Path, Header]], list[str]]:
    """Checkpoints with what they say of themselves, the furthest first, and what is wrong with others."""
    headers, problems = [], []
    for path in _paths(folder):
        try:
            headers.append((path, read_header(path)))
        except InputError as error:
            problems.append(str(error))
    return sorted(headers, key=lambda found: (-found[1].epoch, -found[1].step)), problems


def _paths(folder: Path) -> list[Path]:
    """The checkpoints in a folder by name, the last one first."""
    try:
        paths = [path for path in folder.iterdir() if _NAME.fullmatch(path.name)]
    except OSError:
        return []
    return sorted(paths, key=_number, reverse=True)


def _number(path: Path) -> int:
    found = _NAME.fullmatch(path.name)
    assert found, "it is named by us"
    return int(found[1])
