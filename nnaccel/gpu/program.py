"""The program that runs plans on the GPU's kernels: all that a step needs lies on the device, and steps are replayed as graphs."""

import itertools
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from nnaccel.arrays import Array
from nnaccel.errors import check
from nnaccel.gpu.device import Address, Gpu, Queue
from nnaccel.gpu.memory import (
    batch_sizes,
    check_memory,
    part_rows,
    regions,
    rows_for_kernels,
    state_sizes,
    vector_names,
)
from nnaccel.gpu.records import loss_record, rule_record
from nnaccel.gpu.slices import Packed, Work, pack, packed_bytes
from nnaccel.gpu.step import (
    Launch,
    Operation,
    Scene,
    Span,
    evaluation_part,
    forward,
    gradient_part,
    train_step,
    updates,
)
from nnaccel.kernels.job import ROW_KINDS
from nnaccel.optimizers import Step
from nnaccel.plan import Plan
from nnaccel.program import Program, Rows, Run, TrainingState, check_dropout, check_order, check_rows, check_slice
from nnaccel.reference import GradientSums

STEPS_OF_A_GRAPH = 64
"""Steps that are replayed at once, where so many batches of one length follow each other."""

MOST_LENGTHS = 16
"""Lengths of batches for which steps are kept ready."""

EVALUATED_ROWS = 8192
"""Rows that are evaluated or predicted at once."""


class Choice(NamedTuple):
    """What runs a plan, and why."""

    kernel: str
    reason: str


def choose_kernel(obstacle: str) -> Choice:
    """Whether steps are replayed as graphs or launched kernel by kernel.

    A graph costs the processor one call for many steps, and the device less between kernels. It never costs more, so nothing speaks for
    launches but that the device or a library can't do otherwise.
    """
    if obstacle:
        return Choice("launches", f"kernel by kernel, since {obstacle}")
    return Choice("graph", f"graphs of {STEPS_OF_A_GRAPH} steps and of one")


class CudaProgram(Program):
    """A plan for the kernels of a GPU.

    Attributes
    ----------
    reason : str
        Why it is this kernel.
    """

    def __init__(self, plan: Plan, gpu: Gpu) -> None:
        self.plan, self.gpu = plan, gpu
        self.kernel, self.reason = choose_kernel(gpu.obstacle)

    def start(
        self, state: TrainingState, rows: Rows, batch_size: int | None = None, threads: int | None = None
    ) -> "CudaRun":
        return CudaRun(self, state, rows, batch_size)


