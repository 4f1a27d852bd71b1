"""Fitted estimators on their way out, and back: as models, files and scikit-learn's own."""

from pathlib import Path
from typing import Any, Self

from sklearn.utils.validation import check_is_fitted

from nnaccel.estimators.models import estimator_of, model_of
from nnaccel.estimators.theirs import their_estimator
from nnaccel.model import Model
from nnaccel.model import load as load_model


class Exchange:
    """What both estimators offer for taking a fitted network elsewhere."""

    def to_model(self) -> Model:
        """The network as a `Model`, which predicts the same.

        It takes columns of numbers, by the names in `feature_names_in_` where there are any, and knows the classes by their
        labels; truth values become 0 and 1. Two classes have an output each.

        Raises
        ------
        InputError
            If a model can't have the classes or the loss.

        Examples
        --------
        >>> from nnaccel import MLPClassifier
        >>> classifier = MLPClassifier((4,), solver="lbfgs", random_state=0).fit([[0.0], [1.0]], ["no", "yes"])
        >>> classifier.to_model().predict([[0.0], [1.0]])
        array(['no', 'yes'], dtype='<U3')
        """
        check_is_fitted(self)
        return model_of(self)

    def save(self, path: str | Path) -> None:
        """Write a model file, which `load`, `nnaccel.load` and `nnaccel predict` read.

        It holds the network and what its outputs mean, not the parameters of the training nor its optimizer.

        Raises
        ------
        InputError
            As `to_model`; or if it can't be written.

        Examples
        --------
        >>> import tempfile
        >>> from nnaccel import MLPRegressor
        >>> regressor = MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", random_state=0).fit([[0.0], [1.0]], [1.0, 3.0])
        >>> path = Path(tempfile.mkdtemp()) / "line.safetensors"
        >>> regressor.save(path)
        >>> bool(MLPRegressor.load(path).predict([[0.5]]) == regressor.predict([[0.5]]))
        True
        """
        self.to_model().save(path)

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """A fitted estimator from a model file: one that `save`, `Model.save` or `nnaccel train --out` wrote.

        Its parameters describe the network and the loss, as far as the file does; the others have their defaults. Numbers
        that the file's model standardises it takes raw, and computes in float64.

        Parameters
        ----------
        path : str or Path

        Raises
        ------
        InputError
            If there is no such file, it is damaged, it is of the other kind (classes or numbers), or its model is more than an
            estimator can be: one that reads text or knows gaps, or that has an activation after the last layer.

        Examples
        --------
        >>> import tempfile
        >>> from nnaccel import MLPClassifier
        >>> path = Path(tempfile.mkdtemp()) / "answers.safetensors"
        >>> MLPClassifier((4,), solver="lbfgs", random_state=0).fit([[0.0], [1.0]], ["no", "yes"]).save(path)
        >>> MLPClassifier.load(path).classes_
        array(['no', 'yes'], dtype='<U3')
        """
        return estimator_of(cls, load_model(path), Path(path))

    def to_sklearn(self) -> Any:
        """The fitted estimator as scikit-learn's own, which predicts the same, and pickles without nnaccel.

        Parameters that scikit-learn's doesn't have are left out; where it has fewer choices, as for the solver adamw, its
        default stands. It can go on with `partial_fit`.

        Returns
        -------
        sklearn.neural_network.MLPClassifier or sklearn.neural_network.MLPRegressor

        Raises
        ------
        InputError
            If scikit-learn has no such network: with another activation, or several.

        Examples
        --------
        >>> from nnaccel import MLPRegressor
        >>> regressor = MLPRegressor(hidden_layer_sizes=(4,), solver="lbfgs", random_state=0).fit([[0.0], [1.0]], [1.0, 3.0])
        >>> type(regressor.to_sklearn()).__module__
        'sklearn.neural_network._multilayer_perceptron'
        """
        check_is_fitted(self)
        return their_estimator(self)

    def export_onnx(self, path: str | Path) -> None:
        """Write the network as a graph that onnxruntime and other programs run; see `Model.export_onnx`.

        Raises
        ------
        InputError
            As `to_model`; or if onnx isn't installed, or the file can't be written.

        Examples
        --------
        >>> import tempfile
        >>> import onnxruntime
        >>> from nnaccel import MLPClassifier
        >>> classifier = MLPClassifier((4,), solver="lbfgs", random_state=0).fit([[0.0], [1.0]], ["no", "yes"])
        >>> path = Path(tempfile.mkdtemp()) / "answers.onnx"
        >>> classifier.export_onnx(path)
        >>> [output.name for output in onnxruntime.InferenceSession(path).get_outputs()]
        ['label', 'probabilities']
        """
        self.to_model().export_onnx(path)
