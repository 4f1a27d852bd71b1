"""`nnaccel estimate` and `nnaccel calibrate`: what they ask for, what they show, and how they end."""

import json
import math
import re
from dataclasses import dataclass, fields, replace

import numpy as np
import pytest

from nnaccel import calibration, estimation, profile, records, training
from nnaccel.backends import backend_class
from nnaccel.cli import screen
from nnaccel.cli.training_options import TrainOptions
from nnaccel.cost import Workload
from nnaccel.errors import BackendUnavailable, InputError
from nnaccel.estimation import Affordable, BackendEstimate, Estimate
from nnaccel.losses import SoftmaxCrossEntropy
from nnaccel.network import Dense, Network
from nnaccel.optimizers import Adam
from nnaccel.plan import Plan
from nnaccel.profile import BackendProfile, MachineProfile
from nnaccel.recipe import EarlyStopping

SHAPE = ["--rows", "2000", "--features", "5", "--classes", "3"]
LIMIT = 100


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """An empty folder for profiles and records; kernels stay where they are, as they take long to compile."""
    for module in (profile, records):
        monkeypatch.setattr(module, "folder", lambda: tmp_path / "home")
    monkeypatch.delenv("NNACCEL_RECORDS", raising=False)
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def laptop(name="laptop"):
    backends = {"cpu": BackendProfile("NumPy", False, 0, 2, 0.5, 0.001, 1e-9, coefficients={"float32 reference": {"step": 1e-4}})}  # fmt: skip
    return MachineProfile(name, "2026-01-31T12:00:00+00:00", "a processor", 2.0, 10**10, 0.05, backends)


THERE = {
    "cuda": BackendEstimate(True, "by profile", 2.0, 0.001, 3.0, 2.5, 3.5, 10**9, 2 * 10**9, True, True),
    "numba": BackendEstimate(False, "its profile doesn't know float64", projected=True),
}


def outlook(**changes):
    """An estimate with a backend of each sort."""
    workload = Workload(Plan(Network(5, [Dense(8), Dense(3)]), SoftmaxCrossEntropy(), Adam()), 2000, 64)
    backends = {
        "cpu": BackendEstimate(True, "tried for 0.5 s", 0.25, 0.0123, 7300.0, 6900.0, 7800.0, 150_000_000, 0, True),
        "cuda": BackendEstimate(False, "CuPy is not installed; " + "pip install 'nnaccel[cuda13]' or the other " * 3),
        "numba": BackendEstimate(True, "tried for 0.6 s", 1.5, 0.000012, 75.0, 70.0, 80.0, 3 * 10**12, 0, False),
    }
    given = Estimate(backends, {}, "numba", "the fastest", "cpu wins below batches of 8", False, 100, workload)
    return replace(given, **changes)


@dataclass
class Calls:
    """What the function was called with last; it says what it does, and gives or raises the result."""

    result: object
    network: object = None
    given: object = None

    def __call__(self, network, **given):
        self.network, self.given = network, given
        given["report"]("trying something")
        if isinstance(self.result, BaseException):
            raise self.result
        return self.result


@pytest.fixture
def estimate(monkeypatch):
    calls = Calls(outlook())
    monkeypatch.setattr(estimation, "estimate", calls)
    return calls


def sentence(result, code=2):
    assert result[:2] == (code, "")
    assert result[2].startswith("nnaccel: ")
    assert result[2].count("\n") == 1
    return result[2]


def rows_of(out):
    """The rows of the table by backend, each as words; of several machines the last counts."""
    return {line.split()[0]: line.split() for line in out.splitlines() if line[:4] in ("cpu ", "cuda", "numb")}


@pytest.fixture
def with_machines():
    """The options that name two machines' profiles."""
    for name in ("box", "laptop"):
        profile.write_profile(profile.Path(f"{name}.json"), laptop(name))
    return ["--machine", "box.json", "--machine", "laptop.json"]


