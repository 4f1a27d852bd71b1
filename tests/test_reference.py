"""The reference's formulas, against what shares no formula with them: twins, differences and numbers worked by hand."""

from dataclasses import asdict, replace

import numpy as np
import pytest

from nnaccel.activations import ACTIVATIONS, as_activation
from nnaccel.losses import LOSSES, as_loss
from nnaccel.network import Dense, Network
from nnaccel.optimizers import L2, SGD, Step
from nnaccel.plan import Plan
from nnaccel.program import DropoutSource, Rows, TrainingState
from nnaccel.reference import GradientSums, gradient_sums, update
from tests import naive
from tests.problems import problem, targets_for
from tests.strict_backend import read_only
from tests.tolerance import assert_derivative, assert_product_close, assert_within, tolerance

ACTIVATION_TEXTS = [*ACTIVATIONS, "leaky_relu,slope=0.3", "leaky_relu,slope=0", "elu,alpha=0.5", "elu,alpha=2"]
LOSS_TEXTS = [
    *LOSSES,
    "huber,delta=0.3",
    "binary_cross_entropy,label_smoothing=0.2",
    "softmax_cross_entropy,label_smoothing=0.2",
    "binary_cross_entropy,clip=true",
    "softmax_cross_entropy,clip=true",
]
GRID = read_only(np.linspace(-6, 6, 100))  # an even number of points, so that none is zero
EXTREMES = read_only(np.array([-1e4, -800.0, -100.0, -20.0, -1e-30, -0.0, 0.0, 1e-30, 20.0, 100.0, 800.0, 1e4]))


# --- activations ---


@pytest.mark.parametrize("text", ACTIVATION_TEXTS)
def test_an_activation_equals_its_naive_twin(text):
    activation = as_activation(text)
    twin = naive.ACTIVATIONS[activation.name]
    expected = [twin(float(z), **asdict(activation)) for z in GRID]
    # Every twin adds or multiplies numbers of the size of 1 + |z|, a handful of times.
    assert_within(activation.value(GRID, np), expected, tolerance(1 + np.abs(GRID), 5, np.float64))


@pytest.mark.parametrize("text", ACTIVATION_TEXTS)
def test_the_derivative_of_an_activation_is_its_slope(text):
    activation, step = as_activation(text), np.cbrt(np.finfo(np.float64).eps)
    value = activation.value(GRID, np)
    got = activation.derivative(read_only(value if activation.saves == "output" else GRID), np)
    direction = np.zeros_like(GRID)
    for i in range(len(GRID)):
        direction[:] = 0
        direction[i] = 1
        assert abs(GRID[i]) > 2 * step, "the difference would straddle the kink"
        assert_derivative(got[i], lambda z, i=i: activation.value(z, np)[i], GRID, direction, 1 + abs(GRID[i]))


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("text", ACTIVATION_TEXTS)
def test_an_activation_keeps_shape_and_dtype(text, dtype):
    activation, z = as_activation(text), np.ones((2, 3), dtype)
    for result in (activation.value(z, np), activation.derivative(z, np)):
        assert (result.shape, result.dtype) == (z.shape, z.dtype)


@pytest.mark.parametrize("text", ACTIVATION_TEXTS)
def test_nan_passes_through_an_activation(text):
    assert np.isnan(as_activation(text).value(np.array([np.nan]), np)).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("text", [text for text in ACTIVATION_TEXTS if text != "gelu"])
def test_an_activation_of_an_extreme_number_is_finite_and_warns_of_nothing(text, dtype):
    activation, z = as_activation(text), EXTREMES.astype(dtype)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        value = activation.value(z, np)
        derivative = activation.derivative(value if activation.saves == "output" else z, np)
    assert np.isfinite(value).all()
    assert np.isfinite(derivative).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_gelu_of_an_extreme_number_is_finite(dtype):
    z = EXTREMES.astype(dtype)
    assert np.isfinite(as_activation("gelu").value(z, np)).all()
    assert np.isfinite(as_activation("gelu").derivative(z, np)).all()


@pytest.mark.parametrize(("text", "slope"), [("relu", 0), ("leaky_relu,slope=0.3", 0.3), ("elu,alpha=0.5", 0.5)])
def test_the_slope_at_a_kink_is_that_of_the_left(text, slope):
    activation = as_activation(text)
    assert activation.derivative(activation.value(np.array([0.0, -0.0]), np), np).tolist() == [slope, slope]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("name", ["sigmoid", "softplus"])
