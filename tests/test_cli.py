"""The commands through their real entry point: what they print, and how they end when something is wrong."""

import json
import subprocess
import sys

import numpy as np
import pytest

from nnaccel.backends import backend_class
from nnaccel.metrics import METRICS


def test_digits_reaches_97_percent(command):
    code, out, _ = command("train", "digits", "--hidden", "100", "--epochs", "30", "--backend", "cpu", "--json")
    result = json.loads(out)
    assert code == 0
    assert result["metrics"]["accuracy"] >= 0.97
    assert (result["backend"], result["kernel"], result["epochs"]) == ("cpu", "reference", 30)
    assert result["parameters"] == 64 * 100 + 100 + 100 * 10 + 10
    assert result["rows"] == 1797 - 359
    assert len(result["history"]["train_loss"]) == 30
    assert result["train_loss"] == result["history"]["train_loss"][-1]
    assert {"seconds", "seconds_compile"} <= result.keys()


def test_summary(command):
    code, out, err = command("train", "iris", "--hidden", "8,4", "--epochs", "20", "--dropout", "0.1")
    assert (code, err) == (0, "")
    for part in ("150 rows, 5 columns: 4 numbers", "3 classes: 0 33.3%", "120 to train on, 30 held out", "4 features -> 8 relu (dropout 0.1) -> 4 relu",
                 "91 parameters", "reading", "compiling", "training (20 epochs)", "train loss", "accuracy"):  # fmt: skip
        assert part in out


@pytest.mark.parametrize(
    ("source", "metric"), [("wine", "accuracy"), ("breast_cancer", "accuracy"), ("diabetes", "r2")]
)
def test_every_bundled_set_is_learnt(command, source, metric):
    code, out, _ = command("train", source, "--epochs", "30", "--hidden", "16", "--batch-size", "8", "--json")
    assert code == 0
    assert json.loads(out)["metrics"][metric] > {"accuracy": 0.9, "r2": 0.3}[metric]


def test_metrics_of_a_regression_are_in_its_own_units(command):
    _, out, _ = command("train", "diabetes", "--epochs", "60", "--batch-size", "8", "--hidden", "", "--json")
    metrics = json.loads(out)["metrics"]
    assert 35 < metrics["mean_absolute_error"] < metrics["root_mean_squared_error"] < 70


def test_all_options_together(command, tmp_path):
    path = tmp_path / "data.npz"
    random = np.random.default_rng(0)
    x = random.standard_normal((80, 3))
    np.savez(path, X=x, y=np.where(x[:, 0] > 0, "yes", "no"))
    code, out, _ = command(
        "train", str(path), "--hidden", "8,8", "--activation", "leaky-relu,slope=0.1", "--epochs", "40", "--batch-size", "16",
        "--optimizer", "adamw", "--learning-rate", "0.01", "--schedule", "cosine,warmup=2", "--dropout", "0.1",
        "--weight-decay", "0.001", "--clip-norm", "1", "--validation", "0.25", "--early-stopping", "5", "--time-limit", "10m",
        "--seed", "3", "--dtype", "float64", "--threads", "1", "--backend", "auto", "--quiet", "--json",
    )  # fmt: skip
    result = json.loads(out)
    assert code == 0
    assert result["rows"] == 60
    assert result["metrics"]["accuracy"] > 0.8


def test_quiet_prints_nothing(command):
    assert command("train", "iris", "--epochs", "2", "--quiet") == (0, "", "")


def test_without_validation(command):
    code, out, _ = command("train", "iris", "--epochs", "2", "--validation", "0", "--batch-size", "full", "--json")
    result = json.loads(out)
    assert (code, result["rows"], result["metrics"]) == (0, 150, {})


def test_neuron(command):
    code, out, _ = command("demo", "neuron", "--backend", "cpu")
    assert (code, "0.99993704" in out) == (0, True)
    _, out, _ = command("demo", "neuron", "--json")
    assert f"{json.loads(out)['prediction']:.8f}" == "0.99993704"


def test_two_layer(command):
    code, out, _ = command("demo", "two-layer", "--json")
    result = json.loads(out)
    assert code == 0
    assert [round(p) for p in result["predictions"]] == [0, 1, 1, 0]
    assert len(result["loss"]) == 1500
    assert (np.diff(result["loss"]) <= 0).all()
    assert "inputs  truth  prediction" in command("demo", "two-layer")[1]


