"""Schedules against functions of one step, and the small memory of Plateau."""

from dataclasses import asdict

import numpy as np
import pytest

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
