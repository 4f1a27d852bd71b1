"""The loop that one would write by hand in NumPy: what every backend must keep up with.

It shares no code with the rest: plain functions, lists of weights and biases, updates in place.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise

import numpy as np

from nnaccel.bench.cases import Case, Work
from nnaccel.bench.contender import Layers, Peer, Task, Training

Gradient = Callable[[np.ndarray, np.ndarray], np.ndarray]
"""Turns outputs (n, outputs) and targets into the gradient of the loss, in the shape of the outputs."""

Update = Callable[[Layers, Layers], None]
"""Changes layers by their gradients, in place."""


def cross_entropy_gradient(outputs: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The gradient of the softmax cross-entropy, mean over the rows."""
    p: np.ndarray = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    p /= p.sum(axis=1, keepdims=True)
    p[np.arange(len(p)), labels] -= 1
    p /= len(p)
    return p


def squared_error_gradient(outputs: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The gradient of the squared error, mean over the rows and outputs."""
    error: np.ndarray = outputs - targets
    error *= 2 / error.size
    return error


LOSS_GRADIENTS: dict[str, Gradient] = {
    "softmax_cross_entropy": cross_entropy_gradient,
    "mean_squared_error": squared_error_gradient,
}


def gradients(layers: Layers, x: np.ndarray, targets: np.ndarray, loss_gradient: Gradient) -> Layers:
    """Forward and back through a network with ReLU between its layers."""
    activations = [x]
    for i, (weights, biases) in enumerate(layers):
        z = activations[-1] @ weights
        z += biases
        activations.append(np.maximum(z, 0, out=z) if i < len(layers) - 1 else z)
    delta = loss_gradient(activations.pop(), targets)
    found: Layers = []
    for a, (weights, _) in zip(reversed(activations), reversed(layers), strict=True):
        found.append((a.T @ delta, delta.sum(axis=0)))
        if a is not x:
            delta = delta @ weights.T
            delta *= a > 0
    return found[::-1]


def neuron_gradients(layers: Layers, x: np.ndarray, targets: np.ndarray) -> Layers:
    """Forward and back through one layer of sigmoid units without biases, trained on the sum of squares."""
    ((weights,),) = layers
    o = 1 / (1 + np.exp(-(x @ weights)))
    return [(x.T @ (2 * (o - targets) * o * (1 - o)),)]


def train_neuron(weights: np.ndarray, x: np.ndarray, targets: np.ndarray, learning_rate: float, steps: int) -> None:
    """The neuron's training by SGD, with nothing that can be left out: the loop of the nine lines."""
    rate = 2 * learning_rate
    for _ in range(steps):
        o = 1 / (1 + np.exp(-(x @ weights)))
        weights += rate * (x.T @ ((targets - o) * o * (1 - o)))


def sgd(learning_rate: float) -> Update:
    """Stochastic gradient descent, without momentum."""

    def update(layers: Layers, found: Layers) -> None:
        for p, g in arrays(layers, found):
            p -= learning_rate * g

    return update


def adam(learning_rate: float, beta_1: float = 0.9, beta_2: float = 0.999, epsilon: float = 1e-8) -> Update:
    """Adam, its bias corrected in the learning rate; keeps its moments from call to call."""
    moments: list[tuple[np.ndarray, np.ndarray]] = []
    count = 0

    def update(layers: Layers, found: Layers) -> None:
        nonlocal count
        count += 1
        if not moments:
            moments.extend((np.zeros_like(p), np.zeros_like(p)) for p, _ in arrays(layers, found))
        rate = learning_rate * float(np.sqrt(1 - beta_2**count)) / (1 - beta_1**count)
        for (p, g), (m, v) in zip(arrays(layers, found), moments, strict=True):
            m *= beta_1
            m += (1 - beta_1) * g
            v *= beta_2
            v += (1 - beta_2) * g * g
            p -= rate * m / (np.sqrt(v) + epsilon)

    return update


UPDATES: dict[str, Callable[[float], Update]] = {"sgd": sgd, "adam": adam}


def arrays(layers: Layers, found: Layers) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each parameter with its gradient."""
    for layer, gradient in zip(layers, found, strict=True):
        yield from zip(layer, gradient, strict=True)


class NumpyPeer(Peer):
    """The hand-written loops: one for networks, one for the neuron of nine lines."""

    name = module = "numpy"
    install = "pip install numpy"
    note = "written by hand, updates in place; the neuron takes its full batch in the order of the data"

    def cannot(self, case: Case) -> str | None:
        neuron = (case.hidden, case.output_activation, case.bias, case.loss) == ((), "sigmoid", False, "sum_of_squares")
        network = (case.activation, case.output_activation, case.bias) == ("relu", "identity", True)
        if neuron or (network and case.loss in LOSS_GRADIENTS):
            return None
        return "the hand-written loops are for networks of ReLU units and for the neuron"

    def start(self, task: Task, threads: int | None) -> "NumpyTraining":
        return NumpyTraining(task)


class NumpyTraining(Training):
    """Layers and an update."""

    kernel = "a loop by hand"

    def __init__(self, task: Task) -> None:
        self._task = task
        self.restart()

    def restart(self) -> None:
        optimizer = self._task.case.optimizer
        self._layers = self._task.layers()
        self._update = UPDATES[optimizer.name](optimizer.learning_rate)

    def train(self, work: Work) -> None:
        (x, targets, _), layers, update = self._task.rows, self._layers, self._update
        case, steps, order = self._task.case, len(work.bounds) - 1, work.order
        if not case.hidden and case.optimizer.name == "sgd":
            train_neuron(layers[0][0], x, targets, case.optimizer.learning_rate, steps)
            return
        if not case.hidden:
            for _ in range(steps):
                update(layers, neuron_gradients(layers, x, targets))
            return
        loss_gradient = LOSS_GRADIENTS[case.loss]
        for start, stop in pairwise(work.bounds.tolist()):
            rows = order[start:stop]
            update(layers, gradients(layers, x[rows], targets[rows], loss_gradient))

    def parameters(self) -> np.ndarray:
        return self._task.pack(self._layers)
