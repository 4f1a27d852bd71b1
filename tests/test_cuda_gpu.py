"""What only a GPU can tell: `pytest -m cuda` runs this, every kernel of `test_cuda_kernels.py`, and all that every backend promises."""

from itertools import pairwise

import numpy as np
import pytest

from nnaccel.backends import backend_class, get_backend
from nnaccel.backends.cuda import gpu_of
from nnaccel.gpu.products import BIAS, BIAS_GRADIENT, forward_product, input_product, weight_product
from tests.problems import assert_same_state, epochs, problem, steps_of
from tests.test_program import FULL, trained
from tests.tolerance import assert_product_close, assert_within, tolerance

pytestmark = pytest.mark.cuda
DTYPES = ("float32", "float64")
SHAPES = [(1, 1, 1), (6, 5, 3), (64, 20, 64), (128, 784, 10), (200, 33, 1), (512, 784, 1024)]


@pytest.fixture(scope="module")
def cuda():
    reason = backend_class("cuda").unavailable_reason()
    if reason is not None:
        pytest.skip(reason)
    return get_backend("cuda")


@pytest.fixture(scope="module")
def gpu(cuda):
    return gpu_of(cuda)


def multiplied(gpu, product, a, b, d, vector):
    """A product on the device; its result, and the vector that it wrote or read."""
    queue = gpu.queue(product.dtype)
    with queue.working():
        memory = [queue.allocate(array.nbytes) for array in (a, b, d, vector)]
        for room, array in zip(memory, (a, b, d, vector), strict=True):
            queue.upload(room.ptr, array)
        workspace = queue.allocate(gpu.products.workspace_bytes)
        prepared = gpu.products.prepare(product, memory[3].ptr if product.extra else 0)
        if prepared is None:
            pytest.skip(f"{gpu.products.name} doesn't bring {product.extra or 'anything'} along in {product.dtype}")
        queue.multiply(prepared, *(room.ptr for room in memory[:3]), False, workspace.ptr)
        return queue.download(memory[2].ptr, np.empty_like(d)), queue.download(memory[3].ptr, np.empty_like(vector))


def arrays(rows, inputs, outputs, dtype):
    random = np.random.default_rng(0)
    return [
        random.normal(size=shape).astype(dtype)
        for shape in ((rows, inputs), (inputs, outputs), (rows, outputs), (outputs,))
    ]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("extra", ["", BIAS])
def test_forward_products(gpu, shape, dtype, extra):
    """In float32 they must be that, and not TF32."""
    x, w, y, bias = arrays(*shape, dtype)
    got, _ = multiplied(gpu, forward_product(*shape, dtype, extra), w, x, y, bias)
    assert_product_close(got, x, w, bias if extra else 0.0)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("extra", ["", BIAS_GRADIENT])
def test_products_of_gradients(gpu, shape, dtype, extra):
    x, w, deltas, bias = arrays(*shape, dtype)
    got, gradient = multiplied(gpu, weight_product(*shape, dtype, extra), deltas, x, w, bias)
    assert_product_close(got, np.ascontiguousarray(x.T), deltas)
    if extra:
        total = deltas.astype(np.float64).sum(axis=0)
        assert_within(gradient, total, tolerance(np.abs(deltas).sum(axis=0), shape[0], dtype))
    got, _ = multiplied(gpu, input_product(*shape, dtype), w, deltas, x, bias)
    assert_product_close(got, deltas, np.ascontiguousarray(w.T))


def test_steps_are_replayed_as_graphs(gpu, cuda):
    assert gpu.obstacle == ""
    program = cuda.compile(problem().plan)
    assert program.kernel == "graph", program.reason


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("options", [{}, {"hidden": (129, 65), "optimizer": "adam", **FULL}], ids=["plain", "full"])
def test_graphs_and_launches_leave_the_same_bits(cuda, dtype, options):
    p = problem(rows=23 * 70, dtype=dtype, **options)
    order, bounds = epochs(len(p.rows.x), 23, 3)
    steps = steps_of(p.plan, len(bounds) - 1)
    replayed, launched, single = (p.start(cuda) for _ in range(3))
    launched._captures = False
    log = replayed.train(order, bounds, steps)
    np.testing.assert_array_equal(launched.train(order, bounds, steps), log)
    logs = [single.train(order, bounds[i : i + 2], steps[i : i + 1]) for i, _ in enumerate(pairwise(bounds))]
    np.testing.assert_array_equal(np.concatenate(logs), log)
    for run in (launched, single):
        assert_same_state(run.state(), replayed.state())


def test_two_trainings_are_the_same_to_the_bit(cuda):
    p = problem(rows=500, hidden=(300, 100), optimizer="adam", dtype="float32", **FULL)
    first, second = (trained(cuda, p, batch_size=100) for _ in range(2))
    np.testing.assert_array_equal(first[0], second[0])
    assert_same_state(first[1], second[1])


def test_masks_are_those_of_the_cpu(cuda):
    p, everything = problem(rows=300, hidden=(40, 33), dropout=0.5), np.arange(300, dtype=np.int32)
    got, want = (p.start(backend).gradient(everything, 1.0) for backend in (cuda, get_backend("cpu")))
    assert_within(got.gradient, want.gradient, tolerance(300 + np.abs(want.gradient), 300 * 40, np.float64))


def test_no_run_leaves_memory_behind(cuda, gpu):
    p = problem(rows=1000, features=1000)
    p.start(cuda).close()
    before = gpu.free_bytes()
    for _ in range(5):
        p.start(cuda).close()
    assert gpu.free_bytes() >= before - (1 << 20)
