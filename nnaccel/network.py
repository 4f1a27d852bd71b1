"""Networks: frozen descriptions of layers, and where each parameter lies in one flat vector.

All parameters of a network live in one vector, so that an optimizer is one elementwise pass, a checkpoint one tensor, an
all-reduce one call. Each parameter's block begins at a multiple of `ALIGNMENT` elements; the padding between stays zero.
"""

import functools
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np

from nnaccel.activations import ACTIVATIONS, Activation, as_activation
from nnaccel.arrays import Array, Namespace
from nnaccel.described import entries, entry
from nnaccel.description import plain_number
from nnaccel.errors import InputError, check
from nnaccel.order import INITIAL_STREAM, generator

ALIGNMENT = 16

Shape = tuple[int, ...]


@dataclass(frozen=True)
class VarianceScaling:
    """Random weights with variance `scale / fan`.

    `fan` is the number of inputs of a unit, or the mean of its numbers of inputs and outputs.
    """

    scale: float
    fan: Literal["in", "average"]
    distribution: Literal["uniform", "normal"]

    def draw(self, shape: Shape, random: np.random.Generator) -> np.ndarray:
        """Weights of `shape`, (inputs, ..., outputs), float64."""
        inputs, outputs = math.prod(shape[:-1]), shape[-1]
        fan = inputs if self.fan == "in" else (inputs + outputs) / 2
        deviation = math.sqrt(self.scale / fan)
        if self.distribution == "normal":
            return random.normal(0.0, deviation, shape)
        limit = math.sqrt(3) * deviation
        return random.uniform(-limit, limit, shape)


INITIALIZERS: dict[str, VarianceScaling] = {
    # Glorot and Bengio 2010; He et al. 2015, arXiv:1502.01852; LeCun et al. 1998, "Efficient BackProp".
    "glorot_uniform": VarianceScaling(1.0, "average", "uniform"),
    "glorot_normal": VarianceScaling(1.0, "average", "normal"),
    "he_uniform": VarianceScaling(2.0, "in", "uniform"),
    "he_normal": VarianceScaling(2.0, "in", "normal"),
    "lecun_uniform": VarianceScaling(1.0, "in", "uniform"),
    "lecun_normal": VarianceScaling(1.0, "in", "normal"),
}

_INITIALIZER_FOR = dict.fromkeys(ACTIVATIONS, "glorot_uniform") | {
    "relu": "he_uniform",
    "leaky_relu": "he_uniform",
    "elu": "he_uniform",
    "gelu": "he_uniform",
    "silu": "he_uniform",
    "selu": "lecun_normal",
}


@dataclass(frozen=True)
class Layer(ABC):
    """A linear map with parameters, followed by an activation and dropout.

    A layer states its shapes and its formulas; `reference.py` strings layers together. Shapes leave out the batch.

    Attributes
    ----------
    activation : Activation
        What follows the linear map.
    dropout : float
        The part of the outputs that training drops at random.
    """

    activation: Activation
    dropout: float

    @abstractmethod
    def describe(self) -> dict[str, Any]:
        """The layer for JSON: its "kind", a name in `LAYERS`, and its settings."""

    @staticmethod
    @abstractmethod
    def restore(described: Mapping[str, Any]) -> "Layer":
        """The layer that was described; `ValueError` if it is none."""

    @abstractmethod
    def output_shape(self, input_shape: Shape) -> Shape:
        """The shape of a row of outputs."""

    @abstractmethod
    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        """The parameters by name. Only the one called "weight" is initialised at random, penalised and decayed."""

    @abstractmethod
    def linear(self, parameters: Mapping[str, Array], x: Array, xp: Namespace) -> Array:
        """The sums that go into the activation, (n, *output_shape)."""

    @abstractmethod
    def input_gradient(self, parameters: Mapping[str, Array], x: Array, delta: Array, xp: Namespace) -> Array:
        """The gradient with respect to the inputs `x`, from `delta`, that with respect to the sums."""

    @abstractmethod
    def parameter_gradients(self, x: Array, delta: Array, xp: Namespace) -> dict[str, Array]:
        """The gradients with respect to the parameters, summed over the rows, in their order."""


