"""A process that reads damaged files one after the other, within limits, and says of each how that went.

    python -m tests.fuzz.worker FORMAT FIRST FILES FOLDER

For each file it writes two lines: its number, before anything is read, and then the outcome as JSON. So whoever reads them
knows the culprit when the process dies.
"""

import functools
import json
import os
import resource
import sys
import time
import traceback
import warnings
from pathlib import Path
from typing import Any

from nnaccel.errors import InputError
from tests.fuzz.formats import FORMATS, Format

MOST_MEMORY = 512 << 20
"""Bytes that reading a file of this fuzzer may take beside what the process has: all of them are short, and what is packed
unpacks to at most `nnaccel.files.MOST_UNPACKED`, or in proportion to its size."""

_MOST_ADDRESSES = 4 << 30
"""Bytes that may be asked for, if never touched: what would be more is refused to the process."""

_MOST_CHARACTERS = 1500
"""Of a sentence."""


def outcome(form: Format, path: Path, number: int) -> tuple[str, str]:
    """How reading a file goes: "read", "refused" or "fault", and what was said."""
    try:
        form.read(path, number)
    except InputError as error:
        sentence = str(error)
        faults = (path.name not in sentence, len(sentence.splitlines()) != 1, len(sentence) > _MOST_CHARACTERS)
        return ("fault" if any(faults) else "refused"), f"InputError: {sentence[:500]}"
    except BaseException as error:
        where = traceback.extract_tb(error.__traceback__)[-6:]
        way = "; ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in where)
        return "fault", f"{type(error).__name__}: {str(error)[:300]} ({way})"
    return "read", ""


def memory(key: str) -> int:
    """An entry of the process's status in bytes; 0 where the system has none."""
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) << 10 for line in lines if line.startswith(f"{key}:")), 0)


def forget_peak() -> None:
    """Have the system count the largest memory anew."""
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return


def measured(form: Format, path: Path, number: int) -> dict[str, Any]:
    """The outcome, with seconds and the memory that was taken meanwhile."""
    forget_peak()
    before, began = memory("VmRSS"), time.perf_counter()
    kind, detail = outcome(form, path, number)
    seconds, taken = time.perf_counter() - began, max(0, memory("VmHWM") - before)
    if kind != "fault" and taken > MOST_MEMORY:
        kind, detail = "fault", f"{taken >> 20} MiB of memory ({detail})"
    return {"number": number, "kind": kind, "detail": detail, "seconds": seconds, "memory": taken}


def limit_memory() -> None:
    """Refuse this process what would be much more than it has."""
    limit = memory("VmSize") + _MOST_ADDRESSES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def read_one(name: str, path: str) -> None:
    """Read one file as the format of this name, within limits, and report."""
    warnings.simplefilter("error")
    limit_memory()
    print(json.dumps(measured(FORMATS[name], Path(path), 1)))


def main(name: str, first: int, files: int, folder: Path) -> None:
    """Read files and report."""
    os.environ["NNACCEL_CACHE_DIR"] = str(folder)
    form = FORMATS[name]
    form = Format(form.file, functools.cache(form.valid), form.mutate, form.read)
    path = folder / form.file
    for content in form.valid():
        path.write_bytes(content)
        kind, detail = outcome(form, path, 0)
        assert kind == "read" or name == "zstd", f"a valid file is refused: {detail}"
    warnings.simplefilter("error")
    limit_memory()
    for number in range(first, first + files):
        path.write_bytes(form.content(name, number))
        path.chmod(0o644)
        print(number, flush=True)
        print(json.dumps(measured(form, path, number)), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), Path(sys.argv[4]))
