"""The machine's best matrix product, and from it the floor of a case: its products at that speed, and nothing else."""

import importlib.util
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

SIZES, QUICK_SIZES = (768, 1024, 1536, 2048), (1024,)
"""Rows and columns of the square products that are tried."""

_TRIES = 6


@dataclass(frozen=True)
class Peak:
    """The fastest product seen.

    Attributes
    ----------
    dtype : str
    library : str
        Whose product it was.
    size : int
        Rows and columns of its square matrices.
    operations_per_second : float
        Multiplications and additions.
    """

    dtype: str
    library: str
    size: int
    operations_per_second: float

    def floor(self, operations: float) -> float:
        """The seconds that so many operations take at this speed.

        Examples
        --------
        >>> Peak("float32", "numpy", 1024, 4e11).floor(2e9)
        0.005
        """
        return operations / self.operations_per_second

    def faster(self, seconds: float) -> "Peak":
        """The better of this and another product of the same size that took so long."""
        rate = operations(self.size) / seconds
        return Peak(self.dtype, self.library, self.size, max(rate, self.operations_per_second))


def operations(size: int) -> int:
    """The multiplications and additions of a product of square matrices.

    Examples
    --------
    >>> operations(1000)
    2000000000
    """
    return 2 * size**3


def product(library: str, size: int, dtype: str) -> Callable[[], object]:
    """A function that multiplies two square matrices of normal numbers, into a third that is there already."""
    make, module = _LIBRARIES[library]
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((size, size)).astype(dtype) for _ in range(2))
    return make(importlib.import_module(module), a, b, np.empty_like(a))


def measure_peak(dtype: str, libraries: list[str], sizes: Sequence[int] = SIZES) -> Peak:
    """Try the products of several sizes and libraries, and return the fastest.

    Parameters
    ----------
    dtype : "float32" or "float64"
    libraries : list of str
        Of `installed_libraries`.
    sizes : sequence of int
        Rows and columns.
    """
    best: Peak | None = None
    for library in libraries:
        for size in sizes:
            multiply, seconds = product(library, size, dtype), []
            for _ in range(_TRIES):
                began = time.perf_counter()
                multiply()
                seconds.append(time.perf_counter() - began)
            rate = operations(size) / min(seconds)
            if best is None or rate > best.operations_per_second:
                best = Peak(dtype, library, size, rate)
    assert best is not None, "NumPy's product is always there"
    return best


def installed_libraries(peers: list[str]) -> list[str]:
    """NumPy, SciPy, and those of the named peers that have a product of their own.

    Examples
    --------
    >>> "numpy" in installed_libraries([])
    True
    """
    wanted = ["numpy", "scipy", *peers]
    return [name for name in _LIBRARIES if name in wanted and importlib.util.find_spec(name) is not None]


def _numpy(numpy: Any, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Callable[[], object]:
    return lambda: numpy.matmul(a, b, out=out)


def _scipy(blas: Any, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Callable[[], object]:
    # Fortran's order is what it takes without a copy.
    gemm, a, b, out = getattr(blas, "sgemm" if a.dtype == np.float32 else "dgemm"), a.T, b.T, out.T
    return lambda: gemm(1.0, a, b, c=out, overwrite_c=1)


def _torch(torch: Any, a: np.ndarray, b: np.ndarray, out: np.ndarray) -> Callable[[], object]:
    x, y, z = (torch.from_numpy(array) for array in (a, b, out))
    return lambda: torch.mm(x, y, out=z)


_LIBRARIES: dict[str, tuple[Callable[..., Callable[[], object]], str]] = {
    "numpy": (_numpy, "numpy"),
    "scipy": (_scipy, "scipy.linalg.blas"),
    "torch": (_torch, "torch"),
}
