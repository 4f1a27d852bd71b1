"""Tables for tests: columns in memory as a source, with names or without, and random ones of every kind of column."""

import numpy as np
from hypothesis import strategies as st

from nnaccel.sources.frames import FrameSource


class Unnamed(FrameSource):
    """Columns that are told by their position alone, as in a file without a header."""

    named = False

    def __init__(self, columns, name="the data"):
        super().__init__(dict(columns), name)
        self.columns = tuple(map(str, range(len(self.columns))))


def read(columns, name="shop"):
    """The table of some columns, given by name."""
    source = FrameSource(columns, name)
    return source.read({name: place for place, name in enumerate(source.columns)})


def csv_file(folder, text, name="shop.csv"):
    """The path of a file with this text."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def spelled(words, rows):
    """A column of these words, as text."""
    return st.lists(st.sampled_from(words), min_size=rows, max_size=rows).map(lambda cells: np.array(cells, object))


def column_kinds(rows):
    """For each kind of column a strategy of its values, for so many rows."""
    numbers = st.floats(-1e6, 1e6, width=32)

    def several(values):
        return st.lists(values, min_size=rows, max_size=rows)

    return {
        "number": several(numbers).map(np.array),
        "whole": several(st.integers(-1000, 1000)).map(np.array),
        "gaps": several(st.one_of(numbers, st.just(np.nan))).map(np.array),
        "category": spelled(["red", "green", "blue", "3", "3.0"], rows),
        "category with gaps": spelled(["red", "green", "?", "", "NA"], rows),
        "truth": spelled(["yes", "No", "TRUE", "false", "1", "0", ""], rows),
        "date": spelled(["2024-01-31", "2023-07-01T12:00", "1999-12-31T23:59+02:00", ""], rows),
        "day first": spelled(["31.12.2024", "01.02.1970", "15.07.2001"], rows),
    }


@st.composite
def mixed_columns(draw, rows):
    """Columns of every kind by name, and one that surely varies."""
    kinds = column_kinds(rows)
    chosen = draw(st.lists(st.sampled_from(sorted(kinds)), min_size=1, max_size=6))
    columns = {f"{kind} {k}": draw(kinds[kind]) for k, kind in enumerate(chosen)}
    return columns | {"varies": np.arange(rows) * 0.5}
