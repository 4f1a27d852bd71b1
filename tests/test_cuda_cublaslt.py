"""cublasLt through ctypes: the real library, as far as it goes without a device, and products by one that computes with NumPy."""

import ctypes
import gc

import numpy as np
import pytest

from nnaccel.gpu import cublaslt
from nnaccel.gpu.cublaslt import CublasError, CublasLt, PreparedProduct, load
from nnaccel.gpu.products import BIAS, BIAS_GRADIENT, forward_product, input_product, weight_product
from tests.cublaslt_stand_in import CublasLtStandIn
from tests.tolerance import assert_product_close, assert_within, tolerance

DTYPES = ("float32", "float64")
ROWS, INPUTS, OUTPUTS = 6, 5, 3


@pytest.fixture(scope="module")
def library():
    try:
        return load()
    except CublasError as error:
        pytest.skip(f"{error}; pip install nvidia-cublas")


def aligned(array, dtype):
    """A copy at a multiple of 256 bytes."""
    array = np.asarray(array, dtype)
    room = np.zeros(array.nbytes + 256, np.uint8)
    start = -room.ctypes.data % 256
    copy = room[start : start + array.nbytes].view(dtype).reshape(array.shape)
    copy[...] = array
    return copy


def multiplied(products, product, a, b, d, vector=None, more=False):
    """Compute one product of arrays, in place."""
    workspace = aligned(np.zeros(1024), np.uint8)
    prepared = products.prepare(product, 0 if vector is None else vector.ctypes.data)
    products.multiply(prepared, *(array.ctypes.data for array in (a, b, d)), more, workspace.ctypes.data, 0)


# --- the algebra ---


@pytest.fixture(params=DTYPES)
def dtype(request):
    return request.param


def matrices(dtype):
    random = np.random.default_rng(0)
    shapes = ((ROWS, INPUTS), (INPUTS, OUTPUTS), (ROWS, OUTPUTS), (OUTPUTS,))
    return [aligned(random.normal(size=shape), dtype) for shape in shapes]


@pytest.mark.parametrize("extra", ["", BIAS])
def test_forward(dtype, extra):
    x, w, y, bias = matrices(dtype)
    multiplied(CublasLt(CublasLtStandIn()), forward_product(ROWS, INPUTS, OUTPUTS, dtype, extra), w, x, y, bias)
    assert_product_close(y, x, w, bias if extra else 0.0)


@pytest.mark.parametrize("more", [False, True])
@pytest.mark.parametrize("extra", ["", BIAS_GRADIENT])
def test_gradient_of_weights(dtype, extra, more):
    x, w, deltas, bias = matrices(dtype)
    before, gradient = w.copy(), bias.copy()
    product = weight_product(ROWS, INPUTS, OUTPUTS, dtype, extra)
    multiplied(CublasLt(CublasLtStandIn()), product, deltas, x, w, gradient, more)
    assert_product_close(w, x.T, deltas, before if more else 0.0)
    want = deltas.astype(np.float64).sum(axis=0) if extra else bias
    assert_within(gradient, want, tolerance(np.abs(deltas).sum(axis=0), ROWS, dtype))


def test_gradient_of_inputs(dtype):
    x, w, deltas, _ = matrices(dtype)
    multiplied(CublasLt(CublasLtStandIn()), input_product(ROWS, INPUTS, OUTPUTS, dtype), w, deltas, x)
    assert_product_close(x, deltas, w.T)


def test_an_extra_that_is_not_supported_is_told():
    products = CublasLt(CublasLtStandIn(unsupported={4}))
    assert products.prepare(forward_product(ROWS, INPUTS, OUTPUTS, "float32", BIAS), 64) is None
    assert products.prepare(forward_product(ROWS, INPUTS, OUTPUTS, "float32"), 0) is not None