def test_info(command):
    code, out, _ = command("info", "--json")
    facts = json.loads(out)
    assert code == 0
    assert facts["backends"]["cpu"]["available"]
    assert facts["machine"]["logical_cores"] >= 1
    assert "cuda" in command("info")[1]


def test_version_and_help():
    for arguments, part in [
        (["--version"], "nnaccel 0."),
        (["--help"], "Example: nnaccel train"),
        (["train", "--help"], "Example: nnaccel train people.csv --target income"),
        (["predict", "--help"], "Example: nnaccel predict model.safetensors new.csv"),
        (["info", "--help"], "Example: nnaccel info"),
        (["demo", "--help"], "Example: nnaccel demo"),
        (["demo", "neuron", "--help"], "Example: nnaccel demo neuron"),
    ]:
        done = subprocess.run(
            [sys.executable, "-c", "from nnaccel.cli import main; main()", *arguments],
            capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert part in done.stdout


def test_help_names_every_metric(command):
    help_text = "".join(command("train", "--help")[1].split())
    assert all(name in help_text for name in METRICS)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["train"], "Missing argument 'DATA'"),
        (["train", "nothing.npz"], "there is no file nothing.npz"),
        (["train", "mnist"], "there is no data set 'mnist'; give one of digits"),
        (["train", "iris", "--epochs", "0"], "the epochs must be a whole number, 1 or more, not 0"),
        (["train", "iris", "--epochs", "many"], "--epochs"),
        (["train", "iris", "--batch-size", "0"], "the batch size must be a whole number"),
        (["train", "iris", "--batch-size", "all"], "a number of rows or 'full'"),
        (["train", "iris", "--learning-rate", "0"], "the learning rate must be above 0"),
        (["train", "iris", "--learning-rate", "nan"], "the learning rate must be above 0"),
        (["train", "iris", "--hidden", "64;64"], "--hidden takes widths such as 64,64"),
        (["train", "iris", "--hidden", "0"], "1 or more, not 0"),
        (["train", "iris", "--hidden", "1000000,1000000"], "TB, but this machine has"),
        (["train", "iris", "--activation", "rellu"], "did you mean 'relu'"),
        (["train", "iris", "--dropout", "1"], "dropout must be at least 0 and below 1"),
        (["train", "iris", "--validation", "2"], "the validation fraction must be above 0 and below 1"),
        (["train", "iris", "--time-limit", "soon"], "a time is written like"),
        (["train", "iris", "--backend", "tpu"], "unknown backend 'tpu'; known: auto, cpu, cuda"),
        (["train", "iris", "--dtype", "half"], "unknown dtype 'half'"),
        (["train", "iris", "--task", "ranking"], "unknown task 'ranking'"),
        (["train", "iris", "--loss", "poisson", "--task", "classification"], "poisson doesn't suit a classification"),
        (["train", "diabetes", "--optimizer", "sgd", "--learning-rate", "1e6"], "take a smaller learning rate"),
        (["train", "iris", "--epoch", "3"], "--epoch"),
        (["trian"], "trian"),
    ],
)
def test_bad_input_gets_one_sentence(command, arguments, sentence):
    code, out, err = command(*arguments, *(["--quiet"] if len(arguments) > 1 else []))
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.startswith("nnaccel: ")
    assert err.count("\n") == 1


def test_a_backend_that_cannot_run_here(command, monkeypatch):
    monkeypatch.setattr(backend_class("cuda"), "unavailable_reason", classmethod(lambda cls: "no driver; install one."))
    code, _, err = command("train", "iris", "--backend", "cuda", "--quiet")
    assert (code, err) == (3, "nnaccel: backend cuda can't run here: no driver; install one.\n")


def test_counts_are_not_standardised(command, tmp_path):
    random = np.random.default_rng(0)
    x = random.standard_normal((300, 2))
    np.savez(tmp_path / "counts.npz", X=x, y=random.poisson(np.exp(x[:, 0])).astype(float))
    code, out, _ = command(
        "train", str(tmp_path / "counts.npz"), "--loss", "poisson", "--epochs", "40", "--json", "--quiet"
    )
    assert code == 0
    assert json.loads(out)["metrics"]["r2"] > 0.4