def test_table(command, estimate, with_machines):
    estimate.result = outlook(machines={"box": THERE, "laptop": {}})
    code, out, err = command("estimate", *SHAPE, *with_machines)
    assert (code, err) == (0, "")
    rows = [line.rstrip() for line in out.splitlines()]
    assert rows[0].startswith("data       none: 2,000 random rows of 5 features, 0.2 of them held out; 3 classes")
    assert rows[1].startswith("network    5 features -> 100 relu -> 3 identity")
    assert rows[2] == "training   2,000 rows, batches of 64, 100 epochs"
    assert rows[4:] == [
        "backend   set-up  an epoch      in all             80 % interval  memory  device  fits",
        "this machine",
        "cpu      0.250 s     12 ms  2 h 01 min  1 h 55 min to 2 h 10 min  150 MB       -   yes",
        "cuda     can't run: CuPy is not installed; pip install 'nnaccel[cuda13]' or the other pip install",
        "         'nnaccel[cuda13]' or the other pip install 'nnaccel[cuda13]' or the other",
        "numba      1.5 s  0.012 ms  1 min 15 s  1 min 10 s to 1 min 20 s    3 TB       -    no",
        "box, projected from its profile of 2026-01-31",
        "cuda       2.0 s      1 ms       3.0 s            2.5 s to 3.5 s    1 GB    2 GB   yes",
        "numba    unknown: its profile doesn't know float64",
        "laptop, projected from its profile of 2026-01-31: it has none of these backends",
        "",
        "from       cpu: tried for 0.5 s; numba: tried for 0.6 s",
        "choice     numba (the fastest)",
        "           cpu wins below batches of 8",
    ]


def test_table_of_one_machine(command, estimate):
    estimate.result = outlook(at_most=True, break_even="")
    out = command("estimate", *SHAPE)[1]
    assert "this machine" not in out
    assert "device" not in out
    assert "an epoch     at most " in out
    assert "in all" not in out
    assert "at most    early stopping or the time limit may end it sooner" in out.splitlines()


def test_numbers_that_are_projected_here_are_marked(command, estimate):
    backends = outlook().backends
    estimate.result = outlook(backends=backends | {"cpu": replace(backends["cpu"], projected=True)})
    out = command("estimate", *SHAPE)[1]
    assert "\ncpu*  " in out
    assert "\nnumba  " in out
    assert "* projected from this machine's profile, not measured" in out


@pytest.mark.parametrize("seconds", [0.0, 1e-7, 0.00123, 3599.4, 359_999.0, 1e7, 3e10, math.inf, math.nan])
def test_lines_are_narrow(command, estimate, seconds):
    one = BackendEstimate(True, "tried " * 40, *[seconds] * 5, 999_400_000_000, 999_400_000_000, False)
    name = "a machine with a long name " * 8
    profile.write_profile(profile.Path("there.json"), laptop(name))
    estimate.result = outlook(
        backends={"numba": one},
        machines={name: {"cuda": one}},
        why="because " * 30,
        break_even="wins " * 40,
        at_most=True,
    )
    out = command("estimate", *SHAPE, "--machine", "there.json")[1]
    assert max(map(len, out.splitlines())) <= LIMIT
    assert rows_of(out).keys() == {"numba", "cuda"}
    assert ("unknown" in out) is not math.isfinite(seconds)
    assert "unknown to" not in out


