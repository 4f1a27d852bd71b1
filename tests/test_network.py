"""Networks: where parameters lie, what they begin with, and what is refused."""

import itertools
import math

import numpy as np
import pytest

from nnaccel.errors import InputError
from nnaccel.network import ALIGNMENT, INITIALIZERS, Dense, Network
from tests.problems import epochs, problem, steps_of
from tests.tolerance import variance_bounds

NETWORK = Network(5, [Dense(7, "relu"), Dense(3, bias=False), Dense(2)])


def test_blocks_are_aligned_and_do_not_overlap():
    assert [(b.layer, b.name, b.shape) for b in NETWORK.blocks] == [
        (0, "weight", (5, 7)), (0, "bias", (7,)), (1, "weight", (7, 3)), (2, "weight", (3, 2)), (2, "bias", (2,)),
    ]  # fmt: skip
    for before, after in itertools.pairwise(NETWORK.blocks):
        assert before.stop == before.start + math.prod(before.shape) <= before.end == after.start
    assert all(block.start % ALIGNMENT == 0 for block in NETWORK.blocks)
    assert NETWORK.parameter_count == 35 + 7 + 21 + 6 + 2
    assert NETWORK.size % ALIGNMENT == 0


def test_pack_and_unpack_are_inverse():
    random = np.random.default_rng(0)
    layers = [{name: random.random(shape) for name, shape in
               layer.parameter_shapes(before).items()} for layer, before in zip(NETWORK.layers, NETWORK.shapes, strict=False)]  # fmt: skip
    vector = NETWORK.pack(layers, "float64")
    for got, want in zip(NETWORK.unpack(vector, np), layers, strict=True):
        assert got.keys() == want.keys()
        for name in want:
            np.testing.assert_array_equal(got[name], want[name])
    np.testing.assert_array_equal(NETWORK.pack([list(layer.values()) for layer in layers], "float64"), vector)


@pytest.mark.parametrize("optimizer", ["sgd,momentum=0.9", "adam", "adamw"])
def test_padding_stays_zero(backend, optimizer):
    p = problem("mean_squared_error", optimizer)
    order, bounds = epochs(23, 10, 2)
    run = p.start(backend)
    run.train(order, bounds, steps_of(p.plan, len(bounds) - 1))
    holes = np.ones(p.plan.network.size, bool)
    for block in p.plan.network.blocks:
        holes[block.start : block.stop] = False
    assert holes.any()
    assert not run.state().parameters[holes].any()


@pytest.mark.parametrize("name", INITIALIZERS)
def test_the_variance_of_initial_weights(name):
    """(samples / deviation)**2 has mean 1; normal samples meet the chi-square bound, uniform ones vary less."""
    inputs, outputs = 300, 200
    scale = {"glorot": 2 / (inputs + outputs), "he": 2 / inputs, "lecun": 1 / inputs}[name.split("_")[0]]
    network = Network(inputs, [Dense(outputs, initializer=name)])
    layer = network.unpack(network.initial_parameters(1, "float64"), np)[0]
    low, high = variance_bounds(inputs * outputs)
    assert low < np.mean(layer["weight"] ** 2) / scale < high
    assert not layer["bias"].any()
    if name.endswith("uniform"):
        assert np.abs(layer["weight"]).max() <= math.sqrt(3 * scale)


def test_initial_parameters_depend_on_seed_and_layer_alone():
    one = NETWORK.initial_parameters(1, "float64")
    np.testing.assert_array_equal(NETWORK.initial_parameters(1, "float32"), one.astype(np.float32))
    np.testing.assert_array_equal(NETWORK.initial_parameters(np.int64(1), "float64"), one)
    assert (NETWORK.initial_parameters(2, "float64") != one).any()
    twins = Network(4, [Dense(4), Dense(4)]).unpack(
        Network(4, [Dense(4), Dense(4)]).initial_parameters(1, "float64"), np
    )
    assert (twins[0]["weight"] != twins[1]["weight"]).all()


@pytest.mark.parametrize(
    ("make", "sentence"),
    [
        (lambda: Dense(0), "1 or more, not 0"),
        (lambda: Dense(2.5), "whole number of units"),
        (lambda: Dense(3, "rellu"), "did you mean 'relu'"),
        (lambda: Dense(3, dropout=1.0), "below 1, not 1.0"),
        (lambda: Dense(3, dropout=math.nan), "dropout"),
        (lambda: Dense(3, initializer="zeros"), "unknown initializer 'zeros'"),
        (lambda: Network(0, [Dense(3)]), "1 or more features"),
        (lambda: Network(3, []), "at least one layer"),
        (lambda: Network(3, ["relu"]), "'relu' is no layer"),
        (lambda: Network((3, 3), [Dense(3)]), "flatten the data first"),
        (lambda: NETWORK.pack([[]], "float32"), "1 layers for 3 layers"),
        (
            lambda: NETWORK.pack([[np.ones((5, 7))], [], []], "float32"),
            r"layer 0 has the parameters \['weight', 'bias'\]",
        ),
        (
            lambda: Network(2, [Dense(2, bias=False)]).pack([[np.ones(3)]], "float32"),
            r"has the shape \(2, 2\), not \(3,\)",
        ),
    ],
)
def test_what_is_refused(make, sentence):
    with pytest.raises(InputError, match=sentence):
        make()
