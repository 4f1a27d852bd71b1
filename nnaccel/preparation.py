"""Preparing a table for training: which column is what, what is held out, and the encoded arrays of both parts."""

from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from nnaccel.encoding import Encoding, word_reader
from nnaccel.errors import check, counted
from nnaccel.learning import Findings, find_format, findings_of, learn_encoding
from nnaccel.losses import Loss
from nnaccel.order import split, split_by_group, split_by_time
from nnaccel.sources import ALL_ROWS, Source
from nnaccel.table import Table
from nnaccel.targets import Target, Task, check_classes, check_loss, choose_task, class_numbers, present


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
        To be taken as categories, though they look like numbers or dates.
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
    rows_read : int
        How many rows of the source were read, those without a target included, those of a validation file not.
    held_out_by : str
        How the held-out rows were chosen.
    reason : str
        Why the task is what it is.
    findings : Findings
        What was found out about the columns.
    remarks : list of str
        What else the user should know.
    """

    encoding: Encoding
    training: Part
    held_out: Part | None
    class_weights: np.ndarray | None
    rows_read: int
    held_out_by: str
    reason: str = ""
    findings: Findings = field(default_factory=Findings)
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


def prepare(source: Source, question: Question, validation: Source | None = None) -> Prepared:
    """Read a source, choose what is held out, learn the encoding from the rest, and encode both.

    Parameters
    ----------
    source : Source
    question : Question
    validation : Source, optional
        Rows to validate on, instead of a part of the source.

    Raises
    ------
    InputError
        If the table doesn't answer the question.
    """
    columns = _resolve(source, question.roles, _targets(source, question.roles.target))
    places = {name: place for place, name in enumerate(source.columns) if name not in columns.dropped}
    table = source.read(places, columns.categorical, question.rows)
    rows = _rows_with_target(table, columns.targets)
    task, reason = choose_task(table, columns.targets, question.task, question.loss)
    if task == "classification":
        check_classes(table, columns.targets[0], rows)
    split_rows = _split(table, rows, columns, task, question, validation)
    weights = _weights(table, columns.weight, rows)
    _check_weights(weights, split_rows, source.name, columns.weight)
    # Rows that don't count are not learnt from, though a class may have no others.
    counted = split_rows.kept if weights is None else split_rows.kept[weights[split_rows.kept] > 0]
    learnt_from = split_rows.kept if task == "classification" else counted
    target = Target.learn(table, columns.targets, learnt_from, task, scaled=not _in_own_units(question.loss))
    encoding, findings = learn_encoding(source, table, counted, columns.unused, target, columns.categorical)
    prepared = _encoded(encoding, table, split_rows, weights, question, validation, columns.weight)
    remarks = [*source.remarks, *findings.remarks, *prepared.remarks]
    return replace(prepared, reason=reason, findings=findings, remarks=remarks)


def prepare_further(
    source: Source, question: Question, encoding: Encoding, validation: Source | None = None
) -> Prepared:
    """Read a source and encode it as was learnt before, to go on training a model.

    Parameters
    ----------
    source, question, validation
        As in `prepare`.
    encoding : Encoding

    Raises
    ------
    InputError
        If the source lacks columns, or the question isn't the one that the model was trained for.
    """
    columns = _resolve(source, question.roles, encoding.target.names)
    places = _known_places(source, columns, encoding, question.roles.target)
    _check_goes_on(encoding.target, question.loss)
    table = source.read(places, columns.categorical | encoding.texts, question.rows)
    rows = _rows_with_target(table, columns.targets)
    split_rows = _split(table, rows, columns, encoding.target.task, question, validation)
    weights = _weights(table, columns.weight, rows)
    _check_weights(weights, split_rows, source.name, columns.weight)
    prepared = _encoded(encoding, table, split_rows, weights, question, validation, columns.weight)
    return replace(
        prepared,
        reason="as the model was trained",
        findings=findings_of(encoding),
        remarks=[*source.remarks, *prepared.remarks],
    )


class _SplitRows(NamedTuple):
    """The rows to train on, those held out, and how they were chosen."""

    kept: np.ndarray
    held: np.ndarray
    how: str


@dataclass(frozen=True)
class _Columns:
    """The roles of a source's columns, all by name."""

    targets: tuple[str, ...]
    weight: str | None
    group: str | None
    time: str | None
    dropped: frozenset[str]
    categorical: frozenset[str]

    @property
    def unused(self) -> frozenset[str]:
        """Those that are no features, beside the targets."""
        return self.dropped | {name for name in (self.weight, self.group, self.time) if name is not None}


def _resolve(source: Source, roles: Roles, targets: tuple[str, ...]) -> _Columns:
    def one(given: str | None) -> str | None:
        return None if given is None else source.columns[source.position(given)]

    def several(given: str) -> frozenset[str]:
        return frozenset(source.columns[place] for place in source.positions(given))

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