@dataclass(frozen=True)
class Dense(Layer):
    """A fully connected layer: activation(x @ W + b), W of shape (inputs, units).

    Parameters
    ----------
    units : int
        The number of outputs.
    activation : str or Activation
        See `nnaccel.activations`; "identity" by default.
    bias : bool
        Whether there is a b.
    dropout : float
        The part of the outputs that training sets to zero at random, from 0 to below 1; the rest is scaled up to keep the
        mean (Srivastava et al. 2014).
    initializer : str, optional
        A name in `INITIALIZERS`; by default the one that suits the activation: He for the rectifiers, LeCun for SELU, else
        Glorot. Biases begin at zero.

    Raises
    ------
    InputError
        If a value is out of range or a name unknown.

    Examples
    --------
    >>> Dense(100, "relu", dropout=0.1).output_shape((64,))
    (100,)
    """

    units: int
    activation: Activation
    bias: bool
    dropout: float
    initializer: str

    def __init__(
        self,
        units: int,
        activation: str | Activation = "identity",
        *,
        bias: bool = True,
        dropout: float = 0.0,
        initializer: str | None = None,
    ) -> None:
        check(
            isinstance(units, (int, np.integer)) and units >= 1,
            f"a layer must have a whole number of units, 1 or more, not {units!r}.",
        )
        dropout = plain_number("dropout", float, dropout)
        check(0 <= dropout < 1, f"dropout must be at least 0 and below 1, not {dropout}.")
        chosen = as_activation(activation)
        initializer = initializer or _INITIALIZER_FOR[chosen.name]
        check(initializer in INITIALIZERS, f"unknown initializer {initializer!r}; known: {', '.join(INITIALIZERS)}.")
        object.__setattr__(self, "units", int(units))
        object.__setattr__(self, "activation", chosen)
        object.__setattr__(self, "bias", bool(bias))
        object.__setattr__(self, "dropout", dropout)
        object.__setattr__(self, "initializer", initializer)

    def describe(self) -> dict[str, Any]:
        arguments = {"bias": self.bias, "dropout": self.dropout, "initializer": self.initializer}
        return {"kind": "dense", "units": self.units, "activation": str(self.activation), **arguments}

    @staticmethod
    def restore(described: Mapping[str, Any]) -> "Dense":
        return Dense(
            entry(described, "units", int),
            entry(described, "activation", str),
            bias=entry(described, "bias", bool),
            dropout=entry(described, "dropout", float),
            initializer=entry(described, "initializer", str),
        )

    def output_shape(self, input_shape: Shape) -> Shape:
        check(
            len(input_shape) == 1,
            f"a dense layer takes rows of one dimension, not {input_shape}: flatten the data first.",
        )
        return (self.units,)

    def parameter_shapes(self, input_shape: Shape) -> dict[str, Shape]:
        shapes: dict[str, Shape] = {"weight": (input_shape[0], self.units)}
        return shapes | {"bias": (self.units,)} if self.bias else shapes

    def linear(self, parameters: Mapping[str, Array], x: Array, xp: Namespace) -> Array:
        z = x @ parameters["weight"]
        return z + parameters["bias"] if self.bias else z

    def input_gradient(self, parameters: Mapping[str, Array], x: Array, delta: Array, xp: Namespace) -> Array:
        return delta @ parameters["weight"].T

    def parameter_gradients(self, x: Array, delta: Array, xp: Namespace) -> dict[str, Array]:
        gradients = {"weight": x.T @ delta}
        return gradients | {"bias": xp.sum(delta, axis=0)} if self.bias else gradients


LAYERS: dict[str, type[Layer]] = {"dense": Dense}
"""The kinds of layers, as model files name them."""


class Block(NamedTuple):
    """One parameter's place in the flat vector: elements `start` to `stop`, then zeros to the next multiple of 16."""

    layer: int
    name: str
    shape: Shape
    start: int
    stop: int
    padding: int

    @property
    def end(self) -> int:
        """Where the next block begins."""
        return self.stop + self.padding


