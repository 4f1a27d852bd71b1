"""Losses of rows with their gradients; the formulas are those of `nnaccel.losses`.

As many rows as a vector has lanes go at once: their outputs are transposed, so that row r of the group is lane r, and
output j of all of them is one vector. Everything but the choice of a label is then the same for all lanes.
"""

from typing import Any

import numpy as np
from numba import njit
from numba.extending import register_jitable

from nnaccel.kernels.gemm import transpose
from nnaccel.kernels.job import LOSSES
from nnaccel.kernels.lanes import rows_into_lanes
from nnaccel.kernels.mathematics import exp, log, sigmoid, softplus
from nnaccel.kernels.memory import (
    JIT,
    apart,
    at,
    int32_pointer,
    lanes_of,
    like,
    panel_of,
    pointer,
    size_of,
    wide_vectors,
)

(
    SUM_OF_SQUARES, MEAN_SQUARED_ERROR, HALF_SQUARED_ERROR, MEAN_ABSOLUTE_ERROR, HUBER,
    BINARY_CROSS_ENTROPY, SOFTMAX_CROSS_ENTROPY, POISSON,
) = range(len(LOSSES))  # fmt: skip


@register_jitable
def _sum_of_squares(output, target, parameter, share):
    error = output - target
    return error * error, error + error


@register_jitable
def _mean_squared_error(output, target, parameter, share):
    error = output - target
    return share * (error * error), (share + share) * error


@register_jitable
def _half_squared_error(output, target, parameter, share):
    error = output - target
    return like(output, 0.5) * (error * error), error


@register_jitable
def _mean_absolute_error(output, target, parameter, share):
    error = output - target
    sign = share if error > 0 else like(output, 0.0) * error
    return share * abs(error), -share if error < 0 else sign


@register_jitable
def _huber(output, target, parameter, share):
    error = output - target
    slope = parameter if error > parameter else error
    slope = -parameter if slope < -parameter else slope
    return share * (slope * (error - like(output, 0.5) * slope)), share * slope


@register_jitable
def _binary_cross_entropy(output, target, parameter, share):
    wanted = target + parameter * (like(output, 0.5) - target)
    return softplus(output) - output * wanted, sigmoid(output) - wanted


@register_jitable
def _clipped(value, eps):
    """The negative logarithm of a probability as that of one between eps and 1 - eps; NaN stays."""
    least, most = eps, -log(eps)
    value = least if value < least else value
    return most if value > most else value


@register_jitable
def _clipped_binary_cross_entropy(output, target, eps, share):
    probability = sigmoid(output)
    right, slope = probability if target > 0 else like(output, 1.0) - probability, probability - target
    return _clipped(-log(right), eps) if slope == slope else slope, slope  # a target of NaN must show


@register_jitable
def _poisson(output, target, parameter, share):
    rate, one = exp(output), like(output, 1.0)
    log_target = log(target if target > 0 else one)
    return rate - target + target * (log_target - output), rate - target


def _by_output(formula):
    """The losses of one group, where each output has a target."""

    @njit(**JIT)
    def losses(outputs, targets, count, parameter, share, values, deltas):
        wide_vectors()
        apart()
        lanes = lanes_of(outputs)
        for r in range(lanes):
            values[r] = like(values[0], 0.0)
        for j in range(count):
            o, y, d = at(outputs, j * lanes), at(targets, j * lanes), at(deltas, j * lanes)
            for r in range(lanes):
                value, d[r] = formula(o[r], y[r], parameter, share)
                values[r] += value

    return losses


_sums_of_squares = _by_output(_sum_of_squares)
_mean_squared_errors = _by_output(_mean_squared_error)
_half_squared_errors = _by_output(_half_squared_error)
_mean_absolute_errors = _by_output(_mean_absolute_error)
_hubers = _by_output(_huber)
_binary_cross_entropies = _by_output(_binary_cross_entropy)
_clipped_binary_cross_entropies = _by_output(_clipped_binary_cross_entropy)
_poissons = _by_output(_poisson)


@njit(**JIT)
def _softmax_cross_entropies(outputs, labels, numbers, rows, count, smoothing, values, deltas, largest, total):
    """The losses of one group, where each row has a label. `largest` and `total` are room for a vector each."""
    wide_vectors()
    apart()
    lanes, zero, one = lanes_of(outputs), like(outputs[0], 0.0), like(outputs[0], 1.0)
    for r in range(rows):
        values[r] = (one - smoothing) * outputs[labels[numbers[r]] * lanes + r]
    for r in range(lanes):
        largest[r], total[r] = outputs[r], zero
    for j in range(1, count):
        o = at(outputs, j * lanes)
        for r in range(lanes):
            largest[r] = o[r] if o[r] > largest[r] else largest[r]
    share = smoothing / like(zero, count)
    if smoothing > zero:
        for j in range(count):
            o = at(outputs, j * lanes)
            for r in range(lanes):
                values[r] += share * o[r]
    for j in range(count):
        o, d = at(outputs, j * lanes), at(deltas, j * lanes)
        for r in range(lanes):
            d[r] = exp(o[r] - largest[r])
            total[r] += d[r]
    for r in range(lanes):
        values[r] = log(total[r]) + (largest[r] - values[r])
        total[r] = one / total[r]
    for j in range(count):
        d = at(deltas, j * lanes)
        for r in range(lanes):
            d[r] = d[r] * total[r] - share
    for r in range(rows):
        deltas[labels[numbers[r]] * lanes + r] -= one - smoothing


