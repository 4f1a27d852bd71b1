"""`MLPRegressor`, for scikit-learn's."""

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from sklearn import neural_network as theirs
from sklearn.utils.metaestimators import available_if

from nnaccel.estimators.accelerated import Accelerated
from nnaccel.estimators.constraints import CONSTRAINTS, Readable
from nnaccel.estimators.documentation import FURTHER_PARAMETERS, PARAMETERS
from nnaccel.estimators.exchange import Exchange
from nnaccel.estimators.intake import taken, taken_rows
from nnaccel.estimators.translation import regression_loss
from nnaccel.losses import Loss


class MLPRegressor(Exchange, Accelerated, theirs.MLPRegressor):
    __doc__ = f"""A regressor that is trained by this project's programs, for all that scikit-learn's can do, and more.

    With the same data and the same `random_state` it draws the same parameters, validation set and orders of rows, and in
    float64 it learns what scikit-learn's learns.

    Parameters
    ----------
    loss : str or Loss, default="squared_error"
        "squared_error"; "poisson", for counts and rates, with an exponential after the last layer; "absolute_error";
        "huber"; or another of `nnaccel.losses`, such as "huber,delta=0.5".
{PARAMETERS}
{FURTHER_PARAMETERS}

    Examples
    --------
    >>> from sklearn.datasets import load_diabetes
    >>> from nnaccel import MLPRegressor
    >>> X, y = load_diabetes(return_X_y=True)
    >>> regressor = MLPRegressor(loss="huber", learning_rate_init=0.05, max_iter=500, random_state=0).fit(X, y)
    >>> bool(regressor.score(X, y) > 0.5)
    True
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **theirs.MLPRegressor._parameter_constraints,
        **CONSTRAINTS,
        "loss": [Readable("a loss or its name", regression_loss)],
    }

    def __init__(
        self,
        loss: Any = "squared_error",
        hidden_layer_sizes: Any = (100,),
        activation: Any = "relu",
        *,
        solver: str = "adam",
        alpha: float = 0.0001,
        batch_size: Any = "auto",
        learning_rate: Any = "constant",
        learning_rate_init: float = 0.001,
        power_t: float = 0.5,
        max_iter: int = 200,
        shuffle: bool = True,
        random_state: Any = None,
        tol: float = 1e-4,
        verbose: Any = False,
        warm_start: bool = False,
        momentum: float = 0.9,
        nesterovs_momentum: bool = True,
        early_stopping: bool = False,
        validation_fraction: Any = 0.1,
        beta_1: float = 0.9,
        beta_2: float = 0.999,
        epsilon: float = 1e-8,
        n_iter_no_change: Any = 10,
        max_fun: int = 15000,
        weight_decay: float = 0.01,
        dropout: Any = 0.0,
        clip_norm: float | None = None,
        scoring: Any = None,
        callbacks: Any = None,
        time_limit: float | None = None,
        resume: bool = False,
        backend: str = "auto",
        dtype: str | None = None,
        threads: int | None = None,
    ) -> None:
        super().__init__(
            loss=loss, hidden_layer_sizes=hidden_layer_sizes, activation=activation, solver=solver, alpha=alpha,
            batch_size=batch_size, learning_rate=learning_rate, learning_rate_init=learning_rate_init, power_t=power_t,
            max_iter=max_iter, shuffle=shuffle, random_state=random_state, tol=tol, verbose=verbose, warm_start=warm_start,
            momentum=momentum, nesterovs_momentum=nesterovs_momentum, early_stopping=early_stopping,
            validation_fraction=validation_fraction, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon,
            n_iter_no_change=n_iter_no_change, max_fun=max_fun,
        )  # fmt: skip
        self.weight_decay = weight_decay
        self.dropout = dropout
        self.clip_norm = clip_norm
        self.scoring = scoring
        self.callbacks = callbacks
        self.time_limit = time_limit
        self.resume = resume
        self.backend = backend
        self.dtype = dtype
        self.threads = threads

    def predict(self, X: Any) -> np.ndarray:
        """The prediction for each row: (n,) for one output, else (n, outputs).

        Parameters
        ----------
        X : array or sparse matrix (n, features)

        Returns
        -------
        array
        """
        return self._predict(X)

    @available_if(lambda estimator: estimator._check_solver())
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None) -> Any:
        """Go on for one epoch over a part of the data.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.

        Returns
        -------
        self
        """
        X, y, sample_weight = taken_rows(X), taken(y, "y"), taken(sample_weight, "sample_weight")
        return super().partial_fit(X, y, sample_weight)

    def _initialize(self, y: np.ndarray, layer_units: Sequence[int], dtype: Any) -> None:
        super()._initialize(y, layer_units, dtype)
        if self._loss().name == "poisson":  # also where it isn't given by scikit-learn's name
            self.out_activation_ = "exp"

    def _loss(self) -> Loss:
        return regression_loss(self.loss)
