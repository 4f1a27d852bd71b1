"""The benchmark: what is timed computes the right thing, and the stopwatch and the limits do as they say."""

import doctest
import gc
import importlib
import math
import pkgutil
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest

import nnaccel.bench
import nnaccel.bench.measure as measure_module
import nnaccel.bench.suite as suite_module
from nnaccel.backends import get_backend
from nnaccel.bench.agreement import CHECKED_STEPS, Agreement, Oracle, checked_work
from nnaccel.bench.cases import CASES, variants
from nnaccel.bench.conditions import read_conditions
from nnaccel.bench.contender import BackendContender, Peer, Task
from nnaccel.bench.measure import Entry, Limits, measure
from nnaccel.bench.peak import Peak, installed_libraries, operations, product
from nnaccel.bench.peer_numpy import NumpyPeer, NumpyTraining
from nnaccel.bench.peers import PEERS
from nnaccel.bench.stopwatch import Timing, Turn, rounds
from nnaccel.bench.suite import Settings, Suite
from nnaccel.errors import InputError
from nnaccel.optimizers import SGD

SMALL = [replace(case, epochs=1) for case in variants(("tabular", "digits", "neuron"))]
PEAK = Peak("float32", "numpy", 64, 1e9)


def label(case):
    return f"{case.name}-{case.optimizer.name}"


def silent(text):
    pass


def contenders():
    return [BackendContender(get_backend("cpu")), *PEERS.values()]


@pytest.mark.parametrize("name", [module.name for module in pkgutil.iter_modules(nnaccel.bench.__path__)])
def test_examples(name):
    assert doctest.testmod(importlib.import_module(f"nnaccel.bench.{name}")).failed == 0


@pytest.mark.filterwarnings(r"ignore::DeprecationWarning:torch\.")
@pytest.mark.parametrize("contender", contenders(), ids=lambda contender: contender.name)
@pytest.mark.parametrize("case", SMALL, ids=label)
def test_every_contender_agrees_with_the_reference_and_starts_again(case, contender):
    if isinstance(contender, Peer) and contender.missing():
        pytest.skip(contender.missing())
    if contender.cannot(case):
        pytest.skip(contender.cannot(case))
    task = Task.of(case)
    training = contender.start(task, threads=1)
    found = []
    for _ in range(2):
        training.restart()
        training.train(checked_work(case))
        found.append(training.parameters())
    agreement = Oracle(task).compare(found[0], contender.optimizer(case))
    assert agreement.ok, agreement
    np.testing.assert_array_equal(*found)
    assert not np.array_equal(found[0], task.initial)


class WrongRate(NumpyPeer):
    """Its learning rate is a tenth of a percent too large."""

    name = "wrong"

    def start(self, task, threads):
        wrong = SGD(task.case.optimizer.learning_rate * 1.001)
        return NumpyTraining(replace(task, case=task.case.using(wrong)))


class Broken(NumpyPeer):
    """It has no compiler, for example."""

    name = "broken"

    def start(self, task, threads):
        raise OSError("no compiler. And more")


class Picky(NumpyPeer):
    """It can't do the case."""

    name = "picky"

    def cannot(self, case):
        return "it is too fine for that"


class BrokenBackend(BackendContender):
    """One of our own."""

    def start(self, task, threads):
        raise OSError("a bug")


def test_only_what_agrees_is_timed():
    case = SMALL[0]
    lineup = [BackendContender(get_backend("cpu")), WrongRate(), Broken(), Picky()]
    *_, result = measure(case, lineup, PEAK, Limits(rounds=2), silent)
    found = {entry.name: entry for entry in result.entries}
    assert {name: entry.status for name, entry in found.items()} == {
        "cpu": "timed",
        "wrong": "disagrees",
        "broken": "failed",
        "picky": "left out",
    }
    assert {name: len(entry.samples) for name, entry in found.items()} == {
        "cpu": 2,
        "wrong": 0,
        "broken": 0,
        "picky": 0,
    }
    assert found["wrong"].reason.startswith("off by ")
    assert found["broken"].reason == "OSError: no compiler"
    assert found["picky"].reason == "it is too fine for that"
    assert [entry.name for entry in result.timed] == ["cpu"]


