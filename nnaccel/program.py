"""The contract between training and backends: Program and Run; and the program that every array library can run.

backend.compile(plan) -> Program         immutable, shared by threads
program.start(state, rows) -> Run        owns buffers; one caller at a time
run.train(order, bounds, steps) -> log   a slice of steps, as long or as short as the caller likes
"""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple, Protocol

import numpy as np

from nnaccel.arrays import Array, Namespace
from nnaccel.dropout import DropoutSource
from nnaccel.errors import check
from nnaccel.optimizers import Step
from nnaccel.plan import Plan
from nnaccel.reference import GradientSums, forward, gradient_sums, update
from nnaccel.threads import at_most

ACTIVATION_BYTES = 1 << 25
"""How much room the reference program lets the activations of one pass take; longer batches go in parts."""

PREDICTION_BYTES = 1 << 22
"""The same for predictions, which keep nothing for a way back: what stays in the cache is faster."""


class Rows(NamedTuple):
    """A data set, on the host.

    Attributes
    ----------
    x : array (n, *input_shape)
        Of any real dtype; each batch is converted to the plan's.
    targets : int32 array (n,) or array (n, outputs)
        Class labels, from 0, for a loss whose targets are labels; else numbers.
    weights : array (n,), optional
        Not negative.
    """

    x: np.ndarray
    targets: np.ndarray
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class TrainingState:
    """All that a run changes, on the host: with it and the data, training goes on as if it had never stopped.

    Attributes
    ----------
    parameters : array (size,)
        In the layout of `Network.blocks` and the dtype of the plan; padding is zero.
    slots : tuple of array (size,)
        The optimizer's vectors.
    count : int
        How many updates there have been.
    seed : int
        Where the dropout masks come from.
    """

    parameters: np.ndarray
    slots: tuple[np.ndarray, ...]
    count: int
    seed: int

    @staticmethod
    def initial(plan: Plan, seed: int, parameters: np.ndarray | None = None) -> "TrainingState":
        """The state before the first step, with the network's initial parameters unless others are given."""
        if parameters is None:
            parameters = plan.network.initial_parameters(seed, plan.dtype)
        slots = tuple(np.zeros(plan.network.size, plan.dtype) for _ in plan.optimizer.slots)
        return TrainingState(parameters.astype(plan.dtype), slots, count=0, seed=int(seed))


class Run(ABC):
    """A program at work on one data set. One caller at a time; host arrays in, host arrays out.

    After an exception in the middle of a call, only `restore` and `close` are of use: callers that want to stop early cut
    their calls instead.
    """

    @abstractmethod
    def train(self, order: np.ndarray, bounds: np.ndarray, steps: np.ndarray) -> np.ndarray:
        """Make one update for each batch.

        Cutting a call into two never changes a bit of the state or of the log. A batch whose weights sum to zero has the
        data gradient zero; momentum, decay and the count of updates go on.

        Parameters
        ----------
        order : int32 array
            Row numbers.
        bounds : int32 array (s + 1,)
            Rising; batch i is `order[bounds[i]:bounds[i + 1]]`. The first needn't be 0, nor the last the end of
            `order`; the batches may be of different lengths and span epochs.
        steps : float64 array (s, 4)
            For each batch the numbers of its `Step`.

        Returns
        -------
        float64 array (s, 3)
            For each batch, before its update: the sum of the weighted losses, the sum of the weights, and the penalty.
        """

    @abstractmethod
    def gradient(self, order: np.ndarray, dropout: float = 0.0, first_row: int = 0) -> GradientSums:
        """The loss and its gradient, summed over any number of rows, without penalty; nothing is updated.

        Parameters
        ----------
        order : int32 array (n,)
        dropout : float
            As in `Step`. The masks are those of the step that `apply` would make next.
        first_row : int
            The place within the batch of the first of these rows, where a batch is shared among machines: dropout then
            drops what it would drop for the whole.

        Returns
        -------
        GradientSums
            On the host: two floats and an array (size,) in the plan's dtype.
        """

    @abstractmethod
    def apply(self, sums: GradientSums, step: Step) -> float:
        """Make one update from sums as `gradient` gives them, perhaps added up over several machines.

        For every batch, `apply(gradient(batch, step.dropout), step)` leaves the state that `train` leaves: to the bit in
        the reference program, within the tolerance in a fused one.

        Returns
        -------
        float
            The penalty before the update.
        """

    @abstractmethod
    def evaluate(self, order: np.ndarray) -> tuple[float, float]:
        """The sum of the weighted losses and the sum of the weights of some rows, without dropout."""

    @abstractmethod
    def predict(self, x: Array) -> np.ndarray:
        """The outputs, at the link scale, for new rows.

        Parameters
        ----------
        x : array (n, *input_shape)
            On the host or, from `Backend.from_host`, on the device.

        Returns
        -------
        array (n, outputs)
            In the plan's dtype, on the host.
        """

    @abstractmethod
    def replace(self, rows: Rows) -> None:
        """Go on with another data set; the state stays."""

    @abstractmethod
    def state(self) -> TrainingState:
        """A copy of the state."""

    @abstractmethod
    def restore(self, state: TrainingState) -> None:
        """Go on from another state; the data set stays."""

    def close(self) -> None:  # noqa: B027  (most runs have nothing to give back)
        """Give back threads and device memory; nothing may be called afterwards."""


