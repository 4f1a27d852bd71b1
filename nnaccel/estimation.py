"""`estimate`: how long a training will take, how much memory, and which backend to take, before it begins."""

import inspect
import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from nnaccel.backends import backend_class, backend_names, choose_backend, get_backend
from nnaccel.cost import (
    Workload,
    device_bytes,
    epoch_seconds,
    host_bytes,
    multiply_adds_per_row,
    readable_bytes,
    setup_seconds,
    step_seconds,
)
from nnaccel.errors import check
from nnaccel.inputs import default_loss
from nnaccel.losses import as_loss
from nnaccel.machine import available_memory
from nnaccel.network import Dense, Network
from nnaccel.profile import BackendProfile, MachineProfile, stored_profile
from nnaccel.recipe import is_whole
from nnaccel.synthetic import random_rows
from nnaccel.training import Assignment, assign, train
from nnaccel.trial import process_seconds, try_out

SYNTHETIC_BYTES = 1 << 28
"""So much random data stand for more: what is taken from them in random order comes from memory all the same."""

FEWEST_ROWS = 10
"""So many rows can be divided into some to train on and some to hold out."""

LEAST_SECONDS, MOST_SECONDS, PART = 0.5, 10.0, 0.1
"""A trial takes this part of the whole training, within these bounds."""

USUAL_DRIFT = 0.05
"""By how much the same work takes longer or shorter from one moment to another, on a machine that wasn't calibrated."""

_WITHIN = 1.2816
"""80 % of a normal distribution lie within so many standard deviations of the mean."""


@dataclass(frozen=True)
class BackendEstimate:
    """How long a training takes on one backend of one machine.

    Attributes
    ----------
    available : bool
        Whether that can run there.
    reason : str
        What the estimate comes from; why it can't run.
    setup_s, per_epoch_s, total_s : float
        NaN where unknown.
    low_s, high_s : float
        Between these the total lies in 8 of 10 cases.
    memory_bytes, device_bytes : int
        The most that it takes of the machine's memory, and of that of a device of its own.
    fits : bool
        Whether there is so much.
    projected : bool
        Whether it was computed from a profile, rather than measured by a trial.
    """

    available: bool
    reason: str
    setup_s: float = math.nan
    per_epoch_s: float = math.nan
    total_s: float = math.nan
    low_s: float = math.nan
    high_s: float = math.nan
    memory_bytes: int = 0
    device_bytes: int = 0
    fits: bool = True
    projected: bool = False


@dataclass(frozen=True)
class Affordable:
    """What fits into a time: so many epochs, or so many rows, or so wide hidden layers, each with the rest as asked for.

    Attributes
    ----------
    epochs, rows : int
        Of the rows, those to train on; what is held out grows with them.
    hidden : tuple of int, optional
        None where there is no hidden layer, or not even layers of one unit fit.
    """

    epochs: int
    rows: int
    hidden: tuple[int, ...] | None


