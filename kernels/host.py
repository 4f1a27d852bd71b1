"""The vector unit that kernels are compiled for, and the shape of the register tile that fits it.

Nothing here imports numba: the layout of matrices follows from it, also where kernels come from the cache.
"""

import functools
import os
import platform
from typing import NamedTuple

import llvmlite.binding as llvm
import numpy as np


class Processor(NamedTuple):
    """What LLVM generates code for: numba's own settings, NUMBA_CPU_NAME and NUMBA_CPU_FEATURES, or this host."""

    name: str
    features: str


class Tile(NamedTuple):
    """The block of a product that is kept in registers: so many rows by so many vectors of so many bytes."""

    rows: int
    vectors: int
    vector_bytes: int


@functools.cache
def processor() -> Processor:
    """The processor as LLVM names it, and the list of its features."""
    name, features = os.environ.get("NUMBA_CPU_NAME"), os.environ.get("NUMBA_CPU_FEATURES")
    if features is None:
        features = "" if name == "generic" else llvm.get_host_cpu_features().flatten()
    return Processor(name or llvm.get_host_cpu_name(), features)


@functools.cache
def tile() -> Tile:
    """The tile for this vector unit: as many sums as registers hold beside one row of vectors of the other factor."""
    features = set(processor().features.split(","))
    if "+avx512f" in features:
        return Tile(rows=12, vectors=2, vector_bytes=64)
    if "+avx2" in features:
        return Tile(rows=6, vectors=2, vector_bytes=32)
    if platform.machine().lower() in ("aarch64", "arm64"):
        return Tile(rows=6, vectors=4, vector_bytes=16)
    return Tile(rows=4, vectors=2, vector_bytes=16)


def lanes(dtype: str) -> int:
    """How many elements a vector holds."""
    return tile().vector_bytes // np.dtype(dtype).itemsize


def panel(dtype: str) -> int:
    """How many columns a panel has: matrices lie in panels, so that a tile's rows follow each other in memory."""
    return tile().vectors * lanes(dtype)
