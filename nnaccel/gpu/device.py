"""A GPU through CuPy: memory, copies, launches and graphs, and nothing that knows what they are for."""

import contextlib
import threading
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from nnaccel.gpu.cublas import Cublas
from nnaccel.gpu.cublaslt import CublasError, CublasLt
from nnaccel.gpu.geometry import FLAT, Shape
from nnaccel.gpu.products import Prepared, Products, forward_product
from nnaccel.gpu.source import KERNELS, options, source
from nnaccel.kernels.job import ROW_KINDS

Address = int
"""Of memory on the device."""

ALIGNMENT = 256
"""Bytes; of all that is allocated."""


class Gpu:
    """One device, its kernels, and its library of products.

    Attributes
    ----------
    products : Products
    obstacle : str
        Why nothing can be captured as a graph; empty if it can.

    Parameters
    ----------
    cupy : module
    ordinal : int
        Which device.
    make_products : callable, optional
        What makes a library of products that can be captured; raises `CublasError`.
    """

    def __init__(self, cupy: Any, ordinal: int = 0, make_products: Callable[[], Products] = CublasLt) -> None:
        self.cupy, self.ordinal, self.obstacle = cupy, ordinal, ""
        self._kernels: dict[str, dict[str, Any]] = {}
        self._lock = threading.Lock()
        self.products: Products
        with self._current():
            try:
                self.products = make_products()
            except CublasError as error:
                self.products, self.obstacle = Cublas(cupy), str(error)
        self.kernels(
            "float32"
        )  # what can't be compiled shall say so, and not pass for something that can't be captured
        if not self.obstacle:
            self.obstacle = _trial(self)

    def kernels(self, dtype: str) -> dict[str, Any]:
        """The kernels of one dtype by name, compiled at the first call, and kept by CuPy for other processes."""
        with self._lock, self._current():
            if dtype not in self._kernels:
                module = self.cupy.RawModule(code=source(), options=options(dtype))
                self._kernels[dtype] = {name: module.get_function(name) for name in KERNELS}
            return self._kernels[dtype]

    def free_bytes(self) -> int:
        """How much memory may still be taken."""
        with self._current():
            free, _ = self.cupy.cuda.runtime.memGetInfo()
            return int(free) + int(self.cupy.get_default_memory_pool().free_bytes())

    def queue(self, dtype: str) -> "Queue":
        """A new queue of work, with kernels of one dtype."""
        return Queue(self, dtype)

    def _current(self) -> Any:
        return self.cupy.cuda.Device(self.ordinal)


class Queue:
    """Work for a device, done in order; all its methods are for within `working()`."""

    def __init__(self, gpu: Gpu, dtype: str) -> None:
        self._gpu, self._cupy, self._runtime = gpu, gpu.cupy, gpu.cupy.cuda.runtime
        self._kernels = gpu.kernels(dtype)
        self._kept: list[np.ndarray] = []
        with gpu.cupy.cuda.Device(gpu.ordinal):
            self._stream = gpu.cupy.cuda.Stream(non_blocking=True)

    @contextlib.contextmanager
    def working(self) -> Iterator[None]:
        """Make the device and the stream those of this thread."""
        with self._cupy.cuda.Device(self._gpu.ordinal), self._stream:
            yield

    def allocate(self, size: int) -> Any:
        """Memory with so many bytes at the address `ptr`, as long as somebody holds what is returned."""
        return self._cupy.cuda.alloc(max(1, size))

    def upload(self, address: Address, array: np.ndarray) -> None:
        """Copy a contiguous array to the device. It must not change until all that was asked for is done."""
        if array.nbytes:
            self._kept.append(array)  # where the device reads the host's memory itself, it may do so later
            self._copy(address, array.ctypes.data, array.nbytes, self._runtime.memcpyHostToDevice)

    def download(self, address: Address, array: np.ndarray) -> np.ndarray:
        """Fill a contiguous array with what the device has once all work is done."""
        if array.nbytes:
            self._copy(array.ctypes.data, address, array.nbytes, self._runtime.memcpyDeviceToHost)
        self.synchronize()
        return array

    def _copy(self, to: Address, source: Address, size: int, kind: int) -> None:
        self._runtime.memcpyAsync(to, source, size, kind, self._stream.ptr)

    def rows(self, x: Any) -> Any:
        """An array on the device as kernels read it: contiguous, of a dtype that they know, and computed."""
        self._runtime.deviceSynchronize()
        if x.dtype.name not in ROW_KINDS:
            x = x.astype("float64" if x.dtype.itemsize > 4 else "float32")
        return self._cupy.ascontiguousarray(x)

    def clear(self, address: Address, size: int) -> None:
        """Fill memory with zeros."""
        self._runtime.memsetAsync(address, 0, size, self._stream.ptr)

    def launch(self, name: str, grid: Shape, block: Shape, arguments: Sequence[np.generic]) -> None:
        """Ask for a kernel; its arguments have the types that it wants, addresses are uint64."""
        self._kernels[name](grid, block, tuple(arguments))

    def multiply(self, prepared: Prepared, a: Address, b: Address, d: Address, more: bool, workspace: Address) -> None:
        """Ask for a product."""
        self._gpu.products.multiply(prepared, a, b, d, more, workspace, self._stream.ptr)

    def capture(self, work: Callable[[], None]) -> Any:
        """A graph of all that `work` asks for, which isn't done now, but with every `launch` of the graph.

        Raises
        ------
        RuntimeError
            If it holds something that can't be captured.
        """
        self._stream.begin_capture()
        try:
            work()
        except RuntimeError:
            with contextlib.suppress(RuntimeError):  # the capture is broken, but has to be ended all the same
                self._stream.end_capture()
            raise
        return self._stream.end_capture()

    def replay(self, graph: Any) -> None:
        """Ask for all that a graph holds."""
        graph.launch(self._stream)

    def synchronize(self) -> None:
        """Wait for all that was asked for."""
        self._stream.synchronize()
        self._kept.clear()


def _trial(gpu: Gpu) -> str:
    """Capture a product and a kernel, and replay them: why that fails, or nothing if it does not."""
    try:
        queue, size = gpu.queue("float32"), 16
        with queue.working():
            room = queue.allocate(4 * ALIGNMENT * size + gpu.products.workspace_bytes)
            a, b, d, workspace = (room.ptr + i * ALIGNMENT * size for i in range(4))
            queue.clear(room.ptr, 3 * ALIGNMENT * size)
            prepared = gpu.products.prepare(forward_product(size, size, size, "float32"), 0)
            if prepared is None:
                return f"{gpu.products.name} knows no product in float32"
            arguments = (np.int32(0), np.float64(0), np.uint64(a), np.uint64(d), np.int64(size))

            def work() -> None:
                queue.multiply(prepared, a, b, d, False, workspace)
                queue.launch("chain", (1, 1), FLAT, arguments)

            work()  # what is loaded at its first call can't be loaded while a graph is captured
            graph = queue.capture(work)
            queue.replay(graph)
            queue.synchronize()
    except RuntimeError as error:
        return f"a trial capture failed ({(str(error).strip().splitlines() or [type(error).__name__])[0]})"
    return ""