def _targets(source: Source, given: str | None) -> tuple[str, ...]:
    if given is None:
        check(
            bool(source.targets),
            f"say which column of {source.name} is to be predicted, with --target; it has {source.describe_columns()}.",
        )
        return source.targets
    targets = tuple(source.columns[place] for place in source.positions(given))
    check(bool(targets), f"--target names no column of {source.name}; it has {source.describe_columns()}.")
    for name in targets:
        check(targets.count(name) == 1, f"--target names column {name!r} twice: give each once.")
    return targets


def _known_places(source: Source, columns: _Columns, encoding: Encoding, given: str | None) -> dict[str, int]:
    """Where the columns of an encoding stand, and those with a role; `given` is what the user called the target."""
    places = encoding.places(source)
    check(
        all(name in places for name in columns.targets),
        f"{source.name} lacks the target {_listed(columns.targets)}: there is nothing to learn from.",
    )
    check(
        given is None or source.positions(given) == [places[name] for name in columns.targets],
        f"the model predicts {_listed(columns.targets)}, so --target can't be {given!r}: leave it out.",
    )
    needed = {places[name] for name in encoding.inputs}
    for name in columns.unused:
        check(
            source.columns.index(name) not in needed,
            f"column {name!r} is an input of the model, so it can have no other use: train a new model for that.",
        )
    with_a_role = columns.unused - columns.dropped
    return places | {name: source.columns.index(name) for name in with_a_role}


def _check_goes_on(target: Target, loss: Loss | None) -> None:
    """Refuse a loss that the target of a model that was trained before isn't encoded for."""
    if loss is not None:
        check_loss(loss, target.task)
        check(
            target.mean is None or not _in_own_units(loss),
            f"the model's target is standardised, but the loss {loss.name} needs it in its own units: train a new model.",
        )


def _in_own_units(loss: Loss | None) -> bool:
    """Whether a loss needs numbers as they are: counts, say, which standardised would be negative."""
    return loss is not None and loss.domain[0] > -np.inf


def _rows_with_target(table: Table, names: tuple[str, ...]) -> np.ndarray:
    there = present(table, names)
    check(bool(there.any()), f"{table.source}: no row has the target {_listed(names)}: give another --target.")
    return np.flatnonzero(there).astype(np.int32)


def _left_out(rows: int, source: str) -> list[str]:
    return [f"{counted(rows, 'row')} of {source} without a target left out"] if rows else []


def _unscored(rows: int, source: str) -> list[str]:
    return [f"{counted(rows, 'row')} of {source} not scored: of classes that no training row has"] if rows else []


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(map(repr, names))


def _split(
    table: Table, rows: np.ndarray, columns: _Columns, task: Task, question: Question, validation: Source | None
) -> _SplitRows:
    fraction, seed = question.validation, question.seed
    if validation is not None:
        check(
            columns.group is None and columns.time is None,
            "with a file to validate on there is nothing to split: leave out --group and --time.",
        )
        return _SplitRows(rows, rows[:0], f"all of {validation.name}")
    if fraction == 0:
        return _SplitRows(rows, rows[:0], "")
    if columns.group is not None:
        groups = np.unique(class_numbers(table, columns.group)[rows], return_inverse=True)[1]
        kept, held = split_by_group(groups, fraction, seed)
        without = int(table.missing(columns.group)[rows].sum())
        chosen = f"whole groups of {columns.group!r} at random, seed {seed}"
        chosen += f"; the {without:,} rows without one are a group" if without else ""
    elif columns.time is not None:
        kept, held = split_by_time(_times(table, columns.time, rows), fraction)
        chosen = f"the latest by {columns.time!r}"
    else:
        labels = class_numbers(table, columns.targets[0])[rows] if task == "classification" else None
        kept, held = split(len(rows), fraction, seed, labels)
        chosen = f"at random, seed {seed}" + ("" if labels is None else ", each class in proportion")
    return _SplitRows(rows[kept], rows[held], chosen)


def _times(table: Table, name: str, rows: np.ndarray) -> np.ndarray:
    """A column of numbers or dates in some rows, (n,)."""
    missing = table.missing(name)[rows]
    if missing.any():
        row = int(rows[np.argmax(missing)])
        raise table.error(name, row, "there is no time: fill it in, or leave out the row")
    if not table.is_text(name):
        numbers: np.ndarray = table.number(name)[rows]
        return numbers
    text = table.text(name)
    form = find_format(text.words)
    if form in (None, "boolean"):
        strange = next((word for word in text.words if find_format([word]) is None), text.words[-1])
        row = int(np.argmax(text.codes == text.words.index(strange)))
        raise table.error(
            name,
            row,
            f"{strange!r} is no time as others are: give --time a column of dates, all written alike, or numbers",
        )
    times: np.ndarray = table.parsed(name, word_reader(str(form)), "a time")[rows]
    return times


def _respelled(target: Target, table: Table) -> list[str]:
    return [
        f"{table.source}: {word!r} is read as the class {label!r}" for word, label in target.respelled(table).items()
    ]


