"""The estimators beside scikit-learn's own, of which they take the place: fits, a search, predictions, the import."""

import subprocess
import sys
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from nnaccel.bench.stopwatch import Timing, Turn, rounds

FORMAT, VERSION = "nnaccel-estimators", 1

THEIRS, OURS = "scikit-learn", "nnaccel"

ADULT_COLUMNS = (9, 16, 7, 15, 6, 5, 2, 38)
"""How many words the columns of text have in the census data called adult, beside six columns of numbers."""

CLOSE = 1e-3
"""In float32, in which two trainings drift apart, the last losses may differ by so much of them."""

EQUAL = 1e-9


@dataclass(frozen=True)
class Contest:
    """One thing that both can do.

    Attributes
    ----------
    name : str
    wanted : float
        So many times the speed of scikit-learn's is the goal.
    theirs, ours : callable
    agree : callable
        Says of what both return whether it is the same.
    """

    name: str
    wanted: float
    theirs: Callable[[], Any]
    ours: Callable[[], Any]
    agree: Callable[[Any, Any], bool]


@dataclass(frozen=True)
class Outcome:
    """What a contest came to.

    Attributes
    ----------
    name : str
    wanted : float
    samples : dict of str to tuple of float
        Seconds, by who took them.
    agrees : bool
        Whether both computed the same; otherwise there are no samples.
    """

    name: str
    wanted: float
    samples: dict[str, tuple[float, ...]]
    agrees: bool = True

    @property
    def ratio(self) -> float:
        """How many times as fast as scikit-learn's ours is."""
        return Timing(self.samples[THEIRS]).ratio(Timing(self.samples[OURS]))

    def seconds(self, name: str) -> float:
        """The median of one of both."""
        return Timing(self.samples[name]).median


def adult_shaped(dtype: str, rows: int = 32_561) -> tuple[np.ndarray, np.ndarray]:
    """Rows as those of adult, encoded: six numbers, and zeros with a one for each column of text; and two classes."""
    random = np.random.default_rng(0)
    blocks = [np.eye(words)[random.integers(0, words, rows)] for words in ADULT_COLUMNS]
    x = np.concatenate([random.standard_normal((rows, 6)), *blocks], axis=1)
    score = x @ random.standard_normal(x.shape[1]) + random.standard_normal(rows)
    return x.astype(dtype), (score > np.quantile(score, 0.76)).astype(int)


def mnist_shaped(dtype: str, rows: int = 20_000) -> tuple[np.ndarray, np.ndarray]:
    """Rows of 784 numbers, most of them zero, and ten classes."""
    random = np.random.default_rng(0)
    x = random.random((rows, 784)) * (random.random((rows, 784)) < 0.2)
    return x.astype(dtype), (x @ random.standard_normal((784, 10))).argmax(axis=1)


def digits() -> tuple[np.ndarray, np.ndarray]:
    """Scikit-learn's digits."""
    from sklearn.datasets import load_digits

    x, y = load_digits(return_X_y=True)
    return x, y


def contests() -> Iterator[Contest]:
    """All of them, each made ready when it is its turn."""
    yield _fit("fit, adult-shaped, float32", 5.0, adult_shaped("float32"), max_iter=5)
    yield _fit("fit, adult-shaped, float64", 2.5, adult_shaped("float64"), max_iter=5)
    yield _fit("fit, digits", 4.0, digits(), max_iter=100)
    yield _fit("fit, MNIST-shaped, float32", 3.0, mnist_shaped("float32"), max_iter=4)
    yield _search("GridSearchCV, 20 candidates, digits", 4.0)
    yield from _predictions()
    yield _import("import", 1 / 1.2)


def _estimators() -> tuple[Any, Any]:
    from sklearn.neural_network import MLPClassifier as Theirs

    from nnaccel.estimators import MLPClassifier as Ours

    return Theirs, Ours


