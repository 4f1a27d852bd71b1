"""Every `.cu` kernel against the reference in float64, from its own source: on the CPU as fibers, and on a GPU where there is one."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from nnaccel.activations import as_activation
from nnaccel.backends import backend_class
from nnaccel.dropout import DropoutSource
from nnaccel.gpu import geometry
from nnaccel.gpu.records import LOSS, MASK_NUMBERS, RULE, SLICE, STEP_NUMBERS, loss_record, rule_record
from nnaccel.gpu.slices import Work, pack
from nnaccel.gpu.source import KERNELS, source
from nnaccel.kernels.job import ACTIVATIONS, ROW_KINDS
from nnaccel.losses import as_loss
from nnaccel.network import Dense, Network
from nnaccel.optimizers import L2, as_optimizer
from nnaccel.plan import Plan
from nnaccel.reference import GradientSums, update
from tests import cuda_on_cpu
from tests.cuda_machines import Fibers, Graphics
from tests.problems import targets_for
from tests.test_kernel_optimizer import OPTIMIZERS
from tests.test_reference import ACTIVATION_TEXTS, EXTREMES, LOSS_TEXTS
from tests.tolerance import assert_within, tolerance

DTYPES = ("float32", "float64")
SHAPES = [(1, 1), (1, 33), (7, 3), (9, 32), (40, 70)]
GUARD = 3.0

needs_compiler = pytest.mark.skipif(cuda_on_cpu.compiler() is None, reason="no C++ compiler; apt-get install g++")
every_shape = pytest.mark.parametrize(("rows", "columns"), SHAPES)


@pytest.fixture(params=[pytest.param("fibers", marks=needs_compiler), pytest.param("gpu", marks=pytest.mark.cuda)])
def place(request):
    """Where kernels run."""
    if request.param == "fibers":
        return Fibers
    reason = backend_class("cuda").unavailable_reason()
    if reason is not None:
        pytest.skip(reason)
    return Graphics


@pytest.fixture(params=DTYPES)
def machine(place, request):
    """A machine with the kernels of one dtype."""
    return place(request.param)


def normal(*shape, seed=0):
    """Random numbers that float32 holds."""
    return np.random.default_rng(seed).normal(size=shape).astype(np.float32).astype(np.float64)


def guarded(shape, dtype):
    """An array to write to, and the rest of its memory, which nobody may touch."""
    room = np.full(int(np.prod(shape)) + 64, GUARD, dtype)
    return room[:-64].reshape(shape), room


def plan_of(loss="mean_squared_error", optimizer="sgd", dtype="float64", features=3, outputs=2, **settings):
    network = Network(features, [Dense(4, "tanh", dropout=0.3), Dense(outputs, dropout=0.6)])
    return Plan(network, as_loss(loss), as_optimizer(optimizer), dtype=dtype, **settings)


def slice_of(plan, order, bounds=None, *, step=0, factor=1.0, count=0, seed=0, log=None):
    """A packed slice that has come to one of its steps."""
    bounds = np.array([0, len(order)] if bounds is None else bounds)
    steps = np.tile(np.array(plan.optimizer.base_step), (len(bounds) - 1, 1))
    steps[:, 3] = factor
    work = Work(np.array(order), bounds, steps, count + np.arange(len(steps)), seed)
    data = pack(plan, work, log).data
    data.view()[: SLICE.itemsize].view(SLICE)["step"] += step
    return data


# --- gather ---


@pytest.mark.parametrize("kind", ROW_KINDS)
@every_shape
def test_gather(machine, kind, rows, columns):
    x = (normal(50, columns) * 20).astype(kind)
    order = np.random.default_rng(1).integers(0, 50, rows + 5)
    data = slice_of(plan_of(), order, [0, 3, rows + 5], step=1)
    y, room = guarded((rows, columns), machine.dtype)
    for grid in (geometry.over_rows(rows, columns), (1, 1)):
        y[:] = GUARD
        machine.run("gather", grid, geometry.BY_ROWS, data, x, ROW_KINDS.index(kind), columns, 2, rows, room)
        np.testing.assert_array_equal(y, x[order[5:]].astype(machine.dtype))
        assert (room[-64:] == GUARD).all()


# --- activations ---


def kind_of(text):
    activation = as_activation(text)
    parameter = getattr(activation, "slope", getattr(activation, "alpha", 0.0))
    return activation, ACTIVATIONS.index(activation.name), np.float64(parameter)


@pytest.mark.parametrize("text", ACTIVATION_TEXTS)
def test_activate(machine, text):
    activation, kind, parameter = kind_of(text)
    z, bias = 3 * normal(9, 33), normal(33, seed=1)
    sums, y, b = z.astype(machine.dtype), np.empty_like(z, machine.dtype), bias.astype(machine.dtype)
    machine.run("activate", geometry.over_rows(9, 33), geometry.BY_ROWS, kind, parameter, sums, b, y, 9, 33)
    magnitude = 1 + np.abs(z) + np.abs(bias)
    assert_within(sums, z + bias, tolerance(magnitude, 2, machine.dtype))
    assert_within(y, activation.value(sums.astype(np.float64), np), tolerance(magnitude, 5, machine.dtype))
    in_place = z.astype(machine.dtype)
    machine.run("activate", (1, 1), geometry.BY_ROWS, kind, parameter, in_place, None, in_place, 9, 33)
    assert_within(in_place, activation.value(z, np), tolerance(magnitude, 5, machine.dtype))


@pytest.mark.parametrize("text", ACTIVATION_TEXTS)
def test_activations_at_the_ends(machine, text):
    activation, kind, parameter = kind_of(text)
    z = np.concatenate([EXTREMES, [np.nan]]).astype(machine.dtype)[None]
    y, exact = z.copy(), z.astype(np.float64)
    machine.run("activate", (1, 1), geometry.BY_ROWS, kind, parameter, y, None, y, 1, z.size)
    assert np.isnan(y[0, -1])
    want = activation.value(exact, np)
    assert_within(y[0, :-1], want[0, :-1], tolerance(1 + np.abs(want[0, :-1]), 5, machine.dtype))
    saved = y if activation.saves == "output" else z
    delta = np.ones_like(z)
    machine.run("chain", (1, 1), geometry.FLAT, kind, parameter, saved, delta, np.int64(z.size))
    want = activation.derivative(saved.astype(np.float64), np)
    assert_within(delta[0, :-1], want[0, :-1], tolerance(2, 20, machine.dtype))


@pytest.mark.parametrize("text", ACTIVATION_TEXTS)
def test_chain(machine, text):
    activation, kind, parameter = kind_of(text)
    z, delta = 3 * normal(700), normal(700, seed=1)
    saved = (activation.value(z, np) if activation.saves == "output" else z).astype(machine.dtype)
    got, room = guarded(700, machine.dtype)
    got[:] = delta
    machine.run("chain", (2, 1), geometry.FLAT, kind, parameter, saved, room, np.int64(700))
    want = delta * activation.derivative(saved.astype(np.float64), np)
    assert_within(got, want, tolerance(4 * np.abs(delta) * (1 + np.abs(saved)), 8, machine.dtype))
    assert (room[700:] == GUARD).all()


def test_a_unit_of_relu_that_is_off_passes_nothing_on(machine):
    saved, delta = np.zeros(3, machine.dtype), np.array([np.nan, np.inf, 1], machine.dtype)
    machine.run("chain", (1, 1), geometry.FLAT, ACTIVATIONS.index("relu"), np.float64(0), saved, delta, np.int64(3))
    assert not delta.any()


# --- losses ---


@pytest.mark.parametrize("weighted", [False, True], ids=["no weights", "weights"])
@pytest.mark.parametrize("text", LOSS_TEXTS)
@every_shape
def test_losses_and_deltas(machine, text, rows, columns, weighted):
    loss, dtype, outputs = as_loss(text), machine.dtype, max(columns, 2)
    plan, random = plan_of(text, dtype=dtype, outputs=outputs), np.random.default_rng(2)
    order, o = random.integers(0, 50, rows + 3), normal(rows, outputs)
    targets = targets_for(loss, 50, outputs, random)
    targets = targets if loss.targets == "labels" else targets.astype(np.float32).astype(dtype)
    weights = np.abs(normal(50, seed=3)).astype(dtype) if weighted else None
    deltas, room = guarded((rows, outputs), dtype)
    row_losses, record = np.zeros(rows + 1), loss_record(loss, dtype)
    machine.run(
        "losses_and_deltas", (1, 2), geometry.BY_ROWS, slice_of(plan, order, [0, 2, rows + 3], step=1), record, targets,
        weights, o.astype(dtype), room, row_losses, 1, rows, outputs,
    )  # fmt: skip
    t = targets[order[3:]]
    want, slope = loss.value_and_gradient(o, t if loss.targets == "labels" else t.astype(np.float64), np)
    w = np.ones(rows) if weights is None else weights[order[3:]].astype(np.float64)
    values = 0 if loss.targets == "labels" else np.abs(t)
    size = (np.exp(np.abs(o)) + (1 + np.abs(o)) * (1 + values) ** 2 + o * o).sum(axis=1)
    assert_within(row_losses[1:], w * want, w * tolerance(size, outputs + 10, dtype))
    assert row_losses[0] == 0
    assert_within(
        deltas, w[:, None] * slope, w[:, None] * tolerance(2 * np.exp(np.abs(o)) + np.abs(slope) + values, 12, dtype)
    )
    assert (room[-64:] == GUARD).all()


@pytest.mark.parametrize("rows", [1, 255, 256, 1000])
@pytest.mark.parametrize("weighted", [False, True], ids=["no weights", "weights"])
def test_loss_sums(machine, rows, weighted):
    order = np.random.default_rng(0).permutation(rows + 7)
    weights = np.abs(normal(rows + 7)).astype(machine.dtype) if weighted else None
    data, losses = slice_of(plan_of(), order, [0, 7, rows + 7], step=1), normal(rows, seed=4)
    machine.run("loss_sums", (1, 1), geometry.FLAT, data, weights, losses, rows)
    header = data[: SLICE.itemsize].view(SLICE)[0]
    assert (header["finished"], header["step"]) == (1, 2)
    log = data[header["log"] :][:48].view(np.float64)
    want = rows if weights is None else weights[order[7:]].astype(np.float64).sum()
    assert log[:3].tolist() == [0, 0, 0]
    assert_within(log[3:], [losses.sum(), want, 0], tolerance(np.abs(losses).sum() + want, rows, np.float64))


# --- dropout ---


@pytest.mark.parametrize(("layer", "rate"), [(0, 0.3), (1, 0.6)])
@pytest.mark.parametrize("factor", [0.0, 0.5, 1.0])
@every_shape
def test_masks_are_the_references_to_the_bit(machine, layer, rate, factor, rows, columns):
    plan, seed, count = plan_of(), 2**63 + 12345678901, 2**32 + 5
    data = slice_of(plan, np.arange(6), [0, 2, 4, 6], step=2, factor=factor, count=count, seed=seed)
    values, (out, room) = normal(rows, columns).astype(machine.dtype), guarded((rows, columns), machine.dtype)
    for grid in (geometry.over_rows(rows, -(-columns // 4)), (1, 1)):
        out[:] = GUARD
        machine.run("drop", grid, geometry.BY_ROWS, data, layer, 3, rows, columns, values, room)
        mask = DropoutSource(seed, count + 2, factor, 3).mask(layer, rate, values, np)
        np.testing.assert_array_equal(out, values * mask)
        assert (room[-64:] == GUARD).all()


def test_what_is_dropped_stays_nan(machine):
    values = np.full((9, 40), np.nan, machine.dtype)
    machine.run("drop", (1, 1), geometry.BY_ROWS, slice_of(plan_of(), [0]), 0, 0, 9, 40, values, values)
    assert np.isnan(values).all()


# --- bias ---


@pytest.mark.parametrize("more", [0, 1])
@pytest.mark.parametrize(("rows", "columns"), [*SHAPES, (1000, 33)])
def test_bias_gradient(machine, rows, columns, more):
    deltas, before = normal(rows, columns), normal(columns, seed=1)
    got, room = guarded(columns, machine.dtype)
    got[:] = before
    machine.run(
        "bias_gradient", geometry.over_rows(1, columns), geometry.BY_ROWS, deltas.astype(machine.dtype), rows, columns,
        more, room,
    )  # fmt: skip
    bound = tolerance(np.abs(deltas).sum(axis=0) + np.abs(before), rows + 1, machine.dtype)
    assert_within(got, deltas.sum(axis=0) + more * before, bound)
    assert (room[columns:] == GUARD).all()


# --- penalty, clipping and optimizers ---


@pytest.mark.parametrize("text", OPTIMIZERS)
@pytest.mark.parametrize("penalised", [
    {}, {"l2": L2(0.2)}, {"l2": L2(3.0, "row")}, {"clip_norm": 0.3}, {"l2": L2(0.2), "clip_norm": 1e6},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("count", [0, 1, 1000])
def test_update(machine, text, penalised, count):
    plan = plan_of("huber", text, machine.dtype, features=70, outputs=31, **penalised)
    assert_updates(machine, plan, count, weight=7.5)


@pytest.mark.parametrize("weight", [0.0, 7.5])
@pytest.mark.parametrize("loss", ["huber", "sum_of_squares"])
def test_update_by_the_sum_of_the_weights(machine, loss, weight):
    for l2 in (L2(), L2(0.5), L2(0.5, "row")):
        assert_updates(machine, plan_of(loss, dtype=machine.dtype, l2=l2), 0, weight)


def assert_updates(machine, plan, count, weight):
    dtype, n, mask = machine.dtype, plan.network.size, plan.network.weight_mask("float64")
    used = sum((np.arange(n) >= b.start) & (np.arange(n) < b.stop) for b in plan.network.blocks)
    p, gradient = used * normal(n), used * normal(n, seed=1)
    slots = [used * np.abs(normal(n, seed=2 + i)) for i in range(len(plan.optimizer.slots))]
    log = np.array([[1.0, weight, 0.0]])
    data, rule = slice_of(plan, [], [0, 0], count=count, log=log), rule_record(plan)
    arrays = [a.astype(dtype) for a in (p, *slots, gradient)]
    vectors, g = [*arrays[:-1], None, None][:3], arrays[-1]
    is_weight, sums, parts = mask.astype(np.uint8), np.zeros(2 * 256), 0
    if plan.l2.strength or plan.clip_norm:
        grid = geometry.over_sums(n)
        parts = grid[0]
        machine.run("penalise", grid, geometry.FLAT, data, rule, is_weight, vectors[0], g, sums, np.int64(n))
    machine.run("update", (3, 1), geometry.FLAT, data, rule, is_weight, *vectors, g, sums, parts, np.int64(n))
    step = plan.optimizer.base_step
    want = update(plan, p, tuple(slots), mask, GradientSums(1.0, weight, gradient), count + 1, step, np)
    header = data[: SLICE.itemsize].view(SLICE)[0]
    assert_within(data[header["log"] :][16:24].view(np.float64)[0], want.penalty, tolerance(want.penalty, n, dtype))
    size = 1 + np.abs(p) + np.abs(want.vector) + np.abs(gradient)
    for got, exact in zip(vectors, (want.vector, *want.slots), strict=False):
        # Clipping comes after a sum of n squares; an epsilon of 1e-8 makes Adam's step as uncertain as its moments.
        assert_within(got, exact, tolerance(size + np.abs(exact) ** 2, 40, dtype))
        assert not got[used == 0].any()


def test_a_norm_that_is_nan_shows(machine):
    plan = plan_of(dtype=machine.dtype, clip_norm=1.0)
    n, rule = plan.network.size, rule_record(plan)
    data = slice_of(plan, [], [0, 0], log=np.array([[1.0, 1.0, 0.0]]))
    p, gradient, sums = np.zeros(n, machine.dtype), np.ones(n, machine.dtype), np.zeros(512)
    gradient[3] = np.nan
    mask = plan.network.weight_mask("uint8")
    machine.run("penalise", (1, 1), geometry.FLAT, data, rule, mask, p, gradient, sums, np.int64(n))
    machine.run("update", (1, 1), geometry.FLAT, data, rule, mask, p, None, None, gradient, sums, 1, np.int64(n))
    assert np.isnan(p).all()


# --- the means by which kernels are checked ---


def test_every_kernel_has_a_test():
    """By its name, in this file."""
    here = Path(__file__).read_text(encoding="utf-8")
    assert {name for name in KERNELS if f'"{name}"' not in here} == set()


@needs_compiler
def test_records_are_the_structs():
    records = {"Slice": SLICE, "StepNumbers": STEP_NUMBERS, "MaskNumbers": MASK_NUMBERS, "Loss": LOSS, "Rule": RULE}
    fields = [(struct, name) for struct, record in records.items() for name in record.names]
    numbers = [f"sizeof({struct})" for struct in records] + [f"offsetof({s}, {name})" for s, name in fields]
    body = "".join(f"out[{i}] = {number}; " for i, number in enumerate(numbers))
    text = f'#include <cstddef>\n{source()}\nextern "C" __global__ void measure(long long* out) {{ {body} }}'
    got = np.zeros(len(numbers), np.int64)
    cuda_on_cpu.Library(text, ["measure"], "float32").launch("measure", (1, 1), (1, 1), [cuda_on_cpu.address(got)])
    want = [record.itemsize for record in records.values()] + [records[s].fields[name][1] for s, name in fields]
    assert got.tolist() == want


BARRIER = "__syncthreads();"
TWO_SUMS = """
extern "C" __global__ void two_sums(double* out) {
  __shared__ double room[THREADS];
  out[threadIdx.x] = block_sum(threadIdx.x, room) + 1e6 * block_sum(2.0, room);
}"""
KERNELS_WITH_BARRIERS = ["loss_sums", "bias_gradient", "two_sums"]


@needs_compiler
@pytest.mark.parametrize("place", range(source().count(BARRIER)))
def test_a_barrier_that_is_missing_is_found(place):
    """Each of them in turn is taken away: some order of threads must then give other numbers."""
    pieces = source().split(BARRIER)
    broken = BARRIER.join(pieces[: place + 1]) + BARRIER.join(["", *pieces[place + 1 :]]).removeprefix(BARRIER)
    library = cuda_on_cpu.Library(broken + TWO_SUMS, KERNELS_WITH_BARRIERS, "float64")
    assert len(set(sums_in_every_order(library))) > 1


@needs_compiler
def test_the_same_with_all_barriers():
    library = cuda_on_cpu.Library(source() + TWO_SUMS, KERNELS_WITH_BARRIERS, "float64")
    assert len(set(sums_in_every_order(library))) == 1


def sums_in_every_order(library):
    address = cuda_on_cpu.address
    for library.order in cuda_on_cpu.ORDERS:
        data, losses, deltas = slice_of(plan_of(), np.arange(1000)), normal(1000), normal(100, 32)
        gradient, sums, sizes = np.zeros(32), np.zeros(256), (np.int32(100), np.int32(32), np.int32(0))
        library.launch("loss_sums", (1, 1), (256, 1), [address(data), np.uint64(0), address(losses), np.int32(1000)])
        library.launch("bias_gradient", (1, 1), (32, 8), [address(deltas), *sizes, address(gradient)])
        library.launch("two_sums", (1, 1), (256, 1), [address(sums)])
        yield data.tobytes() + gradient.tobytes() + sums.tobytes()


@needs_compiler
def test_a_barrier_that_not_all_threads_reach_is_found():
    text = 'extern "C" __global__ void apart() { if (threadIdx.x > 3) __syncthreads(); }'
    with pytest.raises(RuntimeError, match="not all threads come to the same barrier"):
        cuda_on_cpu.Library(text, ["apart"], "float32").launch("apart", (1, 1), (8, 1), [])


@needs_compiler
def test_shared_memory_begins_as_nan():
    text = """extern "C" __global__ void look(REAL* out) {
      __shared__ REAL room[8];
      out[blockIdx.x] = room[7];
      room[7] = REAL(1);
    }"""
    seen = np.zeros(2, np.float32)
    cuda_on_cpu.Library(text, ["look"], "float32").launch("look", (2, 1), (1, 1), [cuda_on_cpu.address(seen)])
    assert np.isnan(seen).all()


SANITIZED = """
import tests.cuda_on_cpu as on_cpu
from nnaccel.gpu.source import KERNELS, source
FLAGS = ("-fsanitize=address,undefined", "-fno-sanitize-recover=undefined")
on_cpu.kernels = lambda dtype: on_cpu.Library(TEXT or source(), NAMES or KERNELS, dtype, FLAGS)
"""


def sanitized(tmp_path, code, text=None, names=()):
    """Run code in a Python whose kernels are compiled with AddressSanitizer."""
    tools = [cuda_on_cpu.compiler(), "-print-file-name=libasan.so"]
    runtime = subprocess.run(tools, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(runtime).is_absolute():
        pytest.skip("this compiler brings no AddressSanitizer")
    script = tmp_path / "script.py"
    script.write_text(f"TEXT, NAMES = {text!r}, {list(names)!r}\n{SANITIZED}\n{code}")
    environment = os.environ | {
        "LD_PRELOAD": runtime,
        "ASAN_OPTIONS": "detect_leaks=0:detect_stack_use_after_return=0",
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "PYTHONMALLOC": "malloc",
    }
    return subprocess.run([sys.executable, script], capture_output=True, text=True, env=environment)


@needs_compiler
def test_kernels_under_the_address_sanitizer(tmp_path):
    code = """
