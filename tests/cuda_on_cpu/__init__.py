"""The `.cu` kernels compiled for the CPU, from their own source, with each CUDA thread as a fiber; see fibers.h."""

import ctypes
import functools
import hashlib
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import numpy as np

from nnaccel.gpu.source import KERNELS, source

FOLDER = Path(__file__).parent
ORDERS = ("forward", "reverse", "shuffled")
"""In which order threads and blocks may take turns."""

REAL = {"float32": "float", "float64": "double"}

_ENTRY = """
#include "fibers.h"
// The shared memory of a source that has none.
static __attribute__((section("cuda_shared"), used)) double unused_room;
{source}
#line 1 "entry"
#pragma GCC visibility push(default)
extern "C" const char* launch(
    const char* name, int grid_x, int grid_y, int block_x, int block_y, int order, unsigned seed, void** arguments) {{
  static std::string problem;
  try {{
    std::function<void()> body;
    {choices}
    if (!body) throw std::runtime_error("there is no such kernel");
    fibers::launch(body, {{grid_x, grid_y}}, {{block_x, block_y}}, order, seed);
    return nullptr;
  }} catch (const std::exception& error) {{
    fibers::threads.clear();  // some have stopped in the middle of a kernel
    problem = error.what();
    return problem.c_str();
  }}
}}
extern "C" long barriers() {{ return fibers::barriers; }}
"""


def compiler():
    """A C++ compiler, or None."""
    return shutil.which(os.environ.get("CXX", "g++")) or shutil.which("clang++")


class Library:
    """Kernels as functions on NumPy arrays.

    Parameters
    ----------
    text : str
        Their source.
    names : sequence of str
    dtype : "float32" or "float64"
    options : sequence of str
        Further ones for the compiler.
    """

    def __init__(self, text, names, dtype, options=()):
        choices = "\n".join(
            f'if (!std::strcmp(name, "{name}")) body = fibers::bound({name}, arguments);' for name in names
        )
        entry = "#include <string>\n" + _ENTRY.format(source=text, choices=choices)
        self.path = _built(entry, ("-O1", "-g", f"-DREAL={REAL[dtype]}", *options))
        self._library = ctypes.CDLL(str(self.path))
        self._library.launch.restype = ctypes.c_char_p
        self.dtype, self.order = dtype, "forward"

    def launch(self, name, grid, block, arguments):
        """Run a kernel as the driver would be told to: with scalars and with pointers as plain numbers, typed by NumPy."""
        scalars = [np.array(argument) for argument in arguments]
        pointers = (ctypes.c_void_p * len(scalars))(*(scalar.ctypes.data for scalar in scalars))
        problem = self._library.launch(name.encode(), *grid, *block, ORDERS.index(self.order), 1, pointers)
        if problem:
            raise RuntimeError(f"{name}: {problem.decode()}")

    @property
    def barriers(self):
        """How many barriers have been passed so far."""
        return self._library.barriers()


@functools.cache
def kernels(dtype):
    """All kernels in one dtype."""
    return Library(source(), KERNELS, dtype)


def address(array):
    """An array as a kernel's argument."""
    return np.uint64(0 if array is None else array.ctypes.data)


def _built(entry, options):
    """The library compiled of a source, once for all processes that run tests."""
    header = (FOLDER / "fibers.h").read_text()
    key = hashlib.sha256("\0".join((entry, header, *options)).encode()).hexdigest()[:20]
    folder = Path(tempfile.gettempdir()) / f"nnaccel-cuda-on-cpu-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    target = folder / f"{key}.so"
    if not target.exists():
        with tempfile.TemporaryDirectory(dir=folder) as room:
            path, made = Path(room) / "entry.cpp", Path(room) / "entry.so"
            path.write_text(entry)
            # Hidden, or two of these libraries in one process would share what is inline.
            flags = (
                "-std=c++20",
                "-shared",
                "-fPIC",
                "-fvisibility=hidden",
                "-Wall",
                "-Wno-unknown-pragmas",
                "-U_FORTIFY_SOURCE",
            )
            command = [compiler(), *flags, *options, f"-I{FOLDER}", str(path), "-o", str(made)]
            subprocess.run(command, check=True, capture_output=True, text=True)
            made.replace(target)
    return target