def test_json(command, estimate, with_machines):
    estimate.result = outlook(machines={"box": THERE})
    code, out, err = command("estimate", *SHAPE, *with_machines, "--within", "1h", "--json")
    result = json.loads(out)
    assert code == 0
    assert err.startswith("data       none: 2,000 random rows")
    assert result["backends"]["cpu"] == {
        "setup_s": 0.25, "per_epoch_s": 0.0123, "total_s": 7300.0, "low_s": 6900.0, "high_s": 7800.0,
        "memory_bytes": 150_000_000, "device_bytes": 0, "fits": True, "available": True, "reason": "tried for 0.5 s",
        "projected": False,
    }  # fmt: skip
    assert result["backends"]["cuda"]["available"] is False
    assert result["backends"]["cuda"]["total_s"] is None
    assert result["machines"]["box"]["cuda"]["projected"] is True
    assert result["choice"] == "numba"
    # The fake's epoch takes 0.012 ms, and it needs 1.5 s to be ready.
    assert result["within"]["epochs"] == pytest.approx((3600 - 1.5) / 0.000012, abs=1)
    assert result["within"]["reason"] is None
    assert command("estimate", *SHAPE, *with_machines, "--json", "--quiet")[2] == ""
    assert command("estimate", *SHAPE, *with_machines, "--quiet") == (0, "", "")


def test_what_fits(command, estimate, monkeypatch):
    monkeypatch.setattr(Estimate, "within", lambda self, seconds: Affordable(1, int(seconds), (300, 20)))
    out = command("estimate", *SHAPE, "--within", "1h")[1]
    assert "within     1 h 00 min on numba: 1 epoch, or 3,600 rows, or --hidden 300,20; each with the rest as" in out
    monkeypatch.setattr(Estimate, "within", lambda self, seconds: Affordable(1, 2, None))
    assert "numba: 1 epoch, or 2 rows; each" in command("estimate", *SHAPE, "--within", "1h")[1]


def test_nothing_fits(command, estimate):
    """An answer like any other: the rest was found."""
    code, out, err = command("estimate", *SHAPE, "--within", "1s")
    assert (code, err) == (0, "")
    assert "within     1 s are too short: numba needs 1.5 s" in out
    result = json.loads(command("estimate", *SHAPE, "--within", "1s", "--json", "--quiet")[1])
    assert result["within"]["epochs"] == 0
    assert "1 s are too short" in result["within"]["reason"]


SETTINGS = [
    "--hidden", "8,4", "--activation", "tanh", "--dropout", "0.1", "--loss", "softmax_cross_entropy", "--epochs", "7",
    "--batch-size", "16", "--optimizer", "adamw,beta_1=0.8", "--learning-rate", "0.01", "--schedule", "cosine", "--weight-decay",
    "0.1", "--clip-norm", "2", "--early-stopping", "3", "--metric", "f1", "--time-limit", "1m", "--seed", "5", "--dtype",
    "float64", "--threads", "1", "--validation", "0.3", "--rows", ":140", "--task", "classification", "--drop", "0",
    "--class-weight", "balanced",
]  # fmt: skip


@pytest.mark.parametrize("settings", [[], SETTINGS], ids=["defaults", "all"])
def test_it_asks_about_what_train_would_train(command, estimate, monkeypatch, settings):
    trained = []

    def train(network, **given):
        trained.append((network, given))
        raise InputError("enough seen.")

    monkeypatch.setattr(training, "train", train)
    assert "enough seen" in command("train", "iris", *settings)[2]
    assert command("estimate", "iris", *settings)[0] == 0
    ((network, told),) = trained
    assert estimate.network == network
    asked = dict(estimate.given)
    assert (asked.pop("budget"), asked.pop("backends"), list(asked.pop("machines"))) == (None, None, [])
    assert told.pop("backend") == "auto"
    assert [told.pop(name) for name in ("checkpoint", "every", "resume")] == [None, 60.0, False]
    assert asked.keys() == told.keys()
    for name in ("X", "y", "sample_weight"):
        np.testing.assert_array_equal(asked.pop(name), told.pop(name))
    for given, wanted in zip(asked.pop("validation"), told.pop("validation"), strict=True):
        np.testing.assert_array_equal(given, wanted)
    assert asked.pop("report").__self__.__class__ is screen.ProgressLine
    told.pop("report")
    assert asked == told
    assert asked.get("early_stopping") == (EarlyStopping(3, "f1") if settings else None)


