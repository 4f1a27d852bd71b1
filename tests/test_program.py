"""The contract between training and backends: whatever `Program` and `Run` promise, of every backend that can run here."""

from dataclasses import replace
from itertools import pairwise

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given, settings

from nnaccel.backends import backend_class, backend_names, choose_backend, get_backend
from nnaccel.errors import BackendUnavailable, InputError
from nnaccel.losses import LOSSES
from nnaccel.optimizers import L2, OPTIMIZERS, Step
from nnaccel.program import Rows
from tests import naive
from tests.problems import assert_same_state, epochs, problem, steps_of
from tests.strict_backend import read_only
from tests.test_optimizers import OPTIMIZER_TEXTS
from tests.test_reference import ACTIVATION_TEXTS, LOSS_TEXTS
from tests.tolerance import assert_trajectory_close, assert_within, tolerance, unit

DTYPES = ["float32", "float64"]
FULL = {"dropout": 0.3, "weighted": True, "l2": L2(0.01, "row"), "clip_norm": 0.5}
"""All options at once."""


def in_parts(patch):
    """Let the reference program take three rows at a time, so that every batch goes in parts."""
    for name in ("ACTIVATION_BYTES", "PREDICTION_BYTES"):
        patch.setattr(f"nnaccel.program.{name}", 1000)


def trained(backend, p, batch_size=6, epoch_count=5):
    """The log and the final state of 20 steps with a ragged last batch in every epoch."""
    order, bounds = epochs(len(p.rows.x), batch_size, epoch_count)
    run = p.start(backend)
    return run.train(order, bounds, steps_of(p.plan, len(bounds) - 1)), run.state()


# --- it computes what the reference computes ---


def assert_trains_like_the_reference(backend, *arguments, **options):
    """In both dtypes; in float64, `finer` says what the reference loses."""
    single, double = (problem(*arguments, **options, dtype=dtype) for dtype in DTYPES)
    working, exact = (vectors(trained(get_backend("cpu"), p)) for p in (single, double))
    for p in (single, double):
        got = trained(backend, p)
        assert got[0].dtype == np.float64
        assert got[1].parameters.dtype == p.plan.dtype
        for vector, in_single, in_double in zip(vectors(got), working, exact, strict=True):
            assert_trajectory_close(vector, in_single if p is single else finer(in_single, in_double), in_double)


def vectors(result):
    log, state = result
    return [log, state.parameters, *state.slots]


def finer(in_single, in_double):
    """What the reference would give in float64, if it lost there what it loses in float32, in proportion to eps."""
    return in_double + (in_single - in_double) * (unit(np.float64) / unit(np.float32))


@pytest.mark.parametrize("activation", ACTIVATION_TEXTS)
def test_twenty_steps_equal_the_references_for_every_activation(backend, activation):
    assert_trains_like_the_reference(backend, activation=activation)


@pytest.mark.parametrize("weighted", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("loss", LOSS_TEXTS)
def test_twenty_steps_equal_the_references_for_every_loss(backend, loss, weighted):
    assert_trains_like_the_reference(backend, loss, "sgd,learning_rate=0.01", weighted=weighted)


@pytest.mark.parametrize("optimizer", OPTIMIZER_TEXTS)
def test_twenty_steps_equal_the_references_for_every_optimizer(backend, optimizer):
    assert_trains_like_the_reference(backend, optimizer=optimizer, **FULL)


@pytest.mark.parametrize("loss", LOSSES)
def test_twenty_steps_with_all_options_equal_the_references(backend, loss):
    assert_trains_like_the_reference(backend, loss, "sgd,learning_rate=0.05,momentum=0.9,nesterov=true", **FULL)


@pytest.mark.parametrize("hidden", [(), (1,), (16, 16, 16), (40, 2)])
def test_twenty_steps_equal_the_references_for_every_depth(backend, hidden):
    assert_trains_like_the_reference(backend, hidden=hidden, bias=False)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSS_TEXTS)
def test_training_lowers_the_loss(backend, loss, dtype):
    # Gradients may match and training still go wrong.
    p = problem(loss, "sgd,learning_rate=0.003", dtype=dtype)
    run, everything = p.start(backend), np.arange(23, dtype=np.int32)
    before = run.evaluate(everything)[0]
    order, bounds = epochs(23, 6, 5)
    run.train(order, bounds, steps_of(p.plan, len(bounds) - 1))
    assert run.evaluate(everything)[0] < before


