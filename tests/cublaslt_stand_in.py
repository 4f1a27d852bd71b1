"""A library that takes the calls of cublasLt and computes with NumPy what they ask for, at the addresses they give."""

import ctypes
import itertools

import numpy as np

TYPES = {0: np.float32, 1: np.float64}
COMPUTE = {68: np.float32, 70: np.float64}


class CublasLtStandIn:
    """Its functions have the names and the arguments of the real ones.

    Attributes
    ----------
    unsupported : set of int
        Epilogues that no algorithm is found for.
    submit : callable
        Takes the work of a product, to do it now or later.
    living : int
        How many things were created and not destroyed.
    """

    def __init__(self, unsupported=(), submit=lambda work: work()):
        self.unsupported, self._submit, self._numbers, self._things = set(unsupported), submit, itertools.count(1), {}

    def __getattr__(self, name):
        if name.startswith("cublasLt") and name.endswith("Destroy"):
            return lambda thing: self._things.pop(thing.value) and 0
        raise AttributeError(name)

    @property
    def living(self):
        return len(self._things)

    def _create(self, made, **thing):
        number = next(self._numbers)
        self._things[number] = thing
        made._obj.value = number
        return 0

    def cublasLtGetVersion(self):  # noqa: N802
        return 130400

    def cublasLtGetStatusString(self, status):  # noqa: N802
        return f"status {status}".encode()

    def cublasLtCreate(self, made):  # noqa: N802
        return self._create(made)

    def cublasLtMatmulPreferenceCreate(self, made):  # noqa: N802
        return self._create(made)

    def cublasLtMatmulDescCreate(self, made, compute, scale):  # noqa: N802
        assert COMPUTE[compute] == TYPES[scale]
        return self._create(made, dtype=TYPES[scale])

    def cublasLtMatrixLayoutCreate(self, made, kind, rows, columns, stride):  # noqa: N802
        return self._create(made, dtype=TYPES[kind], rows=rows, columns=columns, stride=stride)

    def _set(self, thing, attribute, value, size):
        assert ctypes.sizeof(value._obj) == size
        self._things[thing.value][attribute] = value._obj.value
        return 0

    cublasLtMatmulDescSetAttribute = cublasLtMatmulPreferenceSetAttribute = _set  # noqa: N815

    def cublasLtMatmulAlgoGetHeuristic(  # noqa: N802
        self, handle, description, a, b, c, d, preference, wanted, found, count
    ):
        assert wanted == 1
        assert self._things[preference.value][1] > 0
        count._obj.value = int(self._things[description.value][7] not in self.unsupported)
        found._obj.algorithm.data[0] = 7
        found._obj.workspace_bytes = 1024
        return 0

    def cublasLtMatmul(  # noqa: N802
        self, handle, description, alpha, a, a_layout, b, b_layout, beta, c, c_layout, d, d_layout, algorithm, workspace,
        workspace_bytes, stream,
    ):  # fmt: skip
        about = self._things[description.value]
        assert (algorithm._obj.data[0], workspace_bytes) == (7, 1024)
        assert workspace % 256 == 0 < workspace
        assert (c, alpha._obj.value) == (d, 1)
        matrix_a, matrix_b = self._matrix(a, a_layout, about[3]), self._matrix(b, b_layout, about[4])
        target, more, epilogue = self._matrix(d, d_layout, 0), beta._obj.value, about[7]
        vector = None if epilogue == 1 else _vector(about[8], len(target), about["dtype"])

        def work():
            with np.errstate(all="ignore"):
                result = matrix_a @ matrix_b + (target if more else 0)
                if epilogue == 4:
                    result += vector[:, None]
                if epilogue == 256:
                    vector[:] = matrix_a.sum(axis=1)
            target[:] = result

        self._submit(work)
        return 0

    def _matrix(self, address, layout, transposed):
        about = self._things[layout.value]
        assert address % 64 == 0 < address
        assert about["stride"] == about["rows"]
        matrix = _vector(address, about["rows"] * about["columns"], about["dtype"])
        matrix = matrix.reshape(about["columns"], about["rows"]).T
        return matrix.T if transposed else matrix


def _vector(address, count, dtype):
    """So many numbers at an address."""
    memory = (ctypes.c_char * (count * np.dtype(dtype).itemsize)).from_address(address)
    return np.frombuffer(memory, dtype)
