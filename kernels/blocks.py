"""Blocks of weights: their gradient over all rows of a batch, and their update. Each has one thread that owns it."""

import math

import numpy as np
from numba import njit

from nnaccel.kernels.gemm import block_product, column_sums, panel_width, transpose
from nnaccel.kernels.job import LAYER, SOURCE
from nnaccel.kernels.layers import share_of
from nnaccel.kernels.memory import JIT, at, int32_pointer, like, panel_of, pointer, records_of
from nnaccel.kernels.optimizer import SGD, penalise, sum_of_squares, update
from nnaccel.kernels.rows import ask_for
from nnaccel.kernels.team import wait

_layer, _source = records_of(LAYER), records_of(SOURCE)


@njit(**JIT)
def block_gradient(job, layer, i, j, span, target, base, base_stride, bias, bias_base, alpha):
    """target = base + alpha * gradient of a block of weights; for the first block of a panel, the same for its biases.

    `span` is the first of the rows in the activations to add up, and their number.
    """
    first, rows = span
    activations = at(pointer(job.activations, alpha), first * panel_of(pointer(job.activations, alpha)))
    panel, capacity = panel_of(activations), job.capacity
    width, delta = panel_width(layer.outputs - j, panel), at(activations, layer.delta + j * capacity)
    a, count = at(activations, layer.input + i * capacity), min(panel, layer.inputs - i)
    if layer.outputs == 1:
        n = panel_width(layer.inputs - i, panel)
        block_product(delta, a, n, target, base, base_stride, 1, rows, panel, alpha)
        for k in range(count, n):  # what comes of padding in activations
            target[k] = like(alpha, 0.0)
    else:
        block_product(a, delta, width, target, base, base_stride, count, rows, panel, alpha)
    if i == 0 and layer.bias >= 0:
        column_sums(delta, width, bias, bias_base, rows, panel, alpha)


@njit(**JIT)
def _transpose_block(job, layer, i, j, zero):
    """Bring the transposed copy of a block of weights up to date."""
    if layer.transposed < 0:
        return
    weights, transposed = pointer(job.parameters, zero), pointer(job.transposed, zero)
    panel = panel_of(weights)
    width, width_back = panel_width(layer.outputs - j, panel), panel_width(layer.inputs - i, panel)
    rows, columns = min(panel, layer.inputs - i), min(panel, layer.outputs - j)
    source = at(weights, layer.weight + j * layer.inputs + i * width)
    target = at(transposed, layer.transposed + i * layer.outputs + j * width_back)
    transpose(source, width, target, width_back, rows, columns, panel)


@njit(**JIT)
def block_place(layer, i, j, panel):
    """Where a block of weights lies in the parameters, and its elements."""
    if layer.outputs == 1:
        return layer.weight + i, panel_width(layer.inputs - i, panel)
    width = panel_width(layer.outputs - j, panel)
    return layer.weight + j * layer.inputs + i * width, min(panel, layer.inputs - i) * width


@njit(**JIT)
def _update_block(job, layer, i, j, rule, l2, factor, gradient, bias):
    """The optimizer's step for one block of weights; for the first block of a panel, for its biases as well."""
    zero = like(gradient[0], 0.0)
    p, s, t = pointer(job.parameters, zero), pointer(job.slot_1, zero), pointer(job.slot_2, zero)
    panel = panel_of(p)
    w, n = block_place(layer, i, j, panel)
    update(rule, job.decays != 0, l2, factor, at(p, w), at(s, w), at(t, w), gradient, n)
    if i == 0 and layer.bias >= 0:
        b, width = layer.bias + j, panel_width(layer.outputs - j, panel)
        update(rule, False, 0.0, factor, at(p, b), at(s, b), at(t, b), bias, width)
    _transpose_block(job, layer, i, j, zero)


@njit(**JIT)
def block_at(job, number):
    """A block of weights: the number of its layer, its first input and its first output."""
    place = at(pointer(job.blocks, number), 3 * number)
    return place[0], place[1], place[2]


@njit(**JIT)
def _blocks(job, thread):
    """The numbers of a thread's blocks: first and last, exclusive."""
    firsts = pointer(job.first_blocks, thread)
    return firsts[thread], firsts[thread + 1]


@njit(**JIT)
def coming_rows(job, s, thread):
    """The rows that a thread will need next after step `s`: their numbers, the first of them and how many."""
    bounds, order = int32_pointer(job.bounds), int32_pointer(job.order)
    start = np.int64(bounds[s + 1])
    if s + 1 == job.step_count or _source(job.source, 0).ahead_bytes == 0:
        return at(order, start), 0, 0
    rows = np.int64(bounds[s + 2]) - start
    first, last = share_of(min(rows, job.part_rows), thread, job.threads)
    return at(order, start), first, last - first


