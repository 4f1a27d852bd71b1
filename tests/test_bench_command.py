"""`nnaccel bench`: what it prints, the file that it keeps, and how it ends when something is wrong."""

import copy
import getpass
import json
import platform
import socket
import subprocess

import pytest

import nnaccel.bench.suite as suite_module
from nnaccel import backends
from nnaccel.backends import backend_class
from nnaccel.bench import keeping
from nnaccel.bench.conditions import read_commit, read_conditions
from nnaccel.bench.contender import BackendTraining
from nnaccel.bench.reading import read_result
from nnaccel.bench.schema import SCHEMA
from nnaccel.bench.suite import Settings, Suite
from nnaccel.bench.validation import COUNT, TEXT, first_fault, list_of, or_null, record
from nnaccel.cli import run
from nnaccel.cli.bench_run import Wishes
from nnaccel.errors import InputError

QUICK = ("bench", "--backend", "cpu", "--case", "digits", "--optimizer", "sgd", "--quick", "--rounds", "3")


@pytest.fixture(autouse=True)
def results_folder(monkeypatch, tmp_path):
    """Not the user's: it doesn't exist before a result is kept."""
    folder = tmp_path / "kept"
    monkeypatch.setattr(keeping, "results_folder", lambda: folder)
    return folder


@pytest.fixture(scope="module")
def result_file(tmp_path_factory):
    """What a short benchmark wrote."""
    path = tmp_path_factory.mktemp("bench") / "result.json"
    assert run([*QUICK, "--quiet", "--out", str(path)]) == 0
    return path


def test_what_people_see(command):
    code, out, err = command(*QUICK)
    assert (code, err) == (0, "")
    for part in ("backend    cpu: NumPy", "digits, sgd: 1,797 x 64, 100-10, batch 200", "softmax_cross_entropy, float32", "floor ",
                 "GFLOP/s", "ms an epoch", "of peak", "cpu is", "a loop by hand", "so many times as fast as", "time "):  # fmt: skip
        assert part in out


def test_json_is_the_result_and_nothing_else(command):
    code, out, err = command(*QUICK, "--json")
    found = json.loads(out)
    assert code == 0
    assert "digits, sgd" in err
    assert first_fault(found, SCHEMA) is None
    assert found["settings"]["backends"] == ["cpu"]


def test_a_fresh_file_follows_the_schema(result_file):
    found = read_result(result_file)
    assert found["finished"]
    (result,) = found["results"]
    assert (result["case"]["name"], result["case"]["optimizer"], result["steps_per_epoch"]) == (
        "digits",
        "sgd",
        8,
    )
    for contender in result["contenders"]:
        assert contender["status"] == "timed"
        assert len(contender["samples"]) == 3
        assert contender["difference"]["relative"] <= contender["difference"]["allowed"]
        median = sorted(contender["samples"])[1]
        assert contender["seconds_per_epoch"] == pytest.approx(median / result["epochs_per_sample"])
    peak = result["peak"]["operations_per_second"]
    assert result["floor_seconds_per_epoch"] == pytest.approx(result["operations_per_epoch"] / peak)


def test_a_file_names_no_person_machine_or_folder(result_file):
    text = result_file.read_text()
    names = {socket.gethostname(), platform.node(), str(result_file.parent), "/home/"}
    if getpass.getuser() not in ("root", "user"):
        names.add(getpass.getuser())
    assert [name for name in names if len(name) > 3 and name in text] == []
    assert not any(isinstance(value, str) and value.startswith(("/", "~")) for value in strings(json.loads(text)))


def strings(value):
    if isinstance(value, dict):
        for each in value.values():
            yield from strings(each)
    elif isinstance(value, list):
        for each in value:
            yield from strings(each)
    else:
        yield value


def damage(found, place, value):
    """Put a value at a place, or take away what is there."""
    for key in place[:-1]:
        found = found[key]
    if value is None:
        del found[place[-1]]
    else:
        found[place[-1]] = value


