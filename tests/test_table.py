"""Tables: gaps, words, numbers that are asked for as text and text as numbers, and parts put together."""

from collections import deque

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nnaccel.errors import InputError
from nnaccel.table import (
    GAPS,
    MixedColumns,
    Table,
    Text,
    Vocabulary,
    concatenate,
    read_number,
    row_place,
    write_number,
)

NAN = np.nan


def table(numbers, others=None, names=None, **more):
    numbers = np.array(numbers, np.float64)
    names = names or tuple("abcdefgh"[: numbers.shape[1]])
    return Table("shop", names, numbers, others or {}, **more)


def words(text):
    return [text.words[code] if code >= 0 else None for code in text.codes]


@pytest.mark.parametrize("gap", sorted(GAPS))
def test_gaps_in_any_case_and_with_blanks(gap):
    for spelled in (gap, gap.upper(), gap.title(), f"  {gap}\t"):
        assert words(Text.of([spelled, "x"])) == [None, "x"]


def test_what_only_looks_like_a_gap_is_a_word():
    assert words(Text.of(["N A", "none of these", "0", "nano", "---"])) == ["N A", "none of these", "0", "nano", "---"]


def test_words_are_numbered_as_they_come():
    vocabulary = Vocabulary()
    assert [vocabulary[cell] for cell in ("b", " a", "b ", "", "a", "B")] == [0, 1, 0, -1, 1, 2]
    assert vocabulary.words == ["b", "a", "B"]


@given(st.lists(st.text(max_size=4), max_size=20))
def test_text_keeps_words(cells):
    column = Text.of(cells)
    assert words(column) == [None if cell.strip().lower() in GAPS else cell.strip() for cell in cells]
    assert len(set(column.words)) == len(column.words)
    assert column.codes.dtype == np.int32


def test_mapped_gives_the_gaps_value_to_gaps():
    np.testing.assert_array_equal(Text.of(["x", "?", "y", "x"]).mapped([1.5, 2.5], NAN, float), [1.5, NAN, 2.5, 1.5])
    np.testing.assert_array_equal(Text.of(["?", ""]).mapped([], -1, np.int32), [-1, -1])


def test_numbers_as_text():
    column = table([[3], [0.1], [NAN], [-0.0], [1e20], [-7]]).text("a")
    assert words(column) == ["3", "0.1", None, "0", "1e+20", "-7"]


def test_whole_numbers_of_any_type_as_text():
    for dtype in (np.uint8, np.int32, np.float32):
        assert words(Table("x", ("a",), np.array([[7], [5]], dtype), {}).text("a")) == ["7", "5"]


@given(st.floats(allow_nan=False))
def test_a_number_written_reads_as_itself(value):
    assert read_number(write_number(value)) == value


def test_text_as_numbers():
    shop = table(np.empty((3, 0)), {"size": Text.of(["1.5", "NA", "1.5"])})
    np.testing.assert_array_equal(shop.number("size"), [1.5, NAN, 1.5])


@pytest.mark.parametrize("word", ["large", "1_000", "1,5"])
def test_text_that_is_no_number_is_named_with_its_place(word):
    shop = table(np.empty((3, 0)), {"size": Text.of(["1", word, word])}, place=row_place(10))
    with pytest.raises(InputError, match=f"^shop, row 12, column 'size': '{word}' is not a number\\.$"):
        shop.number("size")


def test_decimal_commas():
    shop = table(np.empty((3, 0)), {"size": Text.of(["1,5", "x", "2"])}, decimal_comma=True)
    with pytest.raises(InputError, match="'x' is not a number"):
        shop.number("size")


def test_missing_and_kinds():
    shop = table([[1], [NAN]], {"size": Text.of(["", "L"]), "y": np.array([NAN, 2.0])})
    assert len(shop) == 2
    assert (shop.is_text("a"), shop.is_text("size"), shop.is_text("y")) == (False, True, False)
    assert [shop.missing(name).tolist() for name in ("a", "size", "y")] == [[False, True], [True, False], [True, False]]


def test_matrix_takes_columns_in_any_order_and_copies_only_then():
    shop = table([[1, 2, 3], [4, 5, 6]])
    assert np.shares_memory(shop.matrix(("a", "b", "c")), shop.numbers)
    np.testing.assert_array_equal(shop.matrix(("c", "a"), [1]), [[6, 4]])


def test_parts_put_together_are_the_whole():
    parts = [
        table([[1, 2]], {"size": Text.of(["L"]), "y": np.array([1.0])}),
        table([[3, 4], [5, 6]], {"size": Text.of(["M", "L"]), "y": np.array([2.0, 3.0])}),
    ]
    waiting = deque(parts)
    whole = concatenate(waiting)
    assert not waiting, "parts are freed as they are copied"
    np.testing.assert_array_equal(whole.numbers, [[1, 2], [3, 4], [5, 6]])
    np.testing.assert_array_equal(whole.number("y"), [1, 2, 3])
    assert words(whole.text("size")) == ["L", "M", "L"]


def test_what_a_table_knows_of_its_file_survives():
    parts = [table([[1.0]], place=row_place(5), decimal_comma=True), table([[2.0]], place=row_place(6))]
    whole = concatenate(deque(parts))
    assert whole.place(1) == "row 7"
    assert whole.decimal_comma


@pytest.mark.parametrize("order", [1, -1])
def test_a_column_that_is_all_gaps_in_one_part_may_be_text_in_another(order):
    parts = [table([[NAN, 1]], names=("size", "b")), table([[2]], {"size": Text.of(["L"])}, names=("b",))]
    whole = concatenate(deque(parts[::order]))
    assert words(whole.text("size")) == [None, "L"][::order]
    assert whole.number_names == ("b",)
    np.testing.assert_array_equal(whole.numbers, [[1], [2]][::order])


def test_numbers_in_one_part_and_text_in_another_are_told():
    parts = [table([[7, 1]], names=("size", "b")), table([[2]], {"size": Text.of(["L"])}, names=("b",))]
    with pytest.raises(MixedColumns) as raised:
        concatenate(deque(parts))
    assert raised.value.names == {"size"}