def _encoded(
    encoding: Encoding,
    table: Table,
    rows: _SplitRows,
    weights: np.ndarray | None,
    question: Question,
    validation: Source | None,
    weight: str | None,
) -> Prepared:
    """Both parts, encoded; what goes without saying of an encoding just learnt is left to the caller."""
    remarks = _left_out(len(table) - len(rows.kept) - len(rows.held), table.source)
    remarks += _respelled(encoding.target, table)
    training = _encode(encoding, table, rows.kept, weights, question.dtype)
    known = rows.held[encoding.target.known(table)[rows.held]]
    remarks += _unscored(len(rows.held) - len(known), table.source)
    check(
        len(known) > 0 or not len(rows.held),
        f"{table.source}: all rows held out are of classes that no training row has: hold out others.",
    )
    held_out = _encode(encoding, table, known, weights, question.dtype) if len(known) else None
    if validation is not None:
        held_out = _encode_source(encoding, validation, weight, question.dtype, remarks)
    class_weights = _balanced(training, encoding.target) if question.class_weight else None
    return Prepared(encoding, training, held_out, class_weights, len(table), rows.how, remarks=remarks)


def _encode(encoding: Encoding, table: Table, rows: np.ndarray, weights: np.ndarray | None, dtype: str) -> Part:
    x, y = encoding.features(table, dtype, rows), encoding.target.encode(table, rows)
    return Part(x, y, None if weights is None else weights[rows])


def row_weights(table: Table, name: str, rows: np.ndarray) -> np.ndarray:
    """The weights of all rows, (n,).

    Raises
    ------
    InputError
        If one of those of `rows` is no weight.
    """
    weights: np.ndarray = table.number(name).astype(np.float64)
    bad = ~(weights[rows] >= 0) | np.isinf(weights[rows])
    if bad.any():
        row = int(rows[np.argmax(bad)])
        value = "a gap" if np.isnan(weights[row]) else f"{weights[row]:g}"
        raise table.error(
            name, row, f"a weight must be a number, 0 or more, not {value}: correct it, or leave out the row"
        )
    return weights


def _weights(table: Table, name: str | None, rows: np.ndarray) -> np.ndarray | None:
    return None if name is None else row_weights(table, name, rows)


def _check_weights(weights: np.ndarray | None, rows: _SplitRows, source: str, name: str | None) -> None:
    if weights is not None:
        _check_some_count(weights[rows.kept], "training", source, name)
        if len(rows.held):
            _check_some_count(weights[rows.held], "held-out", source, name)


def _check_some_count(weights: np.ndarray, purpose: str, source: str, name: str | None) -> None:
    check(
        bool(weights.any()),
        f"{source}: the weights in column {name!r} are zero in all {purpose} rows, so none of them counts: leave out "
        "--weight, or correct them.",
    )


def _balanced(part: Part, target: Target) -> np.ndarray:
    """For each class a weight that makes all classes weigh the same, and the rows together what they did before."""
    check(target.task == "classification", f"--class-weight is for classes, but this is a {target.task}: leave it out.")
    sums = np.bincount(part.y, weights=part.weights, minlength=len(target.classes))
    weights: np.ndarray = np.divide(sums.sum() / np.count_nonzero(sums), sums, out=np.zeros(len(sums)), where=sums > 0)
    return weights


def _encode_source(encoding: Encoding, source: Source, weight: str | None, dtype: str, remarks: list[str]) -> Part:
    """All rows of a source that have a target, encoded part by part; weighted if the source has the weights."""
    places = encoding.places(source, () if weight is None else (weight,))
    check(
        all(name in places for name in encoding.target.names),
        f"{source.name} lacks the target {_listed(encoding.target.names)}, so nothing can be validated on it.",
    )
    if weight is not None and weight not in places:
        remarks.append(f"{source.name} has no column {weight!r}: all its rows count the same")
        weight = None
    parts, missing, strange = [], 0, 0
    for table in source.parts(places, encoding.texts):
        there, known = present(table, encoding.target.names), encoding.target.known(table)
        missing += len(table) - int(there.sum())
        strange += int((there & ~known).sum())
        remarks += [remark for remark in _respelled(encoding.target, table) if remark not in remarks]
        rows = np.flatnonzero(known)
        parts.append(_encode(encoding, table, rows, _weights(table, weight, rows), dtype))
    check(
        any(len(part.y) for part in parts),
        f"{source.name} has no row with a target that training rows have: nothing can be validated on it.",
    )
    remarks += _left_out(missing, source.name) + _unscored(strange, source.name)
    weights = None if weight is None else np.concatenate([part.weights for part in parts if part.weights is not None])
    if weights is not None:
        _check_some_count(weights, "validation", source.name, weight)
    return Part(np.concatenate([part.x for part in parts]), np.concatenate([part.y for part in parts]), weights)
