"""Kernels as native functions: compiled once, kept, found again without numba, and in no case a wrong or a broken one."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

import llvmlite.binding as llvm
import numpy as np
import pytest

from nnaccel.kernels import cache, host, native
from nnaccel.kernels.symbols import undefined_symbols

TINY = '''
import numpy as np
from numba import types
from nnaccel.kernels.memory import pointer


def entry(dtype):
    zero, integer = np.dtype(dtype).type(0), np.int64(0)

    def work(address, thread):
        """A job is of five integers: rounds, state, length, addresses of numbers to double and of numbers to clear."""
        job = pointer(address, integer)
        numbers, cleared = pointer(job[3], zero), pointer(job[4], zero)
        for i in range(job[2]):
            numbers[i] = numbers[i] + numbers[i]
        for i in range(job[2]):
            cleared[i] = zero
        state = job[1] + thread
        for _ in range(job[0]):
            state = state * 6364136223846793005 + 1442695040888963407
            state = state ^ (state >> 33)
        job[1] = state

    return work, types.void(types.int64, types.int64)
'''

CALLS_LIBRARY = """
import math
from numba import types
from nnaccel.kernels.memory import pointer


def entry(dtype):
    def work(address, thread):
        numbers = pointer(address, 0.0)
        numbers[0] = math.lgamma(numbers[0])

    return work, types.void(types.int64, types.int64)
"""

RAISES = """
from numba import types


def entry(dtype):
    def work(address, thread):
        if thread == 7:
            raise ValueError("seven")

    return work, types.void(types.int64, types.int64)
"""

HOLDS_ADDRESS = """
import ctypes
from numba import types

twice = ctypes.CFUNCTYPE(ctypes.c_int64, ctypes.c_int64)(lambda x: 2 * x)


def entry(dtype):
    def work(address, thread):
        twice(thread)

    return work, types.void(types.int64, types.int64)
"""

SOURCES = {"tiny": TINY, "calls_library": CALLS_LIBRARY, "raises": RAISES, "holds_address": HOLDS_ADDRESS}

IN_OTHER_PROCESS = """
import importlib.util, json, os, sys, threading, time
import numpy as np

class Finder:
    def find_spec(self, name, path, target=None):
        file = os.path.join({folder!r}, name.rpartition(".")[2] + ".py")
        if name.startswith("nnaccel.kernels.") and os.path.exists(file):
            return importlib.util.spec_from_file_location(name, file)

sys.meta_path.insert(0, Finder())
from nnaccel.kernels import cache, native

numbers, cleared = np.arange(50.0, dtype="f4"), np.ones(50, "f4")
job = np.array([0, 0, 50, numbers.ctypes.data, cleared.ctypes.data])

def works(kernel):
    before = numbers.copy()
    kernel.function(job.ctypes.data, 0)
    return bool((numbers == 2 * before).all() and not cleared.any())

