"""What scikit-learn demands of every estimator, on every backend that is here."""

import pytest
from sklearn.utils.estimator_checks import parametrize_with_checks

from nnaccel import MLPClassifier, MLPRegressor

ESTIMATORS = [
    kind(backend=backend, max_iter=200) for kind in (MLPClassifier, MLPRegressor) for backend in ("cpu", "numba")
]


@pytest.mark.filterwarnings("ignore:Stochastic Optimizer")
@parametrize_with_checks(ESTIMATORS)
def test_the_checks_of_scikit_learn(estimator, check):
    check(estimator)