def test_who_takes_too_long_for_one_sample_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(measure_module, "MOST_SAMPLE_SECONDS", 0.0)
    *_, result = measure(SMALL[0], [NumpyPeer()], PEAK, Limits(rounds=2), silent)
    (entry,) = result.entries
    assert (entry.status, entry.samples) == ("left out", ())
    assert entry.reason == "a sample takes 0 s, too long to repeat"


def test_an_error_of_a_backend_comes_out():
    with pytest.raises(OSError, match="a bug"):
        list(measure(SMALL[0], [BrokenBackend(get_backend("cpu"))], PEAK, Limits(rounds=2), silent))


def test_nothing_to_time_ends_at_once():
    (result,) = measure(SMALL[0], [Picky()], PEAK, Limits(), silent)
    assert result.timed == []


@pytest.mark.parametrize("wrong", [np.nan, np.inf])
def test_what_is_no_number_never_agrees(wrong):
    task = Task.of(SMALL[0])
    parameters = task.initial.copy()
    parameters[3] = wrong
    assert not Oracle(task).compare(parameters, task.case.optimizer).ok


def test_agreement_is_within_what_is_allowed():
    assert Agreement(1.0, 0.5, 0.5).ok
    assert not Agreement(1.0, 0.6, 0.5).ok


def test_the_best_product_only_gets_better_within_a_case():
    peaks = [result.peak.operations_per_second for result in measure(SMALL[0], [NumpyPeer()], PEAK, Limits(3), silent)]
    assert peaks == sorted(peaks)
    assert peaks[0] == PEAK.operations_per_second


class Clock:
    """Tells what its readers make it tell."""

    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now

    def takes(self, seconds):
        def spend():
            self.now += seconds

        return spend


def test_the_stopwatch_times_the_turns_and_nothing_else():
    clock = Clock()
    turns = {"slow": Turn(clock.takes(3.0), prepare=clock.takes(100.0)), "fast": Turn(clock.takes(1.0))}
    found = list(islice(rounds(turns, pause=0, clock=clock), 3))
    assert found == [{"slow": 3.0, "fast": 1.0}] * 3
    slow, fast = (Timing(tuple(seconds[name] for seconds in found)) for name in turns)
    assert slow.ratio(fast) == 3.0


def test_what_is_over_soon_runs_again_and_counts_on_average():
    clock, lasting = Clock(), iter([0.25, 0.5, 0.25])
    turn = Turn(lambda: clock.takes(next(lasting))(), prepare=clock.takes(100.0))
    assert next(rounds({"it": turn}, pause=0, clock=clock, least_seconds=0.9)) == {"it": 1 / 3}


def test_who_begins_changes():
    calls = []
    turns = {name: Turn(lambda name=name: calls.append(name)) for name in "abc"}
    for _ in islice(rounds(turns, pause=0, least_seconds=0), 3):
        calls.append("|")
    assert "".join(calls) == "abc|bca|cab|"


def test_the_garbage_collector_is_back_after_an_error():
    def fail():
        assert not gc.isenabled()
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        next(rounds({"it": Turn(fail)}, pause=0))
    assert gc.isenabled()


def test_no_contender_no_round():
    assert list(rounds({})) == []


def test_spread_is_half_the_distance_of_the_quartiles():
    assert Timing((1.0, 2.0, 3.0, 4.0, 5.0)).spread == pytest.approx(1 / 3)


def test_compile_time_is_the_start_and_what_the_first_calls_took_beyond_their_steps():
    case = replace(CASES["tabular"], epochs=2)  # 156 steps an epoch
    sample = 2 * 156 * 0.001
    entry = Entry("it", "peer", "timed", start_seconds=0.5, samples=(sample, sample))
    steps = CHECKED_STEPS * 0.001
    eager = replace(entry, first_seconds=(steps, sample))
    assert eager.compile_seconds(case) == pytest.approx(0.5)
    compiled = replace(entry, first_seconds=(steps + 2.0, sample + 3.0))
    assert compiled.compile_seconds(case) == pytest.approx(3.5)


def test_operations_are_those_of_the_products():
    digits = CASES["digits"]
    forward = 64 * 100 + 100 * 10
    assert digits.operations_per_epoch == 2 * (3 * forward - 64 * 100) * 8 * 200


