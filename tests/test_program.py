"""The contract of Program and Run, on every backend at hand."""

import itertools

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnaccel.program
from nnaccel.backends import get_backend
from nnaccel.errors import InputError
from nnaccel.losses import LOSSES, as_loss
from nnaccel.optimizers import L2, OPTIMIZERS, SGD, Step
from nnaccel.plan import Plan
from nnaccel.program import Rows
from nnaccel.reference import GradientSums
from tests.problems import assert_same_state, epochs, problem, steps_of
from tests.tolerance import assert_trajectory_close

EVERYTHING = {"dropout": 0.3, "weighted": True, "l2": L2(0.1, "row"), "clip_norm": 0.5}


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("optimizer", [*OPTIMIZERS, "sgd,momentum=0.9,nesterov=true"])
@pytest.mark.parametrize("loss", LOSSES)
def test_every_backend_trains_like_the_reference(backend, loss, optimizer, dtype):
    """23 rows in batches of 10, 7 epochs: 21 steps, ragged last batches included."""
    order, bounds = epochs(23, 10, 7)

    def trained(on, dtype):
        p = problem(loss, optimizer, dtype=dtype, **EVERYTHING)
        run = p.start(on)
        log = run.train(order, bounds, steps_of(p.plan, len(bounds) - 1))
        return run.state().parameters, log

    exact, exact_log = trained(get_backend("cpu"), "float64")
    working, working_log = trained(get_backend("cpu"), "float32")
    got, log = trained(backend, dtype)
    assert got.dtype == dtype
    if dtype == "float32":
        assert_trajectory_close(got, working, exact)
        assert_trajectory_close(log, working_log, exact_log)
    else:
        np.testing.assert_allclose(got, exact, rtol=0, atol=nnaccel_float64_bound(working, exact))
        assert log.shape == (21, 3)


def nnaccel_float64_bound(working, exact):
    """What float32 loses, scaled down to the precision of float64."""
    return 4 * np.linalg.norm(working - exact) * np.finfo("f8").eps / np.finfo("f4").eps


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 15), max_size=4), st.sampled_from(["sgd,momentum=0.9", "adam", "adamw"]), st.booleans())
def test_cutting_a_call_changes_no_bit(cuts, optimizer, in_parts):
    p = problem("softmax_cross_entropy", optimizer, dtype="float32", **EVERYTHING)
    order, bounds = epochs(23, 10, 5)
    steps = steps_of(p.plan, 15)
    room = nnaccel.program.ACTIVATION_BYTES
    try:
        nnaccel.program.ACTIVATION_BYTES = 600 if in_parts else room  # 600 bytes hold 3 rows
        whole, cut = p.start(get_backend("cpu")), p.start(get_backend("cpu"))
        log = whole.train(order, bounds, steps)
        edges = [0, *sorted(cuts), 15]
        logs = [cut.train(order, bounds[a : b + 1], steps[a:b]) for a, b in itertools.pairwise(edges)]
    finally:
        nnaccel.program.ACTIVATION_BYTES = room
    np.testing.assert_array_equal(np.concatenate(logs), log)
    assert_same_state(cut.state(), whole.state())


def test_a_run_goes_on_from_its_state(backend):
    p = problem(optimizer="adam", **EVERYTHING)
    order, bounds = epochs(23, 10, 4)
    steps = steps_of(p.plan, 12)
    whole, first = p.start(backend), p.start(backend)
    whole.train(order, bounds, steps)
    first.train(order, bounds[:6], steps[:5])
    second = backend.compile(p.plan).start(first.state(), p.rows)
    second.train(order, bounds[5:], steps[5:])
    assert_same_state(second.state(), whole.state())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_train_is_gradient_then_apply(dtype):
    p = problem(optimizer="adam", dtype=dtype, **EVERYTHING)
    order, bounds = epochs(23, 10, 2)
    steps = steps_of(p.plan, 6)
    trained, applied = p.start(get_backend("cpu")), p.start(get_backend("cpu"))
    log = trained.train(order, bounds, steps)
    for i, values in enumerate(steps):
        sums = applied.gradient(order[bounds[i] : bounds[i + 1]], dropout=values[3])
        penalty = applied.apply(sums, Step(*values))
        np.testing.assert_array_equal(log[i], [sums.loss, sums.weight, penalty])
    assert_same_state(applied.state(), trained.state())


def test_the_parts_of_a_batch_add_up(backend):
    """As several machines would share it: dropout drops what it drops for the whole."""
    p = problem(**EVERYTHING)
    run, order = p.start(backend), np.arange(23, dtype=np.int32)
    whole = run.gradient(order, dropout=1.0)
    parts = [run.gradient(order[:9], 1.0), run.gradient(order[9:9], 1.0, 9), run.gradient(order[9:], 1.0, 9)]
    total = GradientSums(*(sum(values) for values in zip(*parts, strict=True)))
    np.testing.assert_allclose(total.gradient, whole.gradient, rtol=1e-12, atol=1e-12)
    assert total.weight == pytest.approx(whole.weight)
    assert total.loss == pytest.approx(whole.loss)


