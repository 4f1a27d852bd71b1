"""Checkpoint files: all that a training needs to go on, as safetensors with JSON in the metadata, like a model file.

Nothing in such a file is ever executed. The tensors are

    parameters, slots.0, ...            the state: the flat vector of `Network.blocks`, and the optimizer's
    best.parameters, best.slots.0, ...  the same of the state from which the best epoch can be had, if there is one
    log                                 (s, 3): what `Run.train` returned for the steps of the epoch under way
    history.NAME                        (epochs,): the columns of the history

The metadata's entry "nnaccel_checkpoint" has the numbers of `Progress`, the backend and the identity of the training, see
`nnaccel.identity`; "digest" is a BLAKE2b of that entry and of all tensors in the order of their names, by which a file that
was damaged anywhere is told from a sound one.
"""

import contextlib
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from nnaccel.described import entries, entry, named_entries, to_json
from nnaccel.errors import InputError, check
from nnaccel.files import first_sentence, reading, written_whole
from nnaccel.plan import Plan
from nnaccel.program import TrainingState
from nnaccel.progress import Best, Progress
from nnaccel.report import History
from nnaccel.schedules import PlateauState
from nnaccel.version import VERSION

FORMAT = 1
"""The number of the format. A file of a higher one was written by a newer nnaccel."""

_KEY, _DIGEST = "nnaccel_checkpoint", "digest"
_DTYPES = {"float32": "F32", "float64": "F64", "int64": "I64"}
"""What safetensors calls them."""

_BASIC_COLUMNS = ("epoch", "train_loss", "penalty", "learning_rate")


@dataclass(frozen=True)
class Checkpoint:
    """Where a training stands, and which one it is.

    Attributes
    ----------
    identity : dict of str to str
        What must be the same for it to go on.
    backend : str
        What it ran on.
    epochs : int
        Those asked for.
    state : TrainingState
    progress : Progress
    """

    identity: Mapping[str, str]
    backend: str
    epochs: int
    state: TrainingState
    progress: Progress


@dataclass(frozen=True)
class Header:
    """What is known of a checkpoint before its tensors are read.

    Attributes
    ----------
    identity : dict of str to str
    backend : str
    epoch, step : int
        Finished epochs, and finished steps of the one after.
    """

    identity: Mapping[str, str]
    backend: str
    epoch: int
    step: int

    @property
    def place(self) -> str:
        """Where the training stood, in words."""
        return f"epoch {self.epoch}" + (f", step {self.step} of the next" if self.step else "")


@dataclass(frozen=True)
class Frame:
    """What a checkpoint must fit: sizes are known beforehand, so that no file decides how much memory is taken.

    Attributes
    ----------
    plan : Plan
    steps_per_epoch : int
    validation_columns : tuple of str
        The columns of the history that the validation gives.
    """

    plan: Plan
    steps_per_epoch: int
    validation_columns: tuple[str, ...]


def write_checkpoint(path: Path, checkpoint: Checkpoint) -> None:
    """Write a checkpoint, whole or not at all; when this returns, it survives a loss of power.

    Raises
    ------
    InputError
        If it can't be written.
    """
    tensors = _tensors(checkpoint)
    text = to_json({"format": FORMAT, "version": VERSION, **_describe(checkpoint)})
    with written_whole(path) as part, part.open("wb") as file:
        file.write(_head(tensors, {_KEY: text, _DIGEST: _digest(text, tensors)}))
        for name in _places(tensors):
            file.write(_bytes(tensors[name]))


def read_header(path: Path) -> Header:
    """What a checkpoint says of itself.

    Raises
    ------
    InputError
        If it is no checkpoint of this version, or damaged.
    """
    from safetensors import safe_open

    with _sound(path), safe_open(path, framework="numpy") as file:
        _, described = _description(file.metadata())
        return _header(described)


def read_checkpoint(path: Path, frame: Frame) -> Checkpoint:
    """Read a checkpoint of a training whose identity is known to be the right one.

    Raises
    ------
    InputError
        If it is damaged in any way.
    """
    from safetensors import safe_open

    with _sound(path), safe_open(path, framework="numpy") as file:
        metadata = file.metadata() or {}
        text, described = _description(metadata)
        wanted = _wanted(described, frame)
        if set(file.keys()) != set(wanted):
            raise ValueError("it has other tensors than it should")
        for name, (dtype, shape) in wanted.items():
            found = file.get_slice(name)
            if found.get_dtype() != _DTYPES[dtype] or tuple(found.get_shape()) != shape:
                raise ValueError(f"its tensor {name!r} is not of the shape {shape} and of {dtype}")
        tensors = {name: file.get_tensor(name) for name in wanted}
        if metadata.get(_DIGEST) != _digest(text, tensors):
            raise ValueError("its content doesn't have the digest that it had when it was written")
        return _restore(described, tensors)