@pytest.mark.parametrize(
    ("place", "value", "sentence"),
    [
        (["results", 0, "contenders", 0, "samples", 1], "1.5", 'results[0].contenders[0].samples[1] must be number, not "1.5"'),
        (["results", 0, "contenders", 0, "samples", 1], -1, "results[0].contenders[0].samples[1] must be 1e-12 or more, not -1"),
        (["results", 0, "contenders", 0, "samples", 1], 1e300, "results[0].contenders[0].samples[1] must be 1000000000000.0 or less, not 1e+300"),
        (["results", 0, "contenders", 0, "samples"], [1.0] * 201, "results[0].contenders[0].samples must have 200 items or fewer, not 201"),
        (["results", 0, "contenders", 0, "status"], "fine", "results[0].contenders[0].status must be \"timed\" or"),
        (["results", 0, "contenders", 0, "first_seconds"], [1.0], "first_seconds must have 2 items or more, not 1"),
        (["results", 0, "case", "rows"], 2.5, "results[0].case.rows must be integer, not 2.5"),
        (["results", 0, "case", "rows"], True, "results[0].case.rows must be integer, not true"),
        (["machine", "host"], "mine", "machine.host isn't known"),
        (["date"], "", "date is empty"),
        (["blas"], None, "it lacks 'blas'"),
        (["versions"], [], "versions must be object, not []"),
        (["format"], "other", "is no result of a benchmark: give one that nnaccel bench wrote"),
        (["version"], 1, "has version 1 of its format, where 2 is read: measure again"),
    ],
)  # fmt: skip
def test_a_damaged_file_gets_one_sentence(result_file, tmp_path, place, value, sentence):
    found = copy.deepcopy(json.loads(result_file.read_text()))
    damage(found, place, value)
    path = tmp_path / "damaged.json"
    path.write_text(json.dumps(found))
    with pytest.raises(InputError) as caught:
        read_result(path)
    assert sentence in str(caught.value)
    assert "\n" not in str(caught.value)


def test_null_is_allowed_where_something_may_be_unknown():
    schema = record(l1=or_null(COUNT), names=list_of(TEXT))
    assert first_fault({"l1": None, "names": []}, schema) is None
    assert first_fault({"l1": 5, "names": ["a"]}, schema) is None
    assert first_fault({"l1": "5", "names": []}, schema) == 'l1 must be integer or null, not "5"'
    assert first_fault([], schema) == "it must be object, not []"


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--case", "mnits"], "unknown case 'mnits'"),
        (["--optimizer", "lion"], "unknown optimizer 'lion'"),
        (["--rounds", "1"], "rounds must be 2 or more"),
        (["--backend", "tpu"], "unknown backend 'tpu'"),
        (["--backend", ","], "--backend takes a name such as cpu"),
        (["--plot", "a.png"], "--plot draws what --scaling measures: give both"),
        (["--scaling", "--plot", "a.gif"], "--plot takes a file named *.png or *.svg or *.pdf, not a.gif"),
        (["--scaling", "--peers"], "--scaling has its own cases: leave out --case and --peers"),
        (["--scaling", "--backend", "cpu,numba"], "--scaling takes one backend"),
        (["--estimators", "--data", "iris"], "--estimators has its own cases: leave out"),
        (["--estimators", "--report", "a.html"], "--report draws no --estimators"),
        (["--target", "x"], "--target is a column of --data: give both"),
        (["--data", "nothing.csv"], "there is no file nothing.csv"),
        (["--data", "iris", "--target", "7"], "iris has no column '7'"),
        (["--score", "nan"], "the score to reach must be a number, not nan"),
        (["--report", "a.txt"], "--report takes a file named *.html, not a.txt"),
        (["--report", "no/such/folder/a.html"], "there is no folder"),
        (["a.json"], "RESULT files are for --compare or --report: say which"),
        (["--compare", "a.json", "--quick"], "nothing is measured where RESULT files are given"),
        (["--compare", "a.json"], "--compare takes two RESULT files or more"),
        (["--compare"], "--compare takes two RESULT files or more"),
        (["--compare", "a.json", "b.json"], "there is no file a.json"),
        (["--report", "a.html", "a.json", "--json"], "--json is for --compare, or for what is measured"),
        (["--out", "no/such/folder/result.json"], "there is no folder"),
    ],
)
def test_bad_input_gets_one_sentence(command, arguments, sentence):
    code, out, err = command("bench", *arguments)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_a_backend_that_cannot_run_here(command, monkeypatch):
    monkeypatch.setattr(backend_class("cuda"), "unavailable_reason", classmethod(lambda cls: "no driver; install one."))
    code, out, err = command("bench", "--backend", "cuda")
    assert (code, out, err) == (3, "", "nnaccel: backend cuda can't run here: no driver; install one.\n")


