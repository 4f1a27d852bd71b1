"""What `nnaccel train` leaves behind: the model, a plot of the history and its numbers, each whole or not at all."""

import csv
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnaccel.errors import InputError, check
from nnaccel.files import check_writable, is_same, written_whole

if TYPE_CHECKING:
    from nnaccel.model import Model
    from nnaccel.report import History

_PICTURES = (".png", ".svg", ".pdf")
_LOGS = (".csv", ".jsonl")


@dataclass(frozen=True)
class Outputs:
    """Where to write what.

    Attributes
    ----------
    model : Path, optional
        A .safetensors file.
    plot : Path, optional
        A picture.
    log : Path, optional
        A .csv or .jsonl file.
    """

    model: Path | None
    plot: Path | None
    log: Path | None

    def check(self, *inputs: str | Path | None) -> None:
        """Raise `InputError` if one of them couldn't be written, so that no training is lost for it, or is an input."""
        given = [(self.model, "--out", (".safetensors",)), (self.plot, "--plot", _PICTURES), (self.log, "--log", _LOGS)]
        for path, option, suffixes in given:
            if path is not None:
                check(path.suffix in suffixes, f"{option} takes a file named *{' or *'.join(suffixes)}, not {path}.")
                check_writable(path)
                check_no_input(path, *inputs)
        check(
            self.plot is None or importlib.util.find_spec("matplotlib") is not None,
            "--plot needs matplotlib: pip install 'nnaccel[plot]'.",
        )

    def write(self, model: "Model", title: str) -> tuple[list[Path], InputError | None]:
        """Write them; which were written, and what was wrong with the first that couldn't be."""
        assert model.report is not None, "train() leaves a report"
        history = model.report.history
        writers: list[tuple[Path | None, Callable[[Path], Any]]] = [
            (self.model, model.save),
            (self.plot, lambda path: write_plot(path, history, title)),
            (self.log, lambda path: write_log(path, history)),
        ]
        written, failure = [], None
        for path, write in writers:
            if path is not None:
                try:
                    write(path)
                    written.append(path)
                except InputError as error:
                    failure = failure or error
        return written, failure


def check_no_input(path: Path, *inputs: str | Path | None) -> None:
    """Raise `InputError` if the file to write is one of those that are read."""
    for given in inputs:
        check(
            given is None or not is_same(path, given),
            f"{path} is read, so it can't be written as well: give the output another name.",
        )


def write_log(path: Path, history: "History") -> None:
    """Write a line for each epoch: comma-separated values, or one JSON object."""
    from nnaccel.described import to_json

    columns = history.as_dict()
    rows = list(zip(*columns.values(), strict=True))
    with written_whole(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        if path.suffix == ".jsonl":
            file.writelines(to_json(dict(zip(columns, row, strict=True))) + "\n" for row in rows)
        else:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(columns)
            writer.writerows(rows)


def write_plot(path: Path, history: "History", title: str) -> None:
    """Draw the losses by epoch and, below, each metric of the validation set in a panel of its own."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    columns = history.as_dict()
    epochs = columns.get("epoch", [])
    metrics = [name for name in columns if name.startswith("validation_") and name != "validation_loss"]
    figure = Figure(figsize=(7, 3.2 + 2.2 * len(metrics)), layout="constrained")
    FigureCanvasAgg(figure)
    panels = figure.subplots(1 + len(metrics), 1, sharex=True, squeeze=False)[:, 0]
    panels[0].set_title(title)
    for name, label in (("train_loss", "training"), ("validation_loss", "validation")):
        if name in columns:
            panels[0].plot(epochs, columns[name], label=label, marker="." if len(epochs) < 30 else "")
    panels[0].set_ylabel("loss")
    panels[0].legend()
    for panel, name in zip(panels[1:], metrics, strict=True):
        panel.plot(epochs, columns[name], color="C1", marker="." if len(epochs) < 30 else "")
        panel.set_ylabel(name.removeprefix("validation_").replace("_", " "))
    for panel in panels:
        panel.grid(alpha=0.3)
    panels[-1].set_xlabel("epoch")
    with written_whole(path) as part:
        figure.savefig(part, format=path.suffix[1:], dpi=150)
