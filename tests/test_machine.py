"""What a machine is, read from small fabricated trees and listings; the real machine is only asked not to fail."""

import dataclasses
import json
import platform
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from nnaccel import machine as module
from nnaccel.machine import (
    INSTRUCTION_SETS,
    BlasLibrary,
    Caches,
    Gpu,
    Machine,
    Memory,
    available_memory,
    blas_libraries,
    read_machine,
)

Tree = Callable[[Mapping[str, str]], module._Linux]

XEON = """processor\t: 0
model name\t: Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz
flags\t\t: fpu sse2 avx avx2 fma avx512f avx512bw avx512_bf16 amx_bf16 amx_tile

processor\t: 1
model name\t: a second name that doesn't count
flags\t\t: fpu
"""
GRAVITON = """processor\t: 0
Features\t: fp asimd sve bf16 i8mm
CPU implementer\t: 0x41
CPU part\t: 0xd40
"""
MEMINFO = "MemTotal:       16000000 kB\nMemFree:         1000000 kB\nMemAvailable:    8000000 kB\n"
NO_LIMIT = "9223372036854771712"


@pytest.fixture
def tree(tmp_path: Path) -> Tree:
    def plant(files: Mapping[str, str]) -> module._Linux:
        for path, text in files.items():
            file = tmp_path / path
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text + "\n")
        return module._Linux(tmp_path)

    return plant


def made(**changes: Any) -> Machine:
    """A machine with four cores and nothing else."""
    plain = Machine("Linux", "x86_64", None, 4, None, 4, None, (), Caches(), None, None, ())
    return dataclasses.replace(plain, **changes)


def test_empty_tree_is_survived(tree: Tree) -> None:
    linux = tree({})
    assert linux.logical_cores() >= 1
    assert linux.affinity_cores() >= 1
    assert linux.physical_cores() is None
    assert linux.quota_cores() is None
    assert linux.instruction_sets() == set()
    assert linux.caches() == Caches()
    assert linux.memory() == Memory(None, None)


def test_cpuinfo_of_x86(tree: Tree) -> None:
    linux = tree({"proc/cpuinfo": XEON})
    assert linux.processor() == "Intel(R) Xeon(R) Platinum 8481C CPU @ 2.70GHz"
    found = [name for name in INSTRUCTION_SETS if name in linux.instruction_sets()]
    assert found == ["sse2", "avx", "avx2", "fma", "avx512f", "avx512bw", "avx512_bf16", "amx_tile", "amx_bf16"]


def test_cpuinfo_of_arm(tree: Tree) -> None:
    linux = tree({"proc/cpuinfo": GRAVITON})
    assert linux.processor() == "Arm Neoverse V1"
    assert [name for name in INSTRUCTION_SETS if name in linux.instruction_sets()] == ["neon", "bf16", "sve"]


def test_unknown_arm_processor_is_named_by_its_numbers(tree: Tree) -> None:
    linux = tree({"proc/cpuinfo": GRAVITON.replace("0xd40", "0xfff")})
    assert linux.processor() == "Arm, implementer 0x41, part 0xfff"


def test_cores(tree: Tree) -> None:
    siblings = {0: "0,4", 1: "1,5", 2: "2", 4: "0,4", 5: "1,5"}
    files = {f"{module._CPU}/cpu{cpu}/topology/thread_siblings_list": text for cpu, text in siblings.items()}
    linux = tree(files | {f"{module._CPU}/online": "0-2,4-5", "proc/self/status": "Cpus_allowed_list:\t1-2,5"})
    assert (linux.logical_cores(), linux.physical_cores(), linux.affinity_cores()) == (5, 3, 3)


def test_caches(tree: Tree) -> None:
    indices = [("1", "Data", "48K"), ("1", "Instruction", "32K"), ("2", "Unified", "2048K"), ("3", "Unified", "105M")]
    files = {
        f"{module._CPU}/cpu0/cache/index{i}/{name}": text
        for i, index in enumerate(indices)
        for name, text in zip(("level", "type", "size"), index, strict=True)
    }
    assert tree(files).caches() == Caches(48 << 10, 2 << 20, 105 << 20)


