"""The estimators work wherever scikit-learn's do: pipelines, searches, ensembles, routing, pickles, threads."""

import pickle
import threading

import joblib
import numpy as np
import pytest
import sklearn
from sklearn.base import clone
from sklearn.calibration import CalibratedClassifierCV
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.ensemble import BaggingClassifier
from sklearn.model_selection import GridSearchCV, ShuffleSplit, cross_val_score
from sklearn.multioutput import MultiOutputClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from nnaccel import MLPClassifier, MLPRegressor
from nnaccel.activations import LeakyReLU
from nnaccel.schedules import Cosine
from tests.pairs_of_estimators import (
    SGD,
    STOPS_EARLY,
    assert_same,
    both_backends,
    events_of,
    needs_sklearn,
    ours_for,
    pair,
    refuses_words_early,
    table,
    weights_for,
    with_words,
)

pytestmark = pytest.mark.filterwarnings("ignore:Stochastic Optimizer")


@pytest.fixture
def routing():
    with sklearn.config_context(enable_metadata_routing=True):
        yield


def prepared(estimator):
    """The estimator behind a preparation of the table's columns."""
    numbers, words = ["sepal length", "petal width"], ["color"]
    columns = ColumnTransformer([("n", StandardScaler(), numbers), ("w", OneHotEncoder(sparse_output=False), words)])
    return make_pipeline(columns, estimator)


@pytest.mark.parametrize("output", ["default", "pandas"])
@pytest.mark.parametrize("early", [{}, STOPS_EARLY])
def test_a_pipeline_of_a_table(early, output):
    if early:
        refuses_words_early()
    frame, words = table()
    _, _, ours, theirs = pair(**early)
    pipelines = [prepared(estimator).set_output(transform=output).fit(frame, words) for estimator in (ours, theirs)]
    assert_same(*[pipeline.predict_proba(frame) for pipeline in pipelines])
    assert_same(*[pipeline.score(frame, words) for pipeline in pipelines])
    assert hasattr(ours, "feature_names_in_") == (output == "pandas")
    assert "MLPClassifier" in pipelines[0]._repr_html_()
    again = clone(pipelines[0]).fit(frame, words)
    assert_same(again.predict_proba(frame), pipelines[0].predict_proba(frame))


def test_columns_of_other_names_are_refused():
    frame, words = table()
    numbers = frame.drop(columns="color")
    _, _, ours, theirs = pair()
    for call in (
        lambda e: e.predict(numbers[numbers.columns[::-1]]),
        lambda e: e.predict(numbers.rename(columns={"petal width": "width"})),
        lambda e: e.predict_proba(numbers.to_numpy()),
    ):
        happened = [events_of(lambda e=e, c=call: c(e.fit(numbers, words))) for e in (ours, theirs)]
        assert str(happened[0].error) == str(happened[1].error)
        assert happened[0].warned == happened[1].warned


@pytest.mark.parametrize("jobs", [1, 2])
def test_searches_and_cross_validation_choose_what_theirs_choose(jobs):
    x, y, ours, theirs = pair()
    grid = {"alpha": [0.01, 1.0], "solver": ["adam", "sgd"]}
    searches = [GridSearchCV(estimator, grid, cv=3, n_jobs=jobs).fit(x, y) for estimator in (ours, theirs)]
    assert_same(*[search.cv_results_["mean_test_score"] for search in searches])
    assert searches[0].best_params_ == searches[1].best_params_
    assert_same(*[search.predict_proba(x) for search in searches])
    assert_same(*[cross_val_score(estimator, x, y, n_jobs=jobs) for estimator in (ours, theirs)])
    regressors = pair("regression")
    assert_same(*[cross_val_score(estimator, *regressors[:2], n_jobs=jobs) for estimator in regressors[2:]])


def test_a_search_goes_through_the_extras():
    x, y, ours, _ = pair()
    grid = {"dropout": [0.0, [0.3]], "activation": ["gelu", ["silu"]], "class_weight": [None, "balanced"]}
    search = GridSearchCV(ours, grid, cv=2, error_score="raise").fit(x, y)
    assert search.best_estimator_.get_params() == ours.get_params() | search.best_params_


@pytest.mark.parametrize(
    "around",
    [
        lambda e: CalibratedClassifierCV(e, cv=3),
        lambda e: BaggingClassifier(e, n_estimators=3, random_state=0, max_samples=0.8, max_features=0.7),
        lambda e: BaggingClassifier(e, n_estimators=3, random_state=0, n_jobs=2),
    ],
)
def test_ensembles_are_what_theirs_make(around):
    x, y, ours, theirs = pair(batch_size="auto")  # theirs can't train on a batch that was drawn not once
    y = with_words(x, y)[1]
    assert_same(*[around(estimator).fit(x, y).predict_proba(x) for estimator in (ours, theirs)])


