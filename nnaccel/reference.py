"""One training step, composed of the formulas of the descriptions, for any array-API library.

Nothing here writes into an array. This is the maths that every kernel is checked against, written to be read.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from nnaccel.arrays import Array, Namespace
from nnaccel.dropout import DropoutSource
from nnaccel.network import Network
from nnaccel.optimizers import Step, clip_by_norm
from nnaccel.plan import Plan

Parameters = Sequence[Mapping[str, Array]]
"""The parameters of each layer by name, as `Network.unpack` gives them."""


class Tape(NamedTuple):
    """What the backward pass needs of the forward pass; each list has an item a layer.

    Attributes
    ----------
    inputs : list of array (n, ...)
    saved : list of array (n, ...)
        What the derivative of the activation takes.
    masks : list of array (n, ...) or None
        What dropout multiplied the outputs by.
    outputs : array (n, ...)
        The outputs of the network.
    """

    inputs: list[Array]
    saved: list[Array]
    masks: list[Array | None]
    outputs: Array


class GradientSums(NamedTuple):
    """Sums over rows, before any division; those of several parts of a batch, or of several machines, simply add up.

    Attributes
    ----------
    loss : scalar
        The sum of the weighted losses.
    weight : float
        The sum of the weights; the number of rows, where they have none.
    gradient : array (size,)
        The sum of the weighted gradients, as a flat vector.
    """

    loss: Array
    weight: float
    gradient: Array


def forward(
    network: Network, parameters: Parameters, x: Array, xp: Namespace, dropout: DropoutSource | None = None
) -> Tape:
    """Run rows through the network.

    Parameters
    ----------
    x : array (n, *input_shape)
        In the dtype of the parameters.
    dropout : DropoutSource, optional
        Without it, nothing is dropped.
    """
    tape = Tape([], [], [], x)
    for i, layer in enumerate(network.layers):
        z = layer.linear(parameters[i], x, xp)
        y = layer.activation.value(z, xp)
        mask = dropout.mask(i, layer.dropout, y, xp) if dropout and layer.dropout else None
        tape.inputs.append(x)
        tape.saved.append(y if layer.activation.saves == "output" else z)
        tape.masks.append(mask)
        x = y if mask is None else y * mask
    return tape._replace(outputs=x)


def backward(
    network: Network, parameters: Parameters, tape: Tape, delta: Array, xp: Namespace
) -> list[dict[str, Array]]:
    """The gradient of every parameter, from `delta`, the gradient with respect to the outputs (Rumelhart et al. 1986)."""
    gradients: list[dict[str, Array]] = [{} for _ in network.layers]
    for i in reversed(range(len(network.layers))):
        layer, mask = network.layers[i], tape.masks[i]
        if mask is not None:
            delta = delta * mask
        if layer.activation.name != "identity":
            delta = delta * layer.activation.derivative(tape.saved[i], xp)
        gradients[i] = layer.parameter_gradients(tape.inputs[i], delta, xp)
        if i:
            delta = layer.input_gradient(parameters[i], tape.inputs[i], delta, xp)
    return gradients


def flatten(network: Network, layers: Sequence[Mapping[str, Array]], like: Array, xp: Namespace) -> Array:
    """The flat vector of arrays that are given by layer and name, with zeros for padding."""
    parts = []
    for block in network.blocks:
        parts.append(xp.reshape(layers[block.layer][block.name], (-1,)))
        if block.padding:
            parts.append(xp.zeros(block.padding, dtype=like.dtype, device=like.device))
    return xp.concat(parts)


def gradient_sums(
    plan: Plan,
    vector: Array,
    x: Array,
    targets: Array,
    weights: Array | None,
    xp: Namespace,
    dropout: DropoutSource | None = None,
) -> GradientSums:
    """The loss and its gradient, summed over rows.

    Parameters
    ----------
    vector : array (size,)
        The parameters.
    x : array (n, *input_shape)
    targets : int32 array (n,) or array (n, outputs)
    weights : array (n,), optional
    """
    network = plan.network
    parameters = network.unpack(vector, xp)
    tape = forward(network, parameters, x, xp, dropout)
    losses, delta = plan.loss.value_and_gradient(tape.outputs, targets, xp)
    if weights is not None:
        losses, delta = losses * weights, delta * weights[:, None]
    gradients = backward(network, parameters, tape, delta, xp)
    weight = float(x.shape[0] if weights is None else xp.sum(weights))
    return GradientSums(xp.sum(losses), weight, flatten(network, gradients, vector, xp))


class Update(NamedTuple):
    """What one update leaves behind."""

    vector: Array
    slots: tuple[Array, ...]
    penalty: Array | float


def update(
    plan: Plan,
    vector: Array,
    slots: tuple[Array, ...],
    weight_mask: Array,
    sums: GradientSums,
    count: int,
    step: Step,
    xp: Namespace,
) -> Update:
    """Turn the sums of a batch into new parameters: mean, penalty, clipping, optimizer, in this order.

    A batch whose weights sum to zero has the data gradient zero, and no penalty where that is divided by the weights.
    """
    divisor = sums.weight or math.inf
    gradient = sums.gradient / divisor if plan.loss.divides_by_weights else sums.gradient
    penalty: Array | float = 0.0
    if plan.l2.strength:
        penalty, penalty_gradient = plan.l2.value_and_gradient(vector, weight_mask, divisor, xp)
        gradient = gradient + penalty_gradient
    if plan.clip_norm is not None:
        gradient = clip_by_norm(gradient, plan.clip_norm, xp)
    new_vector, new_slots = plan.optimizer.update(vector, slots, gradient, weight_mask, count, step, xp)
    return Update(new_vector, new_slots, penalty)
