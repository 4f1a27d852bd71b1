"""Products by CuPy's own cuBLAS, for where cublasLt can't be loaded: they can't become part of a graph, and bring nothing along."""

import ctypes
from dataclasses import dataclass
from typing import Any

from nnaccel.gpu.products import Prepared, Product, Products


@dataclass(frozen=True)
class PlainProduct:
    """A product that needs no preparation."""

    product: Product


class Cublas(Products):
    """Products by the cuBLAS that CuPy has loaded, on the current device and stream."""

    name = "cuBLAS"
    can_be_captured = False
    workspace_bytes = 0

    def __init__(self, cupy: Any) -> None:
        self._cupy = cupy

    def prepare(self, product: Product, vector: int) -> PlainProduct | None:
        return None if product.extra else PlainProduct(product)

    def multiply(self, prepared: Prepared, a: int, b: int, d: int, more: bool, workspace: int, stream: int) -> None:
        p, cuda = prepared.product, self._cupy.cuda
        function, scalar = (
            (cuda.cublas.sgemm, ctypes.c_float) if p.dtype == "float32" else (cuda.cublas.dgemm, ctypes.c_double)
        )
        alpha, beta = scalar(1), scalar(more)
        function(
            cuda.device.get_cublas_handle(), int(p.transpose_a), int(p.transpose_b), p.m, p.n, p.k,
            ctypes.addressof(alpha), a, p.k if p.transpose_a else p.m, b, p.n if p.transpose_b else p.k,
            ctypes.addressof(beta), d, p.m,
        )  # fmt: skip
