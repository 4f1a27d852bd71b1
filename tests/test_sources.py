"""Sources: every format gives the same table, in whole and in parts; whatever else a file holds is one sentence."""

import bz2
import csv
import datetime
import decimal
import gzip
import io
import lzma
import math
import os
import re
import string
import struct
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pyarrow.parquet
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

import nnaccel.sources
from nnaccel.errors import InputError
from nnaccel.sources import ALL_ROWS, AS_IT_SAYS, FileOptions
from nnaccel.sources.arrays import ArraySource
from nnaccel.sources.bundled import BUNDLED
from nnaccel.sources.frames import FrameSource
from nnaccel.sources.opening import open_source
from nnaccel.table import GAPS

NAN = math.nan
HEADERLESS = FileOptions(header=False)


def written(folder, content, name="x.csv"):
    path = folder / name
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(path, options=AS_IT_SAYS, rows=ALL_ROWS, text=(), expected=None):
    source = open_source(str(path), options, expected)
    return source.read(columns_of(source), text, rows)


def columns_of(source):
    return {name: place for place, name in enumerate(source.columns)}


def values(table, name):
    """A column as a list: words or numbers, None for gaps."""
    if table.is_text(name):
        text = table.text(name)
        return [text.words[code] if code >= 0 else None for code in text.codes]
    return [None if math.isnan(value) else value for value in table.number(name).tolist()]


def contents(table):
    return {name: values(table, name) for name in (*table.number_names, *table.others)}


def assert_refused(sentence, attempt, *arguments, **named):
    """What is raised is one sentence, and says this."""
    with pytest.raises(InputError) as raised:
        attempt(*arguments, **named)
    assert sentence in str(raised.value)
    assert_is_a_sentence(str(raised.value))


def assert_is_a_sentence(message):
    assert message.endswith(".")
    assert "\n" not in message
    assert "\r" not in message


# One table in every format.

NAMES = ("age", "town", "height", "member")
ROWS = [
    (31, "Bonn", 1.75, "True"),
    (45, "Kiel, Holstein", None, "False"),
    (None, 'the "old" town', -0.5, None),
    (28, None, 1e-5, "True"),
    (60, "zwei\nZeilen", 2.25, "True"),
    (7, "ü", 1.0, "False"),
    (8, "a;b|c\td", 3.5, "True"),
]
TABLE = {
    name: [float(value) if isinstance(value, int | float) else value for value in column]
    for name, column in zip(NAMES, zip(*ROWS, strict=True), strict=True)
}


def as_text(delimiter=",", gap="", decimal_comma=False, **options):
    def cell(value):
        if value is None:
            return gap
        return str(value).replace(".", ",") if decimal_comma and isinstance(value, float) else value

    out = io.StringIO()
    writer = csv.writer(out, delimiter=delimiter, **options)
    writer.writerow(NAMES)
    writer.writerows([cell(value) for value in row] for row in ROWS)
    return out.getvalue().encode()


def as_frame():
    return pd.DataFrame(
        {
            "age": pd.array([row[0] for row in ROWS], "Int64"),
            "town": [row[1] for row in ROWS],
            "height": [row[2] for row in ROWS],
            "member": [None if row[3] is None else row[3] == "True" for row in ROWS],
        }
    )


def as_parquet(**options):
    out = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.Table.from_pandas(as_frame()), out, **options)
    return out.getvalue()


def as_zip(content, method=zipfile.ZIP_DEFLATED, name="inner"):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        archive.writestr(name, content)
    return out.getvalue()


PLAIN = {
    "comma": as_text(),
    "tab": as_text("\t"),
    "semicolon, decimal comma": as_text(";", decimal_comma=True),
    "pipe": as_text("|", gap="NULL"),
    "blank": as_text(" ", gap="NA"),
    "line feeds": as_text(lineterminator="\n"),
    "carriage returns": as_text(lineterminator="\r", quoting=csv.QUOTE_NONNUMERIC),
    "everything in quotes": as_text(quoting=csv.QUOTE_ALL),
    "blank lines": as_text(lineterminator="\n").replace(b"\n31", b"\n\n  \n31") + b"\n\n",
    "mark of utf-8": b"\xef\xbb\xbf" + as_text(),
    "utf-16": as_text().decode().encode("utf-16"),
    "utf-16, the other way round": b"\xfe\xff" + as_text().decode().encode("utf-16-be"),
    "utf-32": as_text().decode().encode("utf-32"),
    "parquet": as_parquet(),
    "parquet in row groups": as_parquet(row_group_size=2, compression="gzip"),
}
PACKINGS = {
    "plain": bytes,
    "gz": gzip.compress,
    "bz2": bz2.compress,
    "xz": lzma.compress,
    "zip": as_zip,
    "stored": lambda content: as_zip(content, zipfile.ZIP_STORED),
}


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("form", PLAIN)
def test_every_format_gives_the_same_table(tmp_path, form, packing):
    source = open_source(str(written(tmp_path, PACKINGS[packing](PLAIN[form]))))
    assert (source.columns, source.named) == (NAMES, True)
    assert contents(source.read(columns_of(source))) == TABLE


@pytest.mark.parametrize(
    "make", [as_frame, lambda: TABLE, lambda: dict(zip(NAMES, zip(*ROWS, strict=True), strict=True))]
)
def test_frames_and_mappings_give_the_same_table(make):
    source = FrameSource(make())
    assert contents(source.read(columns_of(source))) == TABLE