# --- what is written ---


def _tensors(checkpoint: Checkpoint) -> dict[str, np.ndarray]:
    progress = checkpoint.progress
    tensors = _state_tensors("", checkpoint.state)
    if progress.best is not None:
        tensors |= _state_tensors("best.", progress.best.anchor)
    tensors["log"] = np.concatenate([np.empty((0, 3)), *progress.log])
    for name, values in progress.history.as_dict().items():
        tensors[f"history.{name}"] = np.array(values, np.int64 if name == "epoch" else np.float64)
    return {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}


def _state_tensors(prefix: str, state: TrainingState) -> dict[str, np.ndarray]:
    slots = {f"{prefix}slots.{i}": slot for i, slot in enumerate(state.slots)}
    return {f"{prefix}parameters": state.parameters, **slots}


def _describe(checkpoint: Checkpoint) -> dict[str, Any]:
    state, progress, best = checkpoint.state, checkpoint.progress, checkpoint.progress.best
    plateau = progress.plateau
    return {
        "identity": dict(checkpoint.identity),
        "backend": checkpoint.backend,
        "epochs": checkpoint.epochs,
        "count": state.count,
        "seed": state.seed,
        "epoch": progress.epoch,
        "step": progress.step,
        "seconds": _exact(progress.seconds),
        "bad_epochs": progress.bad_epochs,
        "plateau": {
            "factor": _exact(plateau.factor),
            "best": _exact(plateau.best),
            "bad_epochs": plateau.bad_epochs,
        },
        "best": best
        and {
            "value": _exact(best.value),
            "epoch": best.epoch,
            "anchor_epoch": best.anchor_epoch,
            "count": best.anchor.count,
            "seed": best.anchor.seed,
        },
        "columns": list(progress.history.as_dict()),
    }


def _exact(number: float) -> float | str:
    """A number for JSON, which has all others to the last bit but no infinity and no NaN."""
    return number if math.isfinite(number) else repr(float(number))


def _places(tensors: Mapping[str, np.ndarray]) -> dict[str, tuple[int, int]]:
    """Where each tensor begins and ends after the head; those of 8 bytes first, so that all are aligned."""
    places, end = {}, 0
    for name in sorted(tensors, key=lambda name: (-tensors[name].itemsize, name)):
        places[name] = (end, end + tensors[name].nbytes)
        end = places[name][1]
    return places


