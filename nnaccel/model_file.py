"""Model files: named tensors and a description, as safetensors with JSON in the metadata.

https://huggingface.co/docs/safetensors. Nothing in such a file is ever executed, and any library that reads safetensors can
read it.

The tensors are `layers.0.weight`, (inputs, units), `layers.0.bias`, `layers.1.weight` and so on; and those of the encoding,
named as its arrays are, such as `encoding.mean`. The description is the metadata's entry "nnaccel", with the keys

    format      the number of the format, `FORMAT`
    version     that of the nnaccel that wrote it
    network     as `Network.describe` gives it: the shape of a row, and each layer's kind and settings
    loss        as text: it says what the outputs mean
    encoding    as `Encoding.describe` gives it, or null: the file's columns, which of them become features and how, and the
                target with its classes; see `nnaccel.encoding` for the order of the features
    report      how it was trained, as `TrainingReport.describe` gives it, or null
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnaccel.errors import InputError, check
from nnaccel.files import first_sentence, reading, written_whole
from nnaccel.version import VERSION

FORMAT = 1
"""The number of the format. A file of a higher one was written by a newer nnaccel."""

_KEY = "nnaccel"


def write_model_file(path: Path, description: Mapping[str, Any], tensors: Mapping[str, np.ndarray]) -> None:
    """Write a model file, whole or not at all.

    Raises
    ------
    InputError
        If it can't be written.
    """
    from safetensors.numpy import save_file

    stamped = {"format": FORMAT, "version": VERSION, **description}
    with written_whole(path) as part:
        save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, part, {_KEY: to_json(stamped)})


def read_model_file(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description and the tensors of a model file.

    Raises
    ------
    InputError
        If there is no such file, or it is damaged, of another kind, or newer.
    """
    from safetensors import SafetensorError, safe_open

    with reading(path), path.open("rb") as file:
        check(len(file.read(1)) > 0, f"{path} is empty.")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
            check(
                _KEY in metadata,
                f"{path} is a safetensors file of another program: give one that nnaccel train --out wrote.",
            )
            description = json.loads(metadata[_KEY])
            check(isinstance(description, dict), f"{path} is damaged: its description is no JSON object.")
            check_format(path, description)
            return description, {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  (no mapping)
    except InputError:
        raise
    except (SafetensorError, OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"{path} is no model file, or a damaged one ({first_sentence(error)}): give one that nnaccel train --out wrote."
        ) from error


def check_format(path: Path, description: Mapping[str, Any]) -> None:
    """Raise `InputError` unless this version reads the description's format."""
    number = description.get("format")
    check(isinstance(number, int), f"{path} is damaged: its description has no format number.")
    check(
        number == FORMAT,
        f"{path} has the format {number} of nnaccel {description.get('version')}, but nnaccel {VERSION} reads only format "
        f"{FORMAT}: upgrade it, with pip install -U nnaccel.",
    )


def to_json(value: Any) -> str:
    """A value as strict JSON, in which NaN and infinity are null.

    Examples
    --------
    >>> to_json({"accuracy": 0.5, "roc_auc": float("nan")})
    '{"accuracy": 0.5, "roc_auc": null}'
    """
    return json.dumps(_finite(value), allow_nan=False, ensure_ascii=False)


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
