"""What the cuda backend says where it can't run, and how a device is chosen."""

import importlib
from types import SimpleNamespace

import pytest

from nnaccel.backends import backend_class, get_backend
from nnaccel.backends import cuda as cuda_module
from nnaccel.backends.cuda import CudaBackend
from nnaccel.errors import BackendUnavailable, InputError
from tests.test_program import problem


def with_cupy(monkeypatch, driver=13000, needed=13020, devices=1):
    """Let CuPy be installed, with a runtime that finds such a driver and so many devices."""

    def count():
        if isinstance(devices, Exception):
            raise devices
        return devices

    runtime = SimpleNamespace(
        driverGetVersion=lambda: driver, runtimeGetVersion=lambda: needed, getDeviceCount=count,
        getDeviceProperties=lambda ordinal: {"name": f"GPU {ordinal}".encode()},
    )  # fmt: skip
    cupy = SimpleNamespace(cuda=SimpleNamespace(runtime=runtime), __version__="14.2.0")
    found = {"cupy": cupy, "array_api_compat.cupy": SimpleNamespace()}
    monkeypatch.setattr(cuda_module.importlib.util, "find_spec", lambda name: object())
    real = importlib.import_module
    monkeypatch.setattr(cuda_module.importlib, "import_module", lambda name: found.get(name) or real(name))


def test_no_cupy(monkeypatch):
    monkeypatch.setattr(cuda_module.importlib.util, "find_spec", lambda name: None)
    reason = CudaBackend.unavailable_reason()
    assert reason.startswith("CuPy is not installed; pip install 'nnaccel[cuda13]'")
    with pytest.raises(BackendUnavailable, match="backend cuda can't run here: CuPy is not installed"):
        CudaBackend()


def test_no_driver(monkeypatch):
    with_cupy(monkeypatch, driver=0)
    assert CudaBackend.unavailable_reason().startswith("there is no NVIDIA driver; install one (apt install")


def test_a_driver_too_old_for_this_cupy(monkeypatch):
    with_cupy(monkeypatch, driver=12040)
    assert CudaBackend.unavailable_reason() == (
        "the driver is for CUDA 12.4, this CuPy for 13.2; pip uninstall cupy-cuda13x and pip install 'nnaccel[cuda12]', or "
        "update the driver."
    )


def test_a_driver_of_the_same_generation_will_do(monkeypatch):
    with_cupy(monkeypatch, driver=13000, needed=13020)
    assert CudaBackend.unavailable_reason() is None


@pytest.mark.parametrize("devices", [0, RuntimeError("cudaErrorNoDevice: no CUDA-capable device is detected")])
def test_no_device(monkeypatch, devices):
    with_cupy(monkeypatch, devices=devices)
    reason = CudaBackend.unavailable_reason()
    assert "GPU" in reason
    assert "run nvidia-smi and look at CUDA_VISIBLE_DEVICES, or take --backend numba." in reason


def test_a_cupy_that_is_broken(monkeypatch):
    monkeypatch.setattr(cuda_module.importlib.util, "find_spec", lambda name: object())

    def broken(name):
        raise ImportError("libcudart.so.13: cannot open shared object file\nand so on")

    monkeypatch.setattr(cuda_module.importlib, "import_module", broken)
    reason = CudaBackend.unavailable_reason()
    assert reason.startswith("CuPy can't be used (libcudart.so.13: cannot open shared object file); pip install")


@pytest.mark.parametrize("driver", [0, 12040, 13000])
def test_every_reason_is_one_sentence(monkeypatch, driver):
    with_cupy(monkeypatch, driver=driver, devices=0)
    reason = CudaBackend.unavailable_reason()
    assert reason.endswith(".")
    assert "\n" not in reason


def test_the_number_of_a_device_chooses_it(monkeypatch):
    with_cupy(monkeypatch, devices=2)
    monkeypatch.setattr("nnaccel.backends._instances", {})
    second = get_backend("cuda:1")
    assert second.device == "GPU 1, CuPy 14.2.0"
    assert second is get_backend("cuda:1") is not get_backend("cuda")
    with pytest.raises(BackendUnavailable, match="there is no device 2, but 2 devices; cuda:0 is the first"):
        get_backend("cuda:2")


def test_the_class_of_a_device_is_that_of_the_backend():
    assert backend_class("cuda:1") is backend_class("cuda")


@pytest.mark.parametrize("name", ["numba:1", "cuda:", "cuda:x", "cuda:-1"])
def test_what_is_no_device_is_refused(name):
    with pytest.raises(InputError, match=f"unknown device '{name}'; a device is chosen as in cuda:1"):
        get_backend(name)


def test_a_plan_of_a_users_own_parts_goes_to_the_reference(monkeypatch):
    with_cupy(monkeypatch)
    made = []
    monkeypatch.setattr(cuda_module, "is_known", lambda plan: False)
    monkeypatch.setattr(backend_class("cuda").__mro__[1], "make_program", lambda self, plan: made.append(plan))
    CudaBackend().make_program(problem().plan)
    assert made == [problem().plan]
