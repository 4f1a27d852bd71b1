"""Fitting by stochastic gradient descent: the epochs of scikit-learn, with its random stream and its rules for stopping."""

import time
import warnings
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import scipy.sparse
from sklearn.exceptions import ConvergenceWarning
from sklearn.model_selection import train_test_split
from sklearn.utils.validation import _check_sample_weight

from nnaccel.cost import multiply_adds_per_row
from nnaccel.errors import check
from nnaccel.estimators.data import Data, step_table
from nnaccel.estimators.intake import as_floats, orders_by_blocks
from nnaccel.estimators.optimizers import remember, schedule_of, slots_of
from nnaccel.loop import SLICE_SECONDS
from nnaccel.network import Network
from nnaccel.order import batch_bounds
from nnaccel.program import Program, TrainingState
from nnaccel.schedules import Plateau, Timeline

MOST_ROWS = 1 << 20
"""The order of so many rows is drawn ahead at most."""

GROUP_SECONDS = 0.5
"""About so long go epochs by without anyone looking at them: what is printed, or interrupted, comes in such pieces."""

LEAST_SPEED = 2e9
"""Multiply-adds a second that any machine should make: how long an epoch takes at most, until one has been timed."""


class Split(NamedTuple):
    """The numbers of the rows to train on, and the validation set, if there is one."""

    rows: np.ndarray
    x: Any = None
    y: Any = None
    weights: np.ndarray | None = None


