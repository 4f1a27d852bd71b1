"""What estimators take: tables, arrays of other libraries, files larger than memory, whole numbers as they lie."""

import subprocess
import sys
import textwrap

import array_api_strict
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
import scipy.sparse

from nnaccel import InputError, MLPClassifier, MLPRegressor
from nnaccel.estimators import intake
from nnaccel.estimators.stochastic import StochasticFit

random = np.random.default_rng(0)
X = random.normal(size=(60, 3))
Y = (X[:, 0] > 0).astype(int)
WEIGHTS = random.uniform(0.5, 2, 60)
COLUMNS = dict(zip("abc", X.T.copy(), strict=True))


def polars():
    return pytest.importorskip("polars", reason="polars isn't installed")


TABLES = {
    "pandas": pd.DataFrame,
    "polars": lambda columns: polars().DataFrame(columns),
    "pyarrow": lambda columns: pa.table({name: pa.array(values) for name, values in columns.items()}),
    "record batch": lambda columns: pa.RecordBatch.from_pydict(columns),
}
VECTORS = {
    "pandas": pd.Series,
    "polars": lambda values: polars().Series(values),
    "pyarrow": pa.array,
    "chunked": lambda values: pa.chunked_array([pa.array(values[:2]), pa.array(values[2:])]),
}


@pytest.fixture(params=TABLES)
def table(request):
    return TABLES[request.param]


@pytest.fixture(params=VECTORS)
def vector(request):
    return VECTORS[request.param]


def small(kind=MLPClassifier, **settings):
    return kind(**{"hidden_layer_sizes": (4,), "random_state": 0, "solver": "lbfgs", "max_iter": 5, **settings})


pytestmark = pytest.mark.filterwarnings("ignore:lbfgs failed to converge", "ignore:Stochastic Optimizer")


def same(first, second):
    return all((a == b).all() for a, b in zip(first.coefs_, second.coefs_, strict=True))


# --- tables ---


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_table_gives_what_its_numbers_give(table, dtype):
    columns = {name: values.astype(dtype) for name, values in COLUMNS.items()}
    by_table, by_array = (small(solver="adam").fit(rows, Y) for rows in (table(columns), X.astype(dtype)))
    assert by_table.coefs_[0].dtype == dtype
    assert same(by_table, by_array)
    assert by_table.feature_names_in_.tolist() == ["a", "b", "c"]
    np.testing.assert_array_equal(by_table.predict_proba(table(columns)), by_array.predict_proba(X.astype(dtype)))
    assert by_table.score(table(columns), Y) == by_array.score(X.astype(dtype), Y)


def test_names_in_another_order_are_refused(table):
    fitted = small().fit(table(COLUMNS), Y)
    with pytest.raises(ValueError, match="must be in the same order"):
        fitted.predict(table({name: COLUMNS[name] for name in "cba"}))
    with pytest.raises(ValueError, match="unseen at fit time"):
        small(solver="adam").fit(table(COLUMNS), Y, eval_set=(table(dict.fromkeys("abd", X[:, 0])), Y))
    with pytest.warns(UserWarning, match="does not have valid feature names"):
        fitted.predict(X)


def test_whole_numbers_truth_values_and_gaps(table):
    columns = {"a": X[:, 0], "b": (10 * X[:, 1]).astype(int), "c": X[:, 2] > 0}
    matrix = np.column_stack([*columns.values()]).astype(float)
    fitted = small().fit(table(columns), Y)
    assert same(fitted, small().fit(matrix, Y))
    np.testing.assert_array_equal(fitted.predict_proba(table(columns)), fitted.predict_proba(pd.DataFrame(columns)))
    with pytest.raises(ValueError, match="Input X contains NaN"):
        small().fit(table({"a": X[:, 0], "b": [1, None] * 30}), Y)
    with pytest.raises(ValueError, match="Input X contains NaN"):
        small().fit(table({"a": X[:, 0], "b": ["1", None] * 30}), Y)


def test_text_that_is_no_number_is_named(table):
    columns = {"size": X[:, 0], "town": ["Ulm", "Rom"] * 30}
    with pytest.raises(InputError, match=r"^column 'town' of X holds 'Ulm', which is no number: encode it first"):
        small().fit(table(columns), Y)
    with pytest.raises(InputError, match=r"^column 'town' of the X of eval_set holds 'Ulm'"):
        small(solver="adam").fit(X[:, :2], Y, eval_set=(table(columns), Y))
    numbers = {"size": X[:, 0], "town": ["1", "2.5"] * 30}
    assert same(small().fit(table(numbers), Y), small().fit(np.column_stack([X[:, 0], [1, 2.5] * 30]), Y))


