"""The same jobs as `epoch` for networks so small that a tile would be nearly empty, by one thread.

Parameters lie as in the flat vector of the network, weights row by row. As many rows as a vector has lanes go forward and
back at once: of their activations each unit's are one vector. A step of a network of a few weights takes less time than a
call that Python makes.
"""

import math
from typing import Any

import numpy as np
from numba import njit, types

from nnaccel.kernels.activation import IDENTITY, activate, chain
from nnaccel.kernels.dropout import drop_lanes, step_key, threshold
from nnaccel.kernels.job import APPLY, EVALUATE, GRADIENT, JOB, LAYER, RULE, SOURCE, TRAIN
from nnaccel.kernels.lanes import add_product, rows_into_lanes, take_sum, weighted_sum
from nnaccel.kernels.loss import gradient_scale, lane_losses, weight_sum
from nnaccel.kernels.memory import (
    JIT,
    SUMS,
    apart,
    at,
    int32_pointer,
    lanes_of,
    like,
    pointer,
    records_of,
    wide_vectors,
)
from nnaccel.kernels.optimizer import penalise, penalty_strength, prepare, sum_of_squares, update
from nnaccel.kernels.rows import gather, own_kind, scatter
from nnaccel.kernels.team import flush_subnormals, restore_mode

_job, _layer, _source, _rule = records_of(JOB), records_of(LAYER), records_of(SOURCE), records_of(RULE)

_ROWS_OF_SUM = 64
"""Losses are added up in parts of so many rows, so that rounding grows with the number of parts."""

_NO_DROPOUT = (0, 0.0, 0)
"""The number of the step, the factor of all rates, and the number within the batch of the first row."""


@njit(**JIT)
def _drop(job, layer, dropping, values):
    """Multiply the outputs of a layer by their mask."""
    count, factor, first_row = dropping
    key_0, key_1 = step_key(job.seed, count, layer.number)
    drop_lanes(key_0, key_1, threshold(layer.dropout, factor), first_row, layer.outputs, values)


@njit(**JIT)
def _inputs(job, numbers, rows, zero):
    """Copy rows of the caller's into the first layer's inputs; lanes without a row are zero."""
    source, x = _source(job.source, 0), at(pointer(job.activations, zero), _layer(job.layers, 0).input)
    lanes = lanes_of(x)
    if source.kind == own_kind(x) and source.contiguous != 0:
        rows_into_lanes(x, source.address, source.row_bytes, numbers, rows, source.columns)
        return
    if rows < lanes:
        for i in range(source.columns * lanes):
            x[i] = zero
    gather(source, numbers, rows, x, lanes, 1)


@njit(**JIT)
def _forward(job, dropping, zero):
    """A vector of rows through all layers."""
    activations, parameters = pointer(job.activations, zero), pointer(job.parameters, zero)
    lanes = lanes_of(activations)
    for number in range(job.layer_count):
        layer = _layer(job.layers, number)
        outputs, n = layer.outputs, layer.outputs * lanes
        w, x = at(parameters, layer.weight), at(activations, layer.input)
        z, y = at(activations, layer.saved), at(activations, layer.output)
        for j in range(outputs):
            bias = parameters[layer.bias + j] if layer.bias >= 0 else zero
            weighted_sum(at(z, j * lanes), bias, at(w, j), outputs, x, layer.inputs)
        if layer.saved != layer.output or layer.activation != IDENTITY:
            activate(layer.activation, layer.parameter, z, y, n)
        if layer.saves_output and layer.saved != layer.output:
            activate(np.int64(IDENTITY), 0.0, y, z, n)
        if dropping[1] > 0.0 and layer.dropout > 0.0:
            _drop(job, layer, dropping, y)


