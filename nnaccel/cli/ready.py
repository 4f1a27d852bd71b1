"""From the options of a training to all that it needs: rows read and encoded, a network, and settings that are checked."""

import math
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nnaccel.cli import options
from nnaccel.cli.further import check_continues
from nnaccel.errors import check
from nnaccel.optimizers import AdamW, Optimizer, as_optimizer

if TYPE_CHECKING:
    from nnaccel.cli.training_options import TrainOptions
    from nnaccel.encoding import Encoding
    from nnaccel.losses import Loss
    from nnaccel.metrics import Metric
    from nnaccel.model import Model
    from nnaccel.network import Network
    from nnaccel.preparation import Prepared, Question
    from nnaccel.sources import FileOptions, Source


@dataclass(frozen=True)
class Ready:
    """All that a training needs.

    Attributes
    ----------
    source : Source
        What was read.
    prepared : Prepared
        What its rows were made into.
    network : Network
    metrics : tuple of Metric
        What to judge by.
    settings : dict of str to object
        The arguments of `nnaccel.train` that aren't of the data, but for the backend.
    before : Model, optional
        The one to go on from.
    seconds_read : float
    """

    source: "Source"
    prepared: "Prepared"
    network: "Network"
    metrics: "tuple[Metric, ...]"
    settings: Mapping[str, Any]
    before: "Model | None"
    seconds_read: float

    def arguments(self) -> dict[str, Any]:
        """The arguments of `nnaccel.train`, but for network and backend."""
        from nnaccel.assessment import in_own_units

        training, held_out = self.prepared.training, self.prepared.held_out
        return {
            "X": training.x,
            "y": training.y,
            "sample_weight": self.prepared.training_weights,
            "validation": None if held_out is None else (held_out.x, held_out.y, held_out.weights),
            "metrics": in_own_units(self.metrics, self.prepared.encoding.target),
            **self.settings,
        }


def make_ready(data: str, wanted: "TrainOptions", say: options.Speaker) -> Ready:
    """Read what is to be trained on and check what was asked for; say what was found.

    Raises
    ------
    InputError
        If anything can't be used: what doesn't depend on the data, before they are read.
    BackendUnavailable
        If the backend that was asked for can't run here.
    """
    from nnaccel.cli.summary import describe
    from nnaccel.losses import as_loss
    from nnaccel.model import load
    from nnaccel.targets import USUAL_LOSS

    before = None if wanted.init is None else load(wanted.init)
    settings = read_settings(wanted, before)
    if before is not None:
        check_continues(
            before, wanted.init, wanted.hidden, wanted.activation, wanted.task, wanted.drop, wanted.categorical
        )
    loss = as_loss(wanted.loss) if wanted.loss is not None else None if before is None else before.loss
    began = time.perf_counter()
    source, prepared = _prepared(data, wanted, before, loss, settings["dtype"])
    seconds_read = time.perf_counter() - began

    settings["loss"] = loss or as_loss(USUAL_LOSS[prepared.task])
    metrics = read_metrics(wanted, settings["loss"])
    network = _network(prepared, before, wanted)
    for line in describe(source, prepared, network):
        say(line)
    settings |= early_stopping(wanted, metrics)
    if before is not None:
        settings["initial"] = before.parameters
    return Ready(source, prepared, network, metrics, settings, before, seconds_read)


def read_settings(wanted: "TrainOptions", before: "Model | None" = None) -> dict[str, Any]:
    """What the options say of the training itself, checked, in the words of `nnaccel.train`.

    Raises
    ------
    InputError, BackendUnavailable
        As `make_ready`.
    """
    rule, l2 = _optimizer(wanted.optimizer, wanted.learning_rate, wanted.weight_decay)
    settings = {
        "optimizer": rule,
        "l2": l2,
        "schedule": wanted.schedule,
        "epochs": wanted.epochs,
        "clip_norm": wanted.clip_norm,
        "seed": wanted.seed,
        "batch_size": options.batch_size(wanted.batch_size),
        "dtype": wanted.dtype or ("float32" if before is None else str(before.parameters.dtype)),
        "threads": wanted.threads,
        "time_limit": options.seconds(wanted.time_limit) if wanted.time_limit else math.inf,
    }
    _check_settings(settings, wanted)
    return settings


def _check_settings(settings: Mapping[str, Any], wanted: "TrainOptions") -> None:
    """Refuse what doesn't depend on the data before they are read."""
    from nnaccel.backends import choose_backend
    from nnaccel.optimizers import L2
    from nnaccel.plan import DTYPES
    from nnaccel.recipe import EarlyStopping, Recipe
    from nnaccel.schedules import as_schedule

    batch_size = 1 if settings["batch_size"] is None else settings["batch_size"]
    Recipe(settings["epochs"], batch_size, as_schedule(settings["schedule"]), time_limit=settings["time_limit"])
    L2(settings["l2"])
    check(settings["dtype"] in DTYPES, f"unknown dtype {settings['dtype']!r}; known: {', '.join(DTYPES)}.")
    if wanted.early_stopping is not None:
        EarlyStopping(wanted.early_stopping)
    choose_backend(wanted.backend)


