"""What this machine is: processor, cores, quota, vector units, caches, memory, GPUs.

Read from what the system tells, without measuring anything. What a system doesn't tell is None; nothing here raises.
"""

import contextlib
import ctypes
import functools
import math
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

_GPU_SECONDS = 10.0
"""How long nvidia-smi may take; a driver that isn't loaded yet needs some seconds."""

_SYSTEM_SECONDS = 5.0


@dataclass(frozen=True)
class Gpu:
    """A GPU that the NVIDIA driver lists.

    Attributes
    ----------
    name : str
    memory_bytes : int, optional
        All its memory; None where it has none of its own.
    driver : str
        The version of the driver.
    """

    name: str
    memory_bytes: int | None
    driver: str


@dataclass(frozen=True)
class Caches:
    """The sizes in bytes of the caches that a core sees, be they its own or shared; None where unknown."""

    l1d: int | None = None
    l2: int | None = None
    l3: int | None = None


class Memory(NamedTuple):
    """The memory that this process may have at most, and what of it is free now, in bytes; None where unknown."""

    total: int | None
    available: int | None


@dataclass(frozen=True)
class Machine:
    """A machine, as this process is allowed to use it.

    Attributes
    ----------
    system : str
        "Linux", "Darwin", "Windows", ...
    architecture : str
        "x86_64", "aarch64", "arm64", "AMD64", ...
    processor : str, optional
        The name of its model.
    logical_cores : int
        Hardware threads.
    physical_cores : int, optional
    affinity_cores : int
        The logical cores on which this process may run.
    quota_cores : float, optional
        How many cores' worth of time a container grants; None where it sets no limit.
    instruction_sets : tuple of str
        Those of `INSTRUCTION_SETS` that the processor has and the system enables.
    caches : Caches
    memory_bytes : int, optional
        The memory, or the container's limit where that is less.
    available_memory_bytes : int, optional
        What can be allocated now without swapping, or within the container's limit where that is less.
    gpus : tuple of Gpu
    """

    system: str
    architecture: str
    processor: str | None
    logical_cores: int
    physical_cores: int | None
    affinity_cores: int
    quota_cores: float | None
    instruction_sets: tuple[str, ...]
    caches: Caches
    memory_bytes: int | None
    available_memory_bytes: int | None
    gpus: tuple[Gpu, ...]

    def usable_cores(self) -> int:
        """How many threads this process can keep running at once, at least 1.

        A quota is rounded down: with one thread too many, all of them wait for the one that the system has paused.
        """
        return _usable(self.affinity_cores, self.quota_cores)


@dataclass(frozen=True)
class BlasLibrary:
    """A library of matrix products that is loaded in this process.

    Attributes
    ----------
    name : str
        "openblas", "mkl", ...
    version : str, optional
    architecture : str, optional
        Whose kernels it took: "SkylakeX", "Haswell", ...
    threads : int
        The most that it uses.
    """

    name: str
    version: str | None
    architecture: str | None
    threads: int


INSTRUCTION_SETS = (
    "sse2",
    "avx",
    "avx2",
    "fma",
    "avx512f",
    "avx512bw",
    "avx512vl",
    "avx512_bf16",
    "amx_tile",
    "amx_bf16",
    "neon",
    "bf16",
    "sve",
    "sve2",
)
"""The names, as Linux spells them, of the instruction sets that decide how fast a training runs."""


def read_machine() -> Machine:
    """What this machine is. Takes some milliseconds, and up to some seconds where there are GPUs."""
    source = _source()
    memory = source.memory()
    return Machine(
        system=platform.system(),
        architecture=platform.machine(),
        processor=source.processor(),
        logical_cores=source.logical_cores(),
        physical_cores=source.physical_cores(),
        affinity_cores=source.affinity_cores(),
        quota_cores=source.quota_cores(),
        instruction_sets=tuple(name for name in INSTRUCTION_SETS if name in source.instruction_sets()),
        caches=source.caches(),
        memory_bytes=memory.total,
        available_memory_bytes=memory.available,
        gpus=_read_gpus(),
    )


CORES_SECONDS = 1.0
"""For so long the number of usable cores is believed: to find it out takes as long as a small training."""

_cores, _cores_until = 1, -math.inf


def usable_cores() -> int:
    """`Machine.usable_cores` of this machine, as it was within the last second."""
    global _cores, _cores_until
    if time.monotonic() > _cores_until:
        source = _source()
        _cores, _cores_until = (
            _usable(source.affinity_cores(), source.quota_cores()),
            time.monotonic() + CORES_SECONDS,
        )
    return _cores


def _usable(affinity_cores: int, quota_cores: float | None) -> int:
    return max(1, affinity_cores if quota_cores is None else min(affinity_cores, int(quota_cores)))


