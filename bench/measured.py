"""What a result file says, for tables, plots and comparisons: how long who took for what, and on which machine."""

import statistics
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

CONTROL = "numpy"
"""The loop by hand: what it computes has nothing to do with our version, so that it shows how the machine itself has changed."""

BUSY = 0.25
"""Beyond this part of the cores, other work disturbs a benchmark."""


@dataclass(frozen=True)
class Series:
    """The samples of one contender.

    Attributes
    ----------
    contender : str
    kind : "backend" or "peer"
    seconds : tuple of float
        Of an epoch, or of a training that reached a goal; two or more.
    rows : int
        How many rows are trained on in that time.
    """

    contender: str
    kind: str
    seconds: tuple[float, ...]
    rows: int

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.seconds)


@dataclass(frozen=True)
class Measured:
    """A case, or a goal, and who was timed on it.

    Attributes
    ----------
    label : str
        Such as "digits, sgd" or "digits to accuracy 0.95".
    goal : bool
        Whether whole trainings were timed, instead of epochs.
    definition : mapping
        All that two measurements must share to be comparable.
    series : dict of str to Series
        By contender.
    """

    label: str
    goal: bool
    definition: Mapping[str, Any]
    series: dict[str, Series]

    @property
    def control(self) -> Series | None:
        """What shows how the machine itself has changed: NumPy's loop, or for a goal the backend cpu."""
        return self.series.get(CONTROL) or (self.series.get("cpu") if self.goal else None)


def measured(result: Mapping[str, Any]) -> list[Measured]:
    """The cases of a result in which somebody was timed, and at the end its goal.

    Parameters
    ----------
    result : mapping
        Of the format `nnaccel-bench`.
    """
    found = [_case(each) for each in result["results"]]
    if result["goal"]:
        found.append(_goal(result["goal"]))
    return [each for each in found if each.series]


def _case(result: Mapping[str, Any]) -> Measured:
    case, epochs = result["case"], result["epochs_per_sample"]
    rows = result["steps_per_epoch"] * case["batch"]
    series = {
        entry["name"]: Series(entry["name"], entry["kind"], tuple(s / epochs for s in entry["samples"]), rows)
        for entry in result["contenders"]
        if len(entry["samples"]) > 1
    }
    return Measured(f"{case['name']}, {case['optimizer'].partition(',')[0]}", False, case, series)


def _goal(goal: Mapping[str, Any]) -> Measured:
    series = {
        entry["name"]: Series(entry["name"], "backend", tuple(entry["samples"]), goal["rows"] * entry["epochs"])
        for entry in goal["contenders"]
        if len(entry["samples"]) > 1
    }
    label = f"{goal['data']} to {goal['metric']} {goal['score']:g}"
    return Measured(label, True, {name: value for name, value in goal.items() if name != "contenders"}, series)


def case_shape(definition: Mapping[str, Any]) -> str:
    """The sizes of a case or a goal for people to read.

    Examples
    --------
    >>> case_shape({"rows": 1797, "features": 64, "hidden": [100], "outputs": 10, "batch": 200})
    '1,797 x 64, 100-10, batch 200'
    """
    widths = "-".join(map(str, (*definition["hidden"], definition["outputs"])))
    return f"{definition['rows']:,} x {definition['features']:,}, {widths}, batch {definition['batch']:,}"


def machine_label(machine: Mapping[str, Any]) -> str:
    """A machine in a few words.

    Examples
    --------
    >>> machine_label({"processor": None, "architecture": "arm64", "usable_cores": 8, "gpus": []})
    'arm64, 8 cores'
    """
    cores = machine["usable_cores"]
    words = [machine["processor"] or machine["architecture"], f"{cores:,} core{'' if cores == 1 else 's'}"]
    return ", ".join([*words, *dict.fromkeys(gpu["name"] for gpu in machine["gpus"])])


def is_busy(conditions: Mapping[str, Any]) -> bool:
    """Whether the machine had other work before the run, of so many cores that it disturbs what is measured.

    Examples
    --------
    >>> is_busy({"load_before": [1.5, 1.0, 1.0], "machine": {"usable_cores": 4}})
    True
    >>> is_busy({"load_before": None, "machine": {"usable_cores": 4}})
    False
    """
    load = conditions["load_before"]
    return bool(load) and bool(load[0] > BUSY * conditions["machine"]["usable_cores"])


def same_machine(first: Mapping[str, Any], second: Mapping[str, Any]) -> bool:
    """Whether two results are of one machine, as far as it can be told: all but the memory that happened to be free."""
    return all(first["machine"][name] == second["machine"][name] for name in first["machine"] if name not in _CHANGING)


_CHANGING = ("available_memory_bytes",)
