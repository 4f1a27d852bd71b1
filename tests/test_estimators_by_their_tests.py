"""The tests that scikit-learn has of its multilayer perceptrons, run on ours by nothing but a changed import."""

from pathlib import Path

import pytest
import sklearn.neural_network


@pytest.fixture
def global_random_seed():
    """Their test run gives each test another one."""
    return 42


_file = Path(sklearn.neural_network.__file__).parent / "tests" / "test_mlp.py"
_theirs, _ours = (
    f"from {package} import MLPClassifier, MLPRegressor" for package in ("sklearn.neural_network", "nnaccel")
)
_source = _file.read_text(encoding="utf-8")
assert _source.count(_theirs) == 1, "the import is to be changed"
exec(compile(_source.replace(_theirs, _ours), _file, "exec"))