def _head(tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> bytes:
    """What a safetensors file begins with: the length of a JSON text, and the text."""
    content: dict[str, Any] = {"__metadata__": metadata}
    for name, place in _places(tensors).items():
        tensor = tensors[name]
        content[name] = {"dtype": _DTYPES[tensor.dtype.name], "shape": tensor.shape, "data_offsets": place}
    text = json.dumps(content).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def _digest(text: str, tensors: Mapping[str, np.ndarray]) -> str:
    digest = hashlib.blake2b(text.encode(), digest_size=16)
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(_bytes(tensors[name]))
    return digest.hexdigest()


def _bytes(tensor: np.ndarray) -> memoryview:
    """The bytes of a contiguous tensor, which aren't copied."""
    return tensor.reshape(-1).view(np.uint8).data


# --- what is read ---


@contextlib.contextmanager
def _sound(path: Path) -> Iterator[None]:
    """Turn what goes wrong in reading a checkpoint into one sentence."""
    from safetensors import SafetensorError

    with reading(path):
        check(path.is_file() or not path.exists(), f"{path} is no regular file.")
        check(path.stat().st_size > 0, f"{path} is empty.")
    try:
        yield
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(f"{path} is damaged ({first_sentence(error)[:200]}).") from error


def _description(metadata: Mapping[str, str] | None) -> tuple[str, dict[str, Any]]:
    """The metadata's entry as text, and read."""
    if not metadata or _KEY not in metadata:
        raise ValueError("it is no checkpoint")
    described = json.loads(metadata[_KEY])
    number = entry(described, "format", int)
    if number != FORMAT:
        raise ValueError(f"it has the format {number}, but nnaccel {VERSION} reads only format {FORMAT}")
    return metadata[_KEY], described


def _header(described: Mapping[str, Any]) -> Header:
    return Header(
        named_entries(described, "identity", str),
        entry(described, "backend", str),
        _count(described, "epoch"),
        _count(described, "step"),
    )


def _wanted(described: Mapping[str, Any], frame: Frame) -> dict[str, tuple[str, tuple[int, ...]]]:
    """The dtype and the shape that each tensor must have."""
    plan, header = frame.plan, _header(described)
    if not header.step < frame.steps_per_epoch:
        raise ValueError("it has more steps than an epoch")
    _check_count(described, header.epoch * frame.steps_per_epoch + header.step)
    columns = entries(described, "columns", str)
    if columns != [*_BASIC_COLUMNS, *frame.validation_columns][: len(columns)] or bool(columns) != bool(header.epoch):
        raise ValueError("the columns of its history are others than they should be")
    wanted: dict[str, tuple[str, tuple[int, ...]]] = {"log": ("float64", (header.step, 3))}
    for name in columns:
        wanted[f"history.{name}"] = ("int64" if name == "epoch" else "float64", (header.epoch,))
    prefixes = [""]
    if described.get("best") is not None:
        best = entry(described, "best", dict)
        anchor = _count(best, "anchor_epoch")
        if not anchor <= _count(best, "epoch") <= header.epoch:
            raise ValueError("its best epoch is none that it has finished")
        _check_count(best, anchor * frame.steps_per_epoch)
        prefixes.append("best.")
    for prefix in prefixes:
        for name in ("parameters", *(f"slots.{i}" for i in range(len(plan.optimizer.slots)))):
            wanted[prefix + name] = (plan.dtype, (plan.network.size,))
    return wanted


def _check_count(described: Mapping[str, Any], steps: int) -> None:
    if entry(described, "count", int) != steps:
        raise ValueError("its number of updates is not that of its steps")


def _restore(described: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Checkpoint:
    header, plateau = _header(described), entry(described, "plateau", dict)
    history = History()
    history.extend({name: tensors[f"history.{name}"].tolist() for name in entries(described, "columns", str)})
    if header.epoch and history["epoch"] != list(range(1, header.epoch + 1)):
        raise ValueError("the epochs of its history are not counted from 1")
    seconds = _number(described, "seconds")
    if not 0 <= seconds < math.inf:
        raise ValueError("its seconds are no time")
    progress = Progress(
        epoch=header.epoch,
        step=header.step,
        log=[tensors["log"]] if header.step else [],
        seconds=seconds,
        history=history,
        best=_restore_best(described, tensors),
        bad_epochs=_count(described, "bad_epochs"),
        plateau=PlateauState(_number(plateau, "factor"), _number(plateau, "best"), _count(plateau, "bad_epochs")),
    )
    state = _restore_state("", described, tensors)
    return Checkpoint(header.identity, header.backend, _count(described, "epochs"), state, progress)


def _restore_best(described: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> Best | None:
    if described.get("best") is None:
        return None
    best = entry(described, "best", dict)
    anchor = _restore_state("best.", best, tensors)
    return Best(_number(best, "value"), _count(best, "epoch"), anchor, _count(best, "anchor_epoch"))


def _restore_state(prefix: str, described: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> TrainingState:
    parameters = tensors[f"{prefix}parameters"]
    if not np.isfinite(parameters).all():
        raise ValueError("it holds parameters that are NaN or infinite")
    slots = tuple(_in_turn(f"{prefix}slots.", tensors))
    return TrainingState(parameters, slots, entry(described, "count", int), entry(described, "seed", int))


def _in_turn(prefix: str, tensors: Mapping[str, np.ndarray]) -> Iterator[np.ndarray]:
    number = 0
    while f"{prefix}{number}" in tensors:
        yield tensors[f"{prefix}{number}"]
        number += 1


def _number(described: Mapping[str, Any], key: str) -> float:
    value = described.get(key)
    return float(value) if value in ("inf", "-inf", "nan") else entry(described, key, float)


def _count(described: Mapping[str, Any], key: str) -> int:
    value = entry(described, key, int)
    if not 0 <= value < 2**63:
        raise ValueError(f"{key!r} is no count")
    return value
