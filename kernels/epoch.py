"""Whole slices of training in one call: forward, loss, backward, update, step after step, by one thread or several.

A thread takes its rows of the batch forward and back through all layers without waiting for any other. Once all
have done so, it takes its blocks of weights, adds up their gradient over all rows and updates them. Each number has one
owner, who computes it in one order, so that it doesn't depend on the number of threads.
"""

import math
from typing import Any

import numpy as np
from numba import njit, types

from nnaccel.kernels.activation import IDENTITY, RELU, activate, chain
from nnaccel.kernels.dropout import drop, step_key, threshold
from nnaccel.kernels.gemm import block_product, column_sums, panel_width, product, row_products, transpose
from nnaccel.kernels.job import APPLY, EVALUATE, GRADIENT, JOB, LAYER, PREDICT, RULE, SOURCE, TRAIN
from nnaccel.kernels.loss import gradient_scale, losses_and_deltas, weight_sum
from nnaccel.kernels.memory import JIT, at, int32_pointer, like, panel_of, pointer, records_of
from nnaccel.kernels.optimizer import SGD, penalise, penalty_strength, prepare, sum_of_squares, update
from nnaccel.kernels.rows import ask_for, gather, scatter
from nnaccel.kernels.team import begin, flush_subnormals, restore_mode, wait

ROWS_AT_ONCE = 264
"""A thread takes so many rows through all layers before the next ones: they stay in its second-level cache."""

_job, _layer, _source, _rule = records_of(JOB), records_of(LAYER), records_of(SOURCE), records_of(RULE)

_NO_DROPOUT = (0, 0.0, 0)
"""What dropout depends on beside the seed and the layer: the number of the step, the factor of all rates, and the number
within the batch of the first row in the activations."""


@njit(**JIT)
def _forward(job, layer, first, rows, dropping, zero):
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
def _inputs(job, numbers, first, rows, zero):
    """Copy rows of the caller's into the first layer's inputs."""
    x = at(pointer(job.activations, zero), _layer(job.layers, 0).input)
    panel = panel_of(x)
    gather(_source(job.source, 0), numbers, rows, at(x, first * panel), job.capacity * panel, panel)


@njit(**JIT)
def _losses(job, numbers, first, rows, scale, losses, room):
    """The losses of rows that have gone forward, and the gradient of the network's outputs times `scale`."""
    last = _layer(job.layers, job.layer_count - 1)
    activations = pointer(job.activations, room[0])
    here = at(activations, first * panel_of(activations))
    losses_and_deltas(
        job, at(here, last.output), at(here, last.delta), numbers, rows, last.outputs, scale, losses, room
    )


@njit(**JIT)
def _forward_and_back(job, numbers, share, dropping, scale, room):
    """A thread's share of the rows in the activations: their losses, and the gradients of all sums."""
    zero, losses = like(room[0], 0.0), pointer(job.row_losses, 1.0)
    for first in range(share[0], share[1], ROWS_AT_ONCE):
        rows, own = min(ROWS_AT_ONCE, share[1] - first), at(numbers, first)
        _inputs(job, own, first, rows, zero)
        for number in range(job.layer_count):
            _forward(job, _layer(job.layers, number), first, rows, dropping, zero)
        _losses(job, own, first, rows, scale, at(losses, first), room)
        _backward(job, first, rows, dropping, zero)