@pytest.mark.parametrize("options", [FileOptions(encoding=name) for name in ("utf-8", "UTF8", "utf-8-sig")])
def test_the_mark_of_utf_8_is_no_part_of_a_name(tmp_path, options):
    assert open_source(str(written(tmp_path, PLAIN["mark of utf-8"])), options).columns == NAMES


def test_whole_numbers_wanted_as_text_keep_all_their_digits(tmp_path):
    ids = [1234567890123456789, None, 1]
    path = parquet(tmp_path, {"id": pyarrow.array(ids)})
    frame = FrameSource({"id": np.array(ids, object)})
    array = ArraySource("x", np.array([[1234567890123456789], [0], [1]]))
    for source, gap in ((open_source(str(path)), None), (frame, None), (array, "0")):
        for table in (source.read({"id": 0}, ["id"]), next(source.parts({"id": 0}, ["id"]))):
            assert values(table, "id") == ["1234567890123456789", gap, "1"]


@pytest.mark.parametrize("form", ["comma", "parquet in row groups", "frame", "array"])
@pytest.mark.parametrize("cells", [1, 4, 8, 12, 1000])
def test_parts_of_any_size_are_the_whole(tmp_path, monkeypatch, form, cells):
    monkeypatch.setattr(nnaccel.sources, "PART_CELLS", cells)
    if form == "frame":
        source = FrameSource(as_frame())
    elif form == "array":
        source = ArraySource("x", np.arange(28.0).reshape(7, 4))
    else:
        source = open_source(str(written(tmp_path, PLAIN[form])))
    places = columns_of(source)
    whole = contents(source.read(places, source.columns))
    for start in range(9):
        for stop in range(start + 1, 10):
            parts = list(source.parts(places, source.columns, range(start, stop)))
            assert [len(part) for part in parts if len(part) > max(1, cells // 4)] == []
            for name in source.columns:
                assert all(part.is_text(name) for part in parts)
                assert [word for part in parts for word in values(part, name)] == whole[name][start:stop]
            if start < 7:
                assert contents(source.read(places, source.columns, range(start, stop))) == {
                    name: column[start:stop] for name, column in whole.items()
                }
            else:
                assert_refused("has no rows there: see --rows", source.read, places, rows=range(start, stop))


@pytest.mark.parametrize("form", ["comma", "parquet in row groups", "frame"])
def test_rows_far_beyond_the_end(tmp_path, form):
    source = FrameSource(as_frame()) if form == "frame" else open_source(str(written(tmp_path, PLAIN[form])))
    for rows in (range(7, 2**62), range(2**63 - 1, 2**63 + 5), range(10**30, 10**31)):
        assert_refused("has no rows there", source.read, columns_of(source), rows=rows)


def test_places_choose_and_rename_columns(tmp_path):
    source = open_source(str(written(tmp_path, PLAIN["comma"])))
    table = source.read({"size": 2, "years": 0})
    assert table.number_names == ("size", "years")
    assert contents(table) == {"size": TABLE["height"], "years": TABLE["age"]}
    assert values(source.read({"years": 0}, {"years"}), "years")[:2] == ["31", "45"]


# Text files.


@pytest.mark.parametrize("cells", [2, 40, 1000])
def test_text_after_many_numbers_keeps_their_spelling(tmp_path, monkeypatch, cells):
    monkeypatch.setattr(nnaccel.sources, "PART_CELLS", cells)
    path = written(tmp_path, "code,n\n" + "007,1\n" * 50 + ",2\n1.50,3\nA1,4\n")
    table = read(path)
    assert table.text("code").words == ("007", "1.50", "A1")
    assert table.number_names == ("n",)


def test_the_culprit_is_named_where_commas_are_decimal(tmp_path):
    table = read(written(tmp_path, "a;b\n1,5;1\nx;2\n"))
    assert_refused("x.csv, line 3, column 'a': 'x' is not a number", table.number, "a")


@pytest.mark.parametrize("gap", sorted(GAPS))
def test_gaps(tmp_path, gap):
    table = read(written(tmp_path, f"a,b,c\n1,{gap}, {gap.upper()} \n2,5,x\n"))
    assert contents(table) == {"a": [1, 2], "b": [None, 5], "c": [None, "x"]}


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        ("0", 0.0),
        ("0.5", 0.5),
        ("00.5", 0.5),
        ("-01", -1.0),
        ("1e3", 1000.0),
        (" 12 ", 12.0),
        ("+.5", 0.5),
        ("-inf", -math.inf),
        ("Infinity", math.inf),
        ("1e999", math.inf),
    ],
)
def test_spellings_of_numbers(tmp_path, cell, value):
    assert contents(read(written(tmp_path, f"a,b\n1,{cell}\n")))["b"] == [value]


@pytest.mark.parametrize("place", [0, 1, 2])
def test_codes_are_text_wherever_they_stand(tmp_path, place):
    cells = ["10", "20", "30"]
    cells[place] = "007"
    assert contents(read(written(tmp_path, "a,b\n" + "".join(f"{cell},1\n" for cell in cells))))["a"] == cells


@pytest.mark.parametrize("cell", ["1_000", "0x10", "1 000", "12%", "1.2.3", "1,5", "\u0661_\u0662", "007", "00"])
def test_what_is_no_number(tmp_path, cell):
    assert contents(read(written(tmp_path, f'a,b\n1,"{cell}"\n')))["b"] == [cell]


def test_one_column(tmp_path):
    assert contents(read(written(tmp_path, 'a\n1\n\n""\n3\n'))) == {"a": [1, None, 3]}
    assert contents(read(written(tmp_path, '\n  \na\n1\n""\n3\n'))) == {"a": [1, None, 3]}


