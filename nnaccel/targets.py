"""Targets: whether they are classes or numbers, and how they become what a network is trained on, and back."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, cast

import numpy as np

from nnaccel.described import entries, entry
from nnaccel.errors import check
from nnaccel.losses import BinaryCrossEntropy, Loss
from nnaccel.table import Table, as_float64, write_number

Task = Literal["classification", "multilabel", "regression"]
Label = str | int | float

MOST_WHOLE_NUMBERS = 20
"""Whole numbers with more different values than this are numbers to predict, unless the user says otherwise."""

_MOST_CLASSES = 1000

BOOLEANS = {"true": 1.0, "yes": 1.0, "1": 1.0, "false": 0.0, "no": 0.0, "0": 0.0}
"""How truth values are spelled, in lower case."""

USUAL_LOSS: dict[Task, str] = {
    "classification": "softmax_cross_entropy",
    "multilabel": "binary_cross_entropy",
    "regression": "mean_squared_error",
}

_TASK_NAMES: dict[Task, str] = {
    "classification": "classification",
    "multilabel": "task of several labels",
    "regression": "regression",
}


def choose_task(table: Table, names: Sequence[str], wanted: str, loss: Loss | None = None) -> tuple[Task, str]:
    """What the targets mean, and why.

    Parameters
    ----------
    table : Table
    names : sequence of str
        The target's columns.
    wanted : "auto", "classification" or "regression"
    loss : Loss, optional
        What the user wants to minimise.

    Raises
    ------
    InputError
        If the wish doesn't fit the target or the loss.
    """
    check(
        wanted in ("auto", "classification", "regression"),
        f"unknown task {wanted!r}; known: auto, classification, regression.",
    )
    if isinstance(loss, BinaryCrossEntropy) or len(names) > 1:
        task, reason = _task_of_several(table, names, wanted, loss)
    elif wanted != "auto":
        task, reason = cast(Task, wanted), "as asked for"
    elif loss is not None:
        task = "classification" if loss.targets == "labels" else "regression"
        reason = f"for the loss {loss.name}"
    else:
        task, reason = _task_of_one(table, names[0])
    if loss is not None:
        check_loss(loss, task)
    return task, reason


def check_loss(loss: Loss, task: Task) -> None:
    """Refuse a loss that can't be minimised in a task.

    Raises
    ------
    InputError
        If it is for classes and the task isn't, or the other way round.
    """
    kind = (loss.targets == "labels", isinstance(loss, BinaryCrossEntropy))
    check(
        kind == (task == "classification", task == "multilabel"),
        f"the loss {loss.name} doesn't suit a {_TASK_NAMES[task]}: take {USUAL_LOSS[task]}, or another --task.",
    )


def present(table: Table, names: Sequence[str]) -> np.ndarray:
    """Which rows have all their targets, bool (n,)."""
    there: np.ndarray = ~np.any([table.missing(name) for name in names], axis=0)
    return there


def check_classes(table: Table, name: str, rows: np.ndarray) -> None:
    """Refuse a target that makes no sense as classes in these rows.

    Raises
    ------
    InputError
        If all are of one class, or there are more classes than sense.
    """
    _classes(table, name, rows)


def class_numbers(table: Table, name: str) -> np.ndarray:
    """A number for each different target, int (n,): for a split that keeps the classes in proportion."""
    if table.is_text(name):
        return table.text(name).codes
    numbers: np.ndarray = np.unique(table.number(name), return_inverse=True)[1]
    return numbers


@dataclass(frozen=True, eq=False)
class Target:
    """How targets become numbers, and predictions what the user knows, learnt from training rows alone.

    Attributes
    ----------
    names : tuple of str
        The columns.
    task : "classification", "multilabel" or "regression"
    classes : tuple of str, int or float
        In classification, the label of each class number.
    mean, scale : float64 array (outputs,), optional
        In regression, the target enters as (y - mean) / scale.
    """

    names: tuple[str, ...]
    task: Task
    classes: tuple[Label, ...] = ()
    mean: np.ndarray | None = None
    scale: np.ndarray | None = None

    @staticmethod
    def learn(table: Table, names: Sequence[str], rows: np.ndarray, task: Task, scaled: bool = True) -> "Target":
        """Learn the classes, or the scale of numbers.

        Parameters
        ----------
        rows : int array
            The training rows; all have a target.
        scaled : bool
            Whether to standardise numbers; counts stay as they are for a loss such as Poisson's.

        Raises
        ------
        InputError
            If there is nothing to learn, or there are more classes than sense.
        """
        if task == "classification":
            return Target(tuple(names), task, classes=_classes(table, names[0], rows))
        y = _numbers(table, names)[rows]
        if task == "multilabel":
            return Target(tuple(names), task)
        for name, column in zip(names, y.T, strict=True):
            check(
                bool((column != column[0]).any()),
                f"{table.source}: every training row has the same target {name!r}, {column[0]:g}: there is nothing to learn.",
            )
        if not scaled:
            return Target(tuple(names), task)
        with np.errstate(over="ignore", invalid="ignore"):
            mean, scale = y.mean(axis=0), y.std(axis=0)
        for name, spread in zip(names, scale, strict=True):
            check(
                0 < spread < np.inf,
                f"{table.source}: the numbers in column {name!r} are too {'large' if spread else 'near to each other'} to "
                "be standardised: scale them first.",
            )
        return Target(tuple(names), task, mean=mean, scale=scale)

    @property
    def outputs(self) -> int:
        """How many outputs a network for it has."""
        return len(self.classes) or len(self.names)

    @property
    def is_text(self) -> bool:
        """Whether the labels are text, so that a file's column is to be read as text."""
        return bool(self.classes) and isinstance(self.classes[0], str)

    def known(self, table: Table) -> np.ndarray:
        """Which rows have a target, and one of the classes that were learnt, bool (n,)."""
        there = present(table, self.names)
        return there & (self._class_numbers(table) >= 0) if self.classes else there

    def encode(self, table: Table, rows: np.ndarray | None = None) -> np.ndarray:
        """Encode targets: int32 (n,) class numbers, or float64 (n, outputs).

        Parameters
        ----------
        table : Table
        rows : int or bool array, optional
            Which rows; they should have a target. All by default.

        Raises
        ------
        InputError
            If a label wasn't learnt, or a number is none, or too large.
        """
        chosen: Any = slice(None) if rows is None else rows
        if self.classes:
            numbers = self._class_numbers(table)
            self._check_known(table, numbers, chosen)
        else:
            numbers = self._scaled(table)
        encoded: np.ndarray = numbers[chosen]
        return encoded

    def _scaled(self, table: Table) -> np.ndarray:
        """Numbers or labels, float64 (n, outputs)."""
        y = _numbers(table, self.names)
        if self.task == "multilabel":
            _check_labels(table, self.names, y)
        if self.mean is None or self.scale is None:
            return y
        with np.errstate(over="ignore"):
            scaled: np.ndarray = (y - self.mean) / self.scale
        if np.isinf(scaled).any():
            row, column = np.argwhere(np.isinf(scaled))[0]
            raise table.error(
                self.names[column], int(row), f"{y[row, column]:g} is too large: correct it, or leave it empty"
            )
        return scaled

    def decode(self, predictions: np.ndarray) -> np.ndarray:
        """Undo the scaling of numbers, (n, outputs); probabilities stay as they are."""
        if self.mean is None or self.scale is None:
            return predictions
        unscaled: np.ndarray = predictions * self.scale + self.mean
        return unscaled

    def respelled(self, table: Table) -> dict[str, Label]:
        """The labels in a table that are read as ones that were learnt, though spelled a little differently."""
        if not self.is_text:
            return {}
        known, alike = set(self.classes), self._alike()
        words = [word for word in table.text(self.names[0]).words if word not in known]
        return {word: self.classes[number] for word in words if (number := alike.get(_bare(word))) is not None}

    def labels(self) -> np.ndarray:
        """The label of each class, (classes,)."""
        return np.array(self.classes)

    def describe(self) -> dict[str, Any]:
        """What `Target.restore` needs beside the arrays."""
        return {"names": list(self.names), "task": self.task, "classes": list(self.classes)}

    @staticmethod
    def restore(described: Mapping[str, Any], mean: np.ndarray | None, scale: np.ndarray | None) -> "Target":
        """The target that was described.

        Raises
        ------
        ValueError
            If the description doesn't fit together.
        """
        names, task = entries(described, "names", str), entry(described, "task", str)
        if task not in USUAL_LOSS or not names or (task == "classification" and len(names) > 1):
            raise ValueError("the target's task doesn't fit its columns")
        classes = entries(described, "classes", object)
        kinds = {str} if any(isinstance(label, str) for label in classes) else {int, float}
        if bool(classes) != (task == "classification") or not {type(label) for label in classes} <= kinds:
            raise ValueError("the target's classes don't fit its task, or aren't of one kind")
        if any(a >= b for a, b in pairwise(cast(list[Any], classes))):
            raise ValueError("the target's classes aren't in order")
        if (mean is None) != (scale is None) or (mean is not None and task != "regression"):
            raise ValueError("the target's scale doesn't fit its task")
        for array in (mean, scale):
            if array is not None and (array.shape != (len(names),) or not np.isfinite(array).all()):
                raise ValueError("the target's scale has the wrong length, or is no number")
        if scale is not None and not (scale > 0).all():
            raise ValueError("the target's scale isn't positive")
        return Target(tuple(names), task, cast(tuple[Label, ...], tuple(classes)), mean, scale)

    def _class_numbers(self, table: Table) -> np.ndarray:
        """The number of each row's class, int32 (n,); -1 for gaps and for classes that weren't learnt."""
        name = self.names[0]
        if self.is_text:
            text = table.text(name)
            known = {str(label): number for number, label in enumerate(self.classes)}
            alike = self._alike()
            return text.mapped([known.get(word, alike.get(_bare(word), -1)) for word in text.words], -1, np.int32)
        values, labels = _numbers(table, [name])[:, 0], self.labels()
        nearest = np.searchsorted(labels, values).clip(max=len(labels) - 1)
        return np.where(labels[nearest] == values, nearest, -1).astype(np.int32)

    def _check_known(self, table: Table, numbers: np.ndarray, rows: Any) -> None:
        name = self.names[0]
        unknown = (numbers < 0) & ~table.missing(name)
        if not unknown[rows].any():
            return
        row = int(np.arange(len(table))[rows][np.argmax(unknown[rows])])
        text = table.text(name)
        raise table.error(
            name,
            row,
            f"the class {text.words[text.codes[row]]!r} has no training row (learnt were {self._listed()}): correct it, or "
            "leave it empty",
        )

    def _alike(self) -> dict[str, int]:
        """The classes by a spelling without case and final stop, but for those that this makes the same."""
        bare = [_bare(str(label)) for label in self.classes]
        counts = Counter(bare)
        return {word: number for number, word in enumerate(bare) if counts[word] == 1}

    def _listed(self) -> str:
        shown = ", ".join(repr(label) for label in self.classes[:10])
        return shown if len(self.classes) <= 10 else f"{shown} and {len(self.classes) - 10} more"


