"""Tables in, a model file out, through the commands: every format and option, and what bad input gets."""

import contextlib
import csv
import gzip
import io
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.numpy import load_file
from sklearn import metrics as sklearn_metrics

from nnaccel import load
from nnaccel.cli import run

ROWS = 400


def people(rows=ROWS, seed=0):
    """A table as people have them: numbers with gaps, categories, dates, truth values, an index, blanks, a constant."""
    random = np.random.default_rng(seed)
    age, town = random.integers(18, 80, rows), random.choice(["Bonn", "Kiel", "Ulm"], rows, p=[0.5, 0.3, 0.2])
    member = random.random(rows) < 0.5
    joined = np.datetime64("2020-01-01") + random.integers(0, 1000, rows)
    rich = age / 40 + (town == "Kiel") + member + random.normal(0, 0.3, rows) > 2.2
    return pd.DataFrame(
        {
            "age": pd.Series(age).astype(object).where(random.random(rows) > 0.1, "?"),
            "town": [f" {name} " for name in town],
            "member": np.where(member, "yes", "no"),
            "joined": joined.astype(str),
            "code": [f"{k:03d}" for k in random.integers(0, 4, rows)],
            "planet": "earth",
            "price": np.round(age * 3.5 + 10 * (town == "Ulm") + random.normal(0, 1, rows), 3),
            "rich": np.where(rich, ">50K", "<=50K"),
        }
    )


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty folder to work in, with people.csv to train on and new.csv, other people."""
    monkeypatch.chdir(tmp_path)
    people().to_csv("people.csv", index=False)
    people(150, seed=1).to_csv("new.csv", index=False)
    return tmp_path


@pytest.fixture
def model(folder, command):
    """A folder with model.safetensors, trained on people.csv."""
    code, _, err = command(
        "train", "people.csv", "--target", "rich", "--epochs", 30, "--out", "model.safetensors", "--quiet"
    )
    assert (code, err) == (0, "")
    return folder


def read_csv(path, delimiter=","):
    with Path(path).open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file, delimiter=delimiter))


def test_what_was_read_is_said_first(folder, command):
    code, out, err = command("train", "people.csv", "--target", "rich", "--epochs", 30, "--drop", "price")
    assert (code, err) == (0, "")
    for part in (
        "people.csv: 400 rows, 8 columns", "1 number", "2 categories", "1 truth value", "1 date",
        "'rich': 2 classes: ", "classification: the target is text", "'age' 3", "'planet' is 'earth' in every row",
        "'joined' are read like 2024-12-31", "320 to train on, 80 held out (at random, seed 0, each class in proportion)",
        "always the most frequent class: 0.5", "true class, down; predicted, across",
    ):  # fmt: skip
        assert part in out, part
    assert out.index("data ") < out.index("network ") < out.index("held out   accuracy")


def test_predictions_are_those_of_the_model(model, command):
    code, out, err = command("predict", "model.safetensors", "new.csv", "--out", "p.csv", "--proba", "--json")
    result, lines, frame = json.loads(out), read_csv("p.csv"), people(150, seed=1)
    assert (code, result["rows"], result["rows_scored"], result["out"]) == (0, 150, 150, "p.csv")
    assert list(lines[0]) == ["rich", "probability_<=50K", "probability_>50K"]
    predicted, truth = [line["rich"] for line in lines], frame["rich"].tolist()
    assert result["metrics"]["accuracy"] == pytest.approx(sklearn_metrics.accuracy_score(truth, predicted))
    assert result["metrics"]["accuracy"] > 0.8
    assert result["confusion"]["counts"] == sklearn_metrics.confusion_matrix(truth, predicted).tolist()
    fitted = load("model.safetensors")
    np.testing.assert_array_equal(fitted.predict(frame), predicted)
    got = np.array([[float(line[name]) for name in list(line)[1:]] for line in lines])
    np.testing.assert_allclose(got, fitted.predict_proba(frame), rtol=1e-6)
    assert "accuracy" in err
    assert "predicted  150 rows of new.csv" in err


def test_predictions_go_to_stdout_without_a_file(model, command):
    code, out, err = command("predict", "model.safetensors", "new.csv")
    assert code == 0
    assert out.splitlines()[0] == "rich"
    assert len(out.splitlines()) == 151
    assert "scored     accuracy" in err


def test_order_of_columns_target_and_header_do_not_matter(model, command):
    frame = people(150, seed=1)
    frame[frame.columns[::-1]].to_csv("backwards.csv", index=False)
    frame.drop(columns="rich").to_csv("no-target.csv", index=False)
    frame.to_csv("no-header.csv", index=False, header=False)
    frame.drop(columns="rich").to_csv("neither.csv", index=False, header=False)
    frame.assign(extra=1).to_csv("extra.csv", index=False)
    frame.to_csv("tabs.tsv", index=False, sep="\t")
    expected = command("predict", "model.safetensors", "new.csv", "--quiet")[1]
    for name in ("backwards.csv", "no-target.csv", "no-header.csv", "neither.csv", "extra.csv", "tabs.tsv"):
        code, out, err = command("predict", "model.safetensors", name, "--quiet")
        assert (code, err, out) == (0, "", expected), name


def test_a_model_from_a_file_without_a_header(folder, command):
    people().to_csv("bare.csv", index=False, header=False)
    people(150, seed=1).to_csv("bare-new.csv", index=False, header=False)
    code, _, err = command(
        "train", "bare.csv", "--no-header", "--target", "-1", "--epochs", 5, "--quiet", "--out", "m.safetensors"
    )
    assert (code, err) == (0, "")
    code, out, _ = command("predict", "m.safetensors", "bare-new.csv", "--quiet")
    assert (code, out.splitlines()[0]) == (0, "7")
    # The names of another file's header don't matter to a model that knows positions alone.
    assert command("predict", "m.safetensors", "new.csv", "--header", "--quiet")[1] == out


@pytest.mark.parametrize("name", ["p.csv", "p.tsv", "p.csv.gz"])
def test_formats_of_predictions(model, command, name):
    assert command("predict", "model.safetensors", "new.csv", "--out", name, "--quiet")[0] == 0
    if name.endswith(".gz"):
        (model / "p.csv").write_bytes(gzip.decompress((model / name).read_bytes()))
        name = "p.csv"
    assert len(read_csv(name, "\t" if name.endswith(".tsv") else ",")) == 150


def test_a_file_of_many_parts(model, command, monkeypatch):
    expected = command("predict", "model.safetensors", "new.csv", "--out", "one.csv", "--json")[1]
    monkeypatch.setattr("nnaccel.sources.PART_CELLS", 8 * 7)
    got = command("predict", "model.safetensors", "new.csv", "--out", "parts.csv", "--json")[1]
    assert (model / "one.csv").read_text() == (model / "parts.csv").read_text()
    assert json.loads(got)["metrics"] == pytest.approx(json.loads(expected)["metrics"])


def test_kept_columns_are_copied_as_they_stand(model, command):
    assert command("predict", "model.safetensors", "new.csv", "--keep", "code,age", "--out", "p.csv", "--quiet")[0] == 0
    lines, frame = read_csv("p.csv"), people(150, seed=1)
    assert list(lines[0]) == ["code", "age", "rich"]
    assert [line["code"] for line in lines] == frame["code"].tolist()
    assert [line["age"] for line in lines] == ["" if age == "?" else str(age) for age in frame["age"]]
    assert command("predict", "model.safetensors", "new.csv", "--keep", "id", "--quiet")[0] == 2


def test_labels_that_may_go_together(folder, command):
    frame = people()
    frame.assign(
        old=(pd.to_numeric(frame["age"], errors="coerce") > 50).astype(int), poor=frame["rich"] == "<=50K"
    ).to_csv("labels.csv", index=False)
    code, out, _ = command(
        "train", "labels.csv", "--target", "old,poor", "--drop", "rich", "--epochs", 20, "--out", "m.safetensors"
    )
    assert (code, "2 labels: 'old' " in out) == (0, True)
    code, out, _ = command("predict", "m.safetensors", "labels.csv", "--out", "p.csv", "--proba", "--json", "--quiet")
    lines = read_csv("p.csv")
    assert list(lines[0]) == ["old", "poor", "probability_old", "probability_poor"]
    assert {line["old"] for line in lines} == {"0", "1"}
    assert all((line["poor"] == "1") == (float(line["probability_poor"]) > 0.5) for line in lines)


def test_classes_that_training_had_not_are_predicted_but_not_scored(model, command):
    frame = people(150, seed=1)
    frame.assign(rich=frame["rich"].where(frame.index >= 10, "poor")).to_csv("class.csv", index=False)
    code, out, err = command("predict", "model.safetensors", "class.csv", "--out", "p.csv", "--json")
    assert (code, json.loads(out)["rows_scored"], len(read_csv("p.csv"))) == (0, 140, 150)
    assert "10 rows not scored: of classes that training had not" in err


def test_gaps_that_training_had_not_are_told(model, command):
    people(20, seed=1).assign(town="", age=3).to_csv("no-town.csv", index=False)
    err = command("predict", "model.safetensors", "no-town.csv", "--out", "p.csv")[1]
    assert "'town' has gaps in 20 rows, but had none in training" in err


def test_rows(model, command):
    whole = command("predict", "model.safetensors", "new.csv", "--quiet")[1].splitlines()
    part = command("predict", "model.safetensors", "new.csv", "--quiet", "--rows", "10:30")[1].splitlines()
    assert part[1:] == whole[11:31]
    code, out, _ = command(
        "train", "people.csv", "--target", "rich", "--rows", ":100", "--epochs", 1, "--json", "--quiet"
    )
    assert (code, json.loads(out)["rows"], json.loads(out)["rows_held_out"]) == (0, 80, 20)


def test_a_regression_in_its_own_units(folder, command):
    code, out, _ = command(
        "train",
        "people.csv",
        "--target",
        "price",
        "--drop",
        "rich,code",
        "--epochs",
        60,
        "--out",
        "m.safetensors",
        "--json",
    )
    result = json.loads(out)
    assert (code, result["task"]) == (0, "regression")
    assert result["metrics"]["root_mean_squared_error"] < 0.4 * result["baseline"]["root_mean_squared_error"]
    assert result["baseline"]["r2"] == pytest.approx(0, abs=0.05)
    spread = list(result["error_quantiles"]["price"].values())
    assert spread == sorted(spread)
    # The history speaks of the same units.
    last = result["history"]["validation_root_mean_squared_error"][-1]
    assert last == pytest.approx(result["metrics"]["root_mean_squared_error"])
    code, out, _ = command("predict", "m.safetensors", "new.csv", "--out", "p.csv", "--json", "--quiet")
    predicted = [float(line["price"]) for line in read_csv("p.csv")]
    error = sklearn_metrics.mean_absolute_error(people(150, seed=1)["price"], predicted)
    assert json.loads(out)["metrics"]["mean_absolute_error"] == pytest.approx(error, rel=1e-4)


def test_predicted_numbers_keep_the_digits_that_mean_something(folder, command):
    frame = people()
    frame.assign(price=1e9 + frame["price"] / 100).to_csv("far.csv", index=False)
    code, out, _ = command(
        "train", "far.csv", "--target", "price", "--epochs", 60, "--out", "m.safetensors", "--json", "--quiet"
    )
    expected = json.loads(out)["metrics"]["r2"]
    assert (code, expected > 0.7) == (0, True)
    command("predict", "m.safetensors", "far.csv", "--out", "p.csv", "--quiet")
    predicted = [float(line["price"]) for line in read_csv("p.csv")]
    assert sklearn_metrics.r2_score(1e9 + frame["price"] / 100, predicted) > 0.7


def test_labels_are_written_as_they_were_learnt(folder, command):
    frame = people()
    frame.assign(rich=frame["rich"].map({">50K": 20240101.25, "<=50K": 7.5})).to_csv("f.csv", index=False)
    arguments = ("--target", "rich", "--task", "classification", "--epochs", 3, "--out", "m.safetensors", "--quiet")
    assert command("train", "f.csv", *arguments)[0] == 0
    command("predict", "m.safetensors", "f.csv", "--out", "p.csv", "--quiet")
    assert {line["rich"] for line in read_csv("p.csv")} == {"20240101.25", "7.5"}


def test_codes_can_be_categories(folder, command):
    arguments = ("train", "people.csv", "--target", "rich", "--epochs", 1, "--json", "--quiet")
    plain = json.loads(command(*arguments)[1])["features"]
    # A price is a number, a code such as 003 is none.
    assert json.loads(command(*arguments, "--drop", "code")[1])["features"] == plain - 4
    people(20).assign(room=[1, 2] * 10).to_csv("rooms.csv", index=False)
    arguments = ("train", "rooms.csv", "--target", "rich", "--epochs", 1, "--json", "--quiet")
    plain = json.loads(command(*arguments)[1])["features"]
    assert json.loads(command(*arguments, "--categorical", "room")[1])["features"] == plain + 1


def test_weights_and_balanced_classes(folder, command):
    frame = people()
    rare = frame[(frame["rich"] == "<=50K") | (frame.index % 8 == 0)].assign(count=1.0)
    rare.to_csv("rare.csv", index=False)
    scores = {}
    for options in ((), ("--class-weight", "balanced"), ("--weight", "count")):
        code, out, err = command(
            "train", "rare.csv", "--target", "rich", "--epochs", 20, "--metric", "balanced-accuracy,roc_auc", "--json",
            "--quiet", "--drop", "count" if "--weight" not in options else "planet", *options,
        )  # fmt: skip
        assert (code, err) == (0, "")
        scores[options] = json.loads(out)["metrics"]["balanced_accuracy"]
    assert scores["--class-weight", "balanced"] > scores[()]
    assert scores["--weight", "count"] == scores[()]


def test_groups_and_times_are_held_out_whole(folder, command):
    code, out, _ = command(
        "train", "people.csv", "--target", "rich", "--time", "joined", "--epochs", 1, "--validation", 0.25
    )
    assert code == 0
    assert "(the latest by 'joined')" in out
    code, out, _ = command("train", "people.csv", "--target", "rich", "--group", "town", "--epochs", 1)
    assert code == 0
    assert "whole groups of 'town'" in out


def test_validation_on_a_file(folder, command):
    people(150, seed=1).replace({"rich": {">50K": ">50k."}}).to_csv("dotted.csv", index=False)
    code, out, _ = command("train", "people.csv", "--target", "rich", "--validation", "dotted.csv", "--epochs", 20)
    assert code == 0
    assert "dotted.csv: '>50k.' is read as the class '>50K'" in out
    assert "400 to train on, 150 held out (all of dotted.csv)" in out


def test_a_metric_decides_when_to_stop(folder, command):
    code, out, _ = command(
        "train", "people.csv", "--target", "rich", "--metric", "roc_auc", "--early-stopping", 3, "--epochs", 200, "--json",
        "--out", "m.safetensors", "--quiet",
    )  # fmt: skip
    result = json.loads(out)
    scores = result["history"]["validation_roc_auc"]
    assert (code, result["stopped_by"]) == (0, "early stopping")
    assert result["best_epoch"] == int(np.argmax(scores)) + 1 == result["epochs"] - 3
    assert result["metrics"]["roc_auc"] == max(scores)
    assert "roc_auc, patience 3" in command("info", "m.safetensors")[1]


def test_overfitting_is_pointed_out(folder, command):
    random = np.random.default_rng(0)
    pd.DataFrame(random.standard_normal((60, 20))).assign(y=random.integers(0, 2, 60)).to_csv("noise.csv", index=False)
    arguments = ("train", "noise.csv", "--target", "y", "--epochs", 80, "--learning-rate", 0.02)
    assert "their loss was lowest after epoch" in command(*arguments)[1]
    assert "their loss was lowest" not in command(*arguments, "--early-stopping", 5)[1]
    assert "their loss was lowest" not in command(*arguments, "--validation", 0)[1]


def test_plot_and_log(folder, command):
    for log in ("h.csv", "h.jsonl"):
        code, out, _ = command(
            "train", "people.csv", "--target", "rich", "--epochs", 4, "--log", log, "--plot", "l.png"
        )
        assert code == 0
        assert f"written    {log}" in out
    assert (folder / "l.png").read_bytes().startswith(b"\x89PNG")
    lines = [json.loads(line) for line in (folder / "h.jsonl").read_text().splitlines()]
    rows = read_csv("h.csv")
    assert [int(row["epoch"]) for row in rows] == [line["epoch"] for line in lines] == [1, 2, 3, 4]
    assert [float(row["validation_loss"]) for row in rows] == [line["validation_loss"] for line in lines]


def test_going_on_with_a_model(model, command):
    first = command("info", "model.safetensors", "--json")
    code, out, _ = command(
        "train", "new.csv", "--init", "model.safetensors", "--epochs", 1, "--learning-rate", "1e-9", "--validation", 0,
        "--out", "tuned.safetensors", "--target", "rich", "--dropout", 0.1,
    )  # fmt: skip
    assert code == 0
    assert "(dropout 0.1)" in out
    before, after = load_file("model.safetensors"), load_file("tuned.safetensors")
    assert before.keys() == after.keys()
    for name in before:
        np.testing.assert_allclose(after[name], before[name], atol=1e-6)
    assert json.loads(first[1])["encoding"] == json.loads(command("info", "tuned.safetensors", "--json")[1])["encoding"]
    assert "from model.safetensors" in command("info", "tuned.safetensors")[1]


def test_a_score_on_rows_trained_on_before_is_marked(model, command):
    arguments = ("--init", "model.safetensors", "--epochs", 1, "--target", "rich")
    assert "flatters" not in command("train", "people.csv", *arguments)[1]
    assert "flatters" not in command("train", "people.csv", *arguments, "--validation", "new.csv")[1]
    assert "flatters" in command("train", "people.csv", *arguments, "--seed", 1)[1]
    # All rows of a file that it hasn't seen are new to it.
    assert "flatters" not in command("train", "new.csv", *arguments)[1]
    assert "flatters" in command("train", "new.csv", *arguments, "--validation", "people.csv")[1]
    people(ROWS + 20).to_csv("people.csv", index=False)
    assert "flatters" in command("train", "people.csv", *arguments)[1]


def test_more_epochs_go_on_where_the_model_was(model, command):
    arguments = ("train", "people.csv", "--target", "rich", "--epochs", 1, "--json", "--quiet")
    anew = json.loads(command(*arguments)[1])["train_loss"]
    assert json.loads(command(*arguments, "--init", "model.safetensors")[1])["train_loss"] < 0.7 * anew


def test_info_describes_a_model(model, command):
    code, out, _ = command("info", "model.safetensors")
    assert code == 0
    for part in (
        "12 features -> 100 relu -> 2 identity", "softmax_cross_entropy", "'rich': 2 classes: <=50K, >50K", "numbers    age",
        "'member', one of true, yes", "'joined', a date like 2024-12-31", "categories 'town': Bonn, Kiel, Ulm",
        "320 rows of people.csv", "optimizer adam", "30 epochs", "backend numba", "accuracy", "always the most frequent class",
    ):  # fmt: skip
        assert part in out, part
    facts = json.loads(command("info", "model.safetensors", "--json")[1])
    assert facts["report"]["metrics"]["accuracy"] > facts["report"]["baseline"]["accuracy"]


def write_parquet(path):
    frame = people()
    frame.assign(age=pd.to_numeric(frame["age"], errors="coerce")).to_parquet(path)


def write_npz(path):
    frame = people()
    np.savez(path, X=frame[["price"]].to_numpy(), y=frame["rich"].to_numpy(str))


def write_idx(path):
    """Images of 2 x 2 bytes, and the labels beside them."""
    random = np.random.default_rng(0)
    images, labels = random.integers(0, 256, (100, 2, 2), np.uint8), random.integers(0, 2, 100, np.uint8)
    for file, array in ((path, images), (path.with_name("t-labels-idx1-ubyte.gz"), labels)):
        sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
        file.write_bytes(gzip.compress(bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()))


def text_writer(change=lambda frame: frame, **options):
    return lambda path: change(people()).to_csv(path, index=False, **options)


FILES = {
    "p.parquet": (write_parquet, []),
    "p.npz": (write_npz, []),
    "t-images-idx3-ubyte.gz": (write_idx, []),
    "p.tsv": (text_writer(sep="\t"), []),
    "p.csv.gz": (text_writer(compression="gzip"), []),
    "p.csv.bz2": (text_writer(compression="bz2"), []),
    "p.csv.xz": (text_writer(compression="xz"), []),
    "p.zip": (text_writer(compression="zip"), []),
    "delimited.txt": (text_writer(sep="#"), ["--delimiter", "#"]),
    "western.csv": (
        text_writer(lambda frame: frame.replace(" Ulm ", " Köln "), encoding="cp1252"),
        ["--encoding", "cp1252"],
    ),
    "years.csv": (text_writer(lambda frame: frame.rename(columns={"age": "2019"})), ["--header"]),
}


@pytest.mark.parametrize("name", FILES)
def test_formats(folder, command, name):
    write, reading = FILES[name]
    write(folder / name)
    target = () if name.endswith(("npz", "ubyte.gz")) else ("--target", "rich")
    arguments = ("--epochs", 5, "--json", "--quiet", "--out", "m.safetensors", *reading)
    code, out, err = command("train", name, *target, *arguments)
    assert (code, err) == (0, "")
    code, out, err = command("predict", "m.safetensors", name, "--json", "--quiet", "--out", "p.out.csv", *reading)
    assert (code, err) == (0, "")
    assert json.loads(out)["rows_scored"] == (100 if "ubyte" in name else ROWS)


@pytest.mark.parametrize("task", ["regression", "classification"])
def test_the_task_of_whole_numbers(folder, command, task):
    people().assign(stars=[1, 2, 3, 4] * (ROWS // 4)).to_csv("stars.csv", index=False)
    code, out, _ = command(
        "train", "stars.csv", "--target", "stars", "--task", task, "--epochs", 1, "--json", "--quiet"
    )
    assert (code, json.loads(out)["task"]) == (0, task)


def test_decimal_commas(folder, command):
    frame = people().assign(height=np.linspace(1, 2, ROWS), weight=np.linspace(50, 90, ROWS))
    frame.to_csv("german.csv", index=False, sep=";", decimal=",")
    arguments = ("--target", "rich", "--epochs", 1)
    code, out, _ = command("train", "german.csv", *arguments, "--out", "m.safetensors")
    assert (code, "commas are read as decimal points, as in '" in out) == (0, True)
    assert "numbers    age, price, height, weight" in command("info", "m.safetensors")[1]
    frame.assign(age=["old", *frame["age"][1:]]).to_csv("odd.csv", index=False, sep=";", decimal=",")
    assert "line 2, column 'age': 'old' is not a number" in command("predict", "m.safetensors", "odd.csv", "--quiet")[2]
    # However late the first comma comes, it is told.
    late = [*range(ROWS - 1), "7,5"]
    frame.assign(late=late, height=1, weight=range(ROWS), price=2).to_csv("late.csv", index=False, sep=";")
    assert "commas are read as decimal points, as in '7,5'" in command("train", "late.csv", *arguments)[1]
    frame.to_csv("german.tsv", index=False, sep="\t", decimal=",")
    assert "'height' is text: a comma is a decimal point only" in command("train", "german.tsv", *arguments)[1]


def test_predictions_are_judged_with_the_weights_of_the_training(folder, command):
    frame = people().assign(w=np.random.default_rng(0).integers(0, 5, ROWS))
    frame.to_csv("weighted.csv", index=False)
    arguments = ("train", "weighted.csv", "--target", "rich", "--weight", "w", "--epochs", 5, "--validation", 0)
    assert command(*arguments, "--out", "m.safetensors", "--quiet")[0] == 0
    _, out, err = command("predict", "m.safetensors", "weighted.csv", "--out", "p.csv", "--json")
    predicted = [line["rich"] for line in read_csv("p.csv")]
    expected = sklearn_metrics.accuracy_score(frame["rich"], predicted, sample_weight=frame["w"])
    assert json.loads(out)["metrics"]["accuracy"] == pytest.approx(expected)
    assert "scores are weighted by 'w'" in err
    # A weight that is none costs the weights, not the predictions.
    frame.assign(w=["?", *frame["w"][1:]]).to_csv("odd.csv", index=False)
    code, out, err = command("predict", "m.safetensors", "odd.csv", "--out", "p.csv", "--json")
    assert (code, json.loads(out)["rows_scored"]) == (0, ROWS)
    assert "scores aren't weighted, though the training was: odd.csv, line 2, column 'w'" in err


def test_headers_that_nobody_spoke_of(folder, command):
    people().to_csv("bare.csv", index=False, header=False)
    arguments = ("--target", "7", "--epochs", 1, "--out", "m.safetensors", "--quiet")
    assert command("train", "bare.csv", "--no-header", *arguments)[0] == 0
    # A model without names sees by the rows below that the first line holds some.
    expected = command("predict", "m.safetensors", "new.csv", "--header", "--quiet")
    assert command("predict", "m.safetensors", "new.csv", "--quiet") == expected
    # A gap is no name.
    (folder / "two.csv").write_text("\n".join(f"{k / 8},{'red' if k % 3 else 'blue'}" for k in range(40)))
    (folder / "gap-first.csv").write_text("NA,red\n0.5,red\n0.7,blue\n")
    assert (
        command("train", "two.csv", "--no-header", "--target", 1, "--epochs", 1, "--out", "two.safetensors", "--quiet")[
            0
        ]
        == 0
    )
    assert len(command("predict", "two.safetensors", "gap-first.csv", "--quiet")[1].splitlines()) == 1 + 3
    for head in ("country,2000,2005,2010,label", ",0,1,2,label", "0,1,2,3,label"):
        (folder / "h.csv").write_text(
            head + "\n" + "\n".join(f"x{k % 5},{k},{k % 2},3.5,{'ab'[k % 2]}" for k in range(40))
        )
        assert command("train", "h.csv", "--target", "label", "--epochs", 1, "--quiet") == (0, "", ""), head
    (folder / "spam.csv").write_text("text,spam\n" + "a,spam\nb,ham\n" * 20)
    assert command("train", "spam.csv", "--target", "spam", "--epochs", 1, "--quiet") == (0, "", "")
    pd.DataFrame({"a": ["x", "y", "x"] * 9, "b": ["p", "p", "q"] * 9}).to_csv("words.csv", index=False, header=False)
    code, _, err = command("train", "words.csv", "--target", "1", "--quiet")
    assert (code, "the first line holds 'x', so it looks like data" in err) == (2, True)
    # One name that is a value as well may be chance.
    people().assign(kind=["kind", "rude"] * (ROWS // 2)).to_csv("kind.csv", index=False)
    assert command("train", "kind.csv", "--target", "rich", "--epochs", 1, "--quiet") == (0, "", "")


def test_the_dtype_of_a_model_stays(folder, command):
    arguments = ("train", "people.csv", "--target", "rich", "--epochs", 1, "--quiet", "--out")
    assert command(*arguments, "m.safetensors", "--dtype", "float64")[0] == 0
    assert command(*arguments, "n.safetensors", "--init", "m.safetensors")[0] == 0
    assert load("n.safetensors").parameters.dtype == np.float64


def test_arrays_with_the_target_in_a_file_of_its_own(folder, command):
    x = np.random.default_rng(0).standard_normal((100, 3))
    np.save("x.npy", x)
    np.save("y.npy", (x[:, 0] > 0).astype(int))
    code, out, _ = command(
        "train", "x.npy", "--target", "y.npy", "--epochs", 20, "--json", "--quiet", "--out", "m.safetensors"
    )
    assert (code, json.loads(out)["features"]) == (0, 3)
    code, out, _ = command(
        "predict", "m.safetensors", "x.npy", "--target", "y.npy", "--json", "--quiet", "--out", "p.csv"
    )
    assert (code, json.loads(out)["rows_scored"]) == (0, 100)
    assert command("predict", "m.safetensors", "x.npy", "--quiet")[0] == 0


def test_a_column_is_preferred_to_a_file_of_its_name(folder, command):
    (folder / "rich").write_text("no targets")
    assert command("train", "people.csv", "--target", "rich", "--epochs", 1, "--quiet") == (0, "", "")


def test_a_reader_that_goes_away_ends_no_training(folder):
    command = f"{sys.executable} -m nnaccel train people.csv --target rich --epochs 2 --out m.safetensors | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True)
    assert done.stdout.startswith("data       people.csv")
    assert done.stderr == ""
    assert (folder / "m.safetensors").exists()


def test_a_model_saved_in_python_predicts_files(folder, command):
    from nnaccel import Dense, Network, train

    random = np.random.default_rng(0)
    X = random.standard_normal((50, 2))
    model = train(Network(2, [Dense(2)]), X, (X[:, 0] > 0).astype(int), epochs=3)
    model.save("m.safetensors")
    pd.DataFrame(X).to_csv("x.csv", index=False, header=False)
    code, out, _ = command("predict", "m.safetensors", "x.csv", "--quiet")
    assert code == 0
    np.testing.assert_array_equal([int(line) for line in out.splitlines()[1:]], model.predict(X))


BAD_TRAINING = [
    (["train", "people.csv"], "say which column of people.csv is to be predicted, with --target; it has age, town"),
    (["train", "people.csv", "--target", "wealth"], "people.csv has no column 'wealth'; it has age, town"),
    (["train", "people.csv", "--target", "8"], "no column '8'"),
    (["train", "people.csv", "--target", "rich", "--drop", "rich"], "column 'rich' is the target, so it can't be dropped"),
    (["train", "people.csv", "--target", "rich", "--weight", "age"], "column 'age': a weight must be a number"),
    (["train", "people.csv", "--target", "rich", "--weight", "town"], "line 2, column 'town': 'Bonn' is not a number"),
    (["train", "people.csv", "--target", "joined"], "more classes than make sense"),
    (["train", "people.csv", "--target", "planet"], "every training row has the same target 'planet'"),
    (["train", "people.csv", "--target", "town", "--task", "regression"], "line 2, column 'town': 'Bonn' is not a number"),
    (["train", "people.csv", "--target", "price", "--class-weight", "balanced"], "--class-weight is for classes"),
    (["train", "people.csv", "--target", "rich", "--class-weight", "mild"], "--class-weight takes 'balanced'"),
    (["train", "people.csv", "--target", "rich", "--metric", "r2"], "the metric r2 is for regression"),
    (["train", "people.csv", "--target", "rich", "--metric", "acuracy"], "did you mean 'accuracy'"),
    (["train", "people.csv", "--target", "rich", "--group", "town", "--time", "joined"], "by --group or by --time, not by both"),
    (["train", "people.csv", "--target", "rich", "--time", "town"], "'Bonn' is no time"),
    (["train", "people.csv", "--target", "rich", "--time", "age"], "there is no time"),
    (["train", "people.csv", "--target", "rich", "--validation", "class.csv"], "class.csv has no row with a target that training rows have"),
    (["train", "people.csv", "--target", "rich", "--validation", "gone.csv"], "there is no file gone.csv"),
    (["train", "people.csv", "--target", "rich", "--validation", "1.5"], "above 0 and below 1"),
    (["train", "people.csv", "--target", "rich", "--rows", "9"], "--rows takes a start and a later stop"),
    (["train", "people.csv", "--target", "rich", "--rows", "900:"], "people.csv has no rows there"),
    (["train", "people.csv", "--target", "rich", "--delimiter", "::"], "--delimiter takes one character"),
    (["train", "people.csv", "--target", "rich", "--encoding", "utf-9"], "no text encoding 'utf-9'"),
    (["train", "people.csv", "--target", "rich", "--out", "m.pkl"], "--out takes a file named *.safetensors"),
    (["train", "people.csv", "--target", "rich", "--out", "gone/m.safetensors"], "there is no folder"),
    (["train", "people.csv", "--target", "rich", "--plot", "l.bmp"], "--plot takes a file named *.png"),
    (["train", "people.csv", "--target", "rich", "--log", "l.txt"], "--log takes a file named *.csv"),
    (["train", "people.csv", "--target", "rich", "--init", "gone.safetensors"], "there is no file gone.safetensors"),
    (["train", "people.csv", "--target", "rich", "--init", "people.csv"], "people.csv is no model file"),
    (["train", "new.csv", "--init", "model.safetensors", "--hidden", "5"], "leave out --hidden"),
    (["train", "new.csv", "--init", "model.safetensors", "--drop", "age"], "leave out --hidden, --activation, --task, --drop"),
    (["train", "new.csv", "--init", "model.safetensors", "--target", "town"], "'town'"),
    (["train", "people.csv", "--target", "rich", "--validation", "people.csv"], "people.csv is trained on"),
    (["train", "people.csv", "--target", "rich", "--log", "people.csv"], "people.csv is read, so it can't be written"),
    (["train", "people.csv", "--target", "rich", "--early-stopping", "5", "--validation", "0", "--metric", "f1"], "watch 'f1'"),
    (["train", "people.csv", "--target", ""], "--target"),
    (["train", "people.csv", "--target", "price,price"], "'price'"),
    (["train", "gone.csv", "--target", "rich", "--epochs", "0"], "the epochs must be a whole number"),
    (["train", "gone.csv", "--target", "rich", "--dtype", "half"], "unknown dtype 'half'"),
    (["train", "gone.csv", "--target", "rich", "--schedule", "sin"], "unknown schedule 'sin'"),
    (["train", "ragged.csv", "--target", "b"], "ragged.csv, line 4: 3 values instead of 2"),
    (["train", "twice.csv", "--target", "b"], "the same name 'a'"),
    (["train", "bare.csv", "--target", "0"], "the first line holds '1', so it looks like data"),
    (["train", "empty.csv", "--target", "a"], "empty.csv is empty"),
    (["train", "header.csv", "--target", "a"], "header.csv has no rows"),
]  # fmt: skip


BAD_PREDICTION = [
    (["predict", "gone.safetensors", "new.csv"], "there is no file gone.safetensors"),
    (["predict", "new.csv", "new.csv"], "new.csv is no model file"),
    (["predict", "foreign.safetensors", "new.csv"], "a safetensors file of another program"),
    (["predict", "newer.safetensors", "new.csv"], "has the format 99, but nnaccel"),
    (["predict", "torn.safetensors", "new.csv"], "torn.safetensors is no model file, or a damaged one"),
    (["predict", "model.safetensors", "gone.csv"], "there is no file gone.csv"),
    (["predict", "model.safetensors", "missing.csv"], "missing.csv has no column 'age', 'town', which the model was trained on"),
    (["predict", "model.safetensors", "text.csv"], "text.csv, line 5, column 'age': 'old' is not a number"),
    (["predict", "model.safetensors", "date.csv"], "date.csv, line 2, column 'joined': 'monday' is not a date like 2024-12-31"),
    (["predict", "model.safetensors", "narrow.csv", "--no-header"], "narrow.csv has 2 columns, but the model was trained on"),
    (["predict", "model.safetensors", "new.csv", "--out", "p.xlsx"], "--out takes a file named *.csv or *.tsv"),
    (["predict", "model.safetensors", "new.csv", "--out", "new.csv"], "new.csv is read, so it can't be written"),
    (["predict", "model.safetensors", "new.csv", "--keep", "rich"], "--keep names a column twice, or one that is predicted"),
    (["predict", "model.safetensors", "renamed.csv"], "has none of the names looked for: give --no-header if it holds data"),
    (["predict", "model.safetensors", "new.csv", "--target", "new.csv"], "new.csv, a file of targets, goes with arrays alone"),
    (["predict", "model.safetensors", "new.csv", "--json"], "give the predictions a file with --out"),
    (["predict", "model.safetensors", "new.csv", "--metric", "r2"], "the metric r2 is for regression"),
    (["info", "gone.safetensors"], "there is no file gone.safetensors"),
]  # fmt: skip


@pytest.fixture
def bad_files(model):
    """Beside model.safetensors, tables and model files with something wrong in each."""
    (model / "ragged.csv").write_text("a,b\n1,2\n3,4\n5,6,7\n")
    (model / "twice.csv").write_text("a,a,b\n1,2,3\n")
    (model / "bare.csv").write_text("1,x\n2,y\n")
    (model / "empty.csv").write_text("")
    (model / "header.csv").write_text("a,b\n")
    (model / "narrow.csv").write_text("1,x\n2,y\n")
    frame = people(20, seed=2)
    frame.drop(columns=["age", "town"]).to_csv("missing.csv", index=False)
    frame.assign(age=frame["age"].where(frame.index != 3, "old")).to_csv("text.csv", index=False)
    frame.assign(joined="monday").to_csv("date.csv", index=False)
    frame.rename(columns=lambda name: f"the {name}").to_csv("renamed.csv", index=False)
    frame.assign(rich="poor").to_csv("class.csv", index=False)
    from safetensors.numpy import save_file

    save_file({"w": np.ones(3)}, "foreign.safetensors")
    newer = json.dumps({"format": 99, "version": "9.9"})
    save_file({"w": np.ones(3)}, "newer.safetensors", {"nnaccel": newer})
    (model / "torn.safetensors").write_bytes((model / "model.safetensors").read_bytes()[:-50])
    return model


@pytest.mark.parametrize(("arguments", "sentence"), BAD_TRAINING + BAD_PREDICTION)
def test_bad_input_gets_one_sentence(bad_files, command, arguments, sentence):
    before = sorted(path.name for path in bad_files.iterdir())
    extra = [] if arguments[0] == "info" or "--out" in arguments or "--json" in arguments else ["--quiet"]
    if arguments[0] == "predict" and extra:
        extra += ["--out", "p.csv"]
    code, out, err = command(*arguments, *extra)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.startswith("nnaccel: ")
    assert err.count("\n") == 1
    assert sorted(path.name for path in bad_files.iterdir()) == before


def test_a_diverged_training_keeps_the_best_epoch(folder, command):
    code, out, err = command(
        "train", "people.csv", "--target", "price", "--optimizer", "sgd", "--learning-rate", 10, "--epochs", 50, "--quiet",
        "--out", "m.safetensors", "--drop", "rich", "--batch-size", "full",
    )  # fmt: skip
    assert (code, out) == (2, "")
    assert "epoch 1 is kept" in err
    assert "saved as m.safetensors" in err
    assert err.count("\n") == 1
    assert command("predict", "m.safetensors", "new.csv", "--quiet")[0] == 0


def test_without_optional_packages(folder, command, monkeypatch):
    write_parquet("p.parquet")
    for name in ("pyarrow", "matplotlib"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    code, _, err = command("train", "p.parquet", "--target", "rich", "--quiet")
    assert (code, "pip install 'nnaccel[parquet]'" in err) == (2, True)
    code, _, err = command("train", "people.csv", "--target", "rich", "--plot", "l.png", "--quiet")
    assert (code, "pip install 'nnaccel[plot]'" in err) == (2, True)


CELLS = st.sampled_from(
    [
        "1",
        "2.5",
        "-3",
        "1,5",
        "1e400",
        "inf",
        "nan",
        "?",
        "",
        " ",
        "a",
        "b",
        "none",
        "007",
        "yes",
        "no",
        "2024-01-31",
        "x,y",
        '"',
    ]
)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.lists(CELLS, min_size=1, max_size=4), min_size=0, max_size=12),
    st.sampled_from([",", ";", "\t"]),
    st.sampled_from(["--header", "--no-header", "--quiet"]),
)
def test_small_malformed_tables_train_and_predict_or_get_a_sentence(lines, delimiter, option):
    with tempfile.TemporaryDirectory() as folder:
        data, model = Path(folder, "data.csv"), Path(folder, "m.safetensors")
        data.write_text("\n".join(delimiter.join(cells) for cells in lines))
        for arguments in (
            ["train", data, "--target", "-1", "--epochs", "1", "--out", model, option],
            ["predict", model, data, "--out", Path(folder, "p.csv"), option],
        ):
            with contextlib.redirect_stderr(io.StringIO()) as err, contextlib.redirect_stdout(io.StringIO()):
                code = run([str(argument) for argument in arguments])
            assert code in (0, 2), err.getvalue()
            if code == 2:
                assert err.getvalue().startswith("nnaccel: ")
                assert err.getvalue().count("\n") == 1
                assert not Path(folder, "p.csv").exists()
                return