def test_evaluate_and_predict(backend):
    p = problem("softmax_cross_entropy", weighted=True, dropout=0.5)
    run = p.start(backend)
    outputs = run.predict(p.rows.x)
    losses, _ = p.plan.loss.value_and_gradient(outputs, p.rows.targets, np)
    loss, weight = run.evaluate(np.arange(23, dtype=np.int32))
    assert loss == pytest.approx(losses @ p.rows.weights)
    assert weight == pytest.approx(p.rows.weights.sum())
    np.testing.assert_array_equal(run.predict(backend.from_host(p.rows.x)), outputs)
    assert run.predict(p.rows.x[:0]).shape == (0, 3)


def test_replace_goes_on_with_other_rows(backend):
    p = problem()
    other = Rows(p.rows.x[::-1], p.rows.targets[::-1])
    order, bounds = epochs(23, 10, 1)
    steps = steps_of(p.plan, 3)
    replaced, fresh = p.start(backend), backend.compile(p.plan).start(p.state, other)
    replaced.replace(other)
    np.testing.assert_array_equal(replaced.train(order, bounds, steps), fresh.train(order, bounds, steps))


def test_rows_of_any_layout_and_dtype(backend):
    p = problem(dtype="float32")
    order, bounds = epochs(23, 10, 2)

    def trained(x):
        run = backend.compile(p.plan).start(p.state, Rows(x, p.rows.targets))
        run.train(order, bounds, steps_of(p.plan, 6))
        return run.state().parameters

    x = np.random.default_rng(0).integers(0, 9, (23, 5)).astype(np.uint8)
    want = trained(x.astype(np.float32))
    wide = np.zeros((46, 10))
    wide[::2, ::2] = x
    for same in (x, x.astype(np.float64), np.asfortranarray(x), wide[::2, ::2]):
        np.testing.assert_array_equal(trained(same), want)


def test_a_batch_of_weight_zero_has_no_gradient_and_no_penalty_by_row():
    p = problem(optimizer="sgd,momentum=0.9", l2=L2(1.0, "row"))
    run = get_backend("cpu").compile(p.plan).start(p.state, p.rows._replace(weights=np.zeros(23)))
    log = run.train(np.arange(23, dtype=np.int32), np.array([0, 23], np.int32), steps_of(p.plan, 1))
    np.testing.assert_array_equal(log, [[0, 0, 0]])
    np.testing.assert_array_equal(run.state().parameters, p.state.parameters)
    assert run.state().count == 1


def test_programs_are_kept_by_plan():
    p = problem()
    backend = get_backend("cpu")
    assert backend.compile(p.plan) is backend.compile(
        Plan(p.plan.network, p.plan.loss, p.plan.optimizer, dtype="float64")
    )
    assert backend.compile(p.plan).kernel == "reference"


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"x": np.ones((23, 4))}, "rows of the shape"),
        ({"targets": np.zeros((22, 3))}, "takes targets of the shape"),
        ({"weights": np.ones(3)}, "weights must have the shape"),
    ],
)
def test_rows_that_do_not_fit_are_refused(backend, change, sentence):
    p = problem()
    with pytest.raises(InputError, match=sentence):
        backend.compile(p.plan).start(p.state, p.rows._replace(**change))


@pytest.mark.parametrize(
    ("order", "bounds", "dropout", "sentence"),
    [
        ([0, 23], [0, 2], 1.0, "row numbers must be from 0 to 22"),
        ([-1, 3], [0, 2], 1.0, "row numbers must be from 0 to 22"),
        ([1, 2], [0, 3], 1.0, "bounds must be from 0 to 2"),
        ([1, 2], [0, 0], 1.0, "no batch is empty"),
        ([1, 2], [0, 1, 2], 1.0, "2 batches need as many steps"),
        ([1, 2], [0, 2], -0.5, "dropout of a step must be from 0 to 1"),
    ],
)
def test_slices_that_would_read_past_the_data_are_refused(backend, order, bounds, dropout, sentence):
    run = problem().start(backend)
    step = np.array([[0.1, 0.0, 0.0, dropout]])
    with pytest.raises(InputError, match=sentence):
        run.train(np.array(order, np.int32), np.array(bounds, np.int32), step)


def test_a_plan_whose_parts_do_not_fit_is_refused():
    network = problem(outputs=1).plan.network
    for options, sentence in [
        ({"loss": as_loss("softmax_cross_entropy")}, "an output for each class"),
        ({"dtype": "float16"}, "unknown dtype"),
        ({"clip_norm": -1.0}, "norm to clip gradients at"),
    ]:
        with pytest.raises(InputError, match=sentence):
            Plan(**({"network": network, "loss": as_loss("poisson"), "optimizer": SGD()} | options))
