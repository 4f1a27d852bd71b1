"""Fitted networks elsewhere: as models, in files, as scikit-learn's own and as ONNX graphs they predict what they predicted."""

import functools
import json
import pickle
import subprocess
import sys
from dataclasses import replace

import numpy as np
import onnx
import onnxruntime
import pandas as pd
import polars as pl
import pytest
from sklearn import neural_network
from sklearn.exceptions import NotFittedError
from sklearn.model_selection import GroupShuffleSplit

from nnaccel import Dense, InputError, MLPClassifier, MLPRegressor, Model, Network, load
from nnaccel.activations import ACTIVATIONS, Sigmoid
from nnaccel.encoding import plain_encoding
from nnaccel.losses import LOSSES, as_loss
from nnaccel.model import as_source
from nnaccel.model_file import read_model_file, write_model_file
from nnaccel.targets import Target
from tests.pairs_of_estimators import needs_sklearn
from tests.tolerance import assert_within, tolerance

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")

ROWS, FEATURES = 60, 5
TERMS = 1000
"""More roundings than follow each other in these networks."""

X = np.random.default_rng(0).standard_normal((ROWS, FEATURES))
_WORDS = np.array(["ant", "bee", "cat"])
_POSITIVE = (X[:, :3] > 0).astype(int)

TASKS = {
    "numbered pair": (MLPClassifier, _POSITIVE[:, 0] * 3 - 1, {}),
    "worded pair": (MLPClassifier, _WORDS[_POSITIVE[:, 0]], {"label_smoothing": 0.2}),
    "multiclass": (MLPClassifier, _POSITIVE.sum(axis=1) * 10, {}),
    "words": (MLPClassifier, _WORDS[_POSITIVE[:, :2].sum(axis=1)], {"label_smoothing": 0.1}),
    "multilabel": (MLPClassifier, _POSITIVE, {}),
    "regression": (MLPRegressor, X[:, 0] + 2, {}),
    "huber": (MLPRegressor, X[:, 0] + 2, {"loss": "huber,delta=0.5"}),
    "counts": (MLPRegressor, np.exp(X[:, 0]).round(), {"loss": "poisson"}),
    "multi-output": (MLPRegressor, X[:, :2] + 2, {"loss": "absolute_error"}),
}
NETWORKS = {
    "usual": {},
    "no hidden layer": {"hidden_layer_sizes": ()},
    "deep": {"hidden_layer_sizes": (7, 5, 3), "activation": "tanh"},
    "logistic": {"activation": "logistic"},
    "identity": {"activation": "identity"},
    "gelu": {"activation": "gelu", "dropout": 0.1},
    "mixed": {"activation": ["leaky_relu,slope=0.1", "tanh"], "dropout": [0.0, 0.2]},
}
SKLEARN_HAS = ("usual", "no hidden layer", "deep", "logistic", "identity")

tasks = pytest.mark.parametrize("task", TASKS)
networks = pytest.mark.parametrize("network", NETWORKS)
dtypes = pytest.mark.parametrize("dtype", ["float32", "float64"])


def unfitted(task, network="usual", **more):
    kind, _, loss = TASKS[task]
    common = {"max_iter": 20, "learning_rate_init": 0.05, "random_state": 0, "backend": "cpu"}
    return kind(**{"hidden_layer_sizes": (6, 4), **common, **loss, **NETWORKS[network], **more})


@functools.cache
def fitted(task, network="usual", dtype="float64", backend="cpu"):
    return unfitted(task, network, backend=backend).fit(X.astype(dtype), TASKS[task][1])


def rows(dtype="float64"):
    """Rows that nothing was fitted to, some of them far away."""
    return (np.random.default_rng(1).standard_normal((40, FEATURES)) * np.geomspace(0.1, 10, 40)[:, None]).astype(dtype)


def assert_near(got, want, dtype):
    assert got.shape == want.shape
    assert_within(got, want, tolerance(1 + np.abs(want).max(), TERMS, dtype))


