"""Under which conditions a benchmark ran: what a reader needs to believe it, and no name of a person, machine or folder."""

import datetime
import importlib.metadata
import os
import platform
import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nnaccel.machine import blas_libraries, read_machine
from nnaccel.version import VERSION

_DISTRIBUTIONS = (
    "numpy", "scipy", "scikit-learn", "array-api-compat", "numba", "llvmlite", "threadpoolctl", "torch", "jax", "jaxlib",
    "cupy-cuda12x", "cupy-cuda13x", "nvidia-cublas",
)  # fmt: skip

_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_CORETYPE", "NUMBA_NUM_THREADS")
"""The variables that change how fast libraries are."""

_GIT_SECONDS = 10.0


def read_conditions() -> dict[str, Any]:
    """Machine, load, versions, commit and date, for JSON; to be read before the work, whose load isn't meant."""
    machine = read_machine()
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "load_before": list(os.getloadavg()) if hasattr(os, "getloadavg") else None,
        "machine": asdict(machine) | {"usable_cores": machine.usable_cores()},
        "system": {"name": platform.system(), "release": platform.release(), "libc": " ".join(platform.libc_ver())},
        "python": {
            "version": platform.python_version(),
            "implementation": platform.python_implementation(),
            "compiler": platform.python_compiler(),
        },
        "versions": {"nnaccel": VERSION} | _versions(),
        "environment": {name: os.environ[name] for name in _SETTINGS if name in os.environ},
        "commit": read_commit(Path(__file__).resolve().parent.parent),
    }


def read_blas() -> list[dict[str, Any]]:
    """The BLAS libraries that are loaded now, for JSON."""
    return [asdict(library) for library in blas_libraries()]


def read_commit(root: Path) -> dict[str, Any] | None:
    """The commit of a checkout and whether files differ from it; None if the folder isn't one, or there is no git."""
    if not (root / ".git").exists():
        return None
    found, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain")
    return None if found is None or changes is None else {"hash": found, "dirty": bool(changes)}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=_GIT_SECONDS, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()


def _versions() -> dict[str, str]:
    found = {}
    for name in _DISTRIBUTIONS:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found
