"""The fused kernels as whole programs: against the reference, to the bit over threads and cuts, within guards, and amid
other threads and processes."""

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import threading
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest

import nnaccel.fused
from nnaccel.activations import Tanh
from nnaccel.backends import get_backend
from nnaccel.fused import FusedProgram, FusedRun, _source
from nnaccel.kernels.job import ROW_KINDS
from nnaccel.layout import Flat, Panels
from nnaccel.losses import LOSSES
from nnaccel.network import Dense, Network
from nnaccel.optimizers import L2, Step
from nnaccel.plan import Plan
from nnaccel.program import Rows
from nnaccel.threads import Pace
from tests.problems import assert_same_state, epochs, problem, steps_of
from tests.strict_backend import read_only
from tests.test_optimizers import OPTIMIZER_TEXTS
from tests.test_program import FULL, finer, vectors
from tests.test_reference import ACTIVATION_TEXTS, LOSS_TEXTS
from tests.tolerance import assert_trajectory_close, assert_within, tolerance

DTYPES = ("float32", "float64")
SIZES = (1, 2, 15, 16, 17, 31, 33, 100, 129)
THREADS = (1, 2, 3, 4, 7)
ROOT = Path(__file__).parents[1]

every_dtype = pytest.mark.parametrize("dtype", DTYPES)


def start(p, *arguments):
    """A run of the problem by the kernels."""
    return FusedProgram(p.plan).start(p.state, p.rows, *arguments)


def trained(run, p, batch_size=6, epoch_count=5):
    """The log and the final state of an epoch or several, each with a ragged last batch."""
    order, bounds = epochs(len(p.rows.x), batch_size, epoch_count)
    return run.train(order, bounds, steps_of(p.plan, len(bounds) - 1)), run.state()


def assert_trains_like_the_reference(*arguments, batch_size=6, epoch_count=5, dtypes=DTYPES, **options):
    """20 steps unless told otherwise; by default in both dtypes."""
    single, double = (problem(*arguments, **options, dtype=dtype) for dtype in DTYPES)
    cpu = get_backend("cpu")
    working, exact = (vectors(trained(p.start(cpu), p, batch_size, epoch_count)) for p in (single, double))
    for p in (p for p in (single, double) if p.plan.dtype in dtypes):
        got = trained(start(p), p, batch_size, epoch_count)
        assert got[1].parameters.dtype == p.plan.dtype
        for vector, in_single, in_double in zip(vectors(got), working, exact, strict=True):
            assert_trajectory_close(vector, in_single if p is single else finer(in_single, in_double), in_double)


# --- it computes what the reference computes ---


@pytest.fixture(params=["small", "epoch"])
def kernel(request, monkeypatch):
    """Either kernel, whatever the size of the network."""
    monkeypatch.setattr(nnaccel.fused, "MOST_SMALL_WEIGHTS", 10**9 if request.param == "small" else 0)
    return request.param


def test_the_size_of_the_network_chooses_the_kernel():
    assert FusedProgram(problem(features=15, hidden=(3,), outputs=1).plan).kernel == "small"
    assert FusedProgram(problem(features=16, hidden=(3,), outputs=1).plan).kernel == "epoch"


def test_the_fixture_chooses_the_kernel(kernel):
    for p in (problem(features=4, hidden=(), outputs=1), problem(hidden=(100, 100))):
        assert FusedProgram(p.plan).kernel == kernel


@pytest.mark.parametrize("activation", ACTIVATION_TEXTS)
def test_every_activation(kernel, activation):
    assert_trains_like_the_reference(activation=activation)


