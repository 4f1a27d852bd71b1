"""Files: opened through whatever compresses them, and written whole or not at all."""

import bz2
import contextlib
import gzip
import io
import lzma
import os
import secrets
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from nnaccel.errors import InputError, check

_COMPRESSIONS: dict[bytes, Any] = {b"\x1f\x8b": gzip.open, b"BZh": bz2.open, b"\xfd7zXZ\x00": lzma.open}
_ZSTANDARD = b"\x28\xb5\x2f\xfd"

ZIP = b"PK\x03\x04"
"""The first bytes of a ZIP archive."""

MOST_UNPACKED, MOST_RATIO = 1 << 24, 200
"""A compressed file may unpack to this many bytes, or to this many times its own size if that is more: data seldom get near,
while a few bytes that were made for it unpack to more than any memory holds."""

UNREADABLE = (OSError, EOFError, zlib.error, lzma.LZMAError, zipfile.BadZipFile, NotImplementedError)
"""What reading a file raises if it is damaged or can't be read."""


@contextlib.contextmanager
def opened(path: Path) -> Iterator[IO[bytes]]:
    """The bytes of a file: unpacked if it is compressed by gzip, bzip2 or xz, or a ZIP archive of one file.

    The first bytes decide, whatever the name says. What isn't compressed comes as an `io.BufferedReader`.

    Raises
    ------
    InputError
        If the file isn't there, can't be read, or turns out while the block reads it to be damaged or to unpack to more than
        `MOST_UNPACKED` or `MOST_RATIO` allow.
    """
    head = first_bytes(path)
    check(not head.startswith(_ZSTANDARD), f"{path} is compressed with zstandard, which isn't read: unpack it first.")
    if head.startswith(ZIP):
        with zipped(path) as archive, member(path, archive, _only_member(path, archive)) as unpacked:
            yield unpacked
        return
    with reading(path), path.open("rb") as file:
        for mark, unpack in _COMPRESSIONS.items():
            if head.startswith(mark):
                with unpack(file) as unpacked:
                    yield _bounded(path, unpacked)
                return
        yield file


def first_bytes(path: Path) -> bytes:
    """The first bytes of a file, as many as tell how it is compressed.

    Raises
    ------
    InputError
        If the file isn't there or can't be read; also for a pipe or a device, as files are read more than once.
    """
    with reading(path), open_regular(path) as file:
        return file.read(6)


def open_regular(path: Path) -> IO[bytes]:
    """Open a file to be read, inside of `reading`; reading a pipe or a device might never end.

    Raises
    ------
    InputError
        If it is no regular file.
    """
    kind = path.stat().st_mode
    check(
        stat.S_ISREG(kind) or stat.S_ISDIR(kind),
        f"{path} is no regular file, and it has to be read more than once: save it as a file first.",
    )
    return path.open("rb")


@contextlib.contextmanager
def zipped(path: Path) -> Iterator[zipfile.ZipFile]:
    """A ZIP archive.

    Raises
    ------
    InputError
        If it is damaged.
    """
    with reading(path):
        try:
            archive = zipfile.ZipFile(path)
        except ValueError as error:
            raise zipfile.BadZipFile(str(error)) from error
        with archive:
            yield archive