def read_metrics(wanted: "TrainOptions", loss: "Loss") -> "tuple[Metric, ...]":
    """What to judge by.

    Raises
    ------
    InputError
        If a metric is unknown or doesn't suit the loss.
    """
    from nnaccel.metrics import as_metric, check_metrics, default_metrics

    metrics = tuple(as_metric(name) for name in options.names(wanted.metric)) or default_metrics(loss)
    check_metrics(loss, metrics)
    return metrics


def early_stopping(wanted: "TrainOptions", metrics: "tuple[Metric, ...]") -> dict[str, Any]:
    """The setting of that name, where it is asked for: the first metric that was named is watched, or else the loss."""
    from nnaccel.recipe import EarlyStopping

    if wanted.early_stopping is None:
        return {}
    return {"early_stopping": EarlyStopping(wanted.early_stopping, metrics[0].name if wanted.metric else "loss")}


def new_network(features: int, outputs: int, wanted: "TrainOptions") -> "Network":
    """The network that was asked for.

    Raises
    ------
    InputError
        If a layer can't be as it is asked for.
    """
    from nnaccel.network import Dense, Network

    layers = [
        Dense(width, wanted.activation or "relu", dropout=wanted.dropout or 0.0)
        for width in options.widths("100" if wanted.hidden is None else wanted.hidden)
    ]
    return Network(features, [*layers, Dense(outputs)])


def _network(prepared: "Prepared", before: "Model | None", wanted: "TrainOptions") -> "Network":
    """The network asked for; or the one before, with another dropout if there is a wish for one."""
    from nnaccel.network import Network

    if before is None:
        return new_network(prepared.encoding.width, prepared.encoding.target.outputs, wanted)
    if wanted.dropout is None:
        return before.network
    described = before.network.describe()
    for layer in described["layers"][:-1]:
        layer["dropout"] = wanted.dropout
    return Network.restore(described)


def _prepared(
    data: str, wanted: "TrainOptions", before: "Model | None", loss: "Loss | None", dtype: str
) -> "tuple[Source, Prepared]":
    """The source, and its rows encoded: as the model before has learnt it, if there is one."""
    from nnaccel.preparation import prepare, prepare_further
    from nnaccel.sources import FileOptions

    known = None if before is None else before.encoding
    held_out = options.fraction_or_file(wanted.validation)
    files = FileOptions(wanted.header, wanted.delimiter, wanted.encoding)
    source, validation_source = _open(data, wanted.target, held_out, files, known)
    question = _question(source, wanted, loss, dtype)
    if known is None:
        return source, prepare(source, question, validation_source)
    return source, prepare_further(source, question, known, validation_source)


def _question(source: "Source", wanted: "TrainOptions", loss: "Loss | None", dtype: str) -> "Question":
    from nnaccel.preparation import Question, Roles

    target = None if _is_file_of_targets(wanted.target, source) else wanted.target
    roles = Roles(target, wanted.drop, wanted.weight, wanted.group, wanted.time_column, wanted.categorical)
    held_out = options.fraction_or_file(wanted.validation)
    fraction = held_out if isinstance(held_out, float) else 0.0
    rows = options.row_range(wanted.rows)
    return Question(roles, wanted.task, loss, wanted.class_weight, fraction, rows, wanted.seed, dtype)


def _open(
    data: str, target: str | None, held_out: float | str, files: "FileOptions", known: "Encoding | None"
) -> "tuple[Source, Source | None]":
    """The source to train on and, if it is one, that to validate on."""
    from nnaccel.files import is_same
    from nnaccel.sources.opening import open_source

    expected = None if known is None else known.columns if known.named else ()
    source = open_source(data, files, expected)
    if _is_file_of_targets(target, source):
        source = open_source(data, replace(files, target=target), expected)
    if not isinstance(held_out, str):
        return source, None
    check(
        not is_same(held_out, data),
        f"{held_out} is trained on, so it proves nothing: give --validation another file, or a part such as 0.2.",
    )
    return source, open_source(held_out, files, source.columns if source.named else ())


def _is_file_of_targets(target: str | None, source: "Source") -> bool:
    """Whether the target is no column, but a file."""
    return target is not None and target not in source.columns and Path(target).is_file()


def _optimizer(text: str, learning_rate: float | None, weight_decay: float | None) -> tuple[Optimizer, float]:
    """The optimizer with its options, and the L2 penalty where the weight decay isn't the optimizer's own."""
    rule = as_optimizer(text)
    if learning_rate is not None:
        rule = replace(rule, learning_rate=learning_rate)
    if weight_decay is not None and isinstance(rule, AdamW):
        return replace(rule, weight_decay=weight_decay), 0.0
    return rule, weight_decay or 0.0