@pytest.mark.parametrize("weighted", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("loss", LOSS_TEXTS)
def test_every_loss(kernel, loss, weighted):
    assert_trains_like_the_reference(loss, "sgd,learning_rate=0.01", weighted=weighted)


@pytest.mark.parametrize("optimizer", OPTIMIZER_TEXTS)
def test_every_optimizer(kernel, optimizer):
    assert_trains_like_the_reference(optimizer=optimizer, **FULL)
    assert_trains_like_the_reference(optimizer=optimizer)


@pytest.mark.parametrize("loss", LOSSES)
def test_all_options_at_once(kernel, loss):
    assert_trains_like_the_reference(loss, "sgd,learning_rate=0.05,momentum=0.9,nesterov=true", **FULL)


@pytest.mark.parametrize("l2", [L2(0.0), L2(0.05), L2(0.05, "row")], ids=["no l2", "batch", "row"])
@pytest.mark.parametrize("clip_norm", [None, 0.1, 1e6])
@pytest.mark.parametrize("weighted", [True, False], ids=["weights", "no weights"])
def test_penalties_and_clipping(kernel, l2, clip_norm, weighted):
    assert_trains_like_the_reference("sum_of_squares", "sgd,learning_rate=0.01", l2=l2, clip_norm=clip_norm)
    assert_trains_like_the_reference(l2=l2, clip_norm=clip_norm, weighted=weighted)


@pytest.mark.parametrize("size", SIZES)
def test_odd_sizes(kernel, size):
    options = {"optimizer": "sgd,learning_rate=0.01", "dropout": 0.2, "weighted": True}
    assert_trains_like_the_reference(features=size, hidden=(33,), outputs=2, **options)
    assert_trains_like_the_reference(hidden=(17, size, 31), outputs=1, activation="relu", **options)
    assert_trains_like_the_reference("softmax_cross_entropy", hidden=(16,), outputs=max(size, 2), **options)
    assert_trains_like_the_reference(hidden=(15, 2), rows=size + 5, batch_size=size, epoch_count=3, **options)


def test_a_thousand_of_everything():
    options = {"optimizer": "adam,learning_rate=0.01", "epoch_count": 1}
    assert_trains_like_the_reference(features=1000, hidden=(33,), batch_size=6, **options)
    assert_trains_like_the_reference(hidden=(1000, 129), activation="relu", outputs=1, batch_size=6, **options)
    assert_trains_like_the_reference("softmax_cross_entropy", hidden=(7,), outputs=1000, batch_size=6, **options)
    assert_trains_like_the_reference(rows=2001, hidden=(31,), batch_size=1000, dtypes=["float32"], **options)


@every_dtype
@pytest.mark.parametrize("options", [
    {"features": 2055, "hidden": (3,)},
    {"features": 2, "hidden": (2055, 2), "activation": "relu"},
    {"rows": 2001, "hidden": (31,), "weighted": True},
], ids=str)  # fmt: skip
def test_gradients_of_more_than_goes_at_once(kernel, options, dtype):
    """Sums so long go to memory in between."""
    p = problem(**options, dtype=dtype)
    order = np.arange(len(p.rows.x), dtype=np.int32)
    want = problem(**options).start(get_backend("cpu")).gradient(order)
    got = start(p).gradient(order)
    for a, b in zip(got, want, strict=True):
        assert_within(a, b, tolerance(want.weight + np.abs(b).max(), 2055 * 31, dtype))


@pytest.mark.parametrize("options", [
    {"hidden": ()},
    {"hidden": (), "outputs": 1, "bias": False},
    {"hidden": (1,), "features": 1, "outputs": 1},
    {"hidden": (1, 1, 1), "outputs": 1},
    {"hidden": (16, 16, 16), "bias": False},
    {"hidden": (40, 2), "bias": False, "dropout": 0.5},
    {"hidden": (3,) * 12, "bias": True},
    {"rows": 1},
], ids=str)  # fmt: skip
def test_every_shape(kernel, options):
    assert_trains_like_the_reference(**options)


def test_the_last_layer_may_have_an_activation_and_drop(kernel):
    """Here the gradient of the loss goes back through both."""
    network = Network(4, [Dense(3, "relu", dropout=0.2), Dense(3, "softplus", dropout=0.4)])
    p = problem(features=4, hidden=(3,))
    single, double = (p._replace(plan=replace(p.plan, network=network, dtype=dtype)) for dtype in DTYPES)
    cpu = get_backend("cpu")
    working, exact = (vectors(trained(q.start(cpu), q)) for q in (single, double))
    for got, in_single, in_double in zip(vectors(trained(start(single), single)), working, exact, strict=True):
        assert_trajectory_close(got, in_single, in_double)
    for got, in_single, in_double in zip(vectors(trained(start(double), double)), working, exact, strict=True):
        assert_trajectory_close(got, finer(in_single, in_double), in_double)


@pytest.mark.parametrize(
    "options", [{}, FULL, {"clip_norm": 0.1}, {"l2": L2(0.1)}], ids=["plain", "full", "clip", "l2"]
)
@pytest.mark.parametrize("optimizer", ["sgd,learning_rate=0.1", "adam,learning_rate=0.01"])
def test_batches_longer_than_the_room_for_activations(kernel, optimizer, options, monkeypatch):
    """They go in parts of 64 rows."""
    monkeypatch.setattr(nnaccel.fused, "ACTIVATION_BYTES", 1)
    assert_trains_like_the_reference(optimizer=optimizer, rows=400, batch_size=150, epoch_count=3, **options)


def in_halves(patch):
    """Let all batches of five rows and more go in halves, as long ones of networks with few weights do."""
    never = np.iinfo(np.int64).max
    patch.setattr(nnaccel.fused, "rows_to_halve", lambda plan, layout: 5 if plan.clip_norm is None else never)


@pytest.mark.parametrize("threads", [1, 2, 3])
@pytest.mark.parametrize("optimizer", OPTIMIZER_TEXTS)
def test_batches_in_halves(optimizer, threads, monkeypatch):
    in_halves(monkeypatch)
    with on_threads(threads):
        assert_trains_like_the_reference(optimizer=optimizer)
        options = {"dropout": 0.3, "weighted": True, "l2": L2(0.01, "row"), "bias": False}
        assert_trains_like_the_reference(optimizer=optimizer, **options, rows=57, batch_size=13, epoch_count=4)


@pytest.mark.parametrize("batch_size", [4, 5, 8, 9, 15, 16, 17, 31, 33, 100, 129])
def test_halves_of_every_size(batch_size, monkeypatch):
    in_halves(monkeypatch)
    options = {"optimizer": "sgd,learning_rate=0.01", "batch_size": batch_size, "rows": 3 * batch_size + 5}
    options["dtypes"] = (
        DTYPES if batch_size < 100 else ["float32"]
    )  # NumPy sums losses in pairs, so with hardly any error
    assert_trains_like_the_reference(hidden=(33, 17), outputs=1, epoch_count=3, **options)
    assert_trains_like_the_reference("softmax_cross_entropy", hidden=(), outputs=33, epoch_count=3, **options)


@pytest.mark.parametrize("options", [
    {"features": 20, "hidden": (64, 64), "outputs": 1},
    {"features": 3, "hidden": (5,), "outputs": 2},
    {"features": 2, "hidden": (2,) * 40, "outputs": 2},
    {"features": 784, "hidden": (128,), "outputs": 10},
], ids=str)  # fmt: skip
@every_dtype
def test_batches_around_the_length_from_which_they_go_in_halves(options, dtype):
    p = problem(**options, rows=1, dtype=dtype)
    length = nnaccel.fused.rows_to_halve(p.plan, FusedProgram(p.plan).layout)
    assert length > 4, "a half would have no rows"
    length = min(length, 20_000)
    p = problem(**options, rows=length + 1, dtype=dtype)
    steps, state, order = steps_of(p.plan, 1), p.state, np.arange(length + 1, dtype=np.int32)
    for rows in (length - 1, length, length + 1):
        bounds = np.array([0, rows], np.int32)
        run = start(p)
        log = run.train(order, bounds, steps)
        other = start(p)
        sums = other.gradient(order[:rows])
        other.apply(sums, Step(*steps[0]))
        bound = tolerance(1 + np.abs(sums.gradient).max() / rows, rows, dtype)
        assert_within(run.state().parameters - state.parameters, other.state().parameters - state.parameters, bound)
        assert_within(log[0, 0], sums.loss, tolerance(sums.loss, rows, dtype))


@every_dtype
def test_both_kernels_compute_the_same(dtype, monkeypatch):
    p = problem(optimizer="adam,learning_rate=0.01", dtype=dtype, **FULL)
    everything, results = np.arange(23, dtype=np.int32), []
    for most in (0, 10**9):
        monkeypatch.setattr(nnaccel.fused, "MOST_SMALL_WEIGHTS", most)
        run = start(p)
        sums = run.gradient(everything, 1.0)
        results.append([sums.loss, sums.gradient, *run.evaluate(everything), run.predict(p.rows.x)])
        results[-1] += vectors(trained(run, p, epoch_count=1))
    for a, b in zip(*results, strict=True):
        assert_within(a, b, tolerance(1 + np.abs(b).max(), 23 * 7 * 5, dtype))


@pytest.mark.parametrize("text", ACTIVATION_TEXTS)
@pytest.mark.parametrize("factor", [0.0, 0.5])
def test_gradients_where_dropout_is_switched_off_or_less(kernel, text, factor):
    """A layer with dropout keeps its outputs for the derivative, also in a step that drops nothing."""
    p = problem(activation=text, dropout=0.3)
    order = np.arange(len(p.rows.x), dtype=np.int32)
    got = start(p).gradient(order, factor).gradient
    want = get_backend("cpu").compile(p.plan).start(p.state, p.rows).gradient(order, factor).gradient
    assert_within(got, want, tolerance(1 + np.abs(want).max(), len(order) * 7, "float64"))


# --- bits ---


@contextlib.contextmanager
def on_threads(count):
    """Have every job that several threads can share done by exactly so many, whatever this machine has."""

    def worthwhile(self, rows, rows_of_step):
        return count if len(self._layout.blocks) else 1

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nnaccel.fused, "usable_cores", lambda: count)
        patch.setattr(nnaccel.fused, "allowed_threads", lambda wanted, cores: count)
        patch.setattr(FusedRun, "_worthwhile", worthwhile)
        patch.setattr(Pace, "threads", lambda self, wanted: wanted)
        yield