@njit(**JIT)
def _backward(job, dropping, zero):
    """From the gradient of the outputs to that of all parameters, which is added up lane by lane."""
    activations, parameters = pointer(job.activations, zero), pointer(job.parameters, zero)
    sums, lanes = at(pointer(job.gradient, zero), job.gradient_size), lanes_of(activations)
    for number in range(job.layer_count - 1, -1, -1):
        layer = _layer(job.layers, number)
        inputs, outputs = layer.inputs, layer.outputs
        x, delta = at(activations, layer.input), at(activations, layer.delta)
        if dropping[1] > 0.0 and layer.dropout > 0.0:
            _drop(job, layer, dropping, delta)
        if layer.activation != IDENTITY:
            chain(layer.activation, layer.parameter, at(activations, layer.saved), delta, outputs * lanes)
        g, w = at(sums, layer.weight * lanes), at(parameters, layer.weight)
        for k in range(inputs):
            for j in range(outputs):
                add_product(at(g, (k * outputs + j) * lanes), at(x, k * lanes), at(delta, j * lanes))
        if layer.bias >= 0:
            g = at(sums, layer.bias * lanes)
            for i in range(outputs * lanes):
                g[i] += delta[i]
        if number > 0:
            below = at(activations, _layer(job.layers, number - 1).delta)
            for k in range(inputs):
                weighted_sum(at(below, k * lanes), zero, at(w, k * outputs), 1, delta, outputs)


@njit(**JIT)
def _scale(delta, factors, rows, outputs):
    wide_vectors()
    apart()
    lanes = lanes_of(delta)
    for j in range(outputs):
        d = at(delta, j * lanes)
        for r in range(lanes):  # not a product beyond the last row: what is there may be infinite
            d[r] = d[r] * factors[r] if r < rows else like(delta[0], 0.0)


@njit(**JIT)
def _losses(job, numbers, rows, scale, losses, zero):
    """The weighted losses of rows that have gone forward, and the gradient of the network's outputs times `scale`."""
    wide_vectors()
    last = _layer(job.layers, job.layer_count - 1)
    activations, weights, room = pointer(job.activations, zero), pointer(job.weights, zero), pointer(job.scratch, zero)
    outputs, delta, lanes = at(activations, last.output), at(activations, last.delta), lanes_of(room)
    values, factors, targets = room, at(room, lanes), at(room, 2 * lanes)
    lane_losses(job, outputs, numbers, rows, last.outputs, values, delta, targets)
    if job.weights != 0:
        for r in range(rows):
            weight = np.float64(weights[numbers[r]])
            losses[r] = weight * np.float64(values[r])
            factors[r] = like(zero, weight * scale)
    else:
        for r in range(rows):
            losses[r] = np.float64(values[r])
        for r in range(lanes):
            factors[r] = like(zero, scale)
    _scale(delta, factors, rows, last.outputs)


@njit(**SUMS)
def _sum(values, count):
    total = 0.0
    for i in range(count):
        total += values[i]
    return total


@njit(**JIT)
def _over_lanes(sums, gradient, start, count):
    """Some parameters' gradients from their sums in each lane, which begin anew at zero."""
    lanes = lanes_of(sums)
    for i in range(start, start + count):
        gradient[i] = take_sum(at(sums, i * lanes))


@njit(**JIT)
def _gradients(job, numbers, rows, first_row, count, dropout, scale, zero):
    """The gradient of a batch, into the vector of gradients, and the sum of its losses."""
    gradient, losses, loss = pointer(job.gradient, zero), pointer(job.row_losses, 1.0), 0.0
    part, sums, lanes = 0.0, at(gradient, job.gradient_size), lanes_of(gradient)
    for first in range(0, rows, lanes):
        here, own, dropping = min(lanes, rows - first), at(numbers, first), (count, dropout, first_row + first)
        _inputs(job, own, here, zero)
        _forward(job, dropping, zero)
        _losses(job, own, here, scale, losses, zero)
        part += _sum(losses, here)
        if first % _ROWS_OF_SUM + lanes >= _ROWS_OF_SUM:
            loss, part = loss + part, 0.0
        _backward(job, dropping, zero)
    for number in range(job.layer_count):
        layer = _layer(job.layers, number)
        _over_lanes(sums, gradient, layer.weight, layer.inputs * layer.outputs)
        if layer.bias >= 0:
            _over_lanes(sums, gradient, layer.bias, layer.outputs)
    return loss + part


