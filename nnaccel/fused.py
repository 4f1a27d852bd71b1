"""The program that runs plans on the fused CPU kernels: it gives them jobs, and threads to do them."""

import functools
import time
from collections.abc import Callable
from typing import Any

import numpy as np

from nnaccel.activations import ACTIVATIONS
from nnaccel.arrays import Array
from nnaccel.cost import LEAST_FOR_A_THREAD, MOST_SMALL_WEIGHTS, work_per_row, worthwhile_threads
from nnaccel.errors import check
from nnaccel.kernels import host, native
from nnaccel.kernels import job as names
from nnaccel.kernels.job import (
    APPLY,
    EVALUATE,
    GRADIENT,
    JOB,
    LINE,
    NOTHING,
    PREDICT,
    ROW_KINDS,
    RULE,
    RULES,
    SOURCE,
    TRAIN,
    scratch_size,
)
from nnaccel.layout import Flat, Layout, Panels
from nnaccel.losses import LOSSES, Loss
from nnaccel.machine import usable_cores
from nnaccel.network import Dense, Network
from nnaccel.optimizers import OPTIMIZERS, Adam, Step
from nnaccel.plan import Plan
from nnaccel.program import Program, Rows, Run, TrainingState, check_dropout, check_order, check_rows, check_slice
from nnaccel.reference import GradientSums
from nnaccel.threads import Pace, allowed_threads, busy_cores, run_team

ACTIVATION_BYTES = 1 << 25
"""How much room the activations of one part of a batch may take; longer batches go in parts."""

LEAST_TO_PASS_ON_UNSEEN = 20_000_000
"""Multiply-adds in float32 of a step beside which it hardly matters how long threads take to pass on results."""

LEAST_ROWS_TO_HALVE = 8
"""Both halves must have rows, and those go in fours."""

NEAR_BYTES = 1 << 20
"""A table of so many bytes stays in the caches; the rows of a larger one are fetched before they are needed."""

ROWS_OF_PREDICTIONS = 528
"""Room for so many rows at least, so that predictions don't go in small parts."""


def is_known(plan: Plan) -> bool:
    """Whether the kernels know all parts of a plan; a class of a user's own is for the reference."""
    layers = plan.network.layers
    return (
        all(type(layer) is Dense and type(layer.activation) in ACTIVATIONS.values() for layer in layers)
        and type(plan.loss) in LOSSES.values()
        and type(plan.optimizer) in OPTIMIZERS.values()
    )