"""


@pytest.fixture(scope="module")
def entries(tmp_path_factory):
    """A folder with the entries of these tests."""
    folder = tmp_path_factory.mktemp("entries")
    for name, source in SOURCES.items():
        (folder / f"{name}.py").write_text(source)
    return folder


@pytest.fixture(scope="module")
def compiled_once(entries, tmp_path_factory):
    """A cache folder that another process has filled."""
    folder = tmp_path_factory.mktemp("compiled")
    done = start(entries, folder, "print(json.dumps([native.load('tiny', 'float32').origin]))")
    assert result(done) == ["compiled"]
    return folder


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A cache folder that doesn't exist yet, and a process that has loaded nothing."""
    monkeypatch.setenv("NNACCEL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(native, "_kernels", {})
    monkeypatch.setattr(native, "_complaints", set())
    return tmp_path / "cache"


@pytest.fixture
def warm(folder, compiled_once):
    """The cache folder, filled."""
    shutil.copytree(compiled_once, folder)
    return folder


@pytest.fixture
def said(monkeypatch):
    """What is announced."""
    lines = []
    monkeypatch.setattr(native, "announce", lines.append)
    return lines


@pytest.fixture(autouse=True)
def _known_entries(entries, monkeypatch):
    for name in SOURCES:
        spec = importlib.util.spec_from_file_location(f"nnaccel.kernels.{name}", entries / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setitem(sys.modules, spec.name, module)


def start(entries, folder, code, **environment):
    """Start another Python with these entries and this cache folder."""
    return subprocess.Popen(
        [sys.executable, "-W", "error", "-c", IN_OTHER_PROCESS.format(folder=str(entries)) + code],
        env={**os.environ, "NNACCEL_CACHE_DIR": str(folder), **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def result(process):
    out, err = process.communicate(timeout=120)
    assert process.returncode == 0, err
    return json.loads(out)


def objects(folder):
    return sorted(path.name for path in folder.iterdir())


def run_tiny(function, dtype="float32", rounds=0, thread=0):
    numbers, cleared = np.arange(50, dtype=dtype), np.ones(50, dtype)
    job = np.array([rounds, 1, 50, numbers.ctypes.data, cleared.ctypes.data])
    assert function(job.ctypes.data, thread) is None
    np.testing.assert_array_equal(numbers, 2 * np.arange(50))
    assert not cleared.any()
    return int(job[1])


@pytest.mark.parametrize("dtype", native.DTYPES)
def test_a_kernel_is_compiled_and_kept(folder, said, dtype):
    kernel = native.load("tiny", dtype)
    assert kernel.origin == "compiled"
    assert kernel.seconds > 0
    assert run_tiny(kernel.function, dtype, thread=5) == 6
    assert native.load("tiny", dtype) is kernel
    assert said == [f"compiling the kernel tiny for {dtype}, once on this machine (about 20 s) ..."]
    (name,) = objects(folder)
    assert name.startswith(f"tiny-{dtype}-")
    assert native.is_cached("tiny", dtype)
    assert undefined_symbols(cache.read(name)) <= native.ALLOWED_SYMBOLS


def test_another_process_finds_it_without_numba(entries, compiled_once):
    code = """
kernel = native.load("tiny", "float32")
print(json.dumps([kernel.origin, works(kernel), "numba" in sys.modules, "nnaccel.kernels.tiny" in sys.modules]))
"""
    process = start(entries, compiled_once, code)
    out, err = process.communicate(timeout=120)
    assert (json.loads(out), err) == (["cache", True, False, False], "")


def test_it_works_after_a_fork(entries, compiled_once):
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork on this system")
    code = """
kernel = native.load("tiny", "float32")
child = os.fork()
if child == 0:
    native._kernels.clear()
    os._exit(0 if works(kernel) and works(native.load("tiny", "float32")) else 1)
print(json.dumps([os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), works(kernel)]))
"""
    assert result(start(entries, compiled_once, code)) == [0, True]


def test_a_fork_waits_until_nothing_is_half_loaded(entries, compiled_once):
    if not hasattr(os, "fork"):
        pytest.skip("there is no fork on this system")
    code = """
import warnings
warnings.simplefilter("ignore")  # newer Pythons warn of a fork beside threads
inside, slow = threading.Event(), native._loaded

def loaded(*arguments):
    inside.set()
    time.sleep(0.5)
    return slow(*arguments)

native._loaded = loaded
thread = threading.Thread(target=native.load, args=("tiny", "float32"))
thread.start()
inside.wait()
child = os.fork()
if child == 0:
    os._exit(0 if ("tiny", "float32") in native._kernels and works(native.load("tiny", "float32")) else 1)
thread.join()
print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])))
"""
    assert result(start(entries, compiled_once, code)) == 0


def test_two_processes_at_once(entries, tmp_path):
    code = "k = native.load('tiny', 'float32'); print(json.dumps([works(k), objects]))".replace(
        "objects", "sorted(os.listdir(os.environ['NNACCEL_CACHE_DIR']))"
    )
    both = [start(entries, tmp_path / "cache", code) for _ in range(2)]
    assert [result(process)[0] for process in both] == [True, True]
    (name,) = objects(tmp_path / "cache")
    assert result(start(entries, tmp_path / "cache", code)) == [True, [name]]


def test_several_threads_compile_once(folder, said):
    found = []
    threads = [threading.Thread(target=lambda: found.append(native.load("tiny", "float32"))) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 4
    assert all(kernel is found[0] for kernel in found)
    assert len(said) == 1


def test_other_threads_run_meanwhile(warm):
    function = native.load("tiny", "float32").function
    ended, counts = threading.Event(), []

    def count():
        while not ended.is_set():
            counts.append(time.perf_counter())
            time.sleep(0.001)

    thread = threading.Thread(target=count)
    thread.start()
    begin = time.perf_counter()
    run_tiny(function, rounds=100_000_000)
    end = time.perf_counter()
    ended.set()
    thread.join()
    middle = [t for t in counts if begin + 0.2 * (end - begin) < t < begin + 0.8 * (end - begin)]
    assert len(middle) > 10


@pytest.mark.parametrize("damage", [b"", b"nnaccel kernel\n", "cut", "flipped", "another file's name"])
def test_a_damaged_file_is_replaced(warm, said, damage):
    (name,) = objects(warm)
    path = warm / name
    whole = path.read_bytes()
    flipped = whole[:-100] + bytes([whole[-100] ^ 1]) + whole[-99:]
    other = {"cut": whole[:-1], "flipped": flipped, "another file's name": b"\x7fELF" + whole}
    path.write_bytes(damage if isinstance(damage, bytes) else other[damage])
    assert not native.is_cached("tiny", "float32")
    kernel = native.load("tiny", "float32")
    run_tiny(kernel.function)
    assert (kernel.origin, len(said)) == ("compiled", 1)
    assert native.is_cached("tiny", "float32")
    assert objects(warm) == [name]


def test_the_key_follows_all_sources(tmp_path):
    kernels = Path(native.__file__).parent
    copy = tmp_path / "kernels"
    shutil.copytree(kernels, copy, ignore=shutil.ignore_patterns("__pycache__"))
    assert cache.sources_digest(copy) == cache.sources_digest(kernels)
    seen = {cache.sources_digest(kernels)}
    for path in sorted(copy.glob("*.py")):
        path.write_bytes(path.read_bytes() + b"#\n")
        cache.sources_digest.cache_clear()
        seen.add(cache.sources_digest(copy))
    (copy / "novel.py").touch()
    cache.sources_digest.cache_clear()
    seen.add(cache.sources_digest(copy))
    assert len(seen) == 2 + len(list(kernels.glob("*.py")))


@pytest.mark.parametrize("variable", ["NUMBA_CPU_NAME", "NUMBA_CPU_FEATURES", "NUMBA_OPT", "NUMBA_BOUNDSCHECK"])
def test_the_key_follows_what_numba_is_told(monkeypatch, variable):
    host.processor.cache_clear()
    before = native._file_name("epoch", "float32")
    monkeypatch.setenv(variable, "0")
    host.processor.cache_clear()
    after = native._file_name("epoch", "float32")
    monkeypatch.undo()
    host.processor.cache_clear()
    assert before != after
    assert native._file_name("epoch", "float32") == before


def test_the_key_follows_entry_dtype_and_versions(monkeypatch):
    names = [cache.file_name("epoch", "float32", "1"), cache.file_name("epoch", "float32", "2")]
    names += [cache.file_name("epoch", "float64", "1"), cache.file_name("small", "float32", "1")]
    monkeypatch.setattr(cache, "FORMAT", 0)
    names += [cache.file_name("epoch", "float32", "1")]
    assert len({name.rpartition("-")[2] for name in names}) == len(names)


def complains_and_works(said, reason):
    """It is compiled in memory, and one line more than usual says so, at once or in the end."""
    kernel = native.load("tiny", "float32")
    run_tiny(kernel.function)
    assert kernel.origin == "compiled"
    complaints = [line for line in said if line.startswith("compiled kernels aren't kept, as ")]
    assert len(said) == 2
    assert len(complaints) == 1
    assert reason in complaints[0]
    assert "NNACCEL_CACHE_DIR can name another folder" in complaints[0]
    native._kernels.clear()
    assert native.load("tiny", "float32").origin == "compiled"
    assert len(said) == 3, "the second time only that it compiles"


def test_a_folder_that_is_a_file(folder, said):
    folder.write_text("")
    complains_and_works(said, "is no folder")
    assert said[1] == "compiling the kernel tiny for float32 (about 20 s) ..."


def test_a_folder_below_a_file(folder, said, monkeypatch):
    folder.write_text("")
    monkeypatch.setenv("NNACCEL_CACHE_DIR", str(folder / "below"))
    complains_and_works(said, "can't be made")


def test_a_write_protected_folder(folder, said, monkeypatch):
    folder.mkdir(mode=0o555)
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != folder and real(path, mode))
    complains_and_works(said, "is write-protected")


def test_a_write_protected_folder_can_still_be_read(warm, said, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert native.load("tiny", "float32").origin == "cache"
    assert said == []


def test_a_full_disk(folder, said, monkeypatch):
    def full(self, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    complains_and_works(said, "failed: No space left on device")
    assert objects(folder) == []


def test_a_file_that_may_not_grow(entries, tmp_path):
    pytest.importorskip("resource")
    code = """
import resource, sys
sys.dont_write_bytecode = True  # it would be cut as well, and stay so
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
lines = []
native.announce = lines.append
kernel = native.load("tiny", "float32")
print(json.dumps([kernel.origin, works(kernel), len(lines), lines[-1]]))
"""
    origin, works, count, line = result(start(entries, tmp_path / "cache", code))
    assert (origin, works, count) == ("compiled", True, 2)
    assert "File too large" in line
    assert objects(tmp_path / "cache") == []


posix = pytest.mark.skipif(os.name != "posix", reason="owners and modes are those of POSIX")


@posix
def test_a_folder_that_everybody_may_write_to_is_not_trusted(warm, said):
    warm.chmod(0o777)
    before = objects(warm)
    complains_and_works(said, "everybody may write to the folder")
    assert objects(warm) == before


@posix
def test_what_another_user_owns_is_not_trusted(warm, said, monkeypatch):
    owner = warm.stat().st_uid
    monkeypatch.setattr(os, "geteuid", lambda: owner + 1)
    if owner == 0:
        assert native.load("tiny", "float32").origin == "cache", "root's files are"
        native._kernels.clear()
        try:
            os.chown(warm, 12345, -1)
        except OSError:
            pytest.skip("this user can't give a folder away")
    complains_and_works(said, "belongs to another user")


@posix
def test_a_file_that_everybody_may_write_to_is_not_trusted(warm, said):
    (warm / objects(warm)[0]).chmod(0o666)
    with pytest.raises(cache.Unusable, match="everybody may write to the file"):
        cache.read(objects(warm)[0])
    assert not native.is_cached("tiny", "float32")


def test_no_home(monkeypatch, said):
    def homeless():
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("NNACCEL_CACHE_DIR", raising=False)
    monkeypatch.setattr(native, "_kernels", {})
    monkeypatch.setattr(native, "_complaints", set())
    monkeypatch.setattr(Path, "home", homeless)
    complains_and_works(said, "there is no home folder")


@pytest.mark.parametrize(
    ("system", "environment", "expected"),
    [
        ("linux", {}, "home/.cache/nnaccel"),
        ("linux", {"XDG_CACHE_HOME": "relative"}, "home/.cache/nnaccel"),
        ("darwin", {}, "home/Library/Caches/nnaccel"),
        ("win32", {}, "home/AppData/Local/nnaccel/Cache"),
        ("win32", {"LOCALAPPDATA": "local"}, "local/nnaccel/Cache"),
    ],
)
def test_the_systems_folder(system, environment, expected):
    assert cache.system_folder(system, environment, Path("home")) == Path(expected)


def test_the_chosen_folder_goes_first(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    monkeypatch.setenv("NNACCEL_CACHE_DIR", str(tmp_path / "own"))
    assert cache.folder() == tmp_path / "own"
    monkeypatch.setenv("NNACCEL_CACHE_DIR", "")
    assert cache.folder() == tmp_path / "xdg" / "nnaccel"


def test_what_is_long_out_of_use_is_removed(folder):
    folder.mkdir()
    days = {"epoch-float32-aa.o": 40, "epoch-float32-bb.o": 20, "epoch-float64-cc.o": 40, "notes.o": 40,
            ".epoch-float32-dd.o.1234.part": 2, ".epoch-float32-ee.o.1234.part": 0}  # fmt: skip
    for name, age in days.items():
        (folder / name).touch()
        os.utime(folder / name, (time.time() - 86400 * age,) * 2)
    cache.write("epoch-float32-ff.o", b"code")
    removed = {"epoch-float32-aa.o", ".epoch-float32-dd.o.1234.part"}
    assert set(objects(folder)) == (set(days) - removed) | {"epoch-float32-ff.o"}


def test_use_keeps_a_file_young(folder):
    cache.write("epoch-float32-aa.o", b"code")
    os.utime(folder / "epoch-float32-aa.o", (time.time() - 86400 * 40,) * 2)
    assert cache.read("epoch-float32-aa.o") == b"code"
    cache.write("epoch-float32-bb.o", b"other")
    assert objects(folder) == ["epoch-float32-aa.o", "epoch-float32-bb.o"]


def test_what_a_killed_process_left_is_not_read(warm):
    (name,) = objects(warm)
    (warm / name).rename(warm / f".{name}.1234.part")
    assert not native.is_cached("tiny", "float32")


@pytest.mark.parametrize(
    ("entry", "message"),
    [("calls_library", "calls .*: kernels can only use"), ("holds_address", "addresses of Python")],
)
def test_what_another_process_could_not_run_is_refused(folder, said, entry, message):
    with pytest.raises(native.CompilationError, match=message):
        native.load(entry, "float32")
    assert not folder.exists() or objects(folder) == []


def test_an_exception_in_a_kernel_is_not_swallowed(folder, said):
    function = native.load("raises", "float32").function
    function(0, 6)
    with pytest.raises(RuntimeError, match="a kernel has raised an exception"):
        function(0, 7)


def test_without_numba(folder, said, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(ImportError, match="the kernels are compiled by numba, which can't be imported: "):
        native.load("tiny", "float32")


def test_numba_switched_off(entries, tmp_path):
    process = start(entries, tmp_path, "native.load('tiny', 'float32')", NUMBA_DISABLE_JIT="1")
    assert "NUMBA_DISABLE_JIT has switched off" in process.communicate(timeout=120)[1]


def test_the_line_goes_to_stderr(capsys):
    native._to_stderr("compiling ...")
    assert capsys.readouterr() == ("", "nnaccel: compiling ...\n")


def test_other_code_of_this_process_is_compiled_as_ever(entries, tmp_path):
    """Numba's generator of machine code is made only once, and not while it is told to optimise nothing."""
    code = """
import numba

def total(x):
    result = 0.0
    for i in range(x.size):
        result += x[i] * x[i]
    return result

(text,) = numba.njit("f8(f8[::1])")(total).inspect_asm().values()
print(json.dumps([line.split()[0] for line in text.splitlines() if line.startswith("\t") and line[1] not in ".#"]))
"""
    alone, after = (
        result(start(entries, tmp_path / "cache", before + code)) for before in ("", "native.load('tiny', 'float32')\n")
    )
    assert len(alone) > 20
    assert after == alone


def assembly(entry):
    """What `native` compiles, for people to read."""
    machine = native._machine()
    return machine.emit_assembly(native._exporting(native._ir(entry, "float32"), "kernel", machine))


@pytest.mark.skipif(host.tile().vector_bytes != 64, reason="this processor has no vectors of 512 bits")
def test_wide_vectors_survive():
    assert assembly("tiny").count("zmm") >= 4


def test_nothing_is_exported_but_the_kernel():
    names = [
        line.split()[1] for line in assembly("tiny").splitlines() if line.strip().startswith((".globl", ".global"))
    ]
    assert [name.lstrip("_") for name in names] == ["kernel"]


def test_the_stack_is_aligned_to_the_vectors():
    ir = """
        define i32 @f(i64 %x) {
            ret i32 0
        }
        define void @g() #0 !dbg !3 {
            ret void
        }
        attributes #0 = { nounwind }
        !llvm.dbg.cu = !{!0}
        !llvm.module.flags = !{!4}
        !0 = distinct !DICompileUnit(language: DW_LANG_C, file: !1)
        !1 = !DIFile(filename: "f", directory: "d")
        !2 = !DISubroutineType(types: !{null})
        !3 = distinct !DISubprogram(name: "g", file: !1, type: !2, unit: !0)
        !4 = !{i32 2, !"Debug Info Version", i32 3}
    """
    text = str(llvm.parse_assembly(native._with_aligned_stacks(ir.replace("\n        ", "\n"))))
    assert text.count(f"alignstack={host.tile().vector_bytes}") == 2


@pytest.mark.parametrize("triple", ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "x86_64-apple-darwin",
                                    "arm64-apple-darwin", "x86_64-pc-windows-msvc-elf"])  # fmt: skip
def test_undefined_symbols(triple):
    llvm.initialize_all_targets()
    llvm.initialize_all_asmprinters()
    module = llvm.parse_assembly("""
        @here = global i32 0
        @there = external global i32
        declare void @outside()
        define internal void @inside() noinline {
            ret void
        }
        define i32 @entry() {
            call void @outside()
            call void @inside()
            %a = load i32, ptr @here
            %b = load i32, ptr @there
            %c = add i32 %a, %b
            ret i32 %c
        }
    """)
    try:
        machine = llvm.Target.from_triple(triple).create_target_machine(reloc="pic", codemodel="small")
    except RuntimeError:
        pytest.skip("this LLVM can't compile for it")
    assert undefined_symbols(machine.emit_object(module)) - {"_GLOBAL_OFFSET_TABLE_"} == {"outside", "there"}


def test_no_object_file():
    with pytest.raises(ValueError, match="unknown format"):
        undefined_symbols(b"no object file")
