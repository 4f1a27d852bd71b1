"""Models: what predictions look like, and the public names."""

import ast
from pathlib import Path

import numpy as np
import pytest

import nnaccel
from nnaccel import Dense, InputError, Model, Network
from nnaccel.encoding import Encoding, Numbers
from nnaccel.losses import as_loss
from nnaccel.targets import Target

X = np.array([[1.0, 0.0], [0.0, 1.0], [2.0, 3.0]])


def model(loss, outputs, weights, encoded=None):
    network = Network(2, [Dense(outputs, bias=False)])
    return Model(network, as_loss(loss), network.pack([[weights]], "float64"), encoded)


def encoding(target, mean=0.0, scale=1.0):
    """An encoding of two columns of numbers without names."""
    numbers = Numbers(("0", "1"), {}, np.full(2, mean), np.full(2, scale), np.zeros(2, bool))
    return Encoding(("0", "1", *target.names), False, numbers, (), target)


def test_classes():
    fitted = model("softmax_cross_entropy", 2, np.eye(2))
    np.testing.assert_array_equal(fitted.predict(X), [0, 1, 1])
    np.testing.assert_allclose(fitted.predict_proba(X).sum(axis=1), 1)


def test_class_names_come_back():
    names = encoding(Target(("y",), "classification", ("ant", "bee")))
    np.testing.assert_array_equal(model("softmax_cross_entropy", 2, np.eye(2), names).predict(X), ["ant", "bee", "bee"])


def test_one_output_for_two_classes():
    fitted = model("binary_cross_entropy", 1, [[1.0], [-1.0]])
    np.testing.assert_array_equal(fitted.predict(X), [1, 0, 0])
    np.testing.assert_allclose(fitted.predict_proba(X)[:, 1], 1 / (1 + np.exp([-1.0, 1.0, 1.0])))


def test_numbers():
    np.testing.assert_array_equal(model("mean_squared_error", 1, [[2.0], [3.0]]).predict(X), [2, 3, 13])
    np.testing.assert_allclose(model("poisson", 1, [[2.0], [3.0]]).predict(X), np.exp([2, 3, 13]))
    assert model("mean_squared_error", 2, np.eye(2)).predict(X).shape == (3, 2)


def test_numbers_come_back_in_their_units():
    scaled = encoding(Target(("y",), "regression", (), np.array([100.0]), np.array([10.0])), mean=1.0, scale=2.0)
    fitted = model("mean_squared_error", 1, [[2.0], [0.0]], scaled)
    np.testing.assert_allclose(fitted.predict(X), 100 + 10 * 2 * (X[:, 0] - 1) / 2)


def test_bad_rows():
    fitted = model("mean_squared_error", 1, [[2.0], [3.0]])
    with pytest.raises(InputError, match="the network takes"):
        fitted.predict(np.ones((2, 3)))
    with pytest.raises(InputError, match="has no probabilities"):
        fitted.predict_proba(X)


def test_type_checkers_see_the_public_names():
    """The lazy table and the imports for type checkers are two lists of the same names."""
    tree = ast.parse(Path(nnaccel.__file__).read_text(encoding="utf-8"))
    seen = {
        (node.module, alias.name) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) for alias in node.names
    }
    for name in nnaccel.__all__:
        assert getattr(nnaccel, name) is not None
        if name != "__version__":
            assert (f"nnaccel.{nnaccel._ROOM_OF[name]}", name) in seen
