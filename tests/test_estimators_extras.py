"""What scikit-learn refused to its users: each extra does what its formula says, and refuses what makes no sense."""

import copy
import functools

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
import sklearn
from sklearn.base import clone
from sklearn.metrics import make_scorer
from sklearn.model_selection import GroupShuffleSplit, ShuffleSplit
from sklearn.utils import compute_sample_weight

from nnaccel import MLPClassifier
from nnaccel.activations import ACTIVATIONS as OUR_ACTIVATIONS
from nnaccel.activations import LeakyReLU
from nnaccel.losses import Huber, Poisson
from tests.pairs_of_estimators import (
    RULES,
    SGD,
    STEPS,
    STOPS_EARLY,
    assert_same,
    assert_same_estimator,
    both_backends,
    events_of,
    ours_for,
    ours_like,
    pair,
    problem,
    table,
    weights_for,
    with_words,
)
from tests.test_against_sklearn import ROWS
from tests.tolerance import SAME_OPTIMUM

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


CLASS_WEIGHTS = {
    "a dict": ("multiclass", {0: 1.0, 1: 3.0, 2: 0.5}),
    "balanced": ("multiclass", "balanced"),
    "a class that isn't named": ("multiclass", {1: 3.0}),
    "dicts of labels": ("multilabel", [{0: 1, 1: 2}, {0: 3, 1: 1}, {0: 1, 1: 1}]),
}


@both_backends
@pytest.mark.parametrize("settings", [{"max_iter": 20}, STOPS_EARLY, {"solver": "lbfgs", "max_iter": 5}])
@pytest.mark.parametrize("weights", CLASS_WEIGHTS)
def test_a_class_weight_is_the_sample_weights_it_means(weights, settings, backend):
    task, class_weight = CLASS_WEIGHTS[weights]
    for own in (None, weights_for(range(ROWS))):
        x, y, theirs = problem(task, **settings)
        ours = ours_like(theirs, backend=backend, class_weight=class_weight)
        meant = compute_sample_weight(class_weight, y) * (1 if own is None else own)
        calls = [functools.partial(ours.fit, x, y, own), functools.partial(theirs.fit, x, y, meant)]
        happened = [events_of(call) for call in calls]
        assert happened[0] == happened[1]
        assert_same_estimator(ours, theirs, x)


@pytest.mark.parametrize("weights", [{0: 1.0, 1: 3.0, 2: 0.5}, {1: 3.0}])
def test_class_weights_in_parts(weights):
    x, y, ours = ours_for("multiclass", class_weight=weights)
    theirs = problem("multiclass")[2]
    for part in (slice(50), slice(50, None)):
        ours.partial_fit(x[part], y[part], classes=[0, 1, 2])
        theirs.partial_fit(x[part], y[part], compute_sample_weight(ours.class_weight, y[part]), classes=[0, 1, 2])
    assert_same_estimator(ours, theirs, x)
    rest = y != 1
    ours.partial_fit(x[rest], y[rest])
    theirs.partial_fit(x[rest], y[rest], [weights.get(label, 1.0) for label in y[rest]])
    assert_same_estimator(ours, theirs, x)


def smoothed(y, classes, smoothing):
    """The rows that label smoothing means: each again for every class, with what this is wanted as its weight."""
    wanted = np.tile(np.arange(classes), len(y))
    weights = (1 - smoothing) * (np.repeat(y, classes) == wanted) + smoothing / classes
    return np.repeat(np.arange(len(y)), classes), wanted, weights


@both_backends
@pytest.mark.parametrize(("task", "classes"), [("binary", 2), ("multiclass", 3)])
def test_label_smoothing_wants_every_class_a_little(task, classes, backend):
    x, y, theirs = problem(task, batch_size=1000, shuffle=False, max_iter=50, **SGD)
    ours = ours_like(theirs, backend=backend, label_smoothing=0.3)
    rows, wanted, weights = smoothed(y, classes, 0.3)
    events_of(lambda: ours.fit(x, y))
    events_of(lambda: theirs.fit(x[rows], wanted, weights))
    assert_same(ours.coefs_, theirs.coefs_)
    assert_same(ours.predict_proba(x), theirs.predict_proba(x))
    assert_same(ours.loss_curve_, theirs.loss_curve_)


def half_cosine(begin, end, time):
    return end + (begin - end) * (1 + np.cos(np.pi * time)) / 2