def everything_of(p, batch_size=6, cuts=(), order_within=None):
    """All that a run can tell: the log of a training in pieces, the state, a gradient, an update, losses, predictions."""
    run = start(p)
    order, bounds = epochs(len(p.rows.x), batch_size, 2)
    steps = steps_of(p.plan, len(bounds) - 1)
    if order_within:
        order, bounds, steps = map(order_within.copy, (order, bounds, steps))
    cuts = [0, *cuts, len(steps)]
    logs = [run.train(order, bounds[a : b + 1], steps[a:b]) for a, b in pairwise(cuts)]
    state, sums = run.state(), run.gradient(order[:-1], 0.7)
    penalty = run.apply(sums, Step(*steps[0]))
    losses, predictions = run.evaluate(order), run.predict(p.rows.x)
    after = run.state()
    return [
        np.concatenate(logs), state.parameters, *state.slots, sums.loss, sums.weight, sums.gradient, penalty,
        losses, predictions, after.parameters, *after.slots,
    ]  # fmt: skip


def assert_same_bits(got, want):
    for a, b in zip(got, want, strict=True):
        np.testing.assert_array_equal(a, b, strict=True)


BIT_PROBLEMS = {
    "plain": {},
    "full": {"optimizer": "adam", "hidden": (33, 17), **FULL},
    "labels": {"loss": "softmax_cross_entropy", "outputs": 33, "activation": "relu", "features": 100, "rows": 57},
    "small": {"hidden": (), "outputs": 1},
    "one block": {"hidden": (), "outputs": 4},
    "one row": {"rows": 1, "optimizer": "adamw"},
    "many rows": {"rows": 1100, "hidden": (31,), "l2": L2(0.1), "loss": "huber", "optimizer": "sgd,momentum=0.9"},
    "long batches": {"rows": 300, "hidden": (129, 5), "clip_norm": 1.0, "activation": "gelu", "dropout": 0.3},
    "momentum": {"rows": 300, "hidden": (65, 33), "optimizer": "sgd,momentum=0.9", "dropout": 0.3, "weighted": True},
}
BATCH = {"many rows": 1000, "long batches": 150, "momentum": 77}


@every_dtype
@pytest.mark.parametrize("halves", [False, True], ids=["whole", "halves"])
@pytest.mark.parametrize("name", BIT_PROBLEMS)
def test_the_number_of_threads_changes_no_bit(name, halves, dtype, monkeypatch):
    if halves:
        in_halves(monkeypatch)
    p = problem(**BIT_PROBLEMS[name], dtype=dtype)
    results = []
    for count in THREADS:
        with on_threads(count):
            results.append(everything_of(p, BATCH.get(name, 6)))
    for got in results[1:]:
        assert_same_bits(got, results[0])


@every_dtype
@pytest.mark.parametrize("threads", [THREADS, (1, 18)], ids=["few threads", "more than there are groups of rows"])
def test_the_number_of_threads_changes_no_bit_of_batches_in_parts(threads, dtype, monkeypatch):
    """The parts have 64 rows; threads share groups of four of them."""
    monkeypatch.setattr(nnaccel.fused, "ACTIVATION_BYTES", 1)
    p = problem(**BIT_PROBLEMS["long batches"], dtype=dtype)
    results = []
    for count in threads:
        with on_threads(count):
            results.append(everything_of(p, 150))
    for got in results[1:]:
        assert_same_bits(got, results[0])


