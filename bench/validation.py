"""A validator for the part of JSON Schema that result files need, and short names for the schemas themselves."""

import json
import math
import sys
from collections.abc import Iterator
from typing import Any

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
WORDS: Schema = {"type": "string", "minLength": 1}
BOOLEAN: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
POSITIVE: Schema = {"type": "integer", "minimum": 1}
NUMBER: Schema = {"type": "number"}
SECONDS: Schema = {"type": "number", "minimum": 0}
LASTING: Schema = {"type": "number", "minimum": 1e-12, "maximum": 1e12}
"""Seconds that may be divided by."""


def list_of(items: Schema, **more: Any) -> Schema:
    """A list whose items all follow one schema."""
    return {"type": "array", "items": items, **more}


def record(**properties: Schema) -> Schema:
    """An object with exactly these keys."""
    return {
        "type": "object",
        "properties": properties,
        "required": list(properties),
        "additionalProperties": False,
    }


def or_null(schema: Schema) -> Schema:
    """The same, or null where it is unknown."""
    kinds = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    return schema | {"type": [*kinds, "null"]}


def partial(**properties: Schema) -> Schema:
    """An object with these keys, and maybe with others."""
    return record(**properties) | {"additionalProperties": {}}


def by_name(values: Schema) -> Schema:
    """An object with any keys, whose values all follow one schema."""
    return {"type": "object", "additionalProperties": values}


def one_of(*values: object) -> Schema:
    """One of some constants."""
    return {"enum": list(values)}


def first_fault(value: object, schema: Schema) -> str | None:
    """What is the first thing wrong with a value; None if it follows the schema.

    Examples
    --------
    >>> first_fault({"samples": [1.5, None]}, record(samples=list_of(SECONDS)))
    'samples[1] must be number, not null'
    >>> first_fault({"samples": []}, record(samples=list_of(SECONDS))) is None
    True
    """
    return next(_faults(value, schema, ""), None)


_TYPES: dict[str, tuple[type, ...]] = {
    "object": (dict,), "array": (list,), "string": (str,), "boolean": (bool,), "null": (type(None),), "integer": (int,),
    "number": (int, float),
}  # fmt: skip


def _faults(value: object, schema: Schema, place: str) -> Iterator[str]:
    """Everything that is wrong with a value at a place such as "results[0].case"."""
    here = place or "it"
    if "enum" in schema and not any(value == each and type(value) is type(each) for each in schema["enum"]):
        yield f"{here} must be {' or '.join(map(json.dumps, schema['enum']))}, not {_short(value)}"
    if "type" in schema and not _is(value, schema["type"]):
        yield f"{here} must be {' or '.join(_names(schema['type']))}, not {_short(value)}"
    elif isinstance(value, dict):
        yield from _object_faults(value, schema, place)
    elif isinstance(value, list):
        if len(value) < schema.get("minItems", 0):
            yield f"{here} must have {schema['minItems']} items or more, not {len(value)}"
        if len(value) > schema.get("maxItems", math.inf):
            yield f"{here} must have {schema['maxItems']} items or fewer, not {len(value)}"
        for i, item in enumerate(value):
            yield from _faults(item, schema.get("items", {}), f"{place}[{i}]")
    elif isinstance(value, str) and len(value) < schema.get("minLength", 0):
        yield f"{here} is empty"
    elif isinstance(value, (int, float)) and not value >= schema.get("minimum", -math.inf):
        yield f"{here} must be {schema['minimum']} or more, not {_short(value)}"
    elif isinstance(value, (int, float)) and not value <= schema.get("maximum", sys.float_info.max):
        yield f"{here} must be {schema.get('maximum', 'finite')} or less, not {_short(value)}"


def _object_faults(value: dict[str, object], schema: Schema, place: str) -> Iterator[str]:
    known, others = schema.get("properties", {}), schema.get("additionalProperties", {})
    for key in schema.get("required", ()):
        if key not in value:
            yield f"{place or 'it'} lacks {key!r}"
    for key, item in value.items():
        inside = f"{place}.{key}" if place else key
        if key not in known and others is False:
            yield f"{inside} isn't known"
        else:
            yield from _faults(item, known.get(key, others), inside)


def _names(kinds: str | list[str]) -> list[str]:
    return kinds if isinstance(kinds, list) else [kinds]


def _is(value: object, kinds: str | list[str]) -> bool:
    # To Python, but not to JSON, a truth value is a number.
    return any(
        isinstance(value, _TYPES[kind]) and isinstance(value, bool) == (kind == "boolean") for kind in _names(kinds)
    )


def _short(value: object) -> str:
    text = json.dumps(value)
    return text if len(text) <= 40 else f"{text[:40]}..."
