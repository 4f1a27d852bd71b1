"""Valid files of every format, as bytes, which are the same in every process."""

import bz2
import gzip
import io
import json
import lzma
import tempfile
import zipfile
from dataclasses import asdict
from datetime import date
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet

from nnaccel.checkpoint_file import Checkpoint, Frame, write_checkpoint
from nnaccel.kernels.cache import _sealed
from nnaccel.losses import MeanSquaredError, SoftmaxCrossEntropy
from nnaccel.model import Model
from nnaccel.network import Dense, Network
from nnaccel.optimizers import Adam
from nnaccel.plan import Plan
from nnaccel.preparation import Question, Roles, prepare
from nnaccel.program import TrainingState
from nnaccel.progress import Best, Progress
from nnaccel.records import Record
from nnaccel.report import History, TrainingReport
from nnaccel.schedules import PlateauState
from nnaccel.sources.frames import FrameSource
from tests import bench_results
from tests.test_cost import make_machine, make_profile

FRAME = {
    "age": [31.0, 45.0, np.nan, 28.0] * 6,
    "town": ["Bonn", "Kiel", "Ulm", ""] * 6,
    "joined": ["2024-01-31", "2023-05-01", "2022-11-11", "2024-02-29"] * 6,
    "rich": ["no", "yes", "maybe", "no"] * 6,
}

FRAME_PLAN = Plan(Network(4, [Dense(3, "tanh"), Dense(2)]), SoftmaxCrossEntropy(), Adam())
FRAME_OF_CHECKPOINT = Frame(FRAME_PLAN, 7, ("validation_loss",))


def models() -> list[bytes]:
    """A model of a table, and one of an array."""
    encoding = prepare(FrameSource(FRAME), Question(Roles("rich"))).encoding
    network = Network(encoding.width, [Dense(5, "leaky_relu,slope=0.1", dropout=0.1), Dense(3)])
    table = Model(network, SoftmaxCrossEntropy(), network.initial_parameters(0, "float32"), encoding, _report())
    small = Network(2, [Dense(3, "tanh", bias=False), Dense(1)])
    return [
        _written(model.save)
        for model in (table, Model(small, MeanSquaredError(), small.initial_parameters(0, "float64")))
    ]


def _report() -> TrainingReport:
    history = History()
    history.extend({"epoch": [1, 2], "train_loss": [0.5, 0.25], "validation_loss": [0.6, 0.3]})
    return TrainingReport(
        "cpu", "reference", "as asked for", 0.25, 0.125, 2, 1, 24, 0.5, {"accuracy": 0.75}, history, "epochs",
        {"optimizer": "adam", "batch size": "8"}, {"accuracy": 0.5}, {"source": "people.csv"}, "2026-01-02T03:04:05+00:00",
    )  # fmt: skip


def checkpoints() -> list[bytes]:
    """One in the middle of an epoch, and one of a training that has only begun."""
    vector = np.arange(FRAME_PLAN.network.size, dtype=np.float32)
    state, begun = (TrainingState(vector / 100, (vector, vector + 1), count, 2**70) for count in (16, 1))
    history = History()
    history.extend({
        "epoch": [1, 2], "train_loss": [0.5, 0.25], "penalty": [0.0, 0.0], "learning_rate": [0.1, 0.1],
        "validation_loss": [0.6, np.inf],
    })  # fmt: skip
    best = Best(0.6, 1, TrainingState(vector / 50, (vector, vector), 7, 3), 1)
    late = Progress(2, 2, [np.ones((2, 3))], 1.5, history, best, 1, PlateauState(0.5, np.inf, 1))
    early = Progress(0, 1, [np.ones((1, 3))], 0.5, History(), None, 0, PlateauState())
    both = Checkpoint({"seed": "1"}, "cpu", 9, state, late), Checkpoint({"seed": "1"}, "cpu", 9, begun, early)
    return [_written(lambda path, each=each: write_checkpoint(path, each)) for each in both]


def profiles() -> list[bytes]:
    """A machine with two backends."""
    machine = make_machine(cpu=make_profile(), numba=make_profile(True, device_bytes=7, transfer_bytes_per_s=1e9))
    return [json.dumps(machine.describe()).replace("Infinity", "null").encode()]


def records() -> list[bytes]:
    """Lines of two trainings that were compared with their estimates."""
    record = Record("2026-01-02T03:04:05+00:00", "cpu", "trial", 1.0, 1.1, 0.8, 1.25, 3, 1000, 32, 51)
    return [(json.dumps(asdict(record)) + "\n").encode() * 2]


