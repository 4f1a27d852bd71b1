"""The user's folder of compiled kernels: where it lies, whom it trusts, and how its files are read and written.

A file holds a mark, a checksum and an object file. It is written beside its place and then moved there, so that a reader
finds all of it or nothing: processes that start at once write the same, and one that is killed leaves no half. Whoever
reads takes a copy, so removing a file harms nobody.
"""

import contextlib
import functools
import hashlib
import os
import platform
import stat
import sys
import time
from collections.abc import Mapping
from pathlib import Path

FORMAT = 1
"""The number of the files' format, and of what is in the key: to be raised when either changes."""

REMEDY = "the environment variable NNACCEL_CACHE_DIR can name another folder"

_MARK = b"nnaccel kernel\n"
_CHECKSUM_BYTES = 32
_DAY = 86400.0
_UNUSED_SECONDS, _ABANDONED_SECONDS = 30 * _DAY, 1 * _DAY

_NUMBA_SETTINGS = ("OPT", "LOOP_VECTORIZE", "SLP_VECTORIZE", "ENABLE_AVX", "BOUNDSCHECK", "DEBUGINFO")
"""Those of numba's environment variables that change the code, besides the processor's."""


class Unusable(Exception):
    """Compiled kernels can't be kept, or those that are there can't be trusted; the message is a clause that says why."""


def folder() -> Path:
    """The folder of compiled kernels, whether it exists or not.

    It is NNACCEL_CACHE_DIR, or else `nnaccel` in the folder that the system has for such files.

    Raises
    ------
    Unusable
        If there is no home folder.
    """
    if chosen := os.environ.get("NNACCEL_CACHE_DIR"):
        return Path(chosen).absolute()
    try:
        return system_folder(sys.platform, os.environ, Path.home())
    except RuntimeError:
        raise Unusable("there is no home folder") from None


def system_folder(system: str, environment: Mapping[str, str], home: Path) -> Path:
    """The folder that a system has for what a program can make anew.

    Parameters
    ----------
    system : str
        As in `sys.platform`.
    environment : mapping of str to str
    home : Path

    Examples
    --------
    >>> system_folder("linux", {"XDG_CACHE_HOME": "/scratch"}, Path("/home/ada")).as_posix()
    '/scratch/nnaccel'
    >>> system_folder("darwin", {}, Path("/Users/ada")).as_posix()
    '/Users/ada/Library/Caches/nnaccel'
    """
    xdg = environment.get("XDG_CACHE_HOME", "")
    if Path(xdg).is_absolute():  # the standard has relative ones ignored
        return Path(xdg, "nnaccel")
    if system == "darwin":
        return home / "Library" / "Caches" / "nnaccel"
    if system == "win32":
        return Path(environment.get("LOCALAPPDATA") or home / "AppData" / "Local") / "nnaccel" / "Cache"
    return home / ".cache" / "nnaccel"


def file_name(entry: str, dtype: str, *versions: str) -> str:
    """The name of a kernel's file: its end changes with all that the code depends on.

    Parameters
    ----------
    entry, dtype : str
    *versions : str
        Of the compiler, and what it compiles for.
    """
    settings = [f"{name}={os.environ.get(f'NUMBA_{name}', '')}" for name in _NUMBA_SETTINGS]
    facts = [str(FORMAT), entry, dtype, sys.platform, platform.machine(), sources_digest(), *versions, *settings]
    return f"{entry}-{dtype}-{hashlib.sha256(repr(facts).encode()).hexdigest()[:32]}.o"


@functools.cache
def sources_digest(sources: Path = Path(__file__).parent) -> str:
    """The checksum of all Python files in a folder, by default those of the kernels."""
    digest = hashlib.sha256()
    for path in sorted(sources.glob("*.py")):
        digest.update(f"{path.name} {path.stat().st_size}\n".encode() + path.read_bytes())
    return digest.hexdigest()


def read(name: str) -> bytes | None:
    """The object file that is kept under a name; None if there is none, or it is damaged.

    Raises
    ------
    Unusable
        If others could have put it there.
    """
    path = folder() / name
    try:
        _check_trust(path.parent.stat(), f"the folder {path.parent}")
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            _check_trust(facts, f"the file {path}")
            content = file.read()
    except OSError:
        return None
    body = content[len(_MARK) + _CHECKSUM_BYTES :]
    if content != _sealed(body):
        return None
    if time.time() - facts.st_mtime > _DAY:
        with contextlib.suppress(OSError):
            os.utime(path)  # it is in use: see _tidy
    return body


def prepare() -> None:
    """Make the folder, if need be: asked before a long work, so that whoever waits is told in time.

    Raises
    ------
    Unusable
        If nothing can be kept there.
    """
    place = folder()
    try:
        place.mkdir(mode=0o755, parents=True, exist_ok=True)
        _check_trust(place.stat(), f"the folder {place}")
    except FileExistsError:
        raise Unusable(f"{place} is no folder") from None
    except OSError as error:
        raise Unusable(f"{place} can't be made: {error.strerror or error}") from None
    if not os.access(place, os.W_OK | os.X_OK):
        raise Unusable(f"the folder {place} is write-protected")


def write(name: str, body: bytes) -> None:
    """Keep an object file under a name, and remove what has long been out of use.

    Raises
    ------
    Unusable
        If it can't be kept.
    """
    prepare()
    place = folder()
    part = place / f".{name}.{os.urandom(4).hex()}.part"
    try:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        with os.fdopen(os.open(part, flags, 0o644), "wb") as file:
            file.write(_sealed(body))
        part.replace(place / name)
    except OSError as error:
        # Windows replaces no file that another process is just reading; it is then as good as ours.
        if read(name) is None:
            raise Unusable(f"writing to {place} failed: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
    _tidy(place, name)


def _sealed(body: bytes) -> bytes:
    return _MARK + hashlib.sha256(body).digest() + body


def _tidy(place: Path, name: str) -> None:
    """Remove the kernel's files that nobody has used for a month, and parts that a killed process left."""
    kernel, now = name.rpartition("-")[0], time.time()
    for pattern, seconds in ((f"{kernel}-*.o", _UNUSED_SECONDS), (".*.o.*.part", _ABANDONED_SECONDS)):
        for path in place.glob(pattern):
            with contextlib.suppress(OSError):
                if path.name != name and now - path.stat().st_mtime > seconds:
                    path.unlink()


def _check_trust(facts: os.stat_result, what: str) -> None:
    """Raise `Unusable` if others than this user and root may change a file or folder: what lies there is run."""
    if os.name != "posix":
        return
    if facts.st_uid not in (0, os.geteuid()):
        raise Unusable(f"{what} belongs to another user, who could put any code there")
    if facts.st_mode & stat.S_IWOTH:
        raise Unusable(f"everybody may write to {what}, and so put any code there")
