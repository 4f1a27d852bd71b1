"""The sets that scikit-learn brings along, read from its own files: importing it takes longer than most trainings on them."""

import importlib.util
from pathlib import Path

import numpy as np

from nnaccel.errors import check
from nnaccel.sources.arrays import ArraySource

BUNDLED = ("digits", "iris", "wine", "breast_cancer", "diabetes")
"""Their names."""

_FILES = {
    "digits": ("digits.csv.gz", 0),
    "iris": ("iris.csv", 1),
    "wine": ("wine_data.csv", 1),
    "breast_cancer": ("breast_cancer.csv", 1),
}
"""Each with its number of lines before the data; the target is the last column."""


def bundled(name: str) -> ArraySource:
    """The set of this name.

    Raises
    ------
    InputError
        If scikit-learn isn't installed.
    """
    package = importlib.util.find_spec("sklearn")
    check(
        package is not None,
        f"the set {name!r} comes with scikit-learn, which is not installed: pip install scikit-learn.",
    )
    assert package is not None
    folder = Path(str(package.origin)).parent / "datasets" / "data"
    if name == "diabetes":
        x, y = (np.loadtxt(folder / f"diabetes_{part}.csv.gz") for part in ("data_raw", "target"))
        return ArraySource(name, x, y)
    file, header_lines = _FILES[name]
    data = np.loadtxt(folder / file, delimiter=",", skiprows=header_lines)
    return ArraySource(name, data[:, :-1], data[:, -1].astype(np.int64))
