"""The reference on CuPy, on an NVIDIA GPU."""

import importlib
import importlib.util
from typing import Any

import numpy as np

from nnaccel.arrays import Array
from nnaccel.backends import Backend

_INSTALL = "pip install 'nnaccel[cuda13]' (CUDA 13, driver 580 or newer) or 'nnaccel[cuda12]' (CUDA 12)"


class CudaBackend(Backend):
    """CuPy, on the current CUDA device."""

    name = "cuda"

    def __init__(self) -> None:
        super().__init__()
        self._cupy: Any = importlib.import_module("cupy")
        self.xp = importlib.import_module("array_api_compat.cupy")

    @classmethod
    def unavailable_reason(cls) -> str | None:
        if importlib.util.find_spec("cupy") is None:
            return f"CuPy is not installed; {_INSTALL}."
        try:
            runtime = importlib.import_module("cupy").cuda.runtime
            if runtime.driverGetVersion() == 0:
                return "there is no NVIDIA driver; install one from nvidia.com/drivers, or take --backend cpu."
            if runtime.getDeviceCount() == 0:
                return "the driver sees no GPU; check nvidia-smi and CUDA_VISIBLE_DEVICES, or take --backend cpu."
        except (ImportError, RuntimeError, OSError) as error:
            problem = str(error).strip().splitlines()[0].rstrip(".")
            return f"CuPy finds no usable CUDA device ({problem}); check nvidia-smi, or {_INSTALL}."
        return None

    @property
    def device(self) -> str:
        properties = self._cupy.cuda.runtime.getDeviceProperties(self._cupy.cuda.Device().id)
        return f"{properties['name'].decode()}, CuPy {self._cupy.__version__}"

    def from_host(self, array: np.ndarray) -> Array:
        return self._cupy.asarray(array)

    def to_host(self, array: Array) -> np.ndarray:
        host: np.ndarray = self._cupy.asnumpy(array)
        return host

    def synchronize(self) -> None:
        self._cupy.cuda.get_current_stream().synchronize()