class FusedProgram(Program):
    """A plan for the kernels, with the layout of its network: by it, one of the kernels is chosen."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        weights = sum(block.stop - block.start for block in plan.network.blocks if block.name == "weight")
        self.layout: Layout = (Flat if weights <= MOST_SMALL_WEIGHTS else Panels)(plan.network, plan.dtype)
        self.kernel = self.layout.kernel
        self.native = native.load(self.kernel, plan.dtype)
        self.pace = _pace_of(plan.network, plan.dtype)

    def start(
        self, state: TrainingState, rows: Rows, batch_size: int | None = None, threads: int | None = None
    ) -> "FusedRun":
        return FusedRun(self, state, rows, batch_size, threads)


@functools.lru_cache(maxsize=256)
def _pace_of(network: Network, dtype: str) -> Pace:
    """The pace of a network, whatever else the plans are in which it is trained: a search makes many short fits of one."""
    return Pace()


class FusedRun(Run):
    """A fused program at work: its memory, and a job that points to it."""

    def __init__(
        self, program: FusedProgram, state: TrainingState, rows: Rows, batch_size: int | None, threads: int | None
    ) -> None:
        self.plan, self._layout, self._native = program.plan, program.layout, program.native
        self._dtype = np.dtype(self.plan.dtype)
        self._cores, self._pace = usable_cores(), program.pace
        self._threads = allowed_threads(threads, self._cores) if self._layout.blocks.size else 1
        self._multiply_adds = work_per_row(self.plan)
        self._part_rows = _part_rows(self.plan, self._layout)
        self._rows_to_halve = rows_to_halve(self.plan, self._layout)
        self._job = np.zeros(1, JOB)
        self._memory: dict[str, np.ndarray] = {}
        self._addresses: dict[str, int] = {}
        self._capacity = 0
        self._prepare_job()
        self.replace(rows)
        self.restore(state)
        self._make_room(min(batch_size or 1, len(rows.x)))

    def train(self, order: np.ndarray, bounds: np.ndarray, steps: np.ndarray) -> np.ndarray:
        check_slice(self._rows, order, bounds, steps)
        log = np.zeros((len(steps), 3))
        if not len(steps):
            return log
        longest, rows = int(np.diff(bounds).max()), int(bounds[-1] - bounds[0])
        self._make_room(longest)
        if self.plan.clip_norm is not None or longest > self._part_rows or longest >= self._rows_to_halve:
            self._gradient_room()
        steps = np.ascontiguousarray(steps, np.float64)
        bounds = np.ascontiguousarray(bounds, np.int32)
        self._do(
            TRAIN, len(steps), (rows, rows // len(steps)), order=_int32(order), bounds=bounds, steps=steps, log=log
        )
        self._count += len(steps)
        return log

    def gradient(self, order: np.ndarray, dropout: float = 0.0, first_row: int = 0) -> GradientSums:
        check_order(self._rows, order)
        check_dropout(dropout, dropout)
        if not len(order):
            return GradientSums(0.0, 0.0, np.zeros(self.plan.network.size, self._dtype))
        self._make_room(len(order))
        gradient, log, bounds = self._gradient_room(), np.zeros(3), np.array([0, len(order)], np.int32)
        self._set(first_row=first_row, dropout=dropout)
        rows = (len(order), min(len(order), self._part_rows))
        self._do(GRADIENT, 1, rows, order=_int32(order), bounds=bounds, log=log)
        return GradientSums(float(log[0]), float(log[1]), self._layout.unpack(gradient))

    def apply(self, sums: GradientSums, step: Step) -> float:
        gradient = self._gradient_room()
        gradient[:] = 0
        self._layout.pack(np.asarray(sums.gradient, self._dtype), gradient)
        log = np.array([0.0, float(sums.weight), 0.0])
        self._do(APPLY, 1, (1, 1), steps=np.array([step], np.float64), log=log)
        self._count += 1
        return float(log[2])

    def evaluate(self, order: np.ndarray) -> tuple[float, float]:
        check_order(self._rows, order)
        losses = np.zeros(len(order))
        if len(order):
            self._make_room(min(ROWS_OF_PREDICTIONS, len(order)))
            self._do(EVALUATE, len(order), (len(order),) * 2, order=_int32(order), row_losses=losses)
        weights = len(order) if self._weights is None else self._weights[order].sum(dtype=np.float64)
        return float(losses.sum()), float(weights)

    def predict(self, x: Array) -> np.ndarray:
        x = np.asarray(x)
        shape = self.plan.network.input_shape
        check(x.shape[1:] == shape, f"rows of the shape {x.shape[1:]} for {shape}.")
        outputs = np.empty((len(x), self.plan.outputs), self._dtype)
        if len(x):
            self._make_room(min(ROWS_OF_PREDICTIONS, len(x)))
            source, x = _source(x)
            order = np.arange(len(x), dtype=np.int32)
            self._do(PREDICT, len(x), (len(x),) * 2, order=order, source=source, predictions=outputs)
        return outputs

    def replace(self, rows: Rows) -> None:
        check_rows(self.plan, rows)
        source, x = _source(rows.x)
        labels, weights = self.plan.loss.targets == "labels", rows.weights
        targets = np.require(rows.targets, np.int32 if labels else self._dtype, ["C", "ALIGNED"])
        if weights is not None:
            weights = np.require(weights, self._dtype, ["C", "ALIGNED"])
        # Nothing can fail from here on.
        self._rows, self._x, self._weights = len(x), x, weights
        self._keep(source=source, targets=targets)
        self._set(weights=0 if weights is None else weights.ctypes.data)

    def state(self) -> TrainingState:
        parameters, *slots = (self._layout.unpack(self._memory[name]) for name in self._vectors())
        return TrainingState(parameters, tuple(slots), self._count, self._seed)

    def restore(self, state: TrainingState) -> None:
        slots = self.plan.optimizer.slots
        check(len(state.slots) == len(slots), f"a state of {len(state.slots)} slots for {len(slots)}.")
        for name, vector in zip(self._vectors(), (state.parameters, *state.slots), strict=True):
            self._memory[name][:] = 0  # also padding, which is NaN once a training has diverged
            self._layout.pack(np.asarray(vector, self._dtype), self._memory[name])
        self._memory["transposed"][:] = 0
        self._layout.transpose(self._memory["parameters"], self._memory["transposed"])
        self._count, self._seed = state.count, state.seed

    def _vectors(self) -> list[str]:
        """The names in the job of what makes up a state."""
        return ["parameters", "slot_1", "slot_2"][: 1 + len(self.plan.optimizer.slots)]

    def _prepare_job(self) -> None:
        """Fill in what never changes, and take the memory that every job needs."""
        layout, plan = self._layout, self.plan
        for name in self._vectors():
            self._room(name, layout.size)
        self._room("transposed", layout.transposed_size)
        self._room("zeros", host.panel(plan.dtype))
        if not layout.blocks.size:
            self._gradient_room()
        self._keep(
            blocks=layout.blocks, block_sums=np.zeros((len(layout.blocks), 2)), rules=_rule(plan), flags=_flags(1)
        )
        self._keep(first_blocks=layout.first_blocks(1))
        self._set(
            threads=1,
            block_count=len(layout.blocks),
            gradient_size=layout.size,
            part_rows=self._part_rows,
            rows_to_halve=self._rows_to_halve,
            scratch_size=scratch_size(host.panel(plan.dtype), plan.outputs),
            **_plan_fields(plan),
        )

    def _do(self, mode: int, count: int, rows: tuple[int, int], **arrays: np.ndarray) -> None:
        """Have the kernel do one job of `count` steps or rows, with these arrays, on as many threads as pay.

        `rows` is how many rows it has in all, and in each step.
        """
        addresses = {name: array.ctypes.data for name, array in arrays.items()}
        for name in ("source", "row_losses"):
            addresses.setdefault(name, self._addresses[name])
        self._set(mode=mode, step_count=count, count=self._count, seed=_signed(self._seed), **addresses)
        wanted = self._worthwhile(*rows)
        watched = mode == TRAIN and wanted > 1 and rows[1] * self._multiply_adds < LEAST_TO_PASS_ON_UNSEEN
        began = time.perf_counter()
        with busy_cores(self._pace.threads(wanted) if watched else wanted, self._cores) as granted:
            self._room("scratch", granted * int(self._job["scratch_size"][0]))
            if granted == 1:
                self._native.function(self._job.ctypes.data, 0)
            else:
                team = _Team(self._job, self._memory["rules"], granted, self._layout)
                run_team(lambda thread: team.work(self._native.function, thread), granted, team.begin, team.abandon)
        if watched:
            self._pace.note(granted, (time.perf_counter() - began) / rows[0])

    def _worthwhile(self, rows: int, rows_of_step: int) -> int:
        """How many threads pay for so many rows in all, and in each step."""
        return worthwhile_threads(self._multiply_adds, rows, rows_of_step, self._threads)

    def _make_room(self, rows: int) -> None:
        """Have room for the activations of so many rows, or of a part; and of some for each thread, which predicts alone."""
        rows = max(-(-min(rows, self._part_rows) // 4), self._threads) * 4
        if rows > self._capacity:
            table, size = self._layout.table(rows)
            self._capacity = 0
            self._memory.pop("activations", None)  # before the new ones are taken
            self._room("activations", size)
            self._keep(layers=table, row_losses=np.zeros(rows))
            self._set(capacity=rows, layer_count=len(table))
            self._capacity = rows

    def _gradient_room(self) -> np.ndarray:
        """Memory for gradients, and first of all for those of a whole batch."""
        return self._room("gradient", self._layout.gradient_size)

    def _room(self, name: str, size: int) -> np.ndarray:
        """Memory for so many elements, zero at first, at a multiple of a vector; the same at the next call."""
        if name not in self._memory or len(self._memory[name]) < size:
            self._keep(**{name: aligned_zeros(size, self._dtype)})
        return self._memory[name]

    def _keep(self, **arrays: np.ndarray) -> None:
        """Have the job point to arrays, and keep them as long."""
        addresses = {name: array.ctypes.data for name, array in arrays.items()}
        self._memory |= arrays
        self._addresses |= addresses
        self._set(**addresses)

    def _set(self, **fields: float) -> None:
        for name, value in fields.items():
            self._job[name] = value


class _Team:
    """What several threads need to do one job: a copy of it, which is theirs, and where they wait for each other.

    A call that is interrupted leaves nothing behind that the next one would write to.
    """

    def __init__(self, job: np.ndarray, rule: np.ndarray, most: int, layout: Layout) -> None:
        # As plain integers, since structured arrays take ten times as long to copy.
        self._job = job.view(np.int64).copy().view(JOB)
        self._rules, self._flags = np.tile(rule.view(np.int64), most), _flags(most)
        self._layout, self._address = layout, self._job.ctypes.data
        self._job["flags"], self._job["rules"] = self._flags.ctypes.data, self._rules.ctypes.data

    def work(self, kernel: Callable[[int, int], None], thread: int) -> None:
        """Do one thread's part."""
        kernel(self._address, thread)

    def begin(self, threads: int) -> None:
        """The first thread is about to begin, and so many there are."""
        self._first_blocks = self._layout.first_blocks(threads)
        self._job["threads"], self._job["first_blocks"] = threads, self._first_blocks.ctypes.data

    def abandon(self) -> None:
        """Let threads go that wait for the first one, if that hasn't begun."""
        if not self._flags[0]:
            self._job["mode"] = NOTHING
            self._flags[0] = 1