class Program(ABC):
    """A plan made ready on one backend; immutable, shared by threads.

    Attributes
    ----------
    plan : Plan
    kernel : str
        What runs, for people and benchmarks to read: "reference", or the name of a fused kernel.
    """

    plan: Plan
    kernel: str

    @abstractmethod
    def start(self, state: TrainingState, rows: Rows, batch_size: int | None = None, threads: int | None = None) -> Run:
        """Begin to work on a data set.

        Parameters
        ----------
        state : TrainingState
            Where to begin; it isn't written to.
        rows : Rows
            The data; it isn't written to, and must not change while the run lives.
        batch_size : int, optional
            The longest batch to expect, so that buffers can be made beforehand; a longer one is no error.
        threads : int, optional
            The most threads to use; by default as many as the machine allows.
        """


def check_rows(plan: Plan, rows: Rows) -> None:
    """Raise `InputError` unless the data set fits the plan; every `Run` asks before it takes one."""
    x, targets, weights = rows
    check(x.shape[1:] == plan.network.input_shape, f"rows of the shape {x.shape[1:]} for {plan.network.input_shape}.")
    labels = plan.loss.targets == "labels"
    wanted = (len(x),) if labels else (len(x), plan.outputs)
    check(targets.shape == wanted, f"{plan.loss.name} takes targets of the shape {wanted}, not {targets.shape}.")
    if labels and len(x):
        check(targets.dtype.kind in "iu", f"class labels must be whole numbers, not {targets.dtype}.")
        check(
            targets.min() >= 0 and targets.max() < plan.outputs, f"class labels must be from 0 to {plan.outputs - 1}."
        )
    if weights is not None:
        check(weights.shape == (len(x),), f"weights must have the shape {(len(x),)}, not {weights.shape}.")


def check_order(rows: int, order: np.ndarray) -> None:
    """Raise `InputError` unless all numbers are those of rows: a kernel would read past its buffer."""
    check(not len(order) or order.dtype.kind in "iu", f"row numbers must be whole numbers, not {order.dtype}.")
    check(not len(order) or (order.min() >= 0 and order.max() < rows), f"row numbers must be from 0 to {rows - 1}.")


