"""Orders and splits: functions of the seed, complete and disjoint."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnaccel.errors import InputError
from nnaccel.order import Sequential, Shuffled, batch_bounds, split

ROWS = np.arange(5, 105, dtype=np.int32)


def test_a_shuffled_epoch_has_every_row_once():
    order = Shuffled(1).epoch(3, ROWS)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), ROWS)


def test_orders_depend_on_seed_and_epoch_alone():
    np.testing.assert_array_equal(Shuffled(1).epoch(3, ROWS), Shuffled(np.int64(1)).epoch(3, ROWS))
    assert (Shuffled(1).epoch(3, ROWS) != Shuffled(1).epoch(4, ROWS)).any()
    assert (Shuffled(1).epoch(3, ROWS) != Shuffled(2).epoch(3, ROWS)).any()
    np.testing.assert_array_equal(Sequential().epoch(3, ROWS), ROWS)


@given(st.integers(1, 300), st.integers(1, 300))
def test_batches_cover_an_epoch(rows, batch_size):
    bounds = batch_bounds(rows, batch_size)
    assert (bounds[0], bounds[-1]) == (0, rows)
    lengths = np.diff(bounds)
    assert (lengths[:-1] == batch_size).all()
    assert 1 <= lengths[-1] <= batch_size


@given(st.integers(2, 300), st.floats(0.05, 0.95), st.integers(0, 2**64))
def test_a_split_is_complete_and_disjoint(rows, fraction, seed):
    if not 0 < round(rows * fraction) < rows:
        with pytest.raises(InputError, match="leaves nothing"):
            split(rows, fraction, seed)
        return
    training, held_out = split(rows, fraction, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([training, held_out])), np.arange(rows))
    assert len(held_out) == round(rows * fraction)
    np.testing.assert_array_equal(split(rows, fraction, seed)[1], held_out)


@given(st.lists(st.integers(5, 60), min_size=2, max_size=5), st.floats(0.1, 0.9))
def test_a_split_by_labels_takes_from_each_class_in_proportion(counts, fraction):
    labels = np.random.default_rng(0).permutation(np.repeat(np.arange(len(counts)), counts))
    _, held_out = split(len(labels), fraction, 0, labels)
    share = len(held_out) / len(labels)
    for label, count in enumerate(counts):
        # Held-out rows lie at even distances among the rows sorted by class: each class is off by less than one row.
        assert abs((labels[held_out] == label).sum() - share * count) < 1
