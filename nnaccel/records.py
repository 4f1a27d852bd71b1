"""How good estimates have been: what was said of a training, and what it took, in a file that stays on this machine.

`NNACCEL_RECORDS=off` in the environment keeps nothing. The files lie in the cache folder: `estimates.json` has the last
estimates, until a training can be compared with one; `records.jsonl` a line for each training that was.
"""

import contextlib
import hashlib
import json
import os
import statistics
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from nnaccel.cost import Workload, epoch_seconds
from nnaccel.described import entry, to_json
from nnaccel.errors import InputError
from nnaccel.files import written_whole
from nnaccel.kernels.cache import Unusable, folder
from nnaccel.plan import Plan
from nnaccel.profile import stored_profile
from nnaccel.report import TrainingReport

LEAST_SECONDS = 0.1
"""A training that is over sooner says more of the moment than of the estimate."""

LEAST_EPOCHS = 20
"""Of a training that ended in the middle of one: what is left over then counts for less than one in so many."""

MOST_ESTIMATES = 200

MOST_BYTES = 1 << 20
"""When there are more records, the older half goes."""


@dataclass(frozen=True)
class Record:
    """What was said of a training, and what it took.

    Attributes
    ----------
    time : str
        When it ended, by ISO 8601.
    backend : str
    source : str
        "trial" or "projection".
    predicted_s, actual_s : float
        An epoch.
    low, high : float
        The bounds of the estimate, as parts of it.
    epochs, rows, batch_size, parameters : int
    """

    time: str
    backend: str
    source: str
    predicted_s: float
    actual_s: float
    low: float
    high: float
    epochs: int
    rows: int
    batch_size: int
    parameters: int

    @property
    def error(self) -> float:
        """By how much the estimate was off, as a part of what it took; positive where it was too long."""
        return self.predicted_s / self.actual_s - 1

    @property
    def is_within(self) -> bool:
        """Whether it took what the interval said."""
        return self.low <= self.actual_s / self.predicted_s <= self.high

    @staticmethod
    def restore(described: Any) -> "Record":
        """The record that was described.

        Raises
        ------
        ValueError
            If something is missing or of another type.
        """
        values: dict[str, Any] = {name: entry(described, name, str) for name in ("time", "backend", "source")}
        values |= {name: entry(described, name, float) for name in _TIMES}
        values |= {name: entry(described, name, int) for name in ("epochs", "rows", "batch_size", "parameters")}
        if not all(values[name] > 0 for name in _TIMES):
            raise ValueError("its times are no times")
        return Record(**values)


