"""Preparing a table for training: which column is what, what is held out, and the encoded arrays of both parts."""

from dataclasses import dataclass, field

import numpy as np

from nnaccel.encoding import Encoding, word_reader
from nnaccel.errors import check
from nnaccel.learning import Findings, find_format, learn_encoding
from nnaccel.losses import Loss
from nnaccel.order import split, split_by_group, split_by_time
from nnaccel.sources import ALL_ROWS, Source
from nnaccel.table import Table
from nnaccel.targets import Target, Task, choose_task, class_numbers, present


@dataclass(frozen=True)
class Roles:
    """What columns are for; each by its name or position, several between commas.

    Attributes
    ----------
    target : str, optional
        What is to be predicted; None where the source knows it.
    drop : str
        Not to be used.
    weight : str, optional
        How much each row counts.
    group : str, optional
        Rows of the same group are held out together. No feature.
    time : str, optional
        The latest rows are held out. No feature.
    categorical : str
        To be read as text, though they look like numbers.
    """

    target: str | None = None
    drop: str = ""
    weight: str | None = None
    group: str | None = None
    time: str | None = None
    categorical: str = ""


@dataclass(frozen=True)
class Question:
    """What is to be learnt from a table.

    Attributes
    ----------
    roles : Roles
    task : "auto", "classification" or "regression"
    loss : Loss, optional
        The one that the user asked for.
    class_weight : "balanced", optional
        Weigh rows so that all classes count the same.
    validation : float
        The part of the rows to hold out; 0 for none.
    rows : range
        The rows to use, counted from 0.
    seed : int
        Of the choice of the rows to hold out.
    dtype : "float32" or "float64"
        Of the encoded features.
    """

    roles: Roles = Roles()
    task: str = "auto"
    loss: Loss | None = None
    class_weight: str | None = None
    validation: float = 0.2
    rows: range = ALL_ROWS
    seed: int = 0
    dtype: str = "float32"

    def __post_init__(self) -> None:
        roles = self.roles
        check(roles.group is None or roles.time is None, "rows are held out by --group or by --time, not by both.")
        check(self.class_weight in (None, "balanced"), f"--class-weight takes 'balanced', not {self.class_weight!r}.")


@dataclass(frozen=True)
class Part:
    """Encoded rows.

    Attributes
    ----------
    x : array (n, features)
    y : int32 array (n,) or float array (n, outputs)
    weights : float64 array (n,), optional
    """

    x: np.ndarray
    y: np.ndarray
    weights: np.ndarray | None = None


@dataclass(frozen=True)
class Prepared:
    """A table made ready.

    Attributes
    ----------
    encoding : Encoding
    training : Part
    held_out : Part, optional
    class_weights : float64 array (classes,), optional
        How much a row of each class counts in training, beside its own weight.
    reason : str
        Why the task is what it is.
    held_out_by : str
        How the held-out rows were chosen.
    findings : Findings
        What was found out about the columns.
    remarks : list of str
        What else the user should know.
    """

    encoding: Encoding
    training: Part
    held_out: Part | None
    class_weights: np.ndarray | None
    reason: str
    held_out_by: str
    findings: Findings
    remarks: list[str] = field(default_factory=list)

    @property
    def task(self) -> Task:
        """What is learnt."""
        return self.encoding.target.task

    @property
    def training_weights(self) -> np.ndarray | None:
        """How much each training row counts, (n,)."""
        if self.class_weights is None:
            return self.training.weights
        by_class: np.ndarray = self.class_weights[self.training.y]
        return by_class if self.training.weights is None else by_class * self.training.weights


