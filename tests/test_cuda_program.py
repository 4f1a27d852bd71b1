"""The GPU's program without a GPU: what it asks of CuPy and cublasLt, how often, and what it does where they can't.

That it computes what the reference computes, `tests/test_program.py` says, where it is one of the backends.
"""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

import nnaccel.gpu.memory
import nnaccel.gpu.program
from nnaccel.backends import get_backend
from nnaccel.errors import InputError
from nnaccel.gpu.cublaslt import CublasError, CublasLt
from nnaccel.gpu.device import Gpu
from nnaccel.gpu.memory import part_rows, rows_for_kernels
from nnaccel.gpu.program import STEPS_OF_A_GRAPH, CudaProgram, CudaRun, choose_kernel, rows_bytes
from nnaccel.optimizers import L2
from nnaccel.program import Rows
from tests import cuda_on_cpu
from tests.cuda_stand_in_backend import CudaOnCpuBackend
from tests.cupy_stand_in import CupyStandIn
from tests.problems import assert_same_state, epochs, problem, steps_of
from tests.test_program import FULL, assert_trains_like_the_reference, trained
from tests.tolerance import assert_within, tolerance

pytestmark = pytest.mark.skipif(cuda_on_cpu.compiler() is None, reason="no C++ compiler; apt-get install g++")

BIAS, BIAS_GRADIENT = 4, 256
"""The numbers of cublasLt's epilogues."""


def without_cublaslt(cupy):
    """A device on which cublasLt is missing."""

    def missing():
        raise CublasError("cublasLt can't be loaded (no such file)")

    return Gpu(cupy, 0, missing)


def started(p, **options):
    """A run, and the stand-in of CuPy that it works on."""
    backend = CudaOnCpuBackend(**options)
    return p.start(backend), backend.cupy


# --- how often it asks ---


def test_a_slice_costs_one_copy_each_way_and_a_launch_for_many_steps():
    p = problem(rows=6 * STEPS_OF_A_GRAPH)
    run, cupy = started(p)
    order, bounds = epochs(len(p.rows.x), 6, 3)
    steps = steps_of(p.plan, len(bounds) - 1)
    run.train(order, bounds, steps)
    cupy.counts.clear()
    run.train(order, bounds, steps)
    assert cupy.counts == {"to device": 1, "to host": 1, "graph": 3}


def test_the_first_step_of_a_length_is_launched_and_the_others_replayed():
    p = problem(rows=23)
    run, cupy = started(p)
    order, bounds = epochs(23, 6, 2)  # 6 6 6 5, twice
    cupy.counts.clear()
    run.train(order, bounds, steps_of(p.plan, 8))
    assert cupy.counts["graph"] == 6
    assert cupy.counts["capture"] == 2
    assert cupy.counts["kernel"] == 2 * len([o for o in run._step(6) if hasattr(o, "kernel")])


def test_a_captured_step_holds_what_a_launched_one_does():
    p = problem(**FULL, optimizer="adam")
    results = []
    for refuses in ((), ("product",)):
        backend = CudaOnCpuBackend(refuses=refuses)
        assert backend.compile(p.plan).kernel == ("launches" if refuses else "graph")
        results.append(trained(backend, p))
    np.testing.assert_array_equal(results[0][0], results[1][0])
    assert_same_state(results[0][1], results[1][1])


def test_nothing_is_allocated_by_training_an_epoch():
    p = problem(rows=200, **FULL)
    backend = CudaOnCpuBackend()
    run = backend.compile(p.plan).start(p.state, p.rows, batch_size=20)
    backend.cupy.counts.clear()
    order, bounds = epochs(200, 20, 1)
    run.train(order, bounds, steps_of(p.plan, 10))
    assert "allocation" not in backend.cupy.counts


def test_longer_calls_and_longer_batches_find_more_room():
    p = problem(rows=40, **FULL)
    run, cupy = started(p)
    other, _ = started(p)
    for batch_size, count in ((3, 1), (40, 2), (7, 20)):
        order, bounds = epochs(40, batch_size, count)
        steps = steps_of(p.plan, len(bounds) - 1)
        np.testing.assert_array_equal(run.train(order, bounds, steps), other.train(order, bounds, steps))
    assert cupy.intact()
    assert run.state().count == 14 + 2 + 120


def test_many_lengths_do_not_pile_up():
    p = problem(rows=30)
    run, _ = started(p)
    for rows in range(1, 31):
        run.train(np.arange(rows, dtype=np.int32), np.array([0, rows], np.int32), steps_of(p.plan, 1))
    assert len(run._steps) <= nnaccel.gpu.program.MOST_LENGTHS


# --- what it computes ---


