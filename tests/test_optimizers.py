"""Every optimizer under every schedule, step by step against a naive training that shares no code."""

import itertools
from dataclasses import asdict, replace
from functools import partial

import numpy as np
import pytest

from nnaccel.backends import get_backend
from nnaccel.losses import as_loss
from nnaccel.network import Dense, Network
from nnaccel.optimizers import L2, OPTIMIZERS, SGD, AdamW, as_optimizer
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
SCHEDULE_TEXTS = [*SCHEDULES, "cosine,warmup=1.5,final=0.1", "step,every=2,factor=0.5"]
ROWS, FEATURES, BATCH, EPOCHS = 10, 3, 3, 5  # 4 batches an epoch, the last of one row: 20 steps


def assert_trains_like_naive(optimizer, schedule="constant", weighted=False, l2=None, clip=None):
    optimizer, schedule, l2 = as_optimizer(optimizer), as_schedule(schedule), l2 or L2()
    random = np.random.default_rng(0)
    x, y, w = random.normal(size=(ROWS, FEATURES)), random.normal(size=ROWS), random.normal(size=FEATURES)
    weights = random.uniform(0.5, 2, ROWS) if weighted else None
    order, bounds = epochs(ROWS, BATCH, EPOCHS)
    batches = [order[a:b].tolist() for a, b in itertools.pairwise(bounds)]
    timeline = Timeline(EPOCHS, len(batches) // EPOCHS, ROWS)

    plan = Plan(Network(FEATURES, [Dense(1)]), as_loss("mean_squared_error"), optimizer, l2, clip, "float64")
    state = TrainingState.initial(plan, 0, plan.network.pack([[w[:, None], [0.5]]], "float64"))
    run = get_backend("cpu").compile(plan).start(state, Rows(x, y[:, None], weights))
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
    rule = partial(naive.OPTIMIZERS[optimizer.name], **settings)
    given_weights = None if weights is None else weights.tolist()
    want_w, want_b, want_log = naive.linear_training(
        x.tolist(), y.tolist(), w.tolist(), 0.5, batches, rates, rule, given_weights, l2.strength, l2.scaling, clip
    )

    # Each step adds to the parameters a number that itself took about BATCH * FEATURES roundings.
    bound = tolerance(1 + np.max(np.abs(w)), len(batches) * BATCH * FEATURES, np.float64, equal_terms=True)
    assert_within(layer["weight"][:, 0], want_w, bound)
    assert_within(layer["bias"][0], want_b, bound)
    assert_within(log, want_log, bound * np.max(np.abs(want_log)))
    assert not np.array_equal(layer["weight"][:, 0], w), "nothing was trained"


@pytest.mark.parametrize("schedule", SCHEDULE_TEXTS)
@pytest.mark.parametrize("optimizer", OPTIMIZER_TEXTS)
def test_twenty_steps_equal_a_naive_loop(optimizer, schedule):
    assert_trains_like_naive(optimizer, schedule)


@pytest.mark.parametrize("options", [
    {"weighted": True},
    {"l2": L2(0.2)},
    {"l2": L2(0.2, "row")},
    {"weighted": True, "l2": L2(0.2, "row")},
    {"clip": 0.7},
    {"weighted": True, "l2": L2(0.2), "clip": 0.7},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("optimizer", OPTIMIZER_TEXTS)
def test_twenty_steps_with_weights_penalty_and_clipping_equal_a_naive_loop(optimizer, options):
    assert_trains_like_naive(optimizer, **options)


def one_update(optimizer, step, mask=(1.0, 1.0)):
    """Two updates, so that momentum tells, by the description alone."""
    parameters, gradient = np.array([1.0, -2.0]), np.array([0.5, 0.25])
    slots = tuple(np.zeros(2) for _ in optimizer.slots)
    for count in (1, 2):
        parameters, slots = optimizer.update(parameters, slots, gradient, np.array(mask), count, step, np)
    return parameters


@pytest.mark.parametrize(("declared", "changed", "field"), [
    (SGD(0.1, momentum=0.5), SGD(0.1, momentum=0.9), "momentum"),
    (SGD(0.1, momentum=0.5, nesterov=True), SGD(0.1, momentum=0.9, nesterov=True), "momentum"),
    (AdamW(0.1, weight_decay=0.1), AdamW(0.1, weight_decay=0.5), "weight_decay"),
    (AdamW(0.1), AdamW(0.3), "learning_rate"),
], ids=str)  # fmt: skip
def test_the_step_decides_not_the_settings(declared, changed, field):
    # A schedule of any of these numbers goes through the step; a rule that read its own setting would ignore it.
    step = declared.base_step._replace(**{field: getattr(changed.base_step, field)})
    assert one_update(declared, step).tolist() == one_update(changed, changed.base_step).tolist()
    assert one_update(declared, step).tolist() != one_update(declared, declared.base_step).tolist()


@pytest.mark.parametrize("text", OPTIMIZER_TEXTS)
def test_a_rule_writes_into_nothing(text):
    optimizer = as_optimizer(text)
    arrays = [np.ones(4) for _ in range(3 + len(optimizer.slots))]
    for array in arrays:
        array.flags.writeable = False
    parameters, gradient, mask, *slots = arrays
    optimizer.update(parameters, tuple(slots), gradient, mask, 1, optimizer.base_step, np)


@pytest.mark.parametrize("text", OPTIMIZER_TEXTS)
def test_a_rule_leaves_padding_at_zero(text):
    # Padding is where parameter, gradient, slots and mask are all zero.
    optimizer, zeros = as_optimizer(text), np.zeros(3)
    parameters, slots = optimizer.update(
        zeros, tuple(zeros for _ in optimizer.slots), zeros, zeros, 1, optimizer.base_step, np
    )
    assert not any(array.any() for array in (parameters, *slots))


def test_biases_do_not_decay():
    step = AdamW(0.1, weight_decay=0.5).base_step
    decayed, spared = (
        one_update(AdamW(0.1), step, mask=(1.0, 0.0)),
        one_update(AdamW(0.1), step._replace(weight_decay=0.0)),
    )
    assert decayed[0] != spared[0]
    assert decayed[1] == spared[1]


def test_nesterov_without_momentum_is_plain_descent():
    plain = SGD(0.1)
    assert (
        one_update(replace(plain, nesterov=True), plain.base_step).tolist()
        == one_update(plain, plain.base_step).tolist()
    )
