"""cublasLt by ctypes: products whose stream and workspace are arguments, so that they can become part of a graph.

CuPy's own products can't: its cuBLAS refuses a stream that is being captured. Numbers and types are those of `cublasLt.h` and
`cublas_api.h`, the same in CUDA 12 and 13. What float32 means is decided by the type to compute in, which is never TF32.
"""

import ctypes
import importlib
import weakref
from ctypes import byref, c_double, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32, c_uint64, c_void_p
from typing import Any

from nnaccel.gpu.products import BIAS, BIAS_GRADIENT, Prepared, Product, Products

WORKSPACE_BYTES = 32 << 20
"""As much as cuBLAS itself takes on the largest devices."""

SUCCESS, NOT_SUPPORTED = 0, 15

_TYPES = {"float32": 0, "float64": 1}
_COMPUTE = {"float32": 68, "float64": 70}
"""CUBLAS_COMPUTE_32F and CUBLAS_COMPUTE_64F."""
_SCALARS: dict[str, Any] = {"float32": c_float, "float64": c_double}
_EPILOGUES = {"": 1, BIAS: 4, BIAS_GRADIENT: 256}
"""CUBLASLT_EPILOGUE_DEFAULT, _BIAS and _BGRADA."""

TRANSPOSE_A, TRANSPOSE_B, EPILOGUE, BIAS_POINTER = 3, 4, 7, 8
"""Attributes of a product."""

MOST_WORKSPACE, ALIGNMENTS = 1, (5, 6, 7, 8)
"""Attributes of a preference: bytes of workspace, and to what A, B, C and D are aligned."""

_ALIGNED_BYTES = 64
"""So are all blocks of parameters, and whatever else is multiplied."""


class Algorithm(ctypes.Structure):
    """cublasLtMatmulAlgo_t."""

    _fields_ = [("data", c_uint64 * 8)]


class Heuristic(ctypes.Structure):
    """cublasLtMatmulHeuristicResult_t."""

    _fields_ = [
        ("algorithm", Algorithm),
        ("workspace_bytes", c_size_t),
        ("state", c_int),
        ("waves", c_float),
        ("reserved", c_int * 4),
    ]


class CublasError(RuntimeError):
    """A call to the library failed."""


_PROTOTYPES: dict[str, tuple[Any, list[Any]]] = {
    "cublasLtGetVersion": (c_size_t, []),
    "cublasLtGetStatusString": (ctypes.c_char_p, [c_int]),
    "cublasLtCreate": (c_int, [c_void_p]),
    "cublasLtDestroy": (c_int, [c_void_p]),
    "cublasLtMatmulDescCreate": (c_int, [c_void_p, c_int, c_int]),
    "cublasLtMatmulDescDestroy": (c_int, [c_void_p]),
    "cublasLtMatmulDescSetAttribute": (c_int, [c_void_p, c_int, c_void_p, c_size_t]),
    "cublasLtMatmulDescGetAttribute": (c_int, [c_void_p, c_int, c_void_p, c_size_t, c_void_p]),
    "cublasLtMatrixLayoutCreate": (c_int, [c_void_p, c_int, c_uint64, c_uint64, c_int64]),
    "cublasLtMatrixLayoutDestroy": (c_int, [c_void_p]),
    "cublasLtMatmulPreferenceCreate": (c_int, [c_void_p]),
    "cublasLtMatmulPreferenceDestroy": (c_int, [c_void_p]),
    "cublasLtMatmulPreferenceSetAttribute": (c_int, [c_void_p, c_int, c_void_p, c_size_t]),
    "cublasLtMatmulAlgoGetHeuristic": (c_int, [*[c_void_p] * 7, c_int, c_void_p, c_void_p]),
    "cublasLtMatmul": (c_int, [*[c_void_p] * 14, c_size_t, c_void_p]),
}


def load() -> Any:
    """The library that belongs to the CUDA that is installed.

    Raises
    ------
    CublasError
        If there is none.
    """
    try:
        found = importlib.import_module("cuda.pathfinder").load_nvidia_dynamic_lib("cublasLt")
        library = ctypes.CDLL(str(found.abs_path))
    except (ImportError, OSError, RuntimeError) as error:
        problem = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise CublasError(f"cublasLt can't be loaded ({problem})") from error
    for name, (result, arguments) in _PROTOTYPES.items():
        function = getattr(library, name)
        function.restype, function.argtypes = result, arguments
    return library


