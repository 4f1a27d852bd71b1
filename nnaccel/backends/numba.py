"""Fused kernels for the CPU: whole slices of a training in native code."""

import importlib.util

import numpy as np

from nnaccel.backends import Backend
from nnaccel.fused import FusedProgram, is_known
from nnaccel.kernels import host
from nnaccel.plan import Plan
from nnaccel.program import Program


class NumbaBackend(Backend):
    """Kernels that Numba compiles for the processor at hand, and NumPy for the plans that they don't know."""

    name = "numba"
    xp = np

    @classmethod
    def unavailable_reason(cls) -> str | None:
        for module in ("numba", "llvmlite"):
            if importlib.util.find_spec(module) is None:
                return f"{module} is not installed; pip install numba, or take --backend cpu."
        return None

    @property
    def device(self) -> str:
        return f"fused kernels for {host.processor().name}, vectors of {8 * host.tile().vector_bytes} bits"

    def from_host(self, array: np.ndarray) -> np.ndarray:
        return array

    def to_host(self, array: np.ndarray) -> np.ndarray:
        return array

    def synchronize(self) -> None:
        pass

    def make_program(self, plan: Plan) -> Program:
        return FusedProgram(plan) if is_known(plan) else super().make_program(plan)