def test_sigmoid_and_softplus_keep_their_relative_precision(name, dtype):
    # Down to where the result is no longer a normal number, and up to where it saturates.
    z = np.concatenate([np.linspace(-87, 40, 300), np.geomspace(1e-20, 1, 20), -np.geomspace(1e-20, 1, 20)]).astype(
        dtype
    )
    exact = np.array([{"sigmoid": naive.exact_sigmoid, "softplus": naive.exact_softplus}[name](float(v)) for v in z])
    assert_within(as_activation(name).value(z, np), exact, tolerance(exact, 4, dtype))


# --- losses ---


def outputs_and_targets(loss, rows=12, outputs=4):
    random = np.random.default_rng(3)
    outputs_ = random.normal(size=(rows, outputs))
    return read_only(outputs_), read_only(targets_for(loss, rows, outputs, random))


@pytest.mark.parametrize("text", LOSS_TEXTS)
def test_a_loss_equals_its_naive_twin(text):
    loss = as_loss(text)
    outputs, targets = outputs_and_targets(loss)
    twin = naive.LOSSES[loss.name]
    expected = [twin(o.tolist(), t.tolist(), **asdict(loss)) for o, t in zip(outputs, targets, strict=True)]
    values, gradient = loss.value_and_gradient(outputs, targets, np)
    assert gradient.shape == outputs.shape
    magnitude = np.exp(np.abs(outputs)).sum(axis=1) + np.square(targets).sum(axis=None)
    assert_within(values, expected, tolerance(magnitude, outputs.shape[1], np.float64))


@pytest.mark.parametrize("text", LOSS_TEXTS)
def test_the_gradient_of_a_loss_is_its_slope(text):
    loss = as_loss(text)
    outputs, targets = outputs_and_targets(loss)
    direction = np.random.default_rng(4).normal(size=outputs.shape)
    direction /= np.linalg.norm(direction)
    values, gradient = loss.value_and_gradient(outputs, targets, np)

    def total(o):
        return loss.value_and_gradient(o, targets, np)[0].sum()

    assert_derivative((gradient * direction).sum(), total, outputs, direction, len(outputs) + values.sum())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("text", [text for text in LOSS_TEXTS if text != "poisson"])
def test_a_loss_of_extreme_outputs_is_finite_and_warns_of_nothing(text, dtype):
    loss = as_loss(text)
    outputs = np.array([EXTREMES, EXTREMES[::-1]], dtype)
    targets = np.array([0, 11], np.int32) if loss.targets == "labels" else np.zeros_like(outputs)
    with np.errstate(over="raise", invalid="raise", divide="raise"):
        values, gradient = loss.value_and_gradient(outputs, targets, np)
        assert np.isfinite(loss.predict(outputs, np)).all()
    assert np.isfinite(values).all()
    assert np.isfinite(gradient).all()


def test_the_cross_entropy_of_a_hopeless_row_is_the_distance_of_its_logits():
    outputs = np.array([[-1e4, 1e4]])
    assert as_loss("softmax_cross_entropy").value_and_gradient(outputs, np.array([0], np.int32), np)[0] == 2e4
    assert as_loss("binary_cross_entropy").value_and_gradient(outputs, np.array([[1.0, 0.0]]), np)[0] == 2e4


def test_poisson_takes_counts_of_zero():
    values, gradient = as_loss("poisson").value_and_gradient(np.array([[0.0]]), np.array([[0.0]]), np)
    assert (values.tolist(), gradient.tolist()) == ([1.0], [[1.0]])


def test_the_gradient_of_the_absolute_error_is_zero_at_its_kink():
    _, gradient = as_loss("mean_absolute_error").value_and_gradient(np.array([[1.0, 2.0]]), np.array([[1.0, 1.0]]), np)
    assert gradient.tolist() == [[0.0, 0.5]]


@pytest.mark.parametrize("text", LOSS_TEXTS)
def test_a_loss_keeps_the_dtype(text):
    loss = as_loss(text)
    outputs, targets = (a if a.dtype == np.int32 else a.astype(np.float32) for a in outputs_and_targets(loss))
    for result in (*loss.value_and_gradient(outputs, targets, np), loss.predict(outputs, np)):
        assert result.dtype == np.float32


