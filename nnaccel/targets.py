"""Targets: whether they are classes or numbers, and how they become what a network is trained on, and back."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, cast

import numpy as np

from nnaccel.errors import InputError, check
from nnaccel.losses import BinaryCrossEntropy, Loss
from nnaccel.table import Table, write_number

Task = Literal["classification", "multilabel", "regression"]
Label = str | int | float

MOST_WHOLE_NUMBERS = 20
"""Whole numbers with more different values than this are numbers to predict, unless the user says otherwise."""

_MOST_CLASSES = 1000

USUAL_LOSS: dict[Task, str] = {
    "classification": "softmax_cross_entropy",
    "multilabel": "binary_cross_entropy",
    "regression": "mean_squared_error",
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
    if len(names) > 1:
        task, reason = _task_of_several(table, names, wanted)
    elif wanted != "auto":
        task, reason = cast(Task, wanted), "as asked for"
    elif loss is not None and not isinstance(loss, BinaryCrossEntropy):
        task = "classification" if loss.targets == "labels" else "regression"
        reason = f"for the loss {loss.name}"
    else:
        task, reason = _task_of_one(table, names[0])
    if loss is not None and (loss.targets == "labels", isinstance(loss, BinaryCrossEntropy)) != _kind_of_loss(task):
        raise InputError(f"the loss {loss.name} doesn't suit a {task}: take {USUAL_LOSS[task]}, or another --task.")
    return task, reason


def present(table: Table, names: Sequence[str]) -> np.ndarray:
    """Which rows have all their targets, bool (n,)."""
    there: np.ndarray = ~np.any([table.missing(name) for name in names], axis=0)
    return there


def class_numbers(table: Table, name: str) -> np.ndarray:
    """A number for each different target, int (n,): for a split that keeps the classes in proportion."""
    if table.is_text(name):
        return table.text(name).codes
    numbers: np.ndarray = np.unique(table.number(name), return_inverse=True)[1]
    return numbers


@dataclass(frozen=True)
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
        scale = y.std(axis=0)
        check(bool(np.isfinite(scale).all()), f"{table.source}: the target's numbers are too large: scale them first.")
        return Target(tuple(names), task, mean=y.mean(axis=0), scale=scale)

    @property
    def outputs(self) -> int:
        """How many outputs a network for it has."""
        return len(self.classes) or len(self.names)

    @property
    def is_text(self) -> bool:
        """Whether the labels are text, so that a file's column is to be read as text."""
        return bool(self.classes) and isinstance(self.classes[0], str)

    def encode(self, table: Table) -> np.ndarray:
        """Encode targets: int32 (n,) class numbers, or float64 (n, outputs); only rows that have a target may be used.

        Raises
        ------
        InputError
            If a label wasn't learnt, or a number is none.
        """
        if self.classes:
            return self._class_numbers(table, self.names[0])
        y = _numbers(table, self.names)
        return y if self.mean is None or self.scale is None else (y - self.mean) / self.scale

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
        words = [word for word in table.text(self.names[0]).words if word not in self.classes]
        return {word: self.classes[number] for word in words if (number := self._alike().get(_bare(word))) is not None}

    def labels(self) -> np.ndarray:
        """The label of each class, (classes,)."""
        return np.array(self.classes)

    def describe(self) -> dict[str, Any]:
        """What `Target.restore` needs beside the arrays."""
        return {"names": list(self.names), "task": self.task, "classes": list(self.classes)}

    @staticmethod
    def restore(described: Mapping[str, Any], mean: np.ndarray | None, scale: np.ndarray | None) -> "Target":
        """The target that was described."""
        return Target(tuple(described["names"]), described["task"], tuple(described["classes"]), mean, scale)

    def _class_numbers(self, table: Table, name: str) -> np.ndarray:
        if self.is_text:
            text = table.text(name)
            known = {str(label): number for number, label in enumerate(self.classes)}
            alike = self._alike()
            numbers = text.mapped([known.get(word, alike.get(_bare(word), -1)) for word in text.words], -1, np.int32)
        else:
            values, labels = table.number(name), self.labels()
            nearest = np.searchsorted(labels, values).clip(max=len(labels) - 1)
            numbers = np.where(labels[nearest] == values, nearest, -1).astype(np.int32)
        unknown = (numbers < 0) & ~table.missing(name)
        if unknown.any():
            row = int(np.argmax(unknown))
            text = table.text(name)
            raise table.error(
                name,
                row,
                f"the class {text.words[text.codes[row]]!r} has no training row; learnt were {self._listed()}",
            )
        return numbers

    def _alike(self) -> dict[str, int]:
        """The classes by a spelling without case and final stop; none where two would be the same."""
        bare = [_bare(str(label)) for label in self.classes]
        return {word: number for number, word in enumerate(bare)} if len(set(bare)) == len(bare) else {}

    def _listed(self) -> str:
        shown = ", ".join(repr(label) for label in self.classes[:10])
        return shown if len(self.classes) <= 10 else f"{shown} and {len(self.classes) - 10} more"


def _bare(word: str) -> str:
    return word.lower().rstrip(". ")


def _kind_of_loss(task: Task) -> tuple[bool, bool]:
    return task == "classification", task == "multilabel"


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


def _task_of_several(table: Table, names: Sequence[str], wanted: str) -> tuple[Task, str]:
    check(wanted != "classification", f"a classification has one target, not {len(names)}: give one, or --task auto.")
    y = _numbers(table, names)
    if wanted == "auto" and np.isin(y[~np.isnan(y)], (0, 1)).all():
        return "multilabel", f"the {len(names)} targets are zeros and ones"
    return "regression", "as asked for" if wanted == "regression" else f"there are {len(names)} targets"


def _classes(table: Table, name: str, rows: np.ndarray) -> tuple[Label, ...]:
    if table.is_text(name):
        text = table.text(name)
        classes: tuple[Label, ...] = tuple(sorted(text.words[code] for code in np.unique(text.codes[rows])))
    else:
        values = np.unique(table.number(name)[rows])
        classes = tuple(int(value) if value == math.floor(value) else float(value) for value in values)
    check(
        len(classes) >= 2,
        f"{table.source}: every training row has the same target {name!r}, {classes[0]!r}: there is nothing to learn."
        if classes
        else f"{table.source}: column {name!r} has no target in any row.",
    )
    check(
        len(classes) <= _MOST_CLASSES and (len(classes) <= 50 or 2 * len(classes) <= len(rows)),
        f"{table.source}: the target {name!r} has {len(classes):,} different values in {len(rows):,} training rows, more "
        f"classes than make sense (such as {classes[0]!r} and {classes[1]!r}): give another --target"
        + ("." if table.is_text(name) else ", or --task regression."),
    )
    return classes


def _numbers(table: Table, names: Sequence[str]) -> np.ndarray:
    """The targets as numbers, float64 (n, outputs)."""
    columns = [table.number(name).astype(np.float64) for name in names]
    for name, column in zip(names, columns, strict=True):
        infinite = np.isinf(column)
        if infinite.any():
            row = int(np.argmax(infinite))
            raise table.error(name, row, f"{write_number(column[row])} is no number to learn: remove the row")
    return np.stack(columns, axis=1)
