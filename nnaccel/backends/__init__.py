"""Backends: one file, one backend, found by its file name.

`cpu.py` holds the class `CpuBackend`, and so on. To add a backend, add a file; nothing else changes.
"""

import importlib
import os
import pkgutil
import threading
import weakref
from abc import ABC, abstractmethod
from typing import ClassVar, NamedTuple

import numpy as np

from nnaccel.arrays import Array, Namespace
from nnaccel.cost import Workload, epoch_seconds
from nnaccel.errors import BackendUnavailable, InputError
from nnaccel.plan import Plan
from nnaccel.profile import MachineProfile, stored_profile
from nnaccel.program import Program, ReferenceProgram

_MOST_PROGRAMS = 64


class Backend(ABC):
    """An array library on a device, and the programs that run there.

    Creating one is cheap but for the import of its library; `get_backend` creates each at most once.

    Attributes
    ----------
    name : str
        The name of its file.
    xp : namespace
        The array-API namespace of its library.
    has_devices : bool
        Whether it can be created for one of several devices, by its number.

    Raises
    ------
    BackendUnavailable
        If it can't run here.
    """

    name: ClassVar[str]
    xp: Namespace
    has_devices: ClassVar[bool] = False

    def __init__(self) -> None:
        reason = self.unavailable_reason()
        if reason is not None:
            raise BackendUnavailable(f"backend {self.name} can't run here: {reason}")
        self._programs: dict[Plan, Program] = {}
        self._lock = threading.Lock()
        _every_backend.add(self)

    @classmethod
    @abstractmethod
    def unavailable_reason(cls) -> str | None:
        """Why this backend can't run here and what mends it, in one sentence; None if it can."""

    @property
    @abstractmethod
    def device(self) -> str:
        """The device that it runs on, for people to read."""

    @abstractmethod
    def from_host(self, array: np.ndarray) -> Array:
        """The array on the device, in its own dtype."""

    @abstractmethod
    def to_host(self, array: Array) -> np.ndarray:
        """The array on the host, once it is computed."""

    @abstractmethod
    def synchronize(self) -> None:
        """Wait until the device has done all that it was asked to do."""

    def compile(self, plan: Plan) -> Program:
        """Make a plan ready to run. The program is kept, so that the next call with an equal plan costs nothing."""
        with self._lock:
            program = self._programs.pop(plan, None) or self.make_program(plan)
            self._programs[plan] = program
            if len(self._programs) > _MOST_PROGRAMS:
                del self._programs[next(iter(self._programs))]
            return program

    def make_program(self, plan: Plan) -> Program:
        """A new program; a backend with fused kernels overrides this and falls back to it."""
        return ReferenceProgram(plan, self)


class Choice(NamedTuple):
    """A backend and why it was taken."""

    backend: Backend
    reason: str


_every_backend: weakref.WeakSet[Backend] = weakref.WeakSet()
_instances: dict[str, Backend] = {}
_instances_lock = threading.Lock()


def _forget() -> None:
    """In a new process nobody will open the locks that its parent's threads held."""
    global _instances_lock
    _instances_lock = threading.Lock()
    for backend in _every_backend:
        backend._lock = threading.Lock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


def backend_names() -> list[str]:
    """The names of all backends, whether or not they can run here.

    Examples
    --------
    >>> "cpu" in backend_names()
    True
    """
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def backend_class(name: str) -> type[Backend]:
    """The class of a backend, which may be asked for its `unavailable_reason`; that of "cuda:1" is that of "cuda".

    Raises
    ------
    InputError
        If there is no backend of this name.
    """
    kind, _, _ = name.partition(":")
    if kind not in backend_names():
        raise InputError(f"unknown backend {name!r}; known: auto, {', '.join(backend_names())}.")
    module = importlib.import_module(f"{__name__}.{kind}")
    found: type[Backend] = getattr(module, f"{kind.capitalize()}Backend")
    return found


def get_backend(name: str) -> Backend:
    """The backend of this name, created at the first call.

    Parameters
    ----------
    name : str
        One of `backend_names()`; "cuda:1" is cuda on its second device.

    Raises
    ------
    InputError
        If there is no backend of this name, or it has no devices to choose from.
    BackendUnavailable
        If it can't run here.

    Examples
    --------
    >>> get_backend("cpu").name
    'cpu'
    """
    with _instances_lock:
        if name not in _instances:
            _instances[name] = _created(name)
        return _instances[name]


def _created(name: str) -> Backend:
    _, colon, ordinal = name.partition(":")
    found = backend_class(name)
    if not colon:
        return found()
    if not (found.has_devices and ordinal.isdecimal()):
        raise InputError(f"unknown device {name!r}; a device is chosen as in cuda:1.")
    return found(int(ordinal))  # type: ignore[call-arg]


def choose_backend(name: str = "auto", workload: Workload | None = None) -> Choice:
    """The backend of this name; for "auto", one that suits, without measuring anything.

    Parameters
    ----------
    name : str
    workload : Workload, optional
        What is to be trained: if this machine has been calibrated, "auto" takes the backend that its profile says is the
        fastest.

    Raises
    ------
    InputError, BackendUnavailable
        As `get_backend`.
    """
    if name != "auto":
        return Choice(get_backend(name), "as asked for")
    return (workload and _fastest(workload)) or _usual()


def fastest_by(profile: MachineProfile, workload: Workload) -> list[str]:
    """The backends that a profile knows for such trainings, the fastest first."""
    return list(_times(profile, workload))


def _times(profile: MachineProfile, workload: Workload) -> dict[str, float]:
    """The seconds of an epoch by backend, the fastest first."""
    names = backend_names()  # looked up once: it reads a folder
    seconds = {name: epoch_seconds(workload, known) for name, known in profile.backends.items() if name in names}
    return dict(sorted(((name, one) for name, one in seconds.items() if one > 0), key=lambda item: item[1]))


def _fastest(workload: Workload) -> Choice | None:
    """The fastest by the profile of this machine, if it has one that knows such trainings."""
    profile = stored_profile()
    if profile is None:
        return None
    times = _times(profile, workload)
    for place, name in enumerate(times):
        if name not in _instances and backend_class(name).unavailable_reason() is not None:
            continue
        others = [f", {other} {times[other]:.2g} s" for other in list(times)[place + 1 :]]
        reason = f"auto: by this machine's profile an epoch takes {times[name]:.2g} s{''.join(others)}"
        return Choice(get_backend(name), reason)
    return None


def _usual() -> Choice:
    """The backend that suits most trainings."""
    missing = None if "numba" in _instances else backend_class("numba").unavailable_reason()
    if missing is None:
        return Choice(get_backend("numba"), "auto: the fastest on a CPU")
    return Choice(get_backend("cpu"), f"auto: numba would be faster, but {missing}")
