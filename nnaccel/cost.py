"""What a training costs: arithmetic and memory from its plan alone, seconds from a machine profile besides.

Nothing here measures or allocates. A step is taken to be a sum of terms, such as the multiply-adds of its products, each of
which takes a number of seconds that depends on the machine, the dtype and the way in which the step is made: its regime.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import numpy as np

from nnaccel.plan import Plan
from nnaccel.profile import BackendProfile

MOST_SMALL_WEIGHTS = 48
"""Up to so many weights, a network is left to the kernel for small ones."""

LEAST_FOR_A_THREAD = 400_000
"""Multiply-adds in float32 that each thread must have in a step: threads wait for each other twice, and pass on results."""

LEAST_FOR_THREADS = 40_000_000
"""Multiply-adds in float32 that a call must have for more than one thread, which have to be started: that takes 0.3 ms."""

PROCESS_BYTES = 120_000_000
"""What Python and the libraries take by themselves."""

_PASSES = {
    "relu": 1, "leaky_relu": 2, "tanh": 2, "sigmoid": 4, "elu": 4, "selu": 5, "softplus": 5, "silu": 6, "gelu": 14,
}  # fmt: skip
"""About how much more an activation takes, forward and back, than none: the reference goes over an array so often."""

_VECTORS_OF_A_STEP = 4
"""Of the size of the parameters, at the height of an update: old, new, gradient and one in between."""


def multiply_adds_per_row(plan: Plan) -> int:
    """Multiply-adds for one row forward and backward; the first layer needs no gradient of its input.

    Examples
    --------
    >>> from nnaccel.losses import MeanSquaredError
    >>> from nnaccel.network import Dense, Network
    >>> from nnaccel.optimizers import SGD
    >>> multiply_adds_per_row(Plan(Network(10, [Dense(5), Dense(1)]), MeanSquaredError(), SGD()))
    115
    """
    weights = [math.prod(block.shape) for block in plan.network.blocks if block.name == "weight"]
    return 3 * sum(weights) - weights[0]


def work_per_row(plan: Plan) -> int:
    """The multiply-adds for one row, those in float64 counted twice: a vector holds half as many."""
    return multiply_adds_per_row(plan) * np.dtype(plan.dtype).itemsize // 4


def worthwhile_threads(multiply_adds: int, rows: int, rows_of_step: int, threads: int) -> int:
    """How many threads pay in the fused kernels.

    Parameters
    ----------
    multiply_adds : int
        `work_per_row` of the plan.
    rows, rows_of_step : int
        In all, and in each step.
    threads : int
        The most that may be used.

    Examples
    --------
    >>> worthwhile_threads(20_000, 10**6, 8, threads=2), worthwhile_threads(20_000, 10**6, 64, threads=2)
    (1, 2)
    """
    if rows * multiply_adds < LEAST_FOR_THREADS:
        return 1
    return max(1, min(threads, rows_of_step * multiply_adds // LEAST_FOR_A_THREAD))


@dataclass(frozen=True)
class Workload:
    """A training as far as its cost depends on it.

    Attributes
    ----------
    plan : Plan
    rows : int
        Training rows.
    batch_size : int
    validation_rows : int
    watched : bool
        Whether something has to happen after every epoch, so that no call spans several.
    threads : int, optional
        The most that it may use.
    """

    plan: Plan
    rows: int
    batch_size: int
    validation_rows: int = 0
    watched: bool = False
    threads: int | None = None

    @property
    def steps_per_epoch(self) -> int:
        """Batches in an epoch."""
        return -(-self.rows // self.batch_size)

    @property
    def x_bytes(self) -> int:
        """What all rows of features take in the plan's dtype, those for validation included."""
        row = math.prod(self.plan.network.input_shape) * np.dtype(self.plan.dtype).itemsize
        return (self.rows + self.validation_rows) * row


def terms_of_step(plan: Plan, batch_size: int, vector_bytes: int = 0) -> dict[str, float]:
    """How much there is in a step of all that takes time.

    Parameters
    ----------
    batch_size : int
    vector_bytes : int
        Of fused kernels: what doesn't fill a vector takes as long as if it did. 0 counts what is really there.
    """
    lanes, layers = _lanes(plan, vector_bytes), plan.network.layers
    shapes = [math.prod(shape) for shape in plan.network.shapes]
    forward = backward = operands = 0
    for number, (inputs, outputs) in enumerate(pairwise(shapes)):
        products = 3 if number else 2  # the first layer needs no gradient of its inputs
        forward += _multiply_adds(inputs, outputs, lanes)
        backward += outputs * _padded(inputs, lanes) if number else 0
        operands += products * (batch_size * (inputs + outputs) + inputs * outputs)
    size = plan.network.size
    return _terms_of_rows(plan, batch_size, lanes) | {
        "step": 1.0,
        "layer": float(len(layers)),
        "dropped layer": float(sum(_drops(layer) for layer in layers)),
        "product": float(batch_size * (forward + backward)),
        "weight gradient": float(batch_size * forward),
        "operand": float(operands),
        "parameter": float(size),
        "slot": float(size * len(plan.optimizer.slots)),
    }


def terms_of_prediction(plan: Plan, rows: int, vector_bytes: int = 0) -> dict[str, float]:
    """The same for the outputs of some rows."""
    lanes, shapes = _lanes(plan, vector_bytes), [math.prod(shape) for shape in plan.network.shapes]
    products = sum(_multiply_adds(inputs, outputs, lanes) for inputs, outputs in pairwise(shapes))
    operands = sum(rows * (inputs + outputs) + inputs * outputs for inputs, outputs in pairwise(shapes))
    counts = {"step": 1.0, "product": float(rows * products), "operand": float(operands), "dropped": 0.0}
    return _terms_of_rows(plan, rows, lanes) | counts


