"""Where results are kept: one file for each machine and kind, in the user's folder unless another is named."""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from nnaccel.described import to_json
from nnaccel.errors import InputError
from nnaccel.files import written_whole
from nnaccel.kernels import cache


def results_folder() -> Path:
    """The user's folder of results; it may not exist yet.

    Raises
    ------
    InputError
        If there is no home folder.
    """
    try:
        return cache.folder() / "bench"
    except cache.Unusable as error:
        raise InputError(f"results can't be kept: {error}; name a file with --out.") from None


def machine_name(machine: Mapping[str, Any]) -> str:
    """A short name of a machine, for a file: its processor, cores and GPUs.

    Parameters
    ----------
    machine : mapping
        As `read_conditions` has it.

    Examples
    --------
    >>> machine_name({"processor": "Intel(R) Xeon(R) CPU @ 2.20GHz", "usable_cores": 8, "gpus": [{"name": "Tesla T4"}]})
    'intel-xeon-8-cores-tesla-t4'
    """
    words = [_bare(machine["processor"] or machine["architecture"]), f"{machine['usable_cores']} cores"]
    words += dict.fromkeys(gpu["name"] for gpu in machine["gpus"])
    return re.sub(r"[^a-z0-9]+", "-", " ".join(words).lower())[:100].strip("-")


def _bare(processor: str) -> str:
    return re.sub(r"\((r|tm)\)|\b(cpu|processor|[0-9]+-core)\b|@.*", " ", processor, flags=re.IGNORECASE)


def kept_path(kind: str, machine: Mapping[str, Any], folder: Path | None = None) -> Path:
    """Where a result of this kind is kept for this machine.

    Parameters
    ----------
    kind : str
        "suite", "peers", "quick", "part", "scaling", "estimates": a later one of the same kind takes its place.
    machine : mapping
    folder : Path, optional
        By default `results_folder()`.
    """
    return (folder or results_folder()) / f"{kind}--{machine_name(machine)}.json"


def make_results_folder() -> Path:
    """The user's folder of results, made if need be.

    Raises
    ------
    InputError
        If it can't be made.
    """
    try:
        cache.prepare()
        folder = results_folder()
        folder.mkdir(exist_ok=True)
    except cache.Unusable as error:
        raise InputError(f"results can't be kept: {error}; {cache.REMEDY}, or --out a file.") from None
    except OSError as error:
        raise InputError(f"results can't be kept: {error.strerror or error}; name a file with --out.") from None
    return folder


def keep(path: Path, result: Mapping[str, Any]) -> None:
    """Write a result as JSON, in whole or not at all.

    Raises
    ------
    InputError
        If it can't be written.
    """
    with written_whole(path) as part:
        part.write_text(to_json(result), encoding="utf-8")
