"""Reading result files, which anyone may have written or damaged: each is checked against its schema before it is used."""

import json
import math
from pathlib import Path
from typing import Any

from nnaccel.bench.scaling import FORMAT as SCALING_FORMAT
from nnaccel.bench.scaling import VERSION as SCALING_VERSION
from nnaccel.bench.schema import ESTIMATES, FORMAT, SCALING, SCHEMA, VERSION
from nnaccel.bench.validation import Schema, first_fault
from nnaccel.errors import InputError, check
from nnaccel.files import first_sentence, opened

ESTIMATES_FORMAT, ESTIMATES_VERSION = "nnaccel-estimates", 1

KINDS: dict[str, tuple[int, Schema]] = {
    FORMAT: (VERSION, SCHEMA),
    SCALING_FORMAT: (SCALING_VERSION, SCALING),
    ESTIMATES_FORMAT: (ESTIMATES_VERSION, ESTIMATES),
}
"""Every kind of result that is read, by its format: the version and the schema."""

MOST_BYTES = 1 << 24
"""A result is a few hundred kilobytes; what is larger is something else."""

_MOST_DIGITS = 18


def read_result(path: Path, *formats: str) -> dict[str, Any]:
    """A result that `nnaccel bench` wrote.

    Parameters
    ----------
    path : Path
    *formats : str
        Which of `KINDS` are wanted; by default, `nnaccel-bench` alone.

    Returns
    -------
    dict
        What is in the file, which follows the schema of its format.

    Raises
    ------
    InputError
        If there is no such file, or it is no such result, damaged, or of another version.
    """
    found: dict[str, Any] = _read_json(path)
    kind = _format_of(found)
    check(
        kind in KINDS,
        f"{path} is no result of a benchmark: give one that nnaccel bench wrote.",
    )
    check(
        kind in (formats or (FORMAT,)),
        f"{path} is a result of another kind, {kind}: give {' or '.join(formats or (FORMAT,))}.",
    )
    version, schema = KINDS[kind]
    written = found.get("version", version)
    check(
        written == version,
        f"{path} has version {json.dumps(written)[:40]} of its format, where {version} is read: measure again.",
    )
    fault = first_fault(found, schema)
    check(fault is None, f"{path} is damaged: {(fault or '')[:200]}. Measure again.")
    return found


def _format_of(found: Any) -> str:
    if not isinstance(found, dict):
        return ""
    if found.get("suite") == "estimates":
        return ESTIMATES_FORMAT
    kind = found.get("format")
    return kind if isinstance(kind, str) else ""


def _read_json(path: Path) -> Any:
    with opened(path) as file:
        text = file.read(MOST_BYTES + 1)
    check(len(text) > 0, f"{path} is empty: give a result that nnaccel bench wrote.")
    check(
        len(text) <= MOST_BYTES,
        f"{path} is too large for the result of a benchmark: give one that nnaccel bench wrote.",
    )
    try:
        return json.loads(text, parse_constant=_refuse, parse_int=_whole, parse_float=_finite)
    except RecursionError:
        raise InputError(f"{path} is nested too deeply for the result of a benchmark: give another file.") from None
    except ValueError as error:
        raise InputError(f"{path} is no JSON file, or a damaged one: {first_sentence(error)[:200]}.") from None


def _refuse(word: str) -> float:
    raise ValueError(f"{word} is no number in JSON")


def _whole(digits: str) -> int:
    if len(digits) > _MOST_DIGITS:
        raise ValueError(f"a number of {len(digits):,} digits is too large")
    return int(digits)


def _finite(digits: str) -> float:
    number = float(digits)
    if not math.isfinite(number):
        raise ValueError(f"the number {digits[:40]} is too large")
    return number
