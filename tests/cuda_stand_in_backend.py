"""The cuda backend without a GPU: its programs at work on the stand-ins of CuPy and cublasLt, its kernels as fibers."""

import numpy as np

from nnaccel.backends import Backend
from nnaccel.fused import is_known
from nnaccel.gpu.cublaslt import CublasLt
from nnaccel.gpu.device import Gpu
from nnaccel.gpu.program import CudaProgram
from tests import cuda_on_cpu
from tests.cupy_stand_in import CupyStandIn


class _Products(CublasLt):
    """With room that hundreds of runs, which nobody closes, can have at once."""

    workspace_bytes = 1 << 16


class CudaOnCpuBackend(Backend):
    """All but the adapter of arrays is what runs on a GPU."""

    name = "cuda_on_cpu"
    xp = np

    def __init__(self, **options):
        super().__init__()
        self.cupy = CupyStandIn(**options)
        self.gpu = Gpu(self.cupy, 0, lambda: _Products(self.cupy.library))

    @classmethod
    def unavailable_reason(cls):
        return None if cuda_on_cpu.compiler() else "no C++ compiler; apt-get install g++."

    @property
    def device(self):
        return "fibers on the CPU"

    def from_host(self, array):
        return array

    def to_host(self, array):
        return array

    def synchronize(self):
        pass

    def make_program(self, plan):
        return CudaProgram(plan, self.gpu) if is_known(plan) else super().make_program(plan)