def assert_predicts_as(other, estimator, dtype="float64", x=None):
    """Another estimator, or a model, predicts the same of the same rows."""
    x = rows(dtype) if x is None else x
    got, want = other.predict(x), estimator.predict(x)
    if isinstance(estimator, MLPRegressor):
        assert_near(got, want, dtype)
    else:
        np.testing.assert_array_equal(got, want)
        assert len(np.unique(want)) > 1, "such rows prove nothing"
        assert_near(other.predict_proba(x), estimator.predict_proba(x), dtype)


# --- models and files ---


@tasks
@networks
@dtypes
def test_a_model_predicts_what_the_estimator_does(task, network, dtype):
    estimator = fitted(task, network, dtype)
    assert_predicts_as(estimator.to_model(), estimator, dtype)


@tasks
@networks
@dtypes
def test_a_file_comes_back_as_an_estimator(tmp_path, task, network, dtype):
    estimator = fitted(task, network, dtype)
    estimator.save(tmp_path / "m")
    again = type(estimator).load(tmp_path / "m")
    assert_predicts_as(again, estimator, dtype)
    assert_predicts_as(load(tmp_path / "m"), estimator, dtype)
    assert [w.dtype for w in again.coefs_] == [w.dtype for w in estimator.coefs_]
    for name in ("hidden_layer_sizes", "activation", "dropout", "loss", "label_smoothing"):
        assert getattr(again, name, None) == getattr(estimator, name, None), name
    for name in ("n_features_in_", "n_outputs_", "n_layers_", "out_activation_"):
        assert getattr(again, name) == getattr(estimator, name), name


@pytest.mark.parametrize("task", [task for task, (kind, *_) in TASKS.items() if kind is MLPClassifier])
def test_classes_come_back(tmp_path, task):
    fitted(task).save(tmp_path / "m")
    again = MLPClassifier.load(tmp_path / "m")
    np.testing.assert_array_equal(again.classes_, fitted(task).classes_)
    assert again.classes_.dtype == fitted(task).classes_.dtype


@pytest.mark.parametrize("task", ["worded pair", "words", "multilabel", "counts"])
def test_what_was_loaded_goes_on_learning(tmp_path, task):
    """With fresh velocities, as the file has none: like an estimator that was only given the parameters."""
    y, estimator = TASKS[task][1], unfitted(task, solver="sgd", shuffle=False).fit(X, TASKS[task][1])
    estimator.save(tmp_path / "m")
    again = type(estimator).load(tmp_path / "m").set_params(**estimator.get_params())
    vars(estimator).pop("_optimizer")
    before = again.coefs_[0].copy()
    for one in (again, estimator):
        one.partial_fit(X, y)
    for got, want in zip(again.coefs_ + again.intercepts_, estimator.coefs_ + estimator.intercepts_, strict=True):
        assert_near(got, want, "float64")
    assert np.abs(again.coefs_[0] - before).max() > 0
    again.set_params(warm_start=True).fit(X, y)
    assert len(again.loss_curve_) == again.n_iter_ + 1


def test_loading_leaves_the_users_draws_alone(tmp_path):
    fitted("regression").save(tmp_path / "m")
    np.random.seed(3)
    want = np.random.random_sample()
    np.random.seed(3)
    MLPRegressor.load(tmp_path / "m")
    assert np.random.random_sample() == want


@pytest.mark.parametrize("frame", [pd.DataFrame, pl.DataFrame])
def test_columns_are_known_by_name(tmp_path, frame):
    if frame is pl.DataFrame:
        needs_sklearn("1.9", "warns of the names of polars' columns")
    names = ["size", "target", "age", "target_", "height"]
    estimator = unfitted("words").fit(frame(dict(zip(names, X.T, strict=True))), TASKS["words"][1])
    model = estimator.to_model()
    assert model.encoding.columns == (*names, "target__")
    x = dict(zip(names, rows().T, strict=True))
    want = estimator.predict(frame(x))
    np.testing.assert_array_equal(model.predict(frame(dict(reversed(x.items())))), want)
    np.testing.assert_array_equal(model.predict(rows()), want)
    model.save(tmp_path / "m")
    for other in (MLPClassifier.load(tmp_path / "m"), estimator.to_sklearn()):
        assert list(other.feature_names_in_) == names
        np.testing.assert_array_equal(other.predict(frame(x)), want)


