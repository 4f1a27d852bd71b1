"""Estimates: what they say and refuse, their parts against stand-ins whose times are known, and the fit of a calibration."""

import json
import math
import sys

import numpy as np
import pytest

from nnaccel import Dense, InputError, Network, estimate, estimation, trial
from nnaccel.backends import Choice, backend_class, get_backend
from nnaccel.calibration import Measured, fit, left_out_ratios
from nnaccel.cost import Workload, terms_of_step
from nnaccel.described import to_json
from nnaccel.loop import Slice
from nnaccel.profile import store_profile
from nnaccel.synthetic import random_plan, random_rows, synthetic_assignment
from nnaccel.trial import Trial, try_out
from tests.test_cost import make_machine, make_plan, make_profile

NETWORK = Network(20, [Dense(8, "relu"), Dense(2)])


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NNACCEL_CACHE_DIR", str(tmp_path))


@pytest.fixture
def tried(own_folder, monkeypatch):
    """Trials that take no time: 10 ms an epoch for each batch in it; what they were of is noted."""
    seen = []

    def fake(assignment, backend, budget):
        seen.append(assignment)
        return Trial(0.2, 0.1, 0.01, 0.01 * assignment.workload.steps_per_epoch, 0.02, 0.5)

    monkeypatch.setattr(estimation, "SYNTHETIC_BYTES", 1 << 20)
    monkeypatch.setattr(estimation, "try_out", fake)
    monkeypatch.setattr(estimation, "process_seconds", lambda name: 0.4)
    return seen


def test_total_is_setup_and_epochs(tried) -> None:
    found = estimate(NETWORK, rows=640, epochs=50, batch_size=64, backends=["cpu"])
    (one,) = found.backends.values()
    assert one.setup_s == pytest.approx(0.5)
    assert one.per_epoch_s == pytest.approx(0.1)
    assert one.total_s == pytest.approx(5.5)
    assert one.low_s < one.total_s < one.high_s
    assert one.low_s * one.high_s == pytest.approx(one.total_s**2)
    assert found.choice == "cpu"
    assert not found.at_most
    assert len(tried) == 1


def test_every_backend_is_named_and_the_missing_say_why(tried) -> None:
    found = estimate(NETWORK, rows=640)
    assert set(found.backends) == {"cpu", "numba", "cuda"}
    assert found.choice == "numba"
    missing = [one for one in found.backends.values() if not one.available]
    for one in missing:
        assert "install" in one.reason or "driver" in one.reason
        assert math.isnan(one.total_s)


def test_the_data_themselves_are_tried(tried) -> None:
    x, y = np.zeros((100, 20)), np.arange(100) % 2
    found = estimate(NETWORK, x, y, epochs=3, validation=0.2, early_stopping=5, backends=["cpu"])
    assert tried[0].rows.x is x
    assert found.rows == 80
    assert found.workload.validation_rows == 20
    assert found.workload.watched
    assert found.at_most


def test_fewer_random_rows_stand_for_more(tried, monkeypatch) -> None:
    monkeypatch.setattr(estimation, "SYNTHETIC_BYTES", 80_000)
    found = estimate(NETWORK, rows=100_000, epochs=1, batch_size=10, validation=0.2, backends=["cpu"])
    assert tried[0].workload.rows == 800
    assert found.rows == 80_000
    assert found.workload.validation_rows == 20_000
    # A hundred times as many rows take a hundred times as long.
    assert found.backends["cpu"].per_epoch_s == pytest.approx(80.0)


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        ({}, "number of rows"),
        ({"rows": 1}, "2 or more"),
        ({"rows": 10.5}, "number of rows"),
        ({"rows": 10, "X": np.zeros((10, 20)), "y": np.zeros(10, int)}, "not both"),
        ({"X": np.zeros((10, 20))}, "y beside X"),
        ({"rows": 10, "y": np.zeros(10, int)}, "X beside y"),
        ({"rows": 100, "epochs": 0}, "epochs"),
        ({"rows": 100, "budget": 0}, "budget"),
        ({"rows": 100, "budget": -1.0}, "budget"),
        ({"rows": 100, "budget": math.nan}, "budget"),
        ({"rows": 100, "backends": "cpu"}, r"such as \['cpu'\]"),
        ({"rows": 100, "backends": []}, "names none"),
        ({"rows": 100, "machines": ["laptop.json"]}, "read_profile"),
        ({"rows": 100, "machines": [make_machine(), make_machine()]}, "'a machine'"),
        ({"rows": 100, "backends": ["gpu"]}, "unknown backend"),
    ],
)
def test_what_cannot_be_estimated_is_refused(tried, arguments, word) -> None:
    with pytest.raises(InputError, match=word):
        estimate(NETWORK, **arguments)