def prepare(
    source: Source, question: Question, validation: Source | None = None, encoding: Encoding | None = None
) -> Prepared:
    """Read a source, choose what is held out, learn the encoding from the rest, and encode both.

    Parameters
    ----------
    source : Source
    question : Question
    validation : Source, optional
        Rows to validate on, instead of a part of the source.
    encoding : Encoding, optional
        One learnt before, to go on with instead of learning one.

    Raises
    ------
    InputError
        If the table doesn't answer the question.
    """
    columns = _resolve(source, question.roles, encoding)
    if encoding is None:
        places = {name: place for place, name in enumerate(source.columns) if name not in columns.dropped}
        table = source.read(places, columns.text, question.rows)
    else:
        table = source.read(_known_places(source, columns, encoding), columns.text | encoding.texts, question.rows)

    remarks = list(source.remarks)
    rows = _rows_with_target(table, columns.targets, remarks)
    if encoding is None:
        task, reason = choose_task(table, columns.targets, question.task, question.loss)
    else:
        task, reason = encoding.target.task, "as the model was trained"
    kept, held, held_out_by = _split(table, rows, columns, task, question, validation)
    findings = Findings()
    if encoding is None:
        scaled = question.loss is None or question.loss.domain[0] == -np.inf
        target = Target.learn(table, columns.targets, kept, task, scaled)
        encoding, findings = learn_encoding(source, table, kept, columns.unused, target)
    remarks += _respelled(encoding.target, table)

    training = _encode(encoding, table, kept, columns.weight, question.dtype)
    class_weights = _balanced(training, encoding.target) if question.class_weight else None
    if validation is not None:
        held_out: Part | None = _encode_source(encoding, validation, columns.weight, question.dtype, remarks)
    else:
        held_out = _encode(encoding, table, held, columns.weight, question.dtype) if len(held) else None
    return Prepared(encoding, training, held_out, class_weights, reason, held_out_by, findings, remarks)


@dataclass(frozen=True)
class _Columns:
    """The roles of a source's columns, all by name."""

    targets: tuple[str, ...]
    weight: str | None
    group: str | None
    time: str | None
    dropped: frozenset[str]
    text: frozenset[str]

    @property
    def unused(self) -> frozenset[str]:
        """Those that are no features, beside the targets."""
        return self.dropped | {name for name in (self.weight, self.group, self.time) if name is not None}


def _resolve(source: Source, roles: Roles, encoding: Encoding | None) -> _Columns:
    def one(given: str | None) -> str | None:
        return None if given is None else source.columns[source.position(given)]

    def several(given: str) -> frozenset[str]:
        return frozenset(source.columns[place] for place in source.positions(given))

    targets = _targets(source, roles.target, encoding)
    columns = _Columns(
        targets, one(roles.weight), one(roles.group), one(roles.time), several(roles.drop), several(roles.categorical)
    )
    purposes = {"weight": columns.weight, "group": columns.group, "time": columns.time}
    for purpose, name in [("target", name) for name in targets] + list(purposes.items()):
        check(name not in columns.dropped, f"column {name!r} is the {purpose}, so it can't be dropped.")
        check(
            purpose == "target" or name not in targets, f"column {name!r} can't be both the target and the {purpose}."
        )
    return columns


def _targets(source: Source, given: str | None, encoding: Encoding | None) -> tuple[str, ...]:
    if encoding is not None:
        return encoding.target.names
    if given is not None:
        return tuple(source.columns[place] for place in source.positions(given))
    check(
        bool(source.targets),
        f"say which column of {source.name} is to be predicted, with --target; it has {source.describe_columns()}.",
    )
    return source.targets


def _known_places(source: Source, columns: _Columns, encoding: Encoding) -> dict[str, int]:
    """Where the columns of an encoding stand, and those with a role."""
    places = encoding.places(source)
    check(
        all(name in places for name in columns.targets),
        f"{source.name} lacks the target {', '.join(map(repr, columns.targets))}: there is nothing to learn from.",
    )
    with_a_role = columns.unused - columns.dropped
    return places | {name: source.columns.index(name) for name in with_a_role}


def _rows_with_target(table: Table, names: tuple[str, ...], remarks: list[str]) -> np.ndarray:
    there = present(table, names)
    missing = len(table) - int(there.sum())
    check(
        missing < len(table), f"{table.source}: column {', '.join(map(repr, names))} is empty, so there is no target."
    )
    if missing:
        remarks.append(f"{missing:,} rows of {table.source} have no target and are left out")
    return np.flatnonzero(there).astype(np.int32)