class CudaRun(Run):
    """A program at work: its memory on the device, and what is to be asked for to make a step of so many rows."""

    def __init__(self, program: CudaProgram, state: TrainingState, rows: Rows, batch_size: int | None) -> None:
        self.plan, self._gpu = program.plan, program.gpu
        self._dtype = np.dtype(self.plan.dtype)
        self._captures = program.kernel == "graph"
        self._queue = self._gpu.queue(self.plan.dtype)
        self._memory: dict[str, Any] = {}
        self._sizes: dict[str, int] = {}
        self._at: dict[str, Address] = {}
        self._steps: dict[int, Sequence[Operation]] = {}
        self._graphs: dict[tuple[int, int], Any] = {}
        self._prepared: dict[Any, Any] = {}
        self._capacity, self._kind = 0, -1
        check_rows(self.plan, rows)
        longest = max(1, min(batch_size or 1, len(rows.x)))
        room = max(longest, min(EVALUATED_ROWS, len(rows.x)))  # or the first evaluation would cost the graphs
        slice_bytes = packed_bytes(self.plan, len(rows.x), -(-len(rows.x) // longest))
        with self._queue.working():
            self._check_need(rows, room, slice_bytes)
            self._prepare_state()
            self._make_room(room)
            self._reserve("slice", slice_bytes)
            self._place("slice", self._memory["slice"].ptr)
        self.replace(rows)
        self.restore(state)

    def train(self, order: np.ndarray, bounds: np.ndarray, steps: np.ndarray) -> np.ndarray:
        check_slice(self._rows, order, bounds, steps)
        if not len(steps):
            return np.zeros((0, 3))
        lengths = np.diff(bounds).tolist()
        counts = self._count + np.arange(len(steps))
        work = Work(order[bounds[0] : bounds[-1]], bounds - bounds[0], steps, counts, self._seed)
        with self._queue.working():
            self._make_room(max(lengths))
            packed = self._begin(work)
            for rows, group in itertools.groupby(lengths):
                self._train(rows, len(list(group)))
            log = self._log(packed)
        self._count += len(steps)
        return log

    def gradient(self, order: np.ndarray, dropout: float = 0.0, first_row: int = 0) -> GradientSums:
        check_order(self._rows, order)
        check_dropout(dropout, dropout)
        gradient = np.zeros(self.plan.network.size, self._dtype)
        if not len(order):
            return GradientSums(0.0, 0.0, gradient)
        bounds = _parts(len(order), part_rows(self.plan))
        with self._queue.working():
            self._make_room(int(np.diff(bounds).max()))
            packed = self._begin(self._same_steps(order, bounds, Step(0.0, 0.0, 0.0, dropout)))
            for first, stop in itertools.pairwise(bounds.tolist()):
                self._do(gradient_part(self._scene, stop - first, first_row + first, more=first > 0))
            loss, weight, _ = self._log(packed).sum(axis=0).tolist()
            self._queue.download(self._at["gradient"], gradient)
        return GradientSums(loss, weight, gradient)

    def apply(self, sums: GradientSums, step: Step) -> float:
        gradient = np.ascontiguousarray(sums.gradient, self._dtype)
        work = self._same_steps(np.zeros(0, np.int32), np.zeros(2, np.int32), step)
        with self._queue.working():
            packed = self._begin(work, np.array([[float(sums.loss), float(sums.weight), 0.0]]))
            self._queue.upload(self._at["gradient"], gradient)
            self._do(updates(self._scene))
            penalty = self._log(packed)[0, 2]
        self._count += 1
        return float(penalty)

    def evaluate(self, order: np.ndarray) -> tuple[float, float]:
        check_order(self._rows, order)
        if not len(order):
            return 0.0, 0.0
        bounds = self._evaluated(len(order))
        with self._queue.working():
            self._make_room(int(np.diff(bounds).max()))
            packed = self._begin(self._same_steps(order, bounds, Step(0.0, 0.0, 0.0, 0.0)))
            for first, stop in itertools.pairwise(bounds.tolist()):
                self._do(evaluation_part(self._scene, stop - first))
            loss, weight, _ = self._log(packed).sum(axis=0).tolist()
        return loss, weight

    def predict(self, x: Array) -> np.ndarray:
        shape = self.plan.network.input_shape
        check(x.shape[1:] == shape, f"rows of the shape {x.shape[1:]} for {shape}.")
        outputs = np.empty((x.shape[0], self.plan.outputs), self._dtype)
        if not len(outputs):
            return outputs
        bounds = self._evaluated(len(outputs))
        with self._queue.working():
            rows = _Source(self._queue, x)
            self._make_room(int(bounds[1]))
            order = np.arange(bounds[1], dtype=np.int32)
            self._begin(self._same_steps(order, bounds[:2], Step(0.0, 0.0, 0.0, 0.0)))
            last = self._scene.output(len(self.plan.network.layers) - 1, dropped=False)
            for first, stop in itertools.pairwise(bounds.tolist()):
                at = {**self._at, "x": rows.address(first, stop)}
                self._do(forward(replace(self._scene, at=at, kind=rows.kind), Span(stop - first)))
                self._queue.download(last, outputs[first:stop])
        return outputs

    def replace(self, rows: Rows) -> None:
        check_rows(self.plan, rows)
        labels = self.plan.loss.targets == "labels"
        x = rows_for_kernels(np.asarray(rows.x))
        targets = np.ascontiguousarray(rows.targets, np.int32 if labels else self._dtype)
        weights = None if rows.weights is None else np.ascontiguousarray(rows.weights, self._dtype)
        with self._queue.working():
            arrays = {"x": x, "targets": targets} | ({} if weights is None else {"weights": weights})
            for name, array in arrays.items():
                self._reserve(name, array.nbytes)
            # Nothing can fail from here on.
            if weights is None:
                self._place("weights", 0)
            for name, array in arrays.items():
                self._place(name, self._memory[name].ptr)
                self._queue.upload(self._at[name], array)
            self._queue.synchronize()
        kind = ROW_KINDS.index(x.dtype.name)
        if kind != self._kind:
            self._forget()
        self._kind, self._rows = kind, len(x)

    def state(self) -> TrainingState:
        with self._queue.working():
            parameters, *slots = (
                self._queue.download(self._at[name], np.empty(self.plan.network.size, self._dtype))
                for name in vector_names(self.plan)
            )
        return TrainingState(parameters, tuple(slots), self._count, self._seed)

    def restore(self, state: TrainingState) -> None:
        wanted = len(self.plan.optimizer.slots)
        check(len(state.slots) == wanted, f"a state of {len(state.slots)} slots for {wanted}.")
        with self._queue.working():
            for name, vector in zip(vector_names(self.plan), (state.parameters, *state.slots), strict=True):
                self._queue.upload(self._at[name], np.ascontiguousarray(vector, self._dtype))
            # Its padding is NaN once a training has diverged, and is added to that of the parameters.
            self._queue.clear(self._at["gradient"], self.plan.network.size * self._dtype.itemsize)
            self._queue.synchronize()
        self._count, self._seed = state.count, state.seed

    def close(self) -> None:
        with self._queue.working():
            self._queue.synchronize()
        self._forget()
        self._memory.clear()
        self._sizes.clear()

    def products_alone(self, rows: int, steps: int) -> Callable[[], None]:
        """All products of so many steps with batches of so many rows, and nothing else: what a benchmark compares steps with."""
        with self._queue.working():
            self._make_room(rows)
            products = [each for each in train_step(self._scene, rows) if not isinstance(each, Launch)]
            self._do(products)
            size = min(steps, STEPS_OF_A_GRAPH) if self._captures else 0
            graph = self._queue.capture(lambda: self._do(products * size)) if size else None

        def run() -> None:
            with self._queue.working():
                whole, rest = divmod(steps, size) if size else (0, steps)
                for _ in range(whole):
                    self._queue.replay(graph)
                self._do(products * rest)
                self._queue.synchronize()

        return run

    # --- steps ---

    def _train(self, rows: int, count: int) -> None:
        """Make so many steps with batches of one length."""
        if rows not in self._steps:
            # What is loaded at its first call can't be while a graph is captured; a length that is rare needs no graph.
            self._do(self._step(rows))
            count -= 1
        while count and self._captures:
            size = STEPS_OF_A_GRAPH if count >= STEPS_OF_A_GRAPH else 1
            graph = self._graph(rows, size)
            if graph is not None:
                self._queue.replay(graph)
                count -= size
        for _ in range(count):
            self._do(self._step(rows))

    def _step(self, rows: int) -> Sequence[Operation]:
        if rows not in self._steps:
            if len(self._steps) >= MOST_LENGTHS:
                self._forget()
            self._steps[rows] = train_step(self._scene, rows)
        return self._steps[rows]

    def _graph(self, rows: int, size: int) -> Any:
        """The graph of so many steps; None, from then on, where it can't be captured."""
        if (rows, size) not in self._graphs:
            operations = self._step(rows)

            def work() -> None:
                for _ in range(size):
                    self._do(operations)

            try:
                self._graphs[rows, size] = self._queue.capture(work)
            except RuntimeError as error:
                self._captures = False
                problem = (str(error).strip().splitlines() or [type(error).__name__])[0]
                warnings.warn(f"the steps go kernel by kernel, since a graph failed: {problem}", stacklevel=5)
                return None
        return self._graphs[rows, size]

    def _do(self, operations: Sequence[Operation]) -> None:
        """Ask for operations, one after the other."""
        queue, workspace = self._queue, self._at["workspace"]
        for operation in operations:
            if isinstance(operation, Launch):
                queue.launch(*operation)
            else:
                queue.multiply(*operation, workspace=workspace)

    def _same_steps(self, order: np.ndarray, bounds: np.ndarray, step: Step) -> Work:
        """Work whose steps are all like the one that comes next."""
        count = len(bounds) - 1
        steps = np.tile(np.array(step, np.float64), (count, 1))
        return Work(order, bounds, steps, np.full(count, self._count), self._seed)

    def _begin(self, work: Work, log: np.ndarray | None = None) -> Packed:
        """Bring work to the device."""
        packed = pack(self.plan, work, log)
        self._reserve("slice", packed.data.nbytes, grows=True)
        self._place("slice", self._memory["slice"].ptr)
        self._queue.upload(self._at["slice"], packed.data)
        return packed

    def _log(self, packed: Packed) -> np.ndarray:
        """What the device has logged, once it is done."""
        return self._queue.download(self._at["slice"] + packed.log, np.empty((packed.steps, 3)))

    def _evaluated(self, rows: int) -> np.ndarray:
        return _parts(rows, min(EVALUATED_ROWS, part_rows(self.plan)))

    # --- memory ---

    @property
    def _scene(self) -> Scene:
        return Scene(self.plan, self._at, self._kind, self._gpu.products, self._prepared)

    def _forget(self) -> None:
        """Whatever holds addresses is of no use any more."""
        for kept in (self._graphs, self._steps, self._prepared):
            kept.clear()

    def _check_need(self, rows: Rows, room: int, slice_bytes: int) -> None:
        """Refuse what doesn't fit before anything is allocated."""
        _, state = regions(state_sizes(self.plan, self._gpu.products.workspace_bytes))
        _, batch = regions(batch_sizes(self.plan, room))
        labels = self.plan.loss.targets == "labels"
        targets = np.asarray(rows.targets).size * (4 if labels else self._dtype.itemsize)
        data = rows_bytes(rows.x) + targets + (0 if rows.weights is None else len(rows.x) * self._dtype.itemsize)
        check_memory(state + batch + data + slice_bytes, self._gpu.free_bytes(), "this training")

    def _prepare_state(self) -> None:
        plan = self.plan
        found, size = regions(state_sizes(plan, self._gpu.products.workspace_bytes))
        self._reserve("state", size)
        for name, (start, _) in found.items():
            self._place(name, self._memory["state"].ptr + start)
        self._queue.upload(self._at["is_weight"], plan.network.weight_mask("uint8"))
        self._queue.upload(self._at["rule"], rule_record(plan).reshape(1))
        self._queue.upload(self._at["loss"], loss_record(plan.loss, plan.dtype).reshape(1))

    def _make_room(self, rows: int) -> None:
        """Have room for batches of so many rows."""
        if rows <= self._capacity:
            return
        found, size = regions(batch_sizes(self.plan, rows))
        self._reserve("batch", size)
        for name, (start, _) in found.items():
            self._place(name, self._memory["batch"].ptr + start)
        self._capacity = rows

    def _reserve(self, name: str, size: int, grows: bool = False) -> None:
        """Have memory of so many bytes under a name; what `grows` is given more than it needs, so that this is rare."""
        if size <= self._sizes.get(name, 0):
            return
        size = 2 * size if grows and name in self._sizes else size
        check_memory(size - self._sizes.get(name, 0), self._gpu.free_bytes(), f"the {name} of this training")
        if name in self._memory:
            self._queue.synchronize()  # nobody may still be at work on it
            del self._memory[name]
        self._memory[name] = self._queue.allocate(size)
        self._sizes[name] = size

    def _place(self, name: str, address: Address) -> None:
        if self._at.get(name) != address:
            self._at[name] = address
            self._forget()


class _Source:
    """New rows for `predict`, which lie on the host or on the device."""

    def __init__(self, queue: Queue, x: Array) -> None:
        self._queue, self._on_host = queue, isinstance(x, np.ndarray)
        self._rows: Any = rows_for_kernels(x) if self._on_host else queue.rows(x)
        self._room: Any = None
        self.kind = ROW_KINDS.index(self._rows.dtype.name)

    def address(self, first: int, stop: int) -> Address:
        """Where so many of them lie on the device, after those before are done with."""
        if not self._on_host:
            return int(self._rows.data.ptr + first * self._rows.strides[0])
        part = self._rows[first:stop]
        self._room = self._room or self._queue.allocate(part.nbytes)
        self._queue.upload(self._room.ptr, part)
        return int(self._room.ptr)


def rows_bytes(x: np.ndarray) -> int:
    """What rows take on the device, where they have a dtype of their own that kernels read, or else float32 or float64."""
    itemsize = x.dtype.itemsize if x.dtype.name in (*ROW_KINDS, "bool") else 8 if x.dtype.itemsize > 4 else 4
    return math.prod(x.shape) * itemsize


def _parts(rows: int, most: int) -> np.ndarray:
    """Where parts of rows begin, and where the last one ends."""
    return np.append(np.arange(0, rows, most), rows).astype(np.int32)
