"""What Python hands over: what is taken as it is, what is refused and how the sentence reads."""

import numpy as np
import pandas as pd
import pytest

from nnaccel.errors import InputError
from nnaccel.inputs import as_features, as_targets, default_loss
from nnaccel.losses import as_loss


def test_arrays_are_not_copied():
    for dtype in (np.float32, np.uint8, np.float64):
        x = np.ones((3, 2), dtype)
        assert np.shares_memory(as_features(x), x)


def test_everything_that_holds_numbers_is_taken():
    expected = np.array([[1.0, 2.0], [3.0, 4.0]])
    frame = pd.DataFrame({"a": [1, 3], "b": [2.0, 4.0]})

    class Foreign:
        """Another library's array: it has nothing but DLPack."""

        def __dlpack__(self, **options):
            return expected.__dlpack__(**options)

        def __dlpack_device__(self):
            return expected.__dlpack_device__()

    for data in (expected.tolist(), frame, Foreign(), expected.astype(">f8"), expected.astype(object)):
        np.testing.assert_array_equal(as_features(data), expected)
    assert as_features(np.array([[True], [False]])).dtype == np.uint8


def test_a_column_that_is_no_number_is_named():
    with pytest.raises(InputError, match="column 'town' of X"):
        as_features(pd.DataFrame({"age": [1, 2], "town": ["x", "y"]}))


@pytest.mark.parametrize(
    ("y", "outputs", "loss"),
    [
        ([0, 1, 2], 3, "softmax_cross_entropy"),
        ([0, 1, 1], 1, "binary_cross_entropy"),
        ([[0, 1], [1, 1]], 2, "binary_cross_entropy"),
        ([0, 5, 7], 1, "mean_squared_error"),
        ([0.5, 1.5], 1, "mean_squared_error"),
    ],
)
def test_default_loss(y, outputs, loss):
    assert default_loss(y, outputs) == loss


def test_targets_out_of_a_losss_domain():
    with pytest.raises(InputError, match="poisson needs targets from 0 to inf, but y goes from -1 to 2"):
        as_targets([-1.0, 2.0], as_loss("poisson"), 2, 1)
    with pytest.raises(InputError, match="whole numbers from 0 to 2"):
        as_targets([0.5, 1.0], as_loss("softmax_cross_entropy"), 2, 3)
