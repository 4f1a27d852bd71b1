"""How the CPU kernels lay out a network: where its parameters and activations lie, and the table of its layers."""

from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np

from nnaccel.activations import ELU, Activation, LeakyReLU
from nnaccel.kernels import host
from nnaccel.kernels.job import ACTIVATIONS, LAYER
from nnaccel.network import Block, Network

_APART = 16
"""Elements between matrices of activations, so that rows of different ones don't begin at equal places of a page."""

_SINGLE_OUTPUT_COST = 8
"""Of a block, in vectors a row: its multiply-adds wait for each other."""


class Weights(NamedTuple):
    """Where the parameters of one layer lie: the blocks of the flat vector, and their places in the panels."""

    weight: Block
    bias: Block | None
    weight_at: int
    bias_at: int
    transposed_at: int


class Layout(ABC):
    """The layout of a network, for one dtype, as one kernel takes it.

    Attributes
    ----------
    kernel : str
        The entry of `nnaccel.kernels.native`.
    size, transposed_size, gradient_size : int
        Elements of the parameters, of transposed copies of weights, and of gradients: first of all those of a whole batch,
        as the parameters lie, then what they are added up from.
    blocks : int64 array (b, 3)
        The blocks of weights that threads share among themselves: layer, first input, first output.
    costs : float array (b,)
        What the gradient of each costs, by any measure.
    """

    kernel: ClassVar[str]
    size: int
    transposed_size: int
    gradient_size: int
    blocks: np.ndarray
    costs: np.ndarray

    def __init__(self, network: Network, dtype: str) -> None:
        self.network, self.dtype = network, dtype

    @abstractmethod
    def pack(self, vector: np.ndarray, parameters: np.ndarray) -> None:
        """Write a flat vector in the layout of `Network.blocks` into the kernel's parameters (size,)."""

    @abstractmethod
    def unpack(self, parameters: np.ndarray) -> np.ndarray:
        """A new flat vector in the layout of `Network.blocks`."""

    @abstractmethod
    def transpose(self, parameters: np.ndarray, transposed: np.ndarray) -> None:
        """Write the transposed copies of all weights that have one."""

    @abstractmethod
    def columns(self, count: int) -> int:
        """How many elements a row of activations takes that has so many columns."""

    @abstractmethod
    def places(self, number: int) -> tuple[int, int, int]:
        """Where the weights of a layer lie, its biases, and its transposed weights; -1 for what it hasn't."""

    def first_blocks(self, threads: int) -> np.ndarray:
        """The number of each thread's first block and, last, how many there are; all have about as much to do."""
        done = np.cumsum(self.costs)
        if not len(done):
            return np.zeros(threads + 1, np.int64)
        goals = done[-1] * np.arange(1, threads) / threads
        nearest = np.abs(done[:, None] - goals).argmin(axis=0) + 1
        return np.maximum.accumulate(np.array([0, *nearest, len(done)], np.int64))

    def table(self, capacity: int) -> tuple[np.ndarray, int]:
        """The records LAYER of all layers for activations of so many rows, and how many elements these take."""
        records, used = np.zeros(len(self.network.layers), LAYER), 0

        def room(columns: int) -> int:
            nonlocal used
            start, used = used, used + capacity * self.columns(columns) + _APART
            return start

        shapes = [shape[0] for shape in self.network.shapes]
        below = room(shapes[0])
        for number, layer in enumerate(self.network.layers):
            record, outputs = records[number], shapes[number + 1]
            output, saves_output = room(outputs), layer.activation.saves == "output"
            record["number"], record["inputs"], record["outputs"] = number, shapes[number], outputs
            record["activation"] = ACTIVATIONS.index(layer.activation.name)
            record["parameter"] = _parameter(layer.activation)
            record["dropout"] = layer.dropout
            record["weight"], record["bias"], record["transposed"] = self.places(number)
            record["input"], record["output"], record["delta"] = below, output, room(outputs)
            record["saved"] = output if saves_output and not layer.dropout else room(outputs)
            record["saves_output"] = saves_output
            below = output
        return records, used


class Flat(Layout):
    """Parameters as they lie in the flat vector; activations of as many rows as a vector has lanes, unit by unit."""

    kernel = "small"

    def __init__(self, network: Network, dtype: str) -> None:
        super().__init__(network, dtype)
        self.size, self.transposed_size = network.size, 0
        self.lanes = host.lanes(dtype)
        self.gradient_size = (1 + self.lanes) * self.size
        self.blocks, self.costs = np.zeros((0, 3), np.int64), np.zeros(0)
        self._starts = {(block.layer, block.name): block.start for block in network.blocks}

    def pack(self, vector: np.ndarray, parameters: np.ndarray) -> None:
        parameters[: self.size] = vector

    def unpack(self, parameters: np.ndarray) -> np.ndarray:
        return parameters[: self.size].copy()

    def transpose(self, parameters: np.ndarray, transposed: np.ndarray) -> None:
        pass

    def columns(self, count: int) -> int:
        return count

    def table(self, capacity: int) -> tuple[np.ndarray, int]:
        return super().table(self.lanes)

    def places(self, number: int) -> tuple[int, int, int]:
        return self._starts[number, "weight"], self._starts.get((number, "bias"), -1), -1


