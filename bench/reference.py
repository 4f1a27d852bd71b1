"""How the reference program on NumPy keeps up with a loop written by hand.

    python -m nnaccel.bench.reference [case ...]

For each case and optimizer both train the same batches from the same parameters. They must agree before either is timed.
The exit code is 1 if a ratio is beyond its target.
"""

import math
import sys
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from nnaccel.bench.cases import CASES, Case, Work
from nnaccel.bench.peers import (
    Batches,
    Gradient,
    Layers,
    adam,
    cross_entropy_gradient,
    sgd,
    squared_error_gradient,
    train_network,
    train_neuron,
)
from nnaccel.bench.stopwatch import Timing, race

from nnaccel.backends import get_backend
from nnaccel.optimizers import Adam
from nnaccel.program import Rows, Run, TrainingState

TARGETS = {("mnist", "sgd"): 1.3, ("tabular", "sgd"): 2.0}
"""How many times as long as the hand-written loop the reference may take."""

CHECKED_STEPS = 20

SAFETY = 4
"""How many times what the hand-written loop loses to rounding the reference may lose."""

_LOSS_GRADIENTS: dict[str, Gradient] = {
    "softmax_cross_entropy": cross_entropy_gradient,
    "mean_squared_error": squared_error_gradient,
}


@dataclass(frozen=True)
class Result:
    """What one case came to.

    Attributes
    ----------
    case : Case
    reference, by_hand : Timing
        Seconds for `case.epochs` epochs.
    """

    case: Case
    reference: Timing
    by_hand: Timing

    @property
    def target(self) -> float:
        """The largest ratio that will do; infinite where there is none."""
        return TARGETS.get((self.case.name, self.case.optimizer.name), math.inf)

    @property
    def ratio(self) -> float:
        """How many times as long the reference took."""
        return self.reference.ratio(self.by_hand)

    def __str__(self) -> str:
        def epoch(timing: Timing) -> str:
            return f"{timing.median / self.case.epochs * 1e3:10.4f} ms ± {timing.spread:4.0%}"

        verdict = "" if self.target == math.inf else f"  target {self.target}, {'met' if self.met else 'MISSED'}"
        return (
            f"{self.case.name:8} {self.case.optimizer.name:5} {epoch(self.reference)} {epoch(self.by_hand)} "
            f"{self.ratio:6.2f}{verdict}"
        )

    @property
    def met(self) -> bool:
        """Whether the ratio is within its target."""
        return self.ratio <= self.target


def start_reference(case: Case, rows: Rows) -> Run:
    """The reference program on NumPy, at the case's initial parameters."""
    plan = case.plan()
    return get_backend("cpu").compile(plan).start(TrainingState.initial(plan, seed=0), rows)


def initial_layers(case: Case, dtype: str) -> Layers:
    """The parameters that `start_reference` begins with, layer by layer; without biases, those are empty."""
    plan = case.plan()
    layers = plan.network.unpack(plan.network.initial_parameters(0, case.dtype), np)
    empty = np.zeros(0)
    return [(layer["weight"].astype(dtype), layer.get("bias", empty).astype(dtype)) for layer in layers]


def start_by_hand(case: Case, rows: Rows, dtype: str) -> tuple[Layers, Callable[[Work], None]]:
    """The hand-written loop: its parameters, and what trains them in place."""
    layers = initial_layers(case, dtype)
    x = rows.x.astype(dtype)
    targets = rows.targets if case.plan().loss.targets == "labels" else rows.targets.astype(dtype)
    rate = case.optimizer.learning_rate
    if not case.hidden:
        return layers, lambda work: train_neuron(layers[0][0], Batches(x, targets, work.order, work.bounds), rate)
    update = adam(rate) if case.optimizer.name == "adam" else sgd(rate)
    gradient = _LOSS_GRADIENTS[case.loss]
    return layers, lambda work: train_network(layers, Batches(x, targets, work.order, work.bounds), gradient, update)


def check_agreement(case: Case, rows: Rows) -> None:
    """Train both for some steps and compare their parameters with those of the hand-written loop in float64.

    Raises
    ------
    AssertionError
        If the reference is farther off than rounding explains.
    """
    plan, work = case.plan(), case.work(epochs=-(-CHECKED_STEPS // case.steps_per_epoch)).first(CHECKED_STEPS)
    run = start_reference(case, rows)
    run.train(*work)
    trained = {}
    for dtype in (case.dtype, "float64"):
        layers, train = start_by_hand(case, rows, dtype)
        train(work)
        trained[dtype] = plan.network.pack([layer if case.bias else layer[:1] for layer in layers], "float64")
    exact, working = trained["float64"], trained[case.dtype]
    scale = np.linalg.norm(exact)
    off = np.linalg.norm(run.state().parameters - exact) / scale
    rounding = np.finfo(case.dtype).eps / 2 * math.sqrt(CHECKED_STEPS)
    allowed = SAFETY * max(np.linalg.norm(working - exact) / scale, rounding)
    if not off <= allowed:  # so that NaN fails, too
        raise AssertionError(f"{case.name} with {case.optimizer}: off by {off:.1e}, where {allowed:.1e} is allowed")


def measure(case: Case, rounds: int = 11) -> Result:
    """Check a case, then time it."""
    rows, work = case.data(), case.work()
    check_agreement(case, rows)
    run = start_reference(case, rows)
    _, train = start_by_hand(case, rows, case.dtype)
    timings = race({"reference": lambda: run.train(*work), "by hand": lambda: train(work)}, rounds)
    return Result(case, timings["reference"], timings["by hand"])


def variants(names: Iterable[str]) -> Iterator[Case]:
    """Each case as it is and, for networks, with Adam."""
    for name in names:
        yield CASES[name]
        if CASES[name].hidden:
            yield CASES[name].using(Adam())


def main(names: list[str]) -> int:
    """Measure the named cases, or all, and print a line for each; returns the exit code."""
    unknown = [name for name in names if name not in CASES]
    if unknown:
        print(f"unknown case {unknown[0]!r}; known: {', '.join(CASES)}.", file=sys.stderr)
        return 2
    print(f"{'case':14} {'reference, per epoch':>20} {'by hand, per epoch':>20}  ratio")
    met = True
    for case in variants(names or CASES):
        result = measure(case)
        met &= result.met
        print(result, flush=True)
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
