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
    machine = read_machine()
    return {
        "version": VERSION,
        "machine": asdict(machine) | {"usable_cores": machine.usable_cores()},
        "blas": [asdict(library) for library in blas_libraries()],
        "backends": backends,
    }


def _lines(facts: dict[str, Any]) -> list[str]:
    from nnaccel.cost import readable_bytes

    def size(count: int | None) -> str:
        return "unknown" if count is None else readable_bytes(count)

    machine, caches = facts["machine"], facts["machine"]["caches"]
    quota = "" if machine["quota_cores"] is None else f", a quota of {machine['quota_cores']:g}"
    lines = [
        f"nnaccel    {facts['version']}",
        f"processor  {machine['processor'] or 'unknown'} ({machine['architecture']}, {machine['system']})",
        f"cores      {machine['usable_cores']} usable: {machine['affinity_cores']} of {machine['logical_cores']}{quota}",
        f"vectors    {', '.join(machine['instruction_sets']) or 'unknown'}",
        f"caches     L1 {size(caches['l1d'])}, L2 {size(caches['l2'])}, L3 {size(caches['l3'])}",
        f"memory     {size(machine['memory_bytes'])}, {size(machine['available_memory_bytes'])} free",
    ]
    lines += [
        f"GPU        {gpu['name']}, {size(gpu['memory_bytes'])}, driver {gpu['driver']}" for gpu in machine["gpus"]
    ]
    for blas in facts["blas"]:
        details = " ".join(part for part in (blas["version"], blas["architecture"]) if part)
        lines.append(f"BLAS       {blas['name']} {details}, {blas['threads']} threads")
        if blas["architecture"] == "Haswell" and "avx512f" in machine["instruction_sets"]:
            lines.append("           it doesn't use this processor's AVX-512; OPENBLAS_CORETYPE=SkylakeX may be faster")
    lines += ["", "backends"]
    for name, backend in facts["backends"].items():
        state = f"available: {backend['device']}" if backend["available"] else f"not available: {backend['reason']}"
        lines.append(f"  {name:<9}{state}")
    return lines
