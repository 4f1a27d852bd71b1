"""Descriptions as JSON: written strictly, and read back with each entry of the type that it must have.

What describes itself for a model file has `describe` and `restore`; whatever is wrong with a description, which anyone may
have edited, `restore` raises `ValueError`.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

T = TypeVar("T")

_NAMES: dict[type, str] = {str: "text", bool: "true or false", int: "a whole number", float: "a number", list: "a list"}


def to_json(value: Any) -> str:
    """A value as strict JSON, in which NaN and infinity are null, and all of it ASCII.

    Examples
    --------
    >>> to_json({"accuracy": 0.5, "roc_auc": float("nan")})
    '{"accuracy": 0.5, "roc_auc": null}'
    """
    return json.dumps(_finite(value), allow_nan=False)


def entry(described: Any, key: str, kind: type[T]) -> T:
    """The entry of a description.

    Parameters
    ----------
    kind : type
        A number may be whole where `float` is wanted; a truth value is no number.

    Raises
    ------
    ValueError
        If there is no such entry, or it is of another type.

    Examples
    --------
    >>> entry({"units": 8}, "units", int)
    8
    """
    if not isinstance(described, dict) or key not in described:
        raise ValueError(f"it lacks {key!r}")
    return _of_kind(described[key], key, kind)


def entries(described: Any, key: str, kind: type[T]) -> list[T]:
    """The entry of a description that is a list of values of one type.

    Raises
    ------
    ValueError
        If there is no such entry, or it is something else.
    """
    return [_of_kind(value, key, kind) for value in entry(described, key, list)]


def named_entries(described: Any, key: str, kind: type[T]) -> dict[str, T]:
    """The entry of a description that has values of one type by name; no such entry counts as an empty one.

    Raises
    ------
    ValueError
        If it is something else.
    """
    if isinstance(described, dict) and key not in described:
        return {}
    return {name: _of_kind(value, key, kind) for name, value in entry(described, key, dict).items()}


def _of_kind(value: Any, key: str, kind: type[T]) -> T:
    if kind is float:
        # What JSON can't write was written as null.
        value = math.nan if value is None else _as_float(value) if type(value) is int else value
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        raise ValueError(f"{key!r} is not {_NAMES.get(kind, 'an object')}")
    return value


def _as_float(value: int) -> float:
    try:
        return float(value)
    except OverflowError:  # JSON has whole numbers of any length
        return math.inf if value > 0 else -math.inf


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    return None if isinstance(value, float) and not math.isfinite(value) else value
