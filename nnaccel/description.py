"""Descriptions: frozen dataclasses with a name, which can also be written as text.

Activations, losses, optimizers and schedules are all descriptions. `"adam"` and `"leaky_relu,slope=0.1"` are texts of
descriptions; the command line and the Python interface read the same ones.
"""

import difflib
import numbers
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, TypeVar

from nnaccel.errors import InputError


@dataclass(frozen=True)
class Description:
    """A frozen dataclass that is found by its `name`."""

    name: ClassVar[str]

    def __post_init__(self) -> None:
        # A NumPy scalar would turn a float32 training into float64 without a word.
        for f in fields(self):
            if f.type in (int, float):
                object.__setattr__(self, f.name, plain_number(f"{self.name}: {f.name}", f.type, getattr(self, f.name)))
            if f.type is bool and not isinstance(getattr(self, f.name), bool):
                raise InputError(f"{self.name}: {f.name} must be true or false, not {getattr(self, f.name)!r}.")
        self.validate()

    def validate(self) -> None:
        """Raise `InputError` where a setting is out of range."""

    def __str__(self) -> str:
        """The text that `read_description` turns back into this description."""
        changed = [f"{f.name}={getattr(self, f.name)}" for f in fields(self) if getattr(self, f.name) != f.default]
        return ",".join([self.name, *changed])


D = TypeVar("D", bound=Description)


def read_description(kind: str, known: Mapping[str, type[D]], given: str | D) -> D:
    """Return the description that `given` is or spells, such as `"huber,delta=0.5"`.

    Parameters
    ----------
    kind : str
        What is looked for, for the error's sentence: "activation", "loss", ...
    known : mapping of str to type
        The descriptions to choose from, by name.
    given : str or Description
        A description, which is returned as it is, or its text: the name, then `,setting=value` for each setting that
        isn't to have its default. Dashes count as underscores.

    Raises
    ------
    InputError
        If the name or a setting is unknown, or a value is out of range.

    Examples
    --------
    >>> from nnaccel.activations import ACTIVATIONS
    >>> read_description("activation", ACTIVATIONS, "leaky-relu,slope=0.1")
    LeakyReLU(slope=0.1)
    """
    if not isinstance(given, str):
        if isinstance(given, tuple(known.values())):
            return given
        raise InputError(f"{given!r} is no {kind}: give one of {', '.join(known)}.")
    name, *settings = [part.strip() for part in given.split(",")]
    name = name.replace("-", "_").lower()
    if name not in known:
        raise InputError(f"unknown {kind} {name!r}{suggestion(name, known)}; known: {', '.join(known)}.")
    types = {f.name: f.type for f in fields(known[name])}
    values: dict[str, Any] = {}
    for setting in settings:
        key, value = _setting(f"{kind} {name!r}", types, setting)
        if key in values:
            raise InputError(f"{kind} {name!r} has the setting {key!r} twice: leave one out.")
        values[key] = value
    return known[name](**values)


def _setting(owner: str, types: Mapping[str, Any], text: str) -> tuple[str, Any]:
    """Read `setting=value`, the value in the type that the dataclass declares."""
    key, equals, value = (part.strip() for part in text.partition("="))
    key = key.replace("-", "_")
    if key not in types or not equals:
        known = ", ".join(f"{name}=..." for name in types) or "none"
        raise InputError(f"{owner} has no setting {text!r}{suggestion(key, types)}; its settings: {known}.")
    return key, _read_value(f"{owner}: {key}", types[key], value)


def _read_value(owner: str, wanted: Any, text: str) -> Any:
    if wanted is bool:
        if text.lower() not in ("true", "false"):
            raise InputError(f"{owner} must be true or false, not {text!r}.")
        return text.lower() == "true"
    if wanted not in (int, float):
        return text
    try:
        return wanted(text)
    except ValueError:
        raise InputError(
            f"{owner} must be {'a whole number' if wanted is int else 'a number'}, not {text!r}."
        ) from None


def plain_number(owner: str, wanted: Any, value: Any) -> int | float:
    """A setting as a plain Python number."""
    if isinstance(value, numbers.Integral if wanted is int else numbers.Real) and not isinstance(value, bool):
        number: int | float = wanted(value)
        return number
    raise InputError(f"{owner} must be {'a whole number' if wanted is int else 'a number'}, not {value!r}.")


def suggestion(word: str, known: Iterable[str]) -> str:
    """What to add to a sentence about an unknown word: the known one that is nearest, if one is near."""
    close = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