def test_columns_of_one_name_are_known_by_position(tmp_path):
    estimator = unfitted("words").fit(X, TASKS["words"][1])
    # Not every version of scikit-learn lets such a frame pass.
    estimator.feature_names_in_ = np.array(["a", "a", "b", "c", "d"], dtype=object)
    estimator.save(tmp_path / "m")
    assert not load(tmp_path / "m").encoding.named
    assert_predicts_as(load(tmp_path / "m"), MLPClassifier.load(tmp_path / "m"))


@pytest.mark.parametrize(
    ("labels", "known"),
    [
        ([False, True], (0, 1)),
        ([1.0, 2.0], (1.0, 2.0)),
        (np.array(["no", "yes"], dtype=object), ("no", "yes")),
        (np.array([3, 300], dtype=np.uint16), (3, 300)),
        (["", "ü"], ("", "ü")),
    ],
)
def test_labels_are_text_or_numbers(tmp_path, labels, known):
    estimator = unfitted("numbered pair").fit(X, np.array(labels)[_POSITIVE[:, 0]])
    estimator.save(tmp_path / "m")
    classes = load(tmp_path / "m").encoding.target.classes
    assert [(type(label), label) for label in classes] == [(type(label), label) for label in known]
    estimator.export_onnx(tmp_path / "o")
    for got in (MLPClassifier.load(tmp_path / "m").predict(rows()), run_onnx(tmp_path / "o", rows())["label"]):
        np.testing.assert_array_equal(got, estimator.predict(rows()))


@pytest.mark.parametrize("task", ["worded pair", "multilabel", "multi-output"])
def test_the_command_predicts(tmp_path, command, task):
    estimator = fitted(task)
    estimator.save(tmp_path / "m.safetensors")
    x = rows().round(3)
    pd.DataFrame(x).to_csv(tmp_path / "x.csv", index=False, header=False)
    code, _, err = command("predict", tmp_path / "m.safetensors", tmp_path / "x.csv", "--out", tmp_path / "y.csv")
    assert code == 0, err
    got, want = pd.read_csv(tmp_path / "y.csv").to_numpy(), estimator.predict(x).reshape(len(x), -1)
    if isinstance(estimator, MLPRegressor):
        assert_near(got, want, "float64")
    else:
        np.testing.assert_array_equal(got, want)


TABLE = pd.DataFrame(
    {
        "year": np.tile([1999, 2004, 2012, 2020, 2001], 24),
        "price": np.tile([1.5, 9.0, 4.25], 40),
        "kind": np.tile([0, 1, 1, 0], 30),
        "town": np.tile(["Bonn", "Kiel", "Ulm"], 40),
        "paid": np.tile([3.5, 7.25, 1.0, 8.0, 2.0, 6.5], 20),
    }
)


