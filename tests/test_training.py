"""train(): the same result wherever slices are cut; validation, early stopping, limits, divergence."""

import numpy as np
import pytest
from threadpoolctl import threadpool_info

import nnaccel.loop
from nnaccel.backends import get_backend
from nnaccel.errors import InputError
from nnaccel.loop import TrainingDiverged
from nnaccel.losses import MeanSquaredError
from nnaccel.metrics import Metric
from nnaccel.network import Dense, Network
from nnaccel.optimizers import SGD, Adam
from nnaccel.order import Sequential, batch_bounds
from nnaccel.plan import Plan
from nnaccel.program import Rows, TrainingState
from nnaccel.recipe import EarlyStopping
from nnaccel.reference import update
from nnaccel.training import train

ROWS = 53


@pytest.fixture
def data():
    random = np.random.default_rng(3)
    x = random.standard_normal((ROWS, 4))
    return x, (x[:, 0] - x[:, 1] > 0).astype(int)


def classifier(dropout=0.0):
    return Network(4, [Dense(6, "tanh", dropout=dropout), Dense(2)])


def fit(data, **options):
    options = {"epochs": 12, "batch_size": 10, "dtype": "float64", "optimizer": "adam,learning_rate=0.02"} | options
    return train(classifier(0.2), *data, **options)


def test_early_stopping_refuses_a_metric_that_cannot_be_computed(data):
    one_class = (data[0][:5], np.zeros(5, int))
    with pytest.raises(
        InputError, match="early stopping can't watch roc_auc: it can't be computed of the validation rows"
    ):
        fit(data, metrics=["roc_auc"], validation=one_class, early_stopping=EarlyStopping(3, "roc_auc"))


@pytest.mark.parametrize("options", [{}, {"validation": 0.25}, {"batch_size": None, "epochs": 300}])
def test_slices_change_nothing(data, monkeypatch, options):
    whole = fit(data, **options)
    monkeypatch.setattr(nnaccel.loop, "SLICE_SECONDS", 0.0)  # every slice is too long: one step a slice
    cut = fit(data, **options)
    np.testing.assert_array_equal(whole.parameters, cut.parameters)
    assert whole.report.history.as_dict() == cut.report.history.as_dict()


def test_history_is_what_a_plain_loop_logs(data):
    """Full batches in the order of the data, so that the order is known."""
    x, y = data
    settings = {"batch_size": 20, "l2": 0.1, "epochs": 3, "schedule": "step,every=1,factor=0.5", "backend": "cpu"}
    model = fit(data, order=Sequential(), **settings)
    plan = Plan(classifier(0.2), model.loss, Adam(0.02), l2=nnaccel.optimizers.L2(0.1), dtype="float64")
    run = get_backend("cpu").compile(plan).start(TrainingState.initial(plan, 0), Rows(x, y))
    for epoch in range(3):
        steps = np.tile(Adam(0.02 / 2**epoch).base_step, (3, 1))
        log = run.train(np.arange(ROWS, dtype=np.int32), batch_bounds(ROWS, 20), steps)
        assert model.report.history["train_loss"][epoch] == pytest.approx(log[:, 0].sum() / ROWS, rel=1e-14)
        assert model.report.history["penalty"][epoch] == pytest.approx(log[:, 2] @ log[:, 1] / ROWS, rel=1e-14)
    np.testing.assert_array_equal(run.state().parameters, model.parameters)


def test_the_same_seed_gives_the_same_model(data):
    np.testing.assert_array_equal(fit(data, seed=5).parameters, fit(data, seed=5).parameters)
    assert (fit(data, seed=5).parameters != fit(data, seed=6).parameters).any()


def test_early_stopping_returns_to_the_best_epoch(data):
    stopped = fit(data, validation=0.3, early_stopping=4, epochs=500)
    losses = stopped.report.history["validation_loss"]
    best = int(np.argmin(losses)) + 1
    assert stopped.report.stopped_by == "early stopping"
    assert (stopped.report.best_epoch, stopped.report.epochs) == (best, best + 4)
    assert stopped.report.metrics["loss"] == losses[best - 1]
    # What the best epoch had is what a training of so many epochs ends with.
    np.testing.assert_array_equal(stopped.parameters, fit(data, validation=0.3, epochs=best).parameters)


def test_early_stopping_watches_any_metric(data):
    def rows_wrong(targets, predictions, weights):
        return float((predictions.argmax(axis=1) != targets).sum())

    metric = Metric("rows_wrong", rows_wrong, greater_is_better=False)
    model = fit(
        data, validation=0.3, metrics=[metric, "accuracy"], early_stopping=EarlyStopping(3, "accuracy"), epochs=200
    )
    accuracies = model.report.history["validation_accuracy"]
    assert model.report.best_epoch == int(np.argmax(accuracies)) + 1
    assert model.report.metrics["rows_wrong"] == round((1 - max(accuracies)) * 16)


def test_early_stopping_can_only_watch_what_is_there(data):
    with pytest.raises(InputError, match="give a validation set"):
        fit(data, early_stopping=EarlyStopping(3, "accuracy"))


