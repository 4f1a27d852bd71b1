"""ONNX files: a network, and what its outputs mean, as a graph that other programs run (https://onnx.ai).

The graph takes "X", (n, columns), in the dtype of the network; n is free. It gives

    label           for classes their labels, int64 or string (n,); for several labels a row, zeros and ones (n, labels)
    probabilities   beside it: (n, classes) or (n, labels)
    predictions     for numbers: (n,) for one output, else (n, outputs)
"""

import importlib.util
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from nnaccel.activations import GELU
from nnaccel.encoding import Encoding, Numbers
from nnaccel.errors import InputError, check
from nnaccel.files import written_whole
from nnaccel.losses import Loss
from nnaccel.metrics import is_classification
from nnaccel.network import Dense, Network
from nnaccel.targets import Target
from nnaccel.version import VERSION

OPERATOR_SET = 18
"""Of the sets that are in use, the one in which onnxruntime runs all operators below in float64 as well as in float32."""

FORMAT = 8
"""The number of the file format that came with it: what is newer, older programs don't read."""

MOST_BYTES = 2_000_000_000
"""A file of this kind ends at 2 GiB."""


class Node(NamedTuple):
    """An operator at work; tensors are told by their names."""

    operator: str
    inputs: tuple[str, ...]
    output: str
    attributes: Mapping[str, Any]


class Output(NamedTuple):
    """What a graph puts out: a name, the dtype, and the shape of a row."""

    name: str
    dtype: np.dtype[Any]
    row: tuple[int, ...]


class Graph:
    """A graph as it grows.

    Parameters
    ----------
    dtype : "float32" or "float64"
        Of all numbers that are not said to be of another.

    Examples
    --------
    >>> graph = Graph("float32")
    >>> graph.add("Mul", "X", graph.constant(2.0))
    'Mul 0'
    >>> graph.nodes[0].inputs, graph.constants["constant 0"]
    (('X', 'constant 0'), array(2., dtype=float32))
    """

    def __init__(self, dtype: str) -> None:
        self.dtype = np.dtype(dtype)
        self.nodes: list[Node] = []
        self.constants: dict[str, np.ndarray] = {}

    def constant(self, value: Any, name: str = "", dtype: Any = None) -> str:
        """Add a constant; its name."""
        name = name or f"constant {len(self.constants)}"
        self.constants[name] = np.asarray(value, self.dtype if dtype is None else dtype)
        return name

    def add(self, operator: str, *inputs: str, output: str = "", **attributes: Any) -> str:
        """Add an operator; the name of its output."""
        output = output or f"{operator} {len(self.nodes)}"
        self.nodes.append(Node(operator, inputs, output, attributes))
        return output

    def cast(self, x: str, dtype: Any, output: str = "") -> str:
        """Numbers in another dtype."""
        return self.add("Cast", x, output=output, to=np.dtype(dtype))


def write_onnx(path: Path, network: Network, loss: Loss, parameters: np.ndarray, encoding: Encoding) -> None:
    """Write a network with its encoding, whole or not at all.

    Parameters
    ----------
    path : Path
    network : Network
    loss : Loss
        What the outputs mean.
    parameters : array (size,)
        The flat vector.
    encoding : Encoding
        Columns of numbers enter raw: the graph standardises them, and fills gaps, which are NaN.

    Raises
    ------
    InputError
        If the encoding reads text, onnx isn't installed, or the file can't be written.
    """
    check(importlib.util.find_spec("onnx") is not None, "writing an ONNX file needs onnx: pip install 'nnaccel[onnx]'.")
    check(
        parameters.nbytes < MOST_BYTES,
        f"the network has {parameters.nbytes / 1e9:.1f} GB of parameters, but an ONNX file holds 2 GB: save it with "
        "Model.save.",
    )
    _check_numbers_alone(encoding)
    graph = Graph(str(parameters.dtype))
    outputs = _add_network(graph, _add_encoding(graph, "X", encoding.numbers), network, parameters)
    declared = _add_predictions(graph, outputs, loss, encoding.target)
    columns = list(encoding.numbers.names) if encoding.named else []
    content = _serialized(graph, len(encoding.numbers.names), declared, columns)
    with written_whole(path) as part:
        part.write_bytes(content)


