"""Dropout masks: the published generator, the same bits everywhere, the right number of zeros."""

import numpy as np
import pytest

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