def test_one_row_and_five_thousand_columns(tmp_path):
    names = [f"c{k}" for k in range(5000)]
    table = read(written(tmp_path, ",".join(names) + "\n" + ",".join(map(str, range(5000))) + "\n"))
    np.testing.assert_array_equal(table.matrix(tuple(names)), [range(5000)])


def test_names(tmp_path):
    path = written(tmp_path, ' a , "b ""c""",,"price\r\n (EUR)",\n1,2,3,4,5\n')
    assert open_source(str(path)).columns == ("a", 'b "c"', "unnamed 2", "price (EUR)", "unnamed 4")


@pytest.mark.parametrize("first", ["a,b,a", "a, a ,b", ",unnamed 0,b"])
def test_equal_names_are_refused(tmp_path, first):
    assert_refused("have the same name", open_source, str(written(tmp_path, first + "\n1,2,3\n")))


@pytest.mark.parametrize("first", ["1,2,x", "5.1,setosa,a", "39, State-gov,77516", "NA,3.5,x", "2020,2019,x", "-1,x,y"])
def test_a_first_line_of_data_is_told(tmp_path, first):
    path = written(tmp_path, f"{first}\n{first}\n")
    assert_refused("so it looks like data, not like names: add --no-header", open_source, str(path))
    assert open_source(str(path), HEADERLESS).columns == ("0", "1", "2")
    assert open_source(str(path), FileOptions(header=True)).named
    assert len(read(path, HEADERLESS)) == 2


@pytest.mark.parametrize(
    "first", ["a,b,c", "2019,2020,2021", "2,3,4", "x,2019,2020", "RI,Na,Mg", "none,missing,null", "x1,?,-"]
)
def test_a_first_line_of_names(tmp_path, first):
    source = open_source(str(written(tmp_path, f"{first}\n1,2,3\n")))
    assert source.columns == tuple(first.split(","))
    assert len(source.read(columns_of(source))) == 1


def test_expected_names_decide_over_the_first_line(tmp_path):
    path = written(tmp_path, "5,6\n1,2\n")
    assert open_source(str(path), expected=("6", "7")).columns == ("5", "6")
    assert open_source(str(path), expected=("a", "b")).columns == ("0", "1")
    assert not open_source(str(path), expected=()).named


@pytest.mark.parametrize(
    ("content", "delimiter"),
    [
        ("a,b\n1;2,3\n", ","),
        ("a;b\n1,5;2,5\n", ";"),
        ("a\tb\n1,5\tx y\n", "\t"),
        ('a,b\n"1;2;3",x\n', ","),
        ("a|b,c|d\n1|2|3\n", "|"),
        ("a b c\n1 2 3\n", " "),
        ("a  b   c\n  1   2 3  \n10 20 30 \n", " "),
        ("a,b c\n1,2,3\n4,5 6\n", ","),
        ("alone\n1\n", ","),
        ("two words\n", ","),
    ],
)
def test_the_delimiter_is_found_out(tmp_path, content, delimiter):
    source = open_source(str(written(tmp_path, content)))
    asked_for = open_source(str(tmp_path / "x.csv"), FileOptions(delimiter=delimiter))
    assert source.columns == asked_for.columns


@pytest.mark.parametrize("name", ["tab", "\\t", "\t"])
def test_delimiters_have_names(tmp_path, name):
    assert open_source(str(written(tmp_path, "a,b\tc\n")), FileOptions(delimiter=name)).columns == ("a,b", "c")


@pytest.mark.parametrize("delimiter", ["", ",,", '"', "\n", "tabs"])
def test_what_is_no_delimiter(tmp_path, delimiter):
    path = written(tmp_path, "a,b\n")
    assert_refused("--delimiter takes one character", open_source, str(path), FileOptions(delimiter=delimiter))


MULTI_LINE = 'a,b\n\n1,"x\ny\nz"\n\n \n2,"u"\n'  # The rows begin in the lines 3 and 8.


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r"])
@pytest.mark.parametrize(("bad", "found"), [("3", "1 value"), ("3,4,5", "3 values"), ('3,"4\n4",5', "3 values")])
@pytest.mark.parametrize("cells", [2, 1000])
def test_ragged_lines_are_named(tmp_path, monkeypatch, ending, bad, found, cells):
    monkeypatch.setattr(nnaccel.sources, "PART_CELLS", cells)
    path = written(tmp_path, (MULTI_LINE + bad + "\n9,9\n").replace("\n", ending))
    assert_refused(f"x.csv, line 9: {found} instead of 2, as many as the first line has: mend the line", read, path)