@njit(**JIT)
def lane_losses(
    job: Any, outputs: Any, numbers: Any, rows: int, count: int, values: Any, deltas: Any, targets: Any
) -> None:
    """The losses of one group, into `values`, and their gradients, into `deltas`.

    Parameters
    ----------
    job : record JOB
        Its loss and its targets.
    outputs : pointer
        A vector for each output, whose lanes are rows.
    numbers : pointer to int32
        Which rows they are of the caller's.
    rows, count : int
        How many, up to the lanes of a vector, and how many outputs each has.
    values : pointer
        To a vector.
    deltas : pointer
        As `outputs`.
    targets : pointer
        Room for as many numbers as there are outputs, and for two vectors at least.
    """
    lanes, zero, kind = lanes_of(outputs), like(outputs[0], 0.0), job.loss
    parameter, share = like(zero, job.loss_parameter), like(zero, 1.0 / count)
    if kind == SOFTMAX_CROSS_ENTROPY:
        room = at(targets, lanes)
        labels = int32_pointer(job.targets)
        _softmax_cross_entropies(outputs, labels, numbers, rows, count, parameter, values, deltas, targets, room)
        if job.clip > 0.0:
            for r in range(rows):
                values[r] = _clipped(values[r], like(zero, job.clip))
        return
    rows_into_lanes(targets, job.targets, count * size_of(targets), numbers, rows, count)
    if kind == SUM_OF_SQUARES:
        _sums_of_squares(outputs, targets, count, parameter, share, values, deltas)
    elif kind == MEAN_SQUARED_ERROR:
        _mean_squared_errors(outputs, targets, count, parameter, share, values, deltas)
    elif kind == HALF_SQUARED_ERROR:
        _half_squared_errors(outputs, targets, count, parameter, share, values, deltas)
    elif kind == MEAN_ABSOLUTE_ERROR:
        _mean_absolute_errors(outputs, targets, count, parameter, share, values, deltas)
    elif kind == HUBER:
        _hubers(outputs, targets, count, parameter, share, values, deltas)
    elif kind == BINARY_CROSS_ENTROPY and job.clip > 0.0:
        _clipped_binary_cross_entropies(outputs, targets, count, like(zero, job.clip), share, values, deltas)
    elif kind == BINARY_CROSS_ENTROPY:
        _binary_cross_entropies(outputs, targets, count, parameter, share, values, deltas)
    else:
        _poissons(outputs, targets, count, parameter, share, values, deltas)


@njit(**JIT)
def losses_and_deltas(job, outputs, deltas, numbers, rows, count, scale, row_losses, room):
    """The weighted losses of rows, and their gradients times `scale`.

    Parameters
    ----------
    job : record JOB
        Its loss, targets, weights and capacity.
    outputs, deltas : pointers
        The first row of panels with room for `capacity` rows.
    numbers : pointer to int32
        Which rows they are of the caller's.
    rows, count : int
        How many, and how many outputs each has.
    scale : float
    row_losses : pointer to float64
    room : pointer
        Of `job.scratch_size` elements.
    """
    wide_vectors()
    lanes, panel, zero = lanes_of(outputs), panel_of(outputs), like(outputs[0], 0.0)
    values, factors, group = room, at(room, lanes), at(room, 2 * lanes)
    slopes, targets = at(group, count * lanes), at(group, 2 * count * lanes)
    weights, next_panel = pointer(job.weights, zero), job.capacity * panel
    for i in range(0, rows, lanes):
        here, row_numbers = min(lanes, rows - i), at(numbers, i)
        for j in range(0, count, panel):
            source = at(outputs, (j // panel) * next_panel + i * panel)
            transpose(source, panel, at(group, j * lanes), lanes, here, min(panel, count - j), panel)
        lane_losses(job, group, row_numbers, here, count, values, slopes, targets)
        for r in range(here):
            weight = np.float64(weights[row_numbers[r]]) if job.weights != 0 else 1.0
            row_losses[i + r] = weight * np.float64(values[r])
            factors[r] = like(zero, weight * scale)
        for j in range(count):
            for r in range(lanes):
                slopes[j * lanes + r] *= factors[r]
        for j in range(0, count, panel):
            target = at(deltas, (j // panel) * next_panel + i * panel)
            transpose(at(slopes, j * lanes), lanes, target, panel, min(panel, count - j), here, panel)


@njit(**JIT)
def weight_sum(job: Any, numbers: Any, rows: int, zero: Any) -> float:
    """The sum of the weights of rows, by their numbers; how many they are, where rows have no weights."""
    if job.weights == 0:
        return float(rows)
    weights, total = pointer(job.weights, zero), 0.0
    for i in range(rows):
        total += np.float64(weights[numbers[i]])
    return total


@njit(**JIT)
def gradient_scale(job: Any, weight: float) -> float:
    """What to multiply the gradient of a sum of losses by; without any weight there is no gradient."""
    if job.divides == 0:
        return 1.0
    return 1.0 / weight if weight != 0.0 else 0.0