def trained(tmp_path, command, target, *drop, table=TABLE, options=()):
    """The path of what `nnaccel train` wrote."""
    table.to_csv(tmp_path / "table.csv", index=False)
    out = tmp_path / "trained.safetensors"
    arguments = ["--target", target, "--epochs", 5, "--hidden", "8", "--quiet", "--out", out, *options]
    code, _, err = command("train", tmp_path / "table.csv", "--drop", ",".join(drop), *arguments)
    assert code == 0, err
    return out


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("kind", ()),
        ("town", ("--activation", "gelu")),
        ("kind", ("--loss", "binary_cross_entropy")),
        ("paid", ("--dropout", 0.1)),
        ("paid", ("--loss", "poisson", "--dtype", "float64")),
    ],
)
def test_what_the_command_trained_is_an_estimator(tmp_path, command, target, options):
    """It takes raw numbers, which the file's model standardises; in float64, the file's dtype is the only rounding."""
    path = trained(tmp_path, command, target, *sorted({"kind", "town", "paid"} - {target}), options=options)
    model, x = load(path), TABLE[["year", "price"]]
    assert model.encoding.numbers.mean.all(), "there is nothing to undo"
    estimator = (MLPRegressor if target == "paid" else MLPClassifier).load(path)
    assert_predicts_as(model, estimator, str(model.parameters.dtype), x)
    assert list(estimator.feature_names_in_) == ["year", "price"]
    assert {array.dtype.name for array in estimator.coefs_ + estimator.intercepts_} == {"float64"}
    assert (estimator.n_iter_, estimator.loss_) == (5, model.report.train_loss)


def network_model(loss, *layers, inputs=2, dtype="float64"):
    network = Network(inputs, layers)
    return Model(network, as_loss(loss), network.initial_parameters(1, dtype))


MODELS = {
    "one label": network_model("binary_cross_entropy", Dense(4, "tanh"), Dense(1)),
    "labels without bias": network_model("binary_cross_entropy", Dense(4, bias=False), Dense(3, bias=False)),
    "two classes": network_model("softmax_cross_entropy", Dense(4, "silu"), Dense(2)),
    "classes": network_model("softmax_cross_entropy,label_smoothing=0.1", Dense(4, "elu,alpha=0.5"), Dense(3)),
    "sums of squares": network_model("sum_of_squares", Dense(4, "softplus"), Dense(1)),
    "fractions": replace(
        network_model("softmax_cross_entropy", Dense(2)),
        encoding=plain_encoding(2, Target(("target",), "classification", (0.5, 1.25))),
    ),
}


@pytest.mark.parametrize("name", MODELS)
def test_a_model_of_arrays_is_an_estimator(tmp_path, name):
    model = MODELS[name]
    model.save(tmp_path / "m")
    estimator = (MLPRegressor if name == "sums of squares" else MLPClassifier).load(tmp_path / "m")
    assert_predicts_as(model, estimator, x=rows()[:, :2])
    assert estimator.to_model().loss in (model.loss, as_loss("softmax_cross_entropy"))


def scaled_counts(path):
    """What no program here writes."""
    network_model("poisson", Dense(1)).with_encoding().save(path)
    description, tensors = read_model_file(path)
    write_model_file(
        path, description, tensors | {"encoding.target_mean": np.ones(1), "encoding.target_scale": np.ones(1)}
    )


GAPS = TABLE.assign(price=TABLE["price"].where(TABLE.index % 5 > 0))
REFUSED = {
    "nothing": (MLPClassifier, lambda path: None, "there is no file .*m.safetensors"),
    "a regression": (
        MLPClassifier,
        lambda path: fitted("regression").save(path),
        "m.safetensors holds a model of a regression: load it with MLPRegressor.load",
    ),
    "classes": (
        MLPRegressor,
        lambda path: fitted("words").save(path),
        "m.safetensors holds a model of classes: load it with MLPClassifier.load",
    ),
    "labels": (MLPRegressor, lambda path: fitted("multilabel").save(path), "holds a model of classes"),
    "an end": (
        MLPRegressor,
        network_model("sum_of_squares", Dense(1, "leaky_relu,slope=0.1")).save,
        "a network whose last layer has the activation leaky_relu,slope=0.1: load it with nnaccel.load",
    ),
    "scaled counts": (
        MLPRegressor,
        scaled_counts,
        "a model that scales what poisson predicts: load it with nnaccel.load",
    ),
}


def assert_one_sentence(caught):
    sentence = str(caught.value)
    assert sentence.endswith(".")
    assert "\n" not in sentence
    assert ". " not in sentence


