"""Where the tests run the `.cu` kernels: on the CPU, as fibers, in three orders of threads; or on a GPU."""

import numpy as np

from nnaccel.backends import get_backend
from nnaccel.backends.cuda import gpu_of
from tests import cuda_on_cpu


class Fibers:
    """The CPU, where every launch runs in every order of threads and must leave the same bits."""

    def __init__(self, dtype):
        self.dtype, self._library = dtype, cuda_on_cpu.kernels(dtype)

    def run(self, name, grid, block, *arguments):
        """Run a kernel; arrays are read and written in place, whole numbers are int32 unless they have a type."""
        results = []
        for order in cuda_on_cpu.ORDERS:
            self._library.order = order
            copies = {id(a): a.copy() for a in arguments if isinstance(a, np.ndarray)}
            self._library.launch(name, grid, block, [_plain(a, copies) for a in arguments])
            results.append(copies)
        for argument in arguments:
            if isinstance(argument, np.ndarray):
                first, *others = (copies[id(argument)] for copies in results)
                for other in others:
                    np.testing.assert_array_equal(other, first, err_msg=f"{name}: the order of threads matters")
                if argument.flags.writeable:
                    argument[...] = first


class Graphics:
    """A GPU; arrays are copied there and back."""

    def __init__(self, dtype):
        self.dtype, self._queue = dtype, gpu_of(get_backend("cuda")).queue(dtype)

    def run(self, name, grid, block, *arguments):
        """The same."""
        with self._queue.working():
            memory = {id(a): self._queue.allocate(a.nbytes) for a in arguments if isinstance(a, np.ndarray)}
            for argument in arguments:
                if isinstance(argument, np.ndarray):
                    self._queue.upload(memory[id(argument)].ptr, np.ascontiguousarray(argument))
            self._queue.launch(name, grid, block, [self._plain(a, memory) for a in arguments])
            for argument in arguments:
                if isinstance(argument, np.ndarray) and argument.flags.writeable:
                    argument[...] = self._queue.download(memory[id(argument)].ptr, np.empty_like(argument, order="C"))
            self._queue.synchronize()

    def _plain(self, argument, memory):
        if argument is None or isinstance(argument, np.ndarray):
            return np.uint64(0 if argument is None else memory[id(argument)].ptr)
        return np.int32(argument) if isinstance(argument, int) else argument


def _plain(argument, copies):
    if argument is None or isinstance(argument, np.ndarray):
        return cuda_on_cpu.address(copies.get(id(argument)))
    return np.int32(argument) if isinstance(argument, int) else argument