def _bare(word: str) -> str:
    return word.lower().rstrip(". ")


def _task_of_one(table: Table, name: str) -> tuple[Task, str]:
    if table.is_text(name):
        return "classification", "the target is text"
    values = table.number(name)
    values = values[~np.isnan(values)]
    if not len(values) or (np.floor(values) != values).any():
        return "regression", "the target has fractions"
    count = len(np.unique(values))
    found = f"the target has {count:,} different whole numbers"
    if count <= 2 or (count <= MOST_WHOLE_NUMBERS and 5 * count <= len(values)):
        return "classification", f"{found}; --task regression to predict them as numbers"
    return "regression", f"{found}; --task classification to predict them as classes"


def _task_of_several(table: Table, names: Sequence[str], wanted: str, loss: Loss | None) -> tuple[Task, str]:
    """As `choose_task`, where each column is a label, or a number, of its own."""
    of_classes = wanted == "classification" or (loss is not None and loss.targets == "labels")
    check(
        not of_classes or len(names) == 1,
        f"a classification has one target, not {len(names)}: give one, or leave out --task and --loss.",
    )
    if wanted == "regression":
        return "regression", "as asked for"
    if isinstance(loss, BinaryCrossEntropy):
        _check_labels(table, names, _numbers(table, names))
        return "multilabel", f"for the loss {loss.name}"
    if loss is not None:
        return "regression", f"for the loss {loss.name}"
    y = _numbers(table, names)
    if np.isin(y[~np.isnan(y)], (0, 1)).all():
        return "multilabel", f"the {len(names)} targets are zeros and ones"
    return "regression", f"there are {len(names)} targets"