@pytest.mark.parametrize("name", ["binary_cross_entropy", "softmax_cross_entropy", "poisson"])
def test_the_gradient_of_a_likelihood_is_prediction_minus_target(name):
    # True of every canonical link, and of no other: so `predict` is the inverse of the link that the loss assumes.
    loss = as_loss(name)
    outputs, targets = outputs_and_targets(loss)
    wanted = np.eye(outputs.shape[1])[targets] if loss.targets == "labels" else targets
    prediction = loss.predict(outputs, np)
    _, gradient = loss.value_and_gradient(outputs, targets, np)
    assert_within(gradient, prediction - wanted, tolerance(prediction + wanted, 4, np.float64))


# --- the gradient of a network ---


def sums_at(p, vector, dropout=None):
    x, targets, weights = (a if a is None or a.dtype == np.int32 else a.astype(np.float64) for a in p.rows)
    return gradient_sums(p.plan, read_only(vector), x, targets, weights, np, dropout)


def assert_gradient_is_slope(p, dropout=None):
    vector = p.state.parameters
    sums = sums_at(p, vector, dropout)
    direction = np.random.default_rng(5).normal(size=vector.shape)
    direction /= np.linalg.norm(direction)
    # The padding takes part in nothing: its gradient is zero, and moving it moves nothing.
    magnitude = sums.loss + sums.weight
    assert_derivative(sums.gradient @ direction, lambda v: sums_at(p, v, dropout).loss, vector, direction, magnitude)


@pytest.mark.parametrize("bias", [True, False], ids=["bias", "no bias"])
@pytest.mark.parametrize("text", ACTIVATION_TEXTS)
def test_backward_differentiates_forward_for_every_activation(text, bias):
    assert_gradient_is_slope(problem(activation=text, bias=bias))


@pytest.mark.parametrize("weighted", [True, False], ids=["weights", "no weights"])
@pytest.mark.parametrize("text", LOSS_TEXTS)
def test_backward_differentiates_forward_for_every_loss(text, weighted):
    assert_gradient_is_slope(problem(text, weighted=weighted))


@pytest.mark.parametrize("text", ACTIVATION_TEXTS)
def test_backward_differentiates_forward_through_fixed_dropout_masks(text):
    source = DropoutSource(seed=3, step=4)
    assert_gradient_is_slope(problem(activation=text, dropout=0.4), source)


@pytest.mark.parametrize("hidden", [(), (1,), (16, 16, 16), (3, 40, 2)])
def test_backward_differentiates_forward_for_every_depth(hidden):
    assert_gradient_is_slope(problem(hidden=hidden))


def test_an_activation_on_the_last_layer_is_differentiated_too():
    # The demos end in a sigmoid, with a squared error.
    p = problem("sum_of_squares")
    network = Network(5, [*p.plan.network.layers[:-1], Dense(3, "sigmoid")])
    assert_gradient_is_slope(p._replace(plan=replace(p.plan, network=network)))


def test_dropout_acts_where_it_is_asked_for():
    # Else the test of the masks above would prove nothing.
    p = problem(dropout=0.4)
    dropped, whole = sums_at(p, p.state.parameters, DropoutSource(3, 4)), sums_at(p, p.state.parameters)
    assert dropped.loss != whole.loss


def test_a_weight_counts_as_that_many_equal_rows():
    p = problem(rows=4)
    doubled = p._replace(rows=p.rows._replace(weights=np.array([1, 2, 0, 3], np.float32)))
    order = [0, 1, 1, 3, 3, 3]
    repeated = p._replace(rows=Rows(p.rows.x[order], p.rows.targets[order]))
    got, want = sums_at(doubled, p.state.parameters), sums_at(repeated, p.state.parameters)
    bound = tolerance(want.loss, len(order), np.float64, equal_terms=True)
    assert got.weight == want.weight
    assert_within(got.loss, want.loss, bound)
    assert_within(got.gradient, want.gradient, bound)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_linear_layer_is_a_product_within_the_tolerance(dtype, backend):
    random, xp = np.random.default_rng(6), backend.xp
    x, w, b = (random.normal(size=shape).astype(dtype) for shape in ((20, 300), (300, 7), (7,)))
    arrays = {"weight": backend.from_host(w), "bias": backend.from_host(b)}
    got = backend.to_host(Dense(7).linear(arrays, backend.from_host(x), xp))
    assert got.dtype == dtype
    assert_product_close(got, x, w, b)