import tests.test_cuda_kernels as t
from tests.cuda_machines import Fibers
for dtype in t.DTYPES:
    machine = Fibers(dtype)
    for rows, columns in t.SHAPES:
        t.test_gather(machine, "uint8", rows, columns)
        t.test_masks_are_the_references_to_the_bit(machine, 1, 0.6, 1.0, rows, columns)
        for loss in ("huber", "softmax_cross_entropy,label_smoothing=0.2"):
            t.test_losses_and_deltas(machine, loss, rows, columns, True)
        t.test_bias_gradient(machine, rows, columns, 1)
    for text in ("gelu", "relu"):
        t.test_activate(machine, text)
        t.test_chain(machine, text)
    t.test_loss_sums(machine, 1000, True)
    for text in t.OPTIMIZERS:
        t.test_update(machine, text, {"l2": t.L2(0.2), "clip_norm": 0.3}, 0)
from tests.cuda_stand_in_backend import CudaOnCpuBackend
from tests.problems import problem
from tests.test_program import FULL, trained
trained(CudaOnCpuBackend(), problem("softmax_cross_entropy", "adam", "silu", hidden=(33, 7), **FULL))
print("all is well")
"""
    result = sanitized(tmp_path, code)
    assert (result.returncode, result.stdout) == (0, "all is well\n"), result.stderr[-2000:]


@needs_compiler
@pytest.mark.parametrize("fault", ["out[8] = 1;", "room[threadIdx.x + 1] = 1; out[0] = room[0];"])
def test_the_address_sanitizer_finds_what_lies_beyond(tmp_path, fault):
    text = f'extern "C" __global__ void beyond(REAL* out) {{ __shared__ REAL room[8]; room[0] = 1; {fault} }}'
    code = """
import numpy as np
out = np.zeros(8, np.float32)
on_cpu.kernels("float32").launch("beyond", (1, 1), (8, 1), [on_cpu.address(out)])
"""
    result = sanitized(tmp_path, code, text, ["beyond"])
    assert result.returncode != 0
    assert "ERROR: AddressSanitizer" in result.stderr or "out of bounds" in result.stderr, result.stderr