def _check_numbers_alone(encoding: Encoding) -> None:
    text = [*encoding.numbers.formats, *(column.name for column in encoding.categories)]
    if text:
        raise InputError(
            f"the model reads text in column {text[0]!r}, which is left out of ONNX files: export "
            "dataclasses.replace(model, encoding=None), which takes rows that model.encoding.features has encoded."
        )


def _add_encoding(graph: Graph, x: str, numbers: Numbers) -> str:
    """What `Encoding.features` makes of numbers."""
    if not (numbers.had_gaps.any() or numbers.mean.any() or (numbers.scale != 1).any()):
        return x
    # In float64, as there: of numbers that are large beside their differences, float32 would lose these.
    raw = graph.cast(x, np.float64)
    gaps = graph.add("IsNaN", raw)
    mean, scale = (graph.constant(getattr(numbers, name), name, np.float64) for name in ("mean", "scale"))
    scaled = graph.add("Div", graph.add("Sub", raw, mean), scale)
    filled = graph.cast(graph.add("Where", gaps, graph.constant(0.0, dtype=np.float64), scaled), graph.dtype)
    if not numbers.had_gaps.any():
        return filled
    marked = graph.add("Gather", gaps, graph.constant(np.flatnonzero(numbers.had_gaps), dtype=np.int64), axis=1)
    return graph.add("Concat", filled, graph.cast(marked, graph.dtype), axis=1)


def _add_network(graph: Graph, x: str, network: Network, parameters: np.ndarray) -> str:
    for k, (layer, arrays) in enumerate(zip(network.layers, network.unpack(parameters, np), strict=True)):
        check(isinstance(layer, Dense), f"ONNX files can't have layers like {layer!r} yet: save it with Model.save.")
        names = [graph.constant(array, f"layers.{k}.{name}") for name, array in arrays.items()]
        z = graph.add("Gemm" if len(names) == 2 else "MatMul", x, *names)
        name = layer.activation.name
        check(name in _ACTIVATIONS, f"ONNX files can't have the activation {name} yet: save it with Model.save.")
        x = _ACTIVATIONS[name](graph, z, layer.activation)
    return x


def _gelu(graph: Graph, z: str, _: Any) -> str:
    cube = graph.add("Mul", graph.add("Mul", z, z), z)
    bent = graph.add("Add", z, graph.add("Mul", cube, graph.constant(GELU.CUBIC)))
    t = graph.add("Tanh", graph.add("Mul", bent, graph.constant(GELU.RATE)))
    half = graph.add("Mul", z, graph.constant(0.5))
    return graph.add("Mul", half, graph.add("Add", t, graph.constant(1.0)))


def _silu(graph: Graph, z: str, _: Any) -> str:
    # z * sigmoid(z) some versions of onnxruntime take for an operator of their own, which they have in float32 alone.
    return graph.add("Div", z, graph.add("Add", graph.add("Exp", graph.add("Neg", z)), graph.constant(1.0)))


def _softplus(graph: Graph, z: str, _: Any) -> str:
    # Of ONNX's own operator nothing is said about large inputs, and some programs overflow.
    e = graph.add("Exp", graph.add("Neg", graph.add("Abs", z)))
    return graph.add("Add", graph.add("Relu", z), graph.add("Log", graph.add("Add", e, graph.constant(1.0))))


_ACTIVATIONS: dict[str, Callable[[Graph, str, Any], str]] = {
    "identity": lambda graph, z, _: z,
    "sigmoid": lambda graph, z, _: graph.add("Sigmoid", z),
    "tanh": lambda graph, z, _: graph.add("Tanh", z),
    "relu": lambda graph, z, _: graph.add("Relu", z),
    "leaky_relu": lambda graph, z, activation: graph.add("LeakyRelu", z, alpha=activation.slope),
    "elu": lambda graph, z, activation: graph.add("Elu", z, alpha=activation.alpha),
    "selu": lambda graph, z, _: graph.add("Selu", z),
    "gelu": _gelu,
    "silu": _silu,
    "softplus": _softplus,
}
"""How each activation is added, by name. In float32 and float64 alike; some settings ONNX keeps in float32."""