def test_an_interrupted_benchmark_keeps_what_it_has(command, monkeypatch, tmp_path):
    path, run_next = tmp_path / "result.json", Suite.run_next

    def interrupted(self, tell):
        if self.results:
            raise KeyboardInterrupt
        return run_next(self, tell)

    monkeypatch.setattr(Suite, "run_next", interrupted)
    code, out, err = command("bench", "--backend", "cpu", "--case", "digits,tabular", "--quick", "--out", str(path))
    assert code == 130
    assert err == "nnaccel: interrupted.\n"
    assert f"written    {path}, as far as it got" in out
    found = read_result(path)
    assert not found["finished"]
    assert [result["case"]["name"] for result in found["results"]] == ["digits"]


def test_an_interruption_before_anything_is_measured_leaves_the_file_of_before(command, monkeypatch, tmp_path):
    def interrupted(self, tell):
        raise KeyboardInterrupt

    monkeypatch.setattr(Suite, "run_next", interrupted)
    path = tmp_path / "result.json"
    path.write_text("of before")
    code, _, _ = command(*QUICK, "--out", str(path))
    assert (code, path.read_text()) == (130, "of before")


def test_a_backend_that_computes_something_else_is_not_timed(command, monkeypatch):
    started = BackendTraining.train

    def train_too_little(self, work):
        started(self, work.first(len(work.steps) - 1))

    monkeypatch.setattr(BackendTraining, "train", train_too_little)
    code, out, _ = command(*QUICK)
    assert code == 1
    assert "cpu           disagrees: off by" in out
    assert "a loop by hand" in out


def test_every_backend_that_can_run_takes_part_and_the_others_say_why(command, monkeypatch):
    for name, reason in (("cpu", None), ("numba", "no compiler"), ("cuda", "no driver")):
        monkeypatch.setattr(backend_class(name), "unavailable_reason", classmethod(lambda cls, reason=reason: reason))
    monkeypatch.setattr(backends, "_instances", {})
    code, out, err = command("bench", "--case", "neuron", "--quick", "--json")
    found = json.loads(out)
    assert code == 0
    assert found["settings"]["backends"] == ["cpu"]
    assert found["unavailable"] == [{"name": "cuda", "reason": "no driver"}, {"name": "numba", "reason": "no compiler"}]
    assert "cuda       left out: no driver\n" in err


def test_all_backends_are_measured_the_one_of_auto_first(monkeypatch):
    monkeypatch.setattr(backend_class("cuda"), "unavailable_reason", classmethod(lambda cls: "no driver"))
    found, left_out = Wishes("", Settings()).backends()
    assert [backend.name for backend in found] == ["numba", "cpu"]
    assert left_out == [("cuda", "no driver")]


def test_a_result_is_kept_for_each_machine_and_kind(command, results_folder, tmp_path):
    code, out, _ = command(*QUICK)
    (path,) = results_folder.iterdir()
    assert code == 0
    assert f"written    {path}\n" in out
    assert path == keeping.kept_path("part", read_result(path)["machine"])
    command(*QUICK, "--out", tmp_path)
    assert read_result(tmp_path / path.name)["finished"]