def test_times_are_no_numbers(table):
    days = {"size": X[:, 0], "day": list(pd.date_range("2020-01-01", periods=60).to_pydatetime())}
    with pytest.raises(InputError, match=r"^column 'day' of X holds Datetime values: turn them into numbers first"):
        small().fit(table(days), Y)


def test_categories_are_named():
    towns = pa.array(["Ulm", "Rom"] * 30).dictionary_encode()
    for given in (pa.table({"a": X[:, 0], "town": towns}), pd.DataFrame({"a": X[:, 0], "town": towns.to_pandas()})):
        with pytest.raises(InputError, match="column 'town' of X holds 'Ulm'"):
            small().fit(given, Y)
    classes = pd.DataFrame({"a": X[:, 0], "class": pd.Categorical([1, 2] * 30)})
    assert small().fit(classes, Y).n_features_in_ == 2


def test_a_query_is_to_be_collected():
    query = polars().LazyFrame(COLUMNS)
    with pytest.raises(InputError, match="X is a query, which has no rows yet: collect them first"):
        small().fit(query, Y)


def test_columns_as_targets_and_weights(vector):
    plain = small(solver="adam", early_stopping=True).fit(X, Y, WEIGHTS)
    fitted = small(solver="adam", early_stopping=True).fit(X, vector(Y), vector(WEIGHTS))
    assert same(plain, fitted)
    assert fitted.score(X, vector(Y), vector(WEIGHTS)) == plain.score(X, Y, WEIGHTS)
    watched = [
        small(solver="adam").fit(X, Y, eval_set=(X, kind(Y), kind(WEIGHTS))).validation_scores_
        for kind in (np.asarray, vector)
    ]
    assert watched[0] == watched[1]
    steps = [
        small(solver="adam").partial_fit(X, kind(Y), kind(WEIGHTS), classes=kind([0, 1, 2]))
        for kind in (np.asarray, vector)
    ]
    assert same(*steps)
    numbers = [small(MLPRegressor).fit(X, kind(X[:, 0])) for kind in (np.array, vector)]
    assert same(*numbers)


def test_labels_as_text(vector):
    labels = ["yes" if one else "no" for one in Y]
    fitted = small().fit(X, vector(labels))
    assert fitted.classes_.tolist() == ["no", "yes"]
    assert fitted.score(X, vector(labels)) == small().fit(X, labels).score(X, labels)
    # Text of pandas 2 is Python's objects, which scikit-learn tries to sort.
    refused = pytest.raises(
        (ValueError, TypeError), match=r"y has no value in row 3: remove that row|contains NaN|'<' not"
    )
    with refused:
        small().fit(X, vector([*labels[:3], None, *labels[4:]]))


def test_tables_of_targets(table):
    numbers = small(MLPRegressor).fit(X, table(COLUMNS))
    assert same(numbers, small(MLPRegressor).fit(X, X))
    with pytest.warns(match="column-vector"):
        text = small().fit(X, table({"answer": ["yes", "no"] * 30}))
    assert text.classes_.tolist() == ["no", "yes"]


def test_a_table_of_another_library_becomes_one_matrix_row_by_row(table, monkeypatch):
    seen = []
    monkeypatch.setattr(StochasticFit, "__init__", lambda self, *given: seen.append(given[2]))
    monkeypatch.setattr(StochasticFit, "run", lambda self: None)
    small(solver="adam").fit(table(COLUMNS), Y)
    assert seen[0].flags.c_contiguous


# --- arrays of other libraries ---


def library(name):
    """A library of arrays, on the CPU."""
    if name == "cupy":
        pytest.skip("no GPU: CuPy's arrays go the way of all others, by DLPack")
    return pytest.importorskip(name, reason=f"{name} isn't installed")


ARRAYS = {
    "array_api_strict": lambda values: array_api_strict.asarray(values),
    "torch": lambda values: library("torch").from_numpy(values),
    "jax": lambda values: library("jax").numpy.asarray(values),
}


@pytest.fixture(params=ARRAYS)
def array(request):
    return ARRAYS[request.param]


def test_arrays_of_other_libraries(array):
    x, weights = X.astype("float32"), WEIGHTS.astype("float32")
    settings = {"solver": "adam", "early_stopping": True}
    plain = small(**settings).fit(x, Y, weights)
    fitted = small(**settings).fit(array(x), array(Y.astype("int32")), array(weights))
    assert fitted.coefs_[0].dtype == np.float32
    assert same(plain, fitted)
    np.testing.assert_array_equal(fitted.predict_proba(array(x)), plain.predict_proba(x))
    assert fitted.score(array(x), array(Y), array(weights)) == plain.score(x, Y, weights)
    watched = small(solver="adam").fit(x, Y, eval_set=(array(x), array(Y), array(weights)))
    assert watched.validation_scores_ == small(solver="adam").fit(x, Y, eval_set=(x, Y, weights)).validation_scores_
    small(solver="adam").partial_fit(array(x), array(Y), array(weights), classes=array(np.arange(2)))
    small(MLPRegressor, solver="adam").partial_fit(array(x), array(x[:, 0]), array(weights))


