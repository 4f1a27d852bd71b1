"""`nnaccel warmup`: compiles the kernels ahead, so that no training has to wait for them."""

import sys
import time
from collections.abc import Iterator
from typing import Annotated, Any

import typer

from nnaccel.cli import options
from nnaccel.cli.screen import duration
from nnaccel.errors import BackendUnavailable, InputError, check

Found = dict[str, Any]
"""What became of one kernel: `kernel`, `dtype`, `origin` ("compiled" or "cache") and `seconds`."""


def warmup(
    dtype: Annotated[str, typer.Option(metavar="NAME", help="float32 or float64. [default: both]")] = "",
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Compile the kernels of backend numba ahead: they are kept for this user, processor and version.

    Without it, the first training that needs a kernel compiles it. NNACCEL_CACHE_DIR names the folder, so that an image or
    a shared machine can have one that is written beforehand.
    """
    from nnaccel.described import to_json
    from nnaccel.kernels import cache, native

    check(dtype in ("", *native.DTYPES), f"unknown dtype {dtype!r}; known: {', '.join(native.DTYPES)}.")
    start, say = time.perf_counter(), options.speaker(quiet, as_json)
    folder = _folder()
    found, announce = [], native.announce
    native.announce = say
    try:
        for kernel in _warm_all([dtype] if dtype else list(native.DTYPES)):
            say(_line(kernel))
            found.append(kernel)
    finally:
        native.announce = announce
    lost = [kernel["kernel"] for kernel in found if not native.is_cached(kernel["kernel"], kernel["dtype"])]
    check(not lost, f"{', '.join(sorted(set(lost)))} could not be kept in {folder}: {cache.REMEDY}.")
    seconds = time.perf_counter() - start
    say(f"folder     {folder}")
    say(f"time       {duration(seconds)}")
    if as_json:
        print(to_json({"folder": folder, "kernels": found, "seconds": seconds}))


def _folder() -> str:
    """The folder that kernels are kept in, made if need be."""
    from nnaccel.kernels import cache

    try:
        cache.prepare()
        return str(cache.folder())
    except cache.Unusable as error:
        raise InputError(f"the kernels can't be kept: {error}; {cache.REMEDY}.") from None


def _warm_all(dtypes: list[str]) -> Iterator[Found]:
    """Compile what isn't there yet: the second dtype beside the first, where there are two cores.

    A process each, because compilers lock out other threads of their own.
    """
    from nnaccel.kernels import native
    from nnaccel.machine import read_machine

    waiting = [dtype for dtype in dtypes if not all(native.is_cached(entry, dtype) for entry in native.ENTRIES)]
    beside = waiting[1:] if read_machine().usable_cores() > 1 else []
    with _Beside(beside) as others:
        for dtype in dtypes:
            if dtype not in beside:
                yield from _warm(dtype)
        yield from others.results()


def _warm(dtype: str) -> Iterator[Found]:
    from nnaccel.kernels import native

    for entry in native.ENTRIES:
        try:
            kernel = native.load(entry, dtype)
        except ImportError as error:
            raise BackendUnavailable(str(error)) from error
        yield {"kernel": entry, "dtype": dtype, "origin": kernel.origin, "seconds": kernel.seconds}


class _Beside:
    """The same command for other dtypes, each in a process of its own; they end with the block."""

    def __init__(self, dtypes: list[str]) -> None:
        import subprocess

        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "nnaccel", "warmup", "--dtype", dtype, "--json"],
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                encoding="utf-8",
            )
            for dtype in dtypes
        ]

    def __enter__(self) -> "_Beside":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.communicate()

    def results(self) -> Iterator[Found]:
        """What became of the kernels; what ended a process in an error ends this one as well."""
        import json

        for process in self._processes:
            out, err = process.communicate()
            if process.returncode:
                last = (err.strip().splitlines() or ["it ended"])[-1]
                raise InputError(f"another process failed to compile: {last.removeprefix('nnaccel: ')}")
            yield from json.loads(out)["kernels"]


def _line(found: Found) -> str:
    what = "compiled in" if found["origin"] == "compiled" else "already there, loaded in"
    return f"kernel     {found['kernel']} {found['dtype']}: {what} {duration(found['seconds'])}"