# --- calls may be cut ---


@settings(deadline=None, max_examples=40)
@given(
    loss=st.sampled_from(list(LOSSES)),
    optimizer=st.sampled_from(OPTIMIZER_TEXTS),
    dtype=st.sampled_from(DTYPES),
    batch_size=st.integers(1, 30),
    dropout=st.sampled_from([0.0, 0.3]),
    weighted=st.booleans(),
    parts=st.booleans(),
    resumes=st.booleans(),
    data=st.data(),
)
def test_cutting_a_call_changes_no_bit(
    backend, loss, optimizer, dtype, batch_size, dropout, weighted, parts, resumes, data
):
    p = problem(loss, optimizer, dtype=dtype, dropout=dropout, weighted=weighted, l2=L2(0.01), clip_norm=5.0)
    order, bounds = epochs(23, batch_size, 3)
    steps = np.array(steps_of(p.plan, len(bounds) - 1))
    steps[:, 0] *= np.random.default_rng(0).uniform(0, 1, len(steps))
    cuts = [0, *sorted(data.draw(st.lists(st.integers(0, len(steps)), min_size=1, max_size=3))), len(steps)]
    with pytest.MonkeyPatch.context() as patch:
        if parts:
            in_parts(patch)
        whole = p.start(backend)
        log = whole.train(order, bounds, steps)
        run, logs = p.start(backend), []
        for a, b in pairwise(cuts):
            if resumes:
                run = backend.compile(p.plan).start(run.state(), p.rows)
            logs.append(run.train(order, bounds[a : b + 1], steps[a:b]))
        np.testing.assert_array_equal(np.concatenate(logs), log)
        assert_same_state(run.state(), whole.state())


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("loss", LOSSES)
def test_applying_a_gradient_is_training(backend, loss, dtype, monkeypatch):
    in_parts(monkeypatch)
    p = problem(loss, "sgd,learning_rate=0.01,momentum=0.9", dtype=dtype, **FULL)
    order, bounds = epochs(23, 6, 2)
    steps = np.array(steps_of(p.plan, len(bounds) - 1))
    steps[:, 3] = np.linspace(0, 1, len(steps))  # how much dropout, from none to all
    whole, run, log = p.start(backend), p.start(backend), []
    for (a, b), values in zip(pairwise(bounds), steps, strict=True):
        sums = run.gradient(order[a:b], values[3])
        log.append([sums.loss, sums.weight, run.apply(sums, Step(*values))])
    if backend.compile(p.plan).kernel == "reference":  # only there is it promised to the bit
        np.testing.assert_array_equal(whole.train(order, bounds, steps), log)
        assert_same_state(run.state(), whole.state())
        return
    bound = tolerance(np.abs(log), 23 * len(steps), dtype)
    assert_within(whole.train(order, bounds, steps), log, bound)


# --- gradient ---


def test_gradients_of_the_parts_of_a_batch_add_up(backend):
    # Shared among machines, with the dropout of the whole.
    p, order = problem(**FULL), np.arange(23, dtype=np.int32)
    run = p.start(backend)
    whole = run.gradient(order, 1.0)
    shares = [run.gradient(order[a:b], 1.0, first_row=a) for a, b in ((0, 9), (9, 10), (10, 23))]
    bound = tolerance(whole.weight + whole.loss, 23, np.float64)
    for index in range(3):
        assert_within(sum(share[index] for share in shares), whole[index], bound)


def test_a_batch_in_parts_has_the_gradient_of_the_whole(backend, monkeypatch):
    p, order = problem(**FULL), np.arange(23, dtype=np.int32)
    whole = p.start(backend).gradient(order, 1.0)
    in_parts(monkeypatch)
    parts = p.start(backend).gradient(order, 1.0)
    for got, want in zip(parts, whole, strict=True):
        assert_within(got, want, tolerance(whole.weight + whole.loss, 23, np.float64))


def test_a_gradient_is_on_the_host_and_changes_nothing(backend):
    p = problem(dtype="float32", **FULL)
    run = p.start(backend)
    sums = run.gradient(np.array([3, 1], np.int32), 1.0)
    assert (type(sums.loss), type(sums.weight)) == (float, float)
    assert (type(sums.gradient), sums.gradient.dtype, sums.gradient.shape) == (
        np.ndarray,
        "float32",
        (p.plan.network.size,),
    )
    assert_same_state(run.state(), p.state)


