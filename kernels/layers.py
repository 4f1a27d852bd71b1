"""Rows of a batch through all layers and back: what a thread does without waiting for any other."""

import numpy as np
from numba import njit

from nnaccel.kernels.activation import IDENTITY, RELU, activate, chain
from nnaccel.kernels.dropout import drop, step_key, threshold
from nnaccel.kernels.gemm import panel_width, product, row_products
from nnaccel.kernels.job import LAYER, SOURCE
from nnaccel.kernels.loss import losses_and_deltas
from nnaccel.kernels.memory import JIT, at, like, panel_of, pointer, records_of
from nnaccel.kernels.rows import gather

ROWS_AT_ONCE = 264
"""A thread takes so many rows through all layers before the next ones: they stay in its second-level cache."""

_layer, _source = records_of(LAYER), records_of(SOURCE)


@njit(**JIT)
def layer_forward(job, layer, first, rows, dropping, zero):
    """Rows of activations through one layer."""
    activations, parameters = pointer(job.activations, zero), pointer(job.parameters, zero)
    panel, capacity = panel_of(activations), job.capacity
    floor = zero if layer.activation == RELU else like(zero, -np.inf)
    done = layer.saved == layer.output and (layer.activation == RELU or layer.activation == IDENTITY)
    for j in range(0, layer.outputs, panel):
        width, place = panel_width(layer.outputs - j, panel), j * capacity + first * panel
        sums, output = at(activations, layer.saved + place), at(activations, layer.output + place)
        a, b = at(activations, layer.input + first * panel), at(parameters, layer.weight + j * layer.inputs)
        bias = at(parameters, layer.bias + j) if layer.bias >= 0 else pointer(job.zeros, zero)
        if layer.outputs == 1:
            row_products(a, capacity, b, sums, bias[0], rows, layer.inputs, floor)
        else:
            product(a, capacity, b, width, sums, bias, rows, layer.inputs, panel, floor)
        if not done:
            activate(layer.activation, layer.parameter, sums, output, rows * panel)
        if layer.saves_output and layer.saved != layer.output:
            activate(IDENTITY, 0.0, output, sums, rows * panel)
        if dropping[1] > 0.0 and layer.dropout > 0.0:
            _drop(job, layer, j, first, rows, dropping, output)


@njit(**JIT)
def _drop(job, layer, j, first, rows, dropping, values):
    """Multiply one panel of a layer by its mask."""
    count, factor, first_row = dropping
    panel = panel_of(values)
    key_0, key_1 = step_key(job.seed, count, layer.number)
    units, limit = min(panel, layer.outputs - j), threshold(layer.dropout, factor)
    drop(key_0, key_1, limit, first_row + first, rows, j, units, values, panel)


@njit(**JIT)
def _through_activation(job, layer, j, first, rows, dropping, zero):
    """Turn one panel of the gradient of a layer's outputs into that of its sums."""
    activations = pointer(job.activations, zero)
    panel = panel_of(activations)
    place = j * job.capacity + first * panel
    delta = at(activations, layer.delta + place)
    if dropping[1] > 0.0 and layer.dropout > 0.0:
        _drop(job, layer, j, first, rows, dropping, delta)
    if layer.activation != IDENTITY:
        chain(layer.activation, layer.parameter, at(activations, layer.saved + place), delta, rows * panel)


@njit(**JIT)
def _backward(job, first, rows, dropping, zero):
    """From the gradient of the network's outputs to that of the sums of every layer."""
    activations = pointer(job.activations, zero)
    panel, capacity, none = panel_of(activations), job.capacity, like(zero, -np.inf)
    last = _layer(job.layers, job.layer_count - 1)
    for j in range(0, last.outputs, panel):
        _through_activation(job, last, j, first, rows, dropping, zero)
    for number in range(job.layer_count - 1, 0, -1):
        layer, below = _layer(job.layers, number), _layer(job.layers, number - 1)
        # The weights of a single output are one row, so they are their own transposed copy.
        single = layer.outputs == 1
        transposed = pointer(job.parameters, zero) if single else pointer(job.transposed, zero)
        start = layer.weight if single else layer.transposed
        for i in range(0, layer.inputs, panel):
            product(
                at(activations, layer.delta + first * panel), capacity,
                at(transposed, start + i * layer.outputs), panel_width(layer.inputs - i, panel),
                at(activations, below.delta + i * capacity + first * panel), pointer(job.zeros, zero),
                rows, layer.outputs, panel, none,
            )  # fmt: skip
            _through_activation(job, below, i, first, rows, dropping, zero)


@njit(**JIT)
def copy_inputs(job, numbers, first, rows, zero):
    """Copy rows of the caller's into the first layer's inputs."""
    x = at(pointer(job.activations, zero), _layer(job.layers, 0).input)
    panel = panel_of(x)
    gather(_source(job.source, 0), numbers, rows, at(x, first * panel), job.capacity * panel, panel)


@njit(**JIT)
def output_losses(job, numbers, first, rows, scale, losses, room):
    """The losses of rows that have gone forward, and the gradient of the network's outputs times `scale`."""
    last = _layer(job.layers, job.layer_count - 1)
    activations = pointer(job.activations, room[0])
    here = at(activations, first * panel_of(activations))
    losses_and_deltas(
        job, at(here, last.output), at(here, last.delta), numbers, rows, last.outputs, scale, losses, room
    )


@njit(**JIT)
def forward_and_back(job, numbers, share, dropping, scale, room):
    """A thread's share of the rows in the activations: their losses, and the gradients of all sums."""
    zero, losses = like(room[0], 0.0), pointer(job.row_losses, 1.0)
    for first in range(share[0], share[1], ROWS_AT_ONCE):
        rows, own = min(ROWS_AT_ONCE, share[1] - first), at(numbers, first)
        copy_inputs(job, own, first, rows, zero)
        for number in range(job.layer_count):
            layer_forward(job, _layer(job.layers, number), first, rows, dropping, zero)
        output_losses(job, own, first, rows, scale, at(losses, first), room)
        _backward(job, first, rows, dropping, zero)


@njit(**JIT)
def share_of(rows, thread, threads):
    """Which rows a thread takes: first and last, exclusive. Groups of 4 stay together, as tiles like it."""
    groups = -(-rows // 4)
    return min(rows, groups * thread // threads * 4), min(rows, groups * (thread + 1) // threads * 4)
