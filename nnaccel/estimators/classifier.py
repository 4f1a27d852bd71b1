"""`MLPClassifier`, for scikit-learn's."""

from numbers import Real
from typing import Any, ClassVar

import numpy as np
from sklearn import neural_network as theirs
from sklearn.utils import compute_class_weight, compute_sample_weight
from sklearn.utils._param_validation import Interval, StrOptions
from sklearn.utils.metaestimators import available_if

from nnaccel.errors import check
from nnaccel.estimators.accelerated import Accelerated
from nnaccel.estimators.constraints import CONSTRAINTS
from nnaccel.estimators.documentation import FURTHER_PARAMETERS, PARAMETERS
from nnaccel.estimators.exchange import Exchange
from nnaccel.estimators.intake import taken, taken_rows
from nnaccel.estimators.translation import classification_loss
from nnaccel.losses import Loss


class MLPClassifier(Exchange, Accelerated, theirs.MLPClassifier):
    __doc__ = f"""A classifier that is trained by this project's programs, for all that scikit-learn's can do, and more.

    With the same data and the same `random_state` it draws the same parameters, validation set and orders of rows, and in
    float64 it learns what scikit-learn's learns.

    Parameters
    ----------
{PARAMETERS}
    class_weight : dict, list of dict or "balanced", optional
        What the rows of each class count, as a factor of `sample_weight`.
    label_smoothing : float, default=0.0
        How much of the wanted probability goes to all classes alike.
{FURTHER_PARAMETERS}
    classes_ : array or list of array
        The labels of the classes, in the order of `predict_proba`.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from nnaccel import MLPClassifier
    >>> X, y = load_iris(return_X_y=True)
    >>> classifier = MLPClassifier((32, 16), learning_rate_init=0.01, max_iter=500, random_state=0).fit(X, y)
    >>> classifier.predict(X[:3])
    array([0, 0, 0])
    """

    _parameter_constraints: ClassVar[dict[str, Any]] = {
        **theirs.MLPClassifier._parameter_constraints,
        **CONSTRAINTS,
        "label_smoothing": [Interval(Real, 0, 1, closed="left")],
        "class_weight": [dict, list, StrOptions({"balanced"}), None],
    }

    def __init__(
        self,
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
        class_weight: Any = None,
        label_smoothing: float = 0.0,
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
            hidden_layer_sizes=hidden_layer_sizes, activation=activation, solver=solver, alpha=alpha, batch_size=batch_size,
            learning_rate=learning_rate, learning_rate_init=learning_rate_init, power_t=power_t, max_iter=max_iter,
            shuffle=shuffle, random_state=random_state, tol=tol, verbose=verbose, warm_start=warm_start,
            momentum=momentum, nesterovs_momentum=nesterovs_momentum, early_stopping=early_stopping,
            validation_fraction=validation_fraction, beta_1=beta_1, beta_2=beta_2, epsilon=epsilon,
            n_iter_no_change=n_iter_no_change, max_fun=max_fun,
        )  # fmt: skip
        self.class_weight = class_weight
        self.label_smoothing = label_smoothing
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
        """The class of each row (n,), or its labels as zeros and ones (n, labels).

        Parameters
        ----------
        X : array or sparse matrix (n, features)

        Returns
        -------
        array
        """
        return self._predict(X)

    def predict_proba(self, X: Any) -> np.ndarray:
        """The probability of each class (n, classes), in the order of `classes_`, or of each label (n, labels).

        Parameters
        ----------
        X : array or sparse matrix (n, features)

        Returns
        -------
        array
        """
        probabilities = self._forward_pass_fast(X)
        if self.n_outputs_ > 1:
            return probabilities
        return np.concatenate([1 - probabilities, probabilities], axis=1)

    def _predict(self, X: Any, check_input: bool = True) -> np.ndarray:
        outputs = self._outputs(X, check_input)
        if self.out_activation_ == "softmax":
            # The largest probability is that of the largest output.
            return self.classes_[outputs.argmax(axis=1)]
        probabilities = self._loss().predict(outputs, np)
        return self._decoded(probabilities if self.n_outputs_ > 1 else probabilities[:, 0])

    @available_if(lambda estimator: estimator._check_solver())
    def partial_fit(self, X: Any, y: Any, sample_weight: Any = None, classes: Any = None) -> Any:
        """Go on for one epoch over a part of the data.

        Parameters
        ----------
        X, y, sample_weight
            As for `fit`.
        classes : array, optional
            The labels of all classes, whichever of them this part has: the first call needs them.

        Returns
        -------
        self
        """
        X, y, sample_weight = taken_rows(X), taken(y, "y"), taken(sample_weight, "sample_weight")
        return super().partial_fit(X, y, sample_weight, taken(classes, "classes"))

    def _row_weights(self, y: np.ndarray, sample_weight: np.ndarray | None, incremental: bool) -> np.ndarray | None:
        if self.class_weight is None:
            return sample_weight
        check(
            not (incremental and self.class_weight == "balanced"),
            "class_weight 'balanced' is not supported for partial_fit, which doesn't see how often each class comes: "
            "give a weight for each class, as sklearn.utils.class_weight.compute_class_weight computes them.",
        )
        class_weight = self.class_weight
        if incremental and isinstance(class_weight, dict):  # some of whose classes a part may lack
            every = compute_class_weight(class_weight, classes=self.classes_, y=self.classes_)
            class_weight = dict(zip(self.classes_, every, strict=True))
        by_class = compute_sample_weight(class_weight, self._decoded(y))
        return by_class if sample_weight is None else by_class * sample_weight

    def _loss(self) -> Loss:
        return classification_loss(self.out_activation_ == "softmax", self.label_smoothing)

    def _targets(self, y: np.ndarray, dtype: str) -> np.ndarray:
        if self.out_activation_ == "softmax":
            return y.argmax(axis=1).astype(np.int32)
        return super()._targets(y, dtype)

    def _decoded(self, y: np.ndarray) -> np.ndarray:
        return self._label_binarizer.inverse_transform(y)