def test_the_gradient_of_no_rows_is_zero(backend):
    # A machine may be left without a row of a small last batch.
    sums = problem(dropout=0.3).start(backend).gradient(np.array([], np.int32), 1.0)
    assert (sums.loss, sums.weight) == (0, 0)
    assert not sums.gradient.any()


# --- what a step does to dropout, weights and padding ---


def test_dropout_is_drawn_anew_in_every_step_and_never_outside_training(backend):
    p, order = problem(dropout=0.5), np.arange(23, dtype=np.int32)
    run = p.start(backend)
    still = Step(1e-300, 0.0, 0.0, 1.0)  # nothing moves but the count
    losses = []
    for _ in range(3):
        sums = run.gradient(order, 1.0)
        losses.append(sums.loss)
        run.apply(sums, still)
    assert len(set(losses)) == 3
    assert run.gradient(order, 0.0).loss == run.gradient(order).loss not in losses
    bound = tolerance(1 + losses[0], 23, np.float64)
    assert_within(run.evaluate(order)[0], run.gradient(order).loss, bound)


def test_the_seed_of_the_state_decides_the_dropout(backend):
    p, order = problem(dropout=0.5), np.arange(23, dtype=np.int32)
    runs = [backend.compile(p.plan).start(replace(p.state, seed=seed), p.rows) for seed in (1, 1, 2)]
    first, same, other = (run.gradient(order, 1.0).loss for run in runs)
    assert first == same != other


def test_a_batch_without_weight_leaves_plain_descent_where_it_is(backend):
    p = problem(l2=L2(0.5, "row"))
    rows = Rows(p.rows.x, p.rows.targets, np.zeros(23))
    run = backend.compile(p.plan).start(p.state, rows)
    log = run.train(np.arange(23, dtype=np.int32), np.array([0, 23], np.int32), steps_of(p.plan, 1))
    assert log.tolist() == [[0, 0, 0]]
    np.testing.assert_array_equal(run.state().parameters, p.state.parameters)


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
def test_padding_stays_zero(backend, optimizer):
    p = problem(optimizer=f"{optimizer},learning_rate=0.1", **FULL)
    _, state = trained(backend, p)
    for vector in (state.parameters, *state.slots):
        for block in p.plan.network.blocks:
            assert vector[block.start : block.stop].any()
            assert not vector[block.stop : block.end].any()


def test_the_log_shows_an_overflow_without_a_warning(backend):
    p = problem("poisson", "sgd,learning_rate=1e30", dtype="float32")
    log, _ = trained(backend, p)
    assert not np.isfinite(log[-1, 0])


def test_nan_in_the_data_reaches_the_log(backend):
    # A kernel that takes a maximum may swallow it.
    p = problem(activation="relu")
    x = p.rows.x.copy()
    x[4, 2] = np.nan
    run = backend.compile(p.plan).start(p.state, p.rows._replace(x=x))
    assert np.isnan(run.evaluate(np.array([4], np.int32))[0])
    assert np.isnan(run.gradient(np.array([4], np.int32)).loss)
    assert np.isfinite(run.evaluate(np.array([3], np.int32))[0])


# --- which rows, in which form ---


def test_rows_may_come_twice_and_bounds_may_begin_and_end_anywhere(backend):
    p = problem(weighted=True, optimizer="adam")
    order, bounds = np.array([9, 3, 3, 3, 7, 0, 22, 22, 1], np.int32), np.array([1, 4, 5, 8], np.int32)
    run, twin = p.start(backend), p.start(backend)
    log = run.train(order, bounds, steps_of(p.plan, 3))
    again = twin.train(order[1:8].copy(), bounds - 1, steps_of(p.plan, 3))
    np.testing.assert_array_equal(log, again)
    assert_same_state(run.state(), twin.state())
    # float32 weights, so sums of equal ones are exact
    assert log[0, 1] == 3 * float(p.rows.weights[3])


def variants(x):
    """The same numbers, laid out otherwise."""
    wide = np.zeros((2 * len(x), 2 * x.shape[1]), x.dtype)
    wide[::2, 1::2] = x
    return {"fortran": np.asfortranarray(x), "strided": wide[::2, 1::2], "reversed": x[::-1, ::-1].copy()[::-1, ::-1]}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", ["uint8", "int64", "float32", "float64", "fortran", "strided", "reversed"])
