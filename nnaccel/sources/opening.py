"""What kind of source a name stands for: files say so by their first bytes, whatever their name."""

import codecs
from collections.abc import Collection
from pathlib import Path

from nnaccel.errors import InputError, check
from nnaccel.files import ZIP, first_bytes, opened, reading, zipped
from nnaccel.sources import AS_IT_SAYS, FileOptions, Source
from nnaccel.sources.arrays import is_idx, read_idx, read_npy, read_npz
from nnaccel.sources.bundled import BUNDLED, bundled
from nnaccel.sources.delimited import DelimitedSource, text_encoding
from nnaccel.sources.parquet import ParquetSource


def open_source(path: str, options: FileOptions = AS_IT_SAYS, expected: Collection[str] | None = None) -> Source:
    """The source that a name stands for: a bundled set, or a file.

    Parameters
    ----------
    path : str
        A name in `bundled.BUNDLED`, or the path of a CSV, TSV, Parquet, NPY, NPZ or IDX file, compressed or not.
    options : FileOptions
    expected : collection of str, optional
        Names that the first line of a text file holds if it holds names. None: nothing is known of them.

    Raises
    ------
    InputError
        If there is no such set or file, or it can't be read.

    Examples
    --------
    >>> source = open_source("iris")
    >>> len(source.columns), source.targets
    (5, ('target',))
    """
    if path in BUNDLED:
        _check_no_file_of_targets(path, options)
        return bundled(path)
    file = Path(path)
    with reading(file):
        exists = bool(path) and file.exists()
    if not exists:
        raise InputError(
            f"there is no file {path}."
            if file.suffix
            else f"there is no data set {path!r}; give one of {', '.join(BUNDLED)}, or a file."
        )
    return _open_file(file, options, expected)


def _open_file(file: Path, options: FileOptions, expected: Collection[str] | None) -> Source:
    if _holds_arrays(file):
        return read_npz(file, options)
    with opened(file) as stream:
        head = stream.read(1 << 12)
    check(len(head) > 0, f"{file} is empty.")
    if head.startswith(b"\x93NUMPY"):
        return read_npy(file, options)
    if is_idx(head):
        return read_idx(file, options)
    _check_no_file_of_targets(str(file), options)
    if head.startswith(b"PAR1"):
        return ParquetSource(file)
    for mark, kind in _FOREIGN.items():
        check(not head.startswith(mark), f"{file} is {kind}, which isn't read: {_READ}.")
    has_zeros = codecs.lookup(text_encoding(file, options.encoding)).name.startswith(("utf-16", "utf-32"))
    check(has_zeros or b"\0" not in head, f"{file} is no text, and nothing else that is read: {_READ}.")
    return DelimitedSource(file, options, expected)


def _check_no_file_of_targets(path: str, options: FileOptions) -> None:
    check(
        options.target is None,
        f"{path} holds its targets as a column: {options.target}, a file of targets, goes with arrays alone.",
    )


_READ = "nnaccel reads CSV, TSV, Parquet, NPY, NPZ and IDX files"
_FOREIGN = {
    b"\x89HDF": "an HDF5 file",
    b"\xd0\xcf\x11\xe0": "an old Excel workbook",
    b"ARROW1": "a Feather file",
    b"SQLite": "an SQLite database",
    **dict.fromkeys((b"\x80\x02", b"\x80\x03", b"\x80\x04", b"\x80\x05"), "a pickle"),
    b"%PDF": "a PDF document",
    b"\x89PNG": "a picture",
    **dict.fromkeys((b"<!DOCTYPE", b"<!doctype", b"<html"), "a web page"),
    **dict.fromkeys((b'{"', b'[{"', b"{\n", b"[\n"), "JSON"),
    **dict.fromkeys((b"@relation", b"@RELATION"), "an ARFF file"),
    b"version https://git-lfs": "a pointer of Git LFS to a file",
}


def _holds_arrays(file: Path) -> bool:
    """Whether it is an NPZ file with named arrays; an archive of a single nameless one is an NPY file, compressed."""
    if not first_bytes(file).startswith(ZIP):
        return False
    with zipped(file) as archive:
        names = archive.namelist()
    return "X.npy" in names or (len(names) > 1 and all(name.endswith(".npy") for name in names))