def available_memory() -> int:
    """How many bytes can be allocated now, within the machine's memory and the container's limit.

    Returns
    -------
    int
        `sys.maxsize` where the system doesn't tell, so that nothing is refused on a guess.
    """
    available = _source().memory().available
    return sys.maxsize if available is None else available


def blas_libraries() -> list[BlasLibrary]:
    """The BLAS libraries of this process, once NumPy is loaded; empty where they can't be asked, as Apple's can't."""
    import numpy  # noqa: F401  (loads the library that it was built with)
    from threadpoolctl import threadpool_info

    return [
        BlasLibrary(
            name=library["internal_api"],
            version=library.get("version"),
            architecture=library.get("architecture"),
            threads=library["num_threads"],
        )
        for library in threadpool_info()
        if library.get("user_api") == "blas"
    ]


class _System:
    """What Python's standard library tells on any system; below, what single systems tell beyond that."""

    def processor(self) -> str | None:
        return platform.processor() or None

    def logical_cores(self) -> int:
        return os.cpu_count() or 1

    def physical_cores(self) -> int | None:
        return None

    def affinity_cores(self) -> int:
        if hasattr(os, "sched_getaffinity"):
            return len(os.sched_getaffinity(0))
        return self.logical_cores()

    def quota_cores(self) -> float | None:
        return None

    def instruction_sets(self) -> set[str]:
        return _implied_sets(platform.machine())

    def caches(self) -> Caches:
        return Caches()

    def memory(self) -> Memory:
        return Memory(None, None)


class _Files:
    """The text files below a root, those that are absent or can't be read as None."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def text(self, path: str) -> str | None:
        try:
            return (self.root / path).read_text(encoding="utf-8", errors="replace").strip()
        except OSError:
            return None

    def number(self, path: str) -> int | None:
        return _integer(self.text(path))


_CPU = "sys/devices/system/cpu"

_ARM_PARTS = {
    ("0x41", "0xd08"): "Arm Cortex-A72",
    ("0x41", "0xd0b"): "Arm Cortex-A76",
    ("0x41", "0xd0c"): "Arm Neoverse N1",
    ("0x41", "0xd40"): "Arm Neoverse V1",
    ("0x41", "0xd49"): "Arm Neoverse N2",
    ("0x41", "0xd4f"): "Arm Neoverse V2",
    ("0xc0", "0xac3"): "Ampere-1",
}


class _Linux(_System):
    """Linux, from the files of /proc and /sys."""

    def __init__(self, root: Path = Path("/")) -> None:
        self.files = _Files(root)

    def processor(self) -> str | None:
        cpuinfo = self._cpuinfo
        if "model name" in cpuinfo:
            return cpuinfo["model name"]
        implementer, part = cpuinfo.get("CPU implementer"), cpuinfo.get("CPU part")
        if implementer and part:
            return _ARM_PARTS.get((implementer, part), f"Arm, implementer {implementer}, part {part}")
        return super().processor()

    def logical_cores(self) -> int:
        return len(self._online) or super().logical_cores()

    def physical_cores(self) -> int | None:
        siblings = {self.files.text(f"{_CPU}/cpu{cpu}/topology/thread_siblings_list") for cpu in self._online}
        return None if None in siblings or not siblings else len(siblings)

    def affinity_cores(self) -> int:
        status = _pairs(self.files.text("proc/self/status"))
        return len(_cpu_list(status.get("Cpus_allowed_list"))) or super().affinity_cores()

    def quota_cores(self) -> float | None:
        return min((quota for folder in self._groups("cpu") if (quota := self._quota(folder))), default=None)

    def instruction_sets(self) -> set[str]:
        words = (self._cpuinfo.get("flags") or self._cpuinfo.get("Features") or "").split()
        return {"neon" if word == "asimd" else word for word in words}

    def caches(self) -> Caches:
        sizes: dict[tuple[str | None, str | None], int | None] = {}
        for i in range(8):
            folder = f"{_CPU}/cpu0/cache/index{i}"
            key = (self.files.text(f"{folder}/level"), self.files.text(f"{folder}/type"))
            sizes[key] = _size(self.files.text(f"{folder}/size"))
        return Caches(sizes.get(("1", "Data")), sizes.get(("2", "Unified")), sizes.get(("3", "Unified")))

    def memory(self) -> Memory:
        meminfo = _pairs(self.files.text("proc/meminfo"))
        totals = [_size(meminfo.get("MemTotal"))]
        availables = [_size(meminfo.get("MemAvailable") or meminfo.get("MemFree"))]
        for folder in self._groups("memory"):
            limit = self._group_number(folder, "memory.max", "memory.limit_in_bytes")
            # The first version of control groups writes "no limit" as a number near 2**63.
            if limit is not None and limit < (totals[0] or 1 << 62):
                totals.append(limit)
                availables.append(max(0, limit - self._used(folder)))
        return Memory(_least(totals), _least(availables))

    @functools.cached_property
    def _cpuinfo(self) -> dict[str, str]:
        return _pairs(self.files.text("proc/cpuinfo"))

    @functools.cached_property
    def _online(self) -> list[int]:
        return _cpu_list(self.files.text(f"{_CPU}/online"))

    def _groups(self, controller: str) -> Iterator[str]:
        """The folders of this process' control group and of all above it, whose limits hold as well.

        In a container the path of the group often doesn't exist below the mount point, where the container's own limits
        lie: the walk upwards ends there in any case.
        """
        for line in (self.files.text("proc/self/cgroup") or "0::/").splitlines():
            _, controllers, path = [*line.split(":", 2), "", ""][:3]
            if controllers and controller not in controllers.split(","):
                continue
            mounts = {controllers, controller} if controllers else {"", "unified"}
            parts = [part for part in path.split("/") if part not in ("", "..")]
            for mount in sorted(mounts):
                for depth in range(len(parts), -1, -1):
                    yield "/".join(["sys/fs/cgroup", mount, *parts[:depth]])

    def _quota(self, folder: str) -> float | None:
        """The quota of one control group, in cores."""
        both = self.files.text(f"{folder}/cpu.max")
        if both is None:
            both = " ".join(self.files.text(f"{folder}/cpu.cfs_{name}_us") or "" for name in ("quota", "period"))
        quota, period = (_integer(word) for word in [*both.split(), "", ""][:2])
        return quota / period if quota and period and quota > 0 else None

    def _used(self, folder: str) -> int:
        """The bytes that a control group can't get back: what it uses, without files that may leave the cache."""
        used = self._group_number(folder, "memory.current", "memory.usage_in_bytes") or 0
        stat = _pairs(self.files.text(f"{folder}/memory.stat"), " ")
        cached = _integer(stat.get("total_inactive_file") or stat.get("inactive_file")) or 0
        return max(0, used - cached)

    def _group_number(self, folder: str, *names: str) -> int | None:
        """The number in the first of some files that has one: the newer version's name, then the older's."""
        return next((n for name in names if (n := self.files.number(f"{folder}/{name}")) is not None), None)


