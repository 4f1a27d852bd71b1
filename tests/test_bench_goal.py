"""Training until a score is reached: what is timed, and what happens when it isn't reached."""

import math
from dataclasses import replace

import numpy as np
import pytest

from nnaccel.backends import get_backend
from nnaccel.bench.goal import MOST_EPOCHS, measure_goal, open_goal, with_score
from nnaccel.bench.measure import Limits
from nnaccel.bench.text import goal_lines
from nnaccel.errors import InputError


@pytest.fixture(scope="module")
def iris():
    return open_goal("iris", None, 0.8)


def attempts_of(goal, names=("cpu",), seconds=math.inf):
    told, limits = [], Limits(rounds=2, seconds=seconds)
    *_, attempts = measure_goal(goal, [get_backend(name) for name in names], limits, told.append)
    return attempts, told


def test_backends_take_the_same_epochs_from_the_same_seed(iris):
    attempts, told = attempts_of(iris, names=("cpu", "numba"))
    assert [(attempt.reached, len(attempt.samples)) for attempt in attempts] == [(True, 2), (True, 2)]
    assert attempts[0].epochs == attempts[1].epochs
    assert attempts[0].score == attempts[1].score
    assert told[-1] == "iris to accuracy 0.8: round 2 of 2"


def test_the_score_is_reached_by_the_last_epoch_and_not_before(iris):
    (attempt,), _ = attempts_of(iris)
    scores = iris.scores(iris.judged("cpu", None, attempt.epochs, math.inf))
    assert scores[-1] == attempt.score >= iris.score
    assert all(score < iris.score for score in scores[:-1])


def test_what_is_timed_is_a_training_of_so_many_epochs(iris, monkeypatch):
    trained = []
    train = type(iris).train

    def spy(self, backend, threads, epochs, **settings):
        trained.append((backend, epochs, "validation" in settings))
        return train(self, backend, threads, epochs, **settings)

    monkeypatch.setattr(type(iris), "train", spy)
    (attempt,), _ = attempts_of(iris)
    assert trained[0] == ("cpu", MOST_EPOCHS, True)
    assert set(trained[1:]) == {("cpu", attempt.epochs, False)}
    assert len(trained) >= 3


def test_a_score_out_of_reach_is_no_time(iris):
    goal = replace(iris, score=1.5)
    (attempt,), _ = attempts_of(goal)
    assert (attempt.reached, attempt.epochs, attempt.samples) == (False, MOST_EPOCHS, ())
    assert attempt.reason.startswith("not within 100 epochs, of which the best was 0.")
    assert list(goal_lines(goal, [attempt]))[-1].endswith(attempt.reason)


def test_time_that_is_over_ends_the_search(iris):
    (attempt,), _ = attempts_of(replace(iris, score=1.5), seconds=1e-9)
    assert not attempt.reached
    assert attempt.epochs < MOST_EPOCHS


def test_a_loss_that_diverges_is_told(iris):
    rows = replace(iris.prepared.training, x=np.full_like(iris.prepared.training.x, 1e38))
    (attempt,), _ = attempts_of(replace(iris, prepared=replace(iris.prepared, training=rows)))
    assert (attempt.reached, attempt.reason) == (False, "the loss became NaN or infinite")


def test_without_a_score_most_of_what_some_epochs_reach_is_wanted():
    goal = with_score(open_goal("breast_cancer", None, None), get_backend("cpu"), None)
    scores = goal.scores(goal.judged("cpu", None, 30, math.inf))
    most = np.bincount(goal.prepared.held_out.y, minlength=2)[np.bincount(goal.prepared.training.y).argmax()]
    constant = most / len(goal.prepared.held_out.y)
    assert goal.score == pytest.approx(constant + 0.95 * (max(scores) - constant), abs=5e-4)


def test_numbers_are_judged_by_r2():
    goal = with_score(open_goal("diabetes", None, None), get_backend("cpu"), None)
    assert goal.metric.name == "r2"
    assert 0.1 < goal.score < 1


def test_what_teaches_nothing_asks_for_a_score(tmp_path):
    random = np.random.default_rng(0)
    path = tmp_path / "noise.csv"
    path.write_text("a,b\n" + "".join(f"{random.random()},{'yes' if i % 50 else 'no'}\n" for i in range(500)))
    with pytest.raises(InputError, match=r"teaches nothing in 30 epochs: name the score to reach with --score"):
        with_score(open_goal(str(path), "b", None), get_backend("cpu"), None)
