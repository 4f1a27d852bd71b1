"""What both estimators share: scikit-learn's own class does the checking and the bookkeeping, this project's programs the work."""

import inspect
import operator
from collections.abc import Sequence
from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn.base import is_classifier
from sklearn.metrics import accuracy_score, get_scorer, r2_score
from sklearn.neural_network._multilayer_perceptron import BaseMultilayerPerceptron
from sklearn.utils import check_random_state
from sklearn.utils.validation import _check_sample_weight, check_is_fitted, validate_data

from nnaccel.activations import Identity, Sigmoid
from nnaccel.backends import choose_backend
from nnaccel.errors import InputError, check
from nnaccel.estimators.intake import row_by_row, stand_in, taken, taken_rows, taken_set
from nnaccel.estimators.lbfgs import fit_lbfgs
from nnaccel.estimators.optimizers import as_ours, optimizer_for
from nnaccel.estimators.stochastic import StochasticFit
from nnaccel.estimators.translation import activations_of, hidden_activations, network_of, plan_of
from nnaccel.losses import HalfSquaredError, Loss
from nnaccel.optimizers import SGD, Optimizer
from nnaccel.plan import Plan
from nnaccel.prediction import network_outputs
from nnaccel.program import Program
from nnaccel.training import check_memory

LINK = Identity()
"""The activation of the last layer, whose outputs the loss interprets."""

PASSING = ("_eval_set", "_checked_rows")
"""What an estimator has only while a method is at work."""