def test_host_arrays_are_not_copied(array):
    given = array(X.astype("float32"))
    assert np.shares_memory(intake.taken_rows(given), np.from_dlpack(given))


def test_what_only_an_array_with_a_device_can_say():
    class Far:
        """An array whose library doesn't move it unasked."""

        dtype = "float32"

        def __dlpack__(self, **how):
            raise BufferError("it lies on the device mars:0. Ask again")

        def __dlpack_device__(self):
            return (2, 0)

    sentence = r"^X can't be taken over as a host array \(it lies on the device mars:0\): copy it to the host first\.$"
    with pytest.raises(InputError, match=sentence):
        small().fit(Far(), Y)


def test_tensors_with_gradients_and_strides_and_halves():
    torch = library("torch")
    x = torch.from_numpy(X)
    plain = small().fit(X, Y)
    assert same(plain, small().fit(x.clone().requires_grad_(), Y))
    assert same(plain, small().fit(torch.from_numpy(X.T.copy()).T, Y))
    assert same(small().fit(X[::2], Y[::2]), small().fit(x[::2], Y[::2]))
    assert same(small().fit(X.astype("float16"), Y), small().fit(torch.from_numpy(X.astype("float16")), Y))
    with pytest.raises(InputError, match=r"^X holds bfloat16 values, which NumPy doesn't have: convert it to float32"):
        small().fit(x.bfloat16(), Y)
    with pytest.raises(InputError, match="X can't be taken over as a host array"):
        small().fit(x.to("meta"), Y)


def test_halves_of_jax():
    numpy = library("jax").numpy
    with pytest.raises(InputError, match=r"^y holds bfloat16 values"):
        small(MLPRegressor).fit(X, numpy.asarray(X[:, 0]).astype(numpy.bfloat16))


# --- whole numbers ---

PIXELS = random.integers(0, 256, (80, 6))


@pytest.mark.parametrize("dtype", [*intake.NARROW, "int64", "uint64"])
@pytest.mark.parametrize("settings", [{}, {"dtype": "float32"}, {"solver": "lbfgs"}], ids=str)
def test_whole_numbers_give_what_floats_give(dtype, settings):
    """Bit for bit, the scores of early stopping included: nothing but the room that rows take is another."""
    x = (PIXELS if dtype == "bool" else PIXELS - 128 * (dtype[0] == "i")).astype(dtype)
    stops = {} if settings.get("solver") == "lbfgs" else {"early_stopping": True, "solver": "sgd"}
    first, second = (small(**{**stops, **settings}).fit(rows, PIXELS[:, 0] % 3) for rows in (x, x.astype(np.float64)))
    assert first.coefs_[0].dtype == settings.get("dtype", "float64")
    assert same(first, second)
    if stops:
        assert first.validation_scores_ == second.validation_scores_


@pytest.mark.parametrize("backend", ["cpu", "numba"])
def test_the_largest_whole_numbers(backend):
    x = np.array([[2**31 - 1, 5], [2**24 + 1, 7], [-(2**31), 1]], np.int32)
    first, second = (
        small(MLPRegressor, solver="sgd", backend=backend, learning_rate_init=1e-30).fit(rows, [1.0, 2.0, 3.0])
        for rows in (x, x.astype(np.float64))
    )
    assert first.loss_curve_ == second.loss_curve_


def test_narrow_whole_numbers_are_not_copied(monkeypatch):
    seen = []
    monkeypatch.setattr(StochasticFit, "__init__", lambda self, *given: seen.append(given[2]))
    monkeypatch.setattr(StochasticFit, "run", lambda self: None)
    pixels = PIXELS.astype("uint8")
    for rows in (pixels, pixels[::2], pixels[:, 1:], np.asfortranarray(pixels), pixels > 9):
        small(solver="adam").fit(rows, np.arange(len(rows)) % 2)
        assert np.shares_memory(seen.pop(), rows)


def test_odd_places_of_whole_numbers_are_left_to_scikit_learn():
    pairs = np.zeros((40, 6), np.dtype([("number", "<i4"), ("mark", "u1")]))["number"]
    pairs[:] = PIXELS[:40] + 2**24
    assert pairs.strides[1] % 4
    swapped = np.ascontiguousarray(pairs).astype(">i4")
    for rows in (pairs, swapped):
        assert intake.stand_in(rows) is None
        fitted = small().fit(rows, np.arange(40) % 2)
        assert same(fitted, small().fit(rows.astype(np.float64), np.arange(40) % 2))