@pytest.mark.parametrize("cells", [2, 1000])
def test_a_value_is_named_with_the_line_in_which_its_row_begins(tmp_path, monkeypatch, cells):
    monkeypatch.setattr(nnaccel.sources, "PART_CELLS", cells)
    table = read(written(tmp_path, MULTI_LINE))
    assert [table.place(row) for row in (0, 1)] == ["line 3", "line 8"]
    later = read(tmp_path / "x.csv", rows=range(1, 2))
    assert str(later.error("b", 0, "it is odd")) == "x.csv, line 8, column 'b': it is odd."


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ('a,b\n1,"x\n2,y\n3,z\n', "lines 2 to 4: a quotation mark is opened and never closed"),
        ('a,b\n1,2\n3,"x', "line 3: a quotation mark is opened and never closed"),
        ('a,b\n1,"x"y\n', "line 2: something follows a closing quotation mark"),
        ('a,b\n1,"' + "x" * 140_000 + '"\n', "line 2: a value has more than 131,072 characters"),
        ("a,b\n1," + "x" * 140_000 + "\n", "line 2: a value has more than 131,072 characters"),
        (b"a,b\n" + b"1,x\n" * 5000 + b"1,caf\xe9\n1,x\n", "line 5002: this isn't text in utf-8 (invalid continuation"),
        (b"caf\xe9,b\n1,2\n", "line 1: this isn't text in utf-8 (invalid continuation byte): save it as UTF-8, or name"),
        ("a,b\n", "x.csv has no rows."),
        ("a,b", "x.csv has no rows."),
        ("", "x.csv is empty."),
        ("\n\r\n   \n\n", "x.csv is empty."),
        (b"\xef\xbb\xbf", "x.csv is empty."),
        ("a,b\n1,2\n\0\0\0\0", "is no text, and nothing else that is read"),
        (b"\0", "is no text"),
        (b"\0\0", "is no text"),
        (b"\x89HDF\r\n\x1a\n", "is an HDF5 file, which isn't read: nnaccel reads CSV"),
        (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "is an old Excel workbook"),
        (b"\x80\x04\x95", "is a pickle"),
        (b"%PDF-1.4", "is a PDF document"),
        (b"SQLite format 3\0", "is an SQLite database"),
        (b"ARROW1\0\0", "is a Feather file"),
        ("<!DOCTYPE html>\n<html>", "is a web page"),
        ('{"a": 1, "b": 2}\n', "is JSON"),
        ("@relation iris\n", "is an ARFF file"),
        (bytes(range(254, -1, -1)), "is no text, and nothing else that is read"),
        (gzip.compress(b"", mtime=0), "x.csv is empty."),
        (gzip.compress(b"a,b\n" + b"1,2\n" * 5000, mtime=0)[:-20], "x.csv can't be read: "),
        (b"PAR1", "x.csv can't be read as a Parquet file"),
        (b"PAR1" + bytes(50) + b"PAR1", "x.csv can't be read as a Parquet file"),
        (as_parquet()[:-100], "x.csv can't be read as a Parquet file"),
        (as_parquet().replace(b"town", b"\xff\xfe\xff\xfe"), "x.csv can't be read as a Parquet file"),
        (b"PK\x03\x04", "x.csv can't be read: "),
    ],
)  # fmt: skip
def test_what_is_no_table_is_one_sentence(tmp_path, content, sentence):
    path = written(tmp_path, content)
    assert_refused(sentence, read, path)
    assert_refused("x.csv", read, path)


def test_other_encodings(tmp_path):
    path = written(tmp_path, "a,b\n1,café\n".encode("cp1252"))
    assert_refused("say --encoding cp1252", read, path)
    assert contents(read(path, FileOptions(encoding="cp1252"))) == {"a": [1], "b": ["café"]}
    path = written(tmp_path, "a,b\n1,café\n".encode("utf-16-le"))
    assert contents(read(path, FileOptions(encoding="utf_16_le"))) == {"a": [1], "b": ["café"]}


@pytest.mark.parametrize("name", ["", "klingon", "hex", "undefined", "utf-8\0"])
def test_what_is_no_encoding(tmp_path, name):
    path = written(tmp_path, "a,b\n1,2\n")
    assert_refused("there is no text encoding", read, path, FileOptions(encoding=name))


# What a path may be.


def test_what_is_no_file(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "circle.csv").symlink_to(tmp_path / "circle.csv")
    for path, sentence in (
        (tmp_path / "nowhere.csv", "there is no file"),
        ("nowhere", f"there is no data set 'nowhere'; give one of {', '.join(BUNDLED)}, or a file."),
        ("", "there is no data set ''"),
        (tmp_path, "is a folder, not a file"),
        (tmp_path / "pipe", "is no regular file"),
        ("/dev/null", "is no regular file"),
        (tmp_path / "circle.csv", "circle.csv"),
        ("x" * 300 + ".csv", "File name too long"),
    ):
        assert_refused(sentence, open_source, str(path))


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(tmp_path):
    path = written(tmp_path, "a,b\n1,2\n")
    path.chmod(0)
    assert_refused("can't be read: Permission denied", open_source, str(path))


def test_symbolic_links_and_names_with_anything_in_them(tmp_path):
    path = written(tmp_path, "a,b\n1,2\n", "ein Name, ü #1 [x].csv")
    link = tmp_path / "link"
    link.symlink_to(path)
    assert contents(read(path)) == contents(read(link)) == {"a": [1], "b": [2]}


def test_columns_by_name_and_position(tmp_path):
    source = open_source(str(written(tmp_path, "2020,2021,2022\n1,2,3\n")))
    assert [source.position(column) for column in ("2021", "0", "-1")] == [1, 0, 2]
    assert source.positions(" 2022, 0 ") == [2, 0]
    assert source.positions("") == []
    for column in ("3", "-4", "--1", "²", "1.0", "9" * 5000, "x"):
        assert_refused(f"x.csv has no column {column!r}; it has 2020, 2021, 2022.", source.position, column)
    unnamed = open_source(str(tmp_path / "x.csv"), HEADERLESS)
    assert_refused("it has 3 columns without names: give a position from 0 to 2", unnamed.position, "2021")


def test_a_name_with_commas_is_one_column(tmp_path):
    assert open_source(str(written(tmp_path, '"a,b",a\n1,2\n'))).positions("a,b") == [0]


# Parquet.