@njit(**JIT)
def _update(job, rule, l2, factor, zero):
    """Penalty, clipping and the optimizer's step; returns the penalty."""
    p, gradient = pointer(job.parameters, zero), pointer(job.gradient, zero)
    s, t, squares = pointer(job.slot_1, zero), pointer(job.slot_2, zero), 0.0
    if l2 > 0.0:
        for number in range(job.layer_count):
            layer = _layer(job.layers, number)
            squares += sum_of_squares(at(p, layer.weight), layer.inputs * layer.outputs)
    if job.clip_norm > 0.0:
        for number in range(job.layer_count):
            layer = _layer(job.layers, number)
            w, n = layer.weight, layer.inputs * layer.outputs
            penalise(l2, factor, at(p, w), at(gradient, w), n)
            if layer.bias >= 0:
                penalise(0.0, factor, at(p, layer.bias), at(gradient, layer.bias), layer.outputs)
        norm = math.sqrt(sum_of_squares(gradient, job.gradient_size))
        factor = 1.0 if norm <= job.clip_norm else job.clip_norm / norm
    penalty = 0.0 if job.clip_norm > 0.0 else l2
    for number in range(job.layer_count):
        layer = _layer(job.layers, number)
        w, b, n = layer.weight, layer.bias, layer.inputs * layer.outputs
        update(rule, job.decays != 0, penalty, factor, at(p, w), at(s, w), at(t, w), at(gradient, w), n)
        if b >= 0:
            update(rule, False, 0.0, factor, at(p, b), at(s, b), at(t, b), at(gradient, b), layer.outputs)
    return 0.5 * l2 * squares


@njit(**JIT)
def _train(job, zero):
    """Make the steps of the job."""
    bounds, order, rule = int32_pointer(job.bounds), int32_pointer(job.order), _rule(job.rules, 0)
    steps, log = pointer(job.steps, 1.0), pointer(job.log, 1.0)
    for s in range(job.step_count):
        numbers, rows, step = at(order, np.int64(bounds[s])), np.int64(bounds[s + 1] - bounds[s]), at(steps, 4 * s)
        weight = weight_sum(job, numbers, rows, zero)
        scale = gradient_scale(job, weight)
        loss = _gradients(job, numbers, rows, 0, job.count + s, step[3], scale, zero)
        prepare(rule, step[0], step[1], step[2], job.count + s + 1)
        penalty = _update(job, rule, penalty_strength(job.l2, job.l2_by_row, weight), 1.0, zero)
        log[3 * s], log[3 * s + 1], log[3 * s + 2] = loss, weight, penalty


@njit(**JIT)
def _gradient(job, zero):
    """Sum up losses, weights and gradients of the job's rows."""
    bounds, log = int32_pointer(job.bounds), pointer(job.log, 1.0)
    numbers, rows = at(int32_pointer(job.order), np.int64(bounds[0])), np.int64(bounds[1] - bounds[0])
    log[0] = _gradients(job, numbers, rows, job.first_row, job.count, job.dropout, 1.0, zero)
    log[1] = weight_sum(job, numbers, rows, zero)


@njit(**JIT)
def _apply(job, zero):
    """Make one update from sums in the vector of gradients; `log` has the sum of weights, and then the penalty."""
    log, step, rule = pointer(job.log, 1.0), pointer(job.steps, 1.0), _rule(job.rules, 0)
    weight = log[1]
    factor = gradient_scale(job, weight)
    prepare(rule, step[0], step[1], step[2], job.count + 1)
    log[2] = _update(job, rule, penalty_strength(job.l2, job.l2_by_row, weight), factor, zero)


@njit(**JIT)
def _outputs(job, zero):
    """The losses or the outputs of the job's rows."""
    order, losses = int32_pointer(job.order), pointer(job.row_losses, 1.0)
    last = _layer(job.layers, job.layer_count - 1)
    outputs, predictions = at(pointer(job.activations, zero), last.output), pointer(job.predictions, zero)
    lanes = lanes_of(outputs)
    for row in range(0, job.step_count, lanes):
        rows, numbers = min(lanes, job.step_count - row), at(order, row)
        _inputs(job, numbers, rows, zero)
        _forward(job, _NO_DROPOUT, zero)
        if job.mode == EVALUATE:
            _losses(job, numbers, rows, 0.0, at(losses, row), zero)
        else:
            scatter(outputs, lanes, rows, last.outputs, at(predictions, row * last.outputs), 1)


def entry(dtype: str) -> tuple[Any, Any]:
    """The function that does a job with arithmetic in `dtype`, and its signature: of a job's address, and of the thread."""
    zero = np.dtype(dtype).type(0)

    def work(address, thread):
        job, mode = _job(address, 0), flush_subnormals()
        if job.mode == TRAIN:
            _train(job, zero)
        elif job.mode == GRADIENT:
            _gradient(job, zero)
        elif job.mode == APPLY:
            _apply(job, zero)
        else:
            _outputs(job, zero)
        restore_mode(mode)

    return work, types.void(types.int64, types.int64)
