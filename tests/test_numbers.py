"""Numbers at the ends of what numbers can be: a training of them is done or refused in a sentence, on every backend alike."""

from typing import NamedTuple

import numpy as np
import pytest

from nnaccel import Dense, InputError, MLPClassifier, MLPRegressor, Network, TrainingDiverged, estimate, train
from nnaccel import training as training_module
from nnaccel.backends import get_backend
from nnaccel.losses import as_loss
from nnaccel.optimizers import SGD
from nnaccel.plan import Plan
from nnaccel.program import Rows, TrainingState
from tests.tolerance import assert_trajectory_close

BACKENDS = pytest.mark.parametrize("name", ["cpu", "numba"])
ROWS = 40
X = np.random.default_rng(0).standard_normal((ROWS, 3))
LABELS = (X[:, 0] > 0).astype(int)
VALUES = X @ [1.0, 2.0, 3.0]


class Case(NamedTuple):
    """What is given to a training, and what comes of it: None if it trains, or words of the sentence that refuses it."""

    options: dict
    refusal: str | None = None
    x: object = X
    y: object = LABELS


def with_one(value):
    x = X.copy()
    x[3, 1] = value
    return x


def weights(value, dtype=float):
    return {"sample_weight": np.full(ROWS, value, dtype)}


def unaligned(array):
    return np.frombuffer(b"0" + array.tobytes(), np.uint8)[1:].view(array.dtype).reshape(array.shape)


WIDE = np.finfo(np.longdouble).max > np.finfo(np.float64).max
HUGE = np.longdouble(10) ** 1000 if WIDE else np.float64(1e300)
FLOAT64 = {"dtype": "float64"}

CASES = {
    "NaN": Case({}, "value nan in row 3, column 1", with_one(np.nan)),
    "infinity": Case({}, "value inf in row 3, column 1", with_one(np.inf)),
    "minus infinity": Case({}, "value -inf in row 3, column 1", with_one(-np.inf)),
    "an overflow in float16": Case({}, "value inf", np.full((ROWS, 3), np.inf, np.float16)),
    "too large for float32": Case({}, r"1e\+39 in row 3, column 1, too large for float32: scale it, or", with_one(1e39)),
    "just not too large": Case({}, None, with_one(1e30)),
    "large in float64": Case(FLOAT64, None, X * 1e300),
    "too large for float64": Case(FLOAT64, "too large for float64: scale it[.]" if WIDE else None, with_one(1.0) * HUGE),
    "subnormal": Case({}, None, X * 1e-42),
    "subnormal in float64": Case(FLOAT64, None, X * 1e-310),
    "constant columns": Case({}, None, np.ones_like(X)),
    "zeros": Case({}, None, np.zeros_like(X)),
    "one row": Case({"loss": "mean_squared_error"}, None, X[:1], np.eye(2)[:1]),
    "one row of one class": Case({}, "nothing to learn from one class", X[:1], LABELS[:1]),
    "a batch longer than the data": Case({"batch_size": ROWS + 1}),
    "a batch longer than memory": Case({"batch_size": 1 << 40}),
    "batches of nothing": Case({"batch_size": 0}, "batch size must be a whole number, 1 or more"),
    "epochs without end": Case({"epochs": 10**30, "time_limit": 0.05}),
    "more threads than cores": Case({"threads": 10**9}),
    "no row": Case({}, "at least one row", X[:0], LABELS[:0]),
    "no column": Case({}, "at least one row and one feature", X[:, :0]),
    "no target": Case({}, "40 rows but y has the shape", y=LABELS[:0]),
    "labels beyond int32": Case({}, "whole numbers from 0 to 1", y=LABELS * (1 << 40)),
    "labels that would wrap around": Case({}, "whole numbers from 0 to 1", y=LABELS + (1 << 32)),
    "labels of uint64": Case({}, None, y=LABELS.astype(np.uint64)),
    "labels that are huge": Case({"loss": "softmax_cross_entropy"}, "whole numbers from 0 to 1", y=LABELS * 1e300),
    "labels that are NaN": Case({"loss": "softmax_cross_entropy"}, "whole numbers from 0 to 1", y=LABELS * np.nan),
    "targets too large": Case({}, "too large for float32: scale it, or", y=np.eye(2)[LABELS] * 1e39),
    "targets too large for float64": Case({}, "too large", y=np.eye(2)[LABELS] * HUGE),
    "targets that overflow the loss": Case({}, TrainingDiverged, y=np.eye(2)[LABELS] * 1e30),
    "targets of infinity": Case({}, "value inf in row 0", y=np.full((ROWS, 2), np.inf)),
    "weights of zero": Case(weights(0.0), "every sample_weight is zero in float32"),
    "weights of zero in float32": Case(weights(1e-300), "every sample_weight is zero in float32"),
    "weights of almost zero": Case(weights(1e-300) | FLOAT64),
    "negative weights": Case(weights(-1.0), "must not be negative"),
    "weights of NaN": Case(weights(np.nan), "value nan in row 0"),
    "weights of infinity": Case(weights(np.inf), "value inf in row 0"),
    "weights too large": Case(weights(1e39), "too large for float32"),
    "complex weights": Case(weights(1.0, complex), "not real numbers"),
    "truth values as weights": Case(weights(True, bool)),
    "a learning rate of 0": Case({"optimizer": "sgd,learning_rate=0"}, "must be above 0 and finite, not 0.0"),
    "a learning rate of NaN": Case({"optimizer": "adam,learning_rate=nan"}, "must be above 0 and finite, not nan"),
    "a learning rate of infinity": Case({"optimizer": "adam,learning_rate=inf"}, "must be above 0 and finite, not inf"),
    "a learning rate that overflows": Case({"optimizer": "sgd,learning_rate=1e300"}, TrainingDiverged),
    "a large learning rate": Case({"optimizer": "sgd,learning_rate=1e10"}),
    "an infinite penalty": Case({"l2": np.inf}, "L2 penalty must be 0 or more"),
    "a penalty that overflows": Case({"l2": 1e300}, TrainingDiverged),
    "a norm of NaN": Case({"clip_norm": np.nan}, "above 0, not nan"),
    "a norm of almost 0": Case({"clip_norm": 1e-300}),
    "float16": Case({}, None, X.astype(np.float16)),
    "longdouble": Case({}, None, X.astype(np.longdouble)),
    "objects": Case({}, None, X.astype(object)),
    "objects that are no numbers": Case({}, "something else than numbers", np.full((ROWS, 3), "a", object)),
    "complex numbers": Case({}, "X holds complex128 values, not real numbers", X.astype(complex)),
    "truth values": Case({}, None, X > 0),
    "moments": Case({}, "not real numbers", X.astype(int).astype("M8[s]")),
    "durations": Case({}, "not real numbers", X.astype(int).astype("m8[s]")),
    "text": Case({}, "not real numbers", X.astype("U4")),
    "big-endian": Case({}, None, X.astype(">f8")),
    "big-endian integers": Case({}, None, (1000 * X).astype(">i2")),
    "not aligned": Case({}, None, unaligned(X)),
    "a mask": Case({}, "X has 1 masked value: fill", np.ma.array(X, mask=X.max() == X)),
    "a mask of nothing": Case({}, None, np.ma.array(X)),
}  # fmt: skip


