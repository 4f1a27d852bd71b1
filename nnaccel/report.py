"""The record of a training: what each epoch brought, and how it went as a whole."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from nnaccel.described import entries, entry, named_entries

INTERRUPT = "interrupt"
"""What has stopped a training on Ctrl-C or a signal."""


class History:
    """What each epoch brought, by column.

    Columns are `epoch` (from 1), `train_loss` (the data loss, mean over rows, each batch before its update), `penalty`,
    `learning_rate` (at the epoch's last step) and, with a validation set, `validation_loss` and each metric as
    `validation_NAME`.

    Examples
    --------
    >>> history = History()
    >>> history.extend({"epoch": [1, 2], "train_loss": [0.7, 0.5]})
    >>> history["train_loss"], len(history)
    ([0.7, 0.5], 2)
    """

    def __init__(self) -> None:
        self._columns: dict[str, list[float]] = {}

    def extend(self, columns: dict[str, list[float]]) -> None:
        """Add epochs: the same columns each time, all of one length."""
        for name, values in columns.items():
            self._columns.setdefault(name, []).extend(values)

    def __getitem__(self, column: str) -> list[float]:
        """The column of this name, a number an epoch."""
        return self._columns[column]

    def __contains__(self, column: str) -> bool:
        """Whether there is a column of this name."""
        return column in self._columns

    def __len__(self) -> int:
        """The number of epochs."""
        return len(next(iter(self._columns.values()), []))

    def as_dict(self) -> dict[str, list[float]]:
        """All columns, for JSON or a data frame."""
        return {name: list(values) for name, values in self._columns.items()}


@dataclass(frozen=True)
class TrainingReport:
    """How a model was trained.

    Attributes
    ----------
    backend, kernel : str
        What ran, and why it was chosen in `reason`.
    seconds : float
        Of training, validation included.
    seconds_compile : float
        Of loading the backend and compiling the program.
    epochs : int
        Finished ones.
    best_epoch : int
        The one whose parameters the model has.
    rows : int
        Training rows.
    train_loss : float
        Of the best epoch: the data loss, mean over rows, each batch before its update.
    metrics : dict of str to float
        On the validation set, if there was one, with the model's parameters.
    history : History
    stopped_by : str
        "epochs", "early stopping", "time limit", "callback" or, on Ctrl-C or a signal, "interrupt".
    settings : dict of str to str
        Optimizer, schedule, batch size and so on.
    baseline : dict of str to float
        The metrics of the best constant prediction, where it was computed.
    data : dict of str to str
        What it was trained on, where that is known.
    finished : str
        When, by ISO 8601.
    """

    backend: str
    kernel: str
    reason: str
    seconds: float
    seconds_compile: float
    epochs: int
    best_epoch: int
    rows: int
    train_loss: float
    metrics: dict[str, float]
    history: History
    stopped_by: str
    settings: dict[str, str] = field(default_factory=dict)
    baseline: dict[str, float] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    finished: str = ""

    def describe(self) -> dict[str, Any]:
        """All of it, for JSON; see `restore`."""
        return asdict(self) | {"history": self.history.as_dict()}

    @staticmethod
    def restore(described: Mapping[str, Any]) -> "TrainingReport":
        """The report that was described; what JSON has as null is NaN.

        Raises
        ------
        ValueError
            If something is missing, or of another type.
        """
        values: dict[str, Any] = {name: entry(described, name, str) for name in _TEXTS}
        values |= {name: entry(described, name, int) for name in ("epochs", "best_epoch", "rows")}
        values |= {name: entry(described, name, float) for name in ("seconds", "seconds_compile", "train_loss")}
        values |= {name: named_entries(described, name, float) for name in ("metrics", "baseline")}
        values |= {name: named_entries(described, name, str) for name in ("settings", "data")}
        history = History()
        columns = entry(described, "history", dict)
        history.extend({name: entries(columns, name, float) for name in columns})
        if len({len(column) for column in history.as_dict().values()}) > 1:
            raise ValueError("the columns of its history are not equally long")
        return TrainingReport(**values, history=history, finished=str(described.get("finished", "")))


_TEXTS = ("backend", "kernel", "reason", "stopped_by")