def test_a_folder_that_cannot_be_made_is_told_and_no_end_of_the_benchmark(command, results_folder):
    results_folder.write_text("a file")
    code, out, _ = command(*QUICK)
    assert code == 0
    assert "not kept   results can't be kept: File exists; name a file with --out." in out
    assert "written" not in out


def test_what_was_measured_is_drawn(command, results_folder, tmp_path):
    page = tmp_path / "report.html"
    code, out, _ = command(*QUICK, "--report", page)
    assert code == 0
    assert f"written    {page}\n" in out
    assert "Time per epoch on" in page.read_text()
    (kept,) = results_folder.iterdir()
    keeping.kept_path("scaling", read_result(kept)["machine"]).write_text("{")
    code, out, _ = command(*QUICK, "--report", page)
    assert code == 0
    assert "left out   " in out
    assert "is no JSON file" in out


def test_real_data_are_learnt_on_every_backend(command, tmp_path):
    path = tmp_path / "result.json"
    arguments = ("--backend", "cpu,numba", "--case", "neuron", "--quick", "--out", path)
    code, out, _ = command("bench", *arguments, "--data", "iris", "--score", "0.8")
    goal = read_result(path)["goal"]
    assert code == 0
    assert "iris to accuracy 0.8 on 30 rows held out: 120 x 4, 100-3, batch 64, adam, float32" in out
    assert [entry["name"] for entry in goal["contenders"]] == ["cpu", "numba"]
    assert all(entry["reached"] and entry["score"] >= 0.8 for entry in goal["contenders"])
    assert all(len(entry["samples"]) == 2 for entry in goal["contenders"])


def test_an_interrupted_goal_is_kept_if_it_has_two_rounds(command, monkeypatch, results_folder):
    measure_goal = suite_module.measure_goal

    def interrupted(*arguments):
        for number, attempts in enumerate(measure_goal(*arguments)):
            if number == 3:
                raise KeyboardInterrupt
            yield attempts

    monkeypatch.setattr(suite_module, "measure_goal", interrupted)
    code, out, err = command("bench", "--backend", "cpu", "--rounds", "9")
    (path,) = results_folder.iterdir()
    found = read_result(path)
    assert (code, err) == (130, "nnaccel: interrupted.\n")
    assert f"written    {path}, as far as it got" in out
    assert (found["finished"], found["results"]) == (False, [])
    assert [len(entry["samples"]) for entry in found["goal"]["contenders"]] == [2]


def test_backends_are_measured_once_each(command):
    code, out, _ = command(*QUICK, "--backend", "auto,numba", "--json")
    assert code == 0
    assert json.loads(out)["settings"]["backends"] == ["numba"]


def test_help_has_an_example(command):
    code, out, _ = command("bench", "--help")
    assert code == 0
    assert "Example: nnaccel bench" in out


def git(folder, *arguments):
    identity = ("-c", "user.name=n", "-c", "user.email=e@example.org")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def test_the_commit_and_whether_files_differ_from_it(tmp_path):
    assert read_commit(tmp_path) is None
    git(tmp_path, "init")
    assert read_commit(tmp_path) is None, "nothing is committed"
    git(tmp_path, "commit", "--allow-empty", "-m", "first")
    clean = read_commit(tmp_path)
    assert len(clean["hash"]) == 40
    assert not clean["dirty"]
    (tmp_path / "new").touch()
    assert read_commit(tmp_path) == {"hash": clean["hash"], "dirty": True}


def test_the_settings_that_make_libraries_faster_are_told(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    monkeypatch.setenv("SECRET", "of mine")
    assert read_conditions()["environment"]["OMP_NUM_THREADS"] == "3"
    assert "SECRET" not in read_conditions()["environment"]
