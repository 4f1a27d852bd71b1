"""The contract between a benchmark and what takes part in it, be it a backend or another library.

contender.start(task, threads) -> Training      a library made ready to train one case on its data
training.restart(); training.train(work)        every sample makes the same steps from the same parameters
"""

import importlib.util
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np

from nnaccel.backends import Backend
from nnaccel.bench.cases import Case, Work
from nnaccel.optimizers import Optimizer
from nnaccel.plan import Plan
from nnaccel.program import Rows, TrainingState

Layers = list[tuple[np.ndarray, ...]]
"""The arrays of each layer: weights (n_in, n_out) and, where it has them, biases (n_out,)."""

SEED = 0
"""Where every contender's initial parameters come from."""


@dataclass(frozen=True)
class Task:
    """A case with its data and the parameters that all contenders begin with.

    Attributes
    ----------
    case : Case
    plan : Plan
    rows : Rows
    initial : array (size,)
        In the layout of `Network.blocks` and the dtype of the case.
    """

    case: Case
    plan: Plan
    rows: Rows
    initial: np.ndarray

    @staticmethod
    def of(case: Case) -> "Task":
        """The task that a case sets."""
        plan = case.plan()
        return Task(case, plan, case.data(), plan.network.initial_parameters(SEED, case.dtype))

    @property
    def labels(self) -> bool:
        """Whether the targets are class labels."""
        return self.plan.loss.targets == "labels"

    def layers(self) -> Layers:
        """New arrays with the initial parameters."""
        return [
            tuple(np.array(layer[name]) for name in ("weight", "bias") if name in layer)
            for layer in self.plan.network.unpack(self.initial, np)
        ]

    def pack(self, layers: Layers) -> np.ndarray:
        """The flat vector of the parameters, in the layout and dtype of `initial`."""
        return self.plan.network.pack(layers, self.case.dtype)


class Training(ABC):
    """A contender at work on one task.

    Attributes
    ----------
    kernel : str
        What runs, for people to read.
    """

    kernel: str = ""

    @abstractmethod
    def restart(self) -> None:
        """Go back to the initial parameters and to an optimizer that has seen nothing."""

    @abstractmethod
    def train(self, work: Work) -> None:
        """Make these steps, and return once the parameters are computed."""

    @abstractmethod
    def parameters(self) -> np.ndarray:
        """The parameters in the layout of `Task.initial`, on the host."""


class Contender(ABC):
    """What takes part in a benchmark.

    Attributes
    ----------
    name : str
    kind : "backend" or "peer"
    """

    name: str
    kind: Literal["backend", "peer"]

    def cannot(self, case: Case) -> str | None:
        """Why it can't train this case, in a few words; None if it can."""
        return None

    def optimizer(self, case: Case) -> Optimizer:
        """The optimizer whose formula it follows: the case's own, or its nearest relative."""
        return case.optimizer

    @abstractmethod
    def start(self, task: Task, threads: int | None) -> Training:
        """Make ready to train, on at most so many threads."""


class Peer(Contender):
    """Another library, which may or may not be installed.

    Attributes
    ----------
    module : str
        What is imported of it, inside `start` only.
    install : str
        The command that installs it.
    note : str
        How it is used, and where its maths differs.
    """

    kind = "peer"
    module: ClassVar[str]
    install: ClassVar[str]
    note: ClassVar[str]

    def missing(self) -> str | None:
        """A sentence with the remedy if it isn't installed."""
        if importlib.util.find_spec(self.module) is not None:
            return None
        return f"{self.module} isn't installed: {self.install}"


class BackendContender(Contender):
    """One of the backends of this project."""

    kind = "backend"

    def __init__(self, backend: Backend) -> None:
        self.backend = backend
        self.name = backend.name

    def start(self, task: Task, threads: int | None) -> "BackendTraining":
        return BackendTraining(self.backend, task, threads)


class BackendTraining(Training):
    """A run of a backend's program."""

    def __init__(self, backend: Backend, task: Task, threads: int | None) -> None:
        program = backend.compile(task.plan)
        self.kernel = program.kernel
        self._initial = TrainingState.initial(task.plan, SEED, task.initial)
        self._run = program.start(self._initial, task.rows, task.case.batch, threads)

    def restart(self) -> None:
        self._run.restore(self._initial)

    def train(self, work: Work) -> None:
        self._run.train(*work)

    def parameters(self) -> np.ndarray:
        return self._run.state().parameters
