"""What a run keeps on the device, and how much memory that takes: counted before any is allocated."""

import math
from collections.abc import Iterable

import numpy as np

from nnaccel.errors import check
from nnaccel.gpu.device import ALIGNMENT
from nnaccel.gpu.geometry import over_sums
from nnaccel.gpu.records import LOSS, RULE
from nnaccel.kernels.job import ROW_KINDS
from nnaccel.plan import Plan

ACTIVATION_BYTES = 1 << 30
"""How much room the activations of one part of a batch may take; longer batches go in parts."""

LEAST_PART = 256
"""Rows; however wide the network is."""

Regions = dict[str, tuple[int, int]]
"""Where each thing begins, in bytes, and how many it has."""


def regions(sizes: Iterable[tuple[str, int]]) -> tuple[Regions, int]:
    """Lay things of so many bytes side by side; also how many it takes in all.

    Examples
    --------
    >>> regions([("a", 10), ("b", 300), ("c", 1)])
    ({'a': (0, 10), 'b': (256, 300), 'c': (768, 1)}, 1024)
    """
    found, end = {}, 0
    for name, size in sizes:
        found[name] = (end, size)
        end = math.ceil((end + size) / ALIGNMENT) * ALIGNMENT
    return found, end


def state_sizes(plan: Plan, workspace_bytes: int) -> list[tuple[str, int]]:
    """What does not depend on the data: the state, its gradient, what the plan says, and the room for products."""
    size, itemsize = plan.network.size, np.dtype(plan.dtype).itemsize
    vectors = [*vector_names(plan), "gradient"]
    return [
        *((name, size * itemsize) for name in vectors),
        ("is_weight", size),
        ("sums", 2 * 8 * over_sums(size)[0]),
        ("rule", RULE.itemsize),
        ("loss", LOSS.itemsize),
        ("workspace", workspace_bytes),
    ]


def batch_sizes(plan: Plan, rows: int) -> list[tuple[str, int]]:
    """What depends on how long batches are: the activations of one part, and the losses of all rows."""
    part = min(rows, part_rows(plan))
    itemsize = np.dtype(plan.dtype).itemsize
    widths = [math.prod(shape) for shape in plan.network.shapes]
    sizes = [("input", part * widths[0] * itemsize)]
    for number, (layer, width) in enumerate(zip(plan.network.layers, widths[1:], strict=True)):
        room = part * width * itemsize
        sizes.append((f"sums {number}", room))
        if layer.activation.saves == "input":
            sizes.append((f"outputs {number}", room))
        if layer.dropout:
            sizes.append((f"dropped {number}", room))
    deltas = part * max(widths[1:]) * itemsize
    return [*sizes, ("deltas", deltas), ("other deltas", deltas), ("row_losses", rows * 8)]


def vector_names(plan: Plan) -> list[str]:
    """The vectors that make up a state."""
    return ["parameters", "slot_1", "slot_2"][: 1 + len(plan.optimizer.slots)]


def part_rows(plan: Plan) -> int:
    """After how many rows a batch goes in parts. It decides in which order rows are added up, so it depends on the plan alone."""
    width = sum(3 * math.prod(shape) for shape in plan.network.shapes)
    return max(LEAST_PART, ACTIVATION_BYTES // (width * np.dtype(plan.dtype).itemsize))


def rows_for_kernels(x: np.ndarray) -> np.ndarray:
    """Rows as the kernels read them, in their own dtype, if that is one of `ROW_KINDS`: a copy only where there must be one."""
    if x.dtype == np.bool_:
        x = x.view(np.uint8)
    if x.dtype.name not in ROW_KINDS or not x.dtype.isnative:
        x = x.astype(np.float64 if x.dtype.itemsize > 4 else np.float32)
    return np.ascontiguousarray(x)


def check_memory(need: int, free: int, what: str) -> None:
    """Raise `InputError` unless so many bytes can be had."""
    check(
        need <= free,
        f"{what} would take {_gigabytes(need)} of GPU memory, and {_gigabytes(free)} are free: take fewer rows or columns, "
        "float32 or bytes for the data, a smaller batch, another GPU with --backend cuda:1, or --backend numba.",
    )


def _gigabytes(size: int) -> str:
    return f"{size / 1e9:,.2f} GB"
