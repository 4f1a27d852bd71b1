"""The same jobs as `epoch` for networks so small that a tile would be nearly empty: plain loops, by one thread.

Parameters lie as in the flat vector of the network, weights row by row, and activations row by row. A step of a
network of a few weights takes less time than a call that Python makes.
"""

import math
from typing import Any

import numpy as np
from numba import njit, types

from nnaccel.kernels.activation import IDENTITY, activate, chain
from nnaccel.kernels.dropout import drop, step_key, threshold
from nnaccel.kernels.job import APPLY, EVALUATE, GRADIENT, JOB, LAYER, RULE, SOURCE, TRAIN
from nnaccel.kernels.loss import gradient_scale, row_loss, weight_sum
from nnaccel.kernels.memory import JIT, at, int32_pointer, lanes_of, like, pointer, records_of
from nnaccel.kernels.optimizer import penalise, penalty_strength, prepare, sum_of_squares, update
from nnaccel.kernels.rows import gather
from nnaccel.kernels.team import flush_subnormals, restore_mode

_job, _layer, _source, _rule = records_of(JOB), records_of(LAYER), records_of(SOURCE), records_of(RULE)


@njit(**JIT)
def _whole_vectors(n, p):
    """So many elements up to the end of a vector: a few too many cost less than a rest one by one. There is room for them."""
    lanes = lanes_of(p)
    return -(-n // lanes) * lanes


@njit(**JIT)
def _drop(job, layer, rows, dropping, values):
    """Multiply the outputs of a layer by their mask."""
    count, factor, first_row = dropping
    key_0, key_1 = step_key(job.seed, count, layer.number)
    limit = threshold(layer.dropout, factor)
    drop(key_0, key_1, limit, first_row, rows, 0, layer.outputs, values, layer.outputs)


@njit(**JIT)
def _forward(job, rows, dropping, zero):
    """Rows through all layers."""
    activations, parameters = pointer(job.activations, zero), pointer(job.parameters, zero)
    for number in range(job.layer_count):
        layer = _layer(job.layers, number)
        inputs, outputs = layer.inputs, layer.outputs
        w, x = at(parameters, layer.weight), at(activations, layer.input)
        z, y = at(activations, layer.saved), at(activations, layer.output)
        for i in range(rows):
            for j in range(outputs):
                total = parameters[layer.bias + j] if layer.bias >= 0 else zero
                for k in range(inputs):
                    total += x[i * inputs + k] * w[k * outputs + j]
                z[i * outputs + j] = total
        n = _whole_vectors(rows * outputs, z)
        if layer.saved != layer.output or layer.activation != IDENTITY:
            activate(layer.activation, layer.parameter, z, y, n)
        if layer.saves_output and layer.saved != layer.output:
            activate(np.int64(IDENTITY), 0.0, y, z, n)
        if dropping[1] > 0.0 and layer.dropout > 0.0:
            _drop(job, layer, rows, dropping, y)


@njit(**JIT)
def _backward(job, rows, dropping, zero):
    """From the gradient of the outputs to that of all parameters, which is added up."""
    activations, parameters = pointer(job.activations, zero), pointer(job.parameters, zero)
    gradient = pointer(job.gradient, zero)
    for number in range(job.layer_count - 1, -1, -1):
        layer = _layer(job.layers, number)
        inputs, outputs = layer.inputs, layer.outputs
        x, delta = at(activations, layer.input), at(activations, layer.delta)
        if dropping[1] > 0.0 and layer.dropout > 0.0:
            _drop(job, layer, rows, dropping, delta)
        if layer.activation != IDENTITY:
            chain(
                layer.activation,
                layer.parameter,
                at(activations, layer.saved),
                delta,
                _whole_vectors(rows * outputs, delta),
            )
        g = at(gradient, layer.weight)
        for k in range(inputs):
            for j in range(outputs):
                total = g[k * outputs + j]
                for i in range(rows):
                    total += x[i * inputs + k] * delta[i * outputs + j]
                g[k * outputs + j] = total
        if layer.bias >= 0:
            for j in range(outputs):
                total = gradient[layer.bias + j]
                for i in range(rows):
                    total += delta[i * outputs + j]
                gradient[layer.bias + j] = total
        if number > 0:
            w, below = at(parameters, layer.weight), at(activations, _layer(job.layers, number - 1).delta)
            for i in range(rows):
                for k in range(inputs):
                    total = zero
                    for j in range(outputs):
                        total += delta[i * outputs + j] * w[k * outputs + j]
                    below[i * inputs + k] = total


@njit(**JIT)
def _inputs(job, numbers, rows, zero):
    """Copy rows of the caller's into the first layer's inputs."""
    source, x = _source(job.source, 0), at(pointer(job.activations, zero), _layer(job.layers, 0).input)
    gather(source, numbers, rows, x, source.columns, source.columns)


@njit(**JIT)
def _losses(job, numbers, rows, scale, losses, zero):
    """The losses of rows that have gone forward, their sum, and the gradient of the network's outputs times `scale`."""
    last = _layer(job.layers, job.layer_count - 1)
    activations, weights, count = pointer(job.activations, zero), pointer(job.weights, zero), last.outputs
    total = 0.0
    for i in range(rows):
        outputs, delta = at(activations, last.output + i * count), at(activations, last.delta + i * count)
        value, weight = np.float64(row_loss(job, outputs, delta, np.int64(numbers[i]), count)), 1.0
        if job.weights != 0:
            weight = np.float64(weights[numbers[i]])
        losses[i] = weight * value
        total += losses[i]
        factor = like(zero, weight * scale)
        for j in range(count):
            delta[j] *= factor
    return total


@njit(**JIT)
def _gradients(job, numbers, rows, first_row, count, dropout, scale, zero):
    """The gradient of a batch, into the vector of gradients, and the sum of its losses."""
    gradient, losses, loss = pointer(job.gradient, zero), pointer(job.row_losses, 1.0), 0.0
    for i in range(job.gradient_size):
        gradient[i] = zero
    for part in range(0, rows, job.part_rows):
        here, own, dropping = min(job.part_rows, rows - part), at(numbers, part), (count, dropout, first_row + part)
        _inputs(job, own, here, zero)
        _forward(job, here, dropping, zero)
        loss += _losses(job, own, here, scale, losses, zero)
        _backward(job, here, dropping, zero)
    return loss


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
    outputs, predictions = pointer(job.activations, zero), pointer(job.predictions, zero)
    for row in range(0, job.step_count, job.capacity):
        rows, numbers = min(job.capacity, job.step_count - row), at(order, row)
        _inputs(job, numbers, rows, zero)
        _forward(job, rows, (0, 0.0, 0), zero)
        if job.mode == EVALUATE:
            _losses(job, numbers, rows, 0.0, at(losses, row), zero)
        else:
            for i in range(rows * last.outputs):
                predictions[row * last.outputs + i] = outputs[last.output + i]


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