@pytest.mark.parametrize(
    ("files", "quota"),
    [
        pytest.param({}, None, id="no control groups"),
        pytest.param(
            {"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/cpu.max": "max 100000"}, None, id="v2, no limit"
        ),
        pytest.param({"proc/self/cgroup": "0::/a/b", "sys/fs/cgroup/a/b/cpu.max": "150000 100000"}, 1.5, id="v2"),
        pytest.param(
            {"proc/self/cgroup": "0::/", "sys/fs/cgroup/cpu.max": "400000 100000"}, 4.0, id="v2, in a container"
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/a/b",
                "sys/fs/cgroup/a/b/cpu.max": "300000 100000",
                "sys/fs/cgroup/a/cpu.max": "200000 100000",
            },
            2.0,
            id="v2, the group above is the stricter",
        ),
        pytest.param(
            {"proc/self/cgroup": "0::/../other", "sys/fs/cgroup/cpu.max": "200000 100000"},
            2.0,
            id="v2, a path that leaves the namespace",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "3:cpu,cpuacct:/a\n0::/a",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_quota_us": "50000",
                "sys/fs/cgroup/cpu,cpuacct/a/cpu.cfs_period_us": "100000",
            },
            0.5,
            id="v1",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "3:cpu:/a",
                "sys/fs/cgroup/cpu/a/cpu.cfs_quota_us": "-1",
                "sys/fs/cgroup/cpu/a/cpu.cfs_period_us": "100000",
            },
            None,
            id="v1, no limit",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "1:cpu:/not/here",
                "sys/fs/cgroup/cpu/cpu.cfs_quota_us": "200000",
                "sys/fs/cgroup/cpu/cpu.cfs_period_us": "100000",
            },
            2.0,
            id="v1, a path that isn't in the container",
        ),
        pytest.param({"proc/self/cgroup": "nonsense", "sys/fs/cgroup/cpu.max": "nonsense"}, None, id="nonsense"),
    ],
)
def test_quota(tree: Tree, files: Mapping[str, str], quota: float | None) -> None:
    assert tree(files).quota_cores() == quota


@pytest.mark.parametrize(
    ("files", "total", "available"),
    [
        pytest.param({}, 16_000_000 << 10, 8_000_000 << 10, id="no control groups"),
        pytest.param(
            {"proc/self/cgroup": "0::/a", "sys/fs/cgroup/a/memory.max": "max"},
            16_000_000 << 10,
            8_000_000 << 10,
            id="v2, no limit",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/a",
                "sys/fs/cgroup/a/memory.max": "4000",
                "sys/fs/cgroup/a/memory.current": "3000",
                "sys/fs/cgroup/a/memory.stat": "anon 2500\ninactive_file 500",
            },
            4000,
            1500,
            id="v2, files in the cache can leave",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/a/b",
                "sys/fs/cgroup/a/b/memory.max": "4000",
                "sys/fs/cgroup/a/b/memory.current": "1000",
                "sys/fs/cgroup/a/memory.max": "6000",
                "sys/fs/cgroup/a/memory.current": "5500",
            },
            4000,
            500,
            id="v2, others in the group above have taken most",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "0::/a/b",
                "sys/fs/cgroup/a/b/memory.max": "4000",
                "sys/fs/cgroup/a/memory.max": "3000",
                "sys/fs/cgroup/a/memory.current": "2900",
            },
            3000,
            100,
            id="v2, the group above is the stricter",
        ),
        pytest.param(
            {"proc/self/cgroup": "4:memory:/a", "sys/fs/cgroup/memory/a/memory.limit_in_bytes": NO_LIMIT},
            16_000_000 << 10,
            8_000_000 << 10,
            id="v1, no limit",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:memory:/not/here\n0::/",
                "sys/fs/cgroup/memory/memory.limit_in_bytes": "4000",
                "sys/fs/cgroup/memory/memory.usage_in_bytes": "5000",
                "sys/fs/cgroup/memory/memory.stat": "inactive_file 1\ntotal_inactive_file 2000",
            },
            4000,
            1000,
            id="v1, a path that isn't in the container",
        ),
        pytest.param(
            {
                "proc/self/cgroup": "4:memory:/a",
                "sys/fs/cgroup/memory/a/memory.limit_in_bytes": "4000",
                "sys/fs/cgroup/memory/a/memory.usage_in_bytes": "5000",
            },
            4000,
            0,
            id="v1, more in use than allowed",
        ),
    ],
)
def test_memory(tree: Tree, files: Mapping[str, str], total: int, available: int) -> None:
    assert tree({"proc/meminfo": MEMINFO, **files}).memory() == Memory(total, available)


@pytest.mark.parametrize(
    ("affinity", "quota", "usable"),
    [(4, None, 4), (2, None, 2), (4, 3.0, 3), (4, 2.9, 2), (4, 0.5, 1), (2, 8.0, 2)],
)
def test_usable_cores(affinity: int, quota: float | None, usable: int) -> None:
    assert made(affinity_cores=affinity, quota_cores=quota).usable_cores() == usable