def _add_predictions(graph: Graph, outputs: str, loss: Loss, target: Target) -> list[Output]:
    """What `Model.predict` and `Model.predict_proba` make of outputs."""
    if loss.targets == "labels":
        return _add_classes(graph, outputs, target.labels())
    if is_classification(loss):
        return _add_labels(graph, outputs, target.outputs)
    return _add_numbers(graph, outputs, loss, target)


def _add_classes(graph: Graph, outputs: str, labels: np.ndarray) -> list[Output]:
    probabilities = graph.add("Softmax", outputs, output="probabilities", axis=1)
    numbers = graph.add("ArgMax", outputs, axis=1, keepdims=0)
    label = graph.add("Gather", graph.constant(labels, "classes", labels.dtype), numbers, output="label")
    return [Output(label, labels.dtype, ()), Output(probabilities, graph.dtype, (len(labels),))]


def _add_labels(graph: Graph, outputs: str, count: int) -> list[Output]:
    several = count > 1
    ones = graph.add("Sigmoid", outputs, output="probabilities" if several else "")
    above = graph.add("Greater", ones, graph.constant(0.5))
    if not several:
        above = _without_columns(graph, above)
        zeros = graph.add("Sub", graph.constant(1.0), ones)
        graph.add("Concat", zeros, ones, output="probabilities", axis=1)
    label = graph.cast(above, np.int64, output="label")
    return [
        Output(label, np.dtype(np.int64), (count,) if several else ()),
        Output("probabilities", graph.dtype, (max(count, 2),)),
    ]


def _add_numbers(graph: Graph, x: str, loss: Loss, target: Target) -> list[Output]:
    if loss.name == "poisson":
        x = graph.add("Exp", x)
    else:
        own = type(loss).predict is not Loss.predict
        check(not own, f"ONNX files can't have what {loss.name} makes of outputs yet: save it with Model.save.")
    if target.mean is not None and target.scale is not None:
        x = graph.add("Mul", x, graph.constant(target.scale, "target_scale"))
        x = graph.add("Add", x, graph.constant(target.mean, "target_mean"))
    if target.outputs == 1:
        return [Output(_without_columns(graph, x, "predictions"), graph.dtype, ())]
    return [Output(graph.add("Identity", x, output="predictions"), graph.dtype, (target.outputs,))]


def _without_columns(graph: Graph, x: str, output: str = "") -> str:
    """(n,) from (n, 1)."""
    return graph.add("Squeeze", x, graph.constant([1], dtype=np.int64), output=output)


def _serialized(graph: Graph, columns: int, outputs: list[Output], names: list[str]) -> bytes:
    """The content of a file; names of columns, where there are any, stand in its metadata as JSON."""
    from onnx import checker, helper

    rows = "n"
    written = helper.make_graph(
        [_node(node) for node in graph.nodes],
        "nnaccel",
        [helper.make_tensor_value_info("X", _type_number(graph.dtype), [rows, columns])],
        [helper.make_tensor_value_info(one.name, _type_number(one.dtype), [rows, *one.row]) for one in outputs],
        [_tensor(name, array) for name, array in graph.constants.items()],
    )
    model = helper.make_model(
        written,
        producer_name="nnaccel",
        producer_version=VERSION,
        ir_version=FORMAT,
        opset_imports=[helper.make_opsetid("", OPERATOR_SET)],
    )
    if names:
        helper.set_model_props(model, {"columns": json.dumps(names)})
    checker.check_model(model, full_check=True)
    content: bytes = model.SerializeToString()
    return content


def _node(node: Node) -> Any:
    from onnx import helper

    attributes: dict[str, Any] = {
        name: _type_number(value) if isinstance(value, np.dtype) else value for name, value in node.attributes.items()
    }
    return helper.make_node(node.operator, node.inputs, [node.output], name=node.output, **attributes)


def _tensor(name: str, array: np.ndarray) -> Any:
    from onnx import helper, numpy_helper

    if array.dtype.kind == "U":
        words = [word.encode() for word in array.tolist()]
        return helper.make_tensor(name, _type_number(array.dtype), array.shape, words)
    return numpy_helper.from_array(array, name)


def _type_number(dtype: np.dtype[Any]) -> int:
    """How ONNX calls a dtype."""
    from onnx import TensorProto, helper

    return int(TensorProto.STRING if dtype.kind == "U" else helper.np_dtype_to_tensor_dtype(dtype))