def test_checks_of_whole_numbers_hold():
    pixels = PIXELS.astype("uint8")
    fitted = small(warm_start=True).fit(pixels, np.arange(80) % 2)
    assert fitted.n_features_in_ == 6
    with pytest.raises(ValueError, match="inconsistent numbers of samples"):
        small().fit(pixels, np.arange(79) % 2)
    with pytest.raises(ValueError, match="Expected 2D array, got 1D array"):
        small().fit(pixels[0], [1])
    with pytest.raises(ValueError, match="X has 5 features, but MLPClassifier is expecting 6"):
        fitted.fit(pixels[:, :5], np.arange(80) % 2)
    with pytest.raises(ValueError, match=r"0 sample\(s\)"):
        small().fit(pixels[:0], [])
    with pytest.warns(PendingDeprecationWarning), pytest.raises(TypeError, match=r"np\.matrix is not supported"):
        small().fit(np.matrix(pixels), np.arange(80) % 2)


# --- files larger than memory ---


@pytest.fixture
def mapped(tmp_path):
    rows = np.memmap(tmp_path / "rows", np.float32, "w+", shape=(4000, 8))
    rows[:] = np.random.default_rng(0).normal(size=rows.shape)
    return rows


def orders_of(x, monkeypatch, available, **settings):
    """The orders of the epochs of a fit, as the run got them."""
    orders = []
    monkeypatch.setattr(intake, "available_memory", lambda: available)
    real = StochasticFit._next_order
    monkeypatch.setattr(StochasticFit, "_next_order", lambda self: orders.append(real(self)) or orders[-1])
    small(MLPRegressor, **{"solver": "adam", "max_iter": 3, **settings}).fit(x, x[:, 0])
    monkeypatch.undo()
    return orders


def pieces(order):
    """How many pieces of 40 rows the first tenth of an epoch touches, of 100 that there are."""
    return len(np.unique(order[: len(order) // 10] // 40))


def test_a_file_larger_than_half_of_the_memory_is_read_by_blocks(mapped, monkeypatch):
    size = mapped.nbytes
    for rows in (mapped, np.asarray(mapped), mapped[1:]):
        for order in orders_of(rows, monkeypatch, size):
            assert order.dtype == np.int32
            np.testing.assert_array_equal(np.sort(order), np.arange(len(rows)))
            assert pieces(order) < 50
    for available in (2 * size, 3 * size):
        assert all(pieces(order) > 90 for order in orders_of(mapped, monkeypatch, available))
    assert all(pieces(order) > 90 for order in orders_of(np.array(mapped), monkeypatch, size))
    in_order = orders_of(mapped, monkeypatch, size, shuffle=False)
    np.testing.assert_array_equal(in_order[0], np.arange(4000))


def test_the_order_by_blocks_is_that_of_random_state(mapped, monkeypatch):
    first, again, other = (
        orders_of(mapped, monkeypatch, mapped.nbytes, random_state=state, early_stopping=True) for state in (1, 1, 2)
    )
    assert all((a == b).all() for a, b in zip(first, again, strict=True))
    assert (first[0] != first[1]).any()
    assert (first[0] != other[0]).any()
    assert len(first[0]) == 3600


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory that isn't a file's")
@pytest.mark.parametrize("dtype", ["float32", "float64", "uint8"])
def test_a_file_is_never_copied_as_a_whole(tmp_path, dtype):
    """A process that may take no more than three quarters of the file fits and predicts."""
    megabytes = 512
    np.memmap(tmp_path / "rows", np.uint8, "w+", shape=(megabytes << 20,)).flush()
    code = f"""
        import resource, warnings
        import numpy as np
        from nnaccel import MLPRegressor
        warnings.simplefilter("ignore")
        small = MLPRegressor(hidden_layer_sizes=(4,), max_iter=1, batch_size=1000, threads=1)
        small.fit(np.zeros((2000, 1024), {dtype!r}), np.zeros(2000))  # loads what there is to load
        used = next(int(line.split()[1]) for line in open("/proc/self/status") if line.startswith("VmData")) << 10
        resource.setrlimit(resource.RLIMIT_DATA, 2 * [used + 3 * ({megabytes} << 18)])
        x = np.memmap({str(tmp_path / "rows")!r}, {dtype!r}, "r").reshape(-1, 1024)
        small.fit(x, np.zeros(len(x)))
        small.predict(x)
        try:
            np.array(x)
        except MemoryError:
            print("a copy would have been too much")
    """
    result = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True)
    assert result.stdout == "a copy would have been too much\n", result.stderr


def test_sparse_rows_pass():
    assert same(small().fit(scipy.sparse.csr_array(X), Y), small().fit(X, Y))