@dataclass(frozen=True)
class Network:
    """Layers, one after the other, on rows of a given shape.

    Parameters
    ----------
    input_shape : int or tuple of int
        The shape of one row; an int n stands for (n,).
    layers : sequence of Layer
        At least one. A network for classes ends at the link scale (logits), that is with the activation "identity": the
        loss turns outputs into probabilities.

    Raises
    ------
    InputError
        If there is no layer, or a size is out of range.

    Examples
    --------
    >>> network = Network(64, [Dense(100, "relu"), Dense(10)])
    >>> network.output_shape, network.parameter_count
    ((10,), 7510)
    """

    input_shape: Shape
    layers: tuple[Layer, ...]

    def __init__(self, input_shape: int | Sequence[int], layers: Sequence[Layer]) -> None:
        shape = tuple(input_shape) if isinstance(input_shape, Sequence) else (input_shape,)
        check(
            len(shape) > 0 and all(isinstance(n, (int, np.integer)) and n >= 1 for n in shape),
            f"rows can't have the shape {shape}: give 1 or more features.",
        )
        check(len(layers) > 0, "a network needs at least one layer.")
        for layer in layers:
            if not isinstance(layer, Layer):
                raise InputError(f"{layer!r} is no layer: give Dense(units, activation), for example.")
        object.__setattr__(self, "input_shape", tuple(int(n) for n in shape))
        object.__setattr__(self, "layers", tuple(layers))
        self.shapes  # noqa: B018  (a layer that can't take its input says so now)

    def describe(self) -> dict[str, Any]:
        """The network for JSON; see `restore`."""
        return {"input_shape": list(self.input_shape), "layers": [layer.describe() for layer in self.layers]}

    @staticmethod
    def restore(described: Mapping[str, Any]) -> "Network":
        """The network that was described.

        Raises
        ------
        ValueError
            If it is none, or has a layer of a kind that is unknown here.

        Examples
        --------
        >>> network = Network(4, [Dense(8, "tanh"), Dense(3)])
        >>> Network.restore(network.describe()) == network
        True
        """
        layers = []
        for layer in entries(described, "layers", dict):
            kind = entry(layer, "kind", str)
            if kind not in LAYERS:
                raise ValueError(f"it has a layer of the kind {kind!r}, which is unknown here")
            layers.append(LAYERS[kind].restore(layer))
        return Network(entries(described, "input_shape", int), layers)

    @functools.cached_property
    def shapes(self) -> tuple[Shape, ...]:
        """The shape of a row before each layer and, last, of the outputs."""
        shapes = [self.input_shape]
        for layer in self.layers:
            shapes.append(layer.output_shape(shapes[-1]))
        return tuple(shapes)

    @property
    def output_shape(self) -> Shape:
        """The shape of a row of outputs."""
        return self.shapes[-1]

    @functools.cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Where each parameter lies in the flat vector, in order."""
        blocks: list[Block] = []
        for i, (layer, shape) in enumerate(zip(self.layers, self.shapes, strict=False)):
            for name, parameter_shape in layer.parameter_shapes(shape).items():
                start = blocks[-1].end if blocks else 0
                stop = start + math.prod(parameter_shape)
                blocks.append(Block(i, name, parameter_shape, start, stop, padding=-stop % ALIGNMENT))
        return tuple(blocks)

    @property
    def parameter_count(self) -> int:
        """The number of weights and biases."""
        return sum(block.stop - block.start for block in self.blocks)

    @property
    def size(self) -> int:
        """The length of the flat vector, padding included."""
        return self.blocks[-1].end if self.blocks else 0

    def weight_mask(self, dtype: str) -> np.ndarray:
        """1 where the flat vector holds a weight, 0 for biases and padding."""
        mask = np.zeros(self.size, dtype)
        for block in self.blocks:
            if block.name == "weight":
                mask[block.start : block.stop] = 1
        return mask

    def unpack(self, vector: Array, xp: Namespace) -> list[dict[str, Array]]:
        """The parameters of each layer by name, as views of the flat vector where the array library has views."""
        layers: list[dict[str, Array]] = [{} for _ in self.layers]
        for block in self.blocks:
            layers[block.layer][block.name] = xp.reshape(vector[block.start : block.stop], block.shape)
        return layers

    def pack(self, layers: Sequence[Mapping[str, Array] | Sequence[Array]], dtype: str) -> np.ndarray:
        """The flat vector of given arrays, on the host.

        Parameters
        ----------
        layers : sequence of mappings or sequences
            For each layer its arrays, by name or in the order weight, bias.

        Raises
        ------
        InputError
            If an array is missing, too many, or of the wrong shape.
        """
        check(len(layers) == len(self.layers), f"got the arrays of {len(layers)} layers for {len(self.layers)} layers.")
        vector = np.zeros(self.size, dtype)
        own: list[list[Block]] = [[] for _ in self.layers]
        for block in self.blocks:
            own[block.layer].append(block)
        for i, (given, blocks) in enumerate(zip(layers, own, strict=True)):
            names = [block.name for block in blocks]
            arrays = dict(given) if isinstance(given, Mapping) else dict(zip(names, given, strict=False))
            check(
                set(arrays) == set(names) and len(given) == len(names),
                f"layer {i} has the parameters {names}, not {list(arrays) if isinstance(given, Mapping) else len(given)}.",
            )
            for block in blocks:
                array = np.asarray(arrays[block.name])
                check(
                    array.shape == block.shape,
                    f"the {block.name} of layer {i} has the shape {block.shape}, not {array.shape}.",
                )
                vector[block.start : block.stop] = array.ravel()
        return vector

    def initial_parameters(self, seed: int, dtype: str) -> np.ndarray:
        """The flat vector that a training with this seed begins with: the same in every dtype but for rounding."""
        vector = np.zeros(self.size, dtype)
        for block in self.blocks:
            if block.name == "weight":
                initializer = INITIALIZERS[getattr(self.layers[block.layer], "initializer", "glorot_uniform")]
                weights = initializer.draw(block.shape, generator(seed, INITIAL_STREAM + block.layer))
                vector[block.start : block.stop] = weights.ravel()
        return vector