def test_train_and_estimate_take_the_same_options(command):
    def names(name):
        return set(re.findall(r"^  (--[a-z-]+)", command(name, "--help")[1], re.MULTILINE))

    outputs = {"--out", "--plot", "--log", "--checkpoint", "--every", "--resume"}
    assert names("train") - outputs < names("estimate")
    assert not outputs & names("estimate")
    expected = {f"--{field.name.replace('_', '-')}" for field in fields(TrainOptions)} - {"--time-column"}
    assert expected < names("estimate")


@pytest.mark.parametrize(
    ("text", "number"), [("1e6", 10**6), ("1_000_000", 10**6), ("1000000", 10**6), ("2.5e6", 2_500_000)]
)
def test_numbers_as_people_write_them(command, estimate, text, number):
    assert command("estimate", "--rows", text, "--features", "1e1", "--outputs", "2")[0] == 0
    assert estimate.given["rows"] == number
    assert (estimate.network.input_shape, estimate.network.output_shape) == ((10,), (2,))
    assert str(estimate.given["loss"]) == "mean_squared_error"


def test_without_data(command, estimate):
    arguments = ["--hidden", "", "--early-stopping", "3", "--metric", "f1", "--dtype", "float64"]
    assert command("estimate", *SHAPE, *arguments, "--validation", "0")[0] == 0
    assert estimate.network == Network(5, [Dense(3)])
    assert estimate.given["validation"] is None
    assert estimate.given["early_stopping"] == EarlyStopping(3, "f1")
    assert [metric.name for metric in estimate.given["metrics"]] == ["f1"]
    assert str(estimate.given["loss"]) == "softmax_cross_entropy"
    assert (estimate.given["dtype"], estimate.given["time_limit"]) == ("float64", math.inf)
    assert "X" not in estimate.given
    assert command("estimate", *SHAPE)[0] == 0
    assert estimate.given["validation"] == 0.2


def test_what_to_measure(command, estimate, with_machines):
    assert command("estimate", *SHAPE, *with_machines, "--budget", "1m", "--backend", "cpu")[0] == 0
    assert (estimate.given["budget"], estimate.given["backends"]) == (60.0, ["cpu"])
    assert estimate.given["machines"] == [laptop("box"), laptop()]


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        ([], "give DATA; or, where there are none, --rows, --features and --classes or --outputs."),
        (["--target", "x"], "give DATA; or"),
        (["iris", "--features", "3"], "DATA has its own shape: leave out --features, or DATA."),
        (["iris", "--classes", "3", "--outputs", "2"], "leave out --classes and --outputs, or DATA."),
        (["iris", "--rows", "1e6"], "--rows takes a start and a later stop"),
        (["--rows", "10"], "say how many features a row has, such as --features 50"),
        (["--features", "10", "--classes", "2"], "say how many rows there are, such as --rows 1e6"),
        (["--rows", ":10", "--features", "5", "--classes", "2"], "--rows takes a whole number, 2 or more"),
        (["--rows", "many", "--features", "5", "--classes", "2"], "not 'many'"),
        (["--rows", "2.5", "--features", "5", "--classes", "2"], "not '2.5'"),
        (["--rows", "1e999", "--features", "5", "--classes", "2"], "not '1e999'"),
        (["--rows", "nan", "--features", "5", "--classes", "2"], "not 'nan'"),
        (["--rows", "10", "--features", "0", "--classes", "2"], "--features takes a whole number, 1 or more"),
        (["--rows", "10", "--features", "5", "--classes", "1"], "--classes takes a whole number, 2 or more"),
        (["--rows", "10", "--features", "5"], "say either --classes, for a classification, or --outputs"),
        ([*SHAPE, "--outputs", "2"], "say either --classes, for a classification, or --outputs"),
        ([*SHAPE, "--target", "x", "--time", "y"], "--target and --time can't be without DATA: name the data"),
        ([*SHAPE, "--init", "model.safetensors"], "--init can't be without DATA"),
        ([*SHAPE, "--validation", "rest.csv"], "--validation takes a part of the rows such as 0.2"),
        ([*SHAPE, "--loss", "poisson"], "the loss poisson is for numbers: give --outputs, or another loss."),
        (["--rows", "9", "--features", "5", "--outputs", "2", "--loss", "softmax_cross_entropy"], "give --classes, or"),
        ([*SHAPE, "--metric", "r2"], "r2"),
        ([*SHAPE, "--epochs", "0"], "the epochs must be a whole number"),
        ([*SHAPE, "--backend", "tpu"], "unknown backend 'tpu'"),
        ([*SHAPE, "--within", "soon"], "a time is written like 90s"),
        ([*SHAPE, "--within", "0"], "--within must be above 0 seconds"),
        ([*SHAPE, "--budget", "0s"], "--budget must be above 0 seconds"),
        ([*SHAPE, "--machine", "nothing.json"], "there is no file nothing.json"),
        ([*SHAPE, "--machine", "foreign.json"], "foreign.json can't be read as a machine profile"),
        ([*SHAPE, "--machine", "a.json", "--machine", "a.json"], "are both of 'laptop': give each machine a name"),
        (["iris", "--accuracy"], "--accuracy tells of trainings that are over: leave out DATA"),
        ([*SHAPE, "--accuracy"], "leave out --rows, --features and --classes, or --accuracy"),
        (["--within", "1h", "--accuracy"], "leave out --within, or --accuracy"),
        (["--epochs", "5", "--budget", "1s", "--accuracy"], "leave out --budget and --epochs, or --accuracy"),
        (["--machine", "nothing.json", "--accuracy"], "leave out --machine, or --accuracy"),
        (["nothing.csv"], "there is no file nothing.csv"),
    ],
)
def test_bad_input_gets_one_sentence(command, estimate, tmp_path, arguments, told):
    (tmp_path / "foreign.json").write_text("[1]")
    profile.write_profile(tmp_path / "a.json", laptop())
    assert told in sentence(command("estimate", *arguments, "--quiet"))
    assert estimate.given is None