def _classes(table: Table, name: str, rows: np.ndarray) -> tuple[Label, ...]:
    if table.is_text(name):
        text = table.text(name)
        classes: tuple[Label, ...] = tuple(sorted(text.words[code] for code in np.unique(text.codes[rows])))
    else:
        values = np.unique(_numbers(table, [name])[rows])
        classes = tuple(_class_label(value) for value in values.tolist())
    check(
        len(classes) >= 2,
        f"{table.source}: every training row has the same target {name!r}, {classes[0]!r}: there is nothing to learn."
        if classes
        else f"{table.source}: column {name!r} has no target in any row.",
    )
    check(
        len(classes) <= _MOST_CLASSES and (len(classes) <= 50 or 2 * len(classes) <= len(rows)),
        f"{table.source}: the target {name!r} has {len(classes):,} different values in {len(rows):,} rows, more "
        f"classes than make sense (such as {classes[0]!r} and {classes[1]!r}): give another --target"
        + ("." if table.is_text(name) else ", or --task regression."),
    )
    return classes


def _class_label(value: float) -> int | float:
    # Beyond 2**53 floats are sparser than whole numbers.
    return int(value) if value.is_integer() and abs(value) < 2**53 else value


def _numbers(table: Table, names: Sequence[str]) -> np.ndarray:
    """The targets as numbers, float64 (n, outputs), truth values as 0 and 1."""
    columns = []
    for name in names:
        what = "a number: correct it, or leave it empty"
        truths = table.is_text(name) and all(word.lower() in BOOLEANS for word in table.text(name).words)
        column = table.parsed(name, _read_truth, what) if truths else as_float64(table.number(name, what))
        infinite = np.isinf(column)
        if infinite.any():
            row = int(np.argmax(infinite))
            raise table.error(
                name, row, f"{write_number(column[row])} is no number to learn: correct it, or leave it empty"
            )
        columns.append(column)
    return np.stack(columns, axis=1)


def _read_truth(word: str) -> float:
    return BOOLEANS[word.lower()]


def _check_labels(table: Table, names: Sequence[str], y: np.ndarray) -> None:
    """Refuse labels, (n, labels), other than 0 and 1; gaps pass."""
    strange = ~(np.isin(y, (0, 1)) | np.isnan(y))
    if strange.any():
        row, column = np.argwhere(strange)[0]
        raise table.error(
            names[column], int(row), f"{write_number(y[row, column])} is no label: these are 0 or 1, or yes or no"
        )
