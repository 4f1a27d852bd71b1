"""The source of the GPU's kernels, as one text for NVRTC."""

import functools
import importlib.resources
import re

FILES = ("common", "activation", "loss", "gather", "dropout", "bias", "optimizer")
"""The files of `kernels/*.cu`, each after those that it needs."""

THREADS = 256
"""In a block."""

WARP = 32
"""Threads along a row, in blocks of two dimensions."""


@functools.cache
def source() -> str:
    """All kernels, with marks of where each line comes from."""
    folder = importlib.resources.files("nnaccel.kernels")
    texts = ((name, folder.joinpath(f"{name}.cu").read_text(encoding="utf-8")) for name in FILES)
    return "".join(f'#line 1 "{name}.cu"\n{text}' for name, text in texts)


KERNELS = tuple(re.findall(r'extern "C" __global__ void (\w+)', source()))
"""The names of all kernels."""


def options(dtype: str) -> tuple[str, ...]:
    """What NVRTC must know to compile them for one dtype."""
    return ("-std=c++17", f"-DREAL={'float' if dtype == 'float32' else 'double'}")