def results() -> list[bytes]:
    """A suite, a scaling and the outcome of estimates."""
    suite = bench_results.suite(
        bench_results.case({"numba": [0.1, 0.2, 0.3], "numpy": [1.0, 1.1, 1.2]}),
        goal=bench_results.goal({"numba": [0.1, 0.2]}),
    )
    return [json.dumps(each).encode() for each in (suite, bench_results.scaling(), bench_results.estimates())]


def kernels() -> list[bytes]:
    """What lies in the cache of compiled kernels."""
    return [_sealed(bytes(range(256)) * 4)]


def texts() -> list[bytes]:
    """CSV and its kin."""
    columns = zip(*({name: map(str, cells) for name, cells in FRAME.items()}.values()), strict=True)
    rows = [list(FRAME), *([cell.replace("nan", "") for cell in row] for row in columns)]
    comma, tab, semicolon = ("\n".join(map(mark.join, rows)) for mark in (",", "\t", ";"))
    quoted = '"a","b"\r\n"x ""y""\nz",1\r\n"",2\r\n\r\n"w",3\r\n'
    numbers = "x,y,code\n" + "1.5,2,007\n-3e5,nan,010\n,4,012\n" * 5
    return [comma.encode(), tab.encode(), semicolon.encode("utf-16"), quoted.encode(), numbers.encode()]


def npys() -> list[bytes]:
    """Matrices of several types, one of them by columns."""
    matrix = np.arange(24.0).reshape(8, 3)
    return [
        npy(matrix),
        npy(np.asfortranarray(matrix.astype("<f4"))),
        npy(np.arange(16, dtype=">i2").reshape(2, 2, 2, 2)),
    ]


def npy(array: np.ndarray) -> bytes:
    """An NPY file."""
    out = io.BytesIO()
    np.save(out, array)
    return out.getvalue()


def npzs() -> list[bytes]:
    """Archives of arrays, compressed and not."""
    arrays = {"X.npy": npys()[0], "y.npy": npy(np.array(["a", "b"] * 4))}
    return [zipped(arrays), zipped(arrays, zipfile.ZIP_STORED), zipped({"arr_0.npy": npys()[1]})]


def idxs() -> list[bytes]:
    """Images of two types."""
    bytes_ = np.arange(24, dtype=np.uint8)
    return [
        b"\0\0\x08\x03" + b"".join(n.to_bytes(4, "big") for n in (4, 2, 3)) + bytes_.tobytes(),
        b"\0\0\x0d\x02" + b"".join(n.to_bytes(4, "big") for n in (8, 3)) + bytes_.astype(">f4").tobytes(),
    ]


def parquets() -> list[bytes]:
    """Tables in row groups, with dictionaries and without, compressed and not."""
    table = pa.table({
        "number": [1.5, None, 3.0] * 20, "whole": list(range(60)), "word": ["red", "green", None] * 20,
        "flag": [True, False, None] * 20, "day": [date(2024, 2, 29)] * 60,
    })  # fmt: skip
    coded = table.set_column(2, "word", table["word"].dictionary_encode())
    options = [
        (table, {"compression": "none", "use_dictionary": False}), (coded, {"row_group_size": 25}),
        (table, {"compression": "zstd", "data_page_version": "2.0"}), (table, {"compression": "gzip"}),
    ]  # fmt: skip
    return [_parquet(content, **each) for content, each in options]


def _parquet(table: pa.Table, **options: object) -> bytes:
    out = io.BytesIO()
    pyarrow.parquet.write_table(table, out, **options)
    return out.getvalue()


def zipped(files: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A ZIP archive, whose files have the same date whenever it is made."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, content in files.items():
            # Twice the same name is a warning of the one who writes.
            archive.NameToInfo.clear()
            archive.writestr(zipfile.ZipInfo(name), content, method)
    return out.getvalue()


def _written(write: object) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "x")
        write(path)
        return path.read_bytes()


PACKINGS = {
    "gzip": lambda content: gzip.compress(content, mtime=0),
    "bzip2": bz2.compress,
    "xz": lzma.compress,
    "zip": lambda content: zipped({"x.csv": content}),
    # A frame of one raw block: the standard library has no zstandard before Python 3.14.
    "zstd": lambda content: (
        b"\x28\xb5\x2f\xfd\xa0"
        + len(content).to_bytes(4, "little")
        + (len(content) << 3 | 1).to_bytes(3, "little")
        + content
    ),
}
"""What compresses a file, by name."""
