"""The program that runs plans on the fused CPU kernels: it gives them jobs, and threads to do them."""

import _thread
from typing import Any

import numpy as np

from nnaccel.activations import ACTIVATIONS
from nnaccel.arrays import Array
from nnaccel.cost import multiply_adds_per_row
from nnaccel.kernels import host, native
from nnaccel.kernels import job as names
from nnaccel.kernels.job import (
    APPLY,
    EVALUATE,
    GRADIENT,
    JOB,
    LINE,
    PREDICT,
    ROW_KINDS,
    RULE,
    RULES,
    SOURCE,
    TRAIN,
    scratch_size,
)
from nnaccel.layout import Flat, Layout, Panels
from nnaccel.losses import LOSSES
from nnaccel.machine import usable_cores
from nnaccel.network import Dense
from nnaccel.optimizers import OPTIMIZERS, Adam, Step
from nnaccel.plan import Plan
from nnaccel.program import Program, Rows, Run, TrainingState, check_order, check_rows, check_slice
from nnaccel.reference import GradientSums
from nnaccel.threads import allowed_threads, busy_cores

ACTIVATION_BYTES = 1 << 25
"""How much room the activations of one part of a batch may take; longer batches go in parts."""

MOST_SMALL_WEIGHTS = 16
"""Up to so many weights, a network is left to the kernel for small ones."""

LEAST_FOR_A_THREAD = 400_000
"""Multiply-adds in float32 that each thread must have in a step: threads wait for each other twice, and pass on results."""

LEAST_FOR_THREADS = 20_000_000
"""Multiply-adds in float32 that a call must have for more than one thread, which have to be started."""

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

    def start(
        self, state: TrainingState, rows: Rows, batch_size: int | None = None, threads: int | None = None
    ) -> "FusedRun":
        return FusedRun(self, state, rows, batch_size, threads)