@njit(**JIT)
def _share(rows, thread, threads):
    """Which rows a thread takes: first and last, exclusive. Groups of 4 stay together, as tiles like it."""
    groups = -(-rows // 4)
    return min(rows, groups * thread // threads * 4), min(rows, groups * (thread + 1) // threads * 4)


@njit(**JIT)
def _block_gradient(job, layer, i, j, span, target, base, base_stride, bias, bias_base, alpha):
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
def _place(layer, i, j, panel):
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
    w, n = _place(layer, i, j, panel)
    update(rule, job.decays != 0, l2, factor, at(p, w), at(s, w), at(t, w), gradient, n)
    if i == 0 and layer.bias >= 0:
        b, width = layer.bias + j, panel_width(layer.outputs - j, panel)
        update(rule, False, 0.0, factor, at(p, b), at(s, b), at(t, b), bias, width)
    _transpose_block(job, layer, i, j, zero)


@njit(**JIT)
def _block(job, number):
    """A block of weights: the number of its layer, its first input and its first output."""
    place = at(pointer(job.blocks, number), 3 * number)
    return place[0], place[1], place[2]


@njit(**JIT)
def _blocks(job, thread):
    """The numbers of a thread's blocks: first and last, exclusive."""
    firsts = pointer(job.first_blocks, thread)
    return firsts[thread], firsts[thread + 1]


@njit(**JIT)
def _coming(job, s, thread):
    """The rows that a thread will need next after step `s`: their numbers, the first of them and how many."""
    bounds, order = int32_pointer(job.bounds), int32_pointer(job.order)
    start = np.int64(bounds[s + 1])
    if s + 1 == job.step_count or _source(job.source, 0).ahead_bytes == 0:
        return at(order, start), 0, 0
    rows = np.int64(bounds[s + 2]) - start
    first, last = _share(min(rows, job.part_rows), thread, job.threads)
    return at(order, start), first, last - first


@njit(**JIT)
def _ask_for_part(job, coming, number, count):
    """Have some of the coming rows fetched, part `number` of `count`."""
    numbers, first, rows = coming
    if rows > 0:
        ask_for(_source(job.source, 0), numbers, first + rows * number // count, first + rows * (number + 1) // count)


@njit(**JIT)
def _fused_updates(job, rule, l2, rows, coming, thread, room):
    """Gradient and update of a thread's blocks, each while it is in the first-level cache."""
    zero, sums = like(room[0], 0.0), pointer(job.block_sums, 1.0)
    zeros, p = pointer(job.zeros, zero), pointer(job.parameters, zero)
    panel = panel_of(room)
    first, last = _blocks(job, thread)
    for u in range(first, last):
        number, i, j = _block(job, u)
        layer = _layer(job.layers, number)
        place, n = _place(layer, i, j, panel)
        width, w, b = panel_width(layer.outputs - j, panel), at(p, place), at(p, layer.bias + j)
        if l2 > 0.0:
            sums[2 * u] = sum_of_squares(w, n)
        if rule.kind == SGD and l2 == 0.0:
            _block_gradient(job, layer, i, j, (0, rows), w, w, width, b, b, like(zero, -rule.rate))
            _transpose_block(job, layer, i, j, zero)
        else:
            bias = at(room, panel * panel)
            _block_gradient(job, layer, i, j, (0, rows), room, zeros, 0, bias, zeros, like(zero, 1.0))
            _update_block(job, layer, i, j, rule, l2, 1.0, room, bias)
        _ask_for_part(job, coming, u - first, last - first)


@njit(**JIT)
def _gradients(job, rows, adding, coming, thread, zero):
    """The gradient of a thread's blocks, into the vector of gradients, or added to it."""
    gradient, zeros = pointer(job.gradient, zero), pointer(job.zeros, zero)
    panel = panel_of(gradient)
    first, last = _blocks(job, thread)
    for u in range(first, last):
        number, i, j = _block(job, u)
        layer = _layer(job.layers, number)
        g, bias = at(gradient, _place(layer, i, j, panel)[0]), at(gradient, layer.bias + j)
        base, stride, bias_base = (g, panel_width(layer.outputs - j, panel), bias) if adding else (zeros, 0, zeros)
        _block_gradient(job, layer, i, j, (0, rows), g, base, stride, bias, bias_base, like(zero, 1.0))
        _ask_for_part(job, coming, u - first, last - first)


@njit(**JIT)
def _half_of_batch(job, numbers, rows, half, dropping, scale, thread, phase, room):
    """Forward, back and the gradient of a half of the batch, by half of the threads; by the only one, of both halves."""
    zero, threads, size = like(room[0], 0.0), job.threads, job.gradient_size
    zeros, panel = pointer(job.zeros, zero), panel_of(room)
    middle = _share(rows, 1, 2)[0]
    start, count = (middle, rows - middle) if half == 1 else (0, middle)
    before = threads // 2 if half == 1 else 0
    members = threads if threads == 1 else threads - threads // 2 if half == 1 else threads // 2
    rank = thread if threads == 1 else thread - before
    share = _share(count, rank, members)
    _forward_and_back(job, numbers, (start + share[0], start + share[1]), dropping, scale, room)
    if members > 1 or threads > 2:
        wait(job.flags, thread, threads, phase)
    gradient = at(pointer(job.gradient, zero), half * size)
    for u in range(job.block_count * rank // members, job.block_count * (rank + 1) // members):
        number, i, j = _block(job, u)
        layer = _layer(job.layers, number)
        g, bias = at(gradient, _place(layer, i, j, panel)[0]), at(gradient, layer.bias + j)
        _block_gradient(job, layer, i, j, (start, count), g, zeros, 0, bias, zeros, like(zero, 1.0))


@njit(**JIT)
def _updates_from_halves(job, rule, l2, coming, thread, zero):
    """Add up the gradients of both halves for a thread's blocks, and update these."""
    sums, p = pointer(job.block_sums, 1.0), pointer(job.parameters, zero)
    one, other, panel = pointer(job.gradient, zero), at(pointer(job.gradient, zero), job.gradient_size), panel_of(p)
    first, last = _blocks(job, thread)
    for u in range(first, last):
        number, i, j = _block(job, u)
        layer = _layer(job.layers, number)
        w, n = _place(layer, i, j, panel)
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
        number, i, j = _block(job, u)
        layer = _layer(job.layers, number)
        w, n = _place(layer, i, j, panel)
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
        number, i, j = _block(job, u)
        layer = _layer(job.layers, number)
        g, bias = at(gradient, _place(layer, i, j, panel)[0]), at(gradient, layer.bias + j)
        _update_block(job, layer, i, j, rule, 0.0, factor, g, bias)


@njit(**JIT)
def _sum(values, count, stride):
    total = 0.0
    for i in range(count):
        total += values[i * stride]
    return total


@njit(**JIT)
def _update_from_gradients(job, rule, l2, factor, thread, phase, zero):
    """Penalty, clipping and the optimizer's step; the phase that all threads are in afterwards."""
    sums = pointer(job.block_sums, 1.0)
    _squares(job, l2, factor, thread, zero)
    wait(job.flags, thread, job.threads, phase + 1)
    shrink = 1.0
    if job.clip_norm > 0.0:
        norm = math.sqrt(_sum(at(sums, 1), job.block_count, 2))
        # NaN goes through, as in the reference.
        shrink = 1.0 if norm <= job.clip_norm else job.clip_norm / norm
    _updates(job, rule, shrink, thread, zero)
    return phase + 1


@njit(**JIT)
def _rule_of(job, thread, number):
    """A thread's own record of the optimizer, made ready for a step of the job."""
    step, rule = at(pointer(job.steps, 1.0), 4 * number), _rule(job.rules, thread)
    prepare(rule, step[0], step[1], step[2], job.count + number + 1)
    return rule


@njit(**JIT)
def _shared_step(job, s, numbers, rows, rule, l2, scale, thread, phase, room):
    """A step in which threads share rows first and blocks of weights then; the sum of its losses, and the phase."""
    zero, threads, loss = like(room[0], 0.0), job.threads, 0.0
    steps, losses = pointer(job.steps, 1.0), pointer(job.row_losses, 1.0)
    fused = rows <= job.part_rows and job.clip_norm == 0.0
    for part in range(0, rows, job.part_rows):
        here = min(job.part_rows, rows - part)
        share, dropping = _share(here, thread, threads), (job.count + s, steps[4 * s + 3], part)
        _forward_and_back(job, at(numbers, part), share, dropping, scale, room)
        wait(job.flags, thread, threads, phase + 1)
        if thread == 0:
            loss += _sum(losses, here, 1)
        if fused:
            _fused_updates(job, rule, l2, here, _coming(job, s, thread), thread, room)
        else:
            _gradients(job, here, part > 0, _coming(job, s, thread), thread, zero)
        phase += 2
        wait(job.flags, thread, threads, phase)
    if not fused:
        phase = _update_from_gradients(job, rule, l2, 1.0, thread, phase, zero) + 1
        wait(job.flags, thread, threads, phase)
    return loss, phase


@njit(**JIT)
def _halved_step(job, s, numbers, rows, rule, l2, scale, thread, phase, room):
    """A step in which each half of the threads keeps to a half of the rows; the sum of its losses, and the phase.

    Where there are fewer weights than activations, it is the weights' gradients that had better go between cores.
    """
    zero, threads, loss = like(room[0], 0.0), job.threads, 0.0
    dropping = (job.count + s, pointer(job.steps, 1.0)[4 * s + 3], 0)
    if threads == 1 or thread < threads // 2:
        _half_of_batch(job, numbers, rows, 0, dropping, scale, thread, phase + 1, room)
    if threads == 1 or thread >= threads // 2:
        _half_of_batch(job, numbers, rows, 1, dropping, scale, thread, phase + 1, room)
    wait(job.flags, thread, threads, phase + 2)
    if thread == 0:
        loss = _sum(pointer(job.row_losses, 1.0), rows, 1)
    _updates_from_halves(job, rule, l2, _coming(job, s, thread), thread, zero)
    wait(job.flags, thread, threads, phase + 3)
    return loss, phase + 3


@njit(**JIT)
def _train(job, thread, room):
    """Make the steps of the job."""
    zero, phase = like(room[0], 0.0), 0
    bounds, order = int32_pointer(job.bounds), int32_pointer(job.order)
    log, sums = pointer(job.log, 1.0), pointer(job.block_sums, 1.0)
    for s in range(job.step_count):
        numbers, rows = at(order, np.int64(bounds[s])), np.int64(bounds[s + 1] - bounds[s])
        weight, rule = weight_sum(job, numbers, rows, zero), _rule_of(job, thread, s)
        scale = gradient_scale(job, weight)
        l2 = penalty_strength(job.l2, job.l2_by_row, weight)
        if rows >= job.rows_to_halve and rows <= job.part_rows:
            loss, phase = _halved_step(job, s, numbers, rows, rule, l2, scale, thread, phase, room)
        else:
            loss, phase = _shared_step(job, s, numbers, rows, rule, l2, scale, thread, phase, room)
        if thread == 0:
            log[3 * s], log[3 * s + 1] = loss, weight
            log[3 * s + 2] = 0.5 * l2 * _sum(sums, job.block_count, 2) if l2 > 0.0 else 0.0


@njit(**JIT)
def _gradient(job, thread, room):
    """Sum up losses, weights and gradients of the job's rows; `bounds` has their two ends, `log` room for two sums."""
    zero, phase, threads = like(room[0], 0.0), 0, job.threads
    bounds, log, losses = int32_pointer(job.bounds), pointer(job.log, 1.0), pointer(job.row_losses, 1.0)
    numbers, rows = at(int32_pointer(job.order), np.int64(bounds[0])), np.int64(bounds[1] - bounds[0])
    loss = 0.0
    for part in range(0, rows, job.part_rows):
        here = min(job.part_rows, rows - part)
        share, dropping = _share(here, thread, threads), (job.count, job.dropout, job.first_row + part)
        _forward_and_back(job, at(numbers, part), share, dropping, 1.0, room)
        wait(job.flags, thread, threads, phase + 1)
        if thread == 0:
            loss += _sum(losses, here, 1)
        _gradients(job, here, part > 0, (numbers, 0, 0), thread, zero)
        phase += 2
        wait(job.flags, thread, threads, phase)
    if thread == 0:
        log[0], log[1] = loss, weight_sum(job, numbers, rows, zero)


@njit(**JIT)
def _apply(job, thread, zero):
    """Make one update from sums in the vector of gradients; `log` has the sum of weights, and then the penalty."""
    log, sums = pointer(job.log, 1.0), pointer(job.block_sums, 1.0)
    weight, rule = log[1], _rule_of(job, thread, 0)
    factor = gradient_scale(job, weight)
    l2 = penalty_strength(job.l2, job.l2_by_row, weight)
    phase = _update_from_gradients(job, rule, l2, factor, thread, 0, zero) + 1
    wait(job.flags, thread, job.threads, phase)
    if thread == 0:
        log[2] = 0.5 * l2 * _sum(sums, job.block_count, 2) if l2 > 0.0 else 0.0


@njit(**JIT)
def _outputs(job, thread, room):
    """A thread's part of the job's rows, forward only: their losses or their outputs, from room for its share of rows."""
    zero, panel = like(room[0], 0.0), panel_of(room)
    order, losses = int32_pointer(job.order), pointer(job.row_losses, 1.0)
    activations, predictions = pointer(job.activations, zero), pointer(job.predictions, zero)
    last = _layer(job.layers, job.layer_count - 1)
    own, place = _share(job.step_count, thread, job.threads), _share(job.capacity, thread, job.threads)
    most, first = max(1, min(ROWS_AT_ONCE, place[1] - place[0])), place[0]
    for row in range(own[0], own[1], most):
        rows, numbers = min(most, own[1] - row), at(order, row)
        _inputs(job, numbers, first, rows, zero)
        for number in range(job.layer_count):
            _forward(job, _layer(job.layers, number), first, rows, _NO_DROPOUT, zero)
        if job.mode == EVALUATE:
            _losses(job, numbers, first, rows, 0.0, at(losses, row), room)
        else:
            outputs = at(activations, last.output + first * panel)
            target = at(predictions, row * last.outputs)
            scatter(outputs, job.capacity * panel, rows, last.outputs, target, panel)
    wait(job.flags, thread, job.threads, 1)  # nobody may still be at work when the call returns


def entry(dtype: str) -> tuple[Any, Any]:
    """The function that does a job with arithmetic in `dtype`, and its signature: of a job, and of a thread's number."""
    zero_of_dtype = np.dtype(dtype).type(0)

    def work(address, thread):
        job = _job(address, 0)
        begin(job.flags, thread)
        room = at(pointer(job.scratch, zero_of_dtype), thread * job.scratch_size)
        mode = flush_subnormals()
        if job.mode == TRAIN:
            _train(job, thread, room)
        elif job.mode == GRADIENT:
            _gradient(job, thread, room)
        elif job.mode == APPLY:
            _apply(job, thread, zero_of_dtype)
        elif job.mode == EVALUATE or job.mode == PREDICT:
            _outputs(job, thread, room)
        restore_mode(mode)

    return work, types.void(types.int64, types.int64)
