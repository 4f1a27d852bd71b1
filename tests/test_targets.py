"""Targets: what they mean, how they become numbers and back, and the sentences where they can't."""

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nnaccel.errors import InputError
from nnaccel.losses import as_loss
from nnaccel.targets import USUAL_LOSS, Target, check_loss, choose_task, class_numbers, present
from tests.tables import read
from tests.tolerance import assert_within, tolerance

GAP = np.nan


def learn(values, task=None, scaled=True, rows=None):
    """The target of one column, and its table."""
    table = read({"y": values})
    task = choose_task(table, ["y"], "auto")[0] if task is None else task
    rows = np.flatnonzero(present(table, ["y"])) if rows is None else np.array(rows)
    return Target.learn(table, ["y"], rows, task, scaled), table


def cycled(count, rows):
    return np.arange(rows) % count


@pytest.mark.parametrize(("values", "task", "reason"), [
    (["red", "green"] * 2, "classification", "the target is text"),
    ([True, False] * 2, "classification", "the target is text"),
    ([0.5, 1.0, 2.0], "regression", "the target has fractions"),
    ([0, 7], "classification", "2 different whole numbers; --task regression"),
    (cycled(20, 100), "classification", "20 different whole numbers; --task regression"),
    (cycled(21, 1000), "regression", "21 different whole numbers; --task classification"),
    (cycled(3, 15), "classification", "3 different whole numbers"),
    (cycled(3, 14), "regression", "3 different whole numbers"),
    ([*cycled(3, 14), GAP, GAP], "regression", "3 different whole numbers"),
    ([0.0, 1.0, GAP], "classification", "2 different whole numbers"),
    ([-1.0, 1.0], "classification", "2 different whole numbers"),
])  # fmt: skip
def test_the_rule(values, task, reason):
    found, why = choose_task(read({"y": values}), ["y"], "auto")
    assert found == task
    assert reason in why


@pytest.mark.parametrize(("wanted", "loss", "values", "task", "reason"), [
    ("regression", None, [0, 1], "regression", "as asked for"),
    ("classification", None, cycled(30, 90), "classification", "as asked for"),
    ("classification", "softmax_cross_entropy", [0, 1], "classification", "as asked for"),
    ("auto", "poisson", cycled(3, 90), "regression", "for the loss poisson"),
    ("auto", "softmax_cross_entropy", cycled(40, 90), "classification", "for the loss softmax_cross_entropy"),
    ("auto", "binary_cross_entropy", [0, 1], "multilabel", "for the loss binary_cross_entropy"),
    ("auto", "binary_cross_entropy", ["yes", "No"], "multilabel", "for the loss binary_cross_entropy"),
])  # fmt: skip
def test_a_wish_or_a_loss_decides(wanted, loss, values, task, reason):
    loss = loss and as_loss(loss)
    assert choose_task(read({"y": values}), ["y"], wanted, loss) == (task, reason)


@pytest.mark.parametrize(("wanted", "loss", "sentence"), [
    ("both", None, "unknown task 'both'; known: auto, classification, regression"),
    ("classification", "huber", "huber doesn't suit a classification: take softmax_cross_entropy, or another --task"),
    ("regression", "softmax_cross_entropy", "doesn't suit a regression: take mean_squared_error"),
    ("regression", "binary_cross_entropy", "binary_cross_entropy doesn't suit a regression"),
    ("auto", "binary_cross_entropy", "shop, row 3, column 'y': 2 is no label: these are 0 or 1"),
])  # fmt: skip
def test_a_wish_that_does_not_fit(wanted, loss, sentence):
    with pytest.raises(InputError, match=sentence):
        choose_task(read({"y": [0, 1, 2]}), ["y"], wanted, loss and as_loss(loss))


@pytest.mark.parametrize(("a", "loss", "task", "reason"), [
    ([0.0, 1.0, GAP], None, "multilabel", "the 2 targets are zeros and ones"),
    (["yes", "no", ""], None, "multilabel", "the 2 targets are zeros and ones"),
    ([0.0, 2.0, 1.0], None, "regression", "there are 2 targets"),
    ([0.0, 1.0, GAP], "mean_squared_error", "regression", "for the loss mean_squared_error"),
])  # fmt: skip
def test_several_targets(a, loss, task, reason):
    table = read({"a": a, "b": [1, 0, 1]})
    assert choose_task(table, ["a", "b"], "auto", loss and as_loss(loss)) == (task, reason)


@pytest.mark.parametrize(("wanted", "loss"), [("classification", None), ("auto", "softmax_cross_entropy")])
def test_a_classification_has_one_target(wanted, loss):
    with pytest.raises(InputError, match="one target, not 2"):
        choose_task(read({"a": [0, 1], "b": [1, 0]}), ["a", "b"], wanted, loss and as_loss(loss))


def test_every_task_has_a_usual_loss_that_suits_it():
    for task, loss in USUAL_LOSS.items():
        check_loss(as_loss(loss), task)


