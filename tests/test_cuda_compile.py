"""Every `.cu` file compiled by NVRTC for each architecture, as on a machine with a GPU: no driver is needed for that."""

import importlib.util
import io
import re
from pathlib import Path

import pytest

import nnaccel.kernels
from nnaccel.gpu.source import FILES, KERNELS, THREADS, WARP, options, source

MISSING = [
    name
    for name in ("cuda.core", "cuda.bindings")
    if not importlib.util.find_spec("cuda") or not importlib.util.find_spec(name)
]
needs_nvrtc = pytest.mark.skipif(
    bool(MISSING), reason="no NVRTC; pip install cuda-core cuda-bindings nvidia-cuda-nvrtc (Linux and Windows alone)"
)

ARCHITECTURES = ("sm_80", "sm_90", "sm_120")

REGISTERS = {"float32": 64, "float64": 96}
"""What a thread may take: with 64, four blocks of 256 threads share a multiprocessor's 65,536 registers, with 96 two."""

FUNCTION = re.compile(
    r"entry function '(\w+)'.*?(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads.*?"
    r"Used (\d+) registers",
    re.DOTALL,
)


def compiled(dtype, architecture):
    """What ptxas says of each kernel: bytes of stack and of spills, and registers."""
    from cuda.core import Program, ProgramOptions

    standard, real = options(dtype)
    settings = ProgramOptions(
        std=standard.removeprefix("-std="),
        define_macro=[tuple(real.removeprefix("-D").split("="))],
        arch=architecture,
        ptxas_options=["-v"],
        ftz=True,  # as CuPy does
    )
    log = io.StringIO()
    Program(source(), "c++", settings).compile("cubin", logs=log)
    text = log.getvalue()
    assert "warning" not in text, text
    return {name: tuple(map(int, numbers)) for name, *numbers in FUNCTION.findall(text)}


@needs_nvrtc
@pytest.mark.parametrize("dtype", REGISTERS)
@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_kernels_compile_within_their_budget(dtype, architecture):
    found = compiled(dtype, architecture)
    assert set(found) == set(KERNELS)
    for name, (stack, stored, loaded, registers) in found.items():
        assert (stack, stored, loaded) == (0, 0, 0), f"{name} spills registers"
        assert registers <= REGISTERS[dtype], f"{name} takes {registers} registers"


def test_every_file_is_compiled():
    files = {path.stem for path in Path(nnaccel.kernels.__file__).parent.glob("*.cu")}
    assert files == set(FILES)


def test_nothing_is_included():
    assert "#include" not in source()


def test_the_numbers_in_the_source_are_those_of_the_launches():
    for name, value in (("THREADS", THREADS), ("WARP", WARP)):
        assert re.search(rf"^#define {name} {value}\b", source(), re.MULTILINE)


@pytest.mark.parametrize("path", sorted(Path(nnaccel.kernels.__file__).parent.glob("*.cu")), ids=lambda path: path.name)
def test_kernels_are_short(path):
    """A kernel has at most 10 arguments, and no line more than 120 columns."""
    text = path.read_text(encoding="utf-8")
    assert max(map(len, text.splitlines())) <= 120
    for name, arguments in re.findall(r"__global__ void (\w+)\(([^)]*)\)", text):
        assert arguments.count(",") < 10, name
