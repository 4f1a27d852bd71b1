"""`nnaccel bench`: what it prints, the file that it keeps, and how it ends when something is wrong."""

import copy
import getpass
import json
import platform
import socket
import subprocess

import pytest

from nnaccel.backends import backend_class
from nnaccel.bench.conditions import read_commit, read_conditions
from nnaccel.bench.contender import BackendTraining
from nnaccel.bench.schema import COUNT, SCHEMA, TEXT, first_fault, list_of, or_null, read_result, record
from nnaccel.bench.suite import Suite
from nnaccel.cli import run
from nnaccel.errors import InputError

QUICK = ("bench", "--backend", "cpu", "--case", "digits", "--optimizer", "sgd", "--quick", "--rounds", "3")


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
        (["results", 0, "contenders", 0, "samples", 1], -1, "results[0].contenders[0].samples[1] must be 0 or more, not -1"),
        (["results", 0, "contenders", 0, "status"], "fine", "results[0].contenders[0].status must be \"timed\" or"),
        (["results", 0, "contenders", 0, "first_seconds"], [1.0], "first_seconds must have 2 items or more, not 1"),
        (["results", 0, "case", "rows"], 2.5, "results[0].case.rows must be integer, not 2.5"),
        (["results", 0, "case", "rows"], True, "results[0].case.rows must be integer, not true"),
        (["machine", "host"], "mine", "machine.host isn't known"),
        (["date"], "", "date is empty"),
        (["blas"], None, "it lacks 'blas'"),
        (["versions"], [], "versions must be object, not []"),
        (["format"], "other", "is no result of a benchmark: give one that nnaccel bench --out wrote"),
        (["version"], 2, "has version 2 of its format, where 1 is read: measure again"),
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


@pytest.mark.parametrize(("text", "sentence"), [("[1]", "is no result"), ("{", "is no JSON"), ("", "is no JSON")])
def test_other_files_get_one_sentence(tmp_path, text, sentence):
    path = tmp_path / "other.json"
    path.write_text(text)
    with pytest.raises(InputError, match=sentence):
        read_result(path)


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
