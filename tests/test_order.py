"""Orders and splits: functions of the seed, complete and disjoint."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from nnaccel.errors import InputError
from nnaccel.order import (
    BLOCK_BYTES,
    BlockShuffled,
    Sequential,
    Shuffled,
    batch_bounds,
    split,
    split_by_group,
    split_by_time,
)
from tests.tolerance import assert_distributed

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


def test_an_epoch_does_not_depend_on_what_was_asked_before():
    # Resuming needs no replay: asked out of turn and twice, a generator that remembers would give itself away.
    order = Shuffled(3)
    for epoch in (5, 0, 5):
        np.testing.assert_array_equal(order.epoch(epoch, ROWS), Shuffled(3).epoch(epoch, ROWS))


def test_a_row_lands_anywhere():
    rows = np.arange(1000, dtype=np.int32)
    places = [int(np.flatnonzero(Shuffled(0).epoch(epoch, rows) == 0)[0]) for epoch in range(300)]
    assert_distributed((np.array(places) + 0.5) / len(rows), scipy.stats.uniform)


@given(st.integers(0, 500), st.integers(1, 60), st.integers(1, 20), st.integers(0, 3))
def test_an_epoch_by_blocks_has_every_row_once(rows, block, window, number):
    numbers = np.arange(3, rows + 3, dtype=np.int32)
    order = BlockShuffled(1, block, window).epoch(number, numbers)
    assert order.dtype == np.int32
    np.testing.assert_array_equal(np.sort(order), numbers)


def test_orders_by_blocks_depend_on_seed_and_epoch_alone():
    order = BlockShuffled(1, 8, 4)
    np.testing.assert_array_equal(order.epoch(3, ROWS), BlockShuffled(np.int64(1), 8, 4).epoch(3, ROWS))
    assert (order.epoch(3, ROWS) != order.epoch(4, ROWS)).any()
    assert (order.epoch(3, ROWS) != BlockShuffled(2, 8, 4).epoch(3, ROWS)).any()


def test_a_window_reads_few_pieces():
    rows, block, window = np.arange(64_000, dtype=np.int32), 100, 16
    by_blocks, shuffled = (order.epoch(0, rows) for order in (BlockShuffled(0, block, window), Shuffled(0)))
    pieces = [
        max(len(np.unique(part // block)) for part in np.array_split(order, 41)) for order in (by_blocks, shuffled)
    ]
    # A part touches up to two windows, and a block up to two pieces; there are 640.
    assert pieces[0] <= 4 * window
    assert pieces[1] > 500


@pytest.mark.parametrize("window", [2, 4, 16, 64])
def test_batches_mix_rows_from_everywhere(window):
    """Of how the places of rows vary, 1 - 1 / window is found within batches; in the order of the data it would be nothing."""
    rows = np.arange(64_000, dtype=np.int32)
    shares = []
    for epoch in range(5):
        batches = BlockShuffled(0, 100, window).epoch(epoch, rows).reshape(-1, 200)
        shares.append(batches.var(axis=1).mean() / rows.var())
    # A batch of 200 rows has 1 / 200 less even where all are shuffled; 0.03 is three standard errors of few windows.
    assert np.mean(shares) > 1 - 1 / window - 1 / 200 - 0.03


def test_other_rows_meet_in_each_epoch():
    rows = np.arange(1000, dtype=np.int32)
    neighbours = []
    for epoch in range(50):
        places = np.argsort(BlockShuffled(0, 10, 4).epoch(epoch, rows))
        neighbours.append(abs(int(places[500]) - int(places[499])) < 40)
    # Their block begins between them in one epoch of ten: without the change of where blocks begin, in all or in none.
    assert 0 < 50 - sum(neighbours) < 25


def test_windows_take_the_memory_they_may():
    order = BlockShuffled.within(1 << 30, 400)
    assert (order.block, order.window) == (BLOCK_BYTES // 400, (1 << 30) // (BLOCK_BYTES // 400 * 400))
    little = BlockShuffled.within(1 << 20, 400)
    assert little.window >= 16
    assert little.block * little.window * 400 <= 1 << 20
    assert BlockShuffled.within(10, 400) == BlockShuffled(0, 1, 2)


@pytest.mark.parametrize("wrong", [{"block": 0}, {"window": 0}, {"block": 1.5}])
def test_blocks_are_whole(wrong):
    with pytest.raises(InputError, match=rf"{next(iter(wrong))} of BlockShuffled must be a whole number, 1 or more"):
        BlockShuffled(**wrong)


@pytest.mark.parametrize("labels", [None, np.arange(100) % 3], ids=["plain", "by labels"])
def test_a_split_depends_on_the_seed_and_keeps_the_order_of_the_data(labels):
    splits = [split(100, 0.3, seed, labels) for seed in (0, 0, 1)]
    assert splits[0][1].tolist() == splits[1][1].tolist() != splits[2][1].tolist()
    for part in splits[0]:
        assert part.dtype == np.int32
        assert (np.diff(part) > 0).all()


def test_a_split_by_labels_is_random_within_a_class():
    ever = set().union(*(split(100, 0.1, seed, np.arange(100) % 2)[1].tolist() for seed in range(200)))
    assert ever == set(range(100))


@pytest.mark.parametrize(("rows", "fraction", "sentence"), [
    (10, 0.0, "above 0 and below 1, not 0.0"), (10, 1.0, "not 1.0"), (10, -0.1, "not -0.1"), (10, np.nan, "not nan"),
    (3, 0.1, "of 3 rows leaves nothing to validate on"), (3, 0.9, "of 3 rows leaves nothing to train on"),
])  # fmt: skip
def test_a_split_that_leaves_nothing_is_refused(rows, fraction, sentence):
    with pytest.raises(InputError, match=sentence):
        split(rows, fraction, 0)


def test_a_class_with_a_single_row_is_never_held_out():
    labels = np.array([0] * 10 + [1] + [2] * 9)
    for seed in range(50):
        training, held_out = split(20, 0.5, seed, labels)
        assert 10 in training
        assert len(held_out) in (9, 10)


def test_classes_of_single_rows_leave_nothing_to_hold_out():
    with pytest.raises(InputError, match="10 rows are too few to hold out a part of each class"):
        split(10, 0.2, 0, np.arange(10))


@given(st.lists(st.integers(1, 30), min_size=2, max_size=12), st.floats(0.05, 0.95), st.integers(0, 2**32))
def test_a_split_by_group_divides_none_and_comes_near(sizes, fraction, seed):
    groups = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(sizes)), sizes))
    count = round(len(groups) * fraction)
    if not 0 < count < len(groups):
        return
    training, held_out = split_by_group(groups, fraction, seed)
    np.testing.assert_array_equal(np.sort(np.concatenate([training, held_out])), np.arange(len(groups)))
    assert len(training) > 0
    assert len(held_out) > 0
    assert not set(groups[training]) & set(groups[held_out])
    # Groups that would overshoot by more than they bring nearer are passed over, so it can't be off by more than the largest.
    assert abs(len(held_out) - count) <= max(sizes)


def test_a_large_group_is_not_held_out_for_a_small_fraction():
    groups = np.repeat([0, 1, 2], [90, 5, 5])
    assert {len(split_by_group(groups, 0.1, seed)[1]) for seed in range(20)} == {10}


def test_a_split_by_group_depends_on_the_seed():
    groups = np.arange(100) // 5
    held = [split_by_group(groups, 0.3, seed)[1].tolist() for seed in (0, 0, 1)]
    assert held[0] == held[1] != held[2]


def test_one_group_can_not_be_divided():
    with pytest.raises(InputError, match="all rows are of one group"):
        split_by_group(np.zeros(5, int), 0.2, 0)


@given(st.lists(st.integers(0, 8), min_size=2, max_size=60), st.floats(0.05, 0.95))
def test_a_split_by_time_holds_out_the_latest(times, fraction):
    times = np.array(times)
    count = round(len(times) * fraction)
    if not 0 < count < len(times) or len(set(times)) == 1:
        return
    training, held_out = split_by_time(times, fraction)
    np.testing.assert_array_equal(np.sort(np.concatenate([training, held_out])), np.arange(len(times)))
    assert times[training].max() < times[held_out].min()
    # No other time to begin with comes nearer.
    possible = [int((times > time).sum()) for time in set(times)]
    assert abs(len(held_out) - count) == min(abs(number - count) for number in possible if number)


def test_one_time_can_not_be_divided():
    with pytest.raises(InputError, match="all rows are of one time"):
        split_by_time(np.ones(5), 0.2)