def verdict(case, backend):
    """The model, or the exception that refused it."""
    network = Network(3, [Dense(5, "tanh"), Dense(2)])
    try:
        return train(network, case.x, case.y, **{"epochs": 3, "backend": backend} | case.options)
    except (InputError, TrainingDiverged) as error:
        return error


@BACKENDS
@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_a_training_is_done_or_refused_in_a_sentence(case, name):
    got = verdict(case, name)
    if case.refusal is None:
        assert not isinstance(got, Exception), got
        assert np.isfinite(got.parameters).all()
    elif case.refusal is TrainingDiverged:
        assert isinstance(got, TrainingDiverged), got
    else:
        with pytest.raises(InputError, match=case.refusal) as caught:
            raise got
        assert str(caught.value).endswith(".")
        assert "\n" not in str(caught.value)


WIDTH = 31_000
"""Two layers of so many units have 1e9 parameters."""


@pytest.mark.parametrize("width", [WIDTH, 10**6, 10**10])
def test_a_network_larger_than_the_memory_is_refused_before_any_is_taken(width, monkeypatch):
    monkeypatch.setattr(training_module, "available_memory", lambda: 1 << 33)
    monkeypatch.setattr(Network, "initial_parameters", lambda *given: pytest.fail("memory was taken"))
    monkeypatch.setattr(MLPRegressor, "_initialize", lambda *given: pytest.fail("memory was taken"))
    monkeypatch.setattr(MLPClassifier, "_initialize", lambda *given: pytest.fail("memory was taken"))
    network = Network(3, [Dense(width), Dense(width), Dense(2)])
    sentence = r"takes [\d.e+]+ [GTP]B, but this machine has 8.59 GB free: take narrower layers"
    for backend in ("cpu", "numba"):
        for ask, choice in ((train, {"backend": backend}), (estimate, {"backends": [backend]})):
            with pytest.raises(InputError, match=sentence):
                ask(network, X, LABELS, epochs=1, **choice)
    for kind in (MLPClassifier, MLPRegressor):
        for solver in ("adam", "lbfgs"):
            with pytest.raises(InputError, match=sentence):
                kind(hidden_layer_sizes=(width, width), solver=solver).fit(X, LABELS)


