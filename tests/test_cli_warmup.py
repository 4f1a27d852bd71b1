"""`nnaccel warmup`, with small kernels in place of the real ones, which take long to compile."""

import importlib.util
import json
import os
import subprocess
import sys

import pytest

from nnaccel.kernels import cache, native

KERNEL = """
from numba import types


def entry(dtype):
    def work(address, thread):
        pass

    return work, types.void(types.int64, types.int64)
"""

# Python runs a module of this name at its start, also in the processes that the command starts.
CUSTOM = """
import importlib.util, os, sys

class Finder:
    def find_spec(self, name, path, target=None):
        if name in ("nnaccel.kernels.epoch", "nnaccel.kernels.small"):
            return importlib.util.spec_from_file_location(name, os.path.join(os.path.dirname(__file__), "kernel.py"))

sys.meta_path.insert(0, Finder())
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty cache folder, and small kernels."""
    (tmp_path / "kernel.py").write_text(KERNEL)
    for entry in native.ENTRIES:
        spec = importlib.util.spec_from_file_location(f"nnaccel.kernels.{entry}", tmp_path / "kernel.py")
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        monkeypatch.setitem(sys.modules, spec.name, module)
    monkeypatch.setenv("NNACCEL_CACHE_DIR", str(tmp_path / "cache"))
    monkeypatch.setattr(native, "_kernels", {})
    monkeypatch.setattr(native, "_complaints", set())
    return tmp_path / "cache"


def test_it_compiles_what_is_missing(command, folder, monkeypatch):
    code, out, err = command("warmup", "--dtype", "float32")
    assert (code, err) == (0, "")
    lines = out.splitlines()
    assert lines[0] == "compiling the kernel epoch for float32, once on this machine (about 20 s) ..."
    assert lines[1].startswith("kernel     epoch float32: compiled in ")
    assert lines[3].startswith("kernel     small float32: compiled in ")
    assert lines[4] == f"folder     {folder}"
    assert len(list(folder.iterdir())) == 2
    monkeypatch.setattr(native, "_kernels", {})
    code, out, err = command("warmup", "--dtype", "float32")
    assert out.startswith("kernel     epoch float32: already there, loaded in ")
    assert out.count("already there") == 2


def test_json(command, folder):
    code, out, err = command("warmup", "--dtype", "float64", "--json")
    result = json.loads(out)
    assert (code, result["folder"]) == (0, str(folder))
    found = [(kernel["kernel"], kernel["dtype"], kernel["origin"]) for kernel in result["kernels"]]
    assert found == [("epoch", "float64", "compiled"), ("small", "float64", "compiled")]
    assert all(0 < kernel["seconds"] < result["seconds"] for kernel in result["kernels"])
    assert err.startswith("compiling the kernel epoch for float64")
    assert command("warmup", "--dtype", "float64", "--quiet") == (0, "", "")


@pytest.mark.parametrize("cores", [1, 2])
def test_both_dtypes(folder, tmp_path, cores):
    """With two cores the second dtype is compiled in a process of its own, by the same command."""
    (tmp_path / "sitecustomize.py").write_text(
        CUSTOM + f"import nnaccel.machine\nnnaccel.machine.Machine.usable_cores = lambda self: {cores}\n"
    )
    done = subprocess.run(
        [sys.executable, "-m", "nnaccel", "warmup", "--json"],
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    found = [(kernel["kernel"], kernel["dtype"], kernel["origin"]) for kernel in json.loads(done.stdout)["kernels"]]
    assert found == [(entry, dtype, "compiled") for dtype in native.DTYPES for entry in native.ENTRIES]
    assert len(list(folder.iterdir())) == 4
    assert done.stderr.count("compiling the kernel") == (4 if cores == 1 else 2)
    assert all(native.is_cached(entry, dtype) for dtype in native.DTYPES for entry in native.ENTRIES)


def test_a_failure_beside_is_told(command, folder, tmp_path, monkeypatch):
    (tmp_path / "sitecustomize.py").write_text("import sys\nsys.modules['numba'] = None\n")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.setattr("nnaccel.machine.Machine.usable_cores", lambda self: 2)
    code, _, err = command("warmup", "--quiet")
    assert code == 2
    assert err.startswith(
        "nnaccel: another process failed to compile: the kernels are compiled by numba, which can't be"
    )
    assert err.count("\n") == 1


def sentence(result, code):
    assert result[:2] == (code, "")
    assert result[2].startswith("nnaccel: ")
    assert result[2].count("\n") == 1
    return result[2]


def test_an_unknown_dtype(command, folder):
    assert "unknown dtype 'half'; known: float32, float64." in sentence(command("warmup", "--dtype", "half"), 2)


def test_a_folder_that_keeps_nothing(command, folder):
    folder.write_text("")
    told = sentence(command("warmup"), 2)
    assert f"the kernels can't be kept: {folder} is no folder; " in told
    assert "NNACCEL_CACHE_DIR" in told


def test_a_full_disk(command, folder, monkeypatch):
    def full(name, body):
        raise cache.Unusable("the disk is full")

    monkeypatch.setattr(cache, "write", full)
    told = sentence(command("warmup", "--dtype", "float32", "--quiet"), 2)
    assert f"epoch, small could not be kept in {folder}" in told


def test_without_numba(command, folder, monkeypatch):
    monkeypatch.setitem(sys.modules, "numba", None)
    told = sentence(command("warmup", "--dtype", "float32", "--quiet"), 3)
    assert "the kernels are compiled by numba, which can't be imported" in told


def test_help(command):
    code, out, _ = command("warmup", "--help")
    assert code == 0
    assert "Example: nnaccel warmup --dtype float32" in out
