"""Whole slices of training in one call: forward, loss, backward, update, step after step, by one thread or several.

A thread takes its rows of the batch forward and back through all layers without waiting for any other. Once all
have done so, it takes its blocks of weights, adds up their gradient over all rows and updates them. Each number has one
owner, who computes it in one order, so that it doesn't depend on the number of threads.
"""

from typing import Any

import numpy as np
from numba import njit, types

from nnaccel.kernels.blocks import (
    block_at,
    block_gradient,
    block_gradients,
    block_place,
    coming_rows,
    fused_updates,
    sum_of,
    update_from_gradients,
    updates_from_halves,
)
from nnaccel.kernels.job import APPLY, EVALUATE, GRADIENT, JOB, LAYER, PREDICT, RULE, TRAIN
from nnaccel.kernels.layers import ROWS_AT_ONCE, copy_inputs, forward_and_back, layer_forward, output_losses, share_of
from nnaccel.kernels.loss import gradient_scale, weight_sum
from nnaccel.kernels.memory import JIT, at, int32_pointer, like, panel_of, pointer, records_of
from nnaccel.kernels.optimizer import penalty_strength, prepare
from nnaccel.kernels.rows import scatter
from nnaccel.kernels.team import begin, flush_subnormals, restore_mode, wait

_job, _layer, _rule = records_of(JOB), records_of(LAYER), records_of(RULE)

_NO_DROPOUT = (0, 0.0, 0)
"""What dropout depends on beside the seed and the layer: the number of the step, the factor of all rates, and the number
within the batch of the first row in the activations."""


@njit(**JIT)
def _half_of_batch(job, numbers, rows, half, dropping, scale, thread, phase, room):
    """Forward, back and the gradient of a half of the batch, by half of the threads; by the only one, of both halves."""
    zero, threads, size = like(room[0], 0.0), job.threads, job.gradient_size
    zeros, panel = pointer(job.zeros, zero), panel_of(room)
    middle = share_of(rows, 1, 2)[0]
    start, count = (middle, rows - middle) if half == 1 else (0, middle)
    before = threads // 2 if half == 1 else 0
    members = threads if threads == 1 else threads - threads // 2 if half == 1 else threads // 2
    rank = thread if threads == 1 else thread - before
    share = share_of(count, rank, members)
    forward_and_back(job, numbers, (start + share[0], start + share[1]), dropping, scale, room)
    if members > 1 or threads > 2:
        wait(job.flags, thread, threads, phase)
    gradient = at(pointer(job.gradient, zero), half * size)
    for u in range(job.block_count * rank // members, job.block_count * (rank + 1) // members):
        number, i, j = block_at(job, u)
        layer = _layer(job.layers, number)
        g, bias = at(gradient, block_place(layer, i, j, panel)[0]), at(gradient, layer.bias + j)
        block_gradient(job, layer, i, j, (start, count), g, zeros, 0, bias, zeros, like(zero, 1.0))


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
        share, dropping = share_of(here, thread, threads), (job.count + s, steps[4 * s + 3], part)
        forward_and_back(job, at(numbers, part), share, dropping, scale, room)
        wait(job.flags, thread, threads, phase + 1)
        if thread == 0:
            loss += sum_of(losses, here, 1)
        if fused:
            fused_updates(job, rule, l2, here, coming_rows(job, s, thread), thread, room)
        else:
            block_gradients(job, here, part > 0, coming_rows(job, s, thread), thread, zero)
        phase += 2
        wait(job.flags, thread, threads, phase)
    if not fused:
        phase = update_from_gradients(job, rule, l2, 1.0, thread, phase, zero) + 1
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
        loss = sum_of(pointer(job.row_losses, 1.0), rows, 1)
    updates_from_halves(job, rule, l2, coming_rows(job, s, thread), thread, zero)
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
            log[3 * s + 2] = 0.5 * l2 * sum_of(sums, job.block_count, 2) if l2 > 0.0 else 0.0


@njit(**JIT)
def _gradient(job, thread, room):
    """Sum up losses, weights and gradients of the job's rows; `bounds` has their two ends, `log` room for two sums."""
    zero, phase, threads = like(room[0], 0.0), 0, job.threads
    bounds, log, losses = int32_pointer(job.bounds), pointer(job.log, 1.0), pointer(job.row_losses, 1.0)
    numbers, rows = at(int32_pointer(job.order), np.int64(bounds[0])), np.int64(bounds[1] - bounds[0])
    loss = 0.0
    for part in range(0, rows, job.part_rows):
        here = min(job.part_rows, rows - part)
        share, dropping = share_of(here, thread, threads), (job.count, job.dropout, job.first_row + part)
        forward_and_back(job, at(numbers, part), share, dropping, 1.0, room)
        wait(job.flags, thread, threads, phase + 1)
        if thread == 0:
            loss += sum_of(losses, here, 1)
        block_gradients(job, here, part > 0, (numbers, 0, 0), thread, zero)
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
    phase = update_from_gradients(job, rule, l2, factor, thread, 0, zero) + 1
    wait(job.flags, thread, job.threads, phase)
    if thread == 0:
        log[2] = 0.5 * l2 * sum_of(sums, job.block_count, 2) if l2 > 0.0 else 0.0


@njit(**JIT)
def _outputs(job, thread, room):
    """A thread's part of the job's rows, forward only: their losses or their outputs, from room for its share of rows."""
    zero, panel = like(room[0], 0.0), panel_of(room)
    order, losses = int32_pointer(job.order), pointer(job.row_losses, 1.0)
    activations, predictions = pointer(job.activations, zero), pointer(job.predictions, zero)
    last = _layer(job.layers, job.layer_count - 1)
    own, place = share_of(job.step_count, thread, job.threads), share_of(job.capacity, thread, job.threads)
    most, first = max(1, min(ROWS_AT_ONCE, place[1] - place[0])), place[0]
    for row in range(own[0], own[1], most):
        rows, numbers = min(most, own[1] - row), at(order, row)
        copy_inputs(job, numbers, first, rows, zero)
        for number in range(job.layer_count):
            layer_forward(job, _layer(job.layers, number), first, rows, _NO_DROPOUT, zero)
        if job.mode == EVALUATE:
            output_losses(job, numbers, first, rows, 0.0, at(losses, row), room)
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