@every_dtype
@pytest.mark.parametrize("halves", [False, True], ids=["whole", "halves"])
@pytest.mark.parametrize("name", BIT_PROBLEMS)
def test_repeats_and_cuts_change_no_bit(name, halves, dtype, monkeypatch):
    if halves:
        in_halves(monkeypatch)
    p = problem(**BIT_PROBLEMS[name], dtype=dtype)
    batch_size = BATCH.get(name, 6)
    want = everything_of(p, batch_size)
    steps = 2 * -(-len(p.rows.x) // batch_size)
    for cuts in ((), (steps // 2,), range(1, steps), (0, 1, 1, steps)):
        assert_same_bits(everything_of(p, batch_size, cuts), want)


@every_dtype
@pytest.mark.parametrize("halves", [False, True], ids=["whole", "halves"])
def test_what_was_done_before_changes_no_bit(halves, dtype, monkeypatch):
    """Room that a run has made stays; batches are divided as before."""
    monkeypatch.setattr(nnaccel.fused, "ACTIVATION_BYTES", 1)
    if halves:
        in_halves(monkeypatch)
    p = problem(rows=300, hidden=(33,), dtype=dtype, dropout=0.3)
    for batch_size in (6, 70, 150):
        fresh, used = start(p), start(p, 7)
        used.predict(np.zeros((1000, 5)))
        used.evaluate(np.arange(300, dtype=np.int32))
        used.gradient(np.arange(300, dtype=np.int32), 1.0)
        used.train(*epochs(300, 65, 1), steps_of(p.plan, 5))
        used.restore(p.state)
        results = [trained(run, p, batch_size, 1) for run in (fresh, used)]
        np.testing.assert_array_equal(results[0][0], results[1][0])
        assert_same_state(results[0][1], results[1][1])


# --- the caller's arrays ---


def whole_numbers(rows=23, columns=5):
    """Numbers that every kind holds."""
    return np.random.default_rng(0).integers(0, 100, (rows, columns)).astype(np.float64)


def in_form(form):
    """The same numbers in the memory of a caller, and whether the kernels read them there."""
    x = whole_numbers()
    if form in ROW_KINDS:
        return x.astype(form), True
    wide = np.zeros((46, 10), np.float32)
    wide[::2, 1::2] = x
    record = np.zeros(23, [("flag", "u1"), ("values", "f4", 5)])
    record["values"] = x
    return {
        "float16": (x.astype(np.float16), False),
        "longdouble": (x.astype(np.longdouble), False),
        "big-endian": (x.astype(">f4"), False),
        "big-endian integers": (x.astype(">i8"), False),
        "unaligned": (unaligned(x.astype(np.float32)), False),
        "packed records": (record["values"], False),
        "fortran": (np.asfortranarray(x), True),
        "strided": (wide[::2, 1::2], True),
        "reversed rows": (np.ascontiguousarray(x[::-1])[::-1], True),
        "reversed columns": (np.ascontiguousarray(x[:, ::-1])[:, ::-1], True),
        "transposed view": (np.ascontiguousarray(x.T).T, True),
        "of a larger array": (np.pad(x, ((2, 3), (4, 1)))[2:-3, 4:-1], True),
    }[form]


FORMS = [
    *ROW_KINDS, "float16", "longdouble", "big-endian", "big-endian integers", "unaligned", "packed records", "fortran",
    "strided", "reversed rows", "reversed columns", "transposed view", "of a larger array",
]  # fmt: skip


@every_dtype
@pytest.mark.parametrize("form", FORMS)
def test_rows_in_every_form(kernel, form, dtype):
    x, in_place = in_form(form)
    assert in_place == (_source(x)[0]["address"][0] == x.ctypes.data)
    base = x if x.base is None else x.base
    before = bytes(base)
    p = problem(dtype=dtype)
    want_run, run = (start(p._replace(rows=p.rows._replace(x=read_only(form)))) for form in (whole_numbers(), x))
    want, got = (trained(r, p) for r in (want_run, run))
    np.testing.assert_array_equal(got[0], want[0])
    assert_same_state(got[1], want[1])
    np.testing.assert_array_equal(run.predict(x), want_run.predict(whole_numbers()))
    assert bytes(base) == before


@every_dtype
@pytest.mark.parametrize("form", ["plain", "fortran", "strided", "reversed"])
def test_truth_values(kernel, form, dtype):
    x = np.random.default_rng(0).random((23, 5)) < 0.5
    p = problem(dtype=dtype)
    want = trained(start(p._replace(rows=p.rows._replace(x=x.astype(np.float64)))), p)
    wide = np.zeros((46, 15), bool)
    wide[::2, ::3] = x
    forms = {"plain": x, "fortran": np.asfortranarray(x), "strided": wide[::2, ::3], "reversed": x[::-1].copy()[::-1]}
    x = forms[form]
    assert _source(x)[0]["address"][0] == x.ctypes.data
    got = trained(start(p._replace(rows=p.rows._replace(x=read_only(x)))), p)
    np.testing.assert_array_equal(got[0], want[0])
    assert_same_state(got[1], want[1])


@pytest.mark.parametrize("loss", ["huber", "softmax_cross_entropy"])
@every_dtype
def test_targets_and_weights_in_every_form(kernel, loss, dtype):
    p = problem(loss, dtype=dtype, weighted=True)
    want = trained(start(p), p)
    if loss == "huber":
        targets = [np.asfortranarray(p.rows.targets), np.repeat(p.rows.targets, 2, axis=1)[:, ::2]]
        targets += [p.rows.targets.astype(">f8"), p.rows.targets.astype(np.float64)]
    else:
        targets = [p.rows.targets.astype(kind) for kind in ("int64", "uint8", ">i4", "uint64")]
        targets.append(np.repeat(p.rows.targets, 2)[::2])
    for array in targets:
        for weights in (p.rows.weights.astype(">f4"), np.repeat(p.rows.weights, 3)[::3]):
            rows = Rows(p.rows.x, read_only(array), read_only(weights))
            got = trained(start(p._replace(rows=rows)), p)
            np.testing.assert_array_equal(got[0], want[0])
            assert_same_state(got[1], want[1])


@every_dtype
def test_targets_and_weights_that_are_not_aligned(kernel, dtype):
    for loss in ("huber", "softmax_cross_entropy"):
        p = problem(loss, dtype=dtype, weighted=True)
        kinds = (dtype if loss == "huber" else "int32", dtype)
        arrays = [unaligned(array.astype(kind)) for array, kind in zip(p.rows[1:], kinds, strict=True)]
        want, got = trained(start(p), p), trained(start(p._replace(rows=Rows(p.rows.x, *arrays))), p)
        np.testing.assert_array_equal(got[0], want[0])
        assert_same_state(got[1], want[1])


def unaligned(array):
    """A copy that begins at an odd address."""
    memory = np.zeros(array.nbytes + 2, np.uint8)
    start = 1 - memory.ctypes.data % 2
    memory[start : start + array.nbytes] = np.frombuffer(array.tobytes(), np.uint8)
    return np.ndarray(array.shape, array.dtype, memory, offset=start)


def test_order_and_bounds_of_other_types(kernel):
    p = problem()
    order, bounds = epochs(23, 6, 2)
    steps = steps_of(p.plan, len(bounds) - 1)
    want = start(p).train(order, bounds, steps)
    for kind in ("int64", ">i4", "uint16"):
        run = start(p)
        every_second = np.repeat(order.astype(kind), 2)[::2]
        got = run.train(every_second, bounds.astype(kind), np.asfortranarray(steps.astype(">f8")))
        np.testing.assert_array_equal(got, want)
        assert run.evaluate(every_second) == run.evaluate(order)
        assert_same_bits(run.gradient(every_second), run.gradient(order))


def test_predict_refuses_rows_of_another_width(kernel):
    """The kernels would write past their buffers."""
    run = start(problem())
    for shape in ((4, 6), (4, 4), (4,), (4, 5, 1)):
        with pytest.raises(ValueError, match=r"."):
            run.predict(np.zeros(shape))


# --- other data, another state ---


def test_data_may_be_replaced_by_more_or_fewer_rows(kernel):
    p = problem(weighted=True, optimizer="adam", dtype="float32")
    other = problem(rows=500, seed=5, dtype="float32")
    run, order = start(p), np.arange(23, dtype=np.int32)
    before = run.evaluate(order)
    run.replace(other.rows)
    fresh = start(p._replace(rows=other.rows))
    for got, want in zip(trained(run, other, 100, 1), trained(fresh, other, 100, 1), strict=True):
        if isinstance(got, np.ndarray):
            np.testing.assert_array_equal(got, want)
        else:
            assert_same_state(got, want)
    run.replace(p.rows)
    run.restore(p.state)
    assert run.evaluate(order) == before
    got, want = trained(run, p), trained(start(p), p)
    np.testing.assert_array_equal(got[0], want[0])
    assert_same_state(got[1], want[1])


@every_dtype
@pytest.mark.parametrize("options", [{"l2": L2(0.1)}, {"clip_norm": 0.5}, FULL], ids=["l2", "clip", "full"])
@pytest.mark.parametrize("optimizer", ["sgd,learning_rate=0.1", "adam"])
def test_a_run_goes_on_from_a_restored_state_after_it_diverged(kernel, optimizer, options, dtype):
    p = problem(optimizer=optimizer, dtype=dtype, **options)
    run = start(p)
    run.replace(p.rows._replace(x=np.full_like(p.rows.x, np.nan)))
    log, state = trained(run, p)
    assert np.isnan(log[-1, 0])
    assert np.isnan(state.parameters).any()
    run.replace(p.rows)
    run.restore(p.state)
    got, want = trained(run, p), trained(start(p), p)
    np.testing.assert_array_equal(got[0], want[0])
    assert_same_state(got[1], want[1])


@every_dtype
def test_gradients_of_others_after_one_that_is_no_number(kernel, dtype):
    p, order = problem(dtype=dtype, optimizer="adam", **FULL), np.arange(23, dtype=np.int32)
    run, fresh = start(p), start(p)
    sums = fresh.gradient(order)
    run.replace(p.rows._replace(x=np.full_like(p.rows.x, np.nan)))
    assert np.isnan(run.gradient(order).gradient).any()
    step = Step(*p.plan.optimizer.base_step)
    assert run.apply(sums, step) == fresh.apply(sums, step)
    assert_same_state(run.state(), fresh.state())


def test_a_seed_of_any_size(kernel):
    p = problem(dropout=0.5)
    results = []
    for seed in (0, -1, 2**64 - 1, 2**63, -(2**63), 2**70 + 2**63):
        state = replace(p.state, seed=seed)
        results.append(start(p._replace(state=state)).gradient(np.arange(23, dtype=np.int32), 1.0).loss)
        reference = p._replace(state=state).start(get_backend("cpu")).gradient(np.arange(23, dtype=np.int32), 1.0).loss
        assert_within(results[-1], reference, tolerance(1 + reference, 23 * 7 * 5, np.float64))
    assert results[1] == results[2]
    assert results[3] == results[4] == results[5]


# --- evaluate and predict ---


@every_dtype
@pytest.mark.parametrize("rows", [0, 1, 3, 527, 5000])
@pytest.mark.parametrize("loss", ["mean_squared_error", "softmax_cross_entropy"])
def test_predict_and_evaluate(kernel, loss, rows, dtype):
    p = problem(loss, rows=max(rows, 1), hidden=(33, 17), dtype=dtype, weighted=True, activation="relu")
    run, reference = start(p), problem(loss, hidden=(33, 17), activation="relu")
    x, order = p.rows.x[:rows], np.arange(rows, dtype=np.int32)[::-1]
    exact = replace(reference.plan, dtype="float64")
    reference = get_backend("cpu").compile(exact).start(p.state, p.rows)
    predictions, want = run.predict(x), reference.predict(x.astype(np.float64))
    assert (predictions.dtype, predictions.shape) == (dtype, (rows, 3))
    magnitude = 1 + np.abs(want).max(initial=0)
    assert_within(predictions, want, tolerance(magnitude, 5 * 33 * 17, dtype))
    losses, weights = run.evaluate(order)
    want_losses, want_weights = reference.evaluate(order)
    assert_within(losses, want_losses, tolerance(magnitude * (want_losses + want_weights), 5 * 33 * 17, dtype))
    assert_within(weights, want_weights, tolerance(want_weights, max(rows, 1), np.float64))


@every_dtype
def test_predictions_have_the_same_bits_however_rows_are_cut(kernel, dtype):
    p = problem(rows=1, hidden=(33, 17), dtype=dtype)
    x = np.random.default_rng(0).normal(size=(1100, 5))
    want = start(p).predict(x)
    for cuts in ((1,), (3, 530), (527, 528, 529), range(100, 1100, 100)):
        run = start(p)
        parts = [run.predict(x[a:b]) for a, b in pairwise([0, *cuts, len(x)])]
        np.testing.assert_array_equal(np.concatenate(parts), want)
    for count in THREADS:
        with on_threads(count):
            np.testing.assert_array_equal(start(p).predict(x), want)
            np.testing.assert_array_equal(start(p).predict(x[:5]), want[:5])


def test_predictions_are_new_arrays_and_leave_the_run_as_it_was(kernel):
    p = problem(optimizer="adam", dropout=0.3)
    run, twin = start(p), start(p)
    first = run.predict(p.rows.x)
    kept = first.copy()
    run.predict(np.zeros((40, 5), np.uint8))
    run.evaluate(np.array([3, 3, 1], np.int32))
    np.testing.assert_array_equal(first, kept)
    assert_same_state(run.state(), p.state)
    np.testing.assert_array_equal(trained(run, p)[0], trained(twin, p)[0])


# --- guard zones ---

GUARD_BYTES = 512
UNTOUCHED = 255
"""Bytes of guards: as floating-point numbers they are NaN, so that whoever reads them shows as well."""


class Guards:
    """Memory between bytes that nobody may touch: a stand-in for NumPy in a module, which keeps track of what it gave."""

    def __init__(self):
        self.rooms = []

    def __getattr__(self, name):
        return getattr(np, name)

    def empty(self, shape, dtype=np.float64):
        dtype = np.dtype(dtype)
        size = int(np.prod(shape)) * dtype.itemsize
        room = np.full(size + 2 * GUARD_BYTES, UNTOUCHED, np.uint8)
        start = GUARD_BYTES - room.ctypes.data % 64
        self.rooms.append((room, start, start + size))
        return room[start : start + size].view(dtype).reshape(shape)

    def zeros(self, shape, dtype=np.float64):
        array = self.empty(shape, dtype)
        array.view(np.uint8)[...] = 0
        return array

    def copy(self, array):
        return None if array is None else read_only(self._filled(array))

    def _filled(self, array):
        copy = self.empty(array.shape, array.dtype)
        copy[...] = array
        return copy

    def assert_untouched(self):
        assert self.rooms
        for room, start, stop in self.rooms:
            assert (room[:start] == UNTOUCHED).all()
            assert (room[stop:] == UNTOUCHED).all()


def within(guards, p):
    """The problem with its data within guards."""
    return p._replace(rows=Rows(*map(guards.copy, p.rows)))


GUARD_PROBLEMS = {
    **{f"{size} of everything": {"features": size, "hidden": (size,), "outputs": size} for size in SIZES},
    **{f"{loss}": {"loss": loss, "rows": 61, "outputs": 17} for loss in LOSS_TEXTS},
    **{f"{kind} rows": {"rows": rows} for kind, rows in (("one", 1), ("few", 3), ("many", 700))},
    **BIT_PROBLEMS,
}
THREADS_WITHIN_GUARDS = (1, 3)


@every_dtype
@pytest.mark.parametrize("room", ["whole", "parts", "halves"])
@pytest.mark.parametrize("name", GUARD_PROBLEMS)
def test_nothing_is_written_or_taken_from_beyond_a_buffer(kernel, name, room, dtype, monkeypatch):
    if room == "parts":
        monkeypatch.setattr(nnaccel.fused, "ACTIVATION_BYTES", 1)
    if room == "halves":
        in_halves(monkeypatch)
    p = problem(**GUARD_PROBLEMS[name], dtype=dtype)
    batch_size = {"parts": 100}.get(room, BATCH.get(name, 6))
    want = everything_of(p, batch_size)
    for count in THREADS_WITHIN_GUARDS:
        guards = Guards()
        with on_threads(count), pytest.MonkeyPatch.context() as patch:
            patch.setattr(nnaccel.fused, "np", guards)
            patch.setattr(nnaccel.fused, "aligned_zeros", guards.zeros)
            got = everything_of(within(guards, p), batch_size, order_within=guards)
        guards.assert_untouched()
        assert_same_bits(got, want)


def test_guards_see_what_is_written_beyond():
    guards = Guards()
    array = guards.zeros(3, np.float32)
    guards.assert_untouched()
    ctypes.memset(array.ctypes.data + array.nbytes, 0, 1)
    with pytest.raises(AssertionError):
        guards.assert_untouched()


# --- other threads and processes ---


def in_threads(*functions, seconds=60):
    """Their results, from threads that begin at once; a deadlock fails."""
    results, barrier = [None] * len(functions), threading.Barrier(len(functions))

    def call(number, function):
        barrier.wait(seconds)
        results[number] = function()

    threads = [threading.Thread(target=call, args=item, daemon=True) for item in enumerate(functions)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(seconds)
    assert not any(thread.is_alive() for thread in threads)
    return results


@pytest.mark.parametrize("threads", [1, 2])
def test_several_threads_may_train_at_once(threads):
    """Each a run of its own; some of the same program."""
    problems = [problem(**BIT_PROBLEMS[name]) for name in ("full", "labels", "small", "full")]
    program = FusedProgram(problems[0].plan)

    def train(p):
        run = program.start(p.state, p.rows) if p.plan == program.plan else start(p)
        results = []
        for _ in range(10):
            run.restore(p.state)
            results.append(vectors(trained(run, p)))
        return results

    with on_threads(threads):
        want = [vectors(trained(start(p), p)) for p in problems]
        got = in_threads(*(lambda p=p: train(p) for p in problems))
    for results, expected in zip(got, want, strict=True):
        for result in results:
            assert_same_bits(result, expected)


def test_threads_that_call_at_once_share_the_cores(monkeypatch):
    monkeypatch.setattr(nnaccel.fused, "usable_cores", lambda: 2)
    monkeypatch.setattr(nnaccel.fused, "allowed_threads", lambda wanted, cores: 2)
    problems = [problem(**BIT_PROBLEMS["long batches"], seed=seed) for seed in range(4)]
    want = [vectors(trained(start(p), p, 150)) for p in problems]
    got = in_threads(*(lambda p=p: vectors(trained(start(p), p, 150)) for p in problems))
    for result, expected in zip(got, want, strict=True):
        assert_same_bits(result, expected)


def python(script, seconds=120):
    """What a script prints, in a process of its own that a deadlock doesn't keep for ever."""
    code = "from tests.test_fused import *\n" + textwrap.dedent(script)
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=seconds, check=False
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")


@needs_fork
def test_parent_and_child_train_on_after_a_fork():
    """Also if another thread is at work in that moment."""
    output = python("""
        p = problem(**BIT_PROBLEMS["long batches"])
        with on_threads(2):
            run = start(p)
            want = vectors(trained(run, p, 150))
            stop = threading.Event()

            def work():
                while not stop.is_set():
                    vectors(trained(start(p), p, 150))

            background = threading.Thread(target=work, daemon=True)
            background.start()
            for _ in range(5):
                child = os.fork()
                run.restore(p.state)
                assert_same_bits(vectors(trained(run, p, 150)), want)
                assert_same_bits(vectors(trained(start(p), p, 150)), want)
                if child == 0:
                    os._exit(0)
                _, status = os.waitpid(child, 0)
                assert status == 0
            stop.set()
            background.join()
        print("done")
    """)
    assert output == "done\n"


@needs_fork
def test_a_child_has_all_the_cores():
    """Cores that the parent's threads keep busy aren't those of the child."""
    output = python("""
        from nnaccel.threads import busy_cores

        with busy_cores(2, 2):
            child = os.fork()
            if child == 0:
                with busy_cores(2, 2) as granted:
                    os._exit(granted)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status))
    """)
    assert output == "2\n"


@pytest.mark.parametrize("backend", ["loky", "threading"])
def test_workers_of_joblib(backend):
    pytest.importorskip("joblib")
    output = python(f"""
        import joblib

        def work(seed):
            from tests.test_fused import BIT_PROBLEMS, problem, start, trained, vectors

            p = problem(**BIT_PROBLEMS["long batches"], seed=seed)
            return vectors(trained(start(p), p, 150))

        got = joblib.Parallel(n_jobs=2, backend={backend!r}, timeout=60)(joblib.delayed(work)(seed) for seed in range(4))
        for seed, result in enumerate(got):
            assert_same_bits(result, work(seed))
        print("done")
    """)
    assert output == "done\n"


@pytest.mark.parametrize("most", [0, 1])
def test_a_thread_that_cannot_start(most):
    """The call is done all the same, or says so; no thread waits for ever, and the run can be used again."""
    output = python(f"""
        import time
        import _thread

        p = problem(**BIT_PROBLEMS["full"])
        order, bounds = epochs(23, 6, 2)
        steps = steps_of(p.plan, len(bounds) - 1)
        sums = start(p).gradient(order)
        calls = {{
            "train": lambda run: run.train(order, bounds, steps),
            "gradient": lambda run: run.gradient(order),
            "apply": lambda run: run.apply(sums, Step(*steps[0])),
            "evaluate": lambda run: run.evaluate(order),
            "predict": lambda run: run.predict(np.zeros((600, 5))),
        }}
        original, started = _thread.start_new_thread, []

        def refuse(*arguments):
            if len(started) == {most}:
                raise RuntimeError("can't start new thread")
            started.append(arguments)
            return original(*arguments)

        def wait_for_threads():
            for _ in range(500):
                if _thread._count() <= threads:
                    return
                time.sleep(0.01)
            raise AssertionError("a thread waits for ever")

        with on_threads(3):
            threads = _thread._count()
            for name, call in calls.items():
                print(name)
                run, fresh = start(p), start(p)
                want = call(fresh)
                wait_for_threads()
                started.clear()
                _thread.start_new_thread = refuse
                try:
                    got = call(run)
                except RuntimeError as error:
                    assert len(str(error).splitlines()) == 1
                else:
                    np.testing.assert_equal(got, want)
                _thread.start_new_thread = original
                wait_for_threads()
                run.restore(p.state)
                fresh.restore(p.state)
                assert_same_bits(vectors(trained(run, p)), vectors(trained(fresh, p)))
                assert run.evaluate(order) == fresh.evaluate(order)
    """)
    assert output.split() == ["train", "gradient", "apply", "evaluate", "predict"]


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="there are no timers here")
@pytest.mark.parametrize("name", ["long batches", "small"])
def test_a_call_that_is_interrupted_leaves_a_run_that_can_be_used(name):
    """At any moment: before the threads begin, among their starts, while they work."""
    output = python(f"""
        import random
        import signal

        def interrupt(number, frame):
            raise KeyboardInterrupt

        signal.signal(signal.SIGALRM, interrupt)
        moments, interrupted = random.Random(0), 0
        p = problem(**BIT_PROBLEMS[{name!r}])
        with on_threads(2):
            run, want = start(p), vectors(trained(start(p), p, 150))
            for _ in range(300):
                run.restore(p.state)
                try:
                    signal.setitimer(signal.ITIMER_REAL, moments.uniform(1e-6, 1e-3))
                    trained(run, p, 150)
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except KeyboardInterrupt:
                    interrupted += 1
                run.restore(p.state)
                assert_same_bits(vectors(trained(run, p, 150)), want)
        print(interrupted > 30)
    """)
    assert output == "True\n"


# --- what is no number, and what is nearly none ---


@every_dtype
@pytest.mark.parametrize("activation", ACTIVATION_TEXTS)
def test_nan_in_the_data_reaches_the_log(kernel, activation, dtype):
    p = problem(activation=activation, dtype=dtype)
    x = p.rows.x.copy()
    x[4, 2] = np.nan
    run = start(p._replace(rows=p.rows._replace(x=x)))
    order = np.arange(23, dtype=np.int32)
    assert np.isnan(run.predict(x)).all(axis=1).tolist() == [row == 4 for row in range(23)]
    assert np.isnan(run.evaluate(order)[0])
    assert np.isfinite(run.evaluate(order[5:])[0])
    assert np.isnan(run.gradient(order).loss)
    log = run.train(order, np.array([0, 4, 5, 10], np.int32), steps_of(p.plan, 3))
    assert np.isnan(log[:, 0]).tolist() == [False, True, True]


@every_dtype
@pytest.mark.parametrize("loss", LOSS_TEXTS)
def test_nan_in_targets_and_weights_reaches_the_log(kernel, loss, dtype):
    p = problem(loss, dtype=dtype, weighted=True)
    order = np.arange(23, dtype=np.int32)
    for name in ("targets", "weights"):
        array = getattr(p.rows, name).copy()
        if array.dtype.kind == "f":
            array[4] = np.nan
            run = start(p._replace(rows=p.rows._replace(**{name: array})))
            assert np.isnan(run.evaluate(order)[0])
            assert np.isnan(run.train(order, np.array([0, 23], np.int32), steps_of(p.plan, 1))[0, 0])


@every_dtype
def test_an_overflow_reaches_the_log(kernel, dtype):
    p = problem("poisson", "sgd,learning_rate=1e300" if dtype == "float64" else "sgd,learning_rate=1e30", dtype=dtype)
    log, _ = trained(start(p), p)
    assert not np.isfinite(log[-1, 0])


@every_dtype
def test_the_calling_thread_goes_on_with_subnormal_numbers(kernel, dtype):
    p = problem(optimizer="adam", dtype=dtype)
    tiny = np.finfo(dtype).smallest_subnormal
    for count in (1, 3):
        with on_threads(count):
            everything_of(p)
        assert tiny * np.ones(1, dtype)[0] != 0


def test_kernels_take_subnormal_numbers_for_zero(kernel):
    """Else the moments of dead units would cost most of the time."""
    p = problem(dtype="float32", hidden=())
    run = start(p)
    run.restore(replace(p.state, parameters=np.full_like(p.state.parameters, 1e-40)))
    assert not run.predict(np.ones((3, 5), np.float32)).any()


# --- plans that the kernels don't know ---


@dataclass(frozen=True)
class OwnActivation(Tanh):
    """A class of a user's, which kernels can't know."""

    def value(self, z, xp):
        return 2 * super().value(z, xp)


@dataclass(frozen=True)
class OwnLoss(LOSSES["mean_squared_error"]):
    """The same."""

    name: ClassVar[str] = "own"


@dataclass(frozen=True)
class OwnOptimizer(type(problem().plan.optimizer)):
    """The same."""


class OwnLayer(Dense):
    """The same."""


@pytest.mark.parametrize("part", ["activation", "loss", "optimizer", "layer"])
def test_a_plan_with_a_class_of_a_users_own_runs_by_the_formulas(part):
    p = problem()
    network = {
        "activation": Network(5, [Dense(7, OwnActivation()), Dense(4, "tanh"), Dense(3)]),
        "layer": Network(5, [OwnLayer(7, "tanh"), Dense(4, "tanh"), Dense(3)]),
    }.get(part, p.plan.network)
    loss = OwnLoss() if part == "loss" else p.plan.loss
    optimizer = OwnOptimizer(0.1) if part == "optimizer" else p.plan.optimizer
    p = p._replace(plan=Plan(network, loss, optimizer, dtype="float64"))
    numba, cpu = get_backend("numba"), get_backend("cpu")
    assert numba.compile(p.plan).kernel == "reference"
    got, want = (trained(p.start(backend), p) for backend in (numba, cpu))
    np.testing.assert_array_equal(got[0], want[0])
    assert_same_state(got[1], want[1])


def test_all_other_plans_run_on_kernels():
    for text in ACTIVATION_TEXTS:
        assert get_backend("numba").compile(problem(activation=text).plan).kernel == "epoch"
    for text in LOSS_TEXTS:
        assert get_backend("numba").compile(problem(text).plan).kernel == "epoch"
    for text in OPTIMIZER_TEXTS:
        assert get_backend("numba").compile(problem(optimizer=text).plan).kernel == "epoch"


def test_the_layouts_belong_to_the_kernels(kernel):
    assert type(FusedProgram(problem().plan).layout) is {"small": Flat, "epoch": Panels}[kernel]