def test_the_floor_is_the_operations_at_the_best_speed():
    (result,) = islice(measure(SMALL[2], [Picky()], PEAK, Limits(), silent), 1)
    assert result.floor == result.case.operations_per_epoch / 1e9
    assert PEAK.faster(operations(64) / 5e9).operations_per_second == pytest.approx(5e9)
    assert PEAK.faster(1.0) == PEAK


@pytest.mark.parametrize("library", installed_libraries(["torch"]))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_the_product_is_one(library, dtype):
    out = product(library, 5, dtype)()
    random = np.random.default_rng(0)
    a, b = (random.standard_normal((5, 5)).astype(dtype) for _ in range(2))
    out = np.asarray(out).T if library == "scipy" else np.asarray(out)
    # SciPy gets the transposes, and computes a.T @ b.T.
    np.testing.assert_allclose(out, (b @ a if library == "scipy" else a @ b), rtol=1e-4)
    assert out.dtype == dtype


def test_every_case_comes_with_both_optimizers():
    assert [(case.name, case.optimizer.name) for case in variants()] == [
        (name, optimizer) for name in CASES for optimizer in ("sgd", "adam")
    ]
    assert variants(["neuron"], ["sgd"]) == [CASES["neuron"]]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"cases": ["mnits"]}, "unknown case 'mnits'; known: tabular"),
        ({"optimizers": ["adamw"]}, "unknown optimizer 'adamw' of the benchmark; known: sgd, adam"),
        ({"threads": 0}, "threads must be 1 or more, not 0"),
        ({"rounds": 1}, "rounds must be 2 or more and at most 200, not 1"),
        ({"rounds": 201}, "rounds must be 2 or more and at most 200, not 201"),
    ],
)
def test_settings_that_make_no_sense(settings, sentence):
    with pytest.raises(InputError, match=sentence):
        Settings(**settings)


def test_a_peer_that_is_not_installed_says_what_installs_it():
    class Absent(NumpyPeer):
        module = "no_such_library"
        install = "pip install no-such-library"

    assert Absent().missing() == "no_such_library isn't installed: pip install no-such-library"
    assert NumpyPeer().missing() is None


def interrupted_at(words):
    def tell(text):
        if words in text:
            raise KeyboardInterrupt

    return tell


@pytest.mark.parametrize(("words", "kept"), [("checking", 0), ("round 1", 0), ("round 3", 1)])
def test_an_interrupted_case_is_kept_if_it_has_two_rounds(words, kept):
    suite = Suite([get_backend("cpu")], Settings(["tabular"], ["sgd"], quick=True, rounds=9))
    with pytest.raises(KeyboardInterrupt):
        suite.run_next(interrupted_at(words))
    assert len(suite.results) == kept
    assert not suite.finished
    assert all(len(entry.samples) == 2 for result in suite.results for entry in result.timed)


def test_a_suite_ends_and_reports_at_the_best_product_of_all():
    suite = Suite([get_backend("cpu")], Settings(["tabular", "digits"], ["sgd"], quick=True))
    while not suite.finished:
        suite.run_next(silent)
    assert [label(result.case) for result in suite.results] == ["tabular-sgd", "digits-sgd"]
    assert len({result.peak for result in suite.results}) == 1
    assert {entry.name for entry in suite.results[0].timed} == {"cpu", "numpy"}


@pytest.mark.parametrize(("load", "told"), [(0.0, None), (1.9, None), (2.1, 2.1)])
def test_other_work_on_the_machine_is_told(monkeypatch, load, told):
    conditions = read_conditions()
    conditions["load_before"], conditions["machine"]["usable_cores"] = [load, load, load], 8
    monkeypatch.setattr(suite_module, "read_conditions", lambda: conditions)
    assert Suite([get_backend("cpu")], Settings()).busy == told
    conditions["load_before"] = None
    assert Suite([get_backend("cpu")], Settings()).busy is None


def test_time_that_is_over_leaves_the_fewest_rounds():
    *_, result = measure(SMALL[0], [NumpyPeer()], PEAK, Limits(rounds=50, fewest=2, seconds=0.0), silent)
    assert len(result.timed[0].samples) == 2
    assert Limits(seconds=math.inf).reached(11, 1e9)
