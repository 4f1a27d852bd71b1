"""Model files: named tensors and a description, as safetensors with JSON in the metadata.

https://huggingface.co/docs/safetensors. Nothing in such a file is ever executed, and any library that reads safetensors can
read it.

The tensors are `layers.0.weight`, (inputs, units), `layers.0.bias`, `layers.1.weight` and so on; and those of the encoding,
named as its arrays are, such as `encoding.mean`. The description is the metadata's entry "nnaccel", with the keys

    format      the number of the format, `FORMAT`
    version     that of the nnaccel that wrote it
    network     as `Network.describe` gives it: the shape of a row, and each layer's kind and settings
    loss        as text: it says what the outputs mean
    dtype       of the layers' tensors: float32 or float64
    encoding    as `Encoding.describe` gives it, or null: the file's columns, which of them become features and how, and the
                target with its classes; see `nnaccel.encoding` for the order of the features
    report      how it was trained, as `TrainingReport.describe` gives it, or null
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nnaccel.described import to_json
from nnaccel.errors import InputError, check
from nnaccel.files import first_sentence, open_regular, reading, written_whole
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
    from safetensors.numpy import save

    stamped = {"format": FORMAT, "version": VERSION, **description}
    contiguous = {name: np.ascontiguousarray(tensor) for name, tensor in tensors.items()}
    with written_whole(path) as part:
        # Its own function for files lets nobody but the owner read them.
        part.write_bytes(save(contiguous, {_KEY: to_json(stamped)}))


def read_model_file(path: Path) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """The description and the tensors of a model file.

    Raises
    ------
    InputError
        If there is no such file, or it is damaged, of another kind, or newer.
    """
    from safetensors import SafetensorError, safe_open

    with reading(path), open_regular(path) as file:
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
    except (SafetensorError, OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise InputError(
            f"{path} is no model file, or a damaged one ({first_sentence(error)[:200]}): give one that nnaccel train --out wrote."
        ) from error


def check_format(path: Path, description: Mapping[str, Any]) -> None:
    """Raise `InputError` unless this version reads the description's format."""
    number = description.get("format")
    check(type(number) is int, f"{path} is damaged: its description has no format number.")
    check(
        number == FORMAT,
        f"{path} has the format {number}, but nnaccel {VERSION} reads only format {FORMAT}: upgrade it, with "
        "pip install -U nnaccel.",
    )