@pytest.mark.parametrize(("values", "classes"), [
    (["b", "a", "?", "b"], ("a", "b")),
    ([True, False, True], ("False", "True")),
    ([3.0, 1.0, GAP, 1.0], (1, 3)),
    ([-1, 1, 0], (-1, 0, 1)),
    ([0.5, 1.0, 0.5], (0.5, 1)),
    ([0.0, 1e20], (0, 1e20)),
])  # fmt: skip
def test_classes_keep_what_they_were(values, classes):
    target, table = learn(values, "classification")
    assert target.classes == classes
    assert list(map(type, target.classes)) == list(map(type, classes))
    there = present(table, ["y"])
    numbers = target.encode(table)
    assert numbers.dtype == np.int32
    words = [str(value) if isinstance(classes[0], str) else value for value in np.asarray(values)[there]]
    assert target.labels()[numbers[there]].tolist() == words


def test_text_classes_read_from_numbers_and_numbers_from_text():
    words, _ = learn(["1", "2", "x"], "classification")
    np.testing.assert_array_equal(words.encode(read({"y": [2.0, 1.0]})), [1, 0])
    numbers, _ = learn([1, 2, 3], "classification")
    np.testing.assert_array_equal(numbers.encode(read({"y": ["2", " 3.0"]})), [1, 2])
    truths, _ = learn([0, 1], "classification")
    np.testing.assert_array_equal(truths.encode(read({"y": ["True", "no"]})), [1, 0])


def test_labels_spelled_a_little_differently():
    target, _ = learn(["<=50K", ">50K"] * 3)
    table = read({"y": [">50K.", "<=50k", "<=50K", "?"]})
    np.testing.assert_array_equal(target.encode(table)[:3], [1, 0, 0])
    assert target.respelled(table) == {">50K.": ">50K", "<=50k": "<=50K"}


def test_ambiguous_spellings_are_not_matched():
    target, _ = learn(["A", "a", "B"])
    assert target.respelled(read({"y": ["a.", "b."]})) == {"b.": "B"}
    with pytest.raises(InputError, match=r"the class 'a\.' has no training row"):
        target.encode(read({"y": ["a."]}))


def test_numbers_are_not_respelled():
    target, table = learn([0, 1])
    assert target.respelled(table) == {}


@pytest.mark.parametrize(("learnt", "new", "sentence"), [
    (["a", "b"], ["a", "c"], r"new, row 2, column 'y': the class 'c' has no training row \(learnt were 'a', 'b'\): correct it"),
    ([1, 2], [GAP, 3.0], r"new, row 2, column 'y': the class '3' has no training row \(learnt were 1, 2\)"),
    ([1, 2], [1.5], "the class '1.5' has no training row"),
    ([1, 2], ["1", "x"], "new, row 2, column 'y': 'x' is not a number: correct it, or leave it empty"),
    ([1, 2], [np.inf], "inf is no number to learn"),
    (cycled(12, 60), [99], r"9 and 2 more\)"),
])  # fmt: skip
def test_classes_that_were_not_learnt(learnt, new, sentence):
    target, _ = learn(learnt, "classification")
    with pytest.raises(InputError, match=sentence):
        target.encode(read({"y": new}, "new"))


@pytest.mark.parametrize(("values", "task", "sentence"), [
    (["a", "a", ""], "classification", "every training row has the same target 'y', 'a': there is nothing to learn"),
    ([3, 3], "regression", "every training row has the same target 'y', 3: there is nothing to learn"),
    (np.arange(1001) % 1001, "classification", "1,001 different values in 1,001 rows.*or --task regression"),
    ([f"n{k}" for k in range(51)], "classification", "51 different values in 51 rows.*give another --target[.]"),
    (["1", "x"], "regression", "shop, row 2, column 'y': 'x' is not a number: correct it, or leave it empty"),
    ([1.0, -np.inf], "regression", "shop, row 2, column 'y': -inf is no number to learn"),
    ([1.0, np.inf], "classification", "shop, row 2, column 'y': inf is no number to learn"),
    ([1e300, -1e300], "regression", "column 'y' are too large to be standardised: scale them first"),
    ([1.8e308, 1.7e308], "regression", "inf is no number|too large"),
    ([0.0, 1e-300], "regression", "column 'y' are too near to each other to be standardised"),
])  # fmt: skip
def test_targets_that_can_not_be_learnt(values, task, sentence):
    with pytest.raises(InputError, match=sentence):
        learn(values, task)


def test_a_column_of_gaps_has_no_target():
    table = read({"y": [GAP, GAP]})
    with pytest.raises(InputError, match="column 'y' has no target in any row"):
        Target.learn(table, ["y"], np.arange(0), "classification")


def test_as_many_classes_as_make_sense():
    for classes, rows in ((50, 50), (51, 102), (1000, 2000)):
        assert learn(cycled(classes, rows), "classification")[0].outputs == classes


@settings(deadline=None)
@given(st.lists(st.floats(-1e100, 1e100).filter(lambda v: v == 0 or abs(v) > 1e-100), min_size=2, unique=True))
def test_scaling_and_back(values):
    target, table = learn(values, "regression")
    scaled = target.encode(table)
    assert scaled.shape == (len(values), 1)
    largest = np.max(np.abs(values))
    assert_within(target.decode(scaled)[:, 0], values, tolerance(3 * largest, 8, np.float64, equal_terms=True))


