"""`nnaccel info`: what this machine is, and which backends can run on it."""

import json
from dataclasses import asdict
from typing import Annotated, Any

import typer


def info(as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False) -> None:
    """Show the machine, its BLAS and threads, and each backend: available, or why not and what mends it."""
    facts = _facts()
    if as_json:
        print(json.dumps(facts))
        return
    for line in _lines(facts):
        print(line)


def _facts() -> dict[str, Any]:
    from nnaccel.backends import backend_class, backend_names, get_backend
    from nnaccel.machine import blas_libraries, read_machine
    from nnaccel.version import VERSION

    backends = {}
    for name in backend_names():
        reason = backend_class(name).unavailable_reason()
        device = get_backend(name).device if reason is None else None
        backends[name] = {"available": reason is None, "reason": reason, "device": device}
    machine = asdict(read_machine())
    return {
        "version": VERSION,
        "machine": machine,
        "blas": [library._asdict() if hasattr(library, "_asdict") else asdict(library) for library in blas_libraries()],
        "backends": backends,
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    from nnaccel.cost import readable_bytes

    return [repr(readable_bytes), repr(facts)]