class PreparedProduct:
    """A product, how its matrices lie, and the algorithm that was chosen for it."""

    def __init__(self, library: Any, product: Product, vector: int) -> None:
        self.product = product
        self.algorithm = Algorithm()
        self.workspace_bytes = 0
        self._library = library
        dtype = product.dtype
        self.description = self._created("cublasLtMatmulDesc", _COMPUTE[dtype], _TYPES[dtype])
        self.a = self._layout(product.m, product.k, product.transpose_a)
        self.b = self._layout(product.k, product.n, product.transpose_b)
        self.d = self._layout(product.m, product.n, False)
        self._set(TRANSPOSE_A, c_int32(product.transpose_a))
        self._set(TRANSPOSE_B, c_int32(product.transpose_b))
        self._set(EPILOGUE, c_uint32(_EPILOGUES[product.extra]))
        if product.extra:
            self._set(BIAS_POINTER, c_void_p(vector))
        scalar = _SCALARS[dtype]
        self.one, self.beta = scalar(1), (scalar(0), scalar(1))

    def _layout(self, rows: int, columns: int, transposed: bool) -> c_void_p:
        rows, columns = (columns, rows) if transposed else (rows, columns)
        return self._created("cublasLtMatrixLayout", _TYPES[self.product.dtype], rows, columns, rows)

    def _created(self, kind: str, *arguments: int) -> c_void_p:
        return created(self, self._library, kind, *arguments)

    def _set(self, attribute: int, value: Any) -> None:
        function = self._library.cublasLtMatmulDescSetAttribute
        checked(self._library, function(self.description, attribute, byref(value), ctypes.sizeof(value)))


class CublasLt(Products):
    """Products by cublasLt, on the current device.

    Raises
    ------
    CublasError
        If the library can't be loaded, or finds no device.
    """

    name = "cublasLt"
    can_be_captured = True
    workspace_bytes = WORKSPACE_BYTES

    def __init__(self, library: Any = None) -> None:
        self._library = load() if library is None else library
        self._handle = created(self, self._library, "cublasLt")
        self._preference = created(self, self._library, "cublasLtMatmulPreference")
        self._prefer(MOST_WORKSPACE, c_uint64(self.workspace_bytes))
        for attribute in ALIGNMENTS:
            self._prefer(attribute, c_uint32(_ALIGNED_BYTES))

    @property
    def version(self) -> int:
        """As the library counts it: 130400 is 13.4."""
        return int(self._library.cublasLtGetVersion())

    def prepare(self, product: Product, vector: int) -> PreparedProduct | None:
        prepared, found, count = PreparedProduct(self._library, product, vector), Heuristic(), c_int()
        status = self._library.cublasLtMatmulAlgoGetHeuristic(
            self._handle, prepared.description, prepared.a, prepared.b, prepared.d, prepared.d, self._preference, 1,
            byref(found), byref(count),
        )  # fmt: skip
        if status == NOT_SUPPORTED or (status == SUCCESS and not (count.value and found.state == SUCCESS)):
            return None
        checked(self._library, status)
        prepared.algorithm, prepared.workspace_bytes = found.algorithm, found.workspace_bytes
        return prepared

    def multiply(self, prepared: Prepared, a: int, b: int, d: int, more: bool, workspace: int, stream: int) -> None:
        status = self._library.cublasLtMatmul(
            self._handle, prepared.description, byref(prepared.one), a, prepared.a, b, prepared.b,
            byref(prepared.beta[more]), d, prepared.d, d, prepared.d, byref(prepared.algorithm), workspace,
            prepared.workspace_bytes, stream,
        )  # fmt: skip
        checked(self._library, status)

    def _prefer(self, attribute: int, value: Any) -> None:
        function = self._library.cublasLtMatmulPreferenceSetAttribute
        checked(self._library, function(self._preference, attribute, byref(value), ctypes.sizeof(value)))


def created(owner: object, library: Any, kind: str, *arguments: int) -> c_void_p:
    """What the library's function to create such a thing makes; it goes with its owner."""
    made = c_void_p()
    checked(library, getattr(library, f"{kind}Create")(byref(made), *arguments))
    weakref.finalize(owner, getattr(library, f"{kind}Destroy"), made)
    return made


def checked(library: Any, status: int) -> None:
    """Raise `CublasError` with the library's own words, unless a call succeeded."""
    if status != SUCCESS:
        raise CublasError(f"cublasLt: {library.cublasLtGetStatusString(status).decode()}")
