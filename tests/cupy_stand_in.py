"""What of CuPy the GPU programs use, on the memory of the CPU: it runs the kernels as fibers, records graphs and counts.

It forgives nothing: memory begins as NaN between guards, arguments must have the very types that a kernel declares, and what
CuPy refuses while a graph is captured is refused here, too.
"""

import ctypes
import re
from collections import Counter
from types import SimpleNamespace

import numpy as np

from nnaccel.gpu.source import source
from tests import cuda_on_cpu
from tests.cublaslt_stand_in import CublasLtStandIn

GUARD_BYTES = 256
ALIGNMENT = 256
TYPES = {"int": np.int32, "long long": np.int64, "double": np.float64}


def signatures():
    """The types of each kernel's arguments."""
    found = {}
    for name, arguments in re.findall(r"__global__ void (\w+)\(([^)]*)\)", source()):
        declared = (re.sub(r"\s*\w+$", "", argument.strip()) for argument in arguments.split(","))
        found[name] = [np.uint64 if text.endswith("*") else TYPES[text] for text in declared]
    return found


class Memory:
    """Bytes between guards, all of them 0xFF at first, which is NaN."""

    def __init__(self, size):
        self.room = np.full(size + 2 * GUARD_BYTES + ALIGNMENT, 0xFF, np.uint8)
        self.ptr = self.room.ctypes.data + GUARD_BYTES
        self.ptr += -self.ptr % ALIGNMENT
        self.size, self.start = size, self.ptr - self.room.ctypes.data

    def intact(self):
        """Whether nothing was written beyond its ends."""
        return (self.room[: self.start] == 0xFF).all() and (self.room[self.start + self.size :] == 0xFF).all()


class CupyStandIn:
    """A module like CuPy.

    Attributes
    ----------
    counts : Counter
        "to device", "to host", "kernel", "product", "graph", "capture" and "allocation".
    refuses : set of str
        Kernels or "product" that can't be captured here.
    free : int
        Bytes that `memGetInfo` tells of.
    """

    def __init__(self, order="forward", refuses=(), unsupported=(), free=1 << 30):
        self.counts, self.refuses, self.free, self.order = Counter(), set(refuses), free, order
        self.allocated, self._capturing, self._signatures = [], None, signatures()
        self.library = CublasLtStandIn(unsupported, submit=lambda work: self.submit("product", work))
        runtime = SimpleNamespace(
            memcpyHostToDevice=1, memcpyDeviceToHost=2, memcpyAsync=self._copy, memsetAsync=self._fill,
            deviceSynchronize=lambda: None, memGetInfo=lambda: (self.free, 1 << 40),
        )  # fmt: skip
        cublas = SimpleNamespace(
            sgemm=lambda *a: self._gemm(np.float32, *a), dgemm=lambda *a: self._gemm(np.float64, *a)
        )
        stand_in = self

        class Stream:
            ptr = 12345

            def __init__(self, non_blocking=False):
                assert non_blocking, "another stream can't be captured"

            def __enter__(self):
                return self

            def __exit__(self, *error):
                pass

            def begin_capture(self):
                assert stand_in._capturing is None
                stand_in._capturing = []

            def end_capture(self):
                work, stand_in._capturing = stand_in._capturing, None
                stand_in.counts["capture"] += 1
                return SimpleNamespace(launch=lambda stream: stand_in.replay(work), work=work)

            def synchronize(self):
                assert stand_in._capturing is None, "waiting can't be captured"

        self.cuda = SimpleNamespace(
            Device=lambda ordinal: Stream(non_blocking=True), Stream=Stream, alloc=self._alloc, runtime=runtime,
            cublas=cublas, device=SimpleNamespace(get_cublas_handle=lambda: 1),
        )  # fmt: skip

    def RawModule(self, code, options):  # noqa: N802
        """The kernels in one dtype."""
        assert code == source()
        library = cuda_on_cpu.kernels("float32" if "-DREAL=float" in options else "float64")

        def function(name):
            def launch(grid, block, arguments):
                assert [type(a) for a in arguments] == self._signatures[name], name

                def work():
                    library.order = self.order
                    library.launch(name, grid, block, arguments)

                self.submit("kernel", work, name)

            return launch

        return SimpleNamespace(get_function=function)

    def get_default_memory_pool(self):
        """One that keeps nothing."""
        return SimpleNamespace(free_bytes=lambda: 0)

    def submit(self, kind, work, name="product"):
        """Do some work, or have the graph remember it."""
        if self._capturing is None:
            self.counts[kind] += 1
            work()
        elif name in self.refuses:
            raise RuntimeError("operation not permitted when stream is capturing")
        else:
            self._capturing.append(work)

    def replay(self, work):
        """Do what a graph remembers."""
        self.counts["graph"] += 1
        for item in work:
            item()

    def intact(self):
        """Whether all memory that was given out is whole."""
        return all(memory.intact() for memory in self.allocated)

    def _alloc(self, size):
        assert self._capturing is None, "memory can't be taken while a graph is captured"
        self.counts["allocation"] += 1
        self.allocated.append(Memory(size))
        return self.allocated[-1]

    def _copy(self, to, come_from, size, kind, stream):
        assert self._capturing is None, "such a copy can't be captured"
        self.counts["to device" if kind == 1 else "to host"] += 1
        ctypes.memmove(to, come_from, size)

    def _fill(self, address, value, size, stream):
        assert self._capturing is None
        ctypes.memset(address, value, size)

    def _gemm(self, dtype, handle, transpose_a, transpose_b, m, n, k, alpha, a, lda, b, ldb, beta, c, ldc):
        if self._capturing is not None:
            raise NotImplementedError("calling cuBLAS API during stream capture is currently unsupported")
        scalar = ctypes.c_float if dtype == np.float32 else ctypes.c_double
        matrix_a, matrix_b = (
            columns(a, lda, k if not transpose_a else m, dtype),
            columns(b, ldb, n if not transpose_b else k, dtype),
        )
        assert scalar.from_address(alpha).value == 1
        product = (matrix_a.T if transpose_a else matrix_a) @ (matrix_b.T if transpose_b else matrix_b)
        target = columns(c, ldc, n, dtype)
        target[:] = product + (target if scalar.from_address(beta).value else 0)
        self.counts["product"] += 1


def columns(address, rows, count, dtype):
    """A matrix that lies column by column."""
    memory = (ctypes.c_char * (rows * count * np.dtype(dtype).itemsize)).from_address(address)
    return np.frombuffer(memory, dtype).reshape(count, rows).T
