"""Fit, predict, save and load in one process, for as long as one likes, and watch what it holds.

`python -m tests.soak --minutes 60` prints what it sees once a minute, and ends with 1 if memory grew, if file descriptors or
threads were left behind, or if one training ever came out otherwise than the time before. Linux only.
"""

import argparse
import gc
import hashlib
import math
import os
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np

import nnaccel

MOST_GROWTH = 8 << 20
"""Bytes by which memory may grow from the second quarter of the time to the last: what allocators need for themselves."""

WIDTHS = 100
"""So many networks take turns: more than a backend keeps programs for, so that some are always let go."""


class Figures(NamedTuple):
    """What the process holds after some rounds."""

    rounds: int
    seconds: float
    resident: int
    descriptors: int
    threads: int


class Soaked(NamedTuple):
    """What was seen, and in which rounds a training came out otherwise than before."""

    figures: list[Figures]
    changed: list[int]


def soak(folder: Path, seconds: float = math.inf, rounds: float = math.inf, looks: int = 60) -> Iterator[Soaked]:
    """Work for so long, or so many rounds, and say so many times meanwhile what was seen so far."""
    data, digests = _data(), {}
    for number in range(4):  # what is loaded at first use
        work(number, data, folder)
    figures, changed, done, began = [], [], 0, time.perf_counter()
    while True:
        passed = time.perf_counter() - began
        share = max(passed / seconds, done / rounds)
        if share * looks >= len(figures) or share >= 1:
            figures.append(_figures(done, passed, figures[0].threads if figures else None))
            yield Soaked(figures, changed)
        if share >= 1:
            return
        digest = work(done, data, folder)
        if digests.setdefault(done % (2 * WIDTHS), digest) != digest:
            changed.append(done)
        done += 1


def work(number: int, data: tuple[np.ndarray, np.ndarray], folder: Path) -> str:
    """One round, by `train` and by an estimator in turn; the digest of what it learnt and predicted."""
    backend = ("numba", "cpu")[number // 2 % 2]
    predictions = (_by_train if number % 2 else _by_estimator)(4 + number % WIDTHS, backend, data, folder)
    return hashlib.sha256(predictions.tobytes()).hexdigest()


def faults(soaked: Soaked) -> list[str]:
    """What has gone wrong, a sentence each."""
    first, last = soaked.figures[0], soaked.figures[-1]
    growth = memory_growth(soaked.figures)
    sentences = {
        f"memory grew by {growth / 1e6:.1f} MB.": growth > MOST_GROWTH,
        f"{last.descriptors} file descriptors instead of {first.descriptors}.": last.descriptors > first.descriptors,
        f"{last.threads} threads instead of {first.threads}.": last.threads > first.threads,
        f"rounds {soaked.changed[:5]} came out otherwise than before.": bool(soaked.changed),
    }
    return [sentence for sentence, holds in sentences.items() if holds]


def memory_growth(figures: list[Figures]) -> float:
    """Bytes from the second quarter to the last, the median of each: the first quarter fills what is kept for good."""
    resident = [one.resident for one in figures]
    quarter = max(1, len(resident) // 4)
    return float(np.median(resident[-quarter:]) - np.median(resident[quarter : 2 * quarter]))


def slope(figures: list[Figures]) -> float:
    """Bytes an hour, by a straight line through all but the first quarter."""
    later = figures[len(figures) // 4 :]
    return float(3600 * np.polyfit([one.seconds for one in later], [one.resident for one in later], 1)[0])


def _by_train(width: int, backend: str, data: tuple[np.ndarray, np.ndarray], folder: Path) -> np.ndarray:
    x, y = data
    network = nnaccel.Network(x.shape[1], [nnaccel.Dense(width, "tanh"), nnaccel.Dense(3)])
    with tempfile.TemporaryDirectory(dir=folder) as checkpoints:
        model = nnaccel.train(network, x, y, epochs=2, validation=0.2, backend=backend, checkpoint=checkpoints)
    return _read_back(model, nnaccel.load, x, folder)


def _by_estimator(width: int, backend: str, data: tuple[np.ndarray, np.ndarray], folder: Path) -> np.ndarray:
    x, y = data
    classifier = nnaccel.MLPClassifier((width,), max_iter=2, tol=0, n_iter_no_change=3, random_state=0, backend=backend)
    return _read_back(classifier.partial_fit(x, y, classes=[0, 1, 2]), nnaccel.MLPClassifier.load, x, folder)


def _read_back(fitted, load, x: np.ndarray, folder: Path) -> np.ndarray:
    """What a model predicts, which is what it predicts once it has been saved and loaded."""
    path = folder / "model.safetensors"
    fitted.save(path)
    predictions = fitted.predict_proba(x)
    np.testing.assert_array_equal(load(path).predict_proba(x), predictions)
    return predictions


def _data() -> tuple[np.ndarray, np.ndarray]:
    draw = np.random.default_rng(0)
    x = draw.standard_normal((2000, 32)).astype(np.float32)
    return x, (x[:, :3] + draw.standard_normal((2000, 3))).argmax(axis=1)


def _figures(rounds: int, seconds: float, threads: int | None) -> Figures:
    gc.collect()
    if threads is not None:
        settle(threads)
    resident = int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return Figures(rounds, seconds, resident, _count("/proc/self/fd"), _threads())


def settle(threads: int) -> None:
    """Wait for threads whose work is done to go: the system takes a moment."""
    for _ in range(100):
        if _threads() <= threads:
            return
        time.sleep(0.01)


def _threads() -> int:
    return _count("/proc/self/task")


def _count(folder: str) -> int:
    return sum(1 for _ in Path(folder).iterdir())


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0)
    minutes = parser.parse_args().minutes
    with tempfile.TemporaryDirectory() as folder:
        for soaked in soak(Path(folder), 60 * minutes, looks=max(20, round(minutes))):
            last = soaked.figures[-1]
            print(
                f"{last.seconds / 60:6.1f} min {last.rounds:8d} rounds {last.resident / 1e6:8.1f} MB "
                f"{last.descriptors} descriptors {last.threads} threads",
                flush=True,
            )
    print(f"memory: {slope(soaked.figures) / 1e6:+.2f} MB an hour", *faults(soaked), sep="\n")
    return 1 if faults(soaked) else 0


if __name__ == "__main__":
    raise SystemExit(main())