def _output(*command: str, seconds: float = _SYSTEM_SECONDS) -> str | None:
    """What a program prints, whatever its exit code; None if it can't be run or takes too long."""
    path = shutil.which(command[0])
    if path is None:
        return None
    with contextlib.suppress(OSError, subprocess.SubprocessError):
        return subprocess.run(
            [path, *command[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
            timeout=seconds,
        ).stdout
    return None


_MACOS_SETS = {
    "SSE2": "sse2",
    "AVX1.0": "avx",
    "AVX2": "avx2",
    "FMA": "fma",
    "AVX512F": "avx512f",
    "AVX512BW": "avx512bw",
    "AVX512VL": "avx512vl",
}


class _MacOS(_System):
    """macOS, from sysctl and vm_stat."""

    def __init__(self, output: Callable[..., str | None] = _output) -> None:
        self.output = output

    def processor(self) -> str | None:
        return self._sysctl.get("machdep.cpu.brand_string") or super().processor()

    def physical_cores(self) -> int | None:
        return _integer(self._sysctl.get("hw.physicalcpu"))

    def instruction_sets(self) -> set[str]:
        words = " ".join(self._sysctl.get(f"machdep.cpu.{name}", "") for name in ("features", "leaf7_features")).split()
        found = {_MACOS_SETS[word] for word in words if word in _MACOS_SETS}
        if self._sysctl.get("hw.optional.arm.FEAT_BF16") == "1":
            found.add("bf16")
        return found | super().instruction_sets()

    def caches(self) -> Caches:
        # On Apple's own processors hw.* tells of the small cores, hw.perflevel0.* of the large ones.
        l1d, l2, l3 = (
            _integer(self._sysctl.get(f"hw.perflevel0.{name}cachesize") or self._sysctl.get(f"hw.{name}cachesize"))
            for name in ("l1d", "l2", "l3")
        )
        return Caches(l1d, l2, l3 or None)

    def memory(self) -> Memory:
        pages = _pairs(self.output("vm_stat"))
        page = _integer(self._sysctl.get("hw.pagesize")) or 4096
        free = [_integer(pages.get(f"Pages {kind}", "").rstrip(".")) for kind in ("free", "inactive", "speculative")]
        available = None if free[0] is None else page * sum(count or 0 for count in free)
        return Memory(_integer(self._sysctl.get("hw.memsize")), available)

    @functools.cached_property
    def _sysctl(self) -> dict[str, str]:
        names = [f"machdep.cpu.{name}" for name in ("brand_string", "features", "leaf7_features")]
        names += ["hw.physicalcpu", "hw.memsize", "hw.pagesize", "hw.optional.arm.FEAT_BF16"]
        names += [f"hw.{level}{cache}cachesize" for level in ("", "perflevel0.") for cache in ("l1d", "l2", "l3")]
        return _pairs(self.output("sysctl", *names))


class _MemoryStatus(ctypes.Structure):
    """MEMORYSTATUSEX of the Windows API."""

    _fields_ = [
        ("length", ctypes.c_ulong),
        ("load", ctypes.c_ulong),
        ("total", ctypes.c_ulonglong),
        ("available", ctypes.c_ulonglong),
        *((f"unused_{i}", ctypes.c_ulonglong) for i in range(5)),
    ]


# The numbers that IsProcessorFeaturePresent takes.
_WINDOWS_SETS = {"sse2": 10, "neon": 19, "avx": 39, "avx2": 40, "avx512f": 41}


class _Windows(_System):
    """Windows, from its API and its registry."""

    def processor(self) -> str | None:
        if sys.platform == "win32":
            import winreg

            with (
                contextlib.suppress(OSError),
                winreg.OpenKey(winreg.HKEY_LOCAL_MACHINE, r"HARDWARE\DESCRIPTION\System\CentralProcessor\0") as key,
            ):
                return str(winreg.QueryValueEx(key, "ProcessorNameString")[0]).strip()
        return super().processor()

    def instruction_sets(self) -> set[str]:
        found = super().instruction_sets()
        if sys.platform == "win32":
            with contextlib.suppress(OSError, AttributeError):
                present = ctypes.windll.kernel32.IsProcessorFeaturePresent
                found |= {name for name, number in _WINDOWS_SETS.items() if present(number)}
        return found

    def memory(self) -> Memory:
        if sys.platform == "win32":
            status = _MemoryStatus(length=ctypes.sizeof(_MemoryStatus))
            with contextlib.suppress(OSError, AttributeError):
                if ctypes.windll.kernel32.GlobalMemoryStatusEx(ctypes.byref(status)):
                    return Memory(status.total, status.available)
        return super().memory()


_SOURCES: dict[str, type[_System]] = {"Linux": _Linux, "Darwin": _MacOS, "Windows": _Windows}


def _source() -> _System:
    return _SOURCES.get(platform.system(), _System)()


def _read_gpus() -> tuple[Gpu, ...]:
    """The GPUs that nvidia-smi lists; none where there is no such program or no driver."""
    query = ("--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits")
    return tuple(_gpus(_output("nvidia-smi", *query, seconds=_GPU_SECONDS)))


def _gpus(listing: str | None) -> Iterator[Gpu]:
    """Read a listing with a GPU a line: name, memory in MiB, driver."""
    for line in (listing or "").splitlines():
        fields = [field.strip() for field in line.rsplit(",", 2)]
        if len(fields) != 3 or not fields[2][:1].isdigit():  # a sentence that says what is wrong with the driver
            continue
        mebibytes = _integer(fields[1])
        yield Gpu(fields[0], None if mebibytes is None else mebibytes << 20, fields[2])


def _implied_sets(architecture: str) -> set[str]:
    """The instruction sets that every processor of an architecture has."""
    if architecture.lower() in ("x86_64", "amd64"):
        return {"sse2"}
    return {"neon"} if architecture.lower() in ("aarch64", "arm64") else set()


def _least(values: Sequence[int | None]) -> int | None:
    return min((value for value in values if value is not None), default=None)


def _integer(text: str | None) -> int | None:
    try:
        return int(text) if text else None
    except ValueError:
        return None


def _size(text: str | None) -> int | None:
    """Bytes from "48K", "32 kB" or "16M"; all of them count in powers of 1024."""
    digits = (text or "").rstrip("bB").strip()
    shift = {"K": 10, "M": 20, "G": 30}.get(digits[-1:].upper(), 0)
    number = _integer(digits[:-1] if shift else digits)
    return None if number is None else number << shift


def _pairs(text: str | None, separator: str = ":") -> dict[str, str]:
    """Read lines of keys and values; of equal keys the first counts."""
    found: dict[str, str] = {}
    for line in (text or "").splitlines():
        key, _, value = line.partition(separator)
        found.setdefault(key.strip(), value.strip())
    return found


def _cpu_list(text: str | None) -> list[int]:
    """The numbers in a list such as "0-3,8"; empty if it can't be read."""
    found: list[int] = []
    for part in (text or "").split(","):
        first, _, last = part.partition("-")
        low, high = _integer(first.strip()), _integer((last or first).strip())
        if low is None or high is None:
            return []
        found.extend(range(low, high + 1))
    return found
