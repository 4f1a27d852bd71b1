"""Estimators for scikit-learn: `MLPClassifier` and `MLPRegressor`, in place of its own by a changed import."""

from nnaccel.estimators.classifier import MLPClassifier
from nnaccel.estimators.regressor import MLPRegressor

__all__ = ["MLPClassifier", "MLPRegressor"]