class Panels(Layout):
    """Matrices in panels of columns, and a transposed copy of the weights that pass gradients on.

    The last panel of weights is only one vector wide where that is enough; biases and activations take full panels. The
    weights of a single output are one row, which is its own transposed copy. All that is padding in parameters is zero.
    """

    kernel = "epoch"

    def __init__(self, network: Network, dtype: str) -> None:
        super().__init__(network, dtype)
        self.lanes, self.panel = host.lanes(dtype), host.panel(dtype)
        self.layers: list[Weights] = []
        self.size = self.transposed_size = 0
        for number in range(len(network.layers)):
            self._add_layer(number)
        # Kernels read whole vectors, also at the end of the last row.
        self.size += self.panel
        self.transposed_size += self.panel
        self.gradient_size = 2 * self.size
        self.blocks, self.costs = self._all_blocks()

    def width(self, columns: int) -> int:
        """How many elements a row of a panel takes, in which so many columns are left."""
        return self.lanes if columns <= self.lanes else self.panel

    def pack(self, vector: np.ndarray, parameters: np.ndarray) -> None:
        for layer in self.layers:
            weights = self._weights(layer, vector)
            for j, view in self._views(layer, parameters):
                view[...] = weights[:, j : j + self.panel]
            if layer.bias is not None:
                count = layer.bias.stop - layer.bias.start
                parameters[layer.bias_at : layer.bias_at + count] = vector[layer.bias.start : layer.bias.stop]

    def unpack(self, parameters: np.ndarray) -> np.ndarray:
        vector = np.zeros(self.network.size, self.dtype)
        for layer in self.layers:
            weights = self._weights(layer, vector)
            for j, view in self._views(layer, parameters):
                weights[:, j : j + self.panel] = view
            if layer.bias is not None:
                count = layer.bias.stop - layer.bias.start
                vector[layer.bias.start : layer.bias.stop] = parameters[layer.bias_at : layer.bias_at + count]
        return vector

    def transpose(self, parameters: np.ndarray, transposed: np.ndarray) -> None:
        for layer in self.layers:
            if layer.transposed_at < 0:
                continue
            inputs, outputs = layer.weight.shape
            weights = np.concatenate([view for _, view in self._views(layer, parameters)], axis=1)
            for i in range(0, inputs, self.panel):
                part, start = weights[i : i + self.panel].T, layer.transposed_at + i * outputs
                width = self.width(inputs - i)
                target = transposed[start : start + outputs * width].reshape(outputs, width)
                target[:, : part.shape[1]] = part

    def columns(self, count: int) -> int:
        return self._up(count, self.panel)

    def places(self, number: int) -> tuple[int, int, int]:
        layer = self.layers[number]
        return layer.weight_at, layer.bias_at, layer.transposed_at

    def _add_layer(self, number: int) -> None:
        parts = {block.name: block for block in self.network.blocks if block.layer == number}
        weight, bias = parts["weight"], parts.get("bias")
        inputs, outputs = weight.shape
        weight_at = self.size
        self.size += self._row(inputs) if outputs == 1 else inputs * self._row(outputs)
        bias_at, transposed_at = -1, -1
        if bias is not None:
            bias_at = self.size
            self.size += self._up(outputs, self.panel)
        if number and outputs > 1:
            transposed_at = self.transposed_size
            self.transposed_size += outputs * self._row(inputs)
        self.layers.append(Weights(weight, bias, weight_at, bias_at, transposed_at))

    def _all_blocks(self) -> tuple[np.ndarray, np.ndarray]:
        blocks, costs = [], []
        for number, layer in enumerate(self.layers):
            inputs, outputs = layer.weight.shape
            starts = [(i, j) for j in range(0, outputs, self.panel) for i in range(0, inputs, self.panel)]
            # Along the longer side, threads share less of what others have computed.
            for i, j in sorted(starts) if inputs > outputs else starts:
                blocks.append((number, i, j))
                height, vectors = min(self.panel, inputs - i), self.width(outputs - j) // self.lanes
                costs.append(_SINGLE_OUTPUT_COST if outputs == 1 else height * vectors)
        return np.array(blocks, np.int64), np.array(costs, np.float64)

    def _row(self, columns: int) -> int:
        """The elements of all panels' rows of a matrix of weights."""
        full, rest = divmod(columns, self.panel)
        return full * self.panel + (self.width(rest) if rest else 0)

    @staticmethod
    def _up(count: int, multiple: int) -> int:
        return -(-count // multiple) * multiple

    @staticmethod
    def _weights(layer: Weights, vector: np.ndarray) -> np.ndarray:
        return vector[layer.weight.start : layer.weight.stop].reshape(layer.weight.shape)

    def _views(self, layer: Weights, parameters: np.ndarray) -> list[tuple[int, np.ndarray]]:
        """The columns of each panel that count, by the number of the first."""
        inputs, outputs = layer.weight.shape
        if outputs == 1:
            return [(0, parameters[layer.weight_at : layer.weight_at + inputs].reshape(inputs, 1))]
        views = []
        for j in range(0, outputs, self.panel):
            width, start = self.width(outputs - j), layer.weight_at + j * inputs
            rows = parameters[start : start + inputs * width].reshape(inputs, width)
            views.append((j, rows[:, : min(self.panel, outputs - j)]))
        return views


def _parameter(activation: Activation) -> float:
    """The one number that an activation may have."""
    if isinstance(activation, LeakyReLU):
        return activation.slope
    return activation.alpha if isinstance(activation, ELU) else 0.0
