"""A model: a network with its parameters, which predicts, is saved and loaded."""

import functools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from nnaccel.described import entry
from nnaccel.encoding import Encoding, plain_encoding
from nnaccel.errors import InputError, check
from nnaccel.files import first_sentence
from nnaccel.inputs import as_features, as_numbers
from nnaccel.losses import Loss, as_loss
from nnaccel.metrics import is_classification
from nnaccel.model_file import read_model_file, write_model_file
from nnaccel.network import Network
from nnaccel.onnx_file import write_onnx
from nnaccel.optimizers import SGD
from nnaccel.plan import Plan
from nnaccel.prediction import FilledLayer, network_outputs
from nnaccel.report import TrainingReport
from nnaccel.sources import Source
from nnaccel.sources.arrays import ArraySource
from nnaccel.sources.frames import FrameSource
from nnaccel.table import Table
from nnaccel.targets import Target, check_loss


@dataclass(frozen=True, eq=False)
class Model:
    """A network with parameters.

    Attributes
    ----------
    network : Network
    loss : Loss
        It decides what outputs mean: probabilities, rates or values.
    parameters : array (size,)
        The flat vector, on the host, in the dtype that predictions are made in.
    encoding : Encoding, optional
        Applied to rows before, and to predictions after the network.
    report : TrainingReport, optional

    Examples
    --------
    >>> import numpy as np
    >>> from nnaccel.losses import MeanSquaredError
    >>> from nnaccel.network import Dense
    >>> network = Network(1, [Dense(1)])
    >>> model = Model(network, MeanSquaredError(), network.pack([([[2.0]], [1.0])], "float64"))
    >>> model.predict([[3.0]])
    array([7.])
    """

    network: Network
    loss: Loss
    parameters: np.ndarray
    encoding: Encoding | None = None
    report: TrainingReport | None = field(default=None, compare=False)

    def layers(self) -> list[dict[str, np.ndarray]]:
        """The parameters of each layer by name, copied."""
        return [
            {name: array.copy() for name, array in layer.items()} for layer in self.network.unpack(self.parameters, np)
        ]

    def outputs(self, X: Any) -> np.ndarray:
        """What the network puts out, at the link scale, (n, outputs).

        Parameters
        ----------
        X : array, data frame, object with `__dlpack__`, Table or Source
            With an encoding, raw rows: columns are told by name, or by position in an array, which may have the target's
            columns too. Without one, the network's inputs, (n, features).

        Raises
        ------
        InputError
            If X doesn't hold the columns or features that the model takes, or the network's outputs overflow.
        """
        if self.encoding is None:
            return self._forward(as_features(X, str(self.parameters.dtype)))
        tables = [X] if isinstance(X, Table) else self.encoding.tables(as_source(X))
        parts = [self._forward(self.encoding.features(table, str(self.parameters.dtype))) for table in tables]
        return np.concatenate(parts) if parts else np.empty((0, *self.network.output_shape), self.parameters.dtype)

    def probabilities(self, outputs: np.ndarray) -> np.ndarray:
        """The probability of each class, (n, classes), or of each label, (n, labels), from a network's outputs.

        A network of one output with binary cross-entropy gives two columns: the probability of 0 and that of 1.

        Raises
        ------
        InputError
            If the model isn't one for classes.
        """
        if not is_classification(self.loss):
            raise InputError(f"a model trained with {self.loss.name} has no probabilities: call predict.")
        probabilities: np.ndarray = self.loss.predict(outputs, np)
        if probabilities.shape[1] == 1:
            return np.concatenate([1 - probabilities, probabilities], axis=1)
        return probabilities

    def decide(self, outputs: np.ndarray) -> np.ndarray:
        """Predictions from a network's outputs, as `predict` gives them."""
        if self.loss.targets == "labels":
            numbers: np.ndarray = np.argmax(outputs, axis=1)
            return numbers if self.encoding is None else self.encoding.target.labels()[numbers]
        predictions: np.ndarray = self.loss.predict(outputs, np)
        if is_classification(self.loss):
            predictions = (predictions > 0.5).astype(np.int64)
        elif self.encoding is not None:
            predictions = self.encoding.target.decode(predictions)
        return predictions[:, 0] if predictions.shape[1] == 1 else predictions

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, (n, classes), or of each label, (n, labels); see `probabilities`.

        Raises
        ------
        InputError
            As `outputs` and `probabilities`.
        """
        return self.probabilities(self.outputs(X))

    def predict(self, X: Any) -> np.ndarray:
        """Class labels (n,), labels as zeros and ones (n, labels), or numbers: (n,) for one output, else (n, outputs).

        Raises
        ------
        InputError
            As `outputs`.
        """
        return self.decide(self.outputs(X))

    def with_encoding(self) -> "Model":
        """The model itself, or, if it has no encoding, with one that takes columns of numbers as they are."""
        if self.encoding is not None:
            return self
        outputs = self.network.output_shape[0]
        names = (
            ("target",)
            if outputs == 1 or self.loss.targets == "labels"
            else tuple(f"target {k}" for k in range(outputs))
        )
        if self.loss.targets == "labels":
            target = Target(names, "classification", tuple(range(outputs)))
        else:
            target = Target(names, "multilabel" if is_classification(self.loss) else "regression")
        return replace(self, encoding=plain_encoding(self.network.input_shape[0], target))

    def save(self, path: str | Path) -> None:
        """Write a model file: safetensors, readable wherever NumPy and safetensors are installed.

        Raises
        ------
        InputError
            If it can't be written.

        Examples
        --------
        >>> import tempfile
        >>> from nnaccel import Dense, load, train
        >>> model = train(Network(1, [Dense(1)]), [[0.0], [1.0]], [1.0, 3.0], epochs=1)
        >>> path = Path(tempfile.mkdtemp()) / "line.safetensors"
        >>> model.save(path)
        >>> bool(load(path).predict([[2.0]]) == model.predict([[2.0]]))
        True
        """
        tensors = {
            f"layers.{i}.{name}": array
            for i, layer in enumerate(self.network.unpack(self.parameters, np))
            for name, array in layer.items()
        }
        if self.encoding is not None:
            tensors |= {f"encoding.{name}": array for name, array in self.encoding.arrays().items()}
        description = {
            "network": self.network.describe(),
            "loss": str(self.loss),
            "dtype": str(self.parameters.dtype),
            "encoding": None if self.encoding is None else self.encoding.describe(),
            "report": None if self.report is None else self.report.describe(),
        }
        write_model_file(Path(path), description, tensors)

    def export_onnx(self, path: str | Path) -> None:
        """Write the network as a graph that onnxruntime and other programs run, where no nnaccel is installed.

        It takes "X", (n, columns), of the model's dtype: raw rows of numbers if there is an encoding, which the graph then
        includes, or else the network's inputs. It gives "label" and "probabilities" for classes, else "predictions"; see
        `nnaccel.onnx_file`.

        Raises
        ------
        InputError
            If the encoding reads text, onnx isn't installed, or the file can't be written.

        Examples
        --------
        >>> import tempfile
        >>> import onnxruntime
        >>> from nnaccel.losses import MeanSquaredError
        >>> from nnaccel.network import Dense
        >>> network = Network(1, [Dense(1)])
        >>> model = Model(network, MeanSquaredError(), network.pack([([[2.0]], [1.0])], "float64"))
        >>> path = Path(tempfile.mkdtemp()) / "line.onnx"
        >>> model.export_onnx(path)
        >>> onnxruntime.InferenceSession(path).run(None, {"X": np.array([[3.0]])})
        [array([7.])]
        """
        encoding = self.with_encoding().encoding
        assert encoding is not None, "it was just seen to"
        write_onnx(Path(path), self.network, self.loss, self.parameters, encoding)

    @functools.cached_property
    def _filled_layers(self) -> list[FilledLayer]:
        return [
            (parameters["weight"], parameters.get("bias"), layer.activation)
            for layer, parameters in zip(self.network.layers, self.network.unpack(self.parameters, np), strict=True)
        ]

    def _forward(self, x: np.ndarray) -> np.ndarray:
        check(
            x.shape[1:] == self.network.input_shape,
            f"X has rows of the shape {x.shape[1:]}, but the network takes {self.network.input_shape}.",
        )
        with np.errstate(all="ignore"):
            outputs = network_outputs(self._filled_layers, x.astype(self.parameters.dtype, copy=False))
        check(
            bool(np.isfinite(outputs).all()),
            "the network puts out infinite numbers or NaN: its parameters are damaged, or the rows are out of all proportion.",
        )
        return outputs


def load(path: str | Path) -> Model:
    """Read a model that `Model.save` or `nnaccel train --out` wrote.

    Raises
    ------
    InputError
        If there is no such file, or it is damaged, of another kind, or newer than this nnaccel.
    """
    description, tensors = read_model_file(Path(path))
    try:
        return _restore(description, tensors)
    except ValueError as error:
        # What is wrong with a network or a loss, an InputError, is wrong with the file here.
        raise InputError(f"{path} is damaged: {first_sentence(error)[:300]}.") from error


def as_source(data: Any) -> Source:
    """Rows in memory as a source: a data frame or a mapping of columns by name, anything else as a matrix."""
    if isinstance(data, Source):
        return data
    if isinstance(data, Mapping) or (hasattr(data, "columns") and hasattr(data, "__getitem__")):
        return FrameSource(data)
    return ArraySource("X", as_numbers(data, "X"))


def _restore(description: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Model:
    network, loss = Network.restore(entry(description, "network", dict)), as_loss(entry(description, "loss", str))
    dtype = entry(description, "dtype", str)
    # A plan checks that its parts fit together.
    Plan(network, loss, SGD(), dtype=dtype)
    shapes = {f"layers.{block.layer}.{block.name}": block.shape for block in network.blocks}
    for name, shape in shapes.items():
        if name not in tensors or tensors[name].shape != shape or str(tensors[name].dtype) != dtype:
            raise ValueError(f"it needs a tensor {name!r} of the shape {shape} and of {dtype}")
    layers: list[dict[str, np.ndarray]] = [{} for _ in network.layers]
    for block, name in zip(network.blocks, shapes, strict=True):
        layers[block.layer][block.name] = tensors[name]
    parameters = network.pack(layers, dtype)
    check(bool(np.isfinite(parameters).all()), "it holds parameters that are NaN or infinite")

    others = {name: tensor for name, tensor in tensors.items() if name not in shapes}
    encoding = _restore_encoding(description, others, network, loss)
    described_report = description.get("report")
    report = None if described_report is None else TrainingReport.restore(described_report)
    return Model(network, loss, parameters, encoding, report)


def _restore_encoding(
    description: Mapping[str, Any], tensors: Mapping[str, np.ndarray], network: Network, loss: Loss
) -> Encoding | None:
    arrays = {name.removeprefix("encoding."): tensor for name, tensor in tensors.items()}
    foreign = [name for name in tensors if not name.startswith("encoding.")]
    if foreign:
        raise ValueError(f"it holds a tensor {foreign[0]!r} that belongs to nothing")
    if description.get("encoding") is None:
        check(not arrays, "it has the arrays of an encoding but no encoding")
        return None
    encoding = Encoding.restore(entry(description, "encoding", dict), arrays)
    check((encoding.width,) == network.input_shape, "its encoding doesn't fit its network")
    check(encoding.target.outputs == network.output_shape[0], "its target doesn't fit its network")
    check_loss(loss, encoding.target.task)
    return encoding