def test_gpus() -> None:
    listing = "NVIDIA H200, 143771, 570.86.10\nA name, with a comma, 24576, 580.65\nNVIDIA GB10, [N/A], 580.95\n"
    assert list(module._gpus(listing)) == [
        Gpu("NVIDIA H200", 143771 << 20, "570.86.10"),
        Gpu("A name, with a comma", 24576 << 20, "580.65"),
        Gpu("NVIDIA GB10", None, "580.95"),
    ]


@pytest.mark.parametrize("listing", [None, "", "No devices were found\n", "It failed, says the driver, sadly.\n"])
def test_no_gpus(listing: str | None) -> None:
    assert list(module._gpus(listing)) == []


@pytest.mark.skipif(sys.platform == "win32", reason="the programs are shell scripts")
@pytest.mark.parametrize(
    ("script", "seconds", "output"),
    [
        ("echo some text; exit 9", 60, "some text\n"),
        ("exec sleep 60", 0.05, None),
        (None, 60, None),
    ],
    ids=["prints and fails", "hangs", "isn't there"],
)
def test_programs_that_misbehave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, script: str | None, seconds: float, output: str | None
) -> None:
    if script is not None:
        (tmp_path / "program").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "program").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    assert module._output("program", seconds=seconds) == output


def test_macos() -> None:
    listings = {
        "sysctl": "machdep.cpu.brand_string: Apple M3 Pro\nhw.physicalcpu: 12\nhw.memsize: 38654705664\n"
        "hw.pagesize: 16384\nhw.optional.arm.FEAT_BF16: 1\nhw.l1dcachesize: 65536\nhw.l2cachesize: 4194304\n"
        "hw.perflevel0.l1dcachesize: 131072\nhw.perflevel0.l2cachesize: 16777216\n",
        "vm_stat": "Mach Virtual Memory Statistics: (page size of 16384 bytes)\n"
        "Pages free:           100.\nPages active:     7.\nPages inactive:   20.\nPages speculative:    3.\n",
    }
    macos = module._MacOS(lambda program, *names: listings[program])
    assert macos.processor() == "Apple M3 Pro"
    assert macos.physical_cores() == 12
    assert "bf16" in macos.instruction_sets()
    assert macos.caches() == Caches(131072, 16777216, None)
    assert macos.memory() == Memory(38654705664, 123 * 16384)


def test_macos_on_intel() -> None:
    listing = "machdep.cpu.features: FPU SSE2 AVX1.0 FMA\nmachdep.cpu.leaf7_features: AVX2 BMI1\nhw.l3cachesize: 0\n"
    macos = module._MacOS(lambda program, *names: listing)
    assert {"sse2", "avx", "fma", "avx2"} <= macos.instruction_sets()
    assert macos.caches().l3 is None


def test_macos_without_its_programs() -> None:
    macos = module._MacOS(lambda program, *names: None)
    assert macos.physical_cores() is None
    assert macos.caches() == Caches()
    assert macos.memory() == Memory(None, None)


@pytest.mark.skipif(sys.platform == "win32", reason="there it does tell")
def test_windows_elsewhere_tells_what_python_tells() -> None:
    windows = module._Windows()
    assert windows.memory() == Memory(None, None)
    assert windows.logical_cores() >= 1
    assert windows.instruction_sets() <= set(INSTRUCTION_SETS)


@pytest.mark.parametrize("system", [platform.system(), "Plan9"])
def test_this_machine(monkeypatch: pytest.MonkeyPatch, system: str) -> None:
    monkeypatch.setattr(platform, "system", lambda: system)
    monkeypatch.setattr(module, "_read_gpus", lambda: (Gpu("NVIDIA H200", 1 << 37, "570.86"),))
    machine = read_machine()
    assert machine.system == system
    assert 1 <= machine.usable_cores() <= machine.affinity_cores <= machine.logical_cores
    assert set(machine.instruction_sets) <= set(INSTRUCTION_SETS)
    assert available_memory() > 0
    assert json.loads(json.dumps(dataclasses.asdict(machine)))["gpus"][0]["name"] == "NVIDIA H200"


def test_unknown_memory_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_source", module._System)
    assert available_memory() == sys.maxsize


def test_blas_libraries() -> None:
    libraries = blas_libraries()
    assert all(isinstance(library, BlasLibrary) and library.threads >= 1 for library in libraries)
    if sys.platform == "linux":
        assert libraries


def test_import_is_light() -> None:
    code = "import nnaccel.machine, sys; print({'numpy', 'threadpoolctl'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert result.stdout.strip() == "set()"
