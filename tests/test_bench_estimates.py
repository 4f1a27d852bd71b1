"""The experiment that tells how good estimates are: what it draws, measures and says, by trainings that take no time."""

import json
import math
from dataclasses import replace

import pytest

from nnaccel.bench import estimates
from nnaccel.bench.reading import ESTIMATES_FORMAT, read_result
from nnaccel.described import to_json
from tests.bench_results import conditions
from tests.test_cost import make_machine, make_profile

ONE = estimates.Outcome(
    "numba", "epoch", "float32", "sgd", 1000, 20, [64], 64, 10.0, 2.2, 1.9, 2.6, 2.5, 1.9, 2.1, True
)
"""A training of 2 s in the mean, 0.2 s apart, of which 2.2 s were said, and 2.5 s by the profile."""

SLOWER = replace(ONE, backend="cpu", actual_s=4.0, again_s=4.0, predicted_s=4.0, low_s=3.0, high_s=5.0, chosen=False)


def test_errors_are_parts_of_the_mean_of_both_runs() -> None:
    facts = estimates.summary([ONE])
    assert facts["median_error"] == pytest.approx(0.1)
    assert facts["projected_median_error"] == pytest.approx(0.25)
    assert facts["median_spread"] == pytest.approx(0.1)
    # 1.5 times the spread of the machine is more than 5 %.
    assert facts["wanted_median_error"] == pytest.approx(0.15)
    assert facts["interval_right"] == 1.0
    assert estimates.summary([replace(ONE, low_s=2.0)])["interval_right"] == 0.5


@pytest.mark.parametrize(
    ("seconds", "right"), [(4.0, 1.0), (1.8, 1.0), (1.7, 0.0)], ids=["slower", "within 10 %", "faster"]
)
def test_auto_is_right_if_it_takes_the_fastest_or_nearly(seconds, right) -> None:
    other = replace(SLOWER, actual_s=seconds, again_s=seconds)
    assert estimates.summary([ONE, other])["auto_right"] == right
    assert f"in {right:.0%} (wanted" in estimates.summary_lines([ONE, other])[-1]


@pytest.mark.parametrize("alone", [ONE, SLOWER], ids=["chosen", "not chosen"])
def test_of_one_backend_alone_no_choice_is_judged(alone) -> None:
    assert math.isnan(estimates.summary([alone])["auto_right"])
    assert not any(line.startswith("auto") for line in estimates.summary_lines([alone]))


def test_a_result_can_be_read_again(tmp_path) -> None:
    described = estimates.describe([ONE, SLOWER], make_machine(cpu=make_profile()), conditions())
    path = tmp_path / "estimates.json"
    path.write_text(to_json(described))
    assert read_result(path, ESTIMATES_FORMAT) == json.loads(to_json(described))


def test_trainings_are_drawn_as_wide_as_promised() -> None:
    drawn = estimates.workloads(200)
    assert drawn == estimates.workloads(200)
    assert all(200 <= one.rows <= 10**6 and one.x_bytes <= estimates.MOST_BYTES for one in drawn)
    assert all(one.batch_size <= min(4096, one.rows) for one in drawn)
    assert {one.plan.dtype for one in drawn} == {"float32", "float64"}
    assert {one.plan.optimizer.name for one in drawn} == {"sgd", "adam", "adamw"}
    assert {len(one.plan.network.layers) - 1 for one in drawn} == {1, 2, 3, 4, 5, 6}


def test_trainings_are_predicted_and_trained(monkeypatch) -> None:
    for name, value in {"LEAST_SECONDS": 0.02, "MOST_SECONDS": 0.05}.items():
        monkeypatch.setattr(estimates, name, value)
    monkeypatch.setattr("nnaccel.estimation.LEAST_SECONDS", 0.02)
    workload = min(estimates.workloads(30), key=lambda one: one.x_bytes + one.plan.network.size)
    coefficients = {f"{workload.plan.dtype} reference": {"step": 1e-4}}
    (one,) = estimates.outcomes(workload, ["cpu"], make_machine(cpu=make_profile(coefficients=coefficients)))
    assert (one.backend, one.kernel, one.chosen) == ("cpu", "reference", True)
    assert 0 < one.low_s < one.predicted_s < one.high_s
    assert one.projected_s == pytest.approx(one.epochs_part * workload.rows / workload.batch_size * 1e-4)