def test_what_is_created_is_destroyed():
    library = CublasLtStandIn()
    products = CublasLt(library)
    prepared = products.prepare(forward_product(1, 1, 1, "float32"), 0)
    assert library.living > 2
    del prepared, products
    gc.collect()
    assert library.living == 0


def test_a_status_that_is_no_success_is_an_error():
    library = CublasLtStandIn()
    products = CublasLt(library)
    library.cublasLtMatmulAlgoGetHeuristic = lambda *arguments: 7
    with pytest.raises(CublasError, match="cublasLt: status 7"):
        products.prepare(forward_product(1, 1, 1, "float32"), 0)


def test_a_library_that_is_missing_is_told(monkeypatch):
    def missing(name):
        raise ImportError(f"No module named {name!r}\nand more")

    monkeypatch.setattr(cublaslt.importlib, "import_module", missing)
    with pytest.raises(CublasError, match=r"cublasLt can't be loaded \(No module named 'cuda.pathfinder'\)"):
        load()


# --- the real library ---


def test_the_library_has_a_version_that_we_know(library):
    assert library.cublasLtGetVersion() >= 120000


def test_it_names_its_errors(library):
    assert library.cublasLtGetStatusString(cublaslt.NOT_SUPPORTED)
    with pytest.raises(CublasError, match="cublasLt: "):
        cublaslt.checked(library, 7)


def test_without_a_device_there_is_no_handle(library):
    if library.cublasLtCreate(ctypes.byref(ctypes.c_void_p())) == 0:
        pytest.skip("there is a device")
    with pytest.raises(CublasError, match=r"cublasLt: .+"):
        CublasLt(library)


@pytest.mark.parametrize("extra", ["", BIAS, BIAS_GRADIENT])
def test_it_takes_our_products(library, dtype, extra):
    """It refuses attributes that it doesn't know, or whose size is another."""
    prepared = PreparedProduct(library, weight_product(ROWS, INPUTS, OUTPUTS, dtype, extra), 4096)
    wanted = {
        cublaslt.TRANSPOSE_A: ctypes.c_int32(0),
        cublaslt.TRANSPOSE_B: ctypes.c_int32(1),
        cublaslt.EPILOGUE: ctypes.c_uint32({"": 1, BIAS: 4, BIAS_GRADIENT: 256}[extra]),
        cublaslt.BIAS_POINTER: ctypes.c_uint64(4096 if extra else 0),
        0: ctypes.c_int32({"float32": 68, "float64": 70}[dtype]),  # the type to compute in
        1: ctypes.c_int32({"float32": 0, "float64": 1}[dtype]),  # the type of alpha and beta
    }
    for attribute, value in wanted.items():
        got, written = type(value)(), ctypes.c_size_t()
        cublaslt.checked(
            library,
            library.cublasLtMatmulDescGetAttribute(
                prepared.description, attribute, ctypes.byref(got), ctypes.sizeof(got), ctypes.byref(written)
            ),
        )
        assert (got.value, written.value) == (value.value, ctypes.sizeof(value))


@pytest.mark.parametrize("attribute", [cublaslt.MOST_WORKSPACE, *cublaslt.ALIGNMENTS])
def test_it_takes_our_preferences(library, attribute):
    class Owner:
        pass

    owner = Owner()
    preference = cublaslt.created(owner, library, "cublasLtMatmulPreference")
    right, wrong = (
        (ctypes.c_uint64, ctypes.c_uint32)
        if attribute == cublaslt.MOST_WORKSPACE
        else (ctypes.c_uint32, ctypes.c_uint64)
    )
    for kind, status in ((right(256), 0), (wrong(256), 7)):
        function = library.cublasLtMatmulPreferenceSetAttribute
        assert function(preference, attribute, ctypes.byref(kind), ctypes.sizeof(kind)) == status


def test_the_size_of_its_answer():
    """That of the header's struct, whose members are laid out as C does."""
    assert ctypes.sizeof(cublaslt.Heuristic) == 64 + 8 + 4 + 4 + 16
