"""Dropout masks: the published generator, the same bits everywhere, the right number of zeros."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnaccel.dropout import DropoutSource, threefry2x32
from tests import naive
from tests.tolerance import binomial_bounds

LIKE = np.zeros((37, 9))


@pytest.mark.parametrize(
    ("key", "counter", "answer"),
    [  # threefry2x32 with 13 rounds, from the known answers of the Random123 library
        ((0, 0), (0, 0), (0x9D1C5EC6, 0x8BD50731)),
        ((0xFFFFFFFF,) * 2, (0xFFFFFFFF,) * 2, (0xFD36D048, 0x2D17272C)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xBA3E4725, 0xF27D669E)),
    ],
)
def test_known_answers(key, counter, answer):
    assert threefry2x32(key, counter) == naive.threefry(key, counter) == answer


@pytest.mark.parametrize("seed", [0, 5, 2**40 + 3, -1])
def test_masks_equal_a_naive_twin(seed):
    mask = DropoutSource(seed, step=7).mask(2, 0.3, LIKE, np)
    np.testing.assert_array_equal(mask, naive.dropout_mask(seed % 2**64, 7, 2, 0.3, *LIKE.shape))


def test_masks_are_the_same_on_a_strict_array_library(strict):
    got = DropoutSource(5, step=7).mask(2, 0.3, strict.from_host(LIKE), strict.xp)
    np.testing.assert_array_equal(strict.to_host(got), DropoutSource(5, step=7).mask(2, 0.3, LIKE, np))


def test_a_batch_in_parts_has_the_masks_of_the_whole():
    whole = DropoutSource(5, step=7).mask(0, 0.5, LIKE, np)
    parts = [DropoutSource(5, 7, first_row=row).mask(0, 0.5, LIKE[row : row + 10], np) for row in range(0, 37, 10)]
    np.testing.assert_array_equal(np.concatenate(parts), whole)


@pytest.mark.parametrize("rate", [0.01, 0.5, 0.9])
def test_the_rate_is_met_and_the_mean_kept(rate):
    mask = DropoutSource(1, step=0).mask(0, rate, np.zeros((1000, 64)), np)
    threshold = round(rate * 2**16) / 2**16
    low, high = binomial_bounds(mask.size, 1 - threshold)
    assert low <= np.count_nonzero(mask) <= high
    assert np.unique(mask).tolist() == [0, 1 / (1 - threshold)]


def test_every_part_of_the_counter_matters():
    base = DropoutSource(1, step=0).mask(0, 0.5, LIKE, np)
    for seed, step, layer, first_row in [(2, 0, 0, 0), (2**33 + 1, 0, 0, 0), (1, 1, 0, 0), (1, 0, 1, 0), (1, 0, 0, 1)]:
        assert (DropoutSource(seed, step, first_row=first_row).mask(layer, 0.5, LIKE, np) != base).mean() > 0.3
    wide = DropoutSource(1, step=0).mask(0, 0.5, np.zeros((37, 90)), np)
    assert len(np.unique(wide, axis=0)) == len(wide)


def test_the_factor_scales_the_rate():
    half = DropoutSource(1, step=0, factor=0.5).mask(0, 0.6, LIKE, np)
    np.testing.assert_array_equal(half, DropoutSource(1, step=0).mask(0, 0.3, LIKE, np))
    assert (DropoutSource(1, step=0, factor=0.0).mask(0, 0.6, LIKE, np) == 1).all()


WORDS = st.integers(0, 2**32 - 1)


@given(key=st.tuples(WORDS, WORDS), counters=st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=5))
def test_the_cipher_of_an_array_is_that_of_each_element(key, counters):
    a, b = threefry2x32(key, tuple(np.array(words, np.int64) for words in zip(*counters, strict=True)))
    assert list(zip(a.tolist(), b.tolist(), strict=True)) == [naive.threefry(key, counter) for counter in counters]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(1, 1), (3, 4), (5, 7), (2, 3, 5)])
def test_masks_are_the_same_on_every_backend_in_every_shape(backend, shape, dtype):
    like, source = np.empty(shape, dtype), DropoutSource(2**40 + 7, 3)
    got = backend.to_host(source.mask(1, 0.3, backend.from_host(like), backend.xp))
    assert (got.shape, got.dtype) == (like.shape, like.dtype)
    want = naive.dropout_mask(2**40 + 7, 3, 1, 0.3, shape[0], like[0].size)
    np.testing.assert_array_equal(got, np.reshape(want, shape).astype(dtype))


def test_a_unit_keeps_its_bits_in_a_wider_layer_and_a_longer_batch():
    source = DropoutSource(1, 2)
    narrow, wide = (source.mask(0, 0.5, np.empty(shape), np) for shape in ((6, 10), (9, 33)))
    np.testing.assert_array_equal(wide[:6, :10], narrow)


def assert_independent(a, b):
    """Two masks of rate 1/2 agree as often as two coins."""
    low, high = binomial_bounds(a.size, 0.5)
    assert low <= np.count_nonzero((a != 0) == (b != 0)) <= high


@pytest.mark.parametrize(("first", "second"), [
    ((1, 2, 0), (2, 2, 0)), ((1, 2, 0), (1 + 2**32, 2, 0)), ((1, 2, 0), (1, 3, 0)), ((1, 2, 0), (1, 2, 1)),
    ((1, 2, 0), (2, 1, 0)), ((1, 0, 1), (1, 1, 0)),
], ids=["seed", "high half of the seed", "step", "layer", "seed and step", "step and layer"])  # fmt: skip
def test_masks_of_different_places_are_independent(first, second):
    assert_independent(
        *(DropoutSource(*place[:2]).mask(place[2], 0.5, np.empty((200, 100)), np) for place in (first, second))
    )


def test_rows_and_units_are_independent_of_their_neighbours():
    mask = DropoutSource(7, 8).mask(0, 0.5, np.empty((300, 101)), np)
    for a, b in ((mask[1:], mask[:-1]), (mask[:, 1:], mask[:, :-1]), (mask[:, 4:], mask[:, :-4])):
        assert_independent(a, b)


def test_every_unit_keeps_its_share():
    # A lane that is always kept would hide in the mean of all.
    kept = (DropoutSource(5, 6).mask(0, 0.5, np.empty((2000, 12)), np) != 0).sum(axis=0)
    low, high = binomial_bounds(2000, 0.5)
    assert ((kept >= low) & (kept <= high)).all()


def test_a_rate_that_rounds_to_one_still_gives_numbers():
    assert np.isfinite(DropoutSource(1, 2).mask(0, 1 - 2**-40, LIKE, np)).all()
