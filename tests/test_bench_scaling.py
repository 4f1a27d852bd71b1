"""How the cost grows: what is measured, the table, the picture and the file."""

import json
import math
from dataclasses import replace

import pytest

from nnaccel.backends import get_backend
from nnaccel.bench import scaling
from nnaccel.bench.measure import Limits
from nnaccel.bench.scaling import BASE, SWEEPS, Point, Sweep, measure_sweep, sweeps
from nnaccel.bench.scaling_view import exponent, sweep_lines
from nnaccel.cli import run


def timed(sweep, sizes, seconds_per_row):
    """Points whose cost is known."""
    change = {name: change for name, _, change in SWEEPS}[sweep]
    points = [Point(sweep, size, change(BASE, size)) for size in sizes]
    return [
        replace(point, samples=(cost * point.case.steps_per_epoch * point.case.batch * point.case.epochs,) * 2)
        for point, cost in zip(points, seconds_per_row, strict=True)
    ]


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5])
def test_the_exponent_of_a_power_is_found(power):
    sizes = [2, 8, 32]
    assert exponent(sizes, [5 * size**power for size in sizes]) == pytest.approx(power)


def test_one_size_has_no_exponent():
    assert math.isnan(exponent([4, 4], [1, 2]))


def test_sweeps_change_one_size_each():
    for points in sweeps(threads=1):
        assert len({point.value for point in points}) == len(points)
        for point in points:
            assert point.case.steps_per_epoch >= 1
    assert [point.threads for point in sweeps(threads=6)[-1]] == [1, 2, 4, 6]


def test_the_cost_of_a_row():
    (point,) = timed("batch", [32], [2e-6])
    assert point.row_seconds == pytest.approx(2e-6)
    assert point.epoch_seconds == pytest.approx(2e-6 * 8192)
    assert point.parameters == 64 * 128 + 128 + 128 * 128 + 128 + 128 * 10 + 10


def test_the_table_says_how_the_cost_grows():
    lines = list(sweep_lines(timed("rows", [512, 2048, 8192], [1e-6] * 3)))
    assert "us a row" in lines[0]
    assert lines[1].split()[:2] == ["512", "26,122"]
    assert lines[-1] == "from 2,048 on, the cost of an epoch grows as the number of rows to the power of 1.00"
    width = timed("width", [256, 512], [1e-6, 3.5e-6])
    parameters = [point.parameters for point in width]
    power = math.log(3.5) / math.log(parameters[1] / parameters[0])
    assert list(sweep_lines([width[0], *width]))[-1].endswith(f"parameters to the power of {power:.2f}")


def test_all_points_get_all_samples():
    points = [Point("rows", n, replace(BASE, rows=n, epochs=1)) for n in (128, 256)]
    told = []
    found = measure_sweep(get_backend("cpu"), points, Limits(rounds=3), told.append)
    assert [len(point.samples) for point in found] == [3, 3]
    assert all(seconds > 0 for point in found for seconds in point.samples)
    assert told == ["rows 128: getting ready", "rows 256: getting ready", *(f"rows: round {i} of 3" for i in (1, 2, 3))]


def test_the_command_prints_draws_and_keeps(monkeypatch, tmp_path, capsys):
    monkeypatch.setattr(
        scaling, "SWEEPS", (Sweep("rows", (128, 256), lambda case, n: replace(case, rows=n, epochs=1)),)
    )
    monkeypatch.setattr(scaling, "BASE", replace(BASE, rows=256))
    out, plot = tmp_path / "scaling.json", tmp_path / "scaling.png"
    arguments = ["bench", "--scaling", "--backend", "cpu", "--threads", "1", "--quick"]
    assert run([*arguments, "--out", str(out), "--plot", str(plot), "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(out.read_text())
    assert [(point["sweep"], point["value"]) for point in found["points"]] == [
        ("rows", 128),
        ("rows", 256),
        ("threads", 1),
    ]
    assert all(len(point["samples"]) == 2 for point in found["points"])
    assert json.loads(captured.out)["points"] == found["points"]
    assert "us a row" in captured.err
    assert plot.read_bytes().startswith(b"\x89PNG")