def _split(
    table: Table, rows: np.ndarray, columns: _Columns, task: Task, question: Question, validation: Source | None
) -> tuple[np.ndarray, np.ndarray, str]:
    """The training rows, those held out, and how they were chosen."""
    fraction, seed = question.validation, question.seed
    if validation is not None:
        check(
            columns.group is None and columns.time is None,
            "with a file to validate on there is nothing to split: leave out --group and --time.",
        )
        return rows, rows[:0], f"all of {validation.name}"
    if fraction == 0:
        return rows, rows[:0], ""
    if columns.group is not None:
        groups = np.unique(class_numbers(table, columns.group)[rows], return_inverse=True)[1]
        kept, held = split_by_group(groups, fraction, seed)
        chosen = f"whole groups of {columns.group!r} at random, seed {seed}"
    elif columns.time is not None:
        kept, held = split_by_time(_times(table, columns.time)[rows], fraction)
        chosen = f"the latest by {columns.time!r}"
    else:
        labels = class_numbers(table, columns.targets[0])[rows] if task == "classification" else None
        kept, held = split(len(rows), fraction, seed, labels)
        chosen = f"at random, seed {seed}" + ("" if labels is None else ", each class in proportion")
    return rows[kept], rows[held], chosen


def _times(table: Table, name: str) -> np.ndarray:
    """A column of numbers or dates, (n,)."""
    if table.missing(name).any():
        raise table.error(name, int(np.argmax(table.missing(name))), "there is no time: fill it in, or drop the row")
    if not table.is_text(name):
        return table.number(name)
    form = find_format(table.text(name).words)
    if form is None or form == "boolean":
        raise table.error(
            name, 0, f"{table.text(name).words[0]!r} is no time: give --time a column of dates or numbers"
        )
    return table.parsed(name, word_reader(form), "a date")


def _respelled(target: Target, table: Table) -> list[str]:
    return [
        f"{table.source}: {word!r} is read as the class {label!r}" for word, label in target.respelled(table).items()
    ]


def _encode(encoding: Encoding, table: Table, rows: np.ndarray, weight: str | None, dtype: str) -> Part:
    x = encoding.features(table, dtype, rows)
    y = encoding.target.encode(table)[rows]
    return Part(x, y, None if weight is None else _weights(table, weight, rows))


def _weights(table: Table, name: str, rows: np.ndarray) -> np.ndarray:
    weights: np.ndarray = table.number(name).astype(np.float64)[rows]
    bad = ~(weights >= 0) | np.isinf(weights)
    if bad.any():
        row = int(np.argmax(bad))
        raise table.error(name, int(rows[row]), f"a weight must be a number, 0 or more, not {weights[row]:g}")
    check(
        bool(weights.any()), f"{table.source}: all weights in column {name!r} are zero: there is nothing to learn from."
    )
    return weights


def _balanced(part: Part, target: Target) -> np.ndarray:
    """For each class a weight that makes all classes weigh the same, and the rows together what they did before."""
    check(target.task == "classification", f"--class-weight is for classes, but this is a {target.task}: leave it out.")
    sums = np.bincount(part.y, weights=part.weights, minlength=len(target.classes))
    weights: np.ndarray = np.divide(sums.sum() / np.count_nonzero(sums), sums, out=np.zeros(len(sums)), where=sums > 0)
    return weights


def _encode_source(encoding: Encoding, source: Source, weight: str | None, dtype: str, remarks: list[str]) -> Part:
    """All rows of a source that have a target, encoded part by part."""
    places = encoding.places(source)
    check(
        all(name in places for name in encoding.target.names),
        f"{source.name} lacks the target {', '.join(map(repr, encoding.target.names))}, so nothing can be validated on it.",
    )
    if weight is not None:
        places |= {weight: source.position(weight)}
    parts = []
    for table in source.parts(places, encoding.texts):
        rows = np.flatnonzero(present(table, encoding.target.names))
        remarks += [remark for remark in _respelled(encoding.target, table) if remark not in remarks]
        parts.append(_encode(encoding, table, rows, weight, dtype))
    check(any(len(part.y) for part in parts), f"{source.name} has no row with a target.")
    weights = None if weight is None else np.concatenate([part.weights for part in parts if part.weights is not None])
    return Part(np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts]), weights)
