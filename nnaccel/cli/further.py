"""Going on with a model: what of the options it has answered already, and what its record tells of the rows it has seen."""

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from nnaccel.cli import options
from nnaccel.errors import check

if TYPE_CHECKING:
    from nnaccel.model import Model


def check_continues(
    before: "Model",
    init: Path | None,
    hidden: str | None,
    activation: str | None,
    task: str,
    drop: str,
    categorical: str,
) -> None:
    """Refuse options that the model to go on with has answered."""
    check(before.encoding is not None, f"{init} was saved without an encoding of columns: go on with it in Python.")
    check(
        hidden is None and activation is None and task == "auto" and not drop and not categorical,
        f"network, task and columns come from {init}: leave out --hidden, --activation, --task, --drop and --categorical.",
    )


def held_out_before(before: "Model", record: Mapping[str, str | None]) -> bool:
    """Whether the rows held out now were not trained on by the model before, as far as its record tells.

    They may be of a file that it hasn't seen, or the same part of the one file that it has.
    """
    validation, known = record["validation"] or "", before.report.data if before.report else {}
    seen = known.get("sources", "").split("; ")
    if not isinstance(options.fraction_or_file(validation), float):
        return Path(validation).name not in seen
    if record["source"] not in seen:
        return True
    same = ("source", "rows read", "validation", "held out", "rows")
    return validation == "0" or (len(seen) == 1 and all(known.get(name) == record[name] for name in same))


def trained_on(before: "Model | None") -> list[str]:
    """The names of what a model was trained on."""
    known = before.report.data.get("sources", "") if before is not None and before.report else ""
    return known.split("; ") if known else []
