"""Matrix products as the device's libraries see them: in columns, while ours lie in rows.

A matrix of r rows and c columns that lies row by row is, read column by column, its transpose: c x r. So y = x @ W becomes
y' = W' @ x', and no number has to move.
"""

from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

BIAS = "bias"
BIAS_GRADIENT = "bias gradient"


@dataclass(frozen=True)
class Product:
    """D = A @ B, or D = D + A @ B, of matrices that lie column by column without gaps.

    Attributes
    ----------
    m, n, k : int
        D is m x n, the sums are of k terms.
    transpose_a, transpose_b : bool
        Whether what lies there is A' (k x m) or B' (n x k).
    dtype : "float32" or "float64"
    extra : "", "bias" or "bias gradient"
        What the product brings along: a vector of m numbers added to each column of D, or the sums of the rows of A
        written to one.
    """

    m: int
    n: int
    k: int
    transpose_a: bool
    transpose_b: bool
    dtype: str
    extra: str = ""


def forward_product(rows: int, inputs: int, outputs: int, dtype: str, extra: str = "") -> Product:
    """y (rows, outputs) = x (rows, inputs) @ W (inputs, outputs): A is W, B is x."""
    return Product(outputs, rows, inputs, False, False, dtype, extra)


def weight_product(rows: int, inputs: int, outputs: int, dtype: str, extra: str = "") -> Product:
    """The gradient of W: x' @ deltas; A is deltas (rows, outputs), B is x (rows, inputs)."""
    return Product(outputs, inputs, rows, False, True, dtype, extra)


def input_product(rows: int, inputs: int, outputs: int, dtype: str) -> Product:
    """The gradient of x: deltas @ W'; A is W, B is deltas."""
    return Product(inputs, rows, outputs, True, False, dtype)


Prepared: TypeAlias = Any
"""A product that is ready to be computed, in whatever form its library keeps it."""


class Products(Protocol):
    """A library of products on a device.

    Attributes
    ----------
    name : str
    can_be_captured : bool
        Whether its calls may become part of a graph.
    workspace_bytes : int
        How much memory it needs to work in.
    """

    name: str
    can_be_captured: bool
    workspace_bytes: int

    def prepare(self, product: Product, vector: int) -> Prepared | None:
        """Choose how to compute a product; None if the library can't.

        Parameters
        ----------
        vector : int
            The address of the bias or its gradient; 0 if the product brings none.
        """

    def multiply(self, prepared: Prepared, a: int, b: int, d: int, more: bool, workspace: int, stream: int) -> None:
        """Ask the device to compute a product of matrices at these addresses; with `more`, D is added to."""
