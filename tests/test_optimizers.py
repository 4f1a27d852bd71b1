"""Every optimizer under every schedule, step by step against a naive training that shares no code."""

import itertools
from dataclasses import asdict
from functools import partial

import numpy as np
import pytest

from nnaccel.losses import as_loss
from nnaccel.network import Dense, Network
from nnaccel.optimizers import L2, OPTIMIZERS, as_optimizer
from nnaccel.plan import Plan
from nnaccel.program import Rows, TrainingState
from nnaccel.schedules import SCHEDULES, Timeline, as_schedule
from tests import naive
from tests.problems import epochs
from tests.tolerance import assert_within, tolerance

OPTIMIZER_TEXTS = [
    *OPTIMIZERS,
    "sgd,learning_rate=0.05,momentum=0.9",
    "sgd,learning_rate=0.05,momentum=0.9,nesterov=true",
    "adam,learning_rate=0.1,epsilon=0.01",
    "adam,learning_rate=0.1,epsilon=0.01,correction=moments",
    "adam,learning_rate=0.1,beta_1=0.5,beta_2=0.9",
    "adamw,learning_rate=0.1,weight_decay=0.3",
    "adamw,learning_rate=0.1,weight_decay=0.3,correction=rate",
]
ROWS, FEATURES, BATCH, EPOCHS = 10, 3, 3, 5  # 4 batches an epoch, the last of one row: 20 steps


def assert_trains_like_naive(optimizer, schedule="constant", weighted=False, l2=None, clip=None, step_changes=None):
    optimizer, schedule, l2 = as_optimizer(optimizer), as_schedule(schedule), l2 or L2()
    random = np.random.default_rng(0)
    x, y, w = random.normal(size=(ROWS, FEATURES)), random.normal(size=ROWS), random.normal(size=FEATURES)
    weights = random.uniform(0.5, 2, ROWS) if weighted else None
    order, bounds = epochs(ROWS, BATCH, EPOCHS)
    batches = [order[a:b].tolist() for a, b in itertools.pairwise(bounds)]
    timeline = Timeline(EPOCHS, len(batches) // EPOCHS, ROWS)

    plan = Plan(Network(FEATURES, [Dense(1)]), as_loss("mean_squared_error"), optimizer, l2, clip, "float64")
    state = TrainingState.initial(plan, 0, plan.network.pack([[w[:, None], [0.5]]], "float64"))
    run = ReferenceRunOf(plan, state, Rows(x, y[:, None], weights))
    steps = np.tile(np.array(optimizer.base_step), (len(batches), 1))
    steps[:, 0] *= schedule.factors(np.arange(float(len(batches))), timeline, np)
    log = run.train(order, bounds, steps)
    (layer,) = plan.network.unpack(run.state().parameters, np)

    settings = asdict(optimizer)
    learning_rate = settings.pop("learning_rate")
    rates = [
        learning_rate * naive.schedule(schedule.name, i, EPOCHS, timeline.steps_per_epoch, ROWS, **asdict(schedule))
        for i in range(len(batches))
    ]
    want_w, want_b, want_log = naive.linear_training(
        x.tolist(), y.tolist(), w.tolist(), 0.5, batches, rates, partial(naive.OPTIMIZERS[optimizer.name], **settings),
        None if weights is None else weights.tolist(), l2.strength, l2.scaling, clip,
    )  # fmt: skip

    # Each step adds to the parameters a number that itself took about BATCH * FEATURES roundings.
    bound = tolerance(1 + np.max(np.abs(w)), len(batches) * BATCH * FEATURES, np.float64, equal_terms=True)
    assert_within(layer["weight"][:, 0], want_w, bound)
    assert_within(layer["bias"][0], want_b, bound)
    assert_within(log, want_log, bound * np.max(np.abs(want_log)))
    assert not np.array_equal(layer["weight"][:, 0], w), "nothing was trained"


def ReferenceRunOf(plan, state, rows):  # noqa: N802
    from nnaccel.backends import get_backend

    return get_backend("cpu").compile(plan).start(state, rows)


@pytest.mark.parametrize("schedule", [*SCHEDULES, "cosine,warmup=1.5,final=0.1", "step,every=2,factor=0.5"])
@pytest.mark.parametrize("optimizer", OPTIMIZER_TEXTS)
def test_twenty_steps_equal_a_naive_loop(optimizer, schedule):
    assert_trains_like_naive(optimizer, schedule)