def _part_rows(plan: Plan, layout: Layout) -> int:
    """After how many rows a batch goes in parts. Like all that decides in which order rows are added up, it must not
    depend on how many threads there are."""
    row = 3 * np.dtype(plan.dtype).itemsize * sum(layout.columns(shape[0]) for shape in plan.network.shapes)
    return max(64, ACTIVATION_BYTES // row // 4 * 4)


def rows_to_halve(plan: Plan, layout: Layout) -> int:
    """From how many rows on a batch goes in halves, each by half of the threads.

    Between cores then go gradients of weights instead of activations; that pays where these are more, and the work is
    enough for two threads.
    """
    columns = sum(layout.columns(shape[0]) for shape in plan.network.shapes)
    enough = 2 * LEAST_FOR_A_THREAD // work_per_row(plan)
    never = np.iinfo(np.int64).max
    return max(enough, 2 * layout.size // columns, LEAST_ROWS_TO_HALVE) if plan.clip_norm is None else int(never)


def aligned_zeros(size: int, dtype: np.dtype) -> np.ndarray:
    """Zeros that begin at a multiple of the longest vector's bytes."""
    room = np.zeros(size + 64 // dtype.itemsize, dtype)
    start = -room.ctypes.data % 64 // dtype.itemsize
    return room[start : start + size]


def _flags(threads: int) -> np.ndarray:
    """Where threads wait for each other: a line to begin with, and one for each."""
    room = np.zeros((threads + 2) * LINE // 8, np.int64)
    return room[-room.ctypes.data % LINE // 8 :]


def _int32(numbers: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(numbers, np.int32)


def _signed(seed: int) -> int:
    """The lowest 64 bits of a seed, as a number that an int64 holds."""
    return ((int(seed) + (1 << 63)) & ((1 << 64) - 1)) - (1 << 63)


def _source(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The record SOURCE of rows, and the array that it points to: a copy only where kernels can't read the original."""
    if x.dtype == np.bool_:
        x = x.view(np.uint8)
    if x.dtype.name not in ROW_KINDS:
        x = np.array(x, np.float64 if x.dtype.itemsize > 4 else np.float32, order="C")
    elif not x.dtype.isnative or not x.flags.aligned or x.strides[1] % x.itemsize:
        x = np.array(x, x.dtype.newbyteorder("="), order="C")  # rounding is the kernels' business
    source = np.zeros(1, SOURCE)
    contiguous = x.strides[1] == x.itemsize
    source["address"], source["kind"], source["columns"] = x.ctypes.data, ROW_KINDS.index(x.dtype.name), x.shape[1]
    source["row_bytes"], source["stride"] = x.strides[0], x.strides[1] // x.itemsize
    source["contiguous"] = contiguous
    source["ahead_bytes"] = x.shape[1] * x.itemsize if contiguous and x.nbytes > NEAR_BYTES else 0
    return source, x


def loss_fields(loss: Loss, dtype: str) -> dict[str, float]:
    """A loss for the kernels: its number, and the numbers that it has."""
    return {
        "loss": names.LOSSES.index(loss.name),
        "loss_parameter": getattr(loss, "delta" if loss.name == "huber" else "label_smoothing", 0.0),
        "clip": float(np.finfo(dtype).eps) if getattr(loss, "clip", False) else 0.0,
    }


def _plan_fields(plan: Plan) -> dict[str, Any]:
    return loss_fields(plan.loss, plan.dtype) | {
        "divides": plan.loss.divides_by_weights,
        "l2": plan.l2.strength,
        "l2_by_row": plan.l2.scaling == "row",
        "decays": plan.optimizer.name == "adamw",
        "clip_norm": plan.clip_norm or 0.0,
    }


def _rule(plan: Plan) -> np.ndarray:
    """The record RULE of an optimizer."""
    optimizer, rule = plan.optimizer, np.zeros(1, RULE)
    if isinstance(optimizer, Adam):
        kind = f"adam_{optimizer.correction}"
        betas = np.array([optimizer.beta_1, optimizer.beta_2])
        with np.errstate(divide="ignore"):
            rule["log_beta_1"], rule["log_beta_2"] = np.log(betas)
        rule["beta_1"], rule["beta_2"] = betas
        rule["epsilon"] = optimizer.epsilon
    else:
        kind = "sgd" if not optimizer.slots else "nesterov" if getattr(optimizer, "nesterov", False) else "momentum"
    rule["kind"] = RULES.index(kind)
    return rule