def test_progress(command, estimate, monkeypatch):
    monkeypatch.setattr(screen, "_PLAIN_SECONDS", 0.0)
    assert "\ntrying something\n" in command("estimate", *SHAPE)[1]
    _, out, err = command("estimate", *SHAPE, "--json")
    assert ("trying" in out, "trying something\n" in err) == (False, True)
    assert "trying" not in "".join(command("estimate", *SHAPE, "--json", "--quiet")[1:])
    monkeypatch.setattr(screen.ProgressLine, "clear", lambda self: print("cleared"))
    estimate.result = InputError("too wide.")
    assert "cleared" in command("estimate", *SHAPE)[1]
    estimate.result = KeyboardInterrupt()
    assert command("estimate", *SHAPE)[0] == 130


def missing(monkeypatch):
    monkeypatch.setattr(backend_class("cuda"), "unavailable_reason", classmethod(lambda cls: "no driver; install one."))


def test_a_backend_that_cannot_run_here_says_why(command, monkeypatch):
    missing(monkeypatch)
    code, out, err = command("estimate", *SHAPE, "--epochs", 2, "--budget", "0.01s")
    assert (code, err) == (0, "")
    assert {"cpu", "cuda", "numba"} <= rows_of(out).keys()
    assert " ".join(rows_of(out)["cuda"]) == "cuda can't run: no driver; install one"


def test_unless_it_was_asked_for(command, monkeypatch):
    missing(monkeypatch)
    told = sentence(command("estimate", *SHAPE, "--backend", "cuda"), 3)
    assert told == "nnaccel: backend cuda can't run here: no driver; install one.\n"
    assert sentence(command("estimate", "iris", "--backend", "cuda"), 3) == told


def test_only_the_backend_that_was_asked_for(command):
    code, out, _ = command("estimate", "iris", "--backend", "cpu", "--epochs", 2, "--budget", "0.01s", "--json")
    result = json.loads(out)
    assert (code, list(result["backends"]), result["choice"]) == (0, ["cpu"], "cpu")
    assert result["seconds_read"] > 0
    assert (result["rows"], result["epochs"], result["batch_size"]) == (120, 2, 64)


