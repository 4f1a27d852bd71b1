"""Fitted estimators as scikit-learn's own, which need no nnaccel."""

import copy
from typing import Any

from sklearn import neural_network
from sklearn.base import is_classifier
from sklearn.utils._param_validation import InvalidParameterError, validate_parameter_constraints

from nnaccel.errors import check
from nnaccel.estimators.models import activation_word, loss_word
from nnaccel.estimators.optimizers import AdamWOptimizer
from nnaccel.estimators.translation import ACTIVATIONS, hidden_activations
from nnaccel.losses import Loss

LEARNT = (
    "coefs_", "intercepts_", "n_layers_", "n_outputs_", "n_features_in_", "feature_names_in_", "classes_", "_label_binarizer",
    "n_iter_", "t_", "loss_", "loss_curve_", "best_loss_", "validation_scores_", "best_validation_score_", "_best_coefs",
    "_best_intercepts", "_no_improvement_count", "_optimizer", "_coef_indptr", "_intercept_indptr",
)  # fmt: skip
"""What a fit leaves behind in scikit-learn's estimators: with it, theirs go on from where ours stopped."""

LINKS = {"softmax_cross_entropy": "softmax", "binary_cross_entropy": "logistic", "poisson": "exp"}
"""What they call that which a loss makes of outputs; all others leave these as they are."""

REMEDY = "write the network with export_onnx(path) instead"


def their_estimator(estimator: Any) -> Any:
    """Scikit-learn's estimator with the network of ours, and all parameters that it has as well.

    Raises
    ------
    InputError
        If scikit-learn has no such network.
    """
    kind = neural_network.MLPClassifier if is_classifier(estimator) else neural_network.MLPRegressor
    result = kind(**_their_parameters(kind, estimator))
    learnt = {name: getattr(estimator, name) for name in LEARNT if hasattr(estimator, name)}
    if isinstance(learnt.get("_optimizer"), AdamWOptimizer):  # which only those can unpickle who have nnaccel
        del learnt["_optimizer"]
    # Theirs writes into its arrays when it goes on to learn.
    vars(result).update(copy.deepcopy(learnt))
    result.out_activation_ = _link(estimator._loss())
    return result


def _their_parameters(kind: Any, estimator: Any) -> dict[str, Any]:
    """The parameters that scikit-learn's estimator has; those that only ours may be set so have its defaults."""
    ours, theirs = estimator.get_params(deep=False), kind().get_params(deep=False)
    ours |= {"activation": _one_activation(estimator), "loss": loss_word(estimator._loss())}
    return {name: ours[name] if _is_theirs(kind, name, ours[name]) else theirs[name] for name in theirs}


def _is_theirs(kind: Any, name: str, value: Any) -> bool:
    try:
        validate_parameter_constraints(kind._parameter_constraints, {name: value}, caller_name=kind.__name__)
    except InvalidParameterError:
        return False
    return True


def _one_activation(estimator: Any) -> str:
    """The activation of all hidden layers; the parameter as it is where there are none."""
    hidden = hidden_activations(estimator.activation, len(estimator.coefs_) - 1)
    words = list(dict.fromkeys(map(activation_word, hidden)))
    check(
        len(words) <= 1,
        f"the activations of the layers differ ({', '.join(words)}), and scikit-learn has one for all: {REMEDY}.",
    )
    for word in words:
        check(word in ACTIVATIONS, f"scikit-learn doesn't have the activation {word}: {REMEDY}.")
    return words[0] if words else estimator.activation


def _link(loss: Loss) -> str:
    own = type(loss).predict is not Loss.predict
    check(not own or loss.name in LINKS, f"scikit-learn doesn't have the loss {loss.name}: {REMEDY}.")
    return LINKS.get(loss.name, "identity")
