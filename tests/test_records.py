"""What is written down of estimates and trainings, and that nothing of it can spoil a training."""

import json
import math
from dataclasses import replace

import pytest

from nnaccel import records
from nnaccel.cost import Workload
from nnaccel.profile import store_profile
from nnaccel.records import accuracy, note_estimate, note_training
from nnaccel.report import History, TrainingReport
from tests.test_cost import make_machine, make_plan, make_profile


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("NNACCEL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.delenv("NNACCEL_RECORDS", raising=False)
    return tmp_path / "cache"


def make_report(seconds=2.0, epochs=4, backend="cpu", **settings):
    return TrainingReport(
        backend, "reference", "as asked for", seconds, 0.1, epochs, epochs, 100, 0.5, {}, History(), "epochs",
        {"schedule": "constant", **settings},
    )  # fmt: skip


PLAN = make_plan()


def test_a_training_is_compared_with_its_estimate() -> None:
    note_estimate("cpu", Workload(PLAN, 100, 10), 0.6, (0.8, 1.25))
    note_training(make_report(), PLAN, 100, 10, 0)
    (record,) = accuracy().records
    assert (record.source, record.backend, record.predicted_s, record.actual_s) == ("trial", "cpu", 0.6, 0.5)
    assert record.error == pytest.approx(0.2)
    assert record.is_within
    assert accuracy().median_error == pytest.approx(0.2)
    assert accuracy().within_interval == 1.0


@pytest.mark.parametrize(
    "other", [Workload(PLAN, 101, 10), Workload(PLAN, 100, 11), Workload(make_plan(hidden=(6,)), 100, 10)]
)
def test_an_estimate_of_another_training_is_not_meant(other) -> None:
    note_estimate("cpu", other, 0.6, (0.8, 1.25))
    note_estimate("numba", Workload(PLAN, 100, 10), 0.6, (0.8, 1.25))
    note_training(make_report(), PLAN, 100, 10, 0)
    assert accuracy().count == 0


def test_the_learning_rate_is_of_no_account() -> None:
    from nnaccel.optimizers import SGD

    note_estimate("cpu", Workload(make_plan(optimizer=SGD(0.5)), 100, 10), 0.6, (0.8, 1.25))
    note_training(make_report(), PLAN, 100, 10, 0)
    assert accuracy().count == 1


@pytest.mark.parametrize("settings", [{"early stopping": "loss, patience 5"}, {"schedule": "plateau,factor=0.5"}])
def test_a_watched_training_is_another(settings) -> None:
    note_estimate("cpu", Workload(PLAN, 100, 10, watched=True), 0.6, (0.8, 1.25))
    note_training(make_report(**settings), PLAN, 100, 10, 0)
    assert accuracy().count == 1
    note_training(make_report(), PLAN, 100, 10, 0)
    assert accuracy().count == 1


def test_without_an_estimate_the_profile_has_said_something() -> None:
    store_profile(make_machine(cpu=make_profile(coefficients={"float32 reference": {"step": 0.1}}, ratios=(0.9, 1.1))))
    note_training(make_report(seconds=8.0), PLAN, 100, 10, 0)
    (record,) = accuracy().records
    assert (record.source, record.predicted_s, record.actual_s) == ("projection", 1.0, 2.0)
    assert not record.is_within


LATE, EARLY = (replace(make_report(epochs=epochs), stopped_by="time limit") for epochs in (records.LEAST_EPOCHS, 1))


def test_what_a_time_limit_cut_off_counts_if_little_is_left_over() -> None:
    note_estimate("cpu", Workload(PLAN, 100, 10), 0.1, (0.8, 1.25))
    note_training(LATE, PLAN, 100, 10, 0)
    assert accuracy().count == 1


@pytest.mark.parametrize("report", [make_report(seconds=0.01), make_report(epochs=0), EARLY])
def test_what_says_nothing_is_not_kept(report) -> None:
    note_estimate("cpu", Workload(PLAN, 100, 10), 0.6, (0.8, 1.25))
    note_training(report, PLAN, 100, 10, 0)
    assert accuracy().count == 0


@pytest.mark.parametrize("word", ["off", "OFF", "0", "no"])
def test_who_wants_no_records_gets_no_file(folder, monkeypatch, word) -> None:
    monkeypatch.setenv("NNACCEL_RECORDS", word)
    note_estimate("cpu", Workload(PLAN, 100, 10), 0.6, (0.8, 1.25))
    note_training(make_report(), PLAN, 100, 10, 0)
    assert not folder.exists()


def test_lines_that_cannot_be_read_are_passed_over(folder) -> None:
    note_estimate("cpu", Workload(PLAN, 100, 10), 0.6, (0.8, 1.25))
    note_training(make_report(), PLAN, 100, 10, 0)
    path = folder / "records.jsonl"
    good = path.read_text()
    zero = json.dumps(json.loads(good) | {"actual_s": 0.0})
    path.write_bytes(b"\xff\xfe\n[]\nnull\n{}\n" + b"[" * 100_000 + f"\n{zero}\n".encode() + good.encode())
    assert accuracy().count == 1
    (folder / "estimates.json").write_bytes(b"\xff[")
    note_training(make_report(), PLAN, 100, 10, 0)
    note_estimate("cpu", Workload(PLAN, 100, 10), 0.6, (0.8, 1.25))
    note_training(make_report(), PLAN, 100, 10, 0)
    assert accuracy().count == 2


def test_a_place_that_cannot_be_written_spoils_nothing(folder) -> None:
    folder.write_text("a file where the folder should be")
    note_estimate("cpu", Workload(PLAN, 100, 10), 0.6, (0.8, 1.25))
    note_training(make_report(), PLAN, 100, 10, 0)
    assert accuracy().count == 0


def test_files_stay_small(folder, monkeypatch) -> None:
    monkeypatch.setattr(records, "MOST_BYTES", 2000)
    monkeypatch.setattr(records, "MOST_ESTIMATES", 3)
    for rows in range(10, 20):
        note_estimate("cpu", Workload(PLAN, rows, 10), 0.6, (0.8, 1.25))
    assert len(json.loads((folder / "estimates.json").read_text())) == 3
    for _ in range(20):
        note_training(make_report(), PLAN, 19, 10, 0)
    assert (folder / "records.jsonl").stat().st_size < 2500
    assert 3 < accuracy().count < 20


def test_lines_tell_people_how_good_estimates_were() -> None:
    (line,) = accuracy().lines
    assert "no training" in line
    assert math.isnan(accuracy().median_error)
    note_estimate("cpu", Workload(PLAN, 100, 10), 0.6, (0.8, 1.25))
    note_training(make_report(), PLAN, 100, 10, 0)
    summary, latest = accuracy().lines
    assert summary == "1 by trial: median error 20.0%, 100% within the 80 % interval"
    assert latest.endswith("was 0.5 s (+20%)")
