"""Two backends that only tests need: one that forgives nothing, one whose arrays can't be written to."""

import array_api_strict
import numpy as np

from nnaccel.backends import Backend
from nnaccel.backends.cpu import CpuBackend


class StrictBackend(Backend):
    """array-api-strict: it knows no more than the standard, and its second device refuses to be taken for NumPy."""

    name = "strict"
    xp = array_api_strict
    _DEVICE = array_api_strict.Device("device1")

    @classmethod
    def unavailable_reason(cls):
        return None

    @property
    def device(self):
        return "array-api-strict's second device"

    def from_host(self, array):
        assert isinstance(array, np.ndarray)
        return self.xp.asarray(array, device=self._DEVICE, copy=True)

    def to_host(self, array):
        assert array.device == self._DEVICE
        return np.array(array.to_device(self.xp.Device("CPU_DEVICE")))

    def synchronize(self):
        pass


class ReadOnlyBackend(CpuBackend):
    """NumPy, where whatever comes from the host or goes there can't be written to."""

    name = "read_only"

    def from_host(self, array):
        return read_only(array)

    def to_host(self, array):
        return read_only(array)


def read_only(array):
    """A view that can't be written to."""
    view = array.view()
    view.flags.writeable = False
    return view