# --- the update: penalty and clipping ---


def descent(plan, vector, sums, **changes):
    """The gradient that reaches the optimizer: what one step of plain SGD with learning rate 1 takes away."""
    plan = replace(plan, optimizer=SGD(1.0), **changes)
    mask = read_only(plan.network.weight_mask(plan.dtype))
    frozen = GradientSums(sums.loss, sums.weight, read_only(sums.gradient))
    result = update(plan, vector, (np.zeros_like(vector),), mask, frozen, 1, Step(1.0, 0.0, 0.0, 1.0), np)
    return vector - result.vector, result.penalty


@pytest.mark.parametrize("loss", ["mean_squared_error", "sum_of_squares"])
@pytest.mark.parametrize("scaling", ["batch", "row"])
def test_the_descent_differentiates_loss_and_penalty(scaling, loss):
    p, l2 = problem(loss, weighted=True), L2(0.3, scaling)
    vector = p.state.parameters
    divisor = float(p.rows.weights.astype(np.float64).sum()) if p.plan.loss.divides_by_weights else 1.0

    def objective(v):
        sums = sums_at(p, v)
        return sums.loss / divisor + descent(p.plan, v, sums, l2=l2)[1]

    direction = np.random.default_rng(5).normal(size=vector.shape) * (vector != 0)
    direction /= np.linalg.norm(direction)
    got, _ = descent(p.plan, vector, sums_at(p, vector), l2=l2)
    assert_derivative(got @ direction, objective, vector, direction, objective(vector))


@pytest.mark.parametrize("scaling", ["batch", "row"])
def test_the_penalty_is_half_the_squares_of_the_weights_alone(scaling):
    p = problem(weighted=True)
    weights = p.rows.weights.astype(np.float64)
    squares = sum(
        float(v) ** 2
        for block in p.plan.network.blocks
        if block.name == "weight"
        for v in p.state.parameters[block.start : block.stop]
    )
    expected = 0.3 / 2 * squares / (weights.sum() if scaling == "row" else 1)
    _, penalty = descent(p.plan, p.state.parameters, sums_at(p, p.state.parameters), l2=L2(0.3, scaling))
    assert_within(penalty, expected, tolerance(expected, p.plan.network.size, np.float64))


@pytest.mark.parametrize("part", [0.3, 1.7])
def test_clipping_shortens_a_long_gradient_and_leaves_a_short_one(part):
    p = problem()
    vector, sums = p.state.parameters, sums_at(p, p.state.parameters)
    whole, _ = descent(p.plan, vector, sums, l2=L2(0.3))
    norm = np.linalg.norm(whole)
    clipped, _ = descent(p.plan, vector, sums, l2=L2(0.3), clip_norm=float(part * norm))
    bound = tolerance(np.abs(vector) + np.abs(whole), 4, np.float64)
    assert_within(clipped, min(part, 1) * whole, bound)


def test_clipping_leaves_a_gradient_of_zero():
    p = problem()
    sums = GradientSums(0.0, 1.0, np.zeros(p.plan.network.size))
    clipped, _ = descent(p.plan, p.state.parameters, sums, clip_norm=1.0)
    assert not clipped.any()


