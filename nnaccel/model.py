"""A model: a network with its parameters, which predicts."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nnaccel.backends import get_backend
from nnaccel.errors import InputError, check
from nnaccel.losses import Loss
from nnaccel.metrics import is_classification
from nnaccel.network import Network
from nnaccel.optimizers import SGD
from nnaccel.plan import Plan
from nnaccel.program import Rows, TrainingState
from nnaccel.report import TrainingReport
from nnaccel.tables import Encoding, as_features


@dataclass(frozen=True)
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
        X : array, object with `__dlpack__`, or data frame of numbers
            (n, features).

        Raises
        ------
        InputError
            If X is no matrix of finite numbers of that many features.
        """
        dtype = str(self.parameters.dtype)
        x = as_features(X, dtype if self.encoding is None else "float64")
        if self.encoding is not None:
            x = self.encoding.features(x, dtype)
        check(
            x.shape[1:] == self.network.input_shape,
            f"X has rows of the shape {x.shape[1:]}, but the network takes {self.network.input_shape}.",
        )
        plan = Plan(self.network, self.loss, SGD(), dtype=dtype)
        no_rows = Rows(x[:0], np.zeros((0,) if self.loss.targets == "labels" else (0, plan.outputs)))
        return (
            get_backend("cpu").compile(plan).start(TrainingState.initial(plan, 0, self.parameters), no_rows).predict(x)
        )

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class, (n, classes), or of each label, (n, labels).

        A network of one output with binary cross-entropy gives two columns: the probability of 0 and that of 1.

        Raises
        ------
        InputError
            As `outputs`; also if the model isn't one for classes.
        """
        if not is_classification(self.loss):
            raise InputError(f"a model trained with {self.loss.name} has no probabilities: call predict.")
        probabilities: np.ndarray = self.loss.predict(self.outputs(X), np)
        if probabilities.shape[1] == 1:
            return np.concatenate([1 - probabilities, probabilities], axis=1)
        return probabilities

    def predict(self, X: Any) -> np.ndarray:
        """Class labels (n,), labels as zeros and ones (n, labels), or numbers: (n,) for one output, else (n, outputs).

        Raises
        ------
        InputError
            As `outputs`.
        """
        if self.loss.targets == "labels":
            numbers: np.ndarray = np.argmax(self.outputs(X), axis=1)
            return numbers if self.encoding is None or self.encoding.classes is None else self.encoding.classes[numbers]
        predictions: np.ndarray = self.loss.predict(self.outputs(X), np)
        if is_classification(self.loss):
            predictions = (predictions > 0.5).astype(np.int64)
        elif self.encoding is not None:
            predictions = self.encoding.numbers(predictions)
        return predictions[:, 0] if predictions.shape[1] == 1 else predictions
