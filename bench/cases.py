"""Cases: the workloads that every benchmark runs, as data."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from nnaccel.cost import multiply_adds_per_row
from nnaccel.errors import check
from nnaccel.losses import as_loss
from nnaccel.network import Dense, Network
from nnaccel.optimizers import SGD, Adam, Optimizer
from nnaccel.order import Shuffled, generator
from nnaccel.plan import Plan
from nnaccel.program import Rows

# Apart from the streams that the orders of the epochs and the initial parameters come from.
_ROWS_STREAM, _TEACHER_STREAM = 2**62, 2**62 + 1


class Work(NamedTuple):
    """What `Run.train` takes: a number of steps, each with its rows.

    Attributes
    ----------
    order : int32 array
        Row numbers.
    bounds : int32 array (s + 1,)
        Batch i is `order[bounds[i]:bounds[i + 1]]`.
    steps : float64 array (s, 4)
        The numbers of each `Step`.
    """

    order: np.ndarray
    bounds: np.ndarray
    steps: np.ndarray

    def first(self, count: int) -> "Work":
        """Only the first `count` steps."""
        return Work(self.order, self.bounds[: count + 1], self.steps[:count])


@dataclass(frozen=True)
class Case:
    """A network, made-up data of a given size, and how to train the one on the other.

    Attributes
    ----------
    name : str
    rows, features, outputs : int
    hidden : tuple of int
        The units of each hidden layer.
    activation : str
        Of the hidden layers.
    loss : str
    batch : int
        Rows in a batch; a ragged last one is left out.
    epochs : int
        How many epochs one sample of a timing lasts: enough for a clock to be fair.
    dtype : "float32" or "float64"
    output_activation : str
    bias : bool
    optimizer : Optimizer
    """

    name: str
    rows: int
    features: int
    hidden: tuple[int, ...]
    outputs: int
    activation: str
    loss: str
    batch: int
    epochs: int
    dtype: str = "float32"
    output_activation: str = "identity"
    bias: bool = True
    optimizer: Optimizer = SGD(learning_rate=0.01)

    def using(self, optimizer: Optimizer) -> "Case":
        """The same case with another optimizer."""
        return replace(self, optimizer=optimizer)

    def in_dtype(self, dtype: str) -> "Case":
        """The same case in another dtype."""
        return replace(self, dtype=dtype)

    def shortened(self, divisor: int) -> "Case":
        """The same case with samples of fewer epochs, at least one."""
        return replace(self, epochs=max(1, self.epochs // divisor))

    @property
    def steps_per_epoch(self) -> int:
        """How many whole batches an epoch has."""
        return self.rows // self.batch

    @property
    def rows_per_epoch(self) -> int:
        """How many rows these have."""
        return self.steps_per_epoch * self.batch

    @property
    def operations_per_epoch(self) -> int:
        """The multiplications and additions of an epoch's matrix products."""
        return 2 * multiply_adds_per_row(self.plan()) * self.rows_per_epoch

    @property
    def shape(self) -> str:
        """Sizes for people to read.

        Examples
        --------
        >>> CASES["digits"].shape
        '1,797 x 64, 100-10, batch 200'
        """
        widths = "-".join(map(str, (*self.hidden, self.outputs)))
        return f"{self.rows:,} x {self.features}, {widths}, batch {self.batch}"

    def plan(self) -> Plan:
        """The plan that backends compile."""
        layers = [Dense(units, self.activation, bias=self.bias) for units in self.hidden]
        layers.append(Dense(self.outputs, self.output_activation, bias=self.bias))
        return Plan(Network(self.features, layers), as_loss(self.loss), self.optimizer, dtype=self.dtype)

    def data(self, seed: int = 0) -> Rows:
        """Standard normal features, and targets that a linear teacher makes of them, so that there is something to learn.

        Classes are the teacher's largest output; the targets of a sigmoid are 1 where its output is positive, else 0.
        """
        x = generator(seed, _ROWS_STREAM).standard_normal((self.rows, self.features))
        teacher = generator(seed, _TEACHER_STREAM).standard_normal((self.features, self.outputs))
        taught = x @ (teacher / math.sqrt(self.features))
        if as_loss(self.loss).targets == "labels":
            return Rows(x.astype(self.dtype), taught.argmax(axis=1).astype(np.int32))
        targets = taught > 0 if self.output_activation == "sigmoid" else taught
        return Rows(x.astype(self.dtype), targets.astype(self.dtype))

    def work(self, epochs: int | None = None, seed: int = 0) -> Work:
        """The whole batches of some epochs, as many as one sample lasts unless told, each epoch in a new order."""
        count = self.epochs if epochs is None else epochs
        rows, used = np.arange(self.rows, dtype=np.int32), self.rows_per_epoch
        order = np.concatenate([Shuffled(seed).epoch(number, rows)[:used] for number in range(count)])
        bounds = np.arange(0, len(order) + 1, self.batch, dtype=np.int32)
        return Work(order, bounds, np.tile(np.array(self.optimizer.base_step), (len(bounds) - 1, 1)))


CASES: dict[str, Case] = {
    case.name: case
    for case in (
        Case("tabular", 10_000, 20, (64, 64), 1, "relu", "mean_squared_error", batch=64, epochs=5),
        Case("digits", 1_797, 64, (100,), 10, "relu", "softmax_cross_entropy", batch=200, epochs=20),
        Case("mnist", 20_000, 784, (128,), 10, "relu", "softmax_cross_entropy", batch=128, epochs=1),
        Case("wide", 10_240, 784, (1024, 1024), 10, "relu", "softmax_cross_entropy", batch=512, epochs=1),
        Case(
            "neuron", 4, 3, (), 1, "identity", "sum_of_squares", batch=4, epochs=10_000, dtype="float64",
            output_activation="sigmoid", bias=False, optimizer=SGD(learning_rate=0.5),
        ),
    )
}  # fmt: skip
"""The cases by name, from a small table to a wide network, and the nine-line neuron for 10,000 steps."""


OPTIMIZERS: dict[str, Optimizer | None] = {"sgd": None, "adam": Adam()}
"""What each case is trained with, by name; None is the case's own, SGD at a learning rate that suits it."""


def variants(names: Sequence[str] = (), optimizers: Sequence[str] = ()) -> list[Case]:
    """The named cases, each with the named optimizers; all of either where none is named.

    Raises
    ------
    InputError
        If a name is unknown.

    Examples
    --------
    >>> [case.optimizer.name for case in variants(["mnist"])]
    ['sgd', 'adam']
    """
    for name in names:
        check(name in CASES, f"unknown case {name!r}; known: {', '.join(CASES)}.")
    for name in optimizers:
        check(name in OPTIMIZERS, f"unknown optimizer {name!r} of the benchmark; known: {', '.join(OPTIMIZERS)}.")
    rules = [OPTIMIZERS[name] for name in optimizers or OPTIMIZERS]
    return [CASES[name] if rule is None else CASES[name].using(rule) for name in names or CASES for rule in rules]
