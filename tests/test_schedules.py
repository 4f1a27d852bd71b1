"""Schedules against functions of one step, and the small memory of Plateau."""

from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnaccel.schedules import SCHEDULES, PlateauState, Timeline, as_schedule
from tests import naive
from tests.tolerance import assert_within, tolerance

TEXTS = [
    *SCHEDULES,
    *(f"{name},warmup=2.5" for name in SCHEDULES),
    "inverse_scaling,power=0.1",
    "step,every=3,factor=0.7",
    "cosine,final=0.2",
    "one_cycle,start=0.1,peak=0.5,final=0.01",
]


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize(("epochs", "steps_per_epoch", "rows"), [(7, 4, 90), (1, 1, 3), (40, 1, 5)])
def test_factors_equal_a_naive_function(text, epochs, steps_per_epoch, rows):
    schedule, timeline = as_schedule(text), Timeline(epochs, steps_per_epoch, rows)
    got = schedule.factors(np.arange(float(timeline.steps)), timeline, np)
    want = [
        naive.schedule(schedule.name, step, epochs, steps_per_epoch, rows, **asdict(schedule))
        for step in range(timeline.steps)
    ]
    assert_within(got, want, tolerance(1, 16, np.float64))


def test_factors_do_not_depend_on_where_they_are_asked_for():
    timeline = Timeline(7, 4, 90)
    for text in TEXTS:
        whole = as_schedule(text).factors(np.arange(28.0), timeline, np)
        np.testing.assert_array_equal(as_schedule(text).factors(np.arange(11.0, 28.0), timeline, np), whole[11:])


@pytest.mark.parametrize(
    "settings", [{}, {"patience": 0}, {"patience": 2, "factor": 0.5, "minimum": 0.3, "tolerance": 0.0}]
)
def test_plateau(settings):
    losses = [3.0, 2.0, 2.0, 2.5, 2.0, 2.1, 1.9, 1.9, np.nan, 1.9, 1.8, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0, 2.0]
    schedule = SCHEDULES["plateau"](**settings)
    state, factors = PlateauState(), []
    for loss in losses:
        state = schedule.after_epoch(state, loss)
        factors.append(state.factor)
    wanted = {name: value for name, value in asdict(schedule).items() if name != "warmup"}
    assert factors == naive.plateau_factors(losses, **wanted)
    assert factors[-1] < 1


@given(
    losses=st.lists(st.sampled_from([0.5, 0.875, 0.9375, 1.0, 1.0625, 2.0, 4.0, np.nan, np.inf]), max_size=40),
    settings=st.fixed_dictionaries({
        "factor": st.sampled_from([0.2, 0.5, 1.0]), "patience": st.integers(0, 4),
        "tolerance": st.sampled_from([0.0, 0.0625, 0.5]), "minimum": st.sampled_from([0.0, 0.1, 1.0]),
    }),
)  # fmt: skip
def test_plateau_equals_its_naive_twin_on_any_losses(losses, settings):
    assert plateau_factors(losses, **settings) == naive.plateau_factors(losses, **settings)


def plateau_factors(losses, **settings):
    """The factor after each epoch."""
    schedule, state, factors = SCHEDULES["plateau"](**settings), PlateauState(), []
    for loss in losses:
        state = schedule.after_epoch(state, loss)
        factors.append(state.factor)
    return factors


def test_plateau_waits_as_long_as_its_patience():
    # Best at the first epoch; two more are forgiven, the third lowers the rate, and the count begins anew.
    got = plateau_factors([1.0] * 13, factor=0.5, patience=2, minimum=0.25)
    assert got == [1, 1, 1, 0.5, 0.5, 0.5, *[0.25] * 7]


@pytest.mark.parametrize("text", TEXTS)
def test_a_factor_is_never_negative_nor_above_one(text):
    factors = as_schedule(text).factors(np.arange(28.0), Timeline(7, 4, 90), np)
    assert (factors >= 0).all()
    assert (factors <= 1 + tolerance(1, 1, np.float64)).all()


def test_warmup_reaches_the_full_rate_with_its_last_step():
    factors = as_schedule("constant,warmup=1").factors(np.arange(6.0), Timeline(4, 4, 1), np)
    assert factors.tolist() == [0.25, 0.5, 0.75, 1, 1, 1]


def test_one_cycle_begins_at_start_peaks_and_ends_at_final():
    schedule = as_schedule("one_cycle,start=0.1,peak=0.5,final=0.01")
    got = schedule.factors(np.arange(11.0), Timeline(11, 1, 1), np)[[0, 5, 10]]
    assert_within(got, [0.1, 1.0, 0.01], tolerance(1, 1, np.float64))


@pytest.mark.parametrize("text", TEXTS)
def test_a_schedule_runs_on_strict_arrays(strict, text):
    steps, timeline = np.arange(28.0), Timeline(7, 4, 90)
    got = strict.to_host(as_schedule(text).factors(strict.from_host(steps), timeline, strict.xp))
    assert_within(got, as_schedule(text).factors(steps, timeline, np), tolerance(1, 1, np.float64))


def test_plateau_compares_what_follows_a_nan_with_the_best_before_it():
    # Comparing with NaN would find every later loss bad.
    assert plateau_factors([1.0, np.nan, 0.5, 0.25, 0.125], factor=0.5, patience=1) == [1.0] * 5
