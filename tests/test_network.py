"""Networks: where parameters lie, and what they begin with."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
import scipy.stats
from hypothesis import given

from nnaccel.activations import ACTIVATIONS
from nnaccel.network import ALIGNMENT, INITIALIZERS, Dense, Network
from tests.tolerance import assert_distributed, binomial_bounds, variance_bounds

NETWORKS = st.builds(
    lambda features, sizes, biases: Network(features, [Dense(n, bias=b) for n, b in zip(sizes, biases, strict=False)]),
    st.integers(1, 40),
    st.lists(st.integers(1, 40), min_size=1, max_size=4),
    st.lists(st.booleans(), min_size=4, max_size=4),
)


@given(network=NETWORKS)
def test_blocks_are_aligned_and_leave_only_padding_between(network):
    end = 0
    for block in network.blocks:
        assert block.start == end
        assert block.start % ALIGNMENT == 0
        assert block.stop - block.start == math.prod(block.shape)
        assert 0 <= block.end - block.stop < ALIGNMENT
        end = block.end
    assert network.size == end
    assert network.size % ALIGNMENT == 0


def test_alignment_is_a_cache_line_of_float32():
    assert ALIGNMENT * 4 == 64


def test_a_network_counts_its_parameters_without_padding():
    # 3 * 5 weights and 5 biases, 5 * 2 weights without biases; blocks of 16, 16, 16.
    network = Network(3, [Dense(5), Dense(2, bias=False)])
    assert (network.parameter_count, network.size) == (30, 48)
    assert [(b.layer, b.name, b.shape, b.start) for b in network.blocks] == [
        (0, "weight", (3, 5), 0), (0, "bias", (5,), 16), (1, "weight", (5, 2), 32),
    ]  # fmt: skip
    assert network.shapes == ((3,), (5,), (2,))


@given(network=NETWORKS, dtype=st.sampled_from(["float32", "float64"]))
def test_unpack_returns_what_was_packed(network, dtype):
    random = np.random.default_rng(0)
    layers = [{} for _ in network.layers]
    for block in network.blocks:
        layers[block.layer][block.name] = random.normal(size=block.shape).astype(dtype)
    vector = network.pack(layers, dtype)
    assert (vector.dtype, vector.shape) == (dtype, (network.size,))
    np.testing.assert_array_equal(vector, network.pack([list(layer.values()) for layer in layers], dtype))
    for got, want in zip(network.unpack(vector, np), layers, strict=True):
        assert list(got) == list(want)
        for name in want:
            np.testing.assert_array_equal(got[name], want[name])
    # All that isn't a parameter is zero.
    assert np.count_nonzero(vector) == network.parameter_count


def test_pack_takes_arrays_by_name_in_any_order():
    network = Network(2, [Dense(1)])
    layer = {"bias": np.array([3.0]), "weight": np.array([[1.0], [2.0]])}
    np.testing.assert_array_equal(
        network.pack([layer], "float64"), network.pack([[layer["weight"], layer["bias"]]], "float64")
    )


@given(network=NETWORKS)
def test_the_weight_mask_marks_weights_alone(network):
    mask = network.weight_mask("float32")
    assert set(np.unique(mask)) <= {0, 1}
    for block in network.blocks:
        assert (mask[block.start : block.stop] == (block.name == "weight")).all()
        assert not mask[block.stop : block.end].any()


def test_unpack_makes_views_where_it_can():
    network = Network(3, [Dense(5)])
    vector = np.zeros(network.size)
    assert all(np.shares_memory(array, vector) for array in network.unpack(vector, np)[0].values())


# --- initialisation ---


def weights(initializer, inputs=120, outputs=80, seed=0):
    network = Network(inputs, [Dense(outputs, initializer=initializer)])
    return network.unpack(network.initial_parameters(seed, "float64"), np)[0]["weight"].ravel()


VARIANCES = {"glorot": 2 / (120 + 80), "he": 2 / 120, "lecun": 1 / 120}


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initial_weights_have_their_variance_and_distribution(name):
    family, distribution = name.split("_")
    deviation = math.sqrt(VARIANCES[family])
    standard = weights(name) / deviation
    # The squares of a uniform variable vary less than those of a normal one, for which the bounds are exact.
    low, high = variance_bounds(standard.size)
    assert low <= np.mean(standard**2) <= high
    limit = math.sqrt(3)
    assert_distributed(
        standard, scipy.stats.norm if distribution == "normal" else scipy.stats.uniform(-limit, 2 * limit)
    )


@pytest.mark.parametrize("name", INITIALIZERS)
def test_initial_weights_are_independent_of_their_neighbours(name):
    positive = weights(name) > 0
    low, high = binomial_bounds(positive.size - 1, 0.5)
    assert low <= np.count_nonzero(positive[1:] == positive[:-1]) <= high


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_every_activation_has_an_initializer_that_suits_it(name):
    rectifiers = {"relu", "leaky_relu", "elu", "gelu", "silu"}
    expected = "he_uniform" if name in rectifiers else "lecun_normal" if name == "selu" else "glorot_uniform"
    assert Dense(3, name).initializer == expected


@given(network=NETWORKS, seed=st.integers(-(2**63), 2**64 - 1))
def test_initial_parameters_are_the_same_in_both_dtypes_but_for_rounding(network, seed):
    single, double = (network.initial_parameters(seed, dtype) for dtype in ("float32", "float64"))
    assert (single.dtype, double.dtype) == ("float32", "float64")
    np.testing.assert_array_equal(single, double.astype(np.float32))


def test_the_seed_may_be_a_numpy_number():
    network = Network(3, [Dense(5)])
    np.testing.assert_array_equal(
        network.initial_parameters(np.int64(1), "float64"), network.initial_parameters(1, "float64")
    )


@given(network=NETWORKS)
def test_biases_and_padding_begin_at_zero(network):
    vector = network.initial_parameters(0, "float64")
    assert not vector[network.weight_mask("bool") == 0].any()


def test_a_layer_begins_the_same_whatever_the_others_are():
    def middle(first_units, last_units):
        # The middle layer has the same shape in each; so it has the same weights.
        network = Network(first_units, [Dense(6), Dense(5), Dense(last_units)])
        return network.unpack(network.initial_parameters(7, "float64"), np)[1]["weight"]

    np.testing.assert_array_equal(middle(3, 2), middle(9, 4))


def test_layers_and_seeds_begin_differently():
    network = Network(30, [Dense(30), Dense(30)])
    first, second = (layer["weight"] for layer in network.unpack(network.initial_parameters(0, "float64"), np))
    other = network.unpack(network.initial_parameters(1, "float64"), np)[0]["weight"]
    for a, b in ((first, second), (first, other), (second, other)):
        low, high = binomial_bounds(a.size, 0.5)
        assert low <= np.count_nonzero((a > 0) == (b > 0)) <= high


def test_equal_networks_are_equal_keys():
    # Backends keep programs by plan.
    a, b = (Network(3, [Dense(5, "relu"), Dense(2)]) for _ in range(2))
    assert a == b
    assert hash(a) == hash(b)
    assert a != Network(3, [Dense(5, "tanh"), Dense(2)])
