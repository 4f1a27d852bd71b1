"""Fitted estimators as models, and models as fitted estimators."""

from collections.abc import Sequence
from dataclasses import replace
from numbers import Integral, Real
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from sklearn.base import is_classifier
from sklearn.preprocessing import LabelBinarizer

from nnaccel.activations import Activation
from nnaccel.encoding import Encoding, Numbers, plain_encoding
from nnaccel.errors import InputError, check
from nnaccel.estimators.stochastic import as_vector
from nnaccel.estimators.translation import ACTIVATIONS, LOSSES, network_of
from nnaccel.losses import BinaryCrossEntropy, Loss, SoftmaxCrossEntropy
from nnaccel.metrics import is_classification
from nnaccel.model import Model
from nnaccel.targets import Label, Target

Layers = tuple[list[np.ndarray], list[np.ndarray]]
"""The weights and the biases of all layers."""

E = TypeVar("E")


def model_of(estimator: Any) -> Model:
    """The model that predicts what a fitted estimator predicts.

    An estimator of two classes has one output, the logit of the second; a model that knows their labels has one for each,
    so that the first gets the logit 0: the probabilities are the same.
    """
    loss = _model_loss(estimator)
    weights, biases = list(estimator.coefs_), list(estimator.intercepts_)
    if loss.targets == "labels" and estimator.n_outputs_ == 1:
        weights[-1], biases[-1] = _with_zeros(weights[-1]), _with_zeros(biases[-1])
    network = network_of(estimator, [len(weights[0]), *map(len, biases)])
    model = Model(network, loss, as_vector(network, weights, biases, weights[0].dtype.name)).with_encoding()
    assert model.encoding is not None, "it was just seen to"
    target = model.encoding.target
    if target.classes:
        target = replace(target, classes=_labels(estimator.classes_))
    return replace(model, encoding=_encoding_of(estimator, target))


def estimator_of(kind: type[E], model: Model, path: Path) -> E:
    """The estimator that predicts what a model of numbers predicts; `path` is where the model is from, for sentences.

    Raises
    ------
    InputError
        If it is of another kind, or an estimator can't be all that the model is.
    """
    encoding = model.with_encoding().encoding
    assert encoding is not None, "it was just seen to"
    _check_kind(kind, encoding.target, path)
    weights, biases = _raw_layers(model, encoding, path)
    estimator: Any = kind(**_parameters(model))
    estimator.n_features_in_ = len(encoding.numbers.names)
    if encoding.named:
        estimator.feature_names_in_ = np.array(encoding.numbers.names, dtype=object)
    if is_classifier(estimator):
        estimator._label_binarizer = _binarizer(encoding.target)
        estimator.classes_ = estimator._label_binarizer.classes_
    _initialize(estimator, weights, biases)
    if model.report is not None:
        estimator.n_iter_, estimator.loss_ = model.report.epochs, model.report.train_loss
    return estimator


def loss_word(loss: Loss) -> str:
    """What an estimator calls the loss of a regression."""
    return {ours: word for word, ours in LOSSES.items()}.get(loss, str(loss))


def activation_word(activation: Activation) -> str:
    """What an estimator calls an activation."""
    return {ours: word for word, ours in ACTIVATIONS.items()}.get(str(activation), str(activation))


def _model_loss(estimator: Any) -> Loss:
    """What an estimator minimises, without the clip, which is but for its reports."""
    loss: Loss = estimator._loss()
    if not is_classifier(estimator):
        check(
            not is_classification(loss),
            f"a model with the loss {loss.name} predicts classes, not numbers: take MLPClassifier, or to_sklearn().",
        )
        return loss
    if estimator.n_outputs_ > 1:
        assert isinstance(loss, (BinaryCrossEntropy, SoftmaxCrossEntropy)), "a classifier has no others"
        return replace(loss, clip=False)
    check(
        len(estimator.classes_) == 2,
        f"the classifier knows but one class, {estimator.classes_.tolist()[0]!r}: fit it to rows of two or more.",
    )
    return SoftmaxCrossEntropy(label_smoothing=estimator.label_smoothing)


def _with_zeros(parameters: np.ndarray) -> np.ndarray:
    return np.concatenate([np.zeros_like(parameters), parameters], axis=-1)


def _labels(classes: np.ndarray) -> tuple[Label, ...]:
    """Labels as model files have them: text or numbers, truth values as 0 and 1."""
    return tuple(map(_label, classes.tolist()))


def _label(label: Any) -> Label:
    if isinstance(label, str):
        return str(label)
    if isinstance(label, Integral):
        return int(label)
    if isinstance(label, Real):
        return float(label)
    raise InputError(
        f"the class {label!r} is neither text nor a number, as model files have them: fit to y.astype(str), for example."
    )


def _encoding_of(estimator: Any, target: Target) -> Encoding:
    """The encoding of columns that are taken as they are, by their names where the estimator knows them."""
    names = tuple(map(str, getattr(estimator, "feature_names_in_", ())))
    if not names or len(set(names)) < len(names):
        return plain_encoding(estimator.n_features_in_, target)
    return plain_encoding(names, replace(target, names=tuple(_unlike(name, names) for name in target.names)))