# --- what a program makes of them ---


OUTPUTS = 5


def softmax_of(backend, biases, dtype, loss="softmax_cross_entropy"):
    """The loss and the gradient of a row of class 0 where the outputs are the biases."""
    network = Network(1, [Dense(OUTPUTS)])
    plan = Plan(network, as_loss(loss), SGD(), dtype=dtype)
    parameters = network.pack([{"weight": np.zeros((1, OUTPUTS)), "bias": np.asarray(biases)}], dtype)
    state = TrainingState.initial(plan, 0, parameters)
    rows = Rows(np.zeros((1, 1), np.float32), np.zeros(1, np.int32))
    run, order = backend.compile(plan).start(state, rows), np.zeros(1, np.int32)
    sums = run.gradient(order)
    assert run.evaluate(order)[0] == pytest.approx(sums.loss, nan_ok=True)
    return sums.loss, network.unpack(sums.gradient, np)[0]["bias"]


@pytest.mark.filterwarnings("ignore:invalid value:RuntimeWarning", "ignore:divide by zero:RuntimeWarning")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_softmax_of_minus_infinity(backend, dtype):
    """A class that can't be costs nothing, unless it is the one; where none can be there is no answer."""
    inf = np.inf
    loss, gradient = softmax_of(backend, [0, -inf, 0, -inf, 0], dtype)
    assert loss == pytest.approx(np.log(3), rel=1e-6)
    np.testing.assert_allclose(gradient, [-2 / 3, 0, 1 / 3, 0, 1 / 3], rtol=1e-6)
    loss, gradient = softmax_of(backend, [-inf, 0, 0, 0, 0], dtype)
    assert loss == inf
    np.testing.assert_allclose(gradient, [-1, 1 / 4, 1 / 4, 1 / 4, 1 / 4], rtol=1e-6)
    assert softmax_of(backend, [0, -inf, 0, 0, 0], dtype, "softmax_cross_entropy,label_smoothing=0.1")[0] == inf
    assert np.isnan(softmax_of(backend, [-inf] * OUTPUTS, dtype)[0])
    assert np.isnan(softmax_of(backend, [0, inf, 0, 0, 0], dtype)[0])


INTEGERS = {"between elements": "i4", "big-endian": ">i4", "unsigned and big-endian": ">u4"}


@BACKENDS
@pytest.mark.parametrize("kind", INTEGERS.values(), ids=INTEGERS)
def test_whole_numbers_that_float32_cannot_hold(kind, name):
    """They are rounded once, wherever they lie: in float64 none is lost."""
    whole = np.array([[(1 << 24) + 1], [(1 << 30) + 1]])
    records = np.zeros(2, [("pad", "i1"), ("x", kind, 1), ("more", "i2")])
    records["x"] = whole
    assert not records["x"].flags.aligned or records["x"].strides[0] % 4
    network = Network(1, [Dense(1, bias=False)])
    plan = Plan(network, as_loss("mean_squared_error"), SGD(), dtype="float64")
    state = TrainingState.initial(plan, 0, network.pack([{"weight": np.ones((1, 1))}], "float64"))
    run = get_backend(name).compile(plan).start(state, Rows(records["x"], np.zeros((2, 1))))
    np.testing.assert_array_equal(run.predict(records["x"]), whole)
    errors = run.evaluate(np.arange(2, dtype=np.int32))[0]
    assert errors == float((whole.astype(float) ** 2).sum())


@pytest.mark.parametrize("case", ["subnormal", "just not too large", "constant columns", "longdouble", "truth values"])
def test_backends_learn_the_same(case):
    models = [verdict(CASES[case], name).parameters.astype(float) for name in ("cpu", "numba")]
    exact = train(
        Network(3, [Dense(5, "tanh"), Dense(2)]), np.asarray(CASES[case].x, float), LABELS, epochs=3, dtype="float64",
        backend="cpu",
    ).parameters  # fmt: skip
    assert_trajectory_close(models[1], models[0], exact)