def check_slice(rows: int, order: np.ndarray, bounds: np.ndarray, steps: np.ndarray) -> None:
    """Raise `InputError` unless these are arguments for `Run.train`; every `Run` asks before it begins."""
    check(steps.shape == (len(bounds) - 1, len(Step._fields)), f"{len(bounds) - 1} batches need as many steps.")
    if len(steps):
        check(bounds[0] >= 0 and bounds[-1] <= len(order), f"bounds must be from 0 to {len(order)}.")
        check(bool((bounds[1:] > bounds[:-1]).all()), "bounds must rise: no batch is empty.")
        check_order(rows, order[bounds[0] : bounds[-1]])
        dropout = steps[:, Step._fields.index("dropout")]
        check_dropout(dropout.min(), dropout.max())


def check_dropout(least: float, most: float) -> None:
    """Raise `InputError` unless these may be the factors of all rates of dropout in a step."""
    check(bool(least >= 0 and most <= 1), "the dropout of a step must be from 0 to 1.")


class Device(Protocol):
    """The part of a backend that the reference program needs."""

    xp: Namespace

    def from_host(self, array: np.ndarray) -> Array:
        """Copy to the device."""

    def to_host(self, array: Array) -> np.ndarray:
        """Copy to the host."""


class ReferenceProgram(Program):
    """The formulas of `reference.py`, run by the backend's array library."""

    kernel = "reference"

    def __init__(self, plan: Plan, device: Device) -> None:
        self.plan = plan
        self.device = device
        self.weight_mask = device.from_host(plan.network.weight_mask(plan.dtype))

    def start(
        self, state: TrainingState, rows: Rows, batch_size: int | None = None, threads: int | None = None
    ) -> "ReferenceRun":
        return ReferenceRun(self, state, rows, threads)