class Accelerated(BaseMultilayerPerceptron):
    """Stands before scikit-learn's estimator among the bases of ours, and takes over fitting and predicting."""

    _parameter_constraints: ClassVar[dict[str, Any]]
    coefs_: list[np.ndarray]
    intercepts_: list[np.ndarray]
    loss_curve_: list[float]
    validation_scores_: list[float] | None
    best_validation_score_: float | None
    best_loss_: float | None

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

    def __getstate__(self) -> dict[str, Any]:
        # A callback may copy or pickle the estimator: the copy isn't at work.
        return {name: value for name, value in super().__getstate__().items() if name not in PASSING}

    # --- what scikit-learn's class calls ---

    def _validate_input(self, X: Any, y: Any, incremental: bool, reset: bool) -> tuple[Any, np.ndarray]:
        shown = stand_in(X)
        checked, y = super()._validate_input(X if shown is None else shown, y, incremental, reset)
        return row_by_row(checked, X) if shown is None else np.asarray(X), y

    def _fit(self, X: Any, y: Any, sample_weight: Any = None, incremental: bool = False) -> Any:
        hidden = self._hidden_units()
        first_pass = not hasattr(self, "coefs_") or not (self.warm_start or incremental)
        X, y = self._validate_input(X, y, incremental, reset=first_pass)
        if sample_weight is not None:
            sample_weight = _check_sample_weight(sample_weight, X)
        sample_weight = self._row_weights(y, sample_weight, incremental)
        y = y.reshape(-1, 1) if y.ndim == 1 else y
        self.n_outputs_ = y.shape[1]
        self._random_state = check_random_state(self.random_state)
        if not is_classifier(self):
            self._check_domain(y)
        if first_pass:
            dtype = np.dtype(self.dtype or (X.dtype if X.dtype.kind == "f" else "float64"))
            units = [X.shape[1], *hidden, self.n_outputs_]
            check_memory(Plan(network_of(self, units), HalfSquaredError(), SGD(), dtype=dtype.name), 1)  # the least
            self._initialize(y, units, dtype)
        if self.solver == "lbfgs":
            program = self._program(SGD())
            fit_lbfgs(self, program, X, self._targets(y, program.plan.dtype), sample_weight)
        else:
            program = self._program(as_ours(optimizer_for(self, incremental)))
            targets = self._targets(y, program.plan.dtype)
            self._begin_watching()
            StochasticFit(self, program, X, y, targets, sample_weight, incremental).run()
        check(
            all(np.isfinite(array).all() for array in self.coefs_ + self.intercepts_),
            "Solver produced non-finite parameter weights. The input data may contain large values and need to be "
            f"preprocessed; or take a smaller learning_rate_init than {self.learning_rate_init:g}, or clip_norm.",
        )
        return self

    def _initialize(self, y: np.ndarray, layer_units: Sequence[int], dtype: Any) -> None:
        super()._initialize(y, layer_units, dtype)
        self.loss_ = np.nan  # unless a time limit is over before the first epoch is
        self.__dict__.pop("_optimizer", None)
        if self.solver == "adamw":  # which scikit-learn doesn't know to be stochastic
            self.loss_curve_, self._no_improvement_count = [], 0
            self.validation_scores_ = self.best_validation_score_ = self.best_loss_ = None

    def _begin_watching(self) -> None:
        """Have what the rule for stopping compares with, also where a warm start goes on by another rule than before."""
        if not hasattr(self, "loss_curve_"):
            self.loss_curve_, self._no_improvement_count = [], 0
            self.validation_scores_ = self.best_validation_score_ = self.best_loss_ = None
        if self.early_stopping and self.best_validation_score_ is None:
            self.validation_scores_, self.best_validation_score_ = [], -np.inf
        if not self.early_stopping and self.best_loss_ is None:
            self.best_loss_ = np.inf

    def _init_coef(self, fan_in: int, fan_out: int, dtype: Any) -> tuple[np.ndarray, np.ndarray]:
        # As scikit-learn draws them, which knows the sigmoid as "logistic" alone (Glorot and Bengio 2010).
        factor = 2.0 if all(isinstance(one, Sigmoid) for one in activations_of(self.activation)) else 6.0
        bound = np.sqrt(factor / (fan_in + fan_out))
        weight, bias = (self._random_state.uniform(-bound, bound, shape) for shape in ((fan_in, fan_out), fan_out))
        return weight.astype(dtype, copy=False), bias.astype(dtype, copy=False)

    def _check_solver(self) -> bool:
        return self.solver == "adamw" or super()._check_solver()

    def _score(self, X: Any, y: np.ndarray, sample_weight: np.ndarray | None = None) -> float:
        if self.scoring is None:
            # As scikit-learn 1.8 does: 1.7 asks labels of text as well whether they are NaN, and so refuses them.
            predicted = self._predict(X, check_input=False)
            if predicted.dtype.kind == "f" and not np.isfinite(predicted).all():
                return np.nan
            usual = accuracy_score if is_classifier(self) else r2_score
            return float(usual(y, predicted, sample_weight=sample_weight))
        scorer = get_scorer(self.scoring)
        takes_weights = sample_weight is not None and "sample_weight" in inspect.signature(scorer).parameters
        keywords = {"sample_weight": sample_weight} if takes_weights else {}
        if not np.isfinite(self._outputs(X, check_input=False)).all():
            return np.nan
        self._checked_rows = X
        try:
            score = scorer(self, X, y, **keywords)
        finally:
            del self._checked_rows
        check(isinstance(score, Real), f"scoring gave {score!r}, which is no number.")
        return float(score)

    def _forward_pass_fast(self, X: Any, check_input: bool = True) -> np.ndarray:
        outputs = self._outputs(X, check_input)
        return self._loss().predict(outputs, np)

    # --- what an estimator knows of itself ---

    def _outputs(self, X: Any, check_input: bool = True) -> np.ndarray:
        """What the last layer puts out, at the link scale (n, outputs)."""
        if not hasattr(self, "coefs_"):
            check_is_fitted(self, "coefs_")
        if check_input:
            X = self._checked(X)
        activations = (*hidden_activations(self.activation, len(self.coefs_) - 1), LINK)
        return network_outputs(list(zip(self.coefs_, self.intercepts_, activations, strict=True)), X)

    def _loss(self) -> Loss:
        """What the network minimises, once it is known how many outputs it has."""
        raise NotImplementedError

    def _check_domain(self, y: np.ndarray) -> None:
        """Raise `InputError` unless the loss makes sense of all targets."""
        loss = self._loss()
        low, high = loss.domain
        if loss.domain != Loss.domain and not (low <= y.min() and y.max() <= high):
            raise InputError(
                f"the loss {loss.name} needs y from {low:g} to {high:g}, but it goes from {y.min():g} to {y.max():g}."
            )

    def _row_weights(self, y: np.ndarray, sample_weight: np.ndarray | None, incremental: bool) -> np.ndarray | None:
        """What the rows weigh, given scikit-learn's targets and the weights of rows."""
        return sample_weight

    def _targets(self, y: np.ndarray, dtype: str) -> np.ndarray:
        """Scikit-learn's targets (n, outputs) as the loss takes them."""
        return np.ascontiguousarray(y, dtype)

    def _decoded(self, y: np.ndarray) -> np.ndarray:
        """Targets as the user gave them."""
        return y

    def _stratifies(self) -> bool:
        """Whether the validation set takes from each class in proportion."""
        return is_classifier(self) and self.n_outputs_ == 1

    def _hidden_units(self) -> list[int]:
        """How many units each hidden layer has; whatever else can be wrong with a network is found out here as well."""
        given = self.hidden_layer_sizes
        units = [operator.index(count) for count in (given if hasattr(given, "__iter__") else [given])]
        check(all(count > 0 for count in units), f"hidden_layer_sizes must be > 0, got {units}.")
        network = network_of(self, [1, *units, 1])
        dropout = any(getattr(layer, "dropout", 0.0) for layer in network.layers)
        check(
            self.solver != "lbfgs" or not (dropout or self.clip_norm),
            "solver='lbfgs' needs the gradient as it is, without dropout or clip_norm: leave those out, or take 'adam'.",
        )
        check(
            self.solver != "lbfgs" or getattr(self, "_eval_set", None) is None,
            "solver='lbfgs' doesn't stop early, so it takes no eval_set: leave it out, or take 'adam'.",
        )
        choose_backend(self.backend)
        return units

    def _program(self, optimizer: Optimizer) -> Program:
        """The program that trains the network that is there, on the backend that was asked for."""
        units = [len(self.coefs_[0]), *map(len, self.intercepts_)]
        # What lbfgs searches for can't be told apart in float32; scikit-learn's doesn't try to.
        dtype = np.dtype(self.dtype or ("float64" if self.solver == "lbfgs" else self.coefs_[0].dtype))
        plan = plan_of(self, network_of(self, units), self._loss(), optimizer, dtype.name)
        return choose_backend(self.backend).backend.compile(plan)

    def _checked(self, X: Any) -> Any:
        """Rows as scikit-learn would have them; rows that need no change are let through at once."""
        if X is not None and getattr(self, "_checked_rows", None) is X:
            return X
        if (
            type(X) is np.ndarray
            and X.ndim == 2
            and X.dtype.kind == "f"
            and X.shape[1] == self.n_features_in_
            and len(X)
            and not hasattr(self, "feature_names_in_")
            and _is_finite(X)
        ):
            return X
        return validate_data(self, taken_rows(X), accept_sparse=["csr", "csc"], reset=False)


def _is_finite(x: np.ndarray) -> bool:
    """Whether all numbers are finite for sure: then so is their sum, unless it overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        return bool(np.isfinite(x.sum()))
