"""The formats: their valid files, how these are damaged, and who reads them."""

import contextlib
import io
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from random import Random

from nnaccel.bench import compare
from nnaccel.bench.reading import KINDS, read_result
from nnaccel.bench.report import page
from nnaccel.bench.schema import FORMAT
from nnaccel.checkpoint_file import read_checkpoint, read_header
from nnaccel.cli import run
from nnaccel.cost import Workload, epoch_seconds
from nnaccel.errors import InputError
from nnaccel.kernels import cache
from nnaccel.model import load
from nnaccel.preparation import Question, Roles, prepare
from nnaccel.profile import read_profile
from nnaccel.records import accuracy
from nnaccel.sources.opening import open_source
from tests.fuzz import mutation, valid

MOST_BYTES = 1 << 20
"""Of a file, however often something was repeated in it."""


@dataclass(frozen=True)
class Format:
    """A format.

    Attributes
    ----------
    file : str
        What a file is called; what has to lie in the cache folder lies there.
    valid : callable
        Gives the valid files.
    mutate : callable
        Damages one of them.
    read : callable
        Reads a file in all ways that there are; it is also told the file's number, as not every file goes every way.
    """

    file: str
    valid: Callable[[], list[bytes]]
    mutate: mutation.Mutate
    read: Callable[[Path, int], None]

    def content(self, name: str, number: int) -> bytes:
        """The damaged file of a number."""
        random = Random(f"{name} {number}")
        files = self.valid()
        return self.mutate(random, files[number % len(files)])[:MOST_BYTES]


def _command(*arguments: object) -> None:
    """Run a command, which ends well, or with the exit code 2 and one line on stderr."""
    out, errors = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(errors):
        code = run([str(argument) for argument in arguments])
    lines = errors.getvalue().splitlines()
    assert code in (0, 2), f"exit code {code}"
    assert code == 0 or len(lines) == 1, f"{len(lines)} lines on stderr: {lines[:5]}"
    if code == 2:
        raise InputError(lines[0])


def _read_model(path: Path, number: int) -> None:
    model = load(path)
    if model.encoding is not None:
        with contextlib.suppress(InputError):  # its columns may be others now, and no file is at fault
            model.predict(valid.FRAME)
    _command("info", path)
    _command("info", path, "--json")


def _read_checkpoint(path: Path, number: int) -> None:
    read_header(path)
    read_checkpoint(path, valid.FRAME_OF_CHECKPOINT)


def _read_profile(path: Path, number: int) -> None:
    machine = read_profile(path)
    assert machine.summary()
    for profile in machine.backends.values():
        epoch_seconds(Workload(valid.FRAME_PLAN, 1000, 32), profile)
    if number % 100 == 0:
        rows = ("--rows", "1000", "--features", "8", "--classes", "2")
        _command("estimate", *rows, "--backend", "cpu", "--budget", "0.01s", "--machine", path)


def _read_records(path: Path, number: int) -> None:
    found = accuracy()
    assert found.lines
    assert found.describe()


def _read_result(path: Path, number: int) -> None:
    found = read_result(path, *KINDS)
    assert page([found])
    if found.get("format") == FORMAT:
        assert list(compare.comparison_lines(compare.read_results([path, path])))


def _read_kernel(path: Path, number: int) -> None:
    body = cache.read(path.name)
    assert body in (None, bytes(range(256)) * 4), "a damaged kernel is taken for a sound one"


def _read_table(path: Path, number: int) -> None:
    source = open_source(str(path))
    table = source.read({name: position for position, name in enumerate(source.columns)})
    for name in source.columns[:50]:
        assert len(table.text(name).codes) == len(table.missing(name)) == len(table) > 0
    # What can't be learnt is no fault of the file, and the sentence names what is asked for.
    target = source.targets[0] if source.targets else str(len(source.columns) - 1)
    with contextlib.suppress(InputError):
        prepare(source, Question(Roles(target)))


def _table(suffix: str, files: Callable[[], list[bytes]], mutate: mutation.Mutate) -> Format:
    return Format(f"culprit.{suffix}", files, mutate, _read_table)


def _packed(name: str, pack: Callable[[bytes], bytes]) -> Format:
    def mutate(random: Random, content: bytes) -> bytes:
        inner = mutation.npy_file if content.startswith(b"\x93NUMPY") else mutation.text_file
        return mutation.packed(pack, inner)(random, content)

    return _table(name, lambda: [*valid.texts()[:2], valid.npys()[0]], mutate)


FORMATS: dict[str, Format] = {
    "model": Format("culprit.safetensors", valid.models, mutation.safetensors_file("nnaccel"), _read_model),
    "checkpoint": Format(
        "culprit.safetensors", valid.checkpoints, mutation.safetensors_file("nnaccel_checkpoint"), _read_checkpoint
    ),
    "profile": Format("culprit.json", valid.profiles, mutation.json_file, _read_profile),
    "records": Format("records.jsonl", valid.records, mutation.json_lines, _read_records),
    "result": Format("culprit.json", valid.results, mutation.json_file, _read_result),
    "kernel": Format("culprit.o", valid.kernels, mutation.damaged, _read_kernel),
    "text": _table("csv", valid.texts, mutation.text_file),
    "npy": _table("npy", valid.npys, mutation.npy_file),
    "npz": _table("npz", valid.npzs, mutation.npz_file),
    "idx": _table("idx", valid.idxs, mutation.idx_file),
    "parquet": _table("parquet", valid.parquets, mutation.damaged_end),
    **{name: _packed(name, pack) for name, pack in valid.PACKINGS.items()},
}
"""Every format by name."""