def parquet(folder, columns, **options):
    path = folder / "x.parquet"
    pyarrow.parquet.write_table(pyarrow.table(columns), path, **options)
    return path


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (pyarrow.array([1, None, 3], pyarrow.int8()), [1, None, 3]),
        (pyarrow.array([1, 2, 3], pyarrow.uint64()), [1, 2, 3]),
        (pyarrow.array([1.5, None, NAN], pyarrow.float32()), [1.5, None, None]),
        (pyarrow.array(np.array([1.5, 2.0, 0.25], np.float16)), [1.5, 2, 0.25]),
        (pyarrow.array([True, None, False]), ["True", None, "False"]),
        (pyarrow.array(["b", None, "a"]), ["b", None, "a"]),
        (pyarrow.array(["b", "NA", " a "], pyarrow.large_string()), ["b", None, "a"]),
        (pyarrow.array(["b", None, "a"]).dictionary_encode(), ["b", None, "a"]),
        (pyarrow.array([7, None, 5]).dictionary_encode(), [7, None, 5]),
        (pyarrow.array([datetime.date(2024, 2, 29), None, datetime.date(1, 1, 1)]), ["2024-02-29", None, "0001-01-01"]),
        (
            pyarrow.array([datetime.datetime(2024, 2, 29, 13, 30), None, datetime.datetime(1969, 1, 1)]),
            ["2024-02-29T13:30", None, "1969-01-01"],
        ),
        (
            pyarrow.array([datetime.datetime(2024, 7, 1, 13, 30)] * 3, pyarrow.timestamp("ms", "Europe/Berlin")),
            ["2024-07-01T13:30"] * 3,
        ),
        (pyarrow.array([datetime.time(13, 30), None, datetime.time(0)]), ["13:30:00", None, "00:00:00"]),
        (pyarrow.array([decimal.Decimal("1.50"), None, decimal.Decimal("-2.25")]), [1.5, None, -2.25]),
        (pyarrow.array([decimal.Decimal("1.50"), None, None]).dictionary_encode(), [1.5, None, None]),
        (pyarrow.array([None, None, None], pyarrow.int32()), [None] * 3),
        (pyarrow.nulls(3), [None] * 3),
    ],
    ids=lambda value: str(value.type) if isinstance(value, pyarrow.Array) else "",
)  # fmt: skip
@pytest.mark.parametrize("options", [{}, {"row_group_size": 1, "compression": "zstd"}], ids=["one group", "groups"])
def test_columns_of_parquet(tmp_path, monkeypatch, column, expected, options):
    monkeypatch.setattr(nnaccel.sources, "PART_CELLS", 4)
    table = read(parquet(tmp_path, {"a.b": column, "n": [1, 2, 3]}, **options))
    assert contents(table) == {"a.b": expected, "n": [1, 2, 3]}


@pytest.mark.parametrize(
    "column",
    [
        pyarrow.array([[1], [2]]),
        pyarrow.array([{"x": 1}, {"x": 2}]),
        pyarrow.array([b"1", b"2"]),
        pyarrow.array([b"1", b"2"], pyarrow.binary(1)),
        pyarrow.array([b"1", b"2"]).dictionary_encode(),
        pyarrow.array([datetime.timedelta(1), None]),
        pyarrow.array([[1], [2]], pyarrow.list_(pyarrow.int8(), 1)),
    ],
    ids=lambda column: str(column.type),
)
def test_columns_of_parquet_that_are_not_encoded(tmp_path, column):
    source = open_source(str(parquet(tmp_path, {"a": column, "b": [1, 2]})))
    assert_refused("x.parquet: column 'a' holds", source.read, {"a": 0, "b": 1})
    assert contents(source.read({"b": 1})) == {"b": [1, 2]}


def test_parquet_without_rows_or_columns_or_with_equal_names(tmp_path):
    assert_refused("has no rows", read, parquet(tmp_path, {"a": pyarrow.array([], pyarrow.int8())}))
    assert_refused("has no columns", read, parquet(tmp_path, {}))
    table = pyarrow.Table.from_arrays([pyarrow.array([1]), pyarrow.array([2])], names=["a", "a"])
    pyarrow.parquet.write_table(table, tmp_path / "twice.parquet")
    assert_refused("the columns 0 and 1 (from 0) have the same name 'a'", read, tmp_path / "twice.parquet")


def test_parquet_needs_pyarrow(tmp_path, monkeypatch):
    path = parquet(tmp_path, {"a": [1]})
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert_refused("reading it needs pyarrow: pip install 'nnaccel[parquet]'", open_source, str(path))


# Frames.


def read_frame(frame):
    source = FrameSource(frame)
    return source.read(columns_of(source))


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        ([1, None, 3], [1, None, 3]),
        ([decimal.Decimal("1.5"), NAN, 2], [1.5, None, 2]),
        (["1", None, "3"], ["1", None, "3"]),
        ([1, "x", None], ["1", "x", None]),
        ([True, None, False], ["True", None, "False"]),
        ([None, None, None], [None] * 3),
        ([10**400, 1, 2], [str(10**400), "1", "2"]),
        (np.array([1, 2, 3], ">i2"), [1, 2, 3]),
        (np.array([b"x", b"", b"caf\xe9"]), ["x", None, "caf\ufffd"]),
        (pd.array([1, None, 3], "Int64"), [1, None, 3]),
        (pd.array([1.5, None, 3], "Float32"), [1.5, None, 3]),
        (pd.array([True, None, False], "boolean"), ["True", None, "False"]),
        (pd.Series(["x", None, "y"], dtype="category"), ["x", None, "y"]),
        (pd.Series(["x", None, "y"], dtype="string"), ["x", None, "y"]),
        (pd.to_datetime(pd.Series(["2024-02-29", None, "2023-01-01"])), ["2024-02-29", None, "2023-01-01"]),
    ],
    ids=str,
)
def test_columns_of_frames(column, expected):
    assert contents(FrameSource({"a": column}).read({"a": 0})) == {"a": expected}