def _terms_of_rows(plan: Plan, rows: int, lanes: int) -> dict[str, float]:
    """What is in proportion to the rows alone, be it on the way forward or back."""
    inputs, *units = [_padded(math.prod(shape), lanes) for shape in plan.network.shapes]
    layers = list(zip(plan.network.layers, units, strict=True))
    return {
        "row": float(rows),
        "input": float(rows * inputs),
        "unit": float(rows * sum(units)),
        "pass": float(rows * sum(count * _PASSES.get(layer.activation.name, 0) for layer, count in layers)),
        "dropped": float(rows * sum(count * _drops(layer) for layer, count in layers)),
    }


def _multiply_adds(inputs: int, outputs: int, lanes: int) -> int:
    """Those of a row on its way through a layer; the weights of a single output are one row of their own."""
    return inputs * _padded(outputs, lanes) if outputs > 1 else _padded(inputs, lanes)


def _drops(layer: object) -> bool:
    return getattr(layer, "dropout", 0.0) > 0


def _lanes(plan: Plan, vector_bytes: int) -> int:
    return max(1, vector_bytes // np.dtype(plan.dtype).itemsize)


def regimes(workload: Workload, profile: BackendProfile) -> list[str]:
    """In which ways the steps of a training may be made, by the names that `BackendProfile.coefficients` has.

    Where there are several, a run finds out which is faster.
    """
    plan, dtype = workload.plan, workload.plan.dtype
    if not profile.fused:
        return [f"{dtype} reference"]
    if sum(math.prod(block.shape) for block in plan.network.blocks if block.name == "weight") <= MOST_SMALL_WEIGHTS:
        return [f"{dtype} small"]
    call = workload.rows if workload.watched else LEAST_FOR_THREADS
    batch_size, threads = (
        min(workload.batch_size, workload.rows),
        min(profile.threads, workload.threads or profile.threads),
    )
    team = worthwhile_threads(work_per_row(plan), call, batch_size, threads) > 1
    return [f"{dtype} alone", f"{dtype} team"] if team else [f"{dtype} alone"]


def step_seconds(workload: Workload, profile: BackendProfile) -> float:
    """The seconds that a step takes; NaN where the profile doesn't tell."""
    batch_size = min(workload.batch_size, workload.rows)
    return _seconds(workload, profile, terms_of_step(workload.plan, batch_size, profile.vector_bytes))


def validation_seconds(workload: Workload, profile: BackendProfile) -> float:
    """The seconds that it takes to look at the validation rows once; NaN where the profile doesn't tell."""
    rows = workload.validation_rows
    if not rows:
        return 0.0
    forward = _seconds(workload, profile, terms_of_prediction(workload.plan, rows, profile.vector_bytes))
    return forward + rows * workload.plan.outputs * profile.metric_s


def epoch_seconds(workload: Workload, profile: BackendProfile) -> float:
    """The seconds that an epoch takes, validation included; NaN where the profile doesn't tell."""
    steps = workload.rows / min(workload.batch_size, workload.rows)
    beside = profile.epoch_s if workload.watched else 0.0
    return steps * step_seconds(workload, profile) + beside + validation_seconds(workload, profile)


def setup_seconds(workload: Workload, profile: BackendProfile) -> float:
    """The seconds before the first step: imports, kernels, and the way of the data to the device."""
    return profile.setup_s + workload.x_bytes / profile.transfer_bytes_per_s


def host_bytes(workload: Workload) -> int:
    """The most memory that a training takes: the process, the data, and what it works with."""
    return PROCESS_BYTES + workload.x_bytes + memory_bytes(workload.plan, min(workload.batch_size, workload.rows))


def device_bytes(workload: Workload, profile: BackendProfile) -> int:
    """The same of a device's own memory; 0 where it has none."""
    return host_bytes(workload) - PROCESS_BYTES if profile.device_bytes else 0


def _seconds(workload: Workload, profile: BackendProfile, terms: dict[str, float]) -> float:
    known = [profile.coefficients[name] for name in regimes(workload, profile) if name in profile.coefficients]
    if not known:
        return math.nan
    return min(sum(seconds.get(name, 0.0) * count for name, count in terms.items()) for seconds in known)


def _padded(count: int, lanes: int) -> int:
    return -(-count // lanes) * lanes


def memory_bytes(plan: Plan, batch_size: int) -> int:
    """The memory of a training beside its data: parameters, optimizer slots, gradient and one batch's activations.

    Parameters
    ----------
    batch_size : int
        Rows.
    """
    vectors = (_VECTORS_OF_A_STEP + 2 * len(plan.optimizer.slots)) * plan.network.size
    activations = 2 * batch_size * sum(math.prod(shape) for shape in plan.network.shapes)
    return (vectors + activations) * np.dtype(plan.dtype).itemsize


def readable_bytes(count: float) -> str:
    """A number of bytes for people to read.

    Examples
    --------
    >>> readable_bytes(3_500_000_000)
    '3.5 GB'
    """
    for unit in ("bytes", "kB", "MB", "GB", "TB", "PB"):
        if count < 1000 or unit == "PB":
            break
        count /= 1000
    return f"{count:.0f} {unit}" if unit == "bytes" else f"{count:.3g} {unit}"