class FusedRun(Run):
    """A fused program at work: its buffers, and a job that points to them."""

    def __init__(
        self, program: FusedProgram, state: TrainingState, rows: Rows, batch_size: int | None, threads: int | None
    ) -> None:
        self.plan, self._layout, self._native = program.plan, program.layout, program.native
        plan, layout = self.plan, self._layout
        self._dtype = np.dtype(plan.dtype)
        self._cores = usable_cores()
        self._threads = allowed_threads(threads, self._cores) if len(layout.blocks) else 1
        self._job = np.zeros(1, JOB)
        self._kept: dict[str, np.ndarray] = {}
        self._capacity = 0
        for name, size in (("parameters", layout.size), ("transposed", layout.transposed_size)):
            self._room(name, size)
        for name, _ in zip(("slot_1", "slot_2"), plan.optimizer.slots, strict=False):
            self._room(name, layout.size)
        self._multiply_adds = multiply_adds_per_row(plan) * self._dtype.itemsize // 4
        self._rows_to_halve = rows_to_halve(plan, layout)
        if not len(layout.blocks):
            self._room("gradient", layout.size)
        self._room("zeros", host.panel(plan.dtype))
        self._keep("blocks", layout.blocks)
        self._keep("block_sums", np.zeros((len(layout.blocks), 2)))
        self._fill(
            block_count=len(layout.blocks),
            gradient_size=layout.size,
            rows_to_halve=self._rows_to_halve,
            **_plan_fields(plan),
        )
        self._rule = _rule(plan)
        self.replace(rows)
        self.restore(state)
        self._make_room(min(batch_size or 1, len(rows.x)))

    def train(self, order: np.ndarray, bounds: np.ndarray, steps: np.ndarray) -> np.ndarray:
        check_slice(self._rows, order, bounds, steps)
        log = np.zeros((len(steps), 3))
        if not len(steps):
            return log
        longest = int(np.diff(bounds).max())
        self._make_room(longest)
        if longest > self._capacity or self.plan.clip_norm is not None or longest >= self._rows_to_halve:
            self._room("gradient", 2 * self._layout.size)
        work = self._order(order), np.ascontiguousarray(bounds, np.int32), np.ascontiguousarray(steps, np.float64)
        rows = int(bounds[-1] - bounds[0])
        self._do(TRAIN, rows, rows // len(steps), *work, log)
        self._count += len(steps)
        return log

    def gradient(self, order: np.ndarray, dropout: float = 0.0, first_row: int = 0) -> GradientSums:
        check_order(self._rows, order)
        if not len(order):
            return GradientSums(0.0, 0.0, np.zeros(self.plan.network.size, self._dtype))
        self._make_room(len(order))
        gradient = self._room("gradient", 2 * self._layout.size)
        log = np.zeros(3)
        self._fill(first_row=first_row, dropout=dropout)
        bounds = np.array([0, len(order)], np.int32)
        self._do(GRADIENT, len(order), self._capacity, self._order(order), bounds, None, log)
        return GradientSums(float(log[0]), float(log[1]), self._layout.unpack(gradient))

    def apply(self, sums: GradientSums, step: Step) -> float:
        gradient = self._room("gradient", 2 * self._layout.size)
        self._layout.pack(np.asarray(sums.gradient, self._dtype), gradient)
        log = np.array([0.0, float(sums.weight), 0.0])
        self._do(APPLY, 1, 1, None, None, np.array([step], np.float64), log)
        self._count += 1
        return float(log[2])

    def evaluate(self, order: np.ndarray) -> tuple[float, float]:
        check_order(self._rows, order)
        losses = np.zeros(len(order))
        if len(order):
            self._make_room(min(ROWS_OF_PREDICTIONS, len(order)))
            self._fill(row_losses=losses.ctypes.data)
            self._do(EVALUATE, len(order), self._capacity, self._order(order), None, None, None, count=len(order))
            self._fill(row_losses=self._kept["row_losses"].ctypes.data)
        weights = len(order) if self._weights is None else self._weights[order].sum(dtype=np.float64)
        return float(losses.sum()), float(weights)

    def predict(self, x: Array) -> np.ndarray:
        x = np.asarray(x)
        outputs = np.empty((len(x), self.plan.outputs), self._dtype)
        if not len(x):
            return outputs
        self._make_room(min(ROWS_OF_PREDICTIONS, len(x)))
        own = self._job["source"][0]
        source, held = _source(x)
        self._fill(source=source.ctypes.data, predictions=outputs.ctypes.data)
        order = np.arange(len(x), dtype=np.int32)
        self._do(PREDICT, len(x), self._capacity, order, None, None, None, count=len(x))
        self._fill(source=own)
        del held
        return outputs

    def replace(self, rows: Rows) -> None:
        check_rows(self.plan, rows)
        self._rows = len(rows.x)
        source, self._x = _source(rows.x)
        self._keep("source", source)
        labels = self.plan.loss.targets == "labels"
        self._keep("targets", np.ascontiguousarray(rows.targets, np.int32 if labels else self._dtype))
        self._weights = None
        self._fill(weights=0)
        if rows.weights is not None:
            self._weights = np.ascontiguousarray(rows.weights, self._dtype)
            self._keep("weights", self._weights)

    def state(self) -> TrainingState:
        slots = [self._kept[name] for name in ("slot_1", "slot_2") if name in self._kept]
        vectors = [self._layout.unpack(vector) for vector in (self._kept["parameters"], *slots)]
        return TrainingState(vectors[0], tuple(vectors[1:]), self._count, self._seed)

    def restore(self, state: TrainingState) -> None:
        layout, kept = self._layout, self._kept
        for name, vector in zip(("parameters", "slot_1", "slot_2"), (state.parameters, *state.slots), strict=False):
            layout.pack(np.asarray(vector, self._dtype), kept[name])
        layout.transpose(kept["parameters"], kept["transposed"])
        self._count, self._seed = state.count, state.seed

    def _do(
        self,
        mode: int,
        rows: int,
        rows_of_step: int,
        order: np.ndarray | None,
        bounds: np.ndarray | None,
        steps: np.ndarray | None,
        log: np.ndarray | None,
        count: int | None = None,
    ) -> None:
        """Have the kernel do one job, on as many threads as it is worth."""
        self._fill(
            mode=mode,
            step_count=count if count is not None else 0 if steps is None else len(steps),
            count=self._count,
            seed=_signed(self._seed),
            order=_address(order),
            bounds=_address(bounds),
            steps=_address(steps),
            log=_address(log),
        )
        with busy_cores(self._worthwhile(rows, rows_of_step), self._cores) as granted:
            self._run(granted)

    def _run(self, threads: int) -> None:
        job, address = self._native.function, self._job.ctypes.data
        panel = host.panel(self.plan.dtype)
        self._kept["flags"] = flags = np.zeros((threads + 2) * LINE // 8, np.int64)
        size = scratch_size(panel, self.plan.outputs) + panel
        self._room("scratch", size * threads)
        self._kept["rules"] = rules = np.repeat(self._rule, threads)
        firsts = self._first_blocks(threads)
        self._fill(
            threads=threads,
            flags=flags.ctypes.data + (-flags.ctypes.data) % LINE,
            scratch_size=size,
            rules=rules.ctypes.data,
            first_blocks=firsts.ctypes.data,
        )
        ends = [_start(job, address, thread) for thread in range(1, threads)]
        job(address, 0)
        for end in ends:
            end.acquire()

    def _first_blocks(self, threads: int) -> np.ndarray:
        """The number of each thread's first block, so that all have about as much to do."""
        done = np.cumsum(self._layout.costs)
        if not len(done):
            return np.zeros(threads + 1, np.int64)
        goals = done[-1] * np.arange(1, threads) / threads
        firsts = np.array([0, *(np.abs(done[:, None] - goals).argmin(axis=0) + 1), len(done)], np.int64)
        return np.maximum.accumulate(firsts)

    def _worthwhile(self, rows: int, rows_of_step: int) -> int:
        """How many threads pay for steps of so many rows, and for so many rows in all."""
        if rows * self._multiply_adds < LEAST_FOR_THREADS:
            return 1
        return max(1, min(self._threads, rows_of_step * self._multiply_adds // LEAST_FOR_A_THREAD))

    def _make_room(self, rows: int) -> None:
        """Have room for the activations of so many rows, or as many as there may be."""
        row_bytes = 3 * self._dtype.itemsize * sum(self._layout.columns(shape[0]) for shape in self.plan.network.shapes)
        rows = min(-(-rows // 4) * 4, max(64, ACTIVATION_BYTES // row_bytes // 4 * 4))
        rows = max(rows, 4 * self._threads)  # each thread predicts in a share of its own
        if rows <= self._capacity:
            return
        self._capacity = rows
        table, size = self._layout.table(rows)
        self._keep("layers", table)
        self._kept.pop("activations", None)
        self._room("activations", size)
        self._keep("row_losses", np.zeros(rows))
        self._fill(capacity=rows, layer_count=len(table))

    def _order(self, order: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(order, np.int32)

    def _room(self, name: str, size: int) -> np.ndarray:
        """Memory for so many elements, all zero at first, at a multiple of a vector; the same at the next call."""
        if name not in self._kept or len(self._kept[name]) < size:
            self._keep(name, aligned_zeros(size, self._dtype))
        return self._kept[name]

    def _keep(self, name: str, array: np.ndarray) -> None:
        self._kept[name] = array
        self._fill(**{name: array.ctypes.data})

    def _fill(self, **fields: Any) -> None:
        for name, value in fields.items():
            self._job[name] = value


def rows_to_halve(plan: Plan, layout: Layout) -> int:
    """From how many rows on a batch goes in halves, each by half of the threads.

    Between cores then go gradients of weights instead of activations; that pays where these are more, and the work is
    enough for two threads. It must not depend on how many threads there are: it decides in which order rows are added up.
    """
    columns = sum(layout.columns(shape[0]) for shape in plan.network.shapes)
    enough = 2 * LEAST_FOR_A_THREAD // (multiply_adds_per_row(plan) * np.dtype(plan.dtype).itemsize // 4)
    never = np.iinfo(np.int64).max
    return max(enough, 2 * layout.size // columns) if plan.clip_norm is None else int(never)


def aligned_zeros(size: int, dtype: np.dtype) -> np.ndarray:
    """Zeros that begin at a multiple of the longest vector's bytes."""
    room = np.zeros(size + 64 // dtype.itemsize, dtype)
    start = -room.ctypes.data % 64 // dtype.itemsize
    return room[start : start + size]


def _start(job: Any, address: int, thread: int) -> Any:
    """Run a job in a new thread; the lock is open once that is done."""
    end = _thread.allocate_lock()
    end.acquire()

    def run() -> None:
        try:
            job(address, thread)
        finally:
            end.release()

    _thread.start_new_thread(run, ())
    return end


def _address(array: np.ndarray | None) -> int:
    return 0 if array is None else array.ctypes.data


def _signed(seed: int) -> int:
    """The lowest 64 bits of a seed, as a number that an int64 holds."""
    return ((seed + (1 << 63)) & ((1 << 64) - 1)) - (1 << 63)


def _source(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The record SOURCE of rows, and the array that it points to: a copy only where kernels can't read the original."""
    if x.dtype == np.bool_:
        x = x.view(np.uint8)
    if x.dtype.name not in ROW_KINDS or not x.dtype.isnative or not x.flags.aligned or x.strides[1] % x.itemsize:
        x = np.ascontiguousarray(x, np.float64 if x.dtype.itemsize > 4 else np.float32)
    source = np.zeros(1, SOURCE)
    contiguous = x.strides[1] == x.itemsize
    source["address"], source["kind"], source["columns"] = x.ctypes.data, ROW_KINDS.index(x.dtype.name), x.shape[1]
    source["row_bytes"], source["stride"] = x.strides[0], x.strides[1] // x.itemsize
    source["contiguous"] = contiguous
    source["ahead_bytes"] = x.shape[1] * x.itemsize if contiguous and x.nbytes > NEAR_BYTES else 0
    return source, x


def _plan_fields(plan: Plan) -> dict[str, Any]:
    parameters = {
        "huber": "delta",
        "binary_cross_entropy": "label_smoothing",
        "softmax_cross_entropy": "label_smoothing",
    }
    return {
        "loss": names.LOSSES.index(plan.loss.name),
        "loss_parameter": getattr(plan.loss, parameters.get(plan.loss.name, ""), 0.0),
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