@pytest.mark.parametrize("name", ["backend", "epoch"])
def test_unknown_settings_are_a_type_error(name) -> None:
    with pytest.raises(TypeError, match=name):
        estimate(NETWORK, rows=100, **{name: 1})


def test_other_machines_are_projected(tried) -> None:
    reference = {"float32 reference": {"step": 1e-3}}
    laptop = make_machine(cpu=make_profile(coefficients=reference, ratios=(0.5, 2.0)))
    found = estimate(NETWORK, rows=640, epochs=10, batch_size=64, backends=["cpu"], machines=[laptop])
    one = found.machines["a machine"]["cpu"]
    assert one.projected
    assert one.per_epoch_s == pytest.approx(0.01)
    assert (one.low_s, one.total_s, one.high_s) == pytest.approx((0.55, 0.6, 0.7))
    other = estimate(NETWORK, rows=640, dtype="float64", backends=["cpu"], machines=[laptop]).machines["a machine"][
        "cpu"
    ]
    assert not other.available
    assert "float64" in other.reason


def test_what_does_not_fit_is_said(tried, monkeypatch) -> None:
    small = make_machine(cpu=make_profile())
    found = estimate(NETWORK, rows=10**6, backends=["cpu"], machines=[small])
    assert found.machines["a machine"]["cpu"].fits
    tiny = make_machine(cpu=make_profile(device_bytes=10**6))
    assert not estimate(NETWORK, rows=10**6, backends=["cpu"], machines=[tiny]).machines["a machine"]["cpu"].fits
    monkeypatch.setattr(estimation, "available_memory", lambda: 10**8)
    huge = estimate(NETWORK, rows=10**8, backends=["cpu"]).backends["cpu"]
    assert not huge.fits
    assert huge.memory_bytes > 8 * 10**9


def test_break_even_is_where_the_other_begins_to_win(tried) -> None:
    store_profile(
        make_machine(
            cpu=make_profile(coefficients={"float32 reference": {"step": 1e-4, "row": 1e-6}}),
            numba=make_profile(True, 1, coefficients={"float32 alone": {"row": 3e-6}}),
        )
    )
    found = estimate(NETWORK, rows=1000)
    # 3 b < 100 + b up to 49 rows.
    assert found.break_even == "numba wins below batches of 64; cpu from 64"
    assert found.choice == "cpu"
    assert "profile" in found.why


def test_one_backend_that_always_wins_has_no_break_even(tried) -> None:
    store_profile(
        make_machine(
            cpu=make_profile(coefficients={"float32 reference": {"row": 2.0}}),
            numba=make_profile(True, 1, coefficients={"float32 alone": {"row": 1.0}}),
        )
    )
    assert estimate(NETWORK, rows=1000).break_even == "numba wins at every batch size"


def test_what_fits_into_a_time(tried) -> None:
    found = estimate(NETWORK, rows=640, epochs=50, batch_size=64, backends=["cpu"])
    affordable = found.within(0.5 + 10.0)
    assert affordable.epochs == 100
    assert affordable.rows == 1280
    assert affordable.hidden is not None
    # Without a profile multiply-adds tell: 2 * 20 * h + 3 * 2 * h are twice as many.
    assert affordable.hidden[0] in (15, 16)
    with pytest.raises(InputError, match="too short"):
        found.within(0.4)


def test_a_validation_set_of_its_own_takes_no_rows_away(tried) -> None:
    apart = np.zeros((100, 20)), np.arange(100) % 2
    found = estimate(NETWORK, rows=1000, validation=apart, backends=["cpu"])
    assert (found.rows, found.workload.validation_rows) == (1000, 100)


def test_what_does_not_fit_into_a_time_is_not_said_to(tried) -> None:
    found = estimate(NETWORK, rows=640, epochs=50, batch_size=64, backends=["cpu"])
    # A single unit costs an eighth of eight: of 5 s that is left of 0.1 s nothing.
    assert found.within(0.5 + 0.1).hidden is None
    with pytest.raises(InputError, match="too short"):
        found.within(0.5 + 1e-6)
    for no_time in (0.0, math.nan, math.inf):
        with pytest.raises(InputError, match="above 0"):
            found.within(no_time)


def test_widths_are_not_cut_off(tried) -> None:
    found = estimate(NETWORK, rows=640, epochs=1, batch_size=64, backends=["cpu"])
    # Without a profile the cost is in proportion to the width.
    (width,) = found.within(0.5 + 0.1 * 5000).hidden
    assert width == pytest.approx(8 * 5000, rel=0.01)


def test_a_profile_that_does_not_know_the_dtype_names_no_winner(tried) -> None:
    store_profile(make_machine(cpu=make_profile(), numba=make_profile(True, 1, coefficients={})))
    assert estimate(NETWORK, rows=1000, dtype="float64").break_even == ""