@dataclass(frozen=True)
class Accuracy:
    """How good the estimates have been.

    Attributes
    ----------
    records : list of Record
    """

    records: list[Record]

    @property
    def count(self) -> int:
        """How many trainings could be compared with an estimate."""
        return len(self.records)

    @property
    def median_error(self) -> float:
        """The median of the errors' sizes; NaN without any."""
        return statistics.median(abs(one.error) for one in self.records) if self.records else float("nan")

    @property
    def within_interval(self) -> float:
        """The part of the trainings that took what the interval said; NaN without any."""
        return statistics.fmean(one.is_within for one in self.records) if self.records else float("nan")

    @property
    def lines(self) -> list[str]:
        """What to show people: all in all, and the last ten."""
        if not self.records:
            return ["no training has been compared with an estimate yet: nnaccel estimate, and then nnaccel train, do"]
        summary = [
            f"{len(group)} by {name}: median error {Accuracy(group).median_error:.1%}, "
            f"{Accuracy(group).within_interval:.0%} within the 80 % interval"
            for name in sorted({one.source for one in self.records})
            for group in [[one for one in self.records if one.source == name]]
        ]
        latest = [
            f"{one.time[:16]}  {one.backend:6} {one.parameters:>11,} parameters, {one.rows:>9,} rows, batches of "
            f"{one.batch_size:,}: {one.predicted_s:.3g} s an epoch by {one.source}, was {one.actual_s:.3g} s ({one.error:+.0%})"
            for one in self.records[-10:]
        ]
        return [*summary, *latest]

    def describe(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return {
            "count": self.count,
            "median_error": self.median_error,
            "within_interval": self.within_interval,
            "records": [asdict(one) for one in self.records],
        }


def accuracy() -> Accuracy:
    """How good the estimates on this machine have been; lines that can't be read are passed over."""
    records = []
    with contextlib.suppress(OSError, Unusable):
        for line in _lines(folder() / _RECORDS):
            with contextlib.suppress(ValueError, RecursionError):
                records.append(Record.restore(json.loads(line)))
    return Accuracy(records)


def note_estimate(backend: str, workload: Workload, per_epoch_s: float, bounds: tuple[float, float]) -> None:
    """Remember an estimate until the training that it is of. Never raises: nothing depends on it."""
    if not _wanted():
        return
    with contextlib.suppress(OSError, Unusable, InputError):
        path = folder() / _ESTIMATES
        path.parent.mkdir(parents=True, exist_ok=True)
        kept = _estimates(path)
        key = _key(backend, workload)
        kept.pop(key, None)
        kept[key] = {"per_epoch_s": per_epoch_s, "low": bounds[0], "high": bounds[1]}
        with written_whole(path) as part:
            part.write_text(to_json(dict(list(kept.items())[-MOST_ESTIMATES:])), encoding="utf-8")


def note_training(
    report: TrainingReport, plan: Plan, rows: int, batch_size: int, validation_rows: int, threads: int | None = None
) -> None:
    """Write down what was said of a training and what it took, if anything was. Never raises: nothing depends on it."""
    whole = report.stopped_by != "time limit" or report.epochs >= LEAST_EPOCHS
    if not _wanted() or report.seconds < LEAST_SECONDS or not report.epochs or not whole:
        return
    settings = report.settings
    watched = bool(validation_rows or settings.get("early stopping")) or settings["schedule"].startswith("plateau")
    workload = Workload(plan, rows, min(batch_size, rows), validation_rows, watched, threads)
    with contextlib.suppress(OSError, Unusable, InputError):
        found = _estimates(folder() / _ESTIMATES).get(_key(report.backend, workload))
        said = _as_said(found) or _projected(report.backend, workload)
        if said is not None:
            source, predicted, low, high = said
            _append(
                Record(
                    datetime.now(UTC).isoformat(timespec="seconds"), report.backend, source, predicted,
                    report.seconds / report.epochs, low, high, report.epochs, rows, workload.batch_size,
                    plan.network.parameter_count,
                )
            )  # fmt: skip


def _as_said(found: Any) -> tuple[str, float, float, float] | None:
    """What an estimate that was kept had said."""
    with contextlib.suppress(ValueError):
        per_epoch_s, low, high = (entry(found, name, float) for name in ("per_epoch_s", "low", "high"))
        return "trial", per_epoch_s, low, high
    return None


def _projected(backend: str, workload: Workload) -> tuple[str, float, float, float] | None:
    """What the stored profile says."""
    profile = stored_profile()
    if profile is None or backend not in profile.backends:
        return None
    seconds = epoch_seconds(workload, profile.backends[backend])
    return ("projection", seconds, *profile.backends[backend].ratios) if seconds > 0 else None


def _append(record: Record) -> None:
    path = folder() / _RECORDS
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists() and not path.is_file():
        return
    with path.open("a", encoding="utf-8") as file:  # one write of a line goes to the end whole, whoever else writes
        file.write(to_json(asdict(record)) + "\n")
    if path.stat().st_size > MOST_BYTES:
        lines = _lines(path)
        with written_whole(path) as part:
            part.write_text("".join(f"{line}\n" for line in lines[len(lines) // 2 :]), encoding="utf-8")


def _lines(path: Path) -> list[str]:
    """The last lines of a file of records; it may have grown a little over `MOST_BYTES`, but isn't to take any memory."""
    content = _content(path, 2 * MOST_BYTES)
    return content.decode("utf-8", "replace").splitlines()


def _content(path: Path, most: int) -> bytes:
    """The last bytes of a file; none if it is a pipe or a device, which reading might never end."""
    if not path.is_file():
        return b""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - most))
        return file.read(most)


def _estimates(path: Path) -> dict[str, Any]:
    try:
        kept = json.loads(_content(path, MOST_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return dict(kept) if isinstance(kept, Mapping) else {}


def _key(backend: str, workload: Workload) -> str:
    """What tells one training from another, as far as its time is concerned: the learning rate is of no account."""
    plan = replace(workload.plan, optimizer=replace(workload.plan.optimizer, learning_rate=1.0))
    return hashlib.sha256(repr((backend, replace(workload, plan=plan))).encode()).hexdigest()[:24]


def _wanted() -> bool:
    return os.environ.get("NNACCEL_RECORDS", "").lower() not in ("off", "0", "no", "false")


_TIMES = ("predicted_s", "actual_s", "low", "high")

_ESTIMATES, _RECORDS = "estimates.json", "records.jsonl"