@pytest.mark.parametrize(
    ("frame", "sentence"),
    [
        ({}, "the data has no columns"),
        ({"a": [1, 2], "b": [1]}, "column 'b' of the data has 1 rows, others 2"),
        ({"a": []}, "the data has no rows"),
        ({"a": 1}, "column 'a' of the data holds int64 values of the shape ()"),
        ({"a": [[1, 2], [3, 4]]}, "holds int64 values of the shape (2,): encode or drop it first"),
        ({"a": [[1, 2], [3]]}, "column 'a' of the data holds lists that aren't equally long: drop it"),
        ({"a": [1j, 2]}, "holds complex128 values"),
        ({1: [1], "1": [2]}, "the columns 0 and 1 (from 0) have the same name '1'"),
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "the columns 0 and 1 (from 0) have the same name 'a'"),
    ],
)
def test_frames_that_are_no_tables(frame, sentence):
    assert_refused(sentence, read_frame, frame)


# Arrays.

MATRIX = np.array([[1.5, 2, NAN], [4, 5, 6]])


def npy(array, **options):
    out = io.BytesIO()
    np.save(out, array, **options)
    return out.getvalue()


def npz(**arrays):
    out = io.BytesIO()
    np.savez_compressed(out, **arrays)
    return out.getvalue()


def idx(array, code):
    return struct.pack(f">HBB{array.ndim}I", 0, code, array.ndim, *array.shape) + array.tobytes()


@pytest.mark.parametrize("packing", PACKINGS)
@pytest.mark.parametrize("array", [MATRIX, np.asfortranarray(MATRIX), MATRIX.astype(">f4"), MATRIX[:1]], ids=repr)
def test_npy(tmp_path, array, packing):
    source = open_source(str(written(tmp_path, PACKINGS[packing](npy(array)))))
    assert source.columns == ("0", "1", "2")
    np.testing.assert_array_equal(source.read(columns_of(source)).numbers, array)


def test_npy_stays_on_the_disk(tmp_path):
    source = open_source(str(written(tmp_path, npy(MATRIX))))
    numbers = source.read(columns_of(source)).numbers
    assert isinstance(numbers, np.memmap)
    assert not numbers.flags.writeable


@pytest.mark.parametrize("packing", ["plain", "gz"])
@pytest.mark.parametrize("target", [np.array([1.5, 2]), np.array([1, 0], np.uint8), np.array(["yes", "n"])], ids=repr)
def test_npy_with_a_file_of_targets(tmp_path, packing, target):
    x = written(tmp_path, PACKINGS[packing](npy(MATRIX)))
    y = written(tmp_path, PACKINGS[packing](npy(target)), "y")
    source = open_source(str(x), FileOptions(target=str(y)))
    assert (source.columns, source.targets) == (("0", "1", "2", "target"), ("target",))
    assert values(source.read(columns_of(source)), "target") == target.tolist()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_npz(tmp_path, save):
    save(tmp_path / "x.npz", X=MATRIX, y=np.array([[1, 2], [3, 4]]), z=np.array(5))
    source = open_source(str(tmp_path / "x.npz"))
    assert source.targets == ("target 0", "target 1")
    assert contents(source.read({"a": 0, "t": 4})) == {"a": [1.5, 4], "t": [2, 4]}
    save(tmp_path / "x.npz", MATRIX)
    assert open_source(str(tmp_path / "x.npz")).columns == ("0", "1", "2")


@pytest.mark.parametrize(
    ("code", "dtype"), [(0x08, ">u1"), (0x09, ">i1"), (0x0B, ">i2"), (0x0C, ">i4"), (0x0D, ">f4"), (0x0E, ">f8")]
)
@pytest.mark.parametrize("packing", ["plain", "gz"])
def test_idx(tmp_path, code, dtype, packing):
    images = np.arange(-4, 8).reshape(2, 3, 2).astype(dtype)
    labels = np.array([7, 3], ">u1")
    path = written(tmp_path, PACKINGS[packing](idx(images, code)), "t-images-idx3-ubyte")
    alone = open_source(str(path))
    assert (alone.targets, alone.keeps_columns, len(alone.columns)) == ((), True, 6)
    np.testing.assert_array_equal(alone.read(columns_of(alone)).numbers, images.reshape(2, 6))
    beside = written(tmp_path, PACKINGS[packing](idx(labels, 0x08)), "t-labels-idx1-ubyte")
    source = open_source(str(path))
    assert source.remarks == ("the target is in t-labels-idx1-ubyte, which lies beside",)
    assert values(source.read(columns_of(source)), "target") == [7, 3]
    assert_refused("so it is a file of labels: give it as --target of the images", open_source, str(beside))


def test_columns_of_arrays_in_any_order():
    source = ArraySource("x", np.arange(6).reshape(2, 3), np.array(["p", "?"]))
    table = source.read({"c": 2, "t": 3, "a": 0})
    assert table.number_names == ("c", "a")
    assert contents(table) == {"c": [2, 5], "a": [0, 3], "t": ["p", None]}


def claiming(shape, dtype="<f8", version=1):
    """An NPY file of 96 bytes of values whose header claims this."""
    header = f"{{'descr': '{dtype}', 'fortran_order': False, 'shape': {shape}, }}".encode()
    size = struct.pack("<H" if version == 1 else "<I", len(header))
    return b"\x93NUMPY" + bytes([version, 0]) + size + header + bytes(96)