@pytest.mark.parametrize("name", REFUSED)
def test_what_an_estimator_cannot_be_gets_one_sentence(tmp_path, name):
    kind, write, sentence = REFUSED[name]
    write(tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=sentence) as caught:
        kind.load(tmp_path / "m.safetensors")
    assert_one_sentence(caught)


@pytest.mark.parametrize(
    ("table", "dropped", "sentence"),
    [
        (TABLE, "kind", "a model that reads text, in column 'town': load it with nnaccel.load"),
        (TABLE.assign(kind=TABLE["kind"].map({0: "no", 1: "yes"})), "town", "reads text, in column 'kind'"),
        (GAPS, "town", "a model that knows gaps, in column 'price': load it with nnaccel.load"),
    ],
    ids=["words", "truth values", "gaps"],
)
def test_columns_that_an_estimator_does_not_read_get_one_sentence(tmp_path, command, table, dropped, sentence):
    path = trained(tmp_path, command, "paid", dropped, table=table)
    with pytest.raises(InputError, match=sentence) as caught:
        MLPRegressor.load(path)
    assert_one_sentence(caught)


DATES = np.array(["2020-01-01", "2021-01-01"], "datetime64[D]")


@pytest.mark.parametrize(
    ("estimator", "y", "sentence"),
    [
        (
            unfitted("words"),
            np.zeros(ROWS, int),
            "the classifier knows but one class, 0: fit it to rows of two or more",
        ),
        (unfitted("words"), DATES[_POSITIVE[:, 0]], r"datetime.date\(2020, 1, 1\) is neither text nor a number"),
    ],
    ids=["one class", "dates"],
)
def test_what_a_model_cannot_be_gets_one_sentence(estimator, y, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        estimator.fit(X, y).to_model()
    assert_one_sentence(caught)


@pytest.mark.parametrize("method", ["to_model", "to_sklearn", "save", "export_onnx"])
def test_an_estimator_must_be_fitted(tmp_path, method):
    arguments = () if method.startswith("to_") else (tmp_path / "m",)
    with pytest.raises(NotFittedError, match="not fitted yet"):
        getattr(MLPClassifier(), method)(*arguments)
    assert not list(tmp_path.iterdir())


# --- scikit-learn's own ---


def python_without(hidden, code, *arguments):
    """What a fresh Python prints in which packages can't be imported."""
    hide = f"""
import sys
class Hide:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {set(hidden)}:
            raise ImportError(f"{{name}} is hidden")
sys.meta_path.insert(0, Hide())
"""
    done = subprocess.run([sys.executable, "-c", hide + code, *map(str, arguments)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@tasks
@pytest.mark.parametrize("network", SKLEARN_HAS)
@dtypes
def test_scikit_learns_own_predicts_the_same(task, network, dtype):
    estimator = fitted(task, network, dtype)
    theirs = estimator.to_sklearn()
    assert type(theirs) in (neural_network.MLPClassifier, neural_network.MLPRegressor)
    assert_predicts_as(theirs, estimator, dtype)
    assert theirs.out_activation_ == estimator.out_activation_
    assert theirs.loss_curve_ == estimator.loss_curve_


@pytest.mark.parametrize(
    ("task", "settings"), [("words", {}), ("worded pair", {}), ("counts", {}), ("words", {"solver": "adamw"})]
)
def test_its_pickle_needs_no_nnaccel(tmp_path, task, settings):
    estimator = unfitted(task, "deep", **settings).fit(X, TASKS[task][1])
    (tmp_path / "estimator.pickle").write_bytes(pickle.dumps(estimator.to_sklearn()))
    np.save(tmp_path / "x.npy", rows())
    code = """
import pickle, numpy as np
from pathlib import Path
estimator = pickle.loads(Path(sys.argv[1]).read_bytes())
print(*estimator.predict(np.load(sys.argv[2])).tolist())
assert "nnaccel" not in sys.modules
"""
    printed = python_without({"nnaccel"}, code, tmp_path / "estimator.pickle", tmp_path / "x.npy").split()
    want = estimator.predict(rows())
    if task == "counts":
        assert_near(np.array(printed, float), want, "float64")
    else:
        assert printed == want.tolist()


@pytest.mark.parametrize("solver", ["sgd", "adam"])
@pytest.mark.parametrize("task", ["words", "multilabel", "multi-output"])
def test_it_goes_on_as_ours_does(task, solver):
    """Its optimizer has the velocities or the moments; and ours learns nothing of what it learns."""
    y, settings = TASKS[task][1], {"solver": solver, "shuffle": False, "label_smoothing": 0.0, "loss": "squared_error"}
    own = {name: value for name, value in settings.items() if name in TASKS[task][0]().get_params()}
    estimator = unfitted(task, **own).fit(X, y)
    theirs, want = estimator.to_sklearn(), estimator.predict(rows()).copy()
    for _ in range(3):
        theirs.partial_fit(X, y)
    np.testing.assert_array_equal(estimator.predict(rows()), want)
    for _ in range(3):
        estimator.partial_fit(X, y)
    for got, parameter in zip(
        theirs.coefs_ + theirs.intercepts_, estimator.coefs_ + estimator.intercepts_, strict=True
    ):
        assert_near(got, parameter, "float64")


def test_it_has_the_parameters_that_scikit_learn_has():
    common = {
        "alpha": 0.5,
        "max_iter": 7,
        "early_stopping": True,
        "random_state": 3,
        "tol": 0.1,
        "batch_size": 13,
        "learning_rate_init": 0.25,
    }
    more = {"solver": "adamw", "learning_rate": "cosine", "validation_fraction": GroupShuffleSplit(1), "threads": 1}
    estimator = unfitted("huber", activation=Sigmoid(), **common, **more, weight_decay=0.1)
    estimator.set_params(early_stopping=False).fit(X, TASKS["huber"][1])
    theirs = estimator.set_params(early_stopping=True).to_sklearn()
    got, default = theirs.get_params(), neural_network.MLPRegressor().get_params()
    assert {name: got[name] for name in common} == common
    assert (got["activation"], got["learning_rate_init"]) == ("logistic", 0.25)
    for name in ("solver", "learning_rate", "validation_fraction", "loss"):
        assert got[name] == default[name], name
    assert theirs.set_params(early_stopping=False).fit(X, TASKS["huber"][1]).n_iter_ > 0


def test_a_loss_that_is_an_object_is_known_by_its_name():
    theirs = unfitted("counts", loss=LOSSES["poisson"]()).fit(X, TASKS["counts"][1]).to_sklearn()
    assert (theirs.loss, theirs.out_activation_) == ("poisson", "exp")


@pytest.mark.parametrize(
    ("network", "sentence"),
    [
        ("gelu", r"scikit-learn doesn't have the activation gelu: write the network with export_onnx\(path\) instead"),
        (
            "mixed",
            r"the activations of the layers differ \(leaky_relu,slope=0.1, tanh\), and scikit-learn has one for all",
        ),
    ],
)
def test_networks_that_scikit_learn_has_not_get_one_sentence(network, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        fitted("words", network).to_sklearn()
    assert_one_sentence(caught)


@pytest.mark.parametrize("task", ["words", "regression"])
def test_a_file_from_numba_predicts_without_it(tmp_path, task):
    estimator = fitted(task, "deep", backend="numba")
    estimator.save(tmp_path / "m")
    np.save(tmp_path / "x.npy", rows())
    code = """
import numpy as np, nnaccel
print(*nnaccel.load(sys.argv[1]).predict(np.load(sys.argv[2])).tolist())
"""
    printed = python_without({"numba", "llvmlite", "sklearn"}, code, tmp_path / "m", tmp_path / "x.npy").split()
    want = estimator.predict(rows())
    if task == "words":
        assert printed == want.tolist()
    else:
        assert_near(np.array(printed, float), want, "float64")


# --- ONNX ---


def run_onnx(path, x):
    """The outputs of a graph by name."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip([one.name for one in session.get_outputs()], session.run(None, {"X": x}), strict=True))


def assert_graph_predicts_as(path, estimator, dtype, x=None, accuracy=None):
    x = rows(dtype) if x is None else x
    got = run_onnx(path, x)
    if isinstance(estimator, MLPRegressor):
        assert set(got) == {"predictions"}
        assert_near(got["predictions"], estimator.predict(x), accuracy or dtype)
    else:
        assert list(got) == ["label", "probabilities"]
        np.testing.assert_array_equal(got["label"], estimator.predict(x))
        assert_near(got["probabilities"], estimator.predict_proba(x), accuracy or dtype)


@tasks
@networks
@dtypes
def test_a_graph_predicts_the_same(tmp_path, task, network, dtype):
    estimator = fitted(task, network, dtype)
    estimator.export_onnx(tmp_path / "m.onnx")
    # ONNX keeps the slope of a leaky ReLU in float32.
    accuracy = "float32" if network == "mixed" else dtype
    for some in (rows(dtype), rows(dtype)[:1]):
        assert_graph_predicts_as(tmp_path / "m.onnx", estimator, dtype, some, accuracy)


FAR = np.concatenate([np.linspace(-8, 8, 33), [-1e4, -200, -90, 90, 200, 1e4], [0.0, -0.0]])[:, None]


@pytest.mark.parametrize("name", [*ACTIVATIONS, "leaky_relu,slope=0.3", "elu,alpha=0.5"])
@dtypes
def test_every_activation_is_the_same_in_a_graph(tmp_path, name, dtype):
    """Far from zero as well, where a careless formula overflows."""
    network = Network(1, [Dense(1, name)])
    model = Model(network, as_loss("mean_squared_error"), network.pack([([[1.0]], [0.0])], dtype))
    model.export_onnx(tmp_path / "m.onnx")
    got, want = run_onnx(tmp_path / "m.onnx", FAR.astype(dtype))["predictions"], model.predict(FAR.astype(dtype))
    assert got.dtype == want.dtype
    rounded = name.startswith(("leaky_relu", "selu"))
    assert_within(got, want, tolerance(1 + np.abs(want), TERMS, "float32" if rounded else dtype))


@pytest.mark.parametrize("name", MODELS)
def test_a_graph_of_a_model_of_arrays(tmp_path, name):
    model, x = MODELS[name], rows()[:, :2]
    model.export_onnx(tmp_path / "m.onnx")
    got = run_onnx(tmp_path / "m.onnx", x)
    if name == "sums of squares":
        assert_near(got["predictions"], model.predict(x), "float64")
    else:
        np.testing.assert_array_equal(got["label"], model.predict(x))
        assert_near(got["probabilities"], model.predict_proba(x), "float64")


@pytest.mark.parametrize(
    ("task", "outputs"),
    [
        ("numbered pair", {"label": ("INT64", []), "probabilities": ("DOUBLE", [2])}),
        ("words", {"label": ("STRING", []), "probabilities": ("DOUBLE", [3])}),
        ("multilabel", {"label": ("INT64", [3]), "probabilities": ("DOUBLE", [3])}),
        ("regression", {"predictions": ("DOUBLE", [])}),
        ("multi-output", {"predictions": ("DOUBLE", [2])}),
    ],
)
def test_a_graph_says_what_it_takes_and_gives(tmp_path, task, outputs):
    fitted(task).export_onnx(tmp_path / "m.onnx")
    model = onnx.load(tmp_path / "m.onnx")
    onnx.checker.check_model(model, full_check=True)

    def declared(values):
        return {
            one.name: (
                onnx.TensorProto.DataType.Name(one.type.tensor_type.elem_type),
                [d.dim_value or d.dim_param for d in one.type.tensor_type.shape.dim],
            )
            for one in values
        }

    assert declared(model.graph.input) == {"X": ("DOUBLE", ["n", FEATURES])}
    assert declared(model.graph.output) == {name: (kind, ["n", *row]) for name, (kind, row) in outputs.items()}


@pytest.mark.parametrize(("target", "dropped"), [("paid", "kind"), ("kind", "paid")])
def test_a_graph_takes_raw_numbers_with_gaps(tmp_path, command, target, dropped):
    path = trained(tmp_path, command, target, dropped, "town", table=GAPS)
    model = load(path)
    assert model.encoding.numbers.had_gaps.tolist() == [False, True]
    model.export_onnx(tmp_path / "m.onnx")
    x = GAPS[["year", "price"]].to_numpy(np.float32)
    assert np.isnan(x).any()
    got = run_onnx(tmp_path / "m.onnx", x)
    if target == "paid":
        assert_near(got["predictions"], model.predict(x).astype(np.float32), "float32")
    else:
        np.testing.assert_array_equal(got["label"], model.predict(x))
        assert_near(got["probabilities"], model.predict_proba(x), "float32")
    metadata = {entry.key: entry.value for entry in onnx.load(tmp_path / "m.onnx").metadata_props}
    assert json.loads(metadata["columns"]) == ["year", "price"]


def test_numbers_that_are_large_beside_their_differences_keep_them(tmp_path):
    """In float32, the difference of two years in seconds would be lost."""
    plain = network_model("mean_squared_error", Dense(1), inputs=1, dtype="float32").with_encoding()
    numbers = replace(plain.encoding.numbers, mean=np.array([16_777_217.0]), scale=np.array([1.0]))
    model = replace(plain, encoding=replace(plain.encoding, numbers=numbers))
    model.export_onnx(tmp_path / "m.onnx")
    x = np.array([[16_777_216.0], [16_777_218.0]], np.float32)
    assert_near(run_onnx(tmp_path / "m.onnx", x)["predictions"], model.predict(x), "float32")


def test_text_gets_one_sentence_and_a_way_out(tmp_path, command):
    model = load(trained(tmp_path, command, "paid", "kind"))
    with pytest.raises(
        InputError, match="reads text in column 'town', which is left out of ONNX files: export"
    ) as caught:
        model.export_onnx(tmp_path / "m.onnx")
    assert_one_sentence(caught)
    replace(model, encoding=None).export_onnx(tmp_path / "m.onnx")
    table = next(model.encoding.tables(as_source(TABLE)))
    x = model.encoding.features(table, "float32")
    assert_near(run_onnx(tmp_path / "m.onnx", x)["predictions"], model.outputs(TABLE)[:, 0], "float32")


def test_without_onnx_there_is_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(InputError, match=r"needs onnx: pip install 'nnaccel\[onnx\]'") as caught:
        fitted("words").export_onnx(tmp_path / "m.onnx")
    assert_one_sentence(caught)


def test_a_graph_that_cannot_be_written_gets_one_sentence(tmp_path):
    with pytest.raises(InputError, match="can't be written: there is no folder") as caught:
        fitted("words").export_onnx(tmp_path / "nowhere" / "m.onnx")
    assert_one_sentence(caught)


def test_a_graph_is_written_whole_or_not_at_all(tmp_path, monkeypatch):
    fitted("words").export_onnx(tmp_path / "m.onnx")
    before = (tmp_path / "m.onnx").read_bytes()
    monkeypatch.setattr("os.fsync", lambda _: (_ for _ in ()).throw(OSError("the disk is full")))
    with pytest.raises(InputError, match="can't be written: the disk is full"):
        fitted("regression").export_onnx(tmp_path / "m.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]
    assert (tmp_path / "m.onnx").read_bytes() == before


def test_networks_too_large_for_the_format_get_one_sentence(tmp_path, monkeypatch):
    monkeypatch.setattr("nnaccel.onnx_file.MOST_BYTES", 100)
    with pytest.raises(InputError, match="GB of parameters, but an ONNX file holds 2 GB: save it") as caught:
        fitted("words").export_onnx(tmp_path / "m.onnx")
    assert_one_sentence(caught)