def test_end_to_end_without_data(command):
    arguments = [
        "--rows",
        "1e5",
        "--features",
        "20",
        "--classes",
        "4",
        "--epochs",
        "50",
        "--budget",
        "0.05s",
        "--within",
        "1h",
    ]
    code, out, _ = command("estimate", *arguments, "--early-stopping", "5", "--backend", "cpu", "--json")
    result = json.loads(out)
    cpu = result["backends"]["cpu"]
    assert (code, result["rows"], result["at_most"]) == (0, 80_000, True)
    assert 0 < cpu["low_s"] < cpu["total_s"] < cpu["high_s"]
    assert cpu["total_s"] == pytest.approx(cpu["setup_s"] + 50 * cpu["per_epoch_s"])
    assert cpu["memory_bytes"] > 100_000 * 20 * 4
    # About an hour is filled, set-up aside.
    assert result["within"]["epochs"] * cpu["per_epoch_s"] == pytest.approx(3600, rel=0.01)


def test_end_to_end_on_another_machine(command):
    profile.write_profile(profile.Path("laptop.json"), laptop())
    code, out, _ = command("estimate", *SHAPE, "--epochs", 10, "--backend", "cpu", "--budget", "0.01s", "--machine",
                           "laptop.json", "--json", "--validation", "0")  # fmt: skip
    there = json.loads(out)["machines"]["laptop"]["cpu"]
    assert (code, there["projected"]) == (0, True)
    # 2,000 rows are 31.25 batches of 64, each of which takes 0.1 ms there.
    assert there["per_epoch_s"] == pytest.approx(31.25 * 1e-4, rel=0.05)


TRAINING = ["digits", "--epochs", "40", "--backend", "cpu", "--early-stopping", "100"]


def test_prediction_and_outcome_are_written_down(command):
    assert json.loads(command("estimate", "--accuracy", "--json")[1])["count"] == 0
    assert command("estimate", *TRAINING, "--budget", "0.1s")[0] == 0
    code, out, err = command("train", *TRAINING)
    assert (code, err, "estimate" in out, "record" in out) == (0, "", False, False)
    code, out, err = command("estimate", "--accuracy", "--json", "--quiet")
    result = json.loads(out)
    assert (code, err, result["count"]) == (0, "", 1)
    (record,) = result["records"]
    assert (record["source"], record["backend"], record["rows"]) == ("trial", "cpu", 1438)
    assert 0.2 < record["predicted_s"] / record["actual_s"] < 5
    assert "1 by trial" in command("estimate", "--accuracy")[1]


@pytest.mark.parametrize("arguments", [[], ["--validation", "0", "--batch-size", "full", "--clip-norm", "1", "--weight-decay", "0.1", "--threads", "1"]])  # fmt: skip
def test_train_tells_what_it_trained(command, monkeypatch, arguments):
    noted = []
    monkeypatch.setattr(records, "note_training", lambda *given: noted.append(given))
    assert command("train", "iris", "--epochs", 2, "--backend", "cpu", *arguments)[0] == 0
    ((report, plan, rows, batch_size, validation_rows, threads),) = noted
    assert threads == (1 if arguments else None)
    assert (report.epochs, rows, batch_size, validation_rows) == ((2, 150, 150, 0) if arguments else (2, 120, 64, 30))
    assert (plan.l2.strength, plan.clip_norm) == ((0.1, 1.0) if arguments else (0.0, None))
    assert plan.network == Network(4, [Dense(100, "relu"), Dense(3)])


def test_nothing_is_kept_where_nobody_wants_it(command, home, monkeypatch):
    monkeypatch.setenv("NNACCEL_RECORDS", "off")
    assert command("estimate", *TRAINING, "--budget", "0.1s")[0] == 0
    assert command("train", *TRAINING)[0] == 0
    assert not home.exists()