# --- worked by hand ---


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_one_step_worked_by_hand(backend, dtype):
    """2-2-1, ReLU, mean squared error, L2 of 1/2, momentum. All numbers are exact in binary, so is the comparison.

    x = [1 2], [3 -1]; y = 1/2, 1
    W1 = [1 -1; 1/2 1], b1 = [0 1/2]        W2 = [1; -2], b2 = 1/2

    z1 = [1+1+0     -1+2+1/2]  = [2    3/2]        h = [2   3/2]
         [3-1/2+0   -3-1+1/2]    [5/2 -7/2]            [5/2   0]
    o  = [2 - 3 + 1/2]  = [-1/2]                   e = o - y = [-1]
         [5/2 - 0 + 1/2]  [3]                                  [ 2]
    loss = 1 + 4 = 5 over 2 rows; delta = 2 e = [-2], [4]

    dW2 = [2(-2) + 5/2(4)]  = [ 6]                 db2 = 2
          [3/2(-2) + 0   ]    [-3]
    back through W2: [-2  4], [4  -8]; ReLU lets pass [-2  4], [4  0]
    dW1 = [1(-2)+3(4)   1(4)+0]  = [10 4]          db1 = [2 4]
          [2(-2)-1(4)   2(4)+0]    [-8 8]

    mean over 2 rows: dW1 = [5 2; -4 4], db1 = [1 2], dW2 = [3; -3/2], db2 = 1
    penalty = 1/2 * 1/2 * (1 + 1 + 1/4 + 1 + 1 + 4) = 33/16
    with it: dW1 = [11/2 3/2; -15/4 9/2], dW2 = [7/2; -5/2]; the biases' stay

    learning rate 1/2, momentum 1/2, velocity 0: v = -1/2 gradient, p += v
    W1 = [1-11/4  -1-3/4; 1/2+15/8  1-9/4] = [-7/4 -7/4; 19/8 -5/4], b1 = [-1/2 -1/2]
    W2 = [1-7/4; -2+5/4] = [-3/4; -3/4], b2 = 1/2 - 1/2 = 0

    And a step on the first row alone shows the momentum: h = relu([1*-7/4 + 2*19/8 - 1/2, -7/4 - 5/2 - 1/2]) = [5/2 0]
    o = -15/8, e = -19/8, loss = 361/64, so db2 = 2e = -19/4 and v = 1/2(-1/2) + 1/2(19/4) = 17/8: b2 = 17/8.
    """
    network = Network(2, [Dense(2, "relu"), Dense(1)])
    plan = Plan(network, as_loss("mean_squared_error"), SGD(0.5, momentum=0.5), L2(0.5), dtype=dtype)
    vector = network.pack([[[[1, -1], [0.5, 1]], [0, 0.5]], [[[1], [-2]], [0.5]]], dtype)
    rows = Rows(np.array([[1.0, 2.0], [3.0, -1.0]]), np.array([[0.5], [1.0]]))
    run = backend.compile(plan).start(TrainingState.initial(plan, 0, vector), rows)
    step = [[0.5, 0.5, 0.0, 1.0]]

    log = run.train(np.array([0, 1], np.int32), np.array([0, 2], np.int32), np.array(step))
    assert log.tolist() == [[5.0, 2.0, 33 / 16]]
    first, last = network.unpack(run.state().parameters, np)
    assert first["weight"].tolist() == [[-7 / 4, -7 / 4], [19 / 8, -5 / 4]]
    assert first["bias"].tolist() == [-1 / 2, -1 / 2]
    assert last["weight"].tolist() == [[-3 / 4], [-3 / 4]]
    assert last["bias"].tolist() == [0.0]

    log = run.train(np.array([0], np.int32), np.array([0, 1], np.int32), np.array(step))
    assert log[0, :2].tolist() == [361 / 64, 1.0]
    assert network.unpack(run.state().parameters, np)[1]["bias"].tolist() == [17 / 8]


def test_the_nine_line_neuron(backend):
    """3 inputs, one sigmoid neuron, weights from numpy.random.seed(1), 10,000 steps: published as 0.99993704.

    w += X.T @ ((y - o) * o * (1 - o)) is a step on sum((o - y)**2) with the learning rate 1/2.
    """
    steps = 10_000
    network = Network(3, [Dense(1, "sigmoid", bias=False)])
    plan = Plan(network, as_loss("sum_of_squares"), SGD(0.5), dtype="float64")
    x = np.array([[0, 0, 1], [1, 1, 1], [1, 0, 1], [0, 1, 1]])
    vector = network.pack([[2 * np.random.RandomState(1).random_sample((3, 1)) - 1]], "float64")
    run = backend.compile(plan).start(TrainingState.initial(plan, 0, vector), Rows(x, np.array([[0], [1], [1], [0]])))
    order = np.tile(np.arange(4, dtype=np.int32), steps)
    run.train(order, np.arange(0, 4 * steps + 1, 4, dtype=np.int32), np.tile(plan.optimizer.base_step, (steps, 1)))
    assert f"{run.predict(np.array([[1, 0, 0]]))[0, 0]:.8f}" == "0.99993704"