@pytest.mark.parametrize("order", cuda_on_cpu.ORDERS)
def test_no_bit_depends_on_the_order_of_threads(order):
    p = problem(optimizer="adam", hidden=(33, 7), **FULL, dtype="float32")
    want, got = (trained(CudaOnCpuBackend(order=name), p) for name in ("forward", order))
    np.testing.assert_array_equal(got[0], want[0])
    assert_same_state(got[1], want[1])


@pytest.mark.parametrize("unsupported", [{BIAS}, {BIAS_GRADIENT}, {BIAS, BIAS_GRADIENT}], ids=str)
@pytest.mark.parametrize("activation", ["relu", "gelu", "identity"])
def test_kernels_do_what_products_cannot_bring_along(unsupported, activation):
    assert_trains_like_the_reference(CudaOnCpuBackend(unsupported=unsupported), activation=activation, **FULL)


def test_without_cublaslt_the_same_kernels_are_launched():
    backend = CudaOnCpuBackend()
    backend.gpu = without_cublaslt(backend.cupy)
    backend.cupy.counts.clear()
    program = backend.compile(problem().plan)
    assert program.kernel == "launches"
    assert program.reason == "kernel by kernel, since cublasLt can't be loaded (no such file)"
    assert_trains_like_the_reference(backend, **FULL)
    assert backend.cupy.counts["graph"] == 0


@pytest.mark.parametrize("options", [{}, FULL], ids=["plain", "full"])
def test_long_batches_go_in_parts(options, monkeypatch):
    monkeypatch.setattr(nnaccel.gpu.memory, "ACTIVATION_BYTES", 1)
    monkeypatch.setattr(nnaccel.gpu.memory, "LEAST_PART", 4)
    backend = CudaOnCpuBackend()
    assert part_rows(problem().plan) == 4
    assert_trains_like_the_reference(backend, **options)
    p = problem(**options)
    everything = np.arange(23, dtype=np.int32)
    got, want = (run.gradient(everything, 1.0, 3) for run in (p.start(backend), p.start(get_backend("cpu"))))
    for a, b in zip(got, want, strict=True):
        assert_within(a, b, tolerance(want.weight + np.abs(b), 23 * 7, np.float64))
    assert backend.cupy.intact()


def test_evaluation_and_prediction_in_parts(monkeypatch):
    monkeypatch.setattr(nnaccel.gpu.program, "EVALUATED_ROWS", 5)
    p, everything = problem(weighted=True, activation="silu"), np.arange(23, dtype=np.int32)
    run, cupy = started(p)
    want = p.start(get_backend("cpu"))
    assert_within(run.evaluate(everything), want.evaluate(everything), tolerance(100, 23 * 7, np.float64))
    assert_within(run.predict(p.rows.x), want.predict(p.rows.x), tolerance(10, 40, np.float64))
    assert cupy.intact()


def test_evaluation_does_not_depend_on_the_batch_size():
    p, everything = problem(rows=100, dtype="float32"), np.arange(100, dtype=np.int32)
    program = CudaOnCpuBackend().compile(p.plan)
    small, large = (program.start(p.state, p.rows, batch_size=size) for size in (2, 90))
    assert small.evaluate(everything) == large.evaluate(everything)


def test_new_rows_may_lie_on_the_device():
    p = problem()
    run, _ = started(p)
    x = p.rows.x.astype(np.float64)
    on_device = SimpleNamespace(
        shape=x.shape, dtype=x.dtype, strides=x.strides, data=SimpleNamespace(ptr=x.ctypes.data), host=x
    )
    cupy = run._queue._cupy
    cupy.ascontiguousarray = lambda array: array
    cupy.counts.clear()
    np.testing.assert_array_equal(run.predict(on_device), run.predict(x))
    assert cupy.counts["to device"] == 1 + 2


def test_blocks_of_data_of_one_size_keep_the_graphs():
    p = problem(rows=24)
    run, cupy = started(p)
    order, bounds = epochs(24, 6, 1)
    run.train(order, bounds, steps_of(p.plan, 4))
    cupy.counts.clear()
    run.replace(Rows(p.rows.x[::-1], p.rows.targets[::-1]))
    run.train(order, bounds, steps_of(p.plan, 4))
    assert (cupy.counts["capture"], cupy.counts["graph"], cupy.counts["allocation"]) == (0, 4, 0)


@pytest.mark.parametrize("dtype", ["float32", "uint8", "int64", "bool", "float16"])
def test_data_lies_on_the_device_in_its_own_dtype(dtype):
    p = problem(rows=40, features=30)
    x = (p.rows.x > 0).astype(dtype)
    run, _ = started(p._replace(rows=p.rows._replace(x=x)))
    itemsize = 4 if dtype == "float16" else x.itemsize
    assert run._sizes["x"] == rows_bytes(x) == rows_for_kernels(x).nbytes == x.size * itemsize


