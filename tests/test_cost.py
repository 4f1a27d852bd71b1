"""Seconds from a plan and a profile, by numbers worked out by hand; and the rule by which threads are taken."""

import math

import pytest

from nnaccel import cost
from nnaccel.backends import choose_backend
from nnaccel.cost import Workload
from nnaccel.losses import MeanSquaredError
from nnaccel.network import Dense, Network
from nnaccel.optimizers import SGD, Adam
from nnaccel.plan import Plan
from nnaccel.profile import BackendProfile, MachineProfile, store_profile


def make_plan(features=10, hidden=(5,), outputs=1, optimizer=None, dtype="float32", activation="relu", dropout=0.0):
    layers = [*(Dense(width, activation, dropout=dropout) for width in hidden), Dense(outputs)]
    return Plan(Network(features, layers), MeanSquaredError(), optimizer or SGD(), dtype=dtype)


def make_profile(fused=False, threads=2, coefficients=None, **changes):
    usual = {"float32 reference": {"step": 1e-3, "row": 1e-6}}
    values = {
        "device": "a device", "fused": fused, "vector_bytes": 64 if fused else 0, "threads": threads, "setup_s": 0.5,
        "epoch_s": 0.25, "metric_s": 1e-4, "coefficients": usual if coefficients is None else coefficients,
    }  # fmt: skip
    return BackendProfile(**values | changes)


def make_machine(**backends):
    return MachineProfile("a machine", "2026-01-01T00:00:00+00:00", "a processor", 2.0, 10**9, 0.05, backends)


def test_terms_of_a_step_are_those_counted_by_hand() -> None:
    terms = cost.terms_of_step(make_plan(optimizer=Adam(), activation="tanh", dropout=0.1), batch_size=4)
    # Forward 10 * 5 + 5 * 1, back 1 * 5 through the last layer alone; the weights' gradients as forward.
    assert terms["product"] == 4 * (55 + 5)
    assert terms["weight gradient"] == 4 * 55
    assert terms["unit"] == 4 * 6
    assert terms["dropped"] == 4 * 5
    assert terms["pass"] == 4 * 5 * 2  # of tanh
    # What products read and write: 4 rows of 10 and of 5, and 50 weights, twice; of 5 and of 1, and 5 weights, three times.
    assert terms["operand"] == 2 * (40 + 20 + 50) + 3 * (20 + 4 + 5)
    assert terms["input"] == 4 * 10
    assert terms["layer"] == 2
    assert terms["dropped layer"] == 1
    assert terms["slot"] == 2 * terms["parameter"] == 2 * make_plan().network.size


def test_vectors_are_counted_whole() -> None:
    terms = cost.terms_of_step(make_plan(), batch_size=4, vector_bytes=64)
    # Columns of 16 elements: 10 * 16 forward; a single output is a row of its inputs, 16; and 1 * 16 back.
    assert terms["product"] == 4 * (160 + 16 + 16)
    assert cost.terms_of_step(make_plan(dtype="float64"), 4, 64)["product"] == 4 * (80 + 8 + 8)


def test_prediction_goes_forward_alone() -> None:
    terms = cost.terms_of_prediction(make_plan(dropout=0.5), rows=4)
    assert terms["product"] == 4 * 55
    assert terms["dropped"] == 0
    assert "weight gradient" not in terms


def test_an_epoch_is_steps_rows_and_validation() -> None:
    workload = Workload(make_plan(), rows=100, batch_size=8, validation_rows=10, watched=True)
    steps = 12.5 * (1e-3 + 8 * 1e-6)
    validation = 1e-3 + 10 * 1e-6 + 10 * 1e-4
    assert cost.epoch_seconds(workload, make_profile()) == pytest.approx(steps + 0.25 + validation)


def test_an_epoch_that_nobody_watches_costs_its_steps_alone() -> None:
    workload = Workload(make_plan(), rows=100, batch_size=100)
    assert cost.epoch_seconds(workload, make_profile()) == pytest.approx(1e-3 + 100e-6)


