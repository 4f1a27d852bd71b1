"""`nnaccel estimate`: how long a training will take, on each backend and on machines that were calibrated."""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nnaccel.cli import options
from nnaccel.cli.estimate_table import Fitting, lines_of
from nnaccel.cli.ready import early_stopping, make_ready, new_network, read_metrics, read_settings
from nnaccel.cli.screen import ProgressLine
from nnaccel.cli.training_options import TrainOptions
from nnaccel.errors import InputError, check, counted

if TYPE_CHECKING:
    from nnaccel.estimation import Estimate
    from nnaccel.losses import Loss
    from nnaccel.network import Network
    from nnaccel.profile import MachineProfile


@dataclass(frozen=True)
class EstimateOptions(TrainOptions):
    """The options of `nnaccel train`, two of which mean something more here."""

    rows: Annotated[
        str,
        typer.Option(
            metavar="START:STOP", help="Only these rows, such as :8000; without DATA, how many there are, such as 1e6."
        ),
    ] = ":"
    backend: Annotated[str, typer.Option(help="auto for all, or one of cpu, numba, cuda; see nnaccel info.")] = "auto"


@dataclass(frozen=True)
class Shape:
    """What data look like that aren't at hand, as it was written on the command line."""

    features: Annotated[
        str | None, typer.Option(metavar="N", help="Without DATA, beside --rows: how many numbers a row has.")
    ] = None
    classes: Annotated[str | None, typer.Option(metavar="N", help="Without DATA: how many classes there are.")] = None
    outputs: Annotated[
        str | None, typer.Option(metavar="N", help="Without DATA, of a regression: how many numbers to predict.")
    ] = None


@dataclass(frozen=True)
class Asked:
    """The training that is asked about.

    Attributes
    ----------
    network : Network
    arguments : dict of str to object
        What `nnaccel.estimation.estimate` is told beside, in its words.
    facts : dict of str to object
        What JSON tells of it beside.
    """

    network: "Network"
    arguments: dict[str, Any]
    facts: dict[str, Any]


@options.flat
def estimate(
    data: Annotated[
        str | None,
        typer.Argument(metavar="[DATA]", help="As in nnaccel train; or else say --rows, --features and --classes."),
    ] = None,
    *,
    shape: Shape,
    within: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="Tell how many epochs or rows, or which widths, fit into 90s or 6h."),
    ] = None,
    machine: Annotated[
        list[Path] | None,
        typer.Option(metavar="FILE", help="A machine that isn't at hand, from nnaccel calibrate --out; repeatable."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(metavar="TIME", help="To measure for. [default: a tenth of the training, from 0.5 to 10 s]"),
    ] = None,
    accuracy: Annotated[
        bool, typer.Option("--accuracy", help="Show instead how good the estimates of trainings so far have been.")
    ] = False,
    wanted: EstimateOptions,
    quiet: options.Quiet = False,
    as_json: options.Json = False,
) -> None:
    """Tell how long nnaccel train will take with these options, and how much memory, without training.

    Every backend that can run here makes some steps of the real training. What machines that aren't at hand would take is
    projected from their profiles. Where there are no data yet, their shape will do.
    """
    from nnaccel.described import to_json

    say = options.speaker(quiet, as_json)
    if accuracy:
        ways_given = {"DATA": data, "--within": within, "--machine": machine, "--budget": budget}
        given = [name for name, value in ways_given.items() if value]
        given += [*_changed(wanted), *_changed(shape)]
        check(not given, f"--accuracy tells of trainings that are over: leave out {_listed(given)}, or --accuracy.")
        _show_accuracy(say, as_json)
        return
    # What can be known to be wrong is said before the work, not after it.
    seconds, profiles = _time("--within", within), _profiles(machine or [])
    ways: dict[str, Any] = {"budget": _time("--budget", budget), "machines": profiles}
    ways["backends"] = None if wanted.backend == "auto" else [wanted.backend]
    asked = _about_shape(shape, wanted, say) if data is None else _about_data(data, shape, wanted, say)
    found = _estimate(asked, ways, ProgressLine(say.stream, silent=quiet))
    _note(found)
    fitting = None if seconds is None else _fitting(found, seconds)
    for line in lines_of(found, profiles, fitting):
        say(line)
    if as_json:
        print(to_json(found.describe() | asked.facts | ({} if fitting is None else {"within": fitting.describe()})))


def _note(found: "Estimate") -> None:
    """Remember what was said, until the training that it was said of."""
    from nnaccel.records import note_estimate

    for name, one in found.backends.items():
        if one.available and one.total_s > 0:
            bounds = one.low_s / one.total_s, one.high_s / one.total_s
            note_estimate(name, found.workload, one.per_epoch_s, bounds)


def _estimate(asked: Asked, ways: dict[str, Any], progress: ProgressLine) -> "Estimate":
    from nnaccel.estimation import estimate

    try:
        return estimate(asked.network, **asked.arguments, **ways, report=progress.show)
    finally:
        progress.clear()


def _fitting(found: "Estimate", seconds: float) -> Fitting:
    try:
        return Fitting(seconds, found.within(seconds))
    except InputError as error:
        # That nothing fits is an answer as well, and the rest has been found.
        return Fitting(seconds, None, str(error))