SCHEDULES = {
    "constant": lambda epoch, last: 1.0,
    "cosine": lambda epoch, last: half_cosine(1, 0, epoch / (last + 1)),
    "cosine,warmup=4": lambda epoch, last: half_cosine(1, 0, epoch / (last + 1)) * min(1, (epoch + 1) / 4),
    "step,every=3": lambda epoch, last: 0.1 ** (epoch // 3),
    "step,every=3,factor=0.5": lambda epoch, last: 0.5 ** (epoch // 3),
    "one_cycle": lambda epoch, last: (
        half_cosine(0.04, 1, epoch / last / 0.3)
        if epoch / last < 0.3
        else half_cosine(1, 4e-6, (epoch / last - 0.3) / 0.7)
    ),
}


@both_backends
@pytest.mark.parametrize("rule", ["sgd", "nesterov", "adam"])
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_schedule_multiplies_the_learning_rate(schedule, rule, backend):
    """As if scikit-learn's learning rate were set by hand before each epoch of one batch."""
    count = 12
    x, y, theirs = problem("multiclass", batch_size=ROWS, shuffle=False, max_iter=count, **STEPS[rule])
    ours = ours_like(theirs, backend=backend).set_params(learning_rate=schedule).fit(x, y)
    rate = theirs.learning_rate_init
    for epoch in range(count):
        factor = SCHEDULES[schedule](epoch, count - 1)
        if epoch == 0:  # Without an optimizer yet, whose learning rate could be set.
            theirs.learning_rate_init = rate * factor
        else:
            theirs._optimizer.learning_rate = theirs._optimizer.learning_rate_init = rate * factor
        theirs.partial_fit(x, y, classes=[0, 1, 2])
    assert_same(ours.coefs_, theirs.coefs_)
    assert_same(ours.loss_curve_, theirs.loss_curve_)


@both_backends
@pytest.mark.parametrize("name", OUR_ACTIVATIONS)
def test_every_activation_learns_and_predicts_what_its_formula_says(name, backend):
    x, y, ours = ours_for("multiclass", backend, activation=name, max_iter=30)
    ours.fit(x, y)
    assert ours.loss_curve_[-1] < ours.loss_curve_[0] / 2
    activation, rows = OUR_ACTIVATIONS[name](), x
    for weights, biases in zip(ours.coefs_[:-1], ours.intercepts_[:-1], strict=True):
        rows = activation.value(rows @ weights + biases, np)
    exponentials = np.exp(rows @ ours.coefs_[-1] + ours.intercepts_[-1])
    assert_same(ours.predict_proba(x), exponentials / exponentials.sum(axis=1, keepdims=True))


@both_backends
@pytest.mark.parametrize("several", [["tanh", "tanh"], ("tanh", "tanh")])
def test_each_layer_may_have_its_activation(several, backend):
    x, y, ours = ours_for("multiclass", backend, max_iter=10)
    one = clone(ours).fit(x, y)
    each = clone(ours).set_params(activation=several).fit(x, y)
    assert_same(each.coefs_, one.coefs_)
    mixed = clone(ours).set_params(activation=["tanh", LeakyReLU(0.2)]).fit(x, y)
    hidden = np.tanh(x @ mixed.coefs_[0] + mixed.intercepts_[0]) @ mixed.coefs_[1] + mixed.intercepts_[1]
    hidden = np.where(hidden > 0, hidden, 0.2 * hidden)
    exponentials = np.exp(hidden @ mixed.coefs_[2] + mixed.intercepts_[2])
    assert_same(mixed.predict_proba(x), exponentials / exponentials.sum(axis=1, keepdims=True))


@both_backends
@pytest.mark.parametrize("dropout", [0.3, [0.3, 0.1], (0.0, 0.5)])
def test_dropout(dropout, backend):
    x, y, plain = ours_for("multiclass", backend, max_iter=60)
    fits = [clone(plain).set_params(dropout=dropout, random_state=seed).fit(x, y) for seed in (3, 3, 4)]
    assert_same(fits[0].coefs_, fits[1].coefs_)
    assert fits[0].loss_curve_[-1] != fits[2].loss_curve_[-1]
    assert fits[0].loss_curve_[-1] > plain.fit(x, y).loss_curve_[-1], "what is dropped can't help"
    assert fits[0].score(x, y) > 0.8
    np.testing.assert_array_equal(fits[0].predict_proba(x), fits[0].predict_proba(x))


@both_backends
def test_a_clipped_gradient_moves_the_parameters_no_further_than_it_is_long(backend):
    x, y, ours = ours_for("multiclass", backend, batch_size=ROWS, max_iter=1, **STEPS["sgd"])
    start = clone(ours).set_params(learning_rate_init=1e-300).fit(x, y)
    moved = []
    for norm in (None, 0.01, 1e9):
        stepped = clone(ours).set_params(clip_norm=norm).fit(x, y)
        pairs = zip(stepped.coefs_ + stepped.intercepts_, start.coefs_ + start.intercepts_, strict=True)
        moved.append(np.concatenate([(after - before).ravel() for after, before in pairs]))
    assert np.linalg.norm(moved[0]) > 0.02 * 0.01
    assert_same(np.linalg.norm(moved[1]), np.float64(0.02 * 0.01))
    assert_same(moved[1] / np.linalg.norm(moved[1]), moved[0] / np.linalg.norm(moved[0]))
    assert_same(moved[2], moved[0])


@both_backends
@pytest.mark.parametrize("task", ["multiclass", "multilabel", "regression", "multi-output"])
def test_a_validation_set_of_ones_own_is_watched_and_never_trained_on(task, backend):
    x, y, ours = ours_for(task, backend, max_iter=30)
    held = slice(60, None)
    alone = clone(ours).fit(x[:60], y[:60])
    watched = clone(ours).fit(x[:60], y[:60], eval_set=(x[held], y[held]))
    assert_same(watched.coefs_, alone.coefs_)
    assert_same(watched.loss_curve_, alone.loss_curve_)
    assert len(watched.validation_scores_) == 30
    assert_same(watched.validation_scores_[-1], float(alone.score(x[held], y[held])))
    settings = {"early_stopping": True, "n_iter_no_change": 3, "tol": 0.01, "max_iter": 500}
    weights = weights_for(x)
    stopped = clone(ours).set_params(**settings).fit(x[:60], y[:60], eval_set=(x[held], y[held], weights[held]))
    assert stopped.n_iter_ < 500
    assert stopped.best_validation_score_ == max(stopped.validation_scores_)
    assert_same(stopped.best_validation_score_, float(stopped.score(x[held], y[held], weights[held])))
    best = int(np.argmax(stopped.validation_scores_)) + 1
    assert_same(stopped.coefs_, clone(ours).set_params(max_iter=best).fit(x[:60], y[:60]).coefs_)


def test_a_validation_set_may_have_words_for_labels_and_rows_of_every_form():
    x, y, ours = ours_for("multiclass", max_iter=5)
    words = with_words(x, y)[1]
    want = clone(ours).fit(x, words, eval_set=(x[:20], words[:20])).validation_scores_
    for rows in (scipy.sparse.csr_matrix(x[:20]), pd.DataFrame(x[:20]), x[:20].tolist(), np.asfortranarray(x[:20])):
        assert_same(clone(ours).fit(x, words, eval_set=(rows, words[:20].tolist())).validation_scores_, want)


def test_a_validation_set_may_have_sparse_labels_or_no_weights():
    x, y, ours = ours_for("multilabel", max_iter=3)
    want = clone(ours).fit(x, y, eval_set=(x, y)).validation_scores_
    for given in ((x, scipy.sparse.csr_matrix(y)), (x, y, None)):
        assert clone(ours).fit(x, y, eval_set=given).validation_scores_ == want


@both_backends
def test_a_splitter_says_which_rows_are_held_out(backend):
    x, y, ours = ours_for("multiclass", backend, **STOPS_EARLY)
    splitter = ShuffleSplit(3, test_size=0.3, random_state=1)
    training, held = next(splitter.split(x))
    words = with_words(x, y)[1]
    split = clone(ours).set_params(validation_fraction=splitter).fit(x, words)
    given = clone(ours).fit(x[training], words[training], eval_set=(x[held], words[held]))
    assert_same(split.validation_scores_, given.validation_scores_)
    assert_same(split.coefs_, given.coefs_)
    with pytest.raises(ValueError, match="'groups'"):
        clone(ours).set_params(validation_fraction=GroupShuffleSplit(1)).fit(x, y)


def test_scoring_says_what_is_watched():
    x, y, ours = ours_for("multiclass", **STOPS_EARLY)
    fits = {
        scoring: clone(ours).set_params(scoring=scoring).fit(x, y)
        for scoring in (None, "accuracy", "neg_log_loss", "balanced_accuracy")
    }
    assert_same(fits["accuracy"].validation_scores_, fits[None].validation_scores_)
    assert max(fits["neg_log_loss"].validation_scores_) < 0
    negative = clone(ours).set_params(scoring=lambda e, x, y: -e.score(x, y), max_iter=3).fit(x, y)
    assert_same(negative.validation_scores_, [-score for score in fits[None].validation_scores_[:3]])
    made = make_scorer(sklearn.metrics.log_loss, response_method="predict_proba", greater_is_better=False)
    assert_same(
        clone(ours).set_params(scoring=made).fit(x, y).validation_scores_, fits["neg_log_loss"].validation_scores_
    )


def test_callbacks_are_called_after_each_epoch_and_may_stop():
    x, y, ours = ours_for("multiclass", max_iter=12)
    seen = []

    def note(estimator):
        seen.append((estimator.n_iter_, estimator.loss_curve_[-1], estimator.predict_proba(x)))

    ours.set_params(callbacks=[note, lambda e: e.n_iter_ == 5, note]).fit(x, y)
    assert [epoch for epoch, *_ in seen] == [1, 1, 2, 2, 3, 3, 4, 4, 5, 5]
    assert [loss for _, loss, _ in seen[::2]] == ours.loss_curve_
    shorter = clone(ours).set_params(callbacks=None, max_iter=3).fit(x, y)
    assert_same(seen[5][2], shorter.predict_proba(x))
    seen.clear()
    ours.partial_fit(x, y)
    assert len(seen) == 2


def test_a_copy_from_a_callback_is_not_in_the_middle_of_a_fit():
    x, y, ours = ours_for("multiclass", max_iter=3)
    copies = []
    ours.set_params(callbacks=[lambda e: copies.append(copy.copy(e))]).fit(x, y, eval_set=(x, y))
    assert len(copies) == 3
    for one in copies:
        scores = one.validation_scores_
        assert one.set_params(callbacks=None).partial_fit(x, y).validation_scores_ == scores


@pytest.mark.filterwarnings("ignore:lbfgs failed to converge")
def test_callbacks_see_how_far_lbfgs_is():
    x, y, ours = ours_for("multiclass", solver="lbfgs", max_iter=4)
    seen = []
    ours.set_params(callbacks=[lambda e: seen.append((e.n_iter_, e.loss_))])
    for _ in range(2):
        ours.fit(x, y)
        assert [iteration for iteration, _ in seen] == [1, 2, 3, 4]
        assert seen[-1][1] == ours.loss_
        seen.clear()


@both_backends
@pytest.mark.parametrize("early", [{}, {"early_stopping": True}])
def test_a_time_limit_ends_a_fit(early, backend):
    x, y, ours = ours_for("multiclass", backend, max_iter=10**7, n_iter_no_change=np.inf, time_limit=0.2, **early)
    ours.fit(x, y)
    assert 0 < ours.n_iter_ < 10**7
    assert len(ours.loss_curve_) == ours.n_iter_
    assert ours.score(x, y) > 0.5


@both_backends
@pytest.mark.parametrize("rule", ["sgd", "nesterov", "adam", "invscaling"])
def test_two_fits_that_resume_are_one(rule, backend):
    x, y, ours = ours_for("multiclass", backend, shuffle=False, max_iter=10, **RULES[rule])
    whole = clone(ours).fit(x, y)
    halves = clone(ours).set_params(max_iter=5, warm_start=True, resume=True).fit(x, y).fit(x, y)
    assert_same(halves.coefs_, whole.coefs_)
    assert_same(halves.loss_curve_, whole.loss_curve_)
    cold = clone(ours).set_params(max_iter=5, warm_start=True).fit(x, y).fit(x, y)
    assert rule in ("sgd", "invscaling") or (cold.coefs_[0] != whole.coefs_[0]).any()


@both_backends
def test_dtype_and_threads(backend):
    x, y, ours = ours_for("multiclass", backend, max_iter=10)
    single = clone(ours).set_params(dtype="float32").fit(x, y)
    assert {a.dtype for a in single.coefs_ + single.intercepts_} == {np.dtype(np.float32)}
    assert_same(single.coefs_, clone(ours).fit(x.astype(np.float32), y).coefs_)
    double = clone(ours).set_params(dtype="float64").fit(x.astype(np.float32), y)
    assert_same(double.coefs_, clone(ours).fit(x.astype(np.float32).astype(float), y).coefs_)
    fits = [clone(ours).set_params(threads=threads).fit(x, y) for threads in (None, 1, 2)]
    assert_same(fits[1].coefs_, fits[0].coefs_)
    assert_same(fits[2].coefs_, fits[0].coefs_)


@pytest.mark.parametrize("loss", ["absolute_error", "huber", "huber,delta=0.5", Huber(0.5), "mean_squared_error"])
def test_other_losses_are_learnt(loss):
    x, y, ours = ours_for("regression", loss=loss, max_iter=60)
    assert ours.fit(x, y).score(x, y) > 0.3
    assert ours.loss_curve_[-1] < ours.loss_curve_[0]


# A bad value of each extra, and what its sentence says.
REFUSED = {
    "class_weight": [
        ("typo", "class_weight"), (3, "class_weight"), ({7: 1.0}, "class_weight"),
    ],
    "label_smoothing": [(1.0, "label_smoothing"), (-0.1, "label_smoothing"), ("a", "label_smoothing")],
    "dropout": [
        (1.0, "dropout"), (-0.1, "dropout"), ("a", "dropout"), (None, "dropout"), ([0.1], "1 entries for 2 hidden layers"),
        ([0.1, 2.0], "dropout must be at least 0"), (["a", 0.1], "dropout must be a number"),
    ],
    "activation": [
        ("typo", "unknown activation 'typo'"), (["relu"], "1 entries for 2 hidden layers"), (["relu", "typo"], "'typo'"),
        ("leaky_relu,slope=a", "slope"), ([1, 2], "1 is no activation"), (3, "activation"),
    ],
    "learning_rate": [
        ("typo", "unknown schedule 'typo'"), ("step,every=0", "every"), ("cosine,foo=3", "foo=3"), (3, "learning_rate"),
        (LeakyReLU(0.1), "no schedule"),
    ],
    "weight_decay": [(-1, "weight_decay"), ("a", "weight_decay")],
    "clip_norm": [(0, "clip_norm"), (-1, "clip_norm"), ("a", "clip_norm")],
    "validation_fraction": [(1.0, "validation_fraction"), (None, "validation_fraction")],
    "scoring": [("typo", "'typo' is not a valid scoring value"), (3, "scoring")],
    "callbacks": [(print, "callbacks"), (3, "callbacks")],
    "time_limit": [(0, "time_limit"), (-1, "time_limit"), ("a", "time_limit")],
    "resume": [("a", "resume"), (None, "resume")],
    "backend": [("typo", "unknown backend 'typo'"), (None, "backend")],
    "dtype": [("float16", "dtype"), (3, "dtype")],
    "threads": [(0, "threads"), (1.5, "threads"), ("a", "threads")],
    "solver": [("typo", "solver")],
}  # fmt: skip
REFUSALS = [(name, value, words) for name, pairs in REFUSED.items() for value, words in pairs]


def assert_refuses(action, words):
    with pytest.raises(ValueError, match=words) as raised:
        action()
    assert len(str(raised.value).splitlines()) == 1


@pytest.mark.parametrize(("name", "value", "words"), REFUSALS, ids=[f"{name}={value!r}" for name, value, _ in REFUSALS])
def test_bad_values_of_extras_are_refused_in_one_sentence(name, value, words):
    x, y, ours = ours_for("multiclass", early_stopping=True, **{name: value})
    assert_refuses(lambda: ours.fit(x, y), words)


@pytest.mark.parametrize("loss", ["typo", "softmax_cross_entropy", "huber,delta=-1"])
def test_a_bad_loss_is_refused_in_one_sentence(loss):
    x, y, ours = ours_for("regression", loss=loss)
    assert_refuses(lambda: ours.fit(x, y), loss.partition(",")[0])


EVAL_SETS = {
    "a number": (lambda x, y: 5, "eval_set takes"),
    "only rows": (lambda x, y: (x,), "eval_set takes"),
    "another number of features": (lambda x, y: (x[:, 1:], y), "features"),
    "too few targets": (lambda x, y: (x, y[:5]), "rows"),
    "one target": (lambda x, y: (x, 1), "rows"),
    "too few weights": (lambda x, y: (x, y, [1.0]), "sample_weight.shape"),
}


@pytest.mark.parametrize("given", EVAL_SETS)
def test_a_bad_validation_set_is_refused_in_one_sentence(given):
    make, words = EVAL_SETS[given]
    x, y, ours = ours_for("multiclass")
    assert_refuses(lambda: ours.fit(x, y, eval_set=make(x, y)), words)
    assert "_eval_set" not in vars(ours)


def test_balanced_classes_need_all_rows():
    x, y, ours = ours_for("multiclass", class_weight="balanced")
    assert_refuses(lambda: ours.partial_fit(x, y, classes=[0, 1, 2]), "'balanced' is not supported for partial_fit")


# --- what an optimizer remembers; what the extras mean at their edges ---


@both_backends
def test_adamw_takes_the_decay_off_the_weights_apart_from_the_gradient(backend):
    x, y, adam = ours_for("multiclass", backend, batch_size=ROWS, max_iter=1, alpha=0.0)
    start = clone(adam).set_params(learning_rate_init=1e-300).fit(x, y)
    free, decayed = (clone(adam).set_params(solver="adamw", weight_decay=decay).fit(x, y) for decay in (0.0, 0.5))
    shrunk = [w - 0.02 * 0.5 * first for w, first in zip(free.coefs_, start.coefs_, strict=True)]
    assert_same(decayed.coefs_, shrunk)
    assert_same(decayed.intercepts_, free.intercepts_)
    longer = [clone(adam).set_params(solver=s, weight_decay=0.0, max_iter=50).fit(x, y) for s in ("adam", "adamw")]
    assert longer[1].loss_ == pytest.approx(longer[0].loss_, rel=SAME_OPTIMUM)
    assert clone(decayed).partial_fit(x, y, classes=[0, 1, 2]).n_iter_ == 1
    stopped = clone(adam).set_params(solver="adamw", **STOPS_EARLY, batch_size=20, max_iter=200).fit(x, y)
    assert stopped.best_validation_score_ == max(stopped.validation_scores_)
    assert stopped.loss_curve_[-1] < stopped.loss_curve_[0]


def test_scoring_knows_the_names_of_columns():
    frame, words = table()
    _, _, ours = ours_for("multiclass", max_iter=3, early_stopping=True, scoring="accuracy")
    ours.fit(frame.drop(columns="color"), words)
    assert len(ours.validation_scores_) == 3


def test_resuming_means_nothing_without_a_warm_start():
    x, y, ours = ours_for("multiclass", max_iter=5, resume=True)
    first = clone(ours).fit(x, y)
    assert_same(ours.fit(x, y).fit(x, y).coefs_, first.coefs_)


def test_a_time_limit_that_is_over_at_once():
    x, y, ours = ours_for("multiclass", time_limit=1e-9)
    ours.fit(x, y)
    assert ours.n_iter_ == len(ours.loss_curve_) == 0
    assert not np.isfinite(ours.loss_)


@pytest.mark.parametrize("several", [{"activation": np.array(["tanh", "tanh"])}, {"dropout": np.array([0.3, 0.1])}])
def test_an_array_may_name_what_each_layer_has(several):
    """The parameter is documented and checked as array-like."""
    x, y, ours = ours_for("multiclass", max_iter=5)
    lists = {name: values.tolist() for name, values in several.items()}
    assert_same(*[clone(ours).set_params(**given).fit(x, y).coefs_ for given in (several, lists)])


def test_plateau_lowers_the_learning_rate():
    x, y, ours = ours_for("multiclass", **SGD)
    constant = clone(ours).fit(x, y)
    lowered = clone(ours).set_params(learning_rate="plateau,patience=0,tolerance=1").fit(x, y)
    assert lowered.loss_ > constant.loss_


@pytest.mark.parametrize("schedule", ["cosine", "one_cycle", "step,every=3", "plateau,patience=0,tolerance=1"])
def test_parts_follow_a_schedule(schedule):
    x, y, ours = ours_for("multiclass", max_iter=10, shuffle=False, learning_rate=schedule)
    whole = clone(ours).fit(x, y)
    for _ in range(10):
        ours.partial_fit(x, y, classes=[0, 1, 2])
    assert_same(ours.coefs_, whole.coefs_)


@pytest.mark.parametrize("schedule", ["step,every=3", "plateau,patience=0,tolerance=1"])
def test_a_schedule_goes_on_when_a_fit_resumes(schedule):
    """A fit that resumes knows neither how many epochs it will have had, so another answer may be right; restarting isn't."""
    x, y, ours = ours_for("multiclass", shuffle=False, learning_rate=schedule, max_iter=10)
    whole = clone(ours).fit(x, y)
    halves = clone(ours).set_params(max_iter=5, warm_start=True, resume=True).fit(x, y).fit(x, y)
    assert_same(halves.coefs_, whole.coefs_)


@pytest.mark.parametrize(
    ("solver", "parameters"),
    [
        ("sgd", {"momentum": 0.0, "power_t": 1.0}),
        ("adam", {"beta_1": 0.5, "epsilon": 0.1}),
        ("adamw", {"weight_decay": 0.5}),
    ],
)
def test_a_fit_that_resumes_goes_by_its_own_parameters(solver, parameters):
    x, y, ours = ours_for("multiclass", solver=solver, max_iter=5, warm_start=True, resume=True)
    steps = ours.fit(x, y)._optimizer.t
    ours.set_params(**parameters).fit(x, y)
    assert ours._optimizer.t == 2 * steps
    assert parameters.items() <= vars(ours._optimizer).items()


def test_huge_numbers_are_predicted_with_the_same_warnings():
    x, y, ours, theirs = pair()
    huge = np.full((10, 4), 1e308)
    for estimator in (ours, theirs):
        estimator.fit(x, y)
    assert events_of(lambda: ours.predict(huge)) == events_of(lambda: theirs.predict(huge))


@pytest.mark.parametrize(
    "bad", [{"backend": "typo"}, {"learning_rate": "typo"}, {"activation": "typo"}, {"dropout": [2.0]}]
)
def test_a_fit_that_was_refused_leaves_nothing_fitted(bad):
    x, y, ours = ours_for("multiclass", **bad)
    with pytest.raises(ValueError, match=r"typo|dropout"):
        ours.fit(x, y)
    with pytest.raises(sklearn.exceptions.NotFittedError):
        ours.predict(x)


def test_a_warm_start_may_forget_the_sizes_that_no_longer_count():
    """Theirs goes on with the network that is there; or let ours refuse it in words about hidden_layer_sizes."""
    x, y, theirs = problem("multiclass", max_iter=5, warm_start=True)
    ours = ours_like(theirs)
    for estimator in (ours, theirs):
        estimator.fit(x, y).set_params(hidden_layer_sizes=(4, 3)).fit(x, y)
    assert_same_estimator(ours, theirs, x)


@pytest.mark.parametrize("change", [{"momentum": 0.1}, {"momentum": 0}, {"nesterovs_momentum": False}])
def test_an_optimizer_keeps_its_momentum_between_parts(change):
    x, y, theirs = problem("multiclass", **SGD)
    ours = ours_like(theirs)
    for estimator in (ours, theirs):
        estimator.partial_fit(x, y, classes=[0, 1, 2]).set_params(**change).partial_fit(x, y)
    assert_same_estimator(ours, theirs, x)


@pytest.mark.parametrize("change", [{"beta_1": 0.1}, {"beta_2": 0.1}, {"solver": "sgd"}])
def test_an_optimizer_keeps_its_rule_between_parts(change):
    x, y, theirs = problem("multiclass")
    ours = ours_like(theirs)
    for estimator in (ours, theirs):
        estimator.partial_fit(x, y, classes=[0, 1, 2]).set_params(**change).partial_fit(x, y).partial_fit(x, y)
    assert_same_estimator(ours, theirs, x)


def test_lbfgs_works_in_float64_as_theirs_does():
    x, y, theirs = problem("multiclass", solver="lbfgs", max_iter=5)
    ours, x = ours_like(theirs), x.astype(np.float32)
    assert events_of(lambda: ours.fit(x, y)) == events_of(lambda: theirs.fit(x, y))
    assert [w.dtype for w in ours.coefs_] == [w.dtype for w in theirs.coefs_]
    assert ours.loss_ == pytest.approx(theirs.loss_, rel=SAME_OPTIMUM)


@pytest.mark.parametrize(
    "extra", [{"callbacks": [lambda estimator: True]}, {"time_limit": 1e-9}, {"dropout": 0.5}, {"clip_norm": 1e-9}]
)
def test_lbfgs_obeys_an_extra_or_refuses_it(extra):
    x, y, ours = ours_for("multiclass", solver="lbfgs", max_iter=50)
    plain, other = clone(ours), clone(ours).set_params(**extra)
    events = [events_of(lambda e=e: e.fit(x, y)) for e in (plain, other)]
    assert events[1].error is not None or plain.loss_ != other.loss_


def test_lbfgs_refuses_a_learning_rate_that_does_not_exist():
    x, y, ours = ours_for("multiclass", solver="lbfgs", learning_rate="typo")
    assert_refuses(lambda: ours.fit(x, y), "'typo'")


def test_what_comes_out_is_named_for_a_loss_that_is_an_object():
    x, y, ours = ours_for("poisson", loss=Poisson())
    assert ours.fit(x, y).out_activation_ == "exp"


def test_divergence_that_a_scorer_cannot_score():
    """Without `scoring` such a score is NaN, and scikit-learn's rules go on."""
    x, y, ours = ours_for("regression", **STEPS["sgd"])
    ours.set_params(learning_rate_init=1e9, early_stopping=True, max_iter=5)
    plain, scored = (events_of(lambda s=s: clone(ours).set_params(scoring=s).fit(x, y)) for s in (None, "r2"))
    assert plain.error is None
    assert scored.error is None


class SplitsNothing:
    """A splitter without a split."""

    def split(self, x, y):
        return iter(())


class SplitsAllOff(SplitsNothing):
    """A splitter that leaves no rows to train on."""

    def split(self, x, y):
        return iter([(np.arange(0), np.arange(len(y)))])


@pytest.mark.parametrize(
    ("bad", "words"),
    [
        ({"callbacks": ["a"]}, "callbacks"),
        ({"validation_fraction": "a"}, "validation_fraction"),
        ({"validation_fraction": SplitsNothing()}, "validation_fraction|split"),
        ({"validation_fraction": SplitsAllOff()}, "validation_fraction|split|rows"),
        ({"scoring": lambda e, x, y: "a"}, "scoring|score"),
    ],
)
def test_bad_values_are_refused_in_one_sentence(bad, words):
    x, y, ours = ours_for("multiclass", early_stopping=True, **bad)
    assert_refuses(lambda: ours.fit(x, y), words)


def test_class_weights_leave_wrong_targets_to_their_checks():
    """Ours fails while it computes the weights, before scikit-learn's own words can come."""
    x, y, ours = ours_for("multiclass", class_weight="balanced")
    plain = clone(ours).set_params(class_weight=None)
    for targets, weights in (
        (y[:5], weights_for(x)),
        (np.where(y == 0, np.nan, y), None),
        (None, None),
        (x[:, 0], None),
    ):
        got, want = (events_of(lambda e=e, t=targets, w=weights: e.fit(x, t, w)) for e in (ours, plain))
        assert type(got.error) is type(want.error)
        assert str(got.error) == str(want.error)


@pytest.mark.parametrize("name", ["learning_rate", "scoring"])
def test_a_word_is_checked_as_a_parameter(name):
    with pytest.raises(sklearn.utils._param_validation.InvalidParameterError, match=name):
        MLPClassifier(**{name: "typo"}).fit([[0.0], [1.0]], [0, 1])


@pytest.mark.parametrize(
    "rules", [(True, False), (False, True)], ids=["stopping early, then not", "then stopping early"]
)
def test_a_warm_start_may_change_what_it_watches(rules):
    x, y, ours = ours_for("multiclass", max_iter=3, warm_start=True)
    for early in rules:
        ours.set_params(early_stopping=early).fit(x, y)
    assert len(ours.validation_scores_) == 3
    assert len(ours.loss_curve_) == 6


def test_a_new_network_forgets_the_optimizer_of_the_one_before():
    x, y, ours = ours_for("multiclass", max_iter=3)
    fresh = clone(ours).set_params(solver="lbfgs", hidden_layer_sizes=(4,), tol=10).fit(x, y)
    ours.fit(x, y).set_params(solver="lbfgs", hidden_layer_sizes=(4,), tol=10).fit(x, y)
    for estimator in (ours, fresh):
        estimator.set_params(solver="adam").partial_fit(x, y)
    assert_same(ours.coefs_, fresh.coefs_)


def test_a_dtype_may_be_one_of_numpy():
    x, y, ours = ours_for("multiclass", max_iter=3, dtype=np.float32)
    assert ours.fit(x, y).coefs_[0].dtype == np.float32