def _unlike(name: str, others: Sequence[str]) -> str:
    """A name that none of the others is."""
    while name in others:
        name += "_"
    return name


def _check_kind(kind: type, target: Target, path: Path) -> None:
    holds, wanted = ("a regression", "MLPRegressor") if target.task == "regression" else ("classes", "MLPClassifier")
    check(
        is_classifier(kind()) == (target.task != "regression"),
        f"{path} holds a model of {holds}: load it with {wanted}.load.",
    )


def _raw_layers(model: Model, encoding: Encoding, path: Path) -> Layers:
    """Weights and biases that take raw columns and give raw targets, as an estimator has them.

    Standardising is a matter of the first layer, and of the last; so is the difference of the logits of two classes.
    """
    _check_expressible(model, encoding, path)
    arrays = model.layers()
    weights = [layer["weight"] for layer in arrays]
    biases = [layer.get("bias", np.zeros(w.shape[1], w.dtype)) for layer, w in zip(arrays, weights, strict=True)]
    if model.loss.targets == "labels" and len(biases[-1]) == 2:
        weights[-1], biases[-1] = np.diff(weights[-1]), np.diff(biases[-1])
    if _is_plain(encoding.numbers) and encoding.target.scale is None:
        return weights, biases
    # In float32 this would cost precision where numbers are large beside their differences.
    return _unstandardised([w.astype(np.float64) for w in weights], [b.astype(np.float64) for b in biases], encoding)


def _unstandardised(weights: list[np.ndarray], biases: list[np.ndarray], encoding: Encoding) -> Layers:
    numbers, target = encoding.numbers, encoding.target
    first, last = weights[0] / numbers.scale[:, None], len(weights) - 1
    weights, biases = [first, *weights[1:]], [biases[0] - numbers.mean @ first, *biases[1:]]
    if target.scale is not None:
        weights[last] = weights[last] * target.scale
        biases[last] = biases[last] * target.scale + target.mean
    return weights, biases


def _is_plain(numbers: Numbers) -> bool:
    return not numbers.mean.any() and bool((numbers.scale == 1).all())


def _check_expressible(model: Model, encoding: Encoding, path: Path) -> None:
    """Refuse what no estimator does: columns of text or with gaps, and an activation at the end."""
    numbers, remedy = encoding.numbers, "load it with nnaccel.load"
    text = [*numbers.formats, *(column.name for column in encoding.categories)]
    check(not text, f"{path} holds a model that reads text, in column {next(iter(text), '')!r}: {remedy}.")
    gaps = [name for name, had in zip(numbers.names, numbers.had_gaps, strict=True) if had]
    check(not gaps, f"{path} holds a model that knows gaps, in column {next(iter(gaps), '')!r}: {remedy}.")
    last = model.network.layers[-1].activation
    check(last.name == "identity", f"{path} holds a network whose last layer has the activation {last}: {remedy}.")
    own = type(model.loss).predict is not Loss.predict
    scaled = encoding.target.scale is not None
    check(not (own and scaled), f"{path} holds a model that scales what {model.loss.name} predicts: {remedy}.")


def _parameters(model: Model) -> dict[str, Any]:
    """What an estimator has to be told to have a model's network and loss."""
    hidden = model.network.layers[:-1]
    parameters: dict[str, Any] = {"hidden_layer_sizes": tuple(width for (width,) in model.network.shapes[1:-1])}
    if hidden:
        parameters["activation"] = _one_or_all([activation_word(layer.activation) for layer in hidden])
        parameters["dropout"] = _one_or_all([layer.dropout for layer in hidden])
    if isinstance(model.loss, (BinaryCrossEntropy, SoftmaxCrossEntropy)):
        return parameters | {"label_smoothing": model.loss.label_smoothing}
    return parameters | {"loss": loss_word(model.loss)}


def _one_or_all(values: list[Any]) -> Any:
    return values[0] if len(set(values)) == 1 else values


def _binarizer(target: Target) -> LabelBinarizer:
    """What turns probabilities into labels, as if it had been fitted to the training's."""
    if target.task == "multilabel" and target.outputs > 1:
        return LabelBinarizer().fit(np.eye(target.outputs, dtype=int))
    labels = target.labels() if target.classes else np.arange(2)
    binarizer = LabelBinarizer().fit(np.arange(len(labels)))
    # Fitted to the labels themselves it would refuse fractions, which a file may have.
    binarizer.classes_ = labels
    return binarizer


def _initialize(estimator: Any, weights: list[np.ndarray], biases: list[np.ndarray]) -> None:
    """Give an estimator all that a fit begins with, and parameters."""
    # What is drawn is thrown away: the stream of the user's own draws isn't touched.
    estimator._random_state = np.random.RandomState(0)
    units = [len(weights[0]), *map(len, biases)]
    estimator._initialize(np.empty((0, units[-1])), units, weights[0].dtype)
    estimator.coefs_, estimator.intercepts_ = weights, biases