def test_a_device_may_be_named(tried, monkeypatch) -> None:
    monkeypatch.setattr(estimation, "get_backend", lambda name: None)
    monkeypatch.setattr(estimation, "choose_backend", lambda name: Choice(get_backend("cpu"), "as asked for"))
    monkeypatch.setattr(backend_class("cuda"), "unavailable_reason", classmethod(lambda cls: None))
    there = make_machine(cuda=make_profile())
    found = estimate(NETWORK, rows=100, backends=["cuda:1"], machines=[there])
    assert found.backends["cuda:1"].available
    assert list(found.machines["a machine"]) == ["cuda"]


def test_networks_without_hidden_layers_have_no_width_to_change(tried) -> None:
    found = estimate(Network(20, [Dense(2)]), rows=640, backends=["cpu"])
    assert found.within(100).hidden is None


def test_description_is_what_the_command_prints(tried) -> None:
    described = json.loads(to_json(estimate(NETWORK, rows=640).describe()))
    wanted = {"setup_s", "per_epoch_s", "total_s", "low_s", "high_s", "memory_bytes", "available", "reason"}
    assert all(wanted <= set(one) for one in described["backends"].values())
    assert described["choice"] == "numba"


class Clockwork:
    """A training whose slices take what they are told to."""

    def __init__(self, slices):
        self._slices = iter(slices)

    def one_slice(self):
        return next(self._slices)


def test_a_trial_goes_on_for_its_budget() -> None:
    steady = [Slice(10, 0.1, 0.1)] * 20
    assert len(trial._slices(Clockwork(steady), lambda step_s: 50 * step_s)) == 5


def test_data_too_large_for_the_loss_are_blamed_and_not_the_learning_rate() -> None:
    x = np.full((100, 20), 3e38, "float32")
    x[::2] *= -1
    with pytest.raises(InputError, match="scale them") as caught:
        estimate(NETWORK, x, np.arange(100) % 2, backends=["cpu"], budget=0.01)
    assert "learning rate" not in str(caught.value)


def test_a_new_process_imports_nothing_from_the_current_folder(tmp_path, monkeypatch) -> None:
    (tmp_path / "numpy.py").write_text("open('imported', 'w').close()")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [one for one in sys.path if one])
    assert trial.process_seconds("cpu") > 0
    assert not (tmp_path / "imported").exists()


def test_the_first_part_of_a_trial_is_not_counted() -> None:
    slow, steady = [Slice(1, 0.1, 0.1)] * 2, [Slice(10, 0.1, 0.1)] * 8
    assert trial._warmed(slow + steady) == steady
    assert trial._warmed(slow[:1]) == slow[:1]


@pytest.mark.parametrize("backend_name", ["cpu", "numba"])
def test_a_real_trial_counts_what_belongs_to_an_epoch(backend_name) -> None:
    from nnaccel import get_backend

    assignment = synthetic_assignment(Workload(make_plan(), rows=300, batch_size=7), most_bytes=10**6)
    found = try_out(assignment, get_backend(backend_name), lambda step_s: 0.05)
    assert found.epoch_s >= 0.9 * found.step_s * assignment.workload.steps_per_epoch
    assert found.seconds >= 0.05
    assert found.setup_s >= found.start_s > 0


def test_fit_finds_the_seconds_of_each_term_through_noise() -> None:
    random = np.random.default_rng(0)
    true = {"step": 2e-5, "row": 3e-8, "product": 1e-11, "slot": 4e-10}
    measured = []
    for number in range(40):
        terms = terms_of_step(random_plan(random, "float32"), int(random.integers(8, 2000)))
        seconds = sum(true.get(name, 0.0) * count for name, count in terms.items()) * random.uniform(0.97, 1.03)
        measured.append(Measured(terms, seconds * (3.0 if number % 13 == 5 else 1.0)))  # some were disturbed
    found = fit(measured)
    for name in ("product", "slot"):
        assert found[name] == pytest.approx(true[name], rel=0.1)
    quiet = [ratio for number, ratio in enumerate(left_out_ratios(measured)) if 0.9 < ratio < 1.1]
    assert len(quiet) >= 35


def test_random_rows_suit_every_loss() -> None:
    from nnaccel.losses import LOSSES

    for kind in LOSSES.values():
        rows = random_rows((3,), 4, kind(), 50, "float64")
        assert np.isfinite(rows.x).all()
        assert len(np.unique(rows.targets)) > 1
        low, high = kind().domain if rows.targets.ndim > 1 else (0, 3)
        assert low <= rows.targets.min()
        assert rows.targets.max() <= high
