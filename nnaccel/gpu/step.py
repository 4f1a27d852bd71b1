"""A step as a list of what is to be asked of the device: the formulas of `reference.py`, kernel by kernel."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from nnaccel.gpu.cublaslt import CublasError
from nnaccel.gpu.device import Address
from nnaccel.gpu.geometry import BY_ROWS, FLAT, Shape, over_numbers, over_rows, over_sums
from nnaccel.gpu.memory import part_rows
from nnaccel.gpu.products import (
    BIAS,
    BIAS_GRADIENT,
    Prepared,
    Product,
    Products,
    forward_product,
    input_product,
    weight_product,
)
from nnaccel.gpu.slices import dropping_layers
from nnaccel.kernels.job import ACTIVATIONS
from nnaccel.network import Layer
from nnaccel.plan import Plan


class Launch(NamedTuple):
    """A kernel to be launched."""

    kernel: str
    grid: Shape
    block: Shape
    arguments: tuple[np.generic, ...]


class Multiply(NamedTuple):
    """A product to be computed; with `more`, it is added to what is there."""

    prepared: Prepared
    a: Address
    b: Address
    d: Address
    more: bool


Operation = Launch | Multiply


@dataclass(frozen=True)
class Span:
    """So many rows of a batch.

    Attributes
    ----------
    count : int
    first : int
        The place of the first one within the batch.
    dropped_from : int, optional
        The place that dropout takes it to have; None drops nothing.
    """

    count: int
    first: int = 0
    dropped_from: int | None = None


@dataclass(frozen=True)
class Scene:
    """What a step works on.

    Attributes
    ----------
    plan : Plan
    at : mapping of str to address
        Where everything lies: the regions of `memory.py`, the "slice", the data "x", "targets" and "weights" (0 for none).
    kind : int
        What the data consists of, as a place in `job.ROW_KINDS`.
    products : Products
    """

    plan: Plan
    at: Mapping[str, Address]
    kind: int
    products: Products
    _prepared: dict[tuple[Product, Address], Prepared | None] = field(default_factory=dict, compare=False)

    def prepare(self, product: Product, vector: Address = 0) -> Prepared | None:
        """A product made ready, once for all steps."""
        key = (product, vector)
        if key not in self._prepared:
            self._prepared[key] = self.products.prepare(product, vector)
        return self._prepared[key]

    def must_prepare(self, product: Product) -> Prepared:
        """The same for a product that brings nothing along; every library has those."""
        prepared = self.prepare(product)
        if prepared is None:
            raise CublasError(f"{self.products.name} can't compute {product}")
        return prepared

    def parameter(self, vector: str, layer: int, name: str) -> Address:
        """The address of a layer's weights or biases, or of their gradients; 0 if it has none."""
        itemsize = np.dtype(self.plan.dtype).itemsize
        starts = (b.start for b in self.plan.network.blocks if (b.layer, b.name) == (layer, name))
        return next((self.at[vector] + start * itemsize for start in starts), 0)

    def output(self, layer: int, dropped: bool) -> Address:
        """Where a layer's outputs lie."""
        if layer < 0:
            return self.at["input"]
        if dropped and f"dropped {layer}" in self.at:
            return self.at[f"dropped {layer}"]
        return self.at.get(f"outputs {layer}", self.at[f"sums {layer}"])


def train_step(scene: Scene, rows: int) -> list[Operation]:
    """A step of training with a batch of so many rows."""
    part, operations = part_rows(scene.plan), list[Operation]()
    for first in range(0, rows, part):
        here = Span(min(part, rows - first), first, dropped_from=first)
        operations += [*forward(scene, here), losses(scene, here), *backward(scene, here, more=first > 0)]
    return [*operations, loss_sums(scene, rows), *updates(scene)]


def gradient_part(scene: Scene, rows: int, first_row: int, more: bool) -> list[Operation]:
    """The gradient of so many rows, which are a batch of their own but for dropout; with `more`, it is added."""
    here = Span(rows, dropped_from=first_row)
    return [*forward(scene, here), losses(scene, here), *backward(scene, here, more), loss_sums(scene, rows)]


def evaluation_part(scene: Scene, rows: int) -> list[Operation]:
    """The losses of so many rows."""
    here = Span(rows)
    return [*forward(scene, here), losses(scene, here), loss_sums(scene, rows)]


def forward(scene: Scene, rows: Span) -> list[Operation]:
    """From the caller's rows to the outputs."""
    plan, slice_ = scene.plan, np.uint64(scene.at["slice"])
    columns = math.prod(plan.network.input_shape)
    x = np.uint64(scene.at["x"])
    arguments = (slice_, x, *_int32(scene.kind, columns, rows.first, rows.count), np.uint64(scene.at["input"]))
    operations: list[Operation] = [Launch("gather", over_rows(rows.count, columns), BY_ROWS, arguments)]
    for number, layer in enumerate(plan.network.layers):
        operations += _layer_forward(scene, rows, number, layer)
    return operations


def _layer_forward(scene: Scene, rows: Span, number: int, layer: Layer) -> list[Operation]:
    inputs, outputs = _widths(scene.plan, number)
    drops = rows.dropped_from is not None
    z, y = scene.at[f"sums {number}"], scene.output(number, dropped=False)
    weight, bias = (scene.parameter("parameters", number, name) for name in ("weight", "bias"))
    product = forward_product(rows.count, inputs, outputs, scene.plan.dtype)
    fused = scene.prepare(_with(product, BIAS), bias) if bias else None
    prepared = fused or scene.must_prepare(product)
    operations: list[Operation] = [Multiply(prepared, weight, scene.output(number - 1, drops), z, False)]
    left = 0 if fused else bias
    if layer.activation.name != "identity" or left:
        arguments = (*_activation(layer), *_addresses(z, left, y), *_int32(rows.count, outputs))
        operations.append(Launch("activate", over_rows(rows.count, outputs), BY_ROWS, arguments))
    if drops and layer.dropout:
        operations.append(_drop(scene, rows, number, y, scene.output(number, dropped=True)))
    return operations