def test_float32_data_is_not_copied_on_the_host():
    x = problem().rows.x
    assert np.shares_memory(rows_for_kernels(x), x)


def test_a_restored_state_mends_a_diverged_training():
    p = problem("poisson", "adam,learning_rate=1e30", dtype="float32", clip_norm=1.0, l2=L2(0.1))
    run, _ = started(p)
    order, bounds = epochs(23, 6, 5)
    steps = steps_of(p.plan, len(bounds) - 1)
    first = run.train(order, bounds, steps)
    run.restore(p.state)
    np.testing.assert_array_equal(run.train(order, bounds, steps), first)


def test_a_state_with_other_slots_is_refused():
    run, _ = started(problem(optimizer="adam"))
    with pytest.raises(InputError, match="a state of 0 slots for 2"):
        run.restore(problem().state)


# --- what it does where something is missing ---


def test_the_choice_of_a_kernel_has_its_reason():
    assert choose_kernel("") == ("graph", "graphs of 64 steps and of one")
    assert choose_kernel("it rains") == ("launches", "kernel by kernel, since it rains")


def test_a_trial_capture_that_fails_says_why():
    gpu = CudaOnCpuBackend(refuses={"chain"}).gpu
    assert gpu.obstacle == "a trial capture failed (operation not permitted when stream is capturing)"


def test_a_capture_that_fails_later_is_told_once_and_changes_nothing():
    p = problem(**FULL)
    want = trained(CudaOnCpuBackend(), p)
    backend = CudaOnCpuBackend(refuses={"update"})
    program = backend.compile(p.plan)
    assert program.kernel == "graph"
    run = program.start(p.state, p.rows)
    order, bounds = epochs(23, 6, 5)
    steps = steps_of(p.plan, len(bounds) - 1)
    with pytest.warns(UserWarning, match="kernel by kernel, since a graph failed: operation not permitted") as caught:
        log = run.train(order, bounds, steps)
    assert len(caught) == 1
    np.testing.assert_array_equal(log, want[0])
    assert_same_state(run.state(), want[1])


def test_a_training_that_does_not_fit_is_refused_before_anything_is_allocated():
    p = problem(rows=1000)
    backend = CudaOnCpuBackend()
    backend.gpu = Gpu(backend.cupy, 0, lambda: CublasLt(backend.cupy.library))  # with all the room that it wants
    program = backend.compile(p.plan)
    backend.cupy.free = 1 << 20
    backend.cupy.counts.clear()
    with pytest.raises(
        InputError, match=r"this training would take 0\.03 GB of GPU memory, and 0\.00 GB are free: .*cuda:1"
    ):
        program.start(p.state, p.rows)
    assert backend.cupy.counts["allocation"] == 0


def test_the_need_that_is_computed_is_what_is_taken():
    p = problem(rows=1000, optimizer="adam", **FULL)
    backend = CudaOnCpuBackend()
    program, needs = backend.compile(p.plan), []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(nnaccel.gpu.program, "check_memory", lambda need, free, what: needs.append(need))
        run = program.start(p.state, p.rows, batch_size=50)
    assert needs[0] == sum(run._sizes.values())


def test_more_rows_than_fit_are_refused_and_the_run_goes_on():
    p = problem(rows=20)
    run, cupy = started(p)
    cupy.free = 1000
    many = Rows(np.zeros((10_000, 5)), np.zeros((10_000, 3)))
    with pytest.raises(InputError, match="the x of this training would take"):
        run.replace(many)
    assert run.evaluate(np.arange(20, dtype=np.int32))[1] == 20


def test_a_closed_run_holds_no_memory():
    run, _ = started(problem())
    run.close()
    assert not run._memory
    assert not run._graphs


def test_programs_and_runs_are_what_they_promise():
    backend = CudaOnCpuBackend()
    program = backend.compile(problem().plan)
    assert isinstance(program, CudaProgram)
    assert isinstance(problem().start(backend), CudaRun)


def test_importing_the_gpu_modules_loads_neither_cupy_nor_numba():
    code = "import nnaccel.gpu.program, sys; print(sorted({'cupy', 'numba', 'cuda'} & set(sys.modules)))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def test_the_stand_in_is_as_strict_as_cupy():
    cupy = CupyStandIn()
    kernel = cupy.RawModule(code=nnaccel.gpu.device.source(), options=("-DREAL=float",)).get_function("chain")
    with pytest.raises(AssertionError, match="chain"):
        kernel((1, 1), (256, 1), (1, 0.0, np.uint64(0), np.uint64(0), np.int64(0)))
    memory = cupy.cuda.alloc(10)
    assert cupy.intact()
    memory.room[memory.start + 10] = 1
    assert not cupy.intact()