@pytest.fixture
def calibrate(monkeypatch):
    result = [laptop()]

    def measure(name=None, report=None):
        report("measuring something")
        if isinstance(result[0], BaseException):
            raise result[0]
        return replace(result[0], name=name or result[0].name)

    monkeypatch.setattr(calibration, "calibrate", measure)
    return result


def test_calibrate(command, calibrate, home):
    code, out, err = command("calibrate", "--out", "laptop.json", "--name", "mine")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    # As many lines as it takes.
    assert " ".join(line.strip() for line in lines[:-2]) == " ".join(laptop("mine").summary())
    assert lines[-2:] == [f"written    {home / profile.STORED}", "written    laptop.json"]
    assert max(map(len, lines[:-2])) <= LIMIT
    assert profile.stored_profile() == profile.read_profile(profile.Path("laptop.json")) == laptop("mine")


def test_calibrate_json(command, calibrate, home):
    code, out, err = command("calibrate", "--json")
    result = json.loads(out)
    assert code == 0
    assert MachineProfile.restore(result["profile"]) == laptop()
    assert result["written"] == [str(home / profile.STORED)]
    assert err.startswith(laptop().summary()[0])
    assert command("calibrate", "--quiet") == (0, "", "")


def test_an_interrupt_leaves_the_old_profile(command, calibrate, home):
    profile.store_profile(laptop("old"))
    before = (home / profile.STORED).read_bytes()
    calibrate[0] = KeyboardInterrupt()
    code, out, err = command("calibrate", "--out", "new.json")
    assert (code, out) == (130, "")
    assert "interrupted" in err
    assert (home / profile.STORED).read_bytes() == before
    assert [path.name for path in home.iterdir()] == [profile.STORED]
    assert not profile.Path("new.json").exists()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--out", "laptop.txt"], "--out takes a file named *.json, not laptop.txt."),
        (["--out", "nowhere/laptop.json"], "nowhere/laptop.json can't be written: there is no folder"),
        (["--name", " "], "--name takes a name"),
    ],
)
def test_calibrate_refuses_before_it_measures(command, calibrate, arguments, told):
    calibrate[0] = AssertionError("it measured")
    assert told in sentence(command("calibrate", *arguments))


def test_calibrate_measures_nothing_that_could_not_be_kept(command, calibrate, home):
    calibrate[0] = AssertionError("it measured")
    home.write_text("a file where the folder should be")
    told = sentence(command("calibrate", "--out", "laptop.json"))
    assert f"{home / profile.STORED} can't be written: " in told
    assert "NNACCEL_CACHE_DIR" in told


def test_calibrate_shows_its_progress(command, calibrate, monkeypatch):
    monkeypatch.setattr(screen, "_PLAIN_SECONDS", 0.0)
    assert command("calibrate")[1].startswith("measuring something\n")
    calibrate[0] = BackendUnavailable("no backend can run here.")
    assert command("calibrate", "--quiet") == (3, "", "nnaccel: no backend can run here.\n")


def test_end_to_end_calibrated(command, monkeypatch):
    """With fewer and shorter trials than it takes to be good at it."""
    for name, value in {"TRIALS": 3, "SMALL_TRIALS": 2, "TRIAL_SECONDS": 0.002, "FOLDS": 2}.items():
        monkeypatch.setattr(calibration, name, value)
    monkeypatch.setattr("nnaccel.calibration.backend_names", lambda: ["cpu"])
    code, out, err = command("calibrate", "--out", "here.json")
    assert (code, err) == (0, "")
    assert "cpu: NumPy" in out
    code, out, _ = command(
        "estimate", *SHAPE, "--machine", "here.json", "--backend", "cpu", "--budget", "0.01s", "--json"
    )
    result = json.loads(out)
    (there,) = result["machines"].values()
    assert code == 0
    assert there["cpu"]["available"]
    assert there["cpu"]["per_epoch_s"] > 0