def test_x_may_have_any_real_dtype_and_any_strides(backend, form, dtype):
    p = problem(dtype=dtype, optimizer="adam")
    whole = (p.rows.x.astype(np.float64) * 20).astype(np.uint8).astype(np.float64)  # fits every dtype
    x = variants(whole)[form] if form in variants(whole) else whole.astype(form)
    want = trained(backend, p._replace(rows=p.rows._replace(x=whole.astype(dtype))))
    got = trained(backend, p._replace(rows=p.rows._replace(x=read_only(x))))
    np.testing.assert_array_equal(got[0], want[0])
    assert_same_state(got[1], want[1])


def test_float64_data_is_rounded_to_the_plans_dtype(backend):
    p = problem(dtype="float32", weighted=True)
    fine = Rows(*(array.astype(np.float64) * (1 + 2**-30) for array in p.rows))
    coarse = Rows(*(array.astype(np.float32) for array in fine))
    got, want = trained(backend, p._replace(rows=fine)), trained(backend, p._replace(rows=coarse))
    np.testing.assert_array_equal(got[0], want[0])


# --- evaluate and predict ---


@pytest.mark.parametrize("activation", ["tanh", "relu"])
def test_predict_is_the_network(backend, activation):
    p = problem(activation=activation, dropout=0.5)
    x = np.random.default_rng(9).normal(size=(4, 5))
    function = np.vectorize(naive.ACTIVATIONS[activation])
    rows, layers = x, p.plan.network.unpack(p.state.parameters, np)
    for layer in layers[:-1]:
        rows = function(rows @ layer["weight"] + layer["bias"])
    want = rows @ layers[-1]["weight"] + layers[-1]["bias"]
    got = p.start(backend).predict(x)
    assert_within(got, want, tolerance(1 + np.abs(want), 5 * 7 * 4, np.float64))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("form", ["uint8", "float32", "float64", "fortran", "strided", "device"])
def test_predict_takes_x_in_any_form(backend, form, dtype):
    p = problem(dtype=dtype)
    whole = (p.rows.x.astype(np.float64) * 20).astype(np.uint8).astype(np.float64)
    run = p.start(backend)
    want = run.predict(whole.astype(dtype))
    if form == "device":
        x = backend.from_host(whole)
    else:
        x = read_only(variants(whole)[form] if form in variants(whole) else whole.astype(form))
    got = run.predict(x)
    assert (type(got), got.dtype, got.shape) == (np.ndarray, dtype, (23, 3))
    assert_within(got, want, tolerance(whole.max() * (1 + np.abs(want)), 5 * 7 * 4, dtype))


def test_predict_takes_no_row_and_any_number(backend, monkeypatch):
    p = problem()
    x = np.random.default_rng(9).normal(size=(50, 5))
    whole = p.start(backend).predict(x)
    in_parts(monkeypatch)
    run = p.start(backend)
    assert run.predict(x[:0]).shape == (0, 3)
    assert_within(run.predict(x), whole, tolerance(1 + np.abs(whole), 5 * 7 * 4, np.float64))


@pytest.mark.parametrize("loss", LOSS_TEXTS)
def test_evaluate_is_the_loss_of_the_predictions(backend, loss, monkeypatch):
    in_parts(monkeypatch)
    p, order = problem(loss, weighted=True, dropout=0.5), np.array([5, 5, 2, 19, 8], np.int32)
    run = p.start(backend)
    x, targets, weights = (a[order] if a.dtype == np.int32 else a[order].astype(np.float64) for a in p.rows)
    losses, _ = p.plan.loss.value_and_gradient(run.predict(x), targets, np)
    want, weight = float(losses @ weights), float(weights.sum())
    got = run.evaluate(order)
    assert (type(got[0]), type(got[1])) == (float, float)
    assert_within(got, (want, weight), tolerance(weight + want, 5 * 7 * 4, np.float64))
    assert run.evaluate(order[:0]) == (0.0, 0.0)


# --- state ---


def test_a_state_is_a_copy(backend):
    p = problem(optimizer="adam")
    order, bounds = epochs(23, 6, 1)
    run = p.start(backend)
    run.train(order, bounds, steps_of(p.plan, 4))
    state, kept = run.state(), run.state()
    for vector in (state.parameters, *state.slots):
        vector[:] = 7
    assert_same_state(run.state(), kept)
    run.train(order, bounds, steps_of(p.plan, 4))
    assert kept.count == 4
    assert run.state().count == 8
    assert (kept.parameters != run.state().parameters).any()