def test_a_validation_set_of_ones_own(data):
    x, y = data
    model = fit(data, validation=(x[:7], y[:7]), epochs=2)
    assert model.report.rows == ROWS
    assert model.report.metrics["accuracy"] == (model.predict(x[:7]) == y[:7]).mean()


def test_held_out_rows_are_not_trained_on(data):
    """A held-out row may hold anything finite: the parameters don't notice."""
    x, y = data
    _, held_out = nnaccel.order.split(ROWS, 0.25, 0, y)
    other = x.copy()
    other[held_out] *= -7
    np.testing.assert_array_equal(fit(data, validation=0.25).parameters, fit((other, y), validation=0.25).parameters)


def test_callbacks_see_every_epoch_and_can_stop(data):
    seen = []

    def note(training):
        seen.append(training.progress.epoch)
        return training.progress.epoch == 4

    model = fit(data, callbacks=[note])
    assert seen == [1, 2, 3, 4]
    assert (model.report.stopped_by, model.report.epochs) == ("callback", 4)


def test_time_limit(data):
    model = fit(data, epochs=10**7, time_limit=0.2)
    assert model.report.stopped_by == "time limit"
    assert 0.2 <= model.report.seconds < 5
    assert len(model.report.history) == model.report.epochs


def test_plateau_lowers_the_learning_rate(data):
    rates = fit(data, schedule="plateau,patience=1,factor=0.5,tolerance=100", epochs=7).report.history["learning_rate"]
    assert rates == pytest.approx([0.02, 0.02, 0.02, 0.01, 0.01, 0.005, 0.005])


def test_progress_is_reported(data):
    seen = []
    fit(data, report=seen.append)
    assert seen[-1].epoch == seen[-1].epochs == 12
    assert seen[-1].seconds_left == 0
    assert seen[-1].rows_per_second > 0


@pytest.mark.parametrize("epoch_by_epoch", [False, True])
def test_divergence_keeps_the_best_finished_epoch(epoch_by_epoch):
    """Squared error on one weight: each step multiplies the error by -3, until it overflows."""
    network = Network(1, [Dense(1, bias=False)])
    options = {
        "optimizer": SGD(2.0), "loss": "mean_squared_error", "batch_size": None, "epochs": 10_000,
        "initial": [[[[0.5]]]], "dtype": "float64", "callbacks": [lambda training: None] if epoch_by_epoch else (),
    }  # fmt: skip
    with pytest.raises(
        TrainingDiverged, match=r"at step \d+, in epoch \d+ \(epoch 1 is kept\).*learning rate, say 0.2"
    ) as caught:
        train(network, [[1.0]], [1.0], **options)
    # The loss of epoch 1 is that of the initial weight; its update leads to 1 + 3 * 0.5.
    assert caught.value.model.parameters[0] == 2.5


def test_the_best_epoch_within_a_slice_is_trained_once_more():
    """A learning rate that rises for ever: the loss falls, then explodes; many epochs go into one slice."""
    options = {"optimizer": SGD(2.0), "batch_size": None, "dtype": "float64", "loss": "mean_squared_error"}
    data, network = ([[1.0], [2.0]], [1.0, 1.0]), Network(1, [Dense(1)])
    with pytest.raises(TrainingDiverged) as caught:
        train(network, *data, **options, schedule="constant,warmup=3000", epochs=3000)
    losses = []
    with pytest.raises(TrainingDiverged):
        train(
            network, *data, **options, schedule="constant,warmup=3000", epochs=3000,
            callbacks=[lambda training: losses.append(training.progress.history["train_loss"][-1])],
        )  # fmt: skip
    best = int(np.argmin(losses)) + 1
    assert 100 < best < len(losses)
    assert f"epoch {best} is kept" in str(caught.value)
    alone = train(network, *data, **options, schedule="constant,warmup=3000", epochs=best)
    np.testing.assert_array_equal(caught.value.model.parameters, alone.parameters)


def test_divergence_in_the_last_update_is_seen():
    """One step of a huge learning rate: no loss after it could show that the weight is infinite."""
    with pytest.raises(TrainingDiverged, match="no epoch was finished"):
        train(Network(1, [Dense(1)]), [[1e30]], [1.0], optimizer=SGD(1e30), epochs=1, loss="mean_squared_error")


def test_starting_from_a_model(data):
    """Two trainings of plain SGD in the order of the data, one after the other, are one of both lengths."""
    options = {"optimizer": SGD(0.1), "order": Sequential(), "dtype": "float64", "batch_size": 10}
    network = classifier()
    half = train(network, *data, epochs=3, **options)
    rest = train(network, *data, epochs=2, initial=half, **options)
    np.testing.assert_array_equal(rest.parameters, train(network, *data, epochs=5, **options).parameters)


def test_schedules_reach_the_steps(data):
    rates = fit(data, schedule="step,every=2,factor=0.5", epochs=5).report.history["learning_rate"]
    assert rates == pytest.approx([0.02, 0.02, 0.01, 0.01, 0.005])


