"""How fast tables become predictions, and in how much memory.

    python -m nnaccel.bench.tables [CSV TARGET]

Reads and encodes a table, in a fresh process each time; predicts a million rows; trains on a large table and looks at the
peak of the memory. The table is made up in the shape of the census data that textbooks use, unless a CSV file without a
header and the position of its target are given. The exit code is 1 if a target is missed.
"""

import csv
import importlib.util
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnaccel.encoding import plain_encoding
from nnaccel.losses import as_loss
from nnaccel.model import Model
from nnaccel.network import Dense, Network
from nnaccel.targets import Target

ROUNDS = 5

_READ = """
import sys
from nnaccel.preparation import Question, Roles, prepare
from nnaccel.sources import FileOptions
from nnaccel.sources.opening import open_source
prepared = prepare(open_source(sys.argv[1], FileOptions(header=False)), Question(Roles(target=sys.argv[2])))
print(prepared.training.x.nbytes + prepared.held_out.x.nbytes)
"""

_TRAIN = """
import sys
from nnaccel.cli import run
run(["train", sys.argv[1], "--no-header", "--target", sys.argv[2], "--epochs", "2", "--batch-size", "512", "--quiet"])
status = open("/proc/self/status").read()
print(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])
"""


@dataclass(frozen=True)
class Finding:
    """One measurement beside its target.

    Attributes
    ----------
    what, unit : str
    value, target : float
        It should be below the target.
    """

    what: str
    value: float
    unit: str
    target: float

    @property
    def met(self) -> bool:
        """Whether it is below the target."""
        return self.value < self.target

    def __str__(self) -> str:
        return (
            f"{self.what:62} {self.value:7.2f} {self.unit}  target {self.target:g}, {'met' if self.met else 'MISSED'}"
        )


def write_census(path: Path, rows: int = 32_561) -> None:
    """Write a CSV file in the shape of the census data: 6 numbers, 8 columns of text with gaps, two classes."""
    random = np.random.default_rng(0)
    numbers = [random.integers(17, 90, rows), random.integers(12_000, 1_480_000, rows), random.integers(1, 17, rows)]
    numbers += [random.integers(0, 100_000, rows) * (random.random(rows) < 0.08) for _ in range(2)]
    numbers += [random.integers(1, 100, rows)]
    texts = []
    for words in (8, 16, 7, 14, 6, 5, 2, 41):
        different = np.array([f"word-{k}-of-{words}" for k in range(words)])
        texts.append(np.where(random.random(rows) < 0.02, "?", different[random.zipf(1.5, rows) % words]))
    target = np.where(numbers[0] / 90 + numbers[2] / 17 + random.normal(0, 0.3, rows) > 1.3, ">50K", "<=50K")
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(zip(*numbers, *texts, target, strict=True))


def write_numbers(path: Path, rows: int, columns: int) -> None:
    """Write a CSV file of numbers, the last column of which is the target of a regression."""
    x = np.random.default_rng(0).standard_normal((rows, columns))
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(np.round(np.column_stack([x, x[:, :5].sum(axis=1)]), 5).tolist())


def write_parquet(path: Path) -> Path:
    """Write the numbers of a CSV file as Parquet beside it."""
    arrow: Any = importlib.import_module("pyarrow")
    x = np.loadtxt(path, delimiter=",")
    table = arrow.table({str(k): column for k, column in enumerate(x.T)})
    importlib.import_module("pyarrow.parquet").write_table(table, path.with_suffix(".parquet"))
    return path.with_suffix(".parquet")


def reading(path: Path, target: str) -> Finding:
    """Seconds from the start of Python until the table is read and encoded."""
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        _run(_READ, path, target)
        seconds.append(time.perf_counter() - began)
    return Finding(f"{path.name}: start Python, read and encode", statistics.median(seconds), "s", 1.0)


def predicting(encoded: bool, rows: int = 1_000_000, features: int = 100) -> Finding:
    """Seconds to predict many rows of numbers, as a network takes them or through an encoding."""
    network, loss = Network(features, [Dense(100, "relu"), Dense(10)]), as_loss("softmax_cross_entropy")
    encoding = plain_encoding(features, Target(("target",), "classification", tuple(range(10)))) if encoded else None
    model = Model(network, loss, network.initial_parameters(0, "float32"), encoding)
    x = np.random.default_rng(0).standard_normal((rows, features), dtype=np.float32)
    seconds = []
    for _ in range(ROUNDS):
        began = time.perf_counter()
        model.predict(x)
        seconds.append(time.perf_counter() - began)
    how = "through an encoding" if encoded else "as they are"
    what = f"predict {rows:,} rows of {features} columns {how}"
    return Finding(what, statistics.median(seconds), "s", 3.0)


def training_memory(path: Path, target: str, small: Path) -> Finding:
    """The peak of a training's memory beyond that of a training on next to nothing, in sizes of the encoded matrix."""
    encoded = int(_run(_READ, path, target))
    peaks = [1024 * int(_run(_TRAIN, each, target)) for each in (path, small)]
    what = f"{path.name}: peak memory of training, per encoded byte ({encoded / 1e6:.0f} MB)"
    return Finding(what, (peaks[0] - peaks[1]) / encoded, "x", 4.0)


def findings(table: Path | None, target: str) -> Iterator[Finding]:
    """All measurements, one after the other."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        census = folder / "census.csv"
        write_census(census)
        yield reading(census if table is None else table, target)
        yield predicting(encoded=False)
        yield predicting(encoded=True)
        if not Path("/proc/self/status").exists():
            return
        large, small, wide = folder / "numbers.csv", folder / "few-numbers.csv", folder / "categories.csv"
        write_numbers(large, 300_000, 50)
        write_numbers(small, 300, 50)
        yield training_memory(large, "-1", small)
        write_census(wide, 300_000)
        yield training_memory(wide, "-1", small)
        if importlib.util.find_spec("pyarrow") is not None:
            parquet = [write_parquet(path) for path in (large, small)]
            yield training_memory(parquet[0], "-1", parquet[1])


def _run(code: str, path: Path, target: str) -> str:
    done = subprocess.run([sys.executable, "-c", code, str(path), target], capture_output=True, text=True, check=True)
    return done.stdout


def main(arguments: list[str]) -> int:
    """Measure, print a line for each finding, and return the exit code."""
    if len(arguments) not in (0, 2):
        print("give a CSV file without a header and the position of its target, or neither.", file=sys.stderr)
        return 2
    met = True
    for finding in findings(*(Path(arguments[0]), arguments[1]) if arguments else (None, "-1")):
        print(finding, flush=True)
        met &= finding.met
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