class ReferenceRun(Run):
    """A reference program at work; it holds its state as arrays that are replaced, never written to."""

    def __init__(self, program: ReferenceProgram, state: TrainingState, rows: Rows, threads: int | None) -> None:
        self.plan, self.device, self.xp = program.plan, program.device, program.device.xp
        self._weight_mask = program.weight_mask
        self._dtype = getattr(self.xp, self.plan.dtype)
        self._threads = threads
        row_elements = 2 * sum(int(np.prod(shape)) for shape in self.plan.network.shapes)
        self._row_bytes = row_elements * np.dtype(self.plan.dtype).itemsize
        self.replace(rows)
        self.restore(state)

    def train(self, order: np.ndarray, bounds: np.ndarray, steps: np.ndarray) -> np.ndarray:
        check_slice(self._rows, order, bounds, steps)
        order = self.device.from_host(order)
        losses, weights, penalties = [], [], []
        with self._working():
            for (start, stop), values in zip(pairwise(bounds.tolist()), steps.tolist(), strict=True):
                step = Step(*values)
                sums = self._gradient(order[start:stop], step.dropout)
                losses.append(sums.loss)
                weights.append(sums.weight)
                penalties.append(self._apply(sums, step))
        return np.stack([self._column(losses), self._column(weights), self._column(penalties)], axis=1)

    def gradient(self, order: np.ndarray, dropout: float = 0.0, first_row: int = 0) -> GradientSums:
        check_order(self._rows, order)
        check_dropout(dropout, dropout)
        if not len(order):
            return GradientSums(0.0, 0.0, np.zeros(self.plan.network.size, self.plan.dtype))
        with self._working():
            sums = self._gradient(self.device.from_host(order), dropout, first_row)
        return GradientSums(float(sums.loss), sums.weight, np.array(self.device.to_host(sums.gradient)))

    def apply(self, sums: GradientSums, step: Step) -> float:
        gradient = self.device.from_host(np.asarray(sums.gradient, self.plan.dtype))
        with self._working():
            return float(self._apply(sums._replace(gradient=gradient), Step(*map(float, step))))

    def evaluate(self, order: np.ndarray) -> tuple[float, float]:
        check_order(self._rows, order)
        xp, order, loss, weight = self.xp, self.device.from_host(order), 0.0, 0.0
        with self._working():
            for part in self._parts(order.shape[0], ACTIVATION_BYTES):
                x, targets, weights = self._batch(order[part])
                parameters = self.plan.network.unpack(self._vector, xp)
                outputs = forward(self.plan.network, parameters, x, xp).outputs
                losses, _ = self.plan.loss.value_and_gradient(outputs, targets, xp)
                loss += float(xp.sum(losses if weights is None else losses * weights))
                weight += float(x.shape[0] if weights is None else xp.sum(weights))
        return loss, weight

    def predict(self, x: Array) -> np.ndarray:
        if isinstance(x, np.ndarray):
            x = self.device.from_host(x)
        outputs = [np.empty((0, self.plan.outputs), self.plan.dtype)]
        parameters = self.plan.network.unpack(self._vector, self.xp)
        with self._working():
            for part in self._parts(x.shape[0], PREDICTION_BYTES):
                rows = self.xp.astype(x[part, ...], self._dtype, copy=False)
                outputs.append(self.device.to_host(forward(self.plan.network, parameters, rows, self.xp).outputs))
        return np.concatenate(outputs)

    def replace(self, rows: Rows) -> None:
        check_rows(self.plan, rows)
        from_host, dtype = self.device.from_host, self.plan.dtype
        # `take` would copy the whole of an array that isn't contiguous, every time.
        self._x = from_host(np.ascontiguousarray(rows.x))
        self._targets = from_host(np.asarray(rows.targets, np.int32 if self.plan.loss.targets == "labels" else dtype))
        self._weights = None if rows.weights is None else from_host(np.asarray(rows.weights, dtype))
        self._rows = len(rows.x)

    def state(self) -> TrainingState:
        parameters, *slots = (np.array(self.device.to_host(vector)) for vector in (self._vector, *self._slots))
        return TrainingState(parameters, tuple(slots), self._count, self._seed)

    def restore(self, state: TrainingState) -> None:
        vectors = (np.array(vector, self.plan.dtype) for vector in (state.parameters, *state.slots))
        self._vector, *self._slots = (self.device.from_host(vector) for vector in vectors)
        self._count, self._seed = state.count, state.seed

    @contextlib.contextmanager
    def _working(self) -> Iterator[None]:
        """Within the limit of threads; overflow shows in the log, so NumPy needn't warn of it."""
        with at_most(self._threads), np.errstate(all="ignore"):
            yield

    def _gradient(self, order: Array, dropout: float, first_row: int = 0) -> GradientSums:
        total: GradientSums | None = None
        for part in self._parts(order.shape[0], ACTIVATION_BYTES):
            source = DropoutSource(self._seed, self._count, dropout, first_row + part.start) if dropout else None
            x, targets, weights = self._batch(order[part])
            sums = gradient_sums(self.plan, self._vector, x, targets, weights, self.xp, source)
            total = sums if total is None else GradientSums(*(a + b for a, b in zip(total, sums, strict=True)))
        assert total is not None, "a batch is never empty"
        return total

    def _apply(self, sums: GradientSums, step: Step) -> Array | float:
        count = self._count + 1
        result = update(self.plan, self._vector, tuple(self._slots), self._weight_mask, sums, count, step, self.xp)
        self._vector, self._slots, self._count = result.vector, list(result.slots), count
        return result.penalty

    def _batch(self, order: Array) -> tuple[Array, Array, Array | None]:
        take, dtype = self.xp.take, self._dtype
        x = self.xp.astype(take(self._x, order, axis=0), dtype, copy=False)
        return (
            x,
            take(self._targets, order, axis=0),
            None if self._weights is None else take(self._weights, order, axis=0),
        )

    def _parts(self, rows: int, most_bytes: int) -> Iterator[slice]:
        size = max(1, most_bytes // self._row_bytes)
        for start in range(0, rows, size):
            yield slice(start, min(start + size, rows))

    def _column(self, values: list[Array | float]) -> np.ndarray:
        if not values or isinstance(values[0], (int, float)):
            return np.asarray(values, np.float64)
        return self.device.to_host(self.xp.stack(values)).astype(np.float64)