OBJECTS = np.array([[1, "x"]], object)
WRONG_ARRAYS = [
    (npy(np.array([1.0, 2.0])), "holds an array of the shape (2,): a table needs rows and columns"),
    (npy(np.array(1.0)), "holds an array of the shape (): a table needs rows and columns"),
    (npy(np.empty((0, 3))), "holds an array of the shape (0, 3), which has no values"),
    (npy(np.array([["a", "b"]])), "X holds <U1 values, not real numbers: save text as CSV or Parquet"),
    (npy(np.array([[1j]])), "X holds complex128 values"),
    (npy(np.zeros((2, 2), [("a", "f8")])), "values, not real numbers"),
    (npy(OBJECTS, allow_pickle=True), "holds Python objects, not numbers or text: convert the array before saving it"),
    (npy(MATRIX)[:-1], "is damaged: it should hold 48 bytes of values, but has 47"),
    (npy(MATRIX)[:50], "can't be read as an NPY file"),
    (npy(MATRIX)[:7], "can't be read as an NPY file"),
    (claiming((2**60, 2)), "is damaged: it should hold 18,446,744,073,709,551,616 bytes of values, but has 96"),
    (claiming((2**62, 0)), "which has no values"),
    (claiming((-2, -6)), "which has no values"),
    (claiming((1,) * 70), "holds an array of 70 dimensions"),
    (claiming((2, 6), "<f8", 3), "can't be read as an NPY file: its version is (3, 0)"),
    (claiming("(" * 5000), "can't be read as an NPY file"),
    (claiming("-" * 5000 + "1"), "can't be read as an NPY file"),
    (npz(x=MATRIX, y=MATRIX), "has no array 'X', only x, y: save it with np.savez(file, X=..., y=...)"),
    (npz(X=MATRIX, y=np.zeros(3)), "X has 2 rows and y 3: they must have equally many"),
    (npz(X=MATRIX, y=np.zeros((2, 1, 1))), "y must have one dimension"),
    (npz(X=MATRIX, y=np.array([1j, 2])), "y holds complex128 values, not numbers or text"),
    (npz(X=MATRIX, y=np.zeros((2, 0))), "which has no values"),
    (npz(X=MATRIX[0]), "X must have two dimensions, rows and columns, not the shape (3,)"),
    (as_zip(claiming((2**60, 2)), name="X.npy"), "is damaged: it should hold"),
    (as_zip(b"", name="X.npy"), "can't be read as an NPY file"),
    (npz(X=MATRIX)[:-30], "can't be read: "),
    (idx(np.zeros((2, 3), ">u1"), 0x08)[:-1], "is damaged: it should hold 6 bytes of values, but has 5"),
    (idx(np.zeros((2, 3), ">u1"), 0x08) + b"\0", "is damaged: it should hold 6 bytes of values, but has 7"),
    (idx(np.zeros((2, 3), ">u1"), 0x08)[:7], "is damaged: it ends before its values"),
    (struct.pack(">HBB3I", 0, 0x0E, 3, *(2**32 - 1,) * 3), "is damaged: it should hold"),
    (struct.pack(">HBB2I", 0, 0x08, 2, 0, 2**32 - 1), "which has no values"),
    (b"\0\0\x0a\x02" + bytes(8), "is no text, and nothing else that is read"),
    (b"\0\0\x08\xff" + struct.pack(">255I", *(1,) * 255) + b"\0", "is no text, and nothing else that is read"),
]  # fmt: skip


@pytest.mark.parametrize(("content", "sentence"), WRONG_ARRAYS)
def test_arrays_that_are_no_tables(tmp_path, content, sentence):
    path = written(tmp_path, content)
    assert_refused(sentence, open_source, str(path))
    assert_refused("x.csv", open_source, str(path))
    if content.startswith((b"\x93", b"\0")) and "can't" in sentence:
        assert_refused(sentence, open_source, str(written(tmp_path, gzip.compress(content, mtime=0))))


def test_a_target_apart_has_to_be_an_array(tmp_path):
    x, y = written(tmp_path, npy(MATRIX)), written(tmp_path, "1\n2\n", "y.txt")
    assert_refused("y.txt is neither an IDX nor an NPY file", open_source, str(x), FileOptions(target=str(y)))
    assert_refused("there is no file", open_source, str(x), FileOptions(target=str(tmp_path / "z")))
    table = written(tmp_path, "a,b\n1,2\n", "t.csv")
    assert_refused("a file of targets, goes with arrays alone", open_source, str(table), FileOptions(target=str(y)))


@pytest.mark.parametrize("name", BUNDLED)
def test_bundled_sets(name):
    source = open_source(name)
    table = source.read(columns_of(source))
    assert len(table) > 100
    assert source.targets == ("target",)
    assert not np.isnan(table.numbers).any()


