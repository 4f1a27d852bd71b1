"""Encodings: the same features whatever the order of the columns and the size of the blocks, or one sentence why not."""

import contextlib
import json
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import nnaccel.encoding
from nnaccel.encoding import Encoding, describe_format, number_reader, plain_encoding, plain_word, word_reader
from nnaccel.errors import InputError
from nnaccel.learning import DATE_FORMATS, learn_encoding
from nnaccel.sources import FileOptions
from nnaccel.sources.frames import FrameSource
from nnaccel.sources.opening import open_source
from nnaccel.targets import Target
from tests.tables import Unnamed, csv_file, mixed_columns, read

ROWS = 24
TARGET = {"y": np.array(["a", "b"] * (ROWS // 2), object)}


def learn(columns, rows=None, source=None, target=TARGET):
    """The encoding of columns by name; the target stands in the middle."""
    names = list(columns)
    middle = len(names) // 2
    ordered = (
        {name: columns[name] for name in names[:middle]} | target | {name: columns[name] for name in names[middle:]}
    )
    source = FrameSource(ordered) if source is None else source
    table = source.read({name: place for place, name in enumerate(source.columns)})
    rows = np.arange(len(table)) if rows is None else rows
    learnt = Target.learn(table, tuple(target), rows, "classification")
    return learn_encoding(source, table, rows, (), learnt)[0], ordered


def features(encoding, source, dtype="float32"):
    return np.concatenate([encoding.features(table, dtype) for table in encoding.tables(source)])


def same_bits(got, want):
    return got.dtype == want.dtype and got.shape == want.shape and got.tobytes() == want.tobytes()


def restored(encoding):
    """The encoding after its way through a file."""
    arrays = {name: np.array(array.tolist(), array.dtype) for name, array in encoding.arrays().items()}
    return Encoding.restore(json.loads(json.dumps(encoding.describe())), arrays)


@settings(deadline=None)
@given(mixed_columns(ROWS), st.randoms(use_true_random=False), st.sampled_from(["float32", "float64"]))
def test_the_order_of_the_columns_does_not_matter(columns, random, dtype):
    encoding, ordered = learn(columns)
    want = features(encoding, FrameSource(ordered), dtype)
    assert want.shape == (ROWS, encoding.width)
    assert np.isfinite(want).all()
    for names in (list(ordered), list(columns)):
        random.shuffle(names)
        shuffled = FrameSource({"new": np.arange(ROWS)} | {name: ordered[name] for name in names})
        assert same_bits(features(encoding, shuffled, dtype), want)


@settings(deadline=None)
@given(mixed_columns(ROWS))
def test_by_position_with_and_without_the_target(columns):
    _, ordered = learn(columns)
    source = Unnamed(ordered)
    encoding, _ = learn(columns, source=source, target={str(list(ordered).index("y")): TARGET["y"]})
    want = features(encoding, source)
    assert same_bits(features(encoding, Unnamed(columns)), want), "without the target"
    assert same_bits(features(encoding, FrameSource({f"new {name}": ordered[name] for name in ordered})), want), (
        "renamed"
    )
    used = {name: column for place, (name, column) in enumerate(ordered.items()) if str(place) in encoding.inputs}
    assert same_bits(features(encoding, Unnamed(used)), want), "with the inputs alone"


@settings(deadline=None)
@given(mixed_columns(ROWS), st.integers(1, 200))
def test_blocks_and_single_rows_give_the_same_bits(columns, cells):
    encoding, ordered = learn(columns)
    table = next(encoding.tables(FrameSource(ordered)))
    want = encoding.features(table, "float32")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nnaccel.encoding, "_BLOCK_CELLS", cells)
        assert same_bits(encoding.features(table, "float32"), want)
        rows = np.arange(ROWS)[::-3]
        assert same_bits(encoding.features(table, "float32", rows), want[rows])
    for row in range(0, ROWS, 5):
        single = np.concatenate(
            [encoding.features(one, "float32") for one in encoding.tables(FrameSource(ordered), range(row, row + 1))]
        )
        assert same_bits(single, want[row : row + 1])


@settings(deadline=None)
@given(mixed_columns(ROWS))
def test_described_restored_and_the_same(columns):
    encoding, ordered = learn(columns)
    again = restored(encoding)
    assert again.describe() == encoding.describe()
    assert again.width == encoding.width
    assert same_bits(features(again, FrameSource(ordered)), features(encoding, FrameSource(ordered)))


ANYTHING = st.one_of(
    st.floats(), st.integers(-(10**40), 10**40), st.text(max_size=6), st.booleans(), st.none(), st.dates(), st.datetimes(),
    st.sampled_from(["yes", "red", "2024-01-31", "31.12.2024", "inf", "-1e999", "nan", "1_0", "3", "3.00", "12/31/2024"]),
)  # fmt: skip


@settings(deadline=None, max_examples=300)
@given(mixed_columns(ROWS), st.data())
def test_whatever_new_rows_hold_features_are_finite_or_there_is_a_sentence(columns, data):
    encoding, ordered = learn(columns)
    new = {}
    for name in columns:
        kept = data.draw(st.booleans(), label=name)
        cells = (
            ordered[name][:2].tolist() if kept else data.draw(st.lists(ANYTHING, min_size=2, max_size=2), label=name)
        )
        new[name] = np.array(cells + ordered[name][2:3].tolist(), object)
    try:
        got = features(encoding, FrameSource(new, "new rows"))
    except InputError as error:
        sentence = str(error)
    else:
        assert got.shape == (3, encoding.width)
        assert np.isfinite(got).all()
        return
    assert sentence.startswith("new rows, row ")
    assert "column " in sentence
    assert sentence.endswith(": correct it, or leave it empty.")


COLUMNS = {
    "number": [1.0, 2.0, 3.0, 4.0],
    "whole": np.array([1, 2, 3, 4], np.uint8),
    "gaps": [1.0, np.nan, 3.0, np.nan],
    "words": ["red", "red", "green", "green"],
    "truth": ["yes", "No", "TRUE", "0"],
    "date": ["2024-01-01", "2024-01-02", "2024-01-03T12:00", ""],
}


@pytest.mark.parametrize(("column", "value", "sentence"), [
    ("number", "many", "new, row 2, column 'number': 'many' is not a number, as the column's others were: correct it"),
    ("number", np.inf, "new, row 2, column 'number': inf is too large"),
    ("number", 1e39, "new, row 2, column 'number': 1e+39 is too large"),
    ("number", -1e308, "column 'number': -1e+308 is too large"),
    ("truth", "perhaps", "new, row 2, column 'truth': 'perhaps' is not one of true, yes, 1, false, no, 0"),
    ("date", "soon", "new, row 2, column 'date': 'soon' is not a date like 2024-12-31, as the column's others were"),
    ("date", "2024-02-30", "'2024-02-30' is not a date"),
])  # fmt: skip
def test_values_of_another_kind(column, value, sentence):
    encoding, ordered = learn(COLUMNS, target={"y": np.array(["a", "b"] * 2, object)})
    new = dict(ordered)
    old = np.asarray(ordered[column]).tolist()
    new[column] = np.array([old[0], value, *old[2:]], object if isinstance(value, str) else None)
    with pytest.raises(InputError) as raised:
        features(encoding, FrameSource(new, "new"))
    assert sentence in str(raised.value)


def test_the_line_of_a_file_is_named(tmp_path):
    text = "a,b,y\n1,x,p\n2,x,q\n\n3,z,p\n4,z,q\n"
    source = open_source(str(csv_file(tmp_path, text)))
    table = source.read({name: place for place, name in enumerate(source.columns)})
    rows = np.arange(4)
    encoding, _ = learn_encoding(source, table, rows, (), Target.learn(table, ["y"], rows, "classification"))
    bad = open_source(str(csv_file(tmp_path, text.replace("3,", "three,"), "bad.csv")))
    with pytest.raises(InputError, match=r"bad\.csv, line 5, column 'a': 'three' is not a number"):
        features(encoding, bad)


def test_what_every_kind_of_column_becomes():
    encoding, ordered = learn(COLUMNS, target={"y": np.array(["a", "b"] * 2, object)})
    got = features(encoding, FrameSource(ordered), "float64")
    at = {name: k for k, name in enumerate(encoding.numbers.names)}
    spread = np.sqrt(1.25)
    np.testing.assert_allclose(got[:, at["number"]], [-1.5 / spread, -0.5 / spread, 0.5 / spread, 1.5 / spread])
    np.testing.assert_array_equal(got[:, at["gaps"]], [-1, 0, 1, 0])
    np.testing.assert_array_equal(got[:, at["truth"]], [1, -1, 1, -1])
    days = np.array([0, 1, 2.5])
    np.testing.assert_allclose(got[:, at["date"]], [*((days - days.mean()) / days.std()), 0])
    indicators = got[:, len(at) : encoding.numbers.width]
    np.testing.assert_array_equal(indicators, [[0, 0], [1, 0], [0, 0], [1, 1]])
    np.testing.assert_array_equal(got[:, encoding.numbers.width :], [[0, 1], [0, 1], [1, 0], [1, 0]])


def one_category(words, new):
    """The zeros and ones of new words, learnt from others."""
    target = {"y": np.array(["a", "b"] * (len(words) // 2), object)}
    encoding, _ = learn({"word": np.array(words, object)}, target=target)
    return encoding.categories[0], features(encoding, FrameSource({"word": np.array(new, object)}))


@pytest.mark.parametrize(("words", "has_others", "had_gaps", "rows"), [
    (["x", "x", "z", "z"], False, False, [[1, 0], [0, 1], [0, 0], [0, 0]]),
    (["x", "x", "z", "z", "rare", "rarer"], True, False, [[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 1]]),
    (["x", "x", "z", "z", "?", "NA"], False, True, [[1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]),
    (["x", "x", "z", "z", "rare", ""], True, True, [[1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]),
])  # fmt: skip
def test_frequent_rare_unseen_and_missing_words(words, has_others, had_gaps, rows):
    column, got = one_category(words, [" x", "z ", "unseen", "null"])
    assert column.words == ("x", "z")
    assert (column.has_others, column.had_gaps) == (has_others, had_gaps)
    np.testing.assert_array_equal(got, rows)


def test_whole_numbers_are_the_same_category_with_and_without_a_point():
    column, got = one_category(["3.0", "3.0", "4", "4.0", "x", "x"], ["3", "4.00", "x"])
    assert set(column.words) == {"3", "4", "x"}
    assert (got.sum(axis=1) == 1).all()
    numbers = features(learn({"w": np.array(["3.0", "x"] * 2, object)}, target={"y": np.array(["a", "b"] * 2, object)})[0],
                       FrameSource({"w": [3, 4]}))  # fmt: skip
    np.testing.assert_array_equal(numbers, [[1, 0], [0, 0]])


@pytest.mark.parametrize("word", ["", "-", ".", "3.", ".0", "1.0.0", "v1.0", "1e5", "٣.0", "²"])
def test_a_plain_word_stays_one(word):
    assert plain_word(plain_word(word)) == plain_word(word)


@pytest.mark.parametrize(("form", "word", "days"), [
    ("iso", "1970-01-02", 1.0),
    ("iso", "1970-01-01T06:00:00Z", 0.25),
    ("iso", "1970-01-01T06:00+02:00", 4 / 24),
    ("iso", "1969-12-31 12:00", -0.5),
    ("%m/%d/%Y", "1/2/1970", 1.0),
    ("%d/%m/%Y %H:%M", "02/01/1970 12:00", 1.5),
    ("%m/%d/%y %I:%M %p", "1/2/70 6:00 PM", 1.75),
    ("%d %b %Y", "02 Jan 1970", 1.0),
    ("%B %d, %Y", "January 2, 1970", 1.0),
    ("%Y-%m", "1970-02", 31.0),
    ("boolean", "TRUE", 1.0), ("boolean", "No", 0.0), ("boolean", "0", 0.0),
    ("number", "1e3", 1000.0),
])  # fmt: skip
def test_words_that_are_numbers(form, word, days):
    assert word_reader(form)(word) == days


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone can't be changed here")
def test_dates_do_not_depend_on_the_zone_of_the_machine(monkeypatch):
    try:
        for zone in ("America/New_York", "Asia/Tokyo"):
            monkeypatch.setenv("TZ", zone)
            time.tzset()
            assert word_reader("%d.%m.%Y")("02.01.1970") == word_reader("iso")("1970-01-02") == 1
    finally:
        monkeypatch.undo()
        time.tzset()


@given(st.sampled_from(["number", "boolean", *DATE_FORMATS]), st.text() | st.from_regex(r"[0-9/:. T+-]{0,25}"))
def test_a_word_is_read_or_a_value_error(form, word):
    with contextlib.suppress(ValueError):
        assert isinstance(word_reader(form)(word), float)


@pytest.mark.parametrize("form", DATE_FORMATS)
def test_the_example_of_a_date_is_one(form):
    word_reader(form)(describe_format(form).removeprefix("a date like "))


def test_a_wide_table_is_read_column_by_column():
    columns = {f"c{k}": np.arange(5) + k for k in range(6)}
    table = read(columns | {"word": ["3", "4", "5", "6", ""]})
    names = ("c4", "word", "c0")
    np.testing.assert_array_equal(
        number_reader(table, names, {"word": "number"})(slice(1, 4)), [[5, 4, 1], [6, 5, 2], [7, 6, 3]]
    )
    np.testing.assert_array_equal(number_reader(table, names, {})(np.array([4, 0])), [[8, np.nan, 4], [4, 3, 0]])


def test_missing_columns_are_named():
    encoding, ordered = learn(COLUMNS, target={"y": np.array(["a", "b"] * 2, object)})
    fewer = {name: column for name, column in ordered.items() if name not in ("number", "words")}
    with pytest.raises(InputError, match="new has no column 'number', 'words', which the model was trained on; it has"):
        encoding.places(FrameSource(fewer, "new"))
    assert "y" not in encoding.places(FrameSource({name: ordered[name] for name in COLUMNS}))


def test_a_width_that_does_not_fit():
    encoding, ordered = learn(COLUMNS, target={"y": np.array(["a", "b"] * 2, object)})
    with pytest.raises(
        InputError, match=r"new has 2 columns, but the model was trained on a file of 7 \(6 without the target\)"
    ):
        encoding.places(Unnamed({"a": [1], "b": [2]}, "new"))
    assert encoding.places(Unnamed(ordered))["y"] == list(ordered).index("y")


def test_further_columns_are_found_if_they_are_there():
    encoding, ordered = learn(COLUMNS, target={"y": np.array(["a", "b"] * 2, object)})
    assert encoding.places(FrameSource(ordered | {"w": [1] * 4}), ("w",))["w"] == 7
    assert "w" not in encoding.places(FrameSource(ordered), ("w",))


def test_the_plain_encoding_changes_nothing():
    encoding = plain_encoding(3, Target(("target",), "regression"))
    x = np.random.default_rng(0).normal(size=(5, 3))
    source = Unnamed({str(k): column for k, column in enumerate(x.T)})
    assert same_bits(features(encoding, source, "float64"), x)
    with_target = Unnamed({str(k): column for k, column in enumerate([*x.T, x[:, 0]])})
    assert same_bits(features(encoding, with_target, "float64"), x)


@pytest.mark.parametrize("damage", [
    lambda d, a: d["columns"].remove("number"),
    lambda d, a: d["categories"].append(d["categories"][0]),
    lambda d, a: d["formats"].update(ghost="iso"),
    lambda d, a: d.pop("numbers"),
    lambda d, a: d["target"].update(names=["ghost"]),
    lambda d, a: a.update(mean=a["mean"][:-1]),
    lambda d, a: a.update(scale=0 * a["scale"]),
    lambda d, a: a.update(scale=np.nan * a["scale"]),
    lambda d, a: a.pop("had_gaps"),
    lambda d, a: a.update(target_mean=np.zeros(1), target_scale=np.ones(1)),
])  # fmt: skip
def test_a_damaged_description_is_refused(damage):
    encoding, _ = learn(COLUMNS, target={"y": np.array(["a", "b"] * 2, object)})
    described, arrays = json.loads(json.dumps(encoding.describe())), encoding.arrays()
    Encoding.restore(described, arrays)
    damage(described, arrays)
    with pytest.raises((KeyError, TypeError, ValueError)):
        Encoding.restore(described, arrays)


def test_read_from_a_file_without_a_header(tmp_path):
    """A file read by position has the features of the same file read by name."""
    body = "1,x,p\n2,x,q\n3,z,p\n4,z,q\n"
    named = open_source(str(csv_file(tmp_path, "a,b,y\n" + body)))
    table = named.read({name: place for place, name in enumerate(named.columns)})
    rows = np.arange(4)
    encoding, _ = learn_encoding(named, table, rows, (), Target.learn(table, ["y"], rows, "classification"))
    bare = open_source(str(csv_file(tmp_path, body, "bare.csv")), FileOptions(header=False))
    assert same_bits(features(encoding, bare), features(encoding, named))


def test_numbers_where_text_was_learnt():
    encoding, _ = learn({"sex": ["male", "female"] * 12, "age": np.arange(24.0)})
    new = read({"sex": ["1", "2"], "age": [3.0, 4.0]})
    with pytest.raises(InputError, match="row 1, column 'sex': there are numbers, such as '1', where text was learnt"):
        encoding.features(new, "float32")
    # New words are but new, and so are numbers where the training rows had some, however rare.
    mixed, _ = learn({"room": ["hall", "attic"] * 11 + ["3", "hall"], "age": np.arange(24.0)})
    assert mixed.features(read({"room": ["7"], "age": [1.0]}), "float32").shape == (1, mixed.width)
    assert encoding.features(read({"sex": ["other"], "age": [3.0]}), "float32").shape == (1, encoding.width)


def test_gaps_where_there_were_none():
    encoding, _ = learn({"town": ["Bonn", "Kiel"] * 12, "age": np.arange(24.0), "late": [np.nan, 1.0] * 12})
    new = read({"town": [None, "Kiel", None], "age": [np.nan, 1.0, 2.0], "late": [np.nan] * 3})
    assert encoding.new_gaps(new) == {"town": 2, "age": 1}