def losses(scene: Scene, rows: Span) -> Operation:
    """The losses of rows and the gradients of the outputs."""
    at, count = scene.at, scene.plan.outputs
    drops = rows.dropped_from is not None
    outputs = scene.output(len(scene.plan.network.layers) - 1, drops)
    pointers = _addresses(
        at["slice"], at["loss"], at["targets"], at["weights"], outputs, at["deltas"], at["row_losses"]
    )
    arguments = (*pointers, *_int32(rows.first, rows.count, count))
    return Launch("losses_and_deltas", over_rows(rows.count, 1), BY_ROWS, arguments)


def loss_sums(scene: Scene, rows: int) -> Operation:
    """The log of a batch."""
    pointers = _addresses(*(scene.at[name] for name in ("slice", "weights", "row_losses")))
    return Launch("loss_sums", (1, 1), FLAT, (*pointers, *_int32(rows)))


def backward(scene: Scene, rows: Span, more: bool) -> list[Operation]:
    """From the gradient of the outputs to those of all parameters."""
    operations: list[Operation] = []
    deltas, other = scene.at["deltas"], scene.at["other deltas"]
    for number, layer in reversed(list(enumerate(scene.plan.network.layers))):
        inputs, outputs = _widths(scene.plan, number)
        if layer.dropout:
            operations.append(_drop(scene, rows, number, deltas, deltas))
        if layer.activation.name != "identity":
            operations.append(_chain(scene, rows, number, layer, deltas))
        operations += _parameter_gradients(scene, rows, number, deltas, more)
        if number:
            prepared = scene.must_prepare(input_product(rows.count, inputs, outputs, scene.plan.dtype))
            weight = scene.parameter("parameters", number, "weight")
            operations.append(Multiply(prepared, weight, deltas, other, False))
            deltas, other = other, deltas
    return operations


def _chain(scene: Scene, rows: Span, number: int, layer: Layer, deltas: Address) -> Operation:
    saved = scene.at[f"sums {number}"]  # the sums, or the outputs that took their place
    count = rows.count * _widths(scene.plan, number)[1]
    arguments = (*_activation(layer), *_addresses(saved, deltas), np.int64(count))
    return Launch("chain", over_numbers(count), FLAT, arguments)


def _parameter_gradients(scene: Scene, rows: Span, number: int, deltas: Address, more: bool) -> list[Operation]:
    inputs, outputs = _widths(scene.plan, number)
    weight, bias = (scene.parameter("gradient", number, name) for name in ("weight", "bias"))
    product = weight_product(rows.count, inputs, outputs, scene.plan.dtype)
    # What a product brings along is written, never added.
    fused = scene.prepare(_with(product, BIAS_GRADIENT), bias) if bias and not more else None
    x = scene.output(number - 1, dropped=True)
    operations: list[Operation] = [Multiply(fused or scene.must_prepare(product), deltas, x, weight, more)]
    if bias and not fused:
        arguments = (*_addresses(deltas), *_int32(rows.count, outputs, int(more)), *_addresses(bias))
        operations.append(Launch("bias_gradient", over_rows(1, outputs), BY_ROWS, arguments))
    return operations


def updates(scene: Scene) -> list[Operation]:
    """The update of all parameters from the sums of a batch."""
    plan, at, operations, parts = scene.plan, scene.at, list[Operation](), 0
    size = plan.network.size
    head = _addresses(at["slice"], at["rule"], at["is_weight"], at["parameters"])
    if plan.l2.strength or plan.clip_norm is not None:
        grid = over_sums(size)
        parts = grid[0]
        arguments = (*head, *_addresses(at["gradient"], at["sums"]), np.int64(size))
        operations.append(Launch("penalise", grid, FLAT, arguments))
    vectors = _addresses(at.get("slot_1", 0), at.get("slot_2", 0), at["gradient"], at["sums"])
    arguments = (*head, *vectors, *_int32(parts), np.int64(size))
    return [*operations, Launch("update", over_numbers(size), FLAT, arguments)]


def _drop(scene: Scene, rows: Span, number: int, values: Address, out: Address) -> Operation:
    units, place = _widths(scene.plan, number)[1], dropping_layers(scene.plan).index(number)
    assert rows.dropped_from is not None, "only training drops"
    numbers = _int32(place, rows.dropped_from, rows.count, units)
    arguments = (*_addresses(scene.at["slice"]), *numbers, *_addresses(values, out))
    return Launch("drop", over_rows(rows.count, -(-units // 4)), BY_ROWS, arguments)


def _widths(plan: Plan, number: int) -> tuple[int, int]:
    """How many inputs and outputs a layer has."""
    return math.prod(plan.network.shapes[number]), math.prod(plan.network.shapes[number + 1])


def _with(product: Product, extra: str) -> Product:
    return Product(product.m, product.n, product.k, product.transpose_a, product.transpose_b, product.dtype, extra)


def _activation(layer: Layer) -> tuple[np.generic, np.generic]:
    """A layer's activation for the kernels: its kind, and its one number, if it has one."""
    activation = layer.activation
    parameter = getattr(activation, "slope", getattr(activation, "alpha", 0.0))
    return np.int32(ACTIVATIONS.index(activation.name)), np.float64(parameter)


def _int32(*numbers: int) -> tuple[np.generic, ...]:
    return tuple(np.int32(number) for number in numbers)


def _addresses(*addresses: Address) -> tuple[np.generic, ...]:
    return tuple(np.uint64(address) for address in addresses)