def test_a_restored_state_is_a_copy_too(backend):
    p = problem(optimizer="adam")
    run = p.start(backend)
    given_ = trained(backend, p)[1]
    run.restore(given_)
    kept = run.state()
    for vector in (given_.parameters, *given_.slots):
        vector[:] = 7
    assert_same_state(run.state(), kept)


def test_a_run_goes_on_from_a_restored_state(backend):
    p = problem(optimizer="sgd,momentum=0.9", dropout=0.3)
    order, bounds = epochs(23, 6, 2)
    steps = steps_of(p.plan, len(bounds) - 1)
    run = p.start(backend)
    start = run.state()
    first = run.train(order, bounds, steps)
    end = run.state()
    assert_same_state(start, p.state)
    run.restore(start)
    np.testing.assert_array_equal(run.train(order, bounds, steps), first)
    assert_same_state(run.state(), end)


def test_replacing_the_data_keeps_the_state(backend):
    # Data larger than memory comes block by block.
    p = problem(optimizer="adam", weighted=True, dropout=0.3)
    steps = steps_of(p.plan, 4)
    blocks = [Rows(*(np.ascontiguousarray(a[rows]) for a in p.rows)) for rows in (slice(0, 12), slice(12, 23))]
    sequence = np.arange(23, dtype=np.int32)
    whole, run = p.start(backend), backend.compile(p.plan).start(p.state, blocks[0])
    log = whole.train(sequence, np.array([0, 6, 12, 18, 23], np.int32), steps)
    first = run.train(sequence[:12], np.array([0, 6, 12], np.int32), steps[:2])
    run.replace(blocks[1])
    second = run.train(sequence[:11], np.array([0, 6, 11], np.int32), steps[2:])
    np.testing.assert_array_equal(np.concatenate([first, second]), log)
    assert_same_state(run.state(), whole.state())


def test_data_with_and_without_weights_may_follow_each_other(backend):
    p = problem(weighted=True)
    run, order = p.start(backend), np.arange(23, dtype=np.int32)
    run.replace(p.rows._replace(weights=None))
    assert run.evaluate(order)[1] == 23
    run.replace(p.rows)
    assert run.evaluate(order)[1] != 23


def test_runs_of_one_program_do_not_disturb_each_other(backend):
    p = problem(optimizer="adam", dropout=0.3)
    order, bounds = epochs(23, 6, 2)
    steps = steps_of(p.plan, len(bounds) - 1)
    log, state = trained(backend, p, epoch_count=2)
    runs, logs = [p.start(backend) for _ in range(2)], ([], [])
    for i in range(len(steps)):
        for run, own in zip(runs, logs, strict=True):
            own.append(run.train(order, bounds[i : i + 2], steps[i : i + 1]))
    for run, own in zip(runs, logs, strict=True):
        np.testing.assert_array_equal(np.concatenate(own), log)
        assert_same_state(run.state(), state)


def test_batch_size_and_threads_are_hints(backend):
    p = problem()
    order, bounds = epochs(23, 6, 1)
    want, run = p.start(backend), backend.compile(p.plan).start(p.state, p.rows, batch_size=2, threads=1)
    steps = steps_of(p.plan, 4)
    np.testing.assert_array_equal(run.train(order, bounds, steps), want.train(order, bounds, steps))
    run.close()


# --- what is refused ---


@pytest.mark.parametrize(("order", "bounds", "steps", "sentence"), [
    ([0, 23], [0, 2], 1, "row numbers must be from 0 to 22"),
    ([0, -1], [0, 2], 1, "row numbers must be from 0 to 22"),
    ([0, 1], [0, 3], 1, "bounds must be from 0 to 2"),
    ([0, 1], [-1, 2], 1, "bounds must be from 0 to 2"),
    ([0, 1], [0, 1, 1], 2, "bounds must rise: no batch is empty"),
    ([0, 1], [1, 0], 1, "bounds must rise"),
    ([0, 1], [0, 2], 2, "1 batches need as many steps"),
])  # fmt: skip
def test_a_slice_that_would_read_past_its_data_is_refused(backend, order, bounds, steps, sentence):
    p = problem()
    run = p.start(backend)
    with pytest.raises(InputError, match=sentence):
        run.train(np.array(order, np.int32), np.array(bounds, np.int32), steps_of(p.plan, steps))
    assert_same_state(run.state(), p.state)