def test_weights_of_zero_take_rows_out(data):
    x, y = data
    weights = np.ones(ROWS)
    weights[40:] = 0
    options = {"batch_size": None, "order": Sequential(), "epochs": 5, "optimizer": SGD(0.1), "dtype": "float64"}
    model = train(classifier(), x, y, sample_weight=weights, **options)
    alone = train(classifier(), x[:40], y[:40], **options)
    np.testing.assert_allclose(model.parameters, alone.parameters, rtol=1e-12, atol=1e-14)


def test_threads_are_limited_only_while_it_trains(data, monkeypatch):
    def threads():
        return [library["num_threads"] for library in threadpool_info()]

    def noting_update(*arguments):
        seen.append(threads())
        return update(*arguments)

    before, seen = threads(), []
    monkeypatch.setattr(nnaccel.program, "update", noting_update)
    fit(data, threads=1, epochs=1, backend="cpu")
    assert seen
    assert all(count == 1 for counts in seen for count in counts)
    assert threads() == before


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"epochs": 0}, "epochs must be a whole number, 1 or more, not 0"),
        ({"epochs": 2.5}, "epochs must be a whole number"),
        ({"batch_size": 0}, "batch size must be a whole number, 1 or more, not 0"),
        ({"batch_size": -3}, "batch size"),
        ({"time_limit": 0}, "time limit must be above 0"),
        ({"optimizer": "adam,learning_rate=-1"}, "learning rate must be above 0"),
        ({"optimizer": "adem"}, "did you mean 'adam'"),
        ({"schedule": "cosin"}, "did you mean 'cosine'"),
        ({"loss": "mse"}, "unknown loss 'mse'"),
        ({"dtype": "float16"}, "unknown dtype 'float16'; known: float32, float64"),
        ({"backend": "gpu"}, "unknown backend 'gpu'; known: auto, cpu, cuda"),
        ({"validation": 1.5}, "validation fraction must be above 0 and below 1"),
        ({"validation": 0.001}, "leaves nothing to validate on"),
        ({"early_stopping": 0}, "patience"),
        ({"threads": 0}, "threads must be a whole number"),
        ({"metrics": ["accurracy"]}, r"unknown metric 'accurracy' \(did you mean 'accuracy'\?\)"),
        ({"metrics": ["f1", "r2"]}, "the metric r2 is for regression, but softmax_cross_entropy is for classes"),
        ({"l2": -1.0}, "L2 penalty must be 0 or more"),
        ({"clip_norm": 0.0}, "norm to clip gradients at must be above 0"),
        ({"initial": [[np.zeros((3, 6))]]}, "1 layers for 2 layers"),
        ({"sample_weight": [1.0]}, "sample_weight must have the shape"),
        ({"sample_weight": -np.ones(ROWS)}, "must not be negative"),
    ],
)
def test_bad_options_get_one_sentence(data, options, sentence):
    with pytest.raises(InputError, match=sentence) as caught:
        fit(data, **options)
    assert "\n" not in str(caught.value)


def test_bad_data_gets_one_sentence(data):
    x, y = data
    holed = x.copy()
    holed[3, 2] = np.nan
    for X, target, sentence in [
        (holed, y, "X has the value nan in row 3, column 2"),
        (x[:, :3], y, r"X has rows of the shape \(3,\), but the network takes \(4,\)"),
        (x, y[:-1], "X has 53 rows but y has the shape"),
        (x, y * 0, "nothing to learn from one class"),
        (x, y + 1, "class labels 1 to 2, but the network's 2 outputs stand for 0 to 1"),
        (x[:0], y[:0], "at least one row"),
        (x[:, 0], y, "two dimensions"),
        (x.astype(str), y, "not real numbers"),
    ]:
        with pytest.raises(InputError, match=sentence):
            fit((X, target))


def test_numbers_too_large_for_the_dtype(data):
    x, y = data
    x = x.copy()
    x[5, 1] = 1e300
    with pytest.raises(InputError, match=r"1e\+300 in row 5, column 1, too large for float32"):
        fit((x, y), dtype="float32")


def test_a_network_that_does_not_fit_in_memory(data):
    with pytest.raises(InputError, match=r"1,000,008,000,002 parameters .* takes \d+(\.\d+)? TB, but this machine has"):
        train(Network(4, [Dense(10**6, bias=True), Dense(10**6), Dense(2)]), *data)


def test_multi_output_regression(data):
    x, _ = data
    targets = x @ np.array([[1.0, 2], [0, 1], [3, 0], [0, 0]])
    model = train(Network(4, [Dense(2)]), x, targets, optimizer="adam,learning_rate=0.1", epochs=200, validation=0.2)
    assert isinstance(model.loss, MeanSquaredError)
    assert model.predict(x).shape == (ROWS, 2)
    assert model.report.metrics["r2"] > 0.999


def test_multi_label(data):
    x, y = data
    labels = np.stack([y, 1 - y, x[:, 2] > 0], axis=1).astype(int)
    model = train(Network(4, [Dense(3)]), x, labels, optimizer="adam,learning_rate=0.1", epochs=200)
    assert model.loss.name == "binary_cross_entropy"
    assert (model.predict(x) == labels).mean() > 0.95
    assert model.predict_proba(x).shape == (ROWS, 3)
