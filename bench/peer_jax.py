"""JAX on the CPU: all steps of a sample as one `lax.scan` inside one jitted function."""

import importlib
import os
from typing import Any

import numpy as np

from nnaccel.bench.cases import Work
from nnaccel.bench.contender import Peer, Task, Training
from nnaccel.optimizers import Optimizer

_BETA_1, _BETA_2, _EPSILON = 0.9, 0.999, 1e-8


class JaxPeer(Peer):
    """Gradients by `jax.grad`, the update by hand, nothing of Python between the steps."""

    name = module = "jax"
    install = "pip install jax"
    note = "jit of a lax.scan over all steps, which gathers each batch on the device; compiled anew for each number of steps"

    def start(self, task: Task, threads: int | None) -> "JaxTraining":
        return JaxTraining(task, _configured_jax(threads))


class JaxTraining(Training):
    """Parameters and moments as a tree of arrays, and the compiled function that trains them."""

    kernel = "jit of lax.scan"

    def __init__(self, task: Task, jax: Any) -> None:
        self._jax, self._task = jax, task
        self._x, self._targets = jax.numpy.asarray(task.rows.x), jax.numpy.asarray(task.rows.targets)
        self._train = _compiled(jax, task)
        self.restart()

    def restart(self) -> None:
        xp = self._jax.numpy
        layers = [tuple(xp.array(array) for array in layer) for layer in self._task.layers()]
        self._state = (layers, *_slots(self._jax, self._task, layers))
        self._count = 0

    def train(self, work: Work) -> None:
        batches = work.order[work.bounds[0] : work.bounds[-1]].reshape(len(work.bounds) - 1, -1)
        rates = _rates(self._task.case.optimizer, self._count, len(batches)).astype(self._task.case.dtype)
        self._state = self._jax.block_until_ready(self._train(self._state, batches, rates, self._x, self._targets))
        self._count += len(batches)

    def parameters(self) -> np.ndarray:
        return self._task.pack([tuple(np.asarray(array) for array in layer) for layer in self._state[0]])


def _rates(optimizer: Optimizer, count: int, steps: int) -> np.ndarray:
    """The learning rate of each step, with Adam's correction of the bias, which float32 couldn't compute."""
    if optimizer.name != "adam":
        return np.full(steps, optimizer.learning_rate)
    t = np.arange(count + 1, count + 1 + steps)
    rates: np.ndarray = optimizer.learning_rate * np.sqrt(1 - _BETA_2**t) / (1 - _BETA_1**t)
    return rates


def _configured_jax(threads: int | None) -> Any:
    if threads is not None:
        # XLA reads the size of its pool from here when it starts; there is no other way to tell it.
        os.environ.setdefault("NPROC", str(threads))
    jax: Any = importlib.import_module("jax")
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_enable_x64", True)
    return jax


def _slots(jax: Any, task: Task, layers: Any) -> tuple[Any, ...]:
    return tuple(jax.tree.map(jax.numpy.zeros_like, layers) for _ in task.plan.optimizer.slots)


def _compiled(jax: Any, task: Task) -> Any:
    gradient, update = jax.grad(_loss(jax, task)), _updates(jax)[task.case.optimizer.name]

    def train(state: Any, batches: Any, rates: Any, x: Any, targets: Any) -> Any:
        def step(state: Any, batch: Any) -> Any:
            rows, rate = batch
            return update(state, gradient(state[0], x[rows], targets[rows]), rate), None

        return jax.lax.scan(step, state, (batches, rates))[0]

    return jax.jit(train)


def _loss(jax: Any, task: Task) -> Any:
    xp, case = jax.numpy, task.case
    functions = {"relu": jax.nn.relu, "sigmoid": jax.nn.sigmoid, "identity": lambda z: z}
    activations = [functions[case.activation]] * len(case.hidden) + [functions[case.output_activation]]

    def cross_entropy(outputs: Any, labels: Any) -> Any:
        return -xp.mean(xp.take_along_axis(jax.nn.log_softmax(outputs), labels[:, None], axis=1))

    measures: dict[str, Any] = {
        "softmax_cross_entropy": cross_entropy,
        "mean_squared_error": lambda outputs, targets: xp.mean((outputs - targets) ** 2),
        "sum_of_squares": lambda outputs, targets: xp.sum((outputs - targets) ** 2),
    }
    measure = measures[case.loss]

    def loss(layers: Any, x: Any, targets: Any) -> Any:
        for (weights, *biases), activation in zip(layers, activations, strict=True):
            x = activation(x @ weights + biases[0] if biases else x @ weights)
        return measure(x, targets)

    return loss


def _updates(jax: Any) -> dict[str, Any]:
    xp, tree = jax.numpy, jax.tree

    def sgd(state: Any, gradient: Any, rate: Any) -> Any:
        return (tree.map(lambda p, g: p - rate * g, state[0], gradient),)

    def adam(state: Any, gradient: Any, rate: Any) -> Any:
        p, m, v = state
        m = tree.map(lambda m, g: _BETA_1 * m + (1 - _BETA_1) * g, m, gradient)
        v = tree.map(lambda v, g: _BETA_2 * v + (1 - _BETA_2) * g * g, v, gradient)
        return tree.map(lambda p, m, v: p - rate * m / (xp.sqrt(v) + _EPSILON), p, m, v), m, v

    return {"sgd": sgd, "adam": adam}
