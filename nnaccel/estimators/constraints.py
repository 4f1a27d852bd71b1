"""What the parameters of the estimators may be, for scikit-learn to check."""

from collections.abc import Callable
from numbers import Integral, Real
from typing import Any

import numpy as np
from sklearn.metrics import get_scorer
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions

from nnaccel.errors import check
from nnaccel.estimators.optimizers import schedule_of
from nnaccel.estimators.translation import activations_of
from nnaccel.plan import DTYPES


class Readable(HasMethods):
    """What a function can read; of the kinds of constraints that scikit-learn knows, its base is the one nearest to it.

    Parameters
    ----------
    description : str
        For the message: a parameter "must be ...".
    read : callable
        Raises `ValueError` or `TypeError` if it can't.
    """

    def __init__(self, description: str, read: Callable[[Any], object]) -> None:
        super().__init__("read")
        self.description, self.read = description, read
        self.objection = ""

    def is_satisfied_by(self, val: Any) -> bool:
        try:
            self.read(val)
        except (ValueError, TypeError) as error:
            self.objection = str(error).rstrip(".")
            return False
        return True

    def __str__(self) -> str:
        return f"{self.description} ({self.objection})"


class _Splitter(HasMethods):
    """An object with the method `split`, which strings have, too."""

    def is_satisfied_by(self, val: Any) -> bool:
        return not isinstance(val, str) and super().is_satisfied_by(val)


def _check_callables(values: Any) -> None:
    check(isinstance(values, (list, tuple)), f"{type(values).__name__} is neither a list nor a tuple")
    bad = [value for value in values if not callable(value)]
    check(not bad, f"{bad[:1]} can't be called")


def _check_dtype(value: Any) -> None:
    check(np.dtype(value).name in DTYPES, f"{np.dtype(value).name} isn't supported")


CONSTRAINTS: dict[str, Any] = {
    "activation": [Readable("an activation or its name, or one of them for each hidden layer", activations_of)],
    "solver": [StrOptions({"lbfgs", "sgd", "adam", "adamw"})],
    "learning_rate": [Readable("'constant', 'invscaling', 'adaptive', a schedule or its name", schedule_of)],
    "validation_fraction": [Interval(Real, 0, 1, closed="left"), _Splitter("split")],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
    "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
    "scoring": [Readable("a scorer or the name of one", get_scorer), None],
    "callbacks": [Readable("a list or tuple of callables", _check_callables), None],
    "time_limit": [Interval(Real, 0, None, closed="neither"), None],
    "resume": ["boolean"],
    "backend": [str],
    "dtype": [Readable("'float32' or 'float64'", _check_dtype), None],
    "threads": [Interval(Integral, 1, None, closed="left"), None],
}
"""Beyond scikit-learn's parameters, and those of its own that may be more here."""