def test_bundled_sets_need_scikit_learn(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert_refused("the set 'iris' comes with scikit-learn", open_source, "iris")


# Anything at all.

SEEDS = {
    "csv": PLAIN["comma"],
    "semicolon": PLAIN["semicolon, decimal comma"],
    "blank": PLAIN["blank"],
    "utf-16": PLAIN["utf-16"],
    "gz": gzip.compress(PLAIN["comma"], mtime=0),
    "zip": as_zip(PLAIN["comma"]),
    "xz": lzma.compress(PLAIN["tab"]),
    "parquet": PLAIN["parquet in row groups"],
    "npy": npy(MATRIX),
    "npy.gz": gzip.compress(npy(MATRIX)),
    "npz": npz(X=MATRIX, y=np.array(["a", "b"])),
    "idx": idx(np.arange(12).reshape(2, 3, 2).astype(">i2"), 0x0B),
}
BYTES = st.one_of(st.binary(max_size=200), st.text(string.printable, max_size=200).map(str.encode))
EDITS = st.lists(
    st.tuples(
        st.floats(0, 1, exclude_max=True) | st.integers(0, 127),
        st.sampled_from([0, 0, 1, 1, 2, 9, 10**6]),
        st.binary(max_size=4) | st.sampled_from([b'"', b"\n", b"\r", b"\0", b",", b"9", b"\xff" * 8, b"\xe9"]),
    ),
    min_size=1,
    max_size=6,
)
OPTIONS = st.builds(
    FileOptions,
    header=st.sampled_from([None, True, False]),
    delimiter=st.sampled_from([None, None, ",", "space", "x"]),
    encoding=st.sampled_from(["utf-8", "utf-8", "cp1252", "utf-16", "ascii"]),
)
FUZZ = settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.too_slow])


def edited(content, edits):
    """The content with some pieces replaced; each tells where it begins, how long it is, and by what it is replaced."""
    for place, length, new in edits:
        start = int(place * len(content)) if isinstance(place, float) else min(place, len(content))
        content = content[:start] + new + content[start + length :]
    return content


def assert_read_or_refused(content, options):
    with tempfile.TemporaryDirectory() as folder:
        path = written(Path(folder), content)
        try:
            source = open_source(str(path), options)
            table = source.read(columns_of(source))
        except InputError as error:
            refusal = str(error)
        else:
            refusal = None
    if refusal is not None:
        assert_is_a_sentence(refusal)
        assert "x.csv" in refusal
        return
    for name in source.columns:
        assert len(table.text(name).codes) == len(table.missing(name)) == len(table) > 0


@FUZZ
@given(BYTES, OPTIONS)
def test_any_bytes_are_read_or_refused(content, options):
    assert_read_or_refused(content, options)


@FUZZ
@given(
    BYTES,
    OPTIONS,
    st.sampled_from([b"\x93NUMPY\1\0\x40\0", b"PAR1", b"\0\0\x08\1", b"PK\3\4", b"\x1f\x8b\x08\0", b"BZh9"]),
)
def test_any_bytes_after_a_mark_are_read_or_refused(content, options, mark):
    assert_read_or_refused(mark + content, options)


@pytest.mark.parametrize("form", SEEDS)
@settings(FUZZ, max_examples=100)
@given(EDITS, OPTIONS)
@example(edits=[(0.1692301968082277, 1, b"\x01")], options=FileOptions())  # columns of Parquet that aren't equally long
def test_damaged_files_are_read_or_refused(form, edits, options):
    assert_read_or_refused(edited(SEEDS[form], edits), options)


NUMBER_CELLS = st.floats(allow_nan=False) | st.integers(-(2**53), 2**53) | st.none()
TEXT_CELLS = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=6) | st.none()
COLUMNS = st.integers(1, 8).flatmap(
    lambda rows: st.lists(
        st.one_of(*(st.lists(cells, min_size=rows, max_size=rows) for cells in (NUMBER_CELLS, TEXT_CELLS))), min_size=1, max_size=5
    )
)  # fmt: skip
DIALECTS = st.fixed_dictionaries(
    {
        "delimiter": st.sampled_from([",", "\t", ";", "|"]),
        "lineterminator": st.sampled_from(["\n", "\r\n", "\r"]),
        "quoting": st.sampled_from([csv.QUOTE_MINIMAL, csv.QUOTE_ALL]),
    }
)


def expected_column(cells, decimal_comma):
    """What a column of cells should be read as: numbers if all are, else their words."""
    spelled = ["" if cell is None else str(cell).strip() for cell in cells]
    try:
        numbers = [None if cell.lower() in GAPS else as_number(cell, decimal_comma) for cell in spelled]
    except ValueError:
        return [None if cell.lower() in GAPS else cell for cell in spelled]
    return [None if number is None or math.isnan(number) else number for number in numbers]


def as_number(word, decimal_comma):
    if "_" in word or re.fullmatch("0[0-9]+", word):
        raise ValueError
    return float(word.replace(",", ".") if decimal_comma else word)


@FUZZ
@given(COLUMNS, DIALECTS, st.sampled_from(["utf-8", "utf-16"]), st.integers(1, 9))
def test_what_the_csv_module_writes_is_read_as_it_was(columns, dialect, encoding, cells):
    out = io.StringIO()
    writer = csv.writer(out, **dialect)
    names = [f"c{k}" for k in range(len(columns))]
    if dialect["quoting"] == csv.QUOTE_MINIMAL:
        # Before Python 3.13 it leaves line breaks unquoted that aren't its own.
        columns = [
            [re.sub("[\r\n]", "", cell) if isinstance(cell, str) else cell for cell in column] for column in columns
        ]
    writer.writerow(names)
    writer.writerows(["" if cell is None else cell for cell in row] for row in zip(*columns, strict=True))
    options = FileOptions(header=True, delimiter=dialect["delimiter"])
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr(nnaccel.sources, "PART_CELLS", cells)
        path = written(Path(folder), out.getvalue().encode(encoding))
        table = read(path, options)
    expected = [expected_column(column, dialect["delimiter"] == ";") for column in columns]
    assert contents(table) == dict(zip(names, expected, strict=True))