@njit(**JIT)
def _ask_for_part(job, coming, number, count):
    """Have some of the coming rows fetched, part `number` of `count`."""
    numbers, first, rows = coming
    if rows > 0:
        ask_for(_source(job.source, 0), numbers, first + rows * number // count, first + rows * (number + 1) // count)


@njit(**JIT)
def fused_updates(job, rule, l2, rows, coming, thread, room):
    """Gradient and update of a thread's blocks, each while it is in the first-level cache."""
    zero, sums = like(room[0], 0.0), pointer(job.block_sums, 1.0)
    zeros, p = pointer(job.zeros, zero), pointer(job.parameters, zero)
    panel = panel_of(room)
    first, last = _blocks(job, thread)
    for u in range(first, last):
        number, i, j = block_at(job, u)
        layer = _layer(job.layers, number)
        place, n = block_place(layer, i, j, panel)
        width, w, b = panel_width(layer.outputs - j, panel), at(p, place), at(p, layer.bias + j)
        if l2 > 0.0:
            sums[2 * u] = sum_of_squares(w, n)
        if rule.kind == SGD and l2 == 0.0:
            block_gradient(job, layer, i, j, (0, rows), w, w, width, b, b, like(zero, -rule.rate))
            _transpose_block(job, layer, i, j, zero)
        else:
            bias = at(room, panel * panel)
            block_gradient(job, layer, i, j, (0, rows), room, zeros, 0, bias, zeros, like(zero, 1.0))
            _update_block(job, layer, i, j, rule, l2, 1.0, room, bias)
        _ask_for_part(job, coming, u - first, last - first)


@njit(**JIT)
def block_gradients(job, rows, adding, coming, thread, zero):
    """The gradient of a thread's blocks, into the vector of gradients, or added to it."""
    gradient, zeros = pointer(job.gradient, zero), pointer(job.zeros, zero)
    panel = panel_of(gradient)
    first, last = _blocks(job, thread)
    for u in range(first, last):
        number, i, j = block_at(job, u)
        layer = _layer(job.layers, number)
        g, bias = at(gradient, block_place(layer, i, j, panel)[0]), at(gradient, layer.bias + j)
        base, stride, bias_base = (g, panel_width(layer.outputs - j, panel), bias) if adding else (zeros, 0, zeros)
        block_gradient(job, layer, i, j, (0, rows), g, base, stride, bias, bias_base, like(zero, 1.0))
        _ask_for_part(job, coming, u - first, last - first)


@njit(**JIT)
def updates_from_halves(job, rule, l2, coming, thread, zero):
    """Add up the gradients of both halves for a thread's blocks, and update these."""
    sums, p = pointer(job.block_sums, 1.0), pointer(job.parameters, zero)
    one, other, panel = pointer(job.gradient, zero), at(pointer(job.gradient, zero), job.gradient_size), panel_of(p)
    first, last = _blocks(job, thread)
    for u in range(first, last):
        number, i, j = block_at(job, u)
        layer = _layer(job.layers, number)
        w, n = block_place(layer, i, j, panel)
        b, width = layer.bias + j, panel_width(layer.outputs - j, panel)
        penalise(1.0, 1.0, at(other, w), at(one, w), n)
        if i == 0 and layer.bias >= 0:
            penalise(1.0, 1.0, at(other, b), at(one, b), width)
        if l2 > 0.0:
            sums[2 * u] = sum_of_squares(at(p, w), n)
        _update_block(job, layer, i, j, rule, l2, 1.0, at(one, w), at(one, b))
        _ask_for_part(job, coming, u - first, last - first)


@njit(**JIT)
def _squares(job, l2, factor, thread, zero):
    """Penalise the gradient of a thread's blocks, and add up the squares of their weights and of their gradients."""
    sums = pointer(job.block_sums, 1.0)
    p, gradient = pointer(job.parameters, zero), pointer(job.gradient, zero)
    panel = panel_of(p)
    first, last = _blocks(job, thread)
    for u in range(first, last):
        number, i, j = block_at(job, u)
        layer = _layer(job.layers, number)
        w, n = block_place(layer, i, j, panel)
        sums[2 * u] = sum_of_squares(at(p, w), n)
        penalise(l2, factor, at(p, w), at(gradient, w), n)
        sums[2 * u + 1] = sum_of_squares(at(gradient, w), n)
        if i == 0 and layer.bias >= 0:
            width, b = panel_width(layer.outputs - j, panel), layer.bias + j
            penalise(0.0, factor, at(p, b), at(gradient, b), width)
            sums[2 * u + 1] += sum_of_squares(at(gradient, b), width)


@njit(**JIT)
def _updates(job, rule, factor, thread, zero):
    """The optimizer's step for a thread's blocks, from the vector of gradients."""
    gradient = pointer(job.gradient, zero)
    panel = panel_of(gradient)
    first, last = _blocks(job, thread)
    for u in range(first, last):
        number, i, j = block_at(job, u)
        layer = _layer(job.layers, number)
        g, bias = at(gradient, block_place(layer, i, j, panel)[0]), at(gradient, layer.bias + j)
        _update_block(job, layer, i, j, rule, 0.0, factor, g, bias)


@njit(**JIT)
def sum_of(values, count, stride):
    """The sum of so many numbers, `stride` apart, in their order."""
    total = 0.0
    for i in range(count):
        total += values[i * stride]
    return total


@njit(**JIT)
def update_from_gradients(job, rule, l2, factor, thread, phase, zero):
    """Penalty, clipping and the optimizer's step; the phase that all threads are in afterwards."""
    sums = pointer(job.block_sums, 1.0)
    _squares(job, l2, factor, thread, zero)
    wait(job.flags, thread, job.threads, phase + 1)
    shrink = 1.0
    if job.clip_norm > 0.0:
        norm = math.sqrt(sum_of(at(sums, 1), job.block_count, 2))
        # NaN goes through, as in the reference.
        shrink = 1.0 if norm <= job.clip_norm else job.clip_norm / norm
    _updates(job, rule, shrink, thread, zero)
    return phase + 1
