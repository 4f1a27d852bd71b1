"""How networks lie in memory for the kernels: nothing is lost, nothing overlaps, padding is zero."""

import itertools

import numpy as np
import pytest

from nnaccel.kernels import host
from nnaccel.kernels.job import ACTIVATIONS
from nnaccel.layout import Flat, Panels
from nnaccel.network import Dense, Network

SIZES = (1, 2, 15, 16, 17, 31, 33, 100, 129, 1000)
NETWORKS = {
    **{f"{n} to {n}": Network(n, [Dense(n)]) for n in SIZES},
    **{
        f"{a} to {b} to {c}": Network(a, [Dense(b, "relu"), Dense(c)])
        for a, b, c in itertools.permutations((1, 17, 33))
    },
    "every kind": Network(
        31,
        [
            Dense(16, "tanh", dropout=0.5),
            Dense(1, "gelu", bias=False),
            Dense(100, "gelu", dropout=0.1),
            Dense(33, "elu,alpha=0.3"),
            Dense(2, "leaky_relu,slope=0.2"),
        ],
    ),
}

every_network = pytest.mark.parametrize("network", NETWORKS.values(), ids=NETWORKS)
every_dtype = pytest.mark.parametrize("dtype", ["float32", "float64"])
every_layout = pytest.mark.parametrize("layout", [Flat, Panels])


def vector_of(network, dtype):
    """A flat vector whose elements all differ, its padding zero."""
    vector = np.zeros(network.size, dtype)
    for block in network.blocks:
        vector[block.start : block.stop] = np.arange(block.start, block.stop) + 1
    return vector


@every_network
@every_dtype
@every_layout
def test_what_is_packed_is_unpacked(layout, dtype, network):
    layout, vector = layout(network, dtype), vector_of(network, dtype)
    parameters = np.zeros(layout.size, dtype)
    layout.pack(vector, parameters)
    got = layout.unpack(parameters)
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, vector)
    assert not np.shares_memory(got, parameters)
    # Every parameter lies somewhere once, and all else is zero.
    np.testing.assert_array_equal(np.sort(parameters[parameters != 0]), np.sort(vector[vector != 0]))


@every_network
@every_dtype
def test_places_are_where_the_kernels_look(dtype, network):
    """The weights of a single output are one row."""
    layout, vector = Panels(network, dtype), vector_of(network, dtype)
    parameters, transposed = np.zeros(layout.size, dtype), np.zeros(layout.transposed_size, dtype)
    layout.pack(vector, parameters)
    layout.transpose(parameters, transposed)
    for number, arrays in enumerate(network.unpack(vector, np)):
        weight, bias, transposed_weight = layout.places(number)
        single = arrays["weight"].shape[1] == 1
        assert_in_panels(parameters[weight:], arrays["weight"].T if single else arrays["weight"])
        if "bias" in arrays:
            assert_in_panels(parameters[bias:], arrays["bias"][None, :], narrow=False)
        else:
            assert bias == -1
        if number and not single:
            assert_in_panels(transposed[transposed_weight:], arrays["weight"].T)
        else:
            assert transposed_weight == -1


def assert_in_panels(memory, matrix, narrow=True):
    """The matrix begins here, in panels of columns, the last of them only as wide as a vector where that is enough."""
    (rows, columns), panel, lanes = matrix.shape, host.panel(matrix.dtype.name), host.lanes(matrix.dtype.name)
    for j in range(0, columns, panel):
        width = lanes if narrow and columns - j <= lanes else panel
        lying = memory[j * rows : j * rows + rows * width].reshape(rows, width)
        count = min(panel, columns - j)
        np.testing.assert_array_equal(lying[:, :count], matrix[:, j : j + count])
        assert not lying[:, count:].any()


@every_network
@every_dtype
def test_in_the_flat_layout_places_are_those_of_the_vector(dtype, network):
    layout = Flat(network, dtype)
    starts = {(block.layer, block.name): block.start for block in network.blocks}
    for number in range(len(network.layers)):
        assert layout.places(number) == (starts[number, "weight"], starts.get((number, "bias"), -1), -1)
    assert len(layout.blocks) == 0


@every_network
@every_dtype
def test_transposed_copies_of_what_was_transposed_before(dtype, network):
    layout = Panels(network, dtype)
    parameters, first = np.zeros(layout.size, dtype), np.zeros(layout.transposed_size, dtype)
    layout.pack(vector_of(network, dtype), parameters)
    layout.transpose(parameters, first)
    again = first.copy()
    layout.pack(-vector_of(network, dtype), parameters)
    layout.transpose(parameters, again)
    np.testing.assert_array_equal(again, -first)


@every_network
@every_dtype
def test_blocks_cover_every_weight_once(dtype, network):
    layout, panel = Panels(network, dtype), host.panel(dtype)
    covered = [np.zeros(arrays["weight"].shape, int) for arrays in network.unpack(vector_of(network, dtype), np)]
    for number, i, j in layout.blocks:
        covered[number][i : i + panel, j : j + panel] += 1
    assert all((count == 1).all() for count in covered)
    assert layout.costs.shape == (len(layout.blocks),)
    assert (layout.costs > 0).all()


@every_network
@every_dtype
@every_layout
@pytest.mark.parametrize("capacity", [4, 68, 1000])
def test_matrices_of_activations_do_not_overlap(layout, dtype, network, capacity):
    layout = layout(network, dtype)
    table, size = layout.table(capacity)
    rows = capacity if isinstance(layout, Panels) else layout.lanes
    places = {}
    for layer, record in zip(network.layers, table, strict=True):
        for name, columns in (("input", "inputs"), ("saved", "outputs"), ("output", "outputs"), ("delta", "outputs")):
            length = rows * layout.columns(int(record[columns]))
            assert places.setdefault(int(record[name]), length) == length
        assert (record["saved"] == record["output"]) == (layer.activation.saves == "output" and not layer.dropout)
        assert record["delta"] not in (record["saved"], record["output"], record["input"])
        assert record["input"] not in (record["saved"], record["output"])
    ends = [(start, start + length) for start, length in sorted(places.items())]
    assert ends[0][0] >= 0
    assert ends[-1][1] <= size
    assert all(stop <= start for (_, stop), (start, _) in itertools.pairwise(ends))


@every_network
@every_layout
def test_the_table_says_what_the_network_is(layout, network):
    layout = layout(network, "float32")
    table, _ = layout.table(4)
    for number, (layer, record) in enumerate(zip(network.layers, table, strict=True)):
        assert record["number"] == number
        assert (record["inputs"], record["outputs"]) == (network.shapes[number][0], layer.units)
        assert ACTIVATIONS[record["activation"]] == layer.activation.name
        assert record["parameter"] == getattr(layer.activation, "slope", getattr(layer.activation, "alpha", 0.0))
        assert record["dropout"] == layer.dropout
        assert record["saves_output"] == (layer.activation.saves == "output")
        assert (record["weight"], record["bias"], record["transposed"]) == layout.places(number)
        if number:
            assert record["input"] == table[number - 1]["output"]
