"""What a network with parameters puts out, by NumPy alone: predictions need no backend, and take no lock."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from nnaccel.activations import Activation, ReLU

BYTES_AT_ONCE = 1 << 20
"""So many rows go through all layers before the next ones that what passes between layers stays in the caches."""

FilledLayer = tuple[np.ndarray, np.ndarray | None, Activation]
"""Weights (inputs, units), biases (units,) if there are any, and what comes after."""


def network_outputs(layers: Sequence[FilledLayer], x: Any) -> np.ndarray:
    """Run rows through fully connected layers.

    Parameters
    ----------
    layers : sequence of FilledLayer
    x : array or sparse matrix (n, inputs)

    Returns
    -------
    array (n, outputs)
        At the link scale: the loss says what they mean.

    Examples
    --------
    >>> from nnaccel.activations import Identity
    >>> network_outputs([(np.array([[2.0]]), np.array([1.0]), Identity())], np.array([[3.0]]))
    array([[7.]])
    """
    x = x if isinstance(x, np.ndarray) else x.tocsr()  # of the other sparse matrices each piece takes a pass over all
    widest = max(weight.shape[1] * weight.itemsize for weight, _, _ in layers)
    rows, rows_at_once = x.shape[0], max(64, BYTES_AT_ONCE // widest)
    if rows <= rows_at_once:
        return _through_layers(layers, x)
    return np.concatenate(
        [_through_layers(layers, x[start : start + rows_at_once]) for start in range(0, rows, rows_at_once)]
    )


def _through_layers(layers: Sequence[FilledLayer], x: Any) -> np.ndarray:
    for weight, bias, activation in layers:
        z = x @ weight
        if bias is not None:
            z += bias
        x = np.maximum(z, 0, out=z) if isinstance(activation, ReLU) else activation.value(z, np)
    result: np.ndarray = x
    return result