def _fit(name: str, wanted: float, data: tuple[np.ndarray, np.ndarray], max_iter: int) -> Contest:
    """Default estimators, but for the number of epochs."""
    theirs, ours = (lambda kind=kind: kind(max_iter=max_iter, random_state=0).fit(*data) for kind in _estimators())
    close = CLOSE if data[0].dtype == np.float32 else EQUAL
    return Contest(name, wanted, theirs, ours, lambda a, b: bool(abs(a.loss_ - b.loss_) <= close * a.loss_))


def _search(name: str, wanted: float) -> Contest:
    from sklearn.model_selection import GridSearchCV

    grid = {"alpha": np.logspace(-5, -1, 5).tolist(), "learning_rate_init": [3e-4, 1e-3, 3e-3, 1e-2]}
    theirs, ours = (
        lambda kind=kind: GridSearchCV(kind(max_iter=100, random_state=0), grid, cv=2).fit(*digits())
        for kind in _estimators()
    )
    return Contest(name, wanted, theirs, ours, lambda a, b: bool(a.best_params_ == b.best_params_))


def _predictions() -> Iterator[Contest]:
    x, y = digits()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs, ours = (kind(max_iter=20, random_state=0).fit(x, y) for kind in _estimators())
    model, one, many = replace(ours.to_model(), encoding=None), x[:1], np.tile(x, (20, 1))

    def equal(a: np.ndarray, b: np.ndarray) -> bool:
        return bool((a == b).all())

    yield Contest("predict, one row", 2.0, lambda: theirs.predict(one), lambda: ours.predict(one), equal)
    yield Contest(
        "Model.predict, one row", 5.0, lambda: theirs.predict(one), lambda: ours.classes_[model.predict(one)], equal
    )
    yield Contest(f"predict, {len(many):,} rows", 1.0, lambda: theirs.predict(many), lambda: ours.predict(many), equal)


def _import(name: str, wanted: float) -> Contest:
    def importing(package: str) -> Callable[[], Any]:
        command = [sys.executable, "-c", f"from {package} import MLPClassifier"]
        return lambda: subprocess.run(command, check=True).returncode

    return Contest(name, wanted, importing("sklearn.neural_network"), importing("nnaccel"), lambda a, b: bool(a == b))


def measure_contest(contest: Contest, most_rounds: int, seconds: float) -> Outcome:
    """Check a contest, then time both in turn, until there are so many rounds, or three and the time is over."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # few epochs don't converge
        if not contest.agree(contest.theirs(), contest.ours()):
            return Outcome(contest.name, contest.wanted, {}, agrees=False)
        began, outcome = time.perf_counter(), Outcome(contest.name, contest.wanted, {THEIRS: (), OURS: ()})
        for taken in rounds({THEIRS: Turn(contest.theirs), OURS: Turn(contest.ours)}):
            outcome = replace(outcome, samples={name: (*outcome.samples[name], taken[name]) for name in taken})
            count = len(outcome.samples[OURS])
            if count >= most_rounds or (count >= 3 and time.perf_counter() - began > seconds):
                return outcome
    raise AssertionError("rounds go on until the caller stops")


def outcome_line(outcome: Outcome) -> str:
    """One line of the table whose head is `HEAD`."""
    if not outcome.agrees:
        return f"{outcome.name:<38} they don't agree, so neither was timed"
    theirs, ours = (outcome.seconds(name) * 1e3 for name in (THEIRS, OURS))
    return f"{outcome.name:<38}{theirs:14.4g}{ours:12.4g}{outcome.ratio:8.2f} x{outcome.wanted:8.2f} x"


HEAD = f"{'milliseconds':<38}{THEIRS:>14}{OURS:>12}{'ratio':>10}{'wanted':>10}"


def describe(outcomes: Sequence[Outcome], conditions: dict[str, Any]) -> dict[str, Any]:
    """All samples for JSON, with the conditions under which they were taken."""
    return {
        "format": FORMAT,
        "version": VERSION,
        **conditions,
        "outcomes": [
            {"name": outcome.name, "wanted": outcome.wanted, "agrees": outcome.agrees, "samples": outcome.samples}
            for outcome in outcomes
        ],
    }
