"""`nnaccel info`: what this machine is, and which backends can run on it; or what a model file holds."""

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnaccel.errors import counted

if TYPE_CHECKING:
    from nnaccel.encoding import Encoding
    from nnaccel.model import Model


def info(
    file: Annotated[
        Path | None, typer.Argument(metavar="[MODEL]", help="A model file to describe; without it, this machine.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Show what a model file holds; or the machine, and each backend: available, or why not and what mends it."""
    from nnaccel.cli.screen import printable
    from nnaccel.described import to_json
    from nnaccel.model import load

    if file is None:
        facts = _facts()
        lines = _lines(facts)
    else:
        model = load(file)
        facts = _model_facts(model)
        lines = [f"model      {file.name}, {_size(file)}", *_model_lines(model)]
    for line in [to_json(facts)] if as_json else map(printable, lines):
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


def _size(file: Path) -> str:
    from nnaccel.cost import readable_bytes

    return readable_bytes(file.stat().st_size)


def _model_facts(model: "Model") -> dict[str, Any]:
    return {
        "network": model.network.describe(),
        "parameters": model.network.parameter_count,
        "loss": str(model.loss),
        "dtype": str(model.parameters.dtype),
        "encoding": None if model.encoding is None else model.encoding.describe(),
        "report": None if model.report is None else model.report.describe(),
    }


def _model_lines(model: "Model") -> list[str]:
    from nnaccel.assessment import Assessment
    from nnaccel.cli.screen import duration
    from nnaccel.cli.summary import describe_network, score_lines

    lines = [f"network    {describe_network(model.network)}, {model.parameters.dtype}", f"loss       {model.loss}"]
    if model.encoding is not None:
        lines += _encoding_lines(model.encoding)
    report = model.report
    if report is None:
        return lines
    data = dict(report.data)
    source = f" of {data.pop('source')}" if "source" in data else ""
    lines.append(f"trained    on {report.rows:,} rows{source}" + (f", {report.finished}" if report.finished else ""))
    lines += [f"           {name} {value}" for name, value in data.items() if value]
    lines.append("settings   " + ", ".join(f"{name} {value}" for name, value in report.settings.items()))
    lines.append(
        f"time       {duration(report.seconds)} ({counted(report.epochs, 'epoch')}, epoch {report.best_epoch} kept, ended by the "
        f"{report.stopped_by}) on backend {report.backend}, kernel {report.kernel}"
    )
    lines.append(f"train loss {report.train_loss:.4g}")
    task = "" if model.encoding is None else model.encoding.target.task
    return lines + score_lines(Assessment(metrics=report.metrics, baseline=report.baseline), task, "held out")


def _encoding_lines(encoding: "Encoding") -> list[str]:
    from nnaccel.encoding import describe_format

    target = encoding.target
    what = (
        f"{len(target.classes)} classes: {', '.join(map(str, target.classes[:10]))}" if target.classes else target.task
    )
    lines = [f"target     {', '.join(map(repr, target.names))}: {what}{', ...' if len(target.classes) > 10 else ''}"]
    plain = [name for name in encoding.numbers.names if name not in encoding.numbers.formats]
    if plain:
        lines.append(f"numbers    {_listed(plain)}")
    lines += [f"           {name!r}, {describe_format(form)}" for name, form in encoding.numbers.formats.items()]
    for column in encoding.categories:
        extra = ["others"] * column.has_others + ["gaps"] * column.had_gaps
        lines.append(f"categories {column.name!r}: {_listed([*column.words, *extra])}")
    return lines


def _listed(names: list[str]) -> str:
    return ", ".join(names[:12]) + (f" and {len(names) - 12} more" if len(names) > 12 else "")