def test_batches_longer_than_the_data_are_as_long_as_the_data() -> None:
    short, long = (Workload(make_plan(), rows=100, batch_size=size) for size in (100, 5000))
    assert cost.epoch_seconds(long, make_profile()) == cost.epoch_seconds(short, make_profile())


def test_what_a_profile_does_not_tell_is_nan() -> None:
    assert math.isnan(cost.epoch_seconds(Workload(make_plan(dtype="float64"), 100, 8), make_profile()))


def test_the_faster_of_two_regimes_counts() -> None:
    team, alone = {"float32 team": {"step": 1.0}}, {"float32 alone": {"step": 2.0}}
    large = Workload(make_plan(500, (500,)), rows=10**6, batch_size=512)
    assert cost.step_seconds(large, make_profile(True, coefficients=team | alone)) == 1.0
    assert cost.step_seconds(large, make_profile(True, 1, coefficients=team | alone)) == 2.0


@pytest.mark.parametrize(
    ("hidden", "batch", "watched", "expected"),
    [
        ((3,), 64, False, ["float32 small"]),
        ((100,), 8, False, ["float32 alone"]),
        ((500,), 512, False, ["float32 alone", "float32 team"]),
        ((500,), 512, True, ["float32 alone"]),  # 1,000 rows a call are too few to start threads for
    ],
)
def test_regimes(hidden, batch, watched, expected) -> None:
    workload = Workload(make_plan(10, hidden), rows=1000, batch_size=batch, watched=watched)
    assert cost.regimes(workload, make_profile(True)) == expected


def test_who_may_use_one_thread_has_no_team() -> None:
    workload = Workload(make_plan(10, (500,)), rows=10**6, batch_size=512, threads=1)
    assert cost.regimes(workload, make_profile(True)) == ["float32 alone"]


def test_setup_includes_the_way_to_the_device() -> None:
    workload = Workload(make_plan(), rows=1000, batch_size=8)
    profile = make_profile(device_bytes=10**9, transfer_bytes_per_s=40_000.0)
    assert cost.setup_seconds(workload, profile) == pytest.approx(0.5 + 1.0)
    assert cost.device_bytes(workload, profile) == cost.host_bytes(workload) - cost.PROCESS_BYTES > 40_000
    assert cost.device_bytes(workload, make_profile()) == 0


@pytest.fixture
def own_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NNACCEL_CACHE_DIR", str(tmp_path))


@pytest.mark.usefixtures("own_folder")
@pytest.mark.parametrize(("cpu", "numba", "expected"), [(1.0, 2.0, "cpu"), (2.0, 1.0, "numba")])
def test_auto_takes_what_the_profile_says_is_faster(cpu, numba, expected) -> None:
    store_profile(
        make_machine(
            cpu=make_profile(coefficients={"float32 reference": {"step": cpu}}),
            numba=make_profile(True, coefficients={"float32 alone": {"step": numba}}),
            cuda=make_profile(coefficients={"float32 reference": {"step": 1e-9}}),  # which can't run here
            other=make_profile(coefficients={"float32 reference": {"step": 1e-9}}),  # which this version doesn't know
        )
    )
    choice = choose_backend("auto", Workload(make_plan(10, (100,)), rows=100, batch_size=10))
    assert choice.backend.name == expected
    assert "profile an epoch takes 10 s" in choice.reason
    assert choose_backend("cpu", Workload(make_plan(), 100, 10)).backend.name == "cpu"


@pytest.mark.usefixtures("own_folder")
def test_auto_without_a_profile_that_knows_the_training_takes_the_usual() -> None:
    store_profile(make_machine(cpu=make_profile()))
    choice = choose_backend("auto", Workload(make_plan(dtype="float64"), 100, 10))
    assert choice == choose_backend("auto")
