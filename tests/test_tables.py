"""Data in: what is taken as it is, what is refused and how the sentence reads."""

import numpy as np
import pandas as pd
import pytest
from sklearn import datasets

from nnaccel.errors import InputError
from nnaccel.losses import as_loss
from nnaccel.tables import BUNDLED, Encoding, as_features, as_targets, default_loss, read_table


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_sets_are_scikit_learns(name):
    options = {"scaled": False} if name == "diabetes" else {}
    x, y = getattr(datasets, f"load_{name}")(return_X_y=True, **options)
    table = read_table(name)
    np.testing.assert_array_equal(table.x, x)
    np.testing.assert_array_equal(table.y, y)
    assert table.task == ("regression" if name == "diabetes" else "classification")


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


def test_npz(tmp_path):
    path = tmp_path / "shop.npz"
    np.savez(path, X=np.arange(12.0).reshape(6, 2), y=np.array(["a", "b"] * 3))
    table = read_table(str(path))
    assert (table.name, table.task, table.x.shape) == ("shop", "classification", (6, 2))


@pytest.mark.parametrize(
    ("arrays", "sentence"),
    [
        ({"X": np.ones((2, 2))}, "has no array 'y', only X"),
        ({"X": np.ones((2, 2)), "y": np.ones(3)}, "X has 2 rows and y 3"),
        ({"X": np.ones((2, 2)), "y": np.array([1, 1])}, "every row has the same target"),
        ({"X": np.ones((2, 2)), "y": np.array([1.0, np.inf])}, "target has the value inf in row 1"),
        ({"X": np.array([[np.nan]]), "y": np.array([1.0])}, "X has the value nan in row 0, column 0"),
        ({"X": np.ones((2, 2)), "y": np.array(["a", None])}, "can't be read"),
        ({"X": np.ones((2, 2)), "y": np.ones((2, 0))}, "holds nothing to learn"),
    ],
)
def test_bad_npz(tmp_path, arrays, sentence):
    path = tmp_path / "bad.npz"
    np.savez(path, **arrays)
    with pytest.raises(InputError, match=sentence):
        read_table(str(path))


def test_a_file_that_is_none(tmp_path):
    (tmp_path / "torn.npz").write_bytes(b"PK\x03\x04 and no more")
    with pytest.raises(InputError, match="can't be read as an NPZ file"):
        read_table(str(tmp_path / "torn.npz"))
    with pytest.raises(InputError, match="there is no file"):
        read_table(str(tmp_path / "gone.npz"))


def test_encoding_standardises_and_comes_back():
    random = np.random.default_rng(0)
    x = np.column_stack([random.normal(5, 3, 200), np.full(200, 0.1)])
    y = random.normal(-40, 9, 200)
    encoding = Encoding.learn(x, y, "regression")
    encoded = encoding.features(x, "float64")
    np.testing.assert_allclose(encoded.mean(axis=0), 0, atol=1e-12)
    np.testing.assert_allclose(encoded.std(axis=0), [1, 0], atol=1e-12)
    np.testing.assert_allclose(encoding.numbers(encoding.targets(y))[:, 0], y)


def test_encoding_numbers_classes():
    encoding = Encoding.learn(np.ones((3, 1)), np.array(["cat", "ant", "cat"]), "classification")
    np.testing.assert_array_equal(encoding.targets(np.array(["ant", "cat"])), [0, 1])
    with pytest.raises(InputError, match="class bee has no training row"):
        encoding.targets(np.array(["bee"]))


def test_numbers_too_large_to_standardise():
    with pytest.raises(InputError, match="column 1 are too large to be standardised"):
        Encoding.learn(np.array([[1.0, 1e300], [2.0, -1e300]]), np.array([0, 1]), "classification")
