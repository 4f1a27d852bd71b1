"""Preparing a table: roles, rows held out honestly, weights, and going on with an encoding learnt before."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.utils.class_weight import compute_class_weight

from nnaccel.errors import InputError
from nnaccel.losses import as_loss
from nnaccel.preparation import Question, Roles, prepare, prepare_further
from nnaccel.sources import FileOptions
from nnaccel.sources.frames import FrameSource
from nnaccel.sources.opening import open_source
from tests.tables import Unnamed, csv_file, mixed_columns
from tests.tolerance import assert_within, tolerance

ROWS = 40
BASE = {
    "age": np.arange(ROWS) * 1.0,
    "town": np.array(["Bonn", "Kiel", "Ulm", "?"] * 10, object),
    "y": np.array(["no", "yes", "no", "no"] * 10, object),
}


def asked(target="y", validation=0.25, **settings):
    """A question: roles and other settings by name."""
    roles = {field.name for field in dataclasses.fields(Roles)}
    return Question(
        Roles(target, **{key: value for key, value in settings.items() if key in roles}),
        validation=validation,
        **{key: value for key, value in settings.items() if key not in roles},
    )


def prepared(columns=BASE, validation_source=None, encoding=None, source=FrameSource, **settings):
    if encoding is not None:
        return prepare_further(source(columns, "shop"), asked(**settings), encoding, validation_source)
    return prepare(source(columns, "shop"), asked(**settings), validation_source)


def held_rows(result):
    """The rows held out, found again by the values of 'age'."""
    mean, scale = result.encoding.numbers.mean[0], result.encoding.numbers.scale[0]
    return np.round(result.held_out.x[:, 0] * scale + mean).astype(int)


def test_each_class_is_held_out_in_proportion():
    result = prepared(dtype="float64")
    assert result.held_out_by == "at random, seed 0, each class in proportion"
    assert np.bincount(result.training.y).tolist() == [23, 7] or np.bincount(result.training.y).tolist() == [22, 8]
    assert len(result.held_out.y) == 10
    held = held_rows(result)
    assert len(set(held)) == 10
    np.testing.assert_array_equal(result.held_out.y, BASE["y"][held] == "yes")


def test_a_class_with_a_single_row_stays_in_training():
    y = BASE["y"].copy()
    y[5] = "perhaps"
    for seed in range(20):
        result = prepared(BASE | {"y": y}, seed=seed)
        assert result.encoding.target.classes == ("no", "perhaps", "yes")
        assert 1 in result.training.y
        assert 1 not in result.held_out.y


def test_numbers_are_held_out_at_random():
    result = prepared(BASE | {"y": np.linspace(0, 1, ROWS)}, seed=3)
    assert result.held_out_by == "at random, seed 3"
    assert (len(result.training.y), len(result.held_out.y)) == (30, 10)


def test_nothing_is_held_out():
    result = prepared(validation=0)
    assert result.held_out is None
    assert result.held_out_by == ""
    assert len(result.training.y) == ROWS


def test_only_some_rows_are_read():
    result = prepared(validation=0, rows=range(10, 26))
    assert len(result.training.y) == 16
    assert result.encoding.numbers.mean[0] == 17.5


GROUPS = {
    "numbers": np.arange(ROWS) // 4 * 1.0,
    "text": np.array([f"g{k // 4}" for k in range(ROWS)], object),
    "numbers with gaps": np.where(np.arange(ROWS) < 8, np.nan, np.arange(ROWS) // 4),
    "text with gaps": np.array(["" if k < 8 else f"g{k // 4}" for k in range(ROWS)], object),
}


@pytest.mark.parametrize("kind", GROUPS)
def test_no_group_is_on_both_sides(kind):
    for seed in range(10):
        result = prepared(BASE | {"patient": GROUPS[kind]}, group="patient", seed=seed, dtype="float64")
        held = held_rows(result)
        # Equal to itself, unlike NaN.
        groups = np.array([str(group) for group in GROUPS[kind]])
        kept = np.setdiff1d(np.arange(ROWS), held)
        assert not set(groups[held]) & set(groups[kept])
        assert abs(len(held) - 0.25 * ROWS) <= 4
        assert "patient" not in result.encoding.inputs
    gaps = "; the 8 rows without one are a group" if "gaps" in kind else ""
    assert result.held_out_by == f"whole groups of 'patient' at random, seed 9{gaps}"


@pytest.mark.parametrize("time", [
    np.arange(ROWS)[::-1] * 1.0,
    np.array([f"2024-03-{31 - k // 2:02}" for k in range(ROWS)], object),
    np.array([f"{31 - k // 2}/03/2024" for k in range(ROWS)], object),
], ids=["numbers", "dates", "day first"])  # fmt: skip
def test_the_latest_rows_are_held_out(time):
    result = prepared(BASE | {"when": time}, time="when", dtype="float64")
    np.testing.assert_array_equal(held_rows(result), np.arange(10))
    assert result.held_out_by == "the latest by 'when'"
    assert result.encoding.inputs == ("age", "town")


def test_rows_of_one_time_stay_together():
    time = np.repeat([1, 2, 3, 4], 10)
    for validation, latest in ((0.3, 10), (0.45, 20), (0.05, 10), (0.95, 30)):
        result = prepared(BASE | {"when": time}, time="when", validation=validation, dtype="float64")
        np.testing.assert_array_equal(held_rows(result), np.arange(ROWS - latest, ROWS))


@pytest.mark.parametrize(("time", "sentence"), [
    (np.r_[np.arange(ROWS - 1.0), np.nan], "shop, row 40, column 'when': there is no time: fill it in, or leave out the row"),
    (np.array(["2024-01-01", "soon"] * 20, object), "shop, row 2, column 'when': 'soon' is no time as others are"),
    (np.array(["2024-01-01", "12/31/2024"] * 20, object), "row 2, column 'when': '12/31/2024' is no time as others are"),
    (np.array(["yes", "no"] * 20, object), "shop, row 1, column 'when': 'yes' is no time"),
    (np.ones(ROWS), "all rows are of one time"),
])  # fmt: skip
def test_times_that_are_none(time, sentence):
    with pytest.raises(InputError, match=sentence):
        prepared(BASE | {"when": time}, time="when")


def test_a_row_without_a_target_needs_no_time():
    y, time = BASE["y"].copy(), np.arange(ROWS * 1.0)
    y[3], time[3] = "", np.nan
    result = prepared(BASE | {"y": y, "when": time}, time="when")
    assert result.remarks == ["1 row of shop without a target left out"]
    assert len(result.training.y) + len(result.held_out.y) == ROWS - 1


def test_what_varies_by_next_to_nothing_does_not_vary():
    """In units of its deviation, the number in the held-out row would be too large for float32."""
    time = np.arange(ROWS * 1.0)
    faint = np.where(time % 2 == 0, 0.0, 9e-40)
    faint[-1] = 35.0
    result = prepared(BASE | {"faint": faint, "when": time}, time="when")
    assert "faint" not in result.encoding.numbers.names


@settings(deadline=None)
@given(mixed_columns(24), st.integers(0, 2**32 - 1), st.sampled_from(["classification", "regression"]))
def test_what_is_held_out_teaches_nothing(columns, seed, task):
    """Held-out rows get other numbers, exchange their words and, the split being given by time, other targets."""
    rng = np.random.default_rng(seed)
    when = rng.permutation(24)
    y = rng.normal(size=24) if task == "regression" else np.array(["a", "b"] * 12, object)[np.argsort(np.argsort(when))]
    held = np.flatnonzero(when >= 18)
    columns = columns | {"y": y, "when": when}
    changed = {name: column.copy() for name, column in columns.items()}
    for name, column in changed.items():
        if name == "when" or column.dtype == object:
            column[held] = rng.permutation(column[held])
        else:
            column[held] = rng.normal(0, 100, len(held)).astype(column.dtype)
    one, other = (prepared(data, time="when", task=task) for data in (columns, changed))
    assert one.encoding.describe() == other.encoding.describe()
    for name, array in one.encoding.arrays().items():
        assert other.encoding.arrays()[name].tobytes() == array.tobytes(), name
    assert one.training.x.tobytes() == other.training.x.tobytes()
    assert one.training.y.tobytes() == other.training.y.tobytes()


def other_rows(**changes):
    rows = slice(0, 6)
    return FrameSource({name: column[rows] for name, column in reversed((BASE | changes).items())}, "other")


def test_a_file_to_validate_on_has_its_columns_in_any_order():
    result = prepared(validation_source=other_rows())
    assert result.held_out_by == "all of other"
    assert len(result.training.y) == ROWS
    assert result.held_out.x.tobytes() == result.training.x[:6].tobytes()
    np.testing.assert_array_equal(result.held_out.y, result.training.y[:6])


def test_classes_of_a_file_to_validate_on_may_end_in_a_stop():
    dotted = np.array([f"{word}." for word in BASE["y"]], object)
    result = prepared(validation_source=other_rows(y=dotted))
    np.testing.assert_array_equal(result.held_out.y, result.training.y[:6])
    assert result.remarks == ["other: 'no.' is read as the class 'no'", "other: 'yes.' is read as the class 'yes'"]


def test_rows_of_a_file_to_validate_on_without_a_target_are_left_out():
    y = BASE["y"].copy()
    y[:2] = "?"
    result = prepared(validation_source=other_rows(y=y))
    assert len(result.held_out.y) == 4
    assert result.remarks == ["2 rows of other without a target left out"]


def test_a_file_to_validate_on_is_weighted_if_it_has_weights():
    weighted = BASE | {"w": np.arange(1.0, ROWS + 1)}
    result = prepared(weighted, weight="w", validation_source=other_rows())
    assert result.held_out.weights is None
    assert result.remarks == ["other has no column 'w': all its rows count the same"]
    result = prepared(weighted, weight="w", validation_source=other_rows(w=weighted["w"]))
    np.testing.assert_array_equal(result.held_out.weights, np.arange(1.0, 7))
    assert result.remarks == []


def test_a_part_of_a_file_may_have_no_target_and_only_zero_weights(monkeypatch):
    monkeypatch.setattr("nnaccel.sources.PART_CELLS", 8)
    y, w = BASE["y"].copy(), np.ones(ROWS)
    y[:2], w[:4] = "", 0
    result = prepared(BASE | {"w": w + 1}, weight="w", validation_source=other_rows(y=y, w=w))
    np.testing.assert_array_equal(result.held_out.weights, [0, 0, 1, 1])


@pytest.mark.parametrize(("changes", "sentence"), [
    ({"y": np.array(["?"] * ROWS, object)}, "other has no row with a target that training rows have: nothing can be validated on it"),
    ({"y": np.array(["never", "maybe"] * 20, object)}, "other has no row with a target that training rows have"),
    ({"age": np.array(["1", "old"] * 20, object)}, "other, row 2, column 'age': 'old' is not a number"),
    ({"w": np.zeros(ROWS)}, "other: the weights in column 'w' are zero in all validation rows"),
])  # fmt: skip
def test_files_that_can_not_be_validated_on(changes, sentence):
    with pytest.raises(InputError, match=sentence):
        prepared(BASE | {"w": np.ones(ROWS)}, weight="w", validation_source=other_rows(**changes))


def test_classes_that_no_training_row_has_are_not_scored():
    result = prepared(validation_source=other_rows(y=np.array(["no", "maybe"] * 20, object)))
    assert len(result.held_out.y) == 3
    assert "3 rows of other not scored: of classes that no training row has" in result.remarks
    columns = {
        "day": np.arange(20.0),
        "x": np.arange(20.0) % 7,
        "y": np.array(["a", "b"] * 8 + ["a", "new", "b", "new"], object),
    }
    result = prepared(columns, target="y", time="day", validation=0.2)
    assert (len(result.training.y), len(result.held_out.y)) == (16, 2)
    assert "2 rows of shop not scored: of classes that no training row has" in result.remarks


def test_a_file_to_validate_on_without_the_target():
    with pytest.raises(InputError, match="other lacks the target 'y', so nothing can be validated on it"):
        prepared(validation_source=FrameSource({"age": [1.0], "town": ["Ulm"]}, "other"))
    for role in ("group", "time"):
        with pytest.raises(InputError, match="leave out --group and --time"):
            prepared(validation_source=other_rows(), **{role: "age"})


def test_a_file_without_a_header_validates_by_position(tmp_path):
    lines = [f"{k},{k % 3},{'ab'[k % 2]},{k + 1}" for k in range(12)]
    source = open_source(str(csv_file(tmp_path, "\n".join(["n,m,y,w", *lines]))))
    bare = open_source(str(csv_file(tmp_path, "\n".join(lines[:4]), "bare.csv")), FileOptions(header=False))
    result = prepare(source, asked(weight="w"), bare)
    assert result.held_out.x.tobytes() == result.training.x[:4].tobytes()
    np.testing.assert_array_equal(result.held_out.weights, [1, 2, 3, 4])


def test_weights_count_and_are_no_feature():
    weights = np.arange(ROWS) % 5 * 1.0
    result = prepared(BASE | {"w": weights}, weight="w", validation=0)
    np.testing.assert_array_equal(result.training.weights, weights)
    np.testing.assert_array_equal(result.training_weights, weights)
    assert result.encoding.inputs == ("age", "town")


@pytest.mark.parametrize(("bad", "sentence"), [
    (-1.0, "shop, row 4, column 'w': a weight must be a number, 0 or more, not -1: correct it, or leave out the row"),
    (np.nan, "shop, row 4, column 'w': a weight must be a number, 0 or more, not a gap"),
    (np.inf, "shop, row 4, column 'w': a weight must be a number, 0 or more, not inf"),
])  # fmt: skip
def test_bad_weights(bad, sentence):
    weights = np.ones(ROWS)
    weights[3] = bad
    with pytest.raises(InputError, match=sentence):
        prepared(BASE | {"w": weights}, weight="w")


@pytest.mark.parametrize(("zeros", "rows"), [(np.arange(ROWS), "training"), (np.arange(30), "training"),
                                             (np.arange(30, ROWS), "held-out")])  # fmt: skip
def test_weights_that_are_all_zero(zeros, rows):
    weights = np.ones(ROWS)
    weights[zeros] = 0
    with pytest.raises(InputError, match=f"shop: the weights in column 'w' are zero in all {rows} rows"):
        prepared(BASE | {"w": weights, "when": np.arange(ROWS)}, weight="w", time="when")


@pytest.mark.parametrize("weighted", [False, True])
def test_balanced_classes_weigh_as_in_sklearn(weighted):
    weights = np.arange(1.0, ROWS + 1) if weighted else np.ones(ROWS)
    columns = BASE | ({"w": weights} if weighted else {})
    result = prepared(columns, weight="w" if weighted else None, class_weight="balanced", validation=0)
    # A weight counts as so many rows.
    labels = np.repeat(result.training.y, weights.astype(int))
    want = compute_class_weight("balanced", classes=np.array([0, 1]), y=labels)
    assert_within(result.class_weights, want, tolerance(want, 4, np.float64))
    assert_within(result.training_weights, (want[result.training.y] * weights), tolerance(50, 8, np.float64))


def test_a_class_without_weight_has_none():
    weights = np.where(BASE["y"] == "yes", 0.0, 1.0)
    result = prepared(BASE | {"w": weights}, weight="w", class_weight="balanced", validation=0)
    np.testing.assert_array_equal(result.class_weights, [1, 0])


def test_class_weights_are_for_classes():
    with pytest.raises(InputError, match="--class-weight is for classes, but this is a regression: leave it out"):
        prepared(target="age", class_weight="balanced")
    with pytest.raises(InputError, match="--class-weight takes 'balanced', not 'heavy'"):
        asked(class_weight="heavy")


EXTRA = BASE | {"w": np.ones(ROWS), "g": np.arange(ROWS) // 4}


@pytest.mark.parametrize(("settings", "sentence"), [
    ({"drop": "y"}, "column 'y' is the target, so it can't be dropped"),
    ({"drop": "age,-1", "group": "g"}, "column 'g' is the group, so it can't be dropped"),
    ({"drop": "w", "weight": "w"}, "column 'w' is the weight, so it can't be dropped"),
    ({"weight": "y"}, "column 'y' can't be both the target and the weight"),
    ({"time": "2"}, "column 'y' can't be both the target and the time"),
    ({"target": "salary"}, "shop has no column 'salary'; it has age, town, y, w, g"),
    ({"target": "5"}, "shop has no column '5'"),
    ({"target": "-6"}, "shop has no column '-6'"),
    ({"target": ""}, "--target names no column of shop"),
    ({"target": "age,g,0"}, "--target names column 'age' twice: give each once"),
    ({"target": None}, "say which column of shop is to be predicted, with --target; it has age, town"),
    ({"drop": "age,town,w,g"}, "no column is left to learn from"),
    ({"target": "w", "task": "regression"}, "every training row has the same target 'w', 1: there is nothing to learn"),
    ({"validation": 1.5}, "must be above 0 and below 1, not 1.5"),
    ({"group": "town", "time": "age"}, "by --group or by --time, not by both"),
])  # fmt: skip
def test_roles_that_contradict_each_other(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        prepared(EXTRA, **settings)


@pytest.mark.parametrize("target", ["y", "2", "-3"])
def test_a_target_by_name_or_position(target):
    assert prepared(EXTRA, target=target).encoding.target.names == ("y",)


def test_several_targets():
    result = prepared(EXTRA, target="age,g")
    assert result.encoding.target.names == ("age", "g")
    assert result.training.y.shape == (30, 2)
    assert result.task == "regression"


def test_an_empty_target():
    with pytest.raises(InputError, match="shop: no row has the target 'y': give another --target"):
        prepared(BASE | {"y": np.full(ROWS, np.nan)})


def test_numbers_taken_as_categories():
    result = prepared(EXTRA, categorical="g,1")
    assert [column.name for column in result.encoding.categories] == ["town", "g"]
    assert result.encoding.numbers.names == ("age",)


def test_what_was_found_out_is_passed_on():
    age = np.array([*map(str, range(ROWS - 1)), "unknown"], object)
    index = np.arange(ROWS)
    result = prepared(BASE | {"age": age, "Unnamed: 0": index, "n": index**2})
    assert result.remarks == ["'age' is text because of 'unknown' in 1 row"]
    assert result.findings.dropped["Unnamed: 0"] == "counts the rows"


def test_remarks_of_the_source_come_first():
    source = FrameSource(BASE, "shop")
    source.remarks = ("read as such",)
    assert prepare(source, asked()).remarks == ["read as such"]


@pytest.mark.parametrize(("loss", "standardised"), [(None, True), ("huber", True), ("poisson", False)])
def test_counts_keep_their_units(loss, standardised):
    counts = np.arange(ROWS) * 3
    result = prepared(BASE | {"y": counts}, loss=loss and as_loss(loss), validation=0, task="regression")
    assert (result.encoding.target.mean is not None) == standardised
    np.testing.assert_allclose(result.encoding.target.decode(result.training.y)[:, 0], counts, atol=1e-12)


def test_going_on_with_an_encoding_keeps_it():
    before = prepared().encoding
    new = {name: column[::-2] for name, column in BASE.items()}
    result = prepared(new, encoding=before, validation=0)
    assert result.encoding is before
    assert result.reason == "as the model was trained"
    want = prepared(validation=0, encoding=before).training
    assert result.training.x.tobytes() == want.x[::-2].tobytes()
    np.testing.assert_array_equal(result.training.y, want.y[::-2])


def test_going_on_takes_weights_and_groups_of_the_new_rows():
    before = prepared().encoding
    result = prepared(EXTRA, encoding=before, weight="w", group="g", drop="")
    assert result.training.weights is not None
    assert "whole groups" in result.held_out_by
    result = prepared(EXTRA, encoding=before, drop="g", target="-3")
    assert result.encoding is before


def test_going_on_by_position():
    before = prepared(validation=0)
    result = prepared(BASE, source=Unnamed, target="2", encoding=before.encoding, validation=0)
    assert result.training.x.tobytes() == before.training.x.tobytes()


@pytest.mark.parametrize(("settings", "sentence"), [
    ({"target": "age"}, "the model predicts 'y', so --target can't be 'age': leave it out"),
    ({"drop": "town"}, "column 'town' is an input of the model, so it can have no other use"),
    ({"loss": as_loss("mean_squared_error")}, "mean_squared_error doesn't suit a classification"),
])  # fmt: skip
def test_what_can_not_be_changed_when_going_on(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        prepared(encoding=prepared().encoding, **settings)


def test_going_on_needs_the_target_and_its_units():
    with pytest.raises(InputError, match="shop lacks the target 'y': there is nothing to learn from"):
        prepared({name: BASE[name] for name in ("age", "town")}, encoding=prepared().encoding, target=None)
    numbers = BASE | {"y": np.arange(ROWS) * 2}
    with pytest.raises(InputError, match="target is standardised, but the loss poisson needs it in its own units"):
        prepared(numbers, encoding=prepared(numbers).encoding, loss=as_loss("poisson"))


def test_the_line_of_a_file_is_named(tmp_path):
    text = "n,w,y\n" + "".join(f"{k},{1 if k != 7 else -2},{'ab'[k % 2]}\n" for k in range(12))
    with pytest.raises(InputError, match=r"shop\.csv, line 9, column 'w': a weight must be"):
        prepare(open_source(str(csv_file(tmp_path, text))), asked(weight="w"))


def test_rows_of_weight_zero_are_not_learnt_from():
    columns = {"x": [1.0, 2.0, 3.0, 1e6], "w": [1, 1, 1, 0], "y": [1.0, 2.5, 3.0, 1e9]}
    result = prepared(columns, target="y", weight="w", validation=0)
    assert result.encoding.numbers.mean == pytest.approx([2.0])
    assert result.encoding.target.mean == pytest.approx([6.5 / 3])
    assert len(result.training.y) == 4


def test_how_many_rows_were_read():
    columns = {"x": np.arange(20.0), "y": [None, *(["a", "b"] * 9), "a"]}
    assert prepared(columns, target="y").rows_read == 20


def test_too_many_classes_are_told_before_too_few_rows():
    columns = {"x": np.arange(500.0), "y": [f"id-{k}" for k in range(500)]}
    with pytest.raises(InputError, match="500 different values in 500 rows, more classes than make sense"):
        prepared(columns, target="y")
