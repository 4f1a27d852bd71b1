"""The reference on NumPy."""

import numpy as np

from nnaccel.backends import Backend


class CpuBackend(Backend):
    """NumPy and its BLAS, on the CPU."""

    name = "cpu"
    xp = np

    @classmethod
    def unavailable_reason(cls) -> str | None:
        return None

    @property
    def device(self) -> str:
        return f"NumPy {np.__version__} on the CPU"

    def from_host(self, array: np.ndarray) -> np.ndarray:
        return array

    def to_host(self, array: np.ndarray) -> np.ndarray:
        return array

    def synchronize(self) -> None:
        pass