def test_standardised_as_numpy_does_it():
    rng = np.random.default_rng(0)
    y = rng.normal(5, 3, (50, 2))
    table = read({"a": y[:, 0], "b": y[:, 1]})
    rows = np.arange(0, 50, 2)
    target = Target.learn(table, ["a", "b"], rows, "regression")
    expected = (y - y[rows].mean(axis=0)) / y[rows].std(axis=0)
    assert_within(target.encode(table), expected, tolerance(10, 4 * len(y), np.float64))
    assert target.outputs == 2


def test_counts_stay_as_they_are():
    target, table = learn([0, 3, 7], "regression", scaled=False)
    np.testing.assert_array_equal(target.encode(table), [[0], [3], [7]])
    np.testing.assert_array_equal(target.decode(np.array([[2.5]])), [[2.5]])


def test_labels_are_zeros_and_ones():
    table = read({"a": ["yes", "No", ""], "b": [0, 1, 1]})
    target = Target.learn(table, ["a", "b"], np.array([0, 1]), "multilabel")
    np.testing.assert_array_equal(target.encode(table), [[1, 0], [0, 1], [GAP, 1]])
    with pytest.raises(InputError, match="new, row 1, column 'a': 3 is no label"):
        target.encode(read({"a": [3], "b": [0]}, "new"))


def test_a_number_too_large_beside_those_learnt():
    target, _ = learn([0.0, 1e-100], "regression")
    with pytest.raises(
        InputError, match=r"new, row 2, column 'y': 1e\+300 is too large: correct it, or leave it empty"
    ):
        target.encode(read({"y": [0.0, 1e300]}, "new"))


def test_only_rows_with_all_targets_count():
    table = read({"a": [1.0, GAP, 2.0], "b": ["x", "y", "?"]})
    np.testing.assert_array_equal(present(table, ["a"]), [True, False, True])
    np.testing.assert_array_equal(present(table, ["a", "b"]), [True, False, False])


def test_class_numbers_tell_classes_apart():
    table = read({"text": ["b", "a", "", "b"], "number": [2.0, GAP, 1.0, 2.0]})
    for name in ("text", "number"):
        numbers = class_numbers(table, name)
        assert numbers[0] == numbers[3]
        assert len(set(numbers.tolist())) == 3


TARGETS = {
    "text": learn(["a", "b"])[0],
    "whole numbers": learn([3, 1])[0],
    "fractions": learn([0.1, 0.5, 1.0], "classification")[0],
    "regression": learn([0.1, 0.5, 7.0], "regression")[0],
    "counts": learn([1, 2, 3], "regression", scaled=False)[0],
    "labels": Target(("a", "b"), "multilabel"),
}


@pytest.mark.parametrize("kind", TARGETS)
def test_described_and_restored(kind):
    target = TARGETS[kind]
    restored = Target.restore(json.loads(json.dumps(target.describe())), target.mean, target.scale)
    assert (restored.names, restored.task, restored.classes) == (target.names, target.task, target.classes)
    assert list(map(type, restored.classes)) == list(map(type, target.classes))
    assert restored.mean is target.mean
    assert restored.scale is target.scale


ONE = np.ones(1)


@pytest.mark.parametrize(("change", "mean", "scale"), [
    ({"task": "guessing"}, None, None),
    ({"names": []}, None, None),
    ({"names": ["a", "b"]}, None, None),
    ({"classes": []}, None, None),
    ({"classes": [2, 1]}, None, None),
    ({"classes": [1, 1]}, None, None),
    ({"classes": [1, "a"]}, None, None),
    ({"classes": 3}, None, None),
    ({}, ONE, ONE),
    ({"task": "regression", "classes": []}, ONE, None),
    ({"task": "regression", "classes": []}, ONE, np.ones(2)),
    ({"task": "regression", "classes": []}, ONE, 0 * ONE),
    ({"task": "regression", "classes": []}, ONE * np.nan, ONE),
    ({"task": "multilabel", "classes": []}, ONE, ONE),
    ({"task": "regression"}, None, None),
])  # fmt: skip
def test_a_damaged_description_is_refused(change, mean, scale):
    described = TARGETS["whole numbers"].describe()
    Target.restore(described, None, None)
    with pytest.raises((KeyError, TypeError, ValueError)):
        Target.restore(described | change, mean, scale)


def test_only_the_rows_asked_for_need_a_class_that_was_learnt():
    table = read({"y": ["a", "b", "c", "", "a"]})
    target = Target.learn(read({"y": ["a", "b"]}), ["y"], np.arange(2), "classification")
    np.testing.assert_array_equal(target.known(table), [True, True, False, False, True])
    np.testing.assert_array_equal(target.encode(table, np.array([4, 1])), [0, 1])
    with pytest.raises(InputError, match="row 3, column 'y': the class 'c' has no training row"):
        target.encode(table, np.array([1, 2]))
