"""Small plans, with data to train them on."""

from typing import NamedTuple

import numpy as np

from nnaccel.losses import as_loss
from nnaccel.network import Dense, Network
from nnaccel.optimizers import as_optimizer
from nnaccel.plan import Plan
from nnaccel.program import Rows, TrainingState
from tests.strict_backend import read_only


def targets_for(loss, rows, outputs, random):
    """Targets that make sense for a loss: labels, or numbers within its domain, its ends included where it has any."""
    if loss.targets == "labels":
        return random.integers(0, outputs, rows).astype(np.int32)
    values = random.normal(size=(rows, outputs))
    if loss.domain == (-np.inf, np.inf):
        return values
    return np.round(np.clip(values + 1, *loss.domain))


class Problem(NamedTuple):
    """A plan, a state to begin with and data; every array is read-only, and float32 whatever the plan's dtype."""

    plan: Plan
    state: TrainingState
    rows: Rows

    def start(self, backend):
        """A run of this problem."""
        return backend.compile(self.plan).start(self.state, self.rows)


def problem(
    loss="mean_squared_error",
    optimizer="sgd,learning_rate=0.1",
    activation="tanh",
    *,
    features=5,
    hidden=(7, 4),
    outputs=3,
    rows=23,
    bias=True,
    dropout=0.0,
    weighted=False,
    dtype="float64",
    seed=1,
    **settings,
):
    """A problem with zero-mean random data, the same float32 numbers for every dtype of the plan."""
    loss, random = as_loss(loss), np.random.default_rng(seed)
    layers = [Dense(units, activation, bias=bias, dropout=dropout) for units in hidden]
    network = Network(features, [*layers, Dense(outputs, bias=bias)])
    plan = Plan(network, loss, as_optimizer(optimizer), dtype=dtype, **settings)
    x = random.normal(size=(rows, features)).astype(np.float32)
    targets = targets_for(loss, rows, outputs, random)
    weights = random.uniform(0.5, 2, rows).astype(np.float32) if weighted else None
    if loss.targets == "values":
        targets = targets.astype(np.float32)
    return Problem(
        plan, initial_state(plan, seed), Rows(*(a if a is None else read_only(a) for a in (x, targets, weights)))
    )


def initial_state(plan, seed=1):
    """A state whose biases aren't zero, rounded to float32, so that the formulas have something to do."""
    random = np.random.default_rng(seed)
    vector = plan.network.initial_parameters(seed, "float32")
    for block in plan.network.blocks:
        if block.name == "bias":
            vector[block.start : block.stop] = random.normal(0, 0.1, block.stop - block.start)
    state = TrainingState.initial(plan, seed, vector)
    return state_with(state, read_only(state.parameters), tuple(read_only(slot) for slot in state.slots))


def state_with(state, parameters, slots):
    """The state with other vectors."""
    return TrainingState(parameters, slots, state.count, state.seed)


def epochs(rows, batch_size, count, seed=0):
    """The order and the bounds of several epochs, each in a new order and with a ragged last batch; read-only."""
    random = np.random.default_rng(seed)
    order = np.concatenate([random.permutation(rows) for _ in range(count)]).astype(np.int32)
    bounds = [epoch * rows + start for epoch in range(count) for start in range(0, rows, batch_size)]
    return read_only(order), read_only(np.array([*bounds, count * rows], np.int32))


def steps_of(plan, count):
    """The steps of an optimizer without a schedule; read-only."""
    return read_only(np.tile(np.array(plan.optimizer.base_step, np.float64), (count, 1)))


def assert_same_state(got, want):
    """Two states are equal in every bit."""
    assert (got.count, got.seed, len(got.slots)) == (want.count, want.seed, len(want.slots))
    for a, b in zip((got.parameters, *got.slots), (want.parameters, *want.slots), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
