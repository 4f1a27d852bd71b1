"""CuPy on an NVIDIA GPU: fused kernels, replayed as graphs, and the reference for the plans that they don't know."""

import importlib
import importlib.util
from typing import Any

import numpy as np

from nnaccel.arrays import Array
from nnaccel.backends import Backend
from nnaccel.errors import BackendUnavailable, counted
from nnaccel.fused import is_known
from nnaccel.gpu.device import Gpu
from nnaccel.gpu.program import CudaProgram
from nnaccel.plan import Plan
from nnaccel.program import Program

_INSTALL = "pip install 'nnaccel[cuda13]' (CUDA 13, driver 580 or newer) or 'nnaccel[cuda12]' (CUDA 12)"
_ELSE = "or take --backend numba"


class CudaBackend(Backend):
    """CuPy, on one CUDA device.

    Parameters
    ----------
    ordinal : int
        Which device, as `nvidia-smi` counts them within CUDA_VISIBLE_DEVICES: `get_backend("cuda:1")` is the second one.
    """

    name = "cuda"
    has_devices = True

    def __init__(self, ordinal: int = 0) -> None:
        super().__init__()
        self._cupy: Any = importlib.import_module("cupy")
        count = self._cupy.cuda.runtime.getDeviceCount()
        if ordinal >= count:
            sentence = f"there is no device {ordinal}, but {counted(count, 'device')}; cuda:0 is the first."
            raise BackendUnavailable(f"backend cuda can't run here: {sentence}")
        self.xp = importlib.import_module("array_api_compat.cupy")
        self._ordinal = ordinal
        self._gpu: Gpu | None = None

    @classmethod
    def unavailable_reason(cls) -> str | None:
        if importlib.util.find_spec("cupy") is None:
            return f"CuPy is not installed; {_INSTALL}, {_ELSE}."
        try:
            return _device_reason(importlib.import_module("cupy").cuda.runtime)
        except (ImportError, RuntimeError, OSError) as error:
            return f"CuPy can't be used ({_first_line(error)}); {_INSTALL}, {_ELSE}."

    @property
    def device(self) -> str:
        properties = self._cupy.cuda.runtime.getDeviceProperties(self._ordinal)
        return f"{properties['name'].decode()}, CuPy {self._cupy.__version__}"

    def from_host(self, array: np.ndarray) -> Array:
        with self._current():
            return self._cupy.asarray(array)

    def to_host(self, array: Array) -> np.ndarray:
        with self._current():
            host: np.ndarray = self._cupy.asnumpy(array)
        return host

    def synchronize(self) -> None:
        with self._current() as device:
            device.synchronize()

    def make_program(self, plan: Plan) -> Program:
        return CudaProgram(plan, gpu_of(self)) if is_known(plan) else super().make_program(plan)

    def _current(self) -> Any:
        return self._cupy.cuda.Device(self._ordinal)


def gpu_of(backend: CudaBackend) -> Gpu:
    """The device of a backend, with the kernels and products that its programs use, made ready at the first call."""
    backend._gpu = backend._gpu or Gpu(backend._cupy, backend._ordinal)
    return backend._gpu


def _device_reason(runtime: Any) -> str | None:
    """Why CuPy, which is installed, finds no device."""
    driver, needed = runtime.driverGetVersion(), runtime.runtimeGetVersion()
    if driver == 0:
        return (
            f"there is no NVIDIA driver; install one (apt install nvidia-driver-580, or nvidia.com/drivers), {_ELSE}."
        )
    if driver // 1000 < needed // 1000:
        other = f"cuda{driver // 1000}"
        remedy = f"pip uninstall cupy-cuda{needed // 1000}x and pip install 'nnaccel[{other}]'"
        return f"the driver is for CUDA {_version(driver)}, this CuPy for {_version(needed)}; {remedy}, or update the driver."
    try:
        count = runtime.getDeviceCount()
    except RuntimeError as error:
        return (
            f"the driver finds no GPU ({_first_line(error)}); run nvidia-smi and look at CUDA_VISIBLE_DEVICES, {_ELSE}."
        )
    if count == 0:
        return f"the driver sees no GPU; run nvidia-smi and look at CUDA_VISIBLE_DEVICES, {_ELSE}."
    return None


def _version(number: int) -> str:
    """A version of CUDA as people write it: 12040 is 12.4."""
    return f"{number // 1000}.{number % 1000 // 10}"


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".") if lines else type(error).__name__