def test_other_meta_estimators():
    x, y, ours, theirs = pair()
    several = np.stack([y, y == 1], axis=1)
    assert_same(*[MultiOutputClassifier(estimator).fit(x, several).predict_proba(x) for estimator in (ours, theirs)])
    x, y, ours, theirs = pair("regression")
    targets = [TransformedTargetRegressor(e, transformer=StandardScaler()).fit(x, y) for e in (ours, theirs)]
    assert_same(*[target.predict(x) for target in targets])


@pytest.mark.usefixtures("routing")
def test_sample_weights_are_routed_through_pipelines_and_searches():
    needs_sklearn("1.8", "routes no weights to the score of a pipeline")
    x, y, ours, theirs = pair()
    weights, got = weights_for(x), []
    scaler = StandardScaler().set_fit_request(sample_weight=False)
    for estimator in (ours, theirs):
        estimator.set_fit_request(sample_weight=True).set_score_request(sample_weight=True)
        search = GridSearchCV(make_pipeline(scaler, estimator), {"mlpclassifier__alpha": [0.01, 10.0]}, cv=2)
        search.fit(x, y, sample_weight=weights)
        got.append((search.cv_results_["mean_test_score"], search.predict_proba(x)))
    assert_same(*got)
    unweighted = clone(search).set_params(estimator__mlpclassifier=ours.set_fit_request(sample_weight=False))
    assert (unweighted.fit(x, y, sample_weight=weights).predict_proba(x) != got[0][1]).any()


@pytest.mark.usefixtures("routing")
def test_a_validation_set_is_routed_as_well():
    x, y, ours, _ = pair()
    ours.set_fit_request(eval_set=True)
    pipeline = make_pipeline(StandardScaler(), ours).fit(x, y, eval_set=(x[:9], y[:9]))
    assert len(pipeline[-1].validation_scores_) == pipeline[-1].n_iter_


def through_pickle(estimator, _):
    return pickle.loads(pickle.dumps(estimator))


def through_joblib(estimator, folder):
    joblib.dump(estimator, folder / "estimator")
    return joblib.load(folder / "estimator")


def through_a_mapped_file(estimator, folder):
    joblib.dump(estimator, folder / "estimator")
    return joblib.load(folder / "estimator", mmap_mode="r")


@both_backends
@pytest.mark.parametrize("through", [through_pickle, through_joblib, through_a_mapped_file])
@pytest.mark.parametrize("settings", [{}, SGD, {"random_state": np.random.RandomState(4)}, {"dropout": 0.3}])
def test_what_was_pickled_goes_on_as_if_it_never_had_been(through, settings, backend, tmp_path):
    x, y, ours = ours_for("multiclass", backend, **settings)
    ours.partial_fit(x[:40], y[:40], classes=[0, 1, 2])
    twin = through(ours, tmp_path)
    for estimator in (ours, twin):
        estimator.partial_fit(x[40:], y[40:]).partial_fit(x, y)
    assert vars(twin).keys() == vars(ours).keys()
    for name in ("coefs_", "intercepts_", "loss_curve_", "t_"):
        assert_same(getattr(twin, name), getattr(ours, name))
    np.testing.assert_array_equal(twin.predict_proba(x), ours.predict_proba(x))


@pytest.mark.parametrize("kind", [MLPClassifier, MLPRegressor])
def test_parameters_round_trip(kind):
    changed = {
        "hidden_layer_sizes": [3, 2], "activation": ["tanh", LeakyReLU(0.2)], "solver": "sgd", "dropout": [0.1, 0.2],
        "learning_rate": Cosine(warmup=2.0), "callbacks": [print], "validation_fraction": ShuffleSplit(1), "threads": 2,
    }  # fmt: skip
    estimator = kind().set_params(**changed)
    assert estimator.get_params() == kind().get_params() | changed
    assert kind(**estimator.get_params()).get_params() == estimator.get_params()
    assert clone(estimator).get_params().keys() == estimator.get_params().keys()
    assert "threads=2" in repr(estimator)
    assert "warmup" in estimator._repr_html_()


@both_backends
def test_threads_fit_and_predict_at_once(backend):
    x, y, ours = ours_for("multiclass", backend, max_iter=20)
    fitted = clone(ours).fit(x, y)
    want, results = fitted.predict_proba(x), []

    def work(seed):
        own = clone(ours).set_params(random_state=seed % 2).fit(x, y)
        results.append((seed % 2, own.predict_proba(x), fitted.predict_proba(x)))

    workers = [threading.Thread(target=work, args=(seed,)) for seed in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    alone = [clone(ours).set_params(random_state=seed).fit(x, y).predict_proba(x) for seed in (0, 1)]
    assert len(results) == len(workers)
    for seed, own, shared in results:
        np.testing.assert_array_equal(own, alone[seed])
        np.testing.assert_array_equal(shared, want)