@dataclass(frozen=True)
class Estimate:
    """How long a training takes, on each backend of this machine and of others.

    Attributes
    ----------
    backends : dict of str to BackendEstimate
    machines : dict of str to dict of str to BackendEstimate
        The same for other machines, projected from their profiles.
    choice : str
        The backend that "auto" takes.
    why : str
    break_even : str
        From which batch size on another backend is faster, as a sentence; empty where that isn't known.
    at_most : bool
        Whether the training may end sooner.
    epochs : int
    workload : Workload
    """

    backends: dict[str, BackendEstimate]
    machines: dict[str, dict[str, BackendEstimate]]
    choice: str
    why: str
    break_even: str
    at_most: bool
    epochs: int
    workload: Workload

    @property
    def rows(self) -> int:
        """Training rows."""
        return self.workload.rows

    @property
    def batch_size(self) -> int:
        """Rows a step."""
        return self.workload.batch_size

    def describe(self) -> dict[str, Any]:
        """All of it, for JSON."""
        machines = {name: _described(backends) for name, backends in self.machines.items()}
        return {
            "backends": _described(self.backends), "machines": machines, "choice": self.choice, "why": self.why,
            "break_even": self.break_even, "at_most": self.at_most, "epochs": self.epochs, "rows": self.rows,
            "batch_size": self.batch_size,
        }  # fmt: skip

    def within(self, seconds: float) -> Affordable:
        """What fits into a time on the chosen backend.

        Raises
        ------
        InputError
            If not even one epoch of one row does, or the backend couldn't be tried, or the time is no time.
        """
        check(0 < seconds < math.inf, f"a time to fit into is a number of seconds above 0, not {seconds}.")
        chosen = self.backends[self.choice]
        check(chosen.per_epoch_s > 0, f"how long a training takes on {self.choice} isn't known: {chosen.reason}.")
        left = seconds - chosen.setup_s
        check(left > 0, f"{seconds:g} s are too short: {self.choice} needs {chosen.setup_s:.2g} s to be ready.")
        share = left / (chosen.per_epoch_s * self.epochs)
        found = Affordable(int(left / chosen.per_epoch_s), int(self.rows * share), self._hidden(share))
        check(
            found.epochs > 0 or found.rows > 0 or found.hidden is not None,
            f"{seconds:g} s are too short: {self.choice} needs {chosen.setup_s:.2g} s to be ready, and more for an epoch.",
        )
        return found

    def _hidden(self, share: float) -> tuple[int, ...] | None:
        """The widths, all changed by one factor, at which an epoch takes this part of what it takes now, or less."""
        layers = self.workload.plan.network.layers
        widths = [layer.units for layer in layers[:-1] if isinstance(layer, Dense)]
        if not widths or len(widths) != len(layers) - 1:
            return None
        low, high, now = 0.0, 1.0, self._cost(widths)
        if self._cost(_scaled(widths, low)) > share * now:
            return None
        while self._cost(_scaled(widths, high)) <= share * now:
            low, high = high, 2 * high
        for _ in range(20):
            middle = (low + high) / 2
            low, high = (middle, high) if self._cost(_scaled(widths, middle)) <= share * now else (low, middle)
        return tuple(_scaled(widths, low))

    def _cost(self, widths: Sequence[int]) -> float:
        """What an epoch costs at these widths: seconds by the stored profile, or else multiply-adds."""
        plan = self.workload.plan
        hidden = [layer for layer in plan.network.layers[:-1] if isinstance(layer, Dense)]
        layers = [replace(layer, units=width) for layer, width in zip(hidden, widths, strict=True)]
        network = Network(plan.network.input_shape, [*layers, plan.network.layers[-1]])
        workload = replace(self.workload, plan=replace(plan, network=network))
        known = _known(self.choice)
        seconds = math.nan if known is None else epoch_seconds(workload, known)
        return seconds if seconds > 0 else float(multiply_adds_per_row(workload.plan))


def estimate(
    network: Network,
    X: Any = None,
    y: Any = None,
    *,
    rows: int | None = None,
    budget: float | None = None,
    backends: Iterable[str] | None = None,
    machines: Iterable[MachineProfile] = (),
    report: Callable[[str], None] | None = None,
    **settings: Any,
) -> Estimate:
    """How long `train` would take, with the same arguments.

    On this machine some steps are made on each backend; for others, their profiles tell.

    Parameters
    ----------
    network : Network
    X, y : array, optional
        As for `train`.
    rows : int, optional
        Instead of these: so many rows of random data, a part of which `validation` holds out.
    budget : float, optional
        Seconds that each trial may take. By default a tenth of the whole training, but from 0.5 to 10 s.
    backends : iterable of str, optional
        By default all.
    machines : iterable of MachineProfile
        Others, see `nnaccel.profile.read_profile`.
    report : callable, optional
        Called with a line that says what is tried.
    **settings
        As for `train`; `backend` is not among them.

    Returns
    -------
    Estimate

    Raises
    ------
    InputError
        If something given can't be used.

    Examples
    --------
    >>> from nnaccel import Dense, Network, estimate
    >>> outlook = estimate(Network(20, [Dense(64), Dense(2)]), rows=1000, epochs=10, budget=0.1, backends=["cpu"])
    >>> 0 < outlook.backends["cpu"].low_s <= outlook.backends["cpu"].total_s <= outlook.backends["cpu"].high_s
    True
    """
    names = backend_names() if backends is None else _names(backends)
    check(budget is None or 0 < budget < math.inf, f"the budget must be a number of seconds above 0, not {budget}.")
    others = _machines(machines)
    assignment, workload = _assigned(network, X, y, rows, settings)
    epochs, found = assignment.recipe.epochs, {}
    for name in names:
        found[name] = _here(name, assignment, workload, budget, report or (lambda line: None))
    choice = choose_backend("auto", workload) if backends is None else choose_backend(names[0])
    recipe = assignment.recipe
    return Estimate(
        backends=found,
        machines={one.name: _there(one, workload, epochs, names) for one in others},
        choice=choice.backend.name,
        why=choice.reason,
        break_even=_break_even(workload, [name for name in names if found[name].available]),
        at_most=bool(recipe.early_stopping or recipe.callbacks or recipe.time_limit < math.inf),
        epochs=epochs,
        workload=workload,
    )