class StochasticFit:
    """One call of `fit` or `partial_fit` under way.

    The random stream is drawn from as scikit-learn does: the split, then a shuffle of the order before for each epoch.

    Parameters
    ----------
    estimator : BaseMultilayerPerceptron
        With initial parameters; its attributes are brought up to date as the training goes on.
    program : Program
    x : array or sparse matrix (n, features)
    y : array (n, outputs)
        As scikit-learn has it.
    targets : array
        The same as the program's loss takes it.
    sample_weight : array (n,), optional
    incremental : bool
        Whether to stop after one epoch, as `partial_fit` does.
    """

    def __init__(
        self,
        estimator: Any,
        program: Program,
        x: Any,
        y: np.ndarray,
        targets: np.ndarray,
        sample_weight: np.ndarray | None,
        incremental: bool,
    ) -> None:
        self.estimator, self._incremental = estimator, incremental
        self._network, self._plan = program.plan.network, program.plan
        self._random = estimator._random_state
        self._optimizer = estimator._optimizer
        self._split = _split(estimator, x, y, sample_weight, incremental)
        self._order = np.arange(len(self._split.rows))
        self._by_blocks = orders_by_blocks(x, self._split.rows, self._random) if estimator.shuffle else None
        batch_size = _batch_size(estimator.batch_size, len(self._order))
        self._bounds = batch_bounds(len(self._order), batch_size)
        self._schedule = schedule_of(estimator.learning_rate)
        self._first_step = self._optimizer.t  # a schedule goes on where the optimizer does
        self._timeline = Timeline(estimator.max_iter, len(self._bounds) - 1, len(self._order))
        self._slice_steps = 64
        self._epoch_seconds = len(self._order) * multiply_adds_per_row(self._plan) / LEAST_SPEED
        self._deadline = time.perf_counter() + (estimator.time_limit or np.inf)
        self._data = Data(program, self._state(), x, targets, sample_weight, batch_size, estimator.threads)

    def run(self) -> None:
        """Train until a rule says stop, and leave the parameters with the estimator."""
        estimator = self.estimator
        try:
            self._epochs()
        except KeyboardInterrupt:
            warnings.warn("Training interrupted by user.", stacklevel=5)
        finally:
            state = self._publish()
            slots = (as_layers(self._network, slot) for slot in state.slots)
            remember(self._optimizer, [weights + biases for weights, biases in slots], state.count)
            self._data.run.close()
        if self._validates and estimator.early_stopping:
            estimator.coefs_, estimator.intercepts_ = estimator._best_coefs, estimator._best_intercepts

    @property
    def _validates(self) -> bool:
        return self._split.x is not None

    def _epochs(self) -> None:
        estimator = self.estimator
        estimator.n_iter_ = 0
        while estimator.n_iter_ < estimator.max_iter:
            epochs, began = self._epochs_at_once(), time.perf_counter()
            logs = self._train(epochs)
            self._epoch_seconds = (time.perf_counter() - began) / epochs
            stops = [self._take_stock(log) for log in logs]
            if not stops or stops[-1] or self._incremental:
                return
        warnings.warn(
            f"Stochastic Optimizer: Maximum iterations ({estimator.max_iter}) reached and the optimization hasn't "
            "converged yet.",
            ConvergenceWarning,
            stacklevel=7,
        )

    def _epochs_at_once(self) -> int:
        """How many epochs can be made before anyone has to look at one.

        The rule that stops a fit counts epochs without improvement, so that as many as are missing can't be too many. None
        may be looked at later than it ends where a validation set, a callback or the learning rate waits for it.
        """
        estimator = self.estimator
        scaled = getattr(self._optimizer, "lr_schedule", None) == "invscaling"
        waiting = self._validates or estimator.callbacks or scaled or isinstance(self._schedule, Plateau)
        if waiting or self._incremental:
            return 1
        missing = estimator.n_iter_no_change + 1 - estimator._no_improvement_count
        most = min(MOST_ROWS // len(self._order), GROUP_SECONDS / self._epoch_seconds)
        return int(max(1, min(missing, estimator.max_iter - estimator.n_iter_, most)))

    def _train(self, epochs: int) -> list[np.ndarray]:
        """Use every row so many times; the log of each epoch that the time limit let finish."""
        count = len(self._bounds) - 1
        order = np.concatenate([self._next_order() for _ in range(epochs)])
        starts = np.arange(epochs, dtype=np.int32)[:, None] * self._bounds[-1] + self._bounds[:-1]
        bounds = np.append(starts.ravel(), np.int32(len(order)))
        optimizer, rates = self._optimizer, self._learning_rates(epochs)
        momentum, decay = getattr(optimizer, "momentum", 0.0), getattr(optimizer, "weight_decay", 0.0)
        steps = step_table(count * epochs, rates, momentum, decay, dropout=1.0)
        logs, start = [], 0
        while start < len(steps) and time.perf_counter() < self._deadline:
            stop, began = min(len(steps), start + self._slice_steps), time.perf_counter()
            logs.append(self._data.train(order, bounds[start : stop + 1], steps[start:stop]))
            self._adapt_slice(stop - start, time.perf_counter() - began)
            start = stop
        whole = start // count
        return list(np.concatenate(logs)[: whole * count].reshape(whole, count, 3)) if whole else []

    def _next_order(self) -> np.ndarray:
        """The numbers of the training rows in the order of the next epoch: scikit-learn's, unless memory can't hold them."""
        if self._by_blocks is not None:
            return next(self._by_blocks)
        if self.estimator.shuffle:
            self._order = self._order[_shuffled(len(self._order), self._random)]
        return self._split.rows[self._order].astype(np.int32)

    def _adapt_slice(self, steps: int, seconds: float) -> None:
        """Have slices take about `SLICE_SECONDS`: so often can a fit be interrupted."""
        if seconds > SLICE_SECONDS:
            self._slice_steps = max(1, steps // 2)
        elif seconds < SLICE_SECONDS / 2 and 2 * steps > self._slice_steps:
            self._slice_steps *= 2

    def _learning_rates(self, epochs: int) -> Any:
        if self._schedule is None:
            return self._optimizer.learning_rate
        count = len(self._bounds) - 1
        steps = np.arange(count * epochs, dtype=np.float64) + self._first_step + self.estimator.n_iter_ * count
        factors = self._schedule.factors(steps, self._timeline, np) * self.estimator._plateau.factor
        return self._optimizer.learning_rate_init * factors

    def _note_loss(self, log: np.ndarray) -> None:
        """The loss of an epoch as scikit-learn has it: every batch counts by its rows, whatever their weights."""
        estimator, rows = self.estimator, np.diff(self._bounds)
        losses, weights, penalties = log.T
        means = np.divide(losses, weights, out=np.zeros_like(losses), where=weights != 0)
        if self._plan.loss.name == "half_squared_error":
            means /= self._plan.outputs
        estimator.n_iter_ += 1
        estimator.loss_ = float(((means + penalties) * rows).sum() / rows.sum())
        estimator.t_ += int(rows.sum())
        estimator.loss_curve_.append(estimator.loss_)
        if estimator.verbose:
            print(f"Iteration {estimator.n_iter_}, loss = {estimator.loss_:.8f}")

    def _take_stock(self, log: np.ndarray) -> bool:
        """Whether to stop after an epoch."""
        estimator = self.estimator
        self._note_loss(log)
        callbacks = estimator.callbacks or ()
        if self._validates or callbacks:
            self._publish()
        held_out = self._split[1:]
        estimator._update_no_improvement_count(estimator.early_stopping, *held_out)
        if self._validates and not estimator.early_stopping:
            estimator.validation_scores_ = [*(estimator.validation_scores_ or ()), estimator._score(*held_out)]
        self._optimizer.iteration_ends(estimator.t_)
        if isinstance(self._schedule, Plateau):
            estimator._plateau = self._schedule.after_epoch(estimator._plateau, estimator.loss_)
        if estimator._no_improvement_count > estimator.n_iter_no_change:
            watched = "Validation score" if estimator.early_stopping else "Training loss"
            message = (
                f"{watched} did not improve more than tol={estimator.tol:f} for {estimator.n_iter_no_change:d} "
                "consecutive epochs."
            )
            if self._optimizer.trigger_stopping(message, estimator.verbose):
                return True
            estimator._no_improvement_count = 0
        # All callbacks are called, whatever the first one says.
        wishes = [callback(estimator) for callback in callbacks]
        return any(wishes)

    def _publish(self) -> TrainingState:
        """Give the estimator the parameters; the state that they are of."""
        state = self._data.run.state()
        self.estimator.coefs_, self.estimator.intercepts_ = as_layers(self._network, state.parameters)
        return state

    def _state(self) -> TrainingState:
        """The state to begin with: the estimator's parameters, and what its optimizer remembers."""
        estimator, optimizer, count = self.estimator, self._optimizer, len(self.estimator.coefs_)
        dtype = self._plan.dtype
        slots = [as_vector(self._network, arrays[:count], arrays[count:], dtype) for arrays in slots_of(optimizer)]
        # The stream is drawn from only where it is needed, since scikit-learn knows no dropout.
        dropout = any(getattr(layer, "dropout", 0.0) for layer in self._network.layers)
        seed = int(self._random.randint(np.iinfo(np.int32).max)) if dropout else 0
        parameters = as_vector(self._network, estimator.coefs_, estimator.intercepts_, dtype)
        return TrainingState(parameters, tuple(slots[: len(self._plan.optimizer.slots)]), optimizer.t, seed)


def as_vector(network: Network, weights: Sequence[np.ndarray], biases: Sequence[np.ndarray], dtype: str) -> np.ndarray:
    """The flat vector of the parameters of all layers."""
    return network.pack(list(zip(weights, biases, strict=True)), dtype)


def as_layers(network: Network, vector: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The weights and the biases of all layers from a flat vector."""
    layers = network.unpack(vector, np)
    return [layer["weight"] for layer in layers], [layer["bias"] for layer in layers]


def _shuffled(count: int, random: Any) -> np.ndarray:
    """A permutation from the same draws as `sklearn.utils.shuffle`."""
    numbers = np.arange(count)
    random.shuffle(numbers)
    return numbers


def _batch_size(given: Any, rows: int) -> int:
    if given == "auto":
        return min(200, rows)
    if given > rows:
        warnings.warn(
            "Got `batch_size` less than 1 or larger than sample size. It is going to be clipped", stacklevel=7
        )
    return int(np.clip(given, 1, rows))


def _split(estimator: Any, x: Any, y: np.ndarray, weights: np.ndarray | None, incremental: bool) -> Split:
    """Which rows to train on and which to hold out, by the same draws as scikit-learn's; no rows are copied but the latter."""
    rows = np.arange(len(y))
    check(not (estimator.early_stopping and incremental), "partial_fit does not support early_stopping=True")
    given = getattr(estimator, "_eval_set", None)
    if given is not None:
        return Split(rows, *_checked_eval_set(estimator, given))
    if not estimator.early_stopping:
        return Split(rows)
    if hasattr(estimator.validation_fraction, "split"):
        splits = estimator.validation_fraction.split(x, estimator._decoded(y))
        training, held_out = next(iter(splits), (rows[:0], rows[:0]))
        check(len(training) > 0, "validation_fraction is a splitter that leaves no rows to train on.")
    else:
        training, held_out = train_test_split(
            rows,
            random_state=estimator._random_state,
            test_size=estimator.validation_fraction,
            stratify=y if estimator._stratifies() else None,
        )
    check(
        len(held_out) >= 2,
        "The validation set is too small. Increase 'validation_fraction' or the size of your dataset.",
    )
    return Split(
        training,
        as_floats(x[held_out]),
        estimator._decoded(y[held_out]),
        None if weights is None else weights[held_out],
    )


def _checked_eval_set(estimator: Any, given: Any) -> tuple[Any, np.ndarray, np.ndarray | None]:
    """A validation set of the user's own."""
    check(
        isinstance(given, (tuple, list)) and len(given) in (2, 3),
        "eval_set takes (X, y) or (X, y, sample_weight).",
    )
    x, y, weights = (*given, None)[:3]
    x, y = estimator._checked(x), y if scipy.sparse.issparse(y) else np.asarray(y)
    count = y.shape[0] if y.ndim else 0
    check(x.shape[0] == count, f"the X of eval_set has {x.shape[0]} rows, its y {count}.")
    return x, y, None if weights is None else _check_sample_weight(weights, x)