@pytest.mark.parametrize("dropout", [-0.5, 1.5])
def test_a_step_that_drops_less_than_nothing_or_more_than_declared_is_refused(backend, dropout):
    step = np.array([[0.1, 0.0, 0.0, dropout]])
    with pytest.raises(InputError, match="dropout of a step must be from 0 to 1"):
        problem().start(backend).train(np.array([0, 1], np.int32), np.array([0, 2], np.int32), step)


@pytest.mark.parametrize("call", ["gradient", "evaluate"])
def test_a_row_that_is_not_there_is_refused(backend, call):
    for row in (-1, 23):
        with pytest.raises(InputError, match="row numbers must be from 0 to 22"):
            getattr(problem().start(backend), call)(np.array([row], np.int32))


@pytest.mark.parametrize(("loss", "change", "sentence"), [
    ("huber", {"x": np.zeros((23, 4))}, "rows of the shape"),
    ("huber", {"targets": np.zeros((23, 2))}, "takes targets of the shape"),
    ("huber", {"targets": np.zeros(23)}, "takes targets of the shape"),
    ("huber", {"targets": np.zeros((22, 3))}, "takes targets of the shape"),
    ("huber", {"weights": np.ones(22)}, "weights must have the shape"),
    ("huber", {"weights": np.ones((23, 1))}, "weights must have the shape"),
    ("softmax_cross_entropy", {"targets": np.zeros(23)}, "class labels must be whole numbers"),
    ("softmax_cross_entropy", {"targets": np.full(23, 3)}, "class labels must be from 0 to 2"),
    ("softmax_cross_entropy", {"targets": np.full(23, -1)}, "class labels must be from 0 to 2"),
])  # fmt: skip
def test_data_that_does_not_fit_the_plan_is_refused(backend, loss, change, sentence):
    p = problem(loss)
    with pytest.raises(InputError, match=sentence):
        p.start(backend).replace(p.rows._replace(**change))
    with pytest.raises(InputError, match=sentence):
        backend.compile(p.plan).start(p.state, p.rows._replace(**change))


# --- backends ---


def test_a_program_is_kept_for_equal_plans(backend):
    assert backend.compile(problem().plan).kernel
    assert backend.compile(problem().plan) is backend.compile(problem().plan)
    assert backend.compile(problem().plan) is not backend.compile(problem(dtype="float32").plan)


def test_only_so_many_programs_are_kept(backend):
    first = backend.compile(problem(hidden=(1,)).plan)
    for units in range(2, 80):
        backend.compile(problem(hidden=(units,)).plan)
    assert backend.compile(problem(hidden=(1,)).plan) is not first


@pytest.mark.parametrize("dtype", [*DTYPES, "int32", "uint8"])
def test_arrays_come_back_as_they_went(backend, dtype):
    array = np.arange(6, dtype=dtype).reshape(2, 3)
    got = backend.to_host(backend.from_host(array))
    assert (type(got), got.dtype) == (np.ndarray, array.dtype)
    np.testing.assert_array_equal(got, array)
    backend.synchronize()


def test_a_backend_names_itself(backend):
    assert backend.device
    assert backend.unavailable_reason() is None


def test_a_backend_is_created_once():
    assert get_backend("cpu") is get_backend("cpu") is choose_backend("cpu").backend


def test_the_automatic_choice_says_why():
    choice = choose_backend()
    assert choice.backend.name in backend_names()
    assert choice.reason


def test_an_unknown_backend_is_refused():
    with pytest.raises(InputError, match=r"unknown backend 'gpu'; known: auto, .*cpu"):
        get_backend("gpu")


def test_a_backend_that_cannot_run_says_why(monkeypatch):
    monkeypatch.setattr(backend_class("cpu"), "unavailable_reason", classmethod(lambda cls: "no numbers; buy some."))
    with pytest.raises(BackendUnavailable, match=r"backend cpu can't run here: no numbers; buy some\."):
        backend_class("cpu")()


def test_the_strict_backend_refuses_to_be_taken_for_numpy(strict):
    # Else the tests on it would prove nothing.
    array = strict.from_host(np.ones(3))
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        np.asarray(array) + 1
    with pytest.raises((RuntimeError, TypeError, ValueError)):
        array + np.ones(3)