def _assigned(network: Network, X: Any, y: Any, rows: int | None, given: dict[str, Any]) -> tuple[Assignment, Workload]:
    """The training to try, and the one that it stands for: of random data there may be fewer rows."""
    unknown = set(given) - set(_DEFAULTS)
    if unknown:
        raise TypeError(f"estimate() got an unexpected keyword argument {min(unknown)!r}")
    settings = _DEFAULTS | given
    if X is not None:
        check(rows is None, "estimate takes X and y, or a number of rows, not both.")
        check(y is not None, "estimate takes y beside X.")
        assignment = assign(network, X, y, **settings)
        return assignment, assignment.workload
    check(y is None, "estimate takes X beside y; without X, a number of rows alone.")
    check(is_whole(rows, 2), f"without X and y, estimate takes a number of rows, 2 or more, not {rows!r}.")
    assert rows is not None
    loss = as_loss(settings["loss"] or default_loss(np.arange(2), network.output_shape[0]))
    dtype = settings["dtype"]
    row_bytes = math.prod(network.input_shape) * np.dtype(dtype).itemsize
    check(
        FEWEST_ROWS * row_bytes <= available_memory(),
        f"a row of {math.prod(network.input_shape):,} features takes {readable_bytes(row_bytes)}: there is no memory to try "
        f"{FEWEST_ROWS} of them.",
    )
    most_bytes = max(SYNTHETIC_BYTES, FEWEST_ROWS * row_bytes)
    random = random_rows(network.input_shape, network.output_shape[0], loss, rows, dtype, most_bytes)
    assignment = assign(network, random.x, random.targets, **settings | {"loss": loss})
    tried = assignment.workload
    # A set of its own is as it is, however many rows there are to train on.
    apart = tried.rows == len(random.x)
    held_out = tried.validation_rows if apart else rows * tried.validation_rows // len(random.x)
    training = rows if apart else rows - held_out
    batch_size = min(settings["batch_size"] or training, training)
    workload = replace(tried, rows=training, validation_rows=held_out, batch_size=batch_size)
    check(tried.batch_size == batch_size, f"batches of {batch_size:,} rows are too long to be tried.")
    return assignment, workload


def _here(
    name: str, assignment: Assignment, workload: Workload, budget: float | None, report: Callable[[str], None]
) -> BackendEstimate:
    """By a trial on this machine."""
    missing = backend_class(_kind(name)).unavailable_reason()
    if missing is not None:
        return BackendEstimate(False, missing.rstrip("."))
    report(f"trying {name}")
    epochs, known = assignment.recipe.epochs, _known(name)
    whole_steps = epochs * workload.steps_per_epoch

    def allowed(step_s: float) -> float:
        return budget or min(MOST_SECONDS, max(LEAST_SECONDS, PART * whole_steps * step_s))

    trial = try_out(assignment, get_backend(name), allowed)
    setup_s = trial.start_s + (process_seconds(name) if known is None else known.setup_s)
    per_epoch_s = trial.epoch_s / assignment.workload.rows * workload.rows
    profile = stored_profile()
    drift = USUAL_DRIFT if profile is None else max(profile.drift, USUAL_DRIFT / 2)
    factor = math.exp(_WITHIN * math.hypot(drift, min(trial.spread, 1.0)))
    total_s = setup_s + epochs * per_epoch_s
    need, there = host_bytes(workload), available_memory()
    return BackendEstimate(
        available=True,
        reason=f"tried for {trial.seconds:.2g} s",
        setup_s=setup_s,
        per_epoch_s=per_epoch_s,
        total_s=total_s,
        low_s=total_s / factor,
        high_s=total_s * factor,
        memory_bytes=need,
        device_bytes=0 if known is None else device_bytes(workload, known),
        fits=need - assignment.rows.x.nbytes <= there,
    )