def _about_data(data: str, shape: Shape, wanted: EstimateOptions, say: options.Speaker) -> Asked:
    """A training on data that are at hand."""
    given = _changed(shape)
    check(not given, f"DATA has its own shape: leave out {_listed(given)}, or DATA.")
    ready = make_ready(data, wanted, say)
    return Asked(ready.network, ready.arguments(), {"seconds_read": ready.seconds_read})


def _about_shape(shape: Shape, wanted: EstimateOptions, say: options.Speaker) -> Asked:
    """A training on data of which no more is known than their shape."""
    from nnaccel.cli.summary import describe_network

    rows, features, outputs = _read_shape(shape, wanted)
    settings = read_settings(wanted)
    settings["loss"] = _loss(wanted, shape.classes is not None)
    metrics = read_metrics(wanted, settings["loss"])
    network = new_network(features, outputs, wanted)
    fraction = _fraction(wanted.validation)
    held_out = f", {fraction:g} of them held out" if fraction else ""
    what = f"{outputs:,} classes" if shape.classes is not None else counted(outputs, "number")
    say(
        f"data       none: {counted(rows, 'random row')} of {counted(features, 'feature')}{held_out}; {what} to predict"
    )
    say(f"network    {describe_network(network)}")
    arguments = {"rows": rows, "validation": fraction, "metrics": metrics, **settings}
    return Asked(network, arguments | early_stopping(wanted, metrics), {})


def _read_shape(shape: Shape, wanted: EstimateOptions) -> tuple[int, int, int]:
    """Rows, features, and outputs of the network."""
    # What was forgotten is the likelier mistake: of what is too much only those who describe a shape are told.
    described = wanted.rows != ":" or _changed(shape)
    check(bool(described), "give DATA; or, where there are none, --rows, --features and --classes or --outputs.")
    of_data = [name for name in _changed(wanted) if name in _OF_DATA]
    check(not of_data, f"{_listed(of_data)} can't be without DATA: name the data, or leave it out.")
    check(wanted.rows != ":", "without DATA, say how many rows there are, such as --rows 1e6.")
    if shape.features is None:
        raise InputError("without DATA, say how many features a row has, such as --features 50.")
    rows, features = options.count("--rows", wanted.rows, least=2), options.count("--features", shape.features)
    check(
        (shape.classes is None) != (shape.outputs is None),
        "without DATA, say either --classes, for a classification, or --outputs, for a regression.",
    )
    if shape.outputs is not None:
        return rows, features, options.count("--outputs", shape.outputs)
    return rows, features, options.count("--classes", shape.classes or "", least=2)


_OF_DATA = frozenset(
    {
        "--target", "--drop", "--categorical", "--weight", "--class-weight", "--task", "--group", "--time", "--header",
        "--delimiter", "--encoding", "--init",
    }
)  # fmt: skip
"""The options that say how to read data."""


def _changed(given: Any) -> list[str]:
    """The options of a group that were given, by the names that they have on the command line."""
    names = {field.name: f"--{field.name.removesuffix('_column').replace('_', '-')}" for field in fields(given)}
    return [names[field.name] for field in fields(given) if getattr(given, field.name) != field.default]


def _loss(wanted: EstimateOptions, classes: bool) -> "Loss":
    """The loss that was asked for, or the usual one."""
    from nnaccel.losses import as_loss
    from nnaccel.targets import USUAL_LOSS

    loss = as_loss(wanted.loss or USUAL_LOSS["classification" if classes else "regression"])
    check(
        (loss.targets == "labels") == classes,
        f"the loss {loss.name} is for {'numbers' if classes else 'classes'}: "
        f"give {'--outputs' if classes else '--classes'}, or another loss.",
    )
    return loss


def _fraction(validation: str) -> float | None:
    """The part of the rows to hold out, or none."""
    part = options.fraction_or_file(validation)
    if isinstance(part, str):
        raise InputError(
            f"--validation takes a part of the rows such as 0.2 where there are no DATA, not {validation}."
        )
    return part or None


def _time(option: str, text: str | None) -> float | None:
    """The seconds that an option gives, if it is given."""
    if text is None:
        return None
    seconds = options.seconds(text)
    check(seconds > 0, f"{option} must be above 0 seconds, not {text}.")
    return seconds


def _profiles(files: Sequence[Path]) -> "list[MachineProfile]":
    """The machines to project to, each with a name of its own."""
    from nnaccel.profile import read_profile

    known: dict[str, Path] = {}
    profiles = []
    for file in files:
        profile = read_profile(file)
        check(
            profile.name not in known,
            f"{file} and {known.get(profile.name)} are both of {profile.name!r}: give each machine a name of its own, by "
            "nnaccel calibrate --name.",
        )
        known[profile.name] = file
        profiles.append(profile)
    return profiles


def _show_accuracy(say: options.Speaker, as_json: bool) -> None:
    from nnaccel.described import to_json
    from nnaccel.records import accuracy

    found = accuracy()
    for line in found.lines:
        say(line)
    if as_json:
        print(to_json(found.describe()))


def _listed(names: Sequence[str]) -> str:
    """Names in a sentence."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
