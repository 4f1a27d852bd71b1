"""What a fitted network puts out, by NumPy alone: predictions need no backend, and take no lock."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnaccel.activations import Activation, Identity, ReLU

ROWS_AT_ONCE = 1024
"""So many rows go through all layers before the next ones: what passes between layers stays in the caches."""


def link_outputs(
    x: Any, weights: Sequence[np.ndarray], biases: Sequence[np.ndarray], activations: Sequence[Activation]
) -> np.ndarray:
    """The outputs of the last layer, before the loss says what they mean.

    Parameters
    ----------
    x : array or sparse matrix (n, features)
    weights, biases : sequence of array
        Of all layers.
    activations : sequence of Activation
        Of the hidden ones.

    Returns
    -------
    array (n, outputs)
    """
    rows = x.shape[0]
    if rows <= ROWS_AT_ONCE:
        return _through_layers(x, weights, biases, activations)
    parts = (x[start : start + ROWS_AT_ONCE] for start in range(0, rows, ROWS_AT_ONCE))
    return np.concatenate([_through_layers(part, weights, biases, activations) for part in parts])


def _through_layers(
    x: Any, weights: Sequence[np.ndarray], biases: Sequence[np.ndarray], activations: Sequence[Activation]
) -> np.ndarray:
    for weight, bias, activation in zip(weights, biases, (*activations, Identity()), strict=True):
        z = x @ weight
        z += bias
        x = np.maximum(z, 0, out=z) if isinstance(activation, ReLU) else activation.value(z, np)
    result: np.ndarray = x
    return result