def _there(
    machine: MachineProfile, workload: Workload, epochs: int, names: Sequence[str]
) -> dict[str, BackendEstimate]:
    """By the profile of another machine."""
    return {
        name: _projected(known, machine, workload, epochs)
        for name, known in machine.backends.items()
        if name in map(_kind, names)
    }


def _projected(known: BackendProfile, machine: MachineProfile, workload: Workload, epochs: int) -> BackendEstimate:
    per_epoch_s = epoch_seconds(workload, known)
    if not per_epoch_s > 0:
        return BackendEstimate(False, f"its profile doesn't know {workload.plan.dtype}", projected=True)
    setup_s, (low, high) = setup_seconds(workload, known), known.ratios
    on_host, on_device = host_bytes(workload), device_bytes(workload, known)
    return BackendEstimate(
        available=True,
        reason=f"projected from its profile of {machine.created[:10]}",
        setup_s=setup_s,
        per_epoch_s=per_epoch_s,
        total_s=setup_s + epochs * per_epoch_s,
        low_s=setup_s + epochs * per_epoch_s * low,
        high_s=setup_s + epochs * per_epoch_s * high,
        memory_bytes=on_host,
        device_bytes=on_device,
        fits=on_host <= (machine.memory_bytes or math.inf) and on_device <= (known.device_bytes or math.inf),
        projected=True,
    )


def _break_even(workload: Workload, names: Sequence[str]) -> str:
    """At which batch sizes which backend is the fastest, by the stored profile."""
    known = {name: profile for name in names if (profile := _known(name)) is not None}
    if len(known) < 2:
        return ""
    fastest: list[tuple[int, str]] = []
    for power in range(int(math.log2(workload.rows)) + 1):
        seconds = {
            name: step_seconds(replace(workload, batch_size=2**power), profile) for name, profile in known.items()
        }
        if not all(one > 0 for one in seconds.values()):
            return ""
        winner = min(seconds, key=seconds.__getitem__)
        if not fastest or fastest[-1][1] != winner:
            fastest.append((2**power, winner))
    (_, first), *changes = fastest
    if not changes:
        return f"{first} wins at every batch size"
    return "; ".join(
        [f"{first} wins below batches of {changes[0][0]:,}", *(f"{name} from {size:,}" for size, name in changes)]
    )


def _known(name: str) -> BackendProfile | None:
    profile = stored_profile()
    return None if profile is None else profile.backends.get(_kind(name))


def _kind(name: str) -> str:
    """The backend, of a name that may say on which of its devices."""
    return name.partition(":")[0]


def _names(backends: Iterable[str]) -> list[str]:
    check(not isinstance(backends, str), f"backends takes a list of names, such as [{backends!r}].")
    names = list(dict.fromkeys(backends))
    check(bool(names), "backends names none: leave it out for all.")
    return names


def _machines(machines: Iterable[MachineProfile]) -> list[MachineProfile]:
    """Those to project to, each with a name of its own."""
    others = list(machines)
    check(
        all(isinstance(one, MachineProfile) for one in others),
        "machines takes profiles: nnaccel.profile.read_profile(path) reads one.",
    )
    twice = [name for name, count in Counter(one.name for one in others).items() if count > 1]
    check(not twice, f"several machines are called {', '.join(map(repr, twice))}: give each a name of its own.")
    return others


def _scaled(widths: Sequence[int], factor: float) -> list[int]:
    return [max(1, int(width * factor)) for width in widths]


def _described(backends: dict[str, BackendEstimate]) -> dict[str, Any]:
    return {name: asdict(one) for name, one in backends.items()}


_DEFAULTS: dict[str, Any] = {
    name: parameter.default
    for name, parameter in inspect.signature(train).parameters.items()
    if name in inspect.signature(assign).parameters and parameter.kind is inspect.Parameter.KEYWORD_ONLY
}
"""What `train` takes for granted, of all that decides how long it takes."""
