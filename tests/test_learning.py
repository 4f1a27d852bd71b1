"""Learning an encoding: what scikit-learn learns of the same rows, and what a user is told of each column."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.impute import SimpleImputer
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

import nnaccel.learning
from nnaccel.encoding import word_reader
from nnaccel.errors import InputError
from nnaccel.learning import DATE_FORMATS, MOST_CATEGORIES, count_mean_deviation, find_format, learn_encoding
from nnaccel.sources.arrays import ArraySource
from nnaccel.sources.frames import FrameSource
from nnaccel.sources.opening import open_source
from nnaccel.targets import Target
from tests.tables import csv_file, mixed_columns
from tests.tolerance import assert_within, tolerance

TARGET = Target(("y",), "classification", ("a", "b"))


def learn(columns, rows=None, categorical=(), source=None):
    """Encoding, findings and table of columns; a source has no target unless it is among them."""
    source = FrameSource(columns, "shop") if source is None else source
    table = source.read({name: place for place, name in enumerate(source.columns)})
    rows = np.arange(len(table)) if rows is None else rows
    encoding, findings = learn_encoding(source, table, rows, (), TARGET, categorical)
    return encoding, findings, table


def words(*cells):
    return np.array(cells, object)


def numbers_with_gaps(rows=200, columns=5, seed=0):
    rng = np.random.default_rng(seed)
    x = rng.normal(rng.normal(size=columns), 10.0 ** np.arange(columns), (rows, columns))
    x[rng.random(x.shape) < np.array([0, 0.1, 0.5, 0, 0.01])] = np.nan
    return x


def test_numbers_are_standardised_and_gaps_marked_as_by_sklearn():
    x, rows = numbers_with_gaps(), np.arange(0, 200, 3)
    encoding, _, table = learn({str(k): column for k, column in enumerate(x.T)}, rows)
    oracle = make_pipeline(StandardScaler(), SimpleImputer(strategy="constant", fill_value=0, add_indicator=True))
    want = oracle.fit(x[rows]).transform(x[rows])
    got = encoding.features(table, "float64", rows)
    assert_within(got, want, tolerance(10, 4 * len(rows), np.float64))


def test_words_become_categories_as_by_sklearn():
    rng = np.random.default_rng(1)
    cells = rng.choice(["a", "b", "c", "rare", "rarer", None], 1000, p=[0.5, 0.2, 0.2, 0.008, 0.002, 0.09])
    rows = np.arange(0, 1000, 2)
    encoding, _, table = learn({"w": cells}, rows)
    oracle = OneHotEncoder(min_frequency=5, handle_unknown="infrequent_if_exist", sparse_output=False)
    want = pd.DataFrame(oracle.fit(cells[rows, None]).transform(cells[:, None]), columns=oracle.get_feature_names_out())
    names = [*encoding.categories[0].words, "infrequent_sklearn", "None"]
    np.testing.assert_array_equal(encoding.features(table, "float64"), want[[f"x0_{name}" for name in names]])
    assert encoding.categories[0].words[0] == "a"


@settings(deadline=None)
@given(mixed_columns(24), st.integers(0, 2**32 - 1), st.sets(st.integers(0, 23), min_size=6))
def test_rows_that_are_not_trained_on_teach_nothing(columns, seed, rows):
    """Numbers of other rows are drawn anew, their words exchanged: what kind of column it is, all rows decide."""
    rows = np.array(sorted(rows))
    others = np.setdiff1d(np.arange(24), rows)
    rng = np.random.default_rng(seed)
    changed = {name: column.copy() for name, column in columns.items()}
    for column in changed.values():
        is_text = column.dtype == object
        column[others] = (
            rng.permutation(column[others]) if is_text else rng.normal(0, 100, len(others)).astype(column.dtype)
        )
    try:
        encoding, _, table = learn(columns, rows)
    except InputError as error:
        sentence = str(error)
    else:
        other, _, other_table = learn(changed, rows)
        assert other.describe() == encoding.describe()
        for name, array in encoding.arrays().items():
            assert other.arrays()[name].tobytes() == array.tobytes(), name
        assert (
            other.features(other_table, "float32", rows).tobytes()
            == encoding.features(table, "float32", rows).tobytes()
        )
        return
    assert "no column is left" in sentence


def test_the_order_of_equally_frequent_words_is_their_own():
    """The first row is held out: it must not decide which of two words comes first."""
    for first in ("z", "a"):
        encoding, _, _ = learn({"w": words(first, "a", "z", "z", "a")}, np.arange(1, 5))
        assert encoding.categories[0].words == ("a", "z")


@pytest.mark.parametrize("cells", [1, 7, 64])
def test_blocks_of_any_size_learn_the_same(monkeypatch, cells):
    x = numbers_with_gaps()
    columns = {str(k): column for k, column in enumerate(x.T)}
    want, _, _ = learn(columns)
    monkeypatch.setattr(nnaccel.learning, "_BLOCK_CELLS", cells)
    got, _, _ = learn(columns)
    bound = tolerance(10 * want.numbers.scale, 4 * len(x), np.float64)
    assert_within(got.numbers.mean, want.numbers.mean, bound)
    assert_within(got.numbers.scale, want.numbers.scale, bound)
    np.testing.assert_array_equal(got.numbers.had_gaps, want.numbers.had_gaps)


def test_the_deviation_of_numbers_far_from_zero():
    """A naive sum of squares would lose it all."""
    x = 1e9 + np.random.default_rng(0).normal(size=(1000, 1))
    count, mean, deviation = count_mean_deviation((x[k : k + 10] for k in range(0, 1000, 10)), 1)
    assert count == 1000
    assert_within(mean, x.mean(axis=0), tolerance(1e9, 1000, np.float64))
    assert_within(deviation, x.std(axis=0), tolerance(1e9, 1000, np.float64))


def test_columns_that_tell_nothing_are_dropped():
    encoding, findings, _ = learn({
        "same": [3, 3, 3, 3], "half": [0.1, 0.1, 0.1, 0.1], "empty": [np.nan] * 4, "word": words("x", "x", " x", "x"),
        "gaps": words("", "?", "NA", ""), "names": words("ann", "bob", "cat", "dan"), "day": words(*["2024-01-01"] * 4),
        "use": [1, 2, 3, 4],
    })  # fmt: skip
    assert findings.dropped == {
        "same": "is 3 in every row",
        "half": "is 0.1 in every row",
        "empty": "is empty",
        "word": "is 'x' in every row",
        "gaps": "is empty",
        "names": "has 4 different texts, none in 2 rows or more",
        "day": "is '2024-01-01' in every row",
    }
    assert findings.kinds == {"use": "number"}
    assert findings.gaps == {}
    assert findings.formats == {}
    assert encoding.numbers.formats == {}
    assert encoding.texts == {"y"}


def test_the_same_in_training_is_dropped_though_others_differ():
    _, findings, _ = learn({"n": [1, 1, 2], "w": words("y", "x", "x"), "t": words("no", "yes", "yes"), "use": [1, 2, 3]},
                           np.array([1, 2]))  # fmt: skip
    assert findings.dropped == {"w": "is 'x' in every row", "t": "is 'yes' in every row"}
    assert findings.kinds == {"n": "number", "use": "number"}


def test_a_constant_with_gaps_is_kept():
    encoding, findings, table = learn({"n": [5, np.nan, 5], "w": words("x", "", "x")})
    np.testing.assert_array_equal(encoding.features(table, "float32"), [[0, 0, 1, 0], [0, 1, 0, 1], [0, 0, 1, 0]])
    assert findings.gaps == {"n": 1, "w": 1}


def test_images_keep_all_their_pixels():
    x = np.array([[0, 5, 1, 10], [0, 5, 3, 30]], np.uint8)
    encoding, findings, table = learn({}, source=ArraySource("images", x))
    # Bytes have one unit: the root of the mean variance, (0 + 0 + 1 + 100) / 4, is the scale of all.
    expected = np.array([[0, 0, -1, -10], [0, 0, 1, 10]]) / np.sqrt(101 / 4)
    np.testing.assert_allclose(encoding.features(table, "float32"), expected, rtol=1e-6)
    assert findings.dropped == {}


def test_what_is_the_same_in_every_row_of_an_array_tells_nothing_of_others():
    encoding, _, _ = learn({}, source=ArraySource("a", np.array([[0.5, 1.0], [0.5, 2.0]])))
    new = next(ArraySource("b", np.array([[1e9, 1.5]])).parts({"0": 0, "1": 1}))
    np.testing.assert_array_equal(encoding.features(new, "float32"), [[0, 0]])


def test_a_named_column_that_counts_the_rows_is_told_but_kept():
    encoding, findings, _ = learn({"PassengerId": [1, 2, 3, 4], "age": [4, 3, 5, 1]})
    assert encoding.numbers.names == ("PassengerId", "age")
    assert findings.remarks == ["'PassengerId' counts the rows: if it is but a number, --drop it"]


def test_kinds_and_formats():
    _, findings, _ = learn({
        "n": [1.5, 2.0, 3.0], "t": words("Yes", "no", ""), "d": words("31.12.2024", "01.02.2024", ""),
        "w": words("x", "x", "z"), "s": words("1", "2.5", "3"),
    })  # fmt: skip
    assert findings.kinds == {"n": "number", "t": "truth value", "d": "date", "w": "category", "s": "number"}
    assert findings.formats == {"d": "%d.%m.%Y"}
    assert findings.gaps == {"t": 1, "d": 1}
    assert findings.remarks == []


def test_no_column_is_left():
    with pytest.raises(InputError, match="shop: no column is left to learn from; 'a' is 1 in every row; 'b' is empty"):
        learn({"a": [1, 1], "b": [np.nan, np.nan]})


@pytest.mark.parametrize(("values", "sentence"), [
    ([1.0, np.inf, 2.0], r"shop, row 2, column 'n': inf is too large to be standardised: correct it, or leave it empty"),
    ([1.0, 2.0, -np.inf], r"shop, row 3, column 'n': -inf is too large"),
    ([1.0, np.nan, 1e300], r"shop, row 3, column 'n': 1e\+300 is too large"),
])  # fmt: skip
def test_numbers_too_large_to_learn(values, sentence):
    with pytest.raises(InputError, match=sentence):
        learn({"n": values})


@pytest.mark.parametrize("count", [MOST_CATEGORIES, MOST_CATEGORIES + 1])
def test_only_so_many_words_have_a_feature_of_their_own(count):
    cells = np.array([f"w{k % count}" for k in range(10 * count)], object)
    column = learn({"w": cells})[0].categories[0]
    assert len(column.words) == MOST_CATEGORIES
    assert column.has_others == (count > MOST_CATEGORIES)


@pytest.mark.parametrize(("rows", "fewest"), [(20, 2), (300, 3), (5000, 10)])
def test_words_of_few_rows_are_put_together(rows, fewest):
    cells = np.array(["x"] * rows, object)
    cells[:fewest] = "enough"
    cells[fewest : 2 * fewest - 1] = "rare"
    assert learn({"w": cells})[0].categories[0].words == ("x", "enough")


@pytest.mark.parametrize(("name", "values", "dropped"), [
    ("unnamed 0", [0, 1, 2, 3], True),
    ("Unnamed: 0", [5.0, 6.0, 7.0, 8.0], True),
    ("Unnamed: 0", [0, 1, 2, 4], False),
    ("Unnamed: 0", [0.0, 1.0, np.nan, 3.0], False),
    ("Unnamed: 0", [3, 2, 1, 0], False),
    ("number", [0, 1, 2, 3], False),
])  # fmt: skip
def test_a_nameless_column_that_counts_the_rows_is_dropped(name, values, dropped):
    _, findings, _ = learn({name: values, "use": [1.0, 5.0, 2.0, 0.0]}, np.array([0, 2, 3]))
    assert findings.dropped == ({name: "counts the rows"} if dropped else {})


def test_the_index_that_pandas_writes_is_dropped(tmp_path):
    path = tmp_path / "frame.csv"
    pd.DataFrame({"a": [1.0, 5.0, 2.0], "b": [3, 1, 2]}).to_csv(path)
    encoding, findings, _ = learn({}, source=open_source(str(path)))
    assert findings.dropped == {"unnamed 0": "counts the rows"}
    assert encoding.inputs == ("a", "b")


@pytest.mark.parametrize(("cells", "form"), [
    (["yes", "No", "YES"], "boolean"), (["True", "false"], "boolean"), (["1", "0"], "boolean"), (["yes", "0"], "boolean"),
    (["yes", "Yes"], None), (["yes", "no", "perhaps"], None),
    (["1", "2.5", "-1e3"], "number"), (["1", "x"], None), (["1_0"], None),
    (["2024-12-31", "2024-01-01T10:00Z"], "iso"), (["2024-12-31 10:00:00.123456789"], "iso"),
    (["12/31/2024"], "%m/%d/%Y"), (["31/12/2024"], "%d/%m/%Y"), (["01/02/2024"], "%m/%d/%Y"),
    (["01/02/2024", "31/12/2024"], "%d/%m/%Y"), (["12/31/2024", "31/12/2024"], None),
    (["12-31-2024"], "%m-%d-%Y"), (["31-12-2024"], "%d-%m-%Y"), (["2024/12/31 13:00"], "%Y/%m/%d %H:%M"),
    (["1/31/24 1:45 PM"], "%m/%d/%y %I:%M %p"), (["31.12.24"], "%d.%m.%y"), (["31 Dec 2024"], "%d %b %Y"),
    (["31 May 2024", "1 December 2024"], "%d %B %Y"), (["Dec 31, 2024"], "%b %d, %Y"), (["2024-12"], "%Y-%m"),
    (["13:45"], "%H:%M"), (["13:45:10"], "%H:%M:%S"), (["13:45:10.500000"], "%H:%M:%S.%f"), (["1:45 PM"], "%I:%M %p"),
    (["7th-8th", "11th"], None), (["v1.2"], None),
])  # fmt: skip
def test_how_words_are_read(cells, form):
    assert find_format(cells) == form
    assert form in (None, "boolean", "number", *DATE_FORMATS)


@pytest.mark.parametrize("form", DATE_FORMATS)
def test_every_format_is_found_and_reads_what_it_writes(form):
    moments = pd.to_datetime(["2024-12-31 13:45:10", "1999-01-13 01:05:59", "2021-05-31 00:00:00"])
    written = [moment.isoformat() if form == "iso" else moment.strftime(form) for moment in moments]
    found = find_format(written)
    assert found is not None
    # Another format may read them as well, but then as the same moments.
    assert [word_reader(found)(word) for word in written] == [word_reader(form)(word) for word in written]


@pytest.mark.parametrize(("cells", "remark"), [
    (["01/02/2024", "03/04/2024"],
     "'d' is read with the month first, like 12/31/2024, but could have the day first: write 2024-12-31 to be sure"),
    (["01-02-2024 10:00", "03-04-2024 11:00"],
     "'d' is read with the month first, like 12-31-2024 13:45, but could have the day first: write 2024-12-31 to be sure"),
    (["01/02/2024", "12/31/2024"], None), (["01/02/2024", "31/12/2024"], None), (["01/01/2024", "02/02/2024"], None),
    (["01.02.2024", "03.04.2024"], None), (["2024-01-02", "2024-03-04"], None),
])  # fmt: skip
def test_a_date_that_could_be_read_otherwise_is_told(cells, remark):
    assert learn({"d": words(*cells)})[1].remarks == ([] if remark is None else [remark])


NUMBERS = [str(k) for k in range(27)]


@pytest.mark.parametrize(("cells", "remark"), [
    ([*NUMBERS, *["unknown"] * 3], "'age' is text because of 'unknown' in 3 rows"),
    ([*NUMBERS, "unknown"], "'age' is text because of 'unknown' in 1 row"),
    ([*NUMBERS[:10], "none yet", *NUMBERS[10:], "unknown"], "'age' is text because of 'none yet' and the like in 2 rows"),
    ([*NUMBERS, *["unknown"] * 3, *[""] * 30], "'age' is text because of 'unknown' in 3 rows"),
    ([*NUMBERS[:-1], *["unknown"] * 3], None),
    ([f"2024-01-{k:02}" for k in range(1, 28)] + ["soon"], "'age' is text because of 'soon' in 1 row"),
    (["soon"] + [f"{k}/12/2024" for k in range(1, 28)], "'age' is text because of 'soon' in 1 row"),
    (["red"] * 20 + ["green"] * 20, None),
])  # fmt: skip
def test_a_few_words_that_make_text_of_numbers_are_told(cells, remark):
    encoding, findings, _ = learn({"age": words(*cells), "use": np.arange(len(cells))})
    assert findings.remarks == ([] if remark is None else [remark])
    assert "age" not in encoding.numbers.names


def test_words_that_only_rows_held_out_have_make_text_too():
    cells = words(*NUMBERS, "unknown")
    encoding, findings, _ = learn({"age": cells, "use": np.arange(28)}, np.arange(27))
    assert findings.remarks == ["'age' is text because of 'unknown' in 1 row"]
    assert encoding.inputs == ("use",)


def test_what_is_asked_to_be_categories_is():
    columns = {
        "code": [1, 2, 1, 2],
        "flag": words("yes", "no", "yes", "no"),
        "day": words(*["2024-01-01", "2024-01-02"] * 2),
    }
    encoding, findings, _ = learn(columns, categorical=("code", "flag", "day"))
    assert [column.words for column in encoding.categories] == [("1", "2"), ("no", "yes"), ("2024-01-01", "2024-01-02")]
    assert set(findings.kinds.values()) == {"category"}
    assert learn(columns)[0].categories == ()


def test_the_index_of_a_file_read_as_categories_is_no_matter(tmp_path):
    """Text that counts is text."""
    source = open_source(str(csv_file(tmp_path, ",a\nx0,1\nx1,2\nx2,4\n")))
    _, findings, _ = learn({}, source=source)
    assert findings.dropped == {"unnamed 0": "has 3 different texts, none in 2 rows or more"}
