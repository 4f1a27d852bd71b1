"""What both estimators share: scikit-learn's own class does the checking and the bookkeeping, this project's programs the work."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import get_scorer
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
from sklearn.utils._param_validation import HasMethods, Interval, StrOptions
from sklearn.utils.validation import check_is_fitted, validate_data

from nnaccel.activations import Activation, Identity
from nnaccel.backends import choose_backend
from nnaccel.description import Description
from nnaccel.estimators.intake import row_by_row, stand_in, taken, taken_rows, taken_set
from nnaccel.estimators.lbfgs import fit_lbfgs
from nnaccel.estimators.stochastic import StochasticFit
from nnaccel.estimators.translation import hidden_activations, network_of, plan_of
from nnaccel.losses import Loss
from nnaccel.plan import DTYPES
from nnaccel.prediction import network_outputs

CONSTRAINTS: dict[str, Any] = {
    "activation": [str, Activation, "array-like"],
    "solver": [StrOptions({"lbfgs", "sgd", "adam", "adamw"})],
    "learning_rate": [str, Description],
    "validation_fraction": [Interval(Real, 0, 1, closed="left"), HasMethods("split")],
    "weight_decay": [Interval(Real, 0, None, closed="left")],
    "dropout": [Interval(Real, 0, 1, closed="left"), "array-like"],
    "clip_norm": [Interval(Real, 0, None, closed="neither"), None],
    "scoring": [str, callable, None],
    "callbacks": ["array-like", None],
    "time_limit": [Interval(Real, 0, None, closed="neither"), None],
    "resume": ["boolean"],
    "backend": [str],
    "dtype": [StrOptions(set(DTYPES)), None],
    "threads": [Interval(Integral, 1, None, closed="left"), None],
}
"""What the parameters beyond scikit-learn's may be, and those of its own that may be more here."""

LINK = Identity()
"""The activation of the last layer, whose outputs the loss interprets."""


class Accelerated(BaseMultilayerPerceptron):
    """Stands before scikit-learn's estimator among the bases of ours, and takes over fitting and predicting."""

    _parameter_constraints: ClassVar[dict[str, Any]]
    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]

    def fit(self, X: Any, y: Any, sample_weight: Any = None, eval_set: Any = None) -> Any:
        """Fit to data.

        Parameters
        ----------
        X : array, sparse matrix or table (n, features)
            NumPy's; of pandas, polars or pyarrow; or of PyTorch, CuPy or JAX: what has `__dlpack__`. Floats and narrow whole
            numbers stay where they lie. What lies in a file, as a `numpy.memmap`, and takes more than half of the memory is
            read piece by piece: by the order `BlockShuffled`, the only one that isn't scikit-learn's.
        y : array (n,) or (n, outputs)
        sample_weight : array (n,), optional
            How much each row counts.
        eval_set : (X, y) or (X, y, sample_weight), optional
            A validation set of your own: early stopping watches the score on it, and no rows of the others are held out.

        Returns
        -------
        self
        """
        X, y, sample_weight = taken_rows(X), taken(y, "y"), taken(sample_weight, "sample_weight")
        self._eval_set = taken_set(eval_set, "eval_set")
        try:
            return super().fit(X, y, sample_weight=sample_weight)
        finally:
            del self._eval_set

    def score(self, X: Any, y: Any, sample_weight: Any = None) -> float:
        """The accuracy of a classifier, the coefficient of determination of a regressor; weighted if there are weights."""
        return float(super().score(taken_rows(X), taken(y, "y"), taken(sample_weight, "sample_weight")))

    # --- what scikit-learn's class calls ---

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, np.ndarray]:
        shown = stand_in(X)
        checked, y = super()._validate_input(X if shown is None else shown, y, incremental, reset)
        return row_by_row(checked, X) if shown is None else np.asarray(X), y

    def _initialize(self, y: np.ndarray, layer_units: Sequence[int], dtype: Any) -> None:
        super()._initialize(y, layer_units, self._working_dtype(dtype))

    def _fit_stochastic(self, X: Any, y: np.ndarray, sample_weight: np.ndarray | None, *others: Any) -> None:
        layer_units, incremental = others[-2:]
        program = self._program(layer_units)
        targets = self._targets(y, program.plan.dtype)
        StochasticFit(self, program, X, y, targets, sample_weight, incremental).run()

    def _fit_lbfgs(self, X: Any, y: np.ndarray, sample_weight: np.ndarray | None, *others: Any) -> None:
        program = self._program(others[-1])
        fit_lbfgs(self, program, X, self._targets(y, program.plan.dtype), sample_weight)

    def _score(self, X: Any, y: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
        if self.scoring is None:
            return super()._score(X, y, sample_weight=sample_weight)
        keywords = {} if sample_weight is None else {"sample_weight": sample_weight}
        return float(get_scorer(self.scoring)(self, X, y, **keywords))

    def _forward_pass_fast(self, X: Any, check_input: bool = True) -> np.ndarray:
        outputs = self._outputs(X, check_input)
        return self._loss().predict(outputs, np)

    # --- what an estimator knows of itself ---

    def _outputs(self, X: Any, check_input: bool = True) -> np.ndarray:
        """What the last layer puts out, at the link scale (n, outputs)."""
        if not hasattr(self, "coefs_"):
            check_is_fitted(self)
        if check_input:
            X = self._checked(X)
        activations = (*hidden_activations(self.activation, len(self.coefs_) - 1), LINK)
        return network_outputs(list(zip(self.coefs_, self.intercepts_, activations, strict=True)), X)

    def _loss(self) -> Loss:
        """What the network minimises, once it is known how many outputs it has."""
        raise NotImplementedError

    def _targets(self, y: np.ndarray, dtype: str) -> np.ndarray:
        """Scikit-learn's targets (n, outputs) as the loss takes them."""
        return np.ascontiguousarray(y, dtype)

    def _decoded(self, y: np.ndarray) -> np.ndarray:
        """Targets as the user gave them."""
        return y

    def _stratifies(self) -> bool:
        """Whether the validation set takes from each class in proportion."""
        return is_classifier(self) and self.n_outputs_ == 1

    def _working_dtype(self, dtype: Any) -> Any:
        """The dtype of parameters and arithmetic for data of another."""
        return np.dtype(self.dtype or (dtype if dtype.kind == "f" else "float64"))

    def _program(self, layer_units: Sequence[int]) -> Any:
        """The program that trains the network, on the backend that was asked for."""
        backend, _ = choose_backend(self.backend)
        plan = plan_of(self, network_of(self, layer_units), self._loss(), self.coefs_[0].dtype.name)
        return backend.compile(plan)

    def _checked(self, X: Any) -> Any:
        """Rows as scikit-learn would have them; rows that need no change are let through at once."""
        if (
            type(X) is np.ndarray
            and X.ndim == 2
            and X.dtype.kind == "f"
            and X.shape[1] == self.n_features_in_
            and len(X)
            and not hasattr(self, "feature_names_in_")
            and np.isfinite(X.sum())
        ):
            return X
        return validate_data(self, taken_rows(X), accept_sparse=["csr", "csc"], reset=False)