def member(path: Path, archive: zipfile.ZipFile, name: str) -> IO[bytes]:
    """A file in an archive, to be read inside of `zipped`.

    Raises
    ------
    InputError
        If it is encrypted; when it is read, if it unpacks to more than `MOST_UNPACKED` or `MOST_RATIO` allow.
    """
    encrypted = bool(archive.getinfo(name).flag_bits & 1)
    check(not encrypted, f"{path} is encrypted: unpack it first.")
    try:
        return _bounded(path, archive.open(name))
    except ValueError as error:
        raise zipfile.BadZipFile(str(error)) from error


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Turn what goes wrong in reading a file into one sentence.

    Raises
    ------
    InputError
        Instead of any of `UNREADABLE`, or where memory doesn't suffice.
    """
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"there is no file {path}.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder, not a file.") from None
    except MemoryError:
        raise InputError(f"{path} can't be read: there is not enough memory for it.") from None
    except UNREADABLE as error:
        reason = getattr(error, "strerror", None) or first_sentence(error) or "its end is missing"
        raise InputError(f"{path} can't be read: {reason}.") from error


@contextlib.contextmanager
def written_whole(path: Path) -> Iterator[Path]:
    """A new file's path, which takes the place of `path` when the block ends well and is removed when it doesn't.

    A file that was there leaves its permissions to the new one; a symbolic link stays, and its target is replaced. What has
    been written survives a loss of power.

    Raises
    ------
    InputError
        If the file can't be written.

    Examples
    --------
    >>> import tempfile
    >>> target = Path(tempfile.mkdtemp()) / "answer.txt"
    >>> with written_whole(target) as path:
    ...     _ = path.write_text("42")
    >>> target.read_text()
    '42'
    """
    check_writable(path)
    final = path.resolve()
    # File names end at 255 bytes, and a character takes up to four.
    part = final.with_name(f".{final.name[:50]}.{secrets.token_hex(4)}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        if final.exists():
            shutil.copymode(final, part)
        part.replace(final)
        _keep_names(final.parent)
    except OSError as error:
        raise InputError(f"{path} can't be written: {error.strerror or error}.") from error
    finally:
        # Where the folder has gone meanwhile, that is what is to be said.
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)


def _keep_names(folder: Path) -> None:
    """Have the disk keep the names in a folder; a new name is otherwise lost with the power, though not its file."""
    # Some systems can't open folders, and some file systems can't do this.
    with contextlib.suppress(OSError):
        opened_folder = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(opened_folder)
        finally:
            os.close(opened_folder)


def check_writable(path: Path) -> None:
    """Raise `InputError` if a file can't be put there: asked before a long work, so that its result isn't lost."""
    try:
        folder = path.resolve().parent
        path.stat()
        exists = True
    except FileNotFoundError:
        exists = False
    except (OSError, RuntimeError) as error:
        # Before Python 3.13 symbolic links in a circle are a RuntimeError.
        raise InputError(f"{path} can't be written: {getattr(error, 'strerror', None) or error}.") from error
    check(folder.is_dir(), f"{path} can't be written: there is no folder {folder}.")
    check(not exists or path.is_file(), f"{path} can't be written: it is no regular file.")
    check(not exists or os.access(path, os.W_OK), f"{path} can't be written: it is write-protected.")
    check(os.access(folder, os.W_OK), f"{path} can't be written: the folder {folder} is write-protected.")


def read_rest(stream: IO[bytes] | io.BufferedIOBase) -> bytearray:
    """All that is left in a stream; reading it at once takes twice the room where it is unpacked."""
    data = bytearray()
    while piece := stream.read(1 << 20):
        data += piece
    return data


def is_same(first: str | Path, second: str | Path) -> bool:
    """Whether both are one file, by whatever names."""
    first, second = Path(first), Path(second)
    return first.exists() and second.exists() and first.samefile(second)


def shown_name(path: Path) -> str:
    """The name of a file as text that can be written anywhere: what isn't UTF-8 in it is escaped."""
    return path.name.encode("utf-8", "backslashreplace").decode()


def first_sentence(error: Exception) -> str:
    """The beginning of an exception's text, without its full stop; in one line, whatever ends lines in it."""
    return "".join(str(error).strip().splitlines()[:1]).split(". ")[0].rstrip(".")


class _Bounded(io.BufferedIOBase):
    """What is unpacked from a file, which may be so much and no more."""

    def __init__(self, path: Path, stream: Any, most: int) -> None:
        self._path, self._stream, self._left = path, stream, most

    def readable(self) -> bool:
        return True

    def read(self, size: int | None = -1, /) -> bytes:
        if size is None or size < 0:
            return bytes(read_rest(self))
        return self._counted(self._stream.read(size))

    def read1(self, size: int = -1, /) -> bytes:
        return self._counted(self._stream.read1(size))

    def close(self) -> None:
        self._stream.close()
        super().close()

    def _counted(self, piece: bytes) -> bytes:
        self._left -= len(piece)
        check(
            self._left >= 0,
            f"{self._path} unpacks to more than {MOST_RATIO} times its size: unpack it yourself, if you know whose it is.",
        )
        return piece


def _bounded(path: Path, stream: Any) -> IO[bytes]:
    return cast(IO[bytes], _Bounded(path, stream, max(MOST_UNPACKED, MOST_RATIO * path.stat().st_size)))


def _only_member(path: Path, archive: zipfile.ZipFile) -> str:
    members = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
    for mark, kind in _SPREADSHEETS.items():
        check(mark not in members, f"{path} is {kind}, which isn't read: save the sheet as CSV.")
    check(len(members) == 1, f"{path} holds {len(members)} files: unpack it, and name the one to read.")
    return members[0]


_SPREADSHEETS = {
    "xl/workbook.xml": "an Excel workbook",
    "xl/workbook.bin": "an Excel workbook",
    "content.xml": "an OpenDocument spreadsheet",
}
"""Archives that hold a spreadsheet, by a file in them."""
