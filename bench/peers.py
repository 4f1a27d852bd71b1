"""The loop that one would write by hand in NumPy: what every backend is checked against and must keep up with.

It shares no code with the rest: plain functions, lists of weights and biases, updates in place.
"""

from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

import numpy as np

Layers = list[tuple[np.ndarray, np.ndarray]]
"""The weights (n_in, n_out) and the biases (n_out,) of each layer."""

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


def arrays(layers: Layers, found: Layers) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Each parameter with its gradient."""
    for layer, gradient in zip(layers, found, strict=True):
        yield from zip(layer, gradient, strict=True)


class Batches(NamedTuple):
    """Rows, and which of them each step takes: batch i is `order[bounds[i]:bounds[i + 1]]`."""

    x: np.ndarray
    targets: np.ndarray
    order: np.ndarray
    bounds: np.ndarray


def train_network(layers: Layers, batches: Batches, loss_gradient: Gradient, update: Update) -> None:
    """Train a ReLU network in place, one update a batch."""
    x, targets, order, bounds = batches
    for start, stop in pairwise(bounds.tolist()):
        rows = order[start:stop]
        update(layers, gradients(layers, x[rows], targets[rows], loss_gradient))


def train_neuron(weights: np.ndarray, batches: Batches, learning_rate: float) -> None:
    """Train one sigmoid neuron in place on the sum of squares, the full batch at every step, in the order of the data."""
    x, y, rate = batches.x, batches.targets, 2 * learning_rate
    for _ in range(len(batches.bounds) - 1):
        o = 1 / (1 + np.exp(-(x @ weights)))
        weights += rate * (x.T @ ((y - o) * o * (1 - o)))
