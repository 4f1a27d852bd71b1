"""Workers and those who watch them: a worker that dies or hangs is replaced, and the file that did it is known."""

import json
import select
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent.parent

MOST_SECONDS = 20.0
"""For one file; a fault is what takes longer, on a busy machine too."""

_START_SECONDS = 120.0


@dataclass
class Findings:
    """What came of some files.

    Attributes
    ----------
    kinds : Counter of str
        How many were read, refused, or a fault.
    seconds, slowest : float and int
        The longest, and for which file.
    memory, largest : int
        The most bytes that one took, and which file.
    faults : list of dict
    """

    kinds: Counter[str] = field(default_factory=Counter)
    seconds: float = 0.0
    slowest: int = -1
    memory: int = 0
    largest: int = -1
    faults: list[dict[str, Any]] = field(default_factory=list)

    @property
    def files(self) -> int:
        """How many were tried."""
        return self.kinds.total()

    def add(self, found: dict[str, Any]) -> None:
        """Count one more."""
        self.kinds[found["kind"]] += 1
        if found["seconds"] > self.seconds:
            self.seconds, self.slowest = found["seconds"], found["number"]
        if found["memory"] > self.memory:
            self.memory, self.largest = found["memory"], found["number"]
        if found["kind"] == "fault":
            self.faults.append(found)

    def __str__(self) -> str:
        return (
            f"{self.files:,} files: {self.kinds['read']:,} read, {self.kinds['refused']:,} refused, "
            f"{self.kinds['fault']:,} faults; at most {self.seconds:.2f} s ({self.slowest}) and {self.memory >> 20} MiB ({self.largest})"
        )


def fuzz(
    name: str, first: int, files: int, worker: str = "tests.fuzz.worker", seconds: float = MOST_SECONDS
) -> Findings:
    """Read damaged files of a format, each within some seconds, by processes that run the module `worker`."""
    findings, number = Findings(), first
    while number < first + files:
        for found in _watched(worker, seconds, name, number, first + files - number):
            findings.add(found)
            number = found["number"] + 1
    return findings


def _watched(module: str, seconds: float, name: str, first: int, files: int) -> Iterator[dict[str, Any]]:
    """What a worker says, until it is done or dead; the file that killed it comes last."""
    with tempfile.TemporaryDirectory() as folder:
        command = [sys.executable, "-m", module, name, str(first), str(files), folder]
        worker = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        number = None
        try:
            for line in _lines(worker, seconds):
                number = int(line) if line.isdigit() else None
                if number is None:
                    yield json.loads(line)
            hangs = worker.poll() is None and number is not None and not select.select([worker.stdout], [], [], 0)[0]
        finally:
            worker.kill()
            errors = worker.communicate()[1].decode(errors="replace")[-500:]
        if number is not None:
            detail = "it hangs" if hangs else f"it ends the process: {worker.returncode} {errors}"
            yield {"number": number, "kind": "fault", "detail": detail, "seconds": 0.0, "memory": 0}
        elif worker.returncode not in (0, -9):
            raise RuntimeError(f"the worker for {name} doesn't start: {errors}")


def _lines(worker: subprocess.Popen[bytes], seconds: float) -> Iterator[str]:
    """Lines as they come; no more of them once none comes in time. The first one waits for the worker to start."""
    waiting, limit = b"", _START_SECONDS
    while select.select([worker.stdout], [], [], limit)[0]:
        limit = seconds
        piece = worker.stdout.read1(1 << 16)
        if not piece:
            worker.wait(_START_SECONDS)
            return
        *lines, waiting = (waiting + piece).split(b"\n")
        for line in lines:
            yield line.decode()
