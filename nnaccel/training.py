"""`train`: from arrays and settings, checked, to a trained model."""

import functools
import math
import time
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from nnaccel.backends import Backend, backend_class, backend_names, choose_backend
from nnaccel.checkpoint import CheckpointWarning, Keeper, open_folder, resume_from
from nnaccel.checkpoint_file import Checkpoint, Frame
from nnaccel.cost import Workload, memory_bytes, readable_bytes, step_seconds
from nnaccel.errors import check, counted
from nnaccel.identity import identity_of
from nnaccel.inputs import as_features, as_targets, as_weights, default_loss
from nnaccel.interruption import Interruption, TrainingInterrupted
from nnaccel.loop import Training, Validation
from nnaccel.losses import Loss, as_loss
from nnaccel.machine import available_memory
from nnaccel.metrics import Metric, as_metric, check_metrics, default_metrics, is_classification
from nnaccel.model import Model
from nnaccel.network import Network
from nnaccel.optimizers import L2, Optimizer, as_optimizer
from nnaccel.order import Order, Shuffled, split
from nnaccel.plan import Plan
from nnaccel.profile import stored_profile
from nnaccel.program import Program, Rows, TrainingState
from nnaccel.progress import Status
from nnaccel.recipe import EarlyStopping, Recipe, is_whole
from nnaccel.report import INTERRUPT, TrainingReport
from nnaccel.schedules import Schedule, Timeline, as_schedule


def train(
    network: Network,
    X: Any,
    y: Any,
    *,
    loss: str | Loss | None = None,
    optimizer: str | Optimizer = "adam",
    schedule: str | Schedule = "constant",
    epochs: int = 100,
    batch_size: int | None = 64,
    l2: float | L2 = 0.0,
    clip_norm: float | None = None,
    sample_weight: Any = None,
    validation: float | Sequence[Any] | None = None,
    metrics: Iterable[str | Metric] | None = None,
    early_stopping: int | EarlyStopping | None = None,
    callbacks: Iterable[Callable[[Training], bool | None]] = (),
    time_limit: float = math.inf,
    seed: int = 0,
    order: Order | None = None,
    initial: Model | np.ndarray | Sequence[Any] | None = None,
    dtype: str = "float32",
    backend: str = "auto",
    threads: int | None = None,
    report: Callable[[Status], None] | None = None,
    checkpoint: str | Path | None = None,
    every: float = 60.0,
    resume: bool = False,
) -> Model:
    """Train a network.

    Parameters
    ----------
    network : Network
    X : array, object with `__dlpack__`, or data frame of numbers
        (n, features). It isn't copied; each batch is converted to `dtype`.
    y : the same
        Class labels, the whole numbers from 0, (n,); or numbers, (n,) or (n, outputs).
    loss : str or Loss, optional
        See `nnaccel.losses`. By default softmax_cross_entropy for whole numbers and a network of several outputs,
        binary_cross_entropy for zeros and ones, else mean_squared_error.
    optimizer : str or Optimizer
        Such as `Adam(1e-3)` or "sgd,learning_rate=0.1,momentum=0.9".
    schedule : str or Schedule
        What becomes of the learning rate: such as `Cosine(warmup=3)` or "step,every=10".
    epochs : int
        How often each row is used.
    batch_size : int, optional
        Rows a step; None is all of them. A last, shorter batch is used as well.
    l2 : float or L2
        Penalty on the weights.
    clip_norm : float, optional
        The largest Euclidean norm of a gradient.
    sample_weight : array (n,), optional
        How much each row counts.
    validation : float or (X, y) or (X, y, weights), optional
        A part of the rows to hold out, in proportion for each class, or another set.
    metrics : sequence of str or Metric, optional
        What to compute on the validation set beside the loss, such as "f1" or a metric of your own; see
        `nnaccel.metrics`. By default accuracy, or R2 and errors.
    early_stopping : int or EarlyStopping, optional
        An int is a patience in epochs. The model then has the parameters of the best epoch.
    callbacks : sequence of callable
        Each is called with the `Training` after each epoch; one that returns True ends it.
    time_limit : float
        Seconds of training, in all sittings together, after which to stop, in the middle of an epoch if need be.
    seed : int
        Decides the initial parameters, the order of the rows, the validation rows and dropout.
    order : Order, optional
        By default `Shuffled(seed)`.
    initial : Model, array or sequence, optional
        Parameters to begin with: a model's, a flat vector, or for each layer its arrays by name or in order.
    dtype : "float32" or "float64"
        Of parameters and arithmetic.
    backend : str
        "cpu", "cuda", ... or "auto".
    threads : int, optional
        The most threads to use.
    report : callable, optional
        Called with a `Status` about ten times a second.
    checkpoint : str or Path, optional
        A folder to write checkpoints to, from which the training can go on after whatever has ended it; it is made if it
        isn't there, and the last two are kept. The last thing a training does is to write one.
    every : float
        Seconds between two of them; more where writing takes so long that it would cost over 1 % of the time.
    resume : bool
        Go on from the newest sound checkpoint in that folder, or from the beginning if there is none; see Notes.

    Returns
    -------
    Model
        With a `report` of the training, its history included.

    Raises
    ------
    InputError
        If something given can't be used.
    TrainingDiverged
        If the loss becomes NaN or infinite; it has the best finished epoch as `model`.
    BackendUnavailable
        If the backend can't run here.
    TrainingInterrupted
        A KeyboardInterrupt, on Ctrl-C: once the step under way is done and a checkpoint is written, if those are kept. It
        has the best epoch so far, or what there is, as `model`. With checkpoints SIGTERM and SIGHUP wait for that as well.

    Warns
    -----
    CheckpointWarning
        If a checkpoint couldn't be written, once; couldn't be read where the one before could; or if the learning rate
        jumps, see Notes.

    Notes
    -----
    A training that is resumed ends with the same bits, parameters, history and all, as one that never stopped, on the same
    backend; on cpu, with as many threads of NumPy's BLAS. Another backend may go on as well, and then differs as backends do.
    Data, network, loss, optimizer, schedule, seed and all else that decides what a step computes must be the same, or it is
    refused; `epochs`, `time_limit`, `backend`, `threads`, `callbacks`, `report` and `every` may be others. Of metrics and
    losses of your own only the names and settings can be compared.

    With more `epochs` a finished training goes on. The schedules cosine and one_cycle stretch over all epochs: they go on
    where the longer one would be, so the learning rate jumps, and the result is not that of a training which was given so
    many from the beginning, as it is with other schedules.

    Callbacks are called once more for the epoch at whose end a training goes on: one that ended it is asked again.

    Examples
    --------
    >>> import numpy as np
    >>> from nnaccel import Dense, Network, train
    >>> X = np.array([[0.0, 0.0], [0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
    >>> network = Network(2, [Dense(8, "tanh"), Dense(2)])
    >>> model = train(network, X, [0, 1, 1, 0], optimizer="adam,learning_rate=0.1", epochs=100)
    >>> model.predict(X)
    array([0, 1, 1, 0])
    """
    assignment = assign(
        network, X, y, loss=loss, optimizer=optimizer, schedule=schedule, epochs=epochs, batch_size=batch_size, l2=l2,
        clip_norm=clip_norm, sample_weight=sample_weight, validation=validation, metrics=metrics,
        early_stopping=early_stopping, callbacks=callbacks, time_limit=time_limit, seed=seed, order=order,
        initial=initial, dtype=dtype, threads=threads, report=report,
    )  # fmt: skip
    folder = _checkpoint_folder(checkpoint, every, resume)
    before = None if folder is None else assignment.resume(folder)
    began = time.perf_counter()
    chosen, reason = choose_backend(_before_auto(backend, before), assignment.workload)
    program = chosen.compile(assignment.plan)
    seconds_compile = time.perf_counter() - began
    training = assignment.begin(chosen, program, before and before[1])
    try:
        keeper = None if folder is None else assignment.keep(folder, every, training, chosen, before and before[0])
        with Interruption(saving=keeper is not None) as interruption:
            stopped_by = training.until_done(functools.partial(_between_slices, keeper, interruption))
            model = _finished(training, chosen, reason, seconds_compile, stopped_by)
    finally:
        training.run.close()
    if interruption.number is not None:
        interruption.pass_on()
        raise _interrupted(model, keeper, interruption.number)
    return model


@dataclass(frozen=True)
class Assignment:
    """A training that was found to be in order, and only needs a backend.

    Attributes
    ----------
    plan : Plan
    recipe : Recipe
    rows : Rows
        They may include rows that aren't trained on.
    training_rows : int32 array (n,)
        The numbers of those that are.
    held_out : (array, array, array or None), optional
        Features, targets and weights of the validation set.
    parameters : array (size,), optional
        Those to begin with; by default the network's own for the seed.
    seed : int
    threads : int, optional
    """

    plan: Plan
    recipe: Recipe
    rows: Rows
    training_rows: np.ndarray
    held_out: tuple[np.ndarray, np.ndarray, np.ndarray | None] | None
    parameters: np.ndarray | None
    seed: int
    threads: int | None

    @property
    def workload(self) -> Workload:
        """What its cost depends on."""
        held_out = 0 if self.held_out is None else len(self.held_out[0])
        watched = self.recipe.watches_epochs or held_out > 0
        return Workload(self.plan, len(self.training_rows), self.recipe.batch_size, held_out, watched, self.threads)

    @functools.cached_property
    def identity(self) -> dict[str, str]:
        """What must be the same for another sitting to go on with it; see `nnaccel.identity`."""
        return identity_of(
            self.plan, self.recipe, self.seed, self.rows, self.training_rows, self.held_out, self.parameters
        )

    def resume(self, folder: Path) -> tuple[Path, Checkpoint] | None:
        """The checkpoint to go on from, if there is one; raises `InputError` if it is of another training."""
        names = ["loss", *(metric.name for metric in self.recipe.metrics)] if self.held_out is not None else []
        columns = tuple(dict.fromkeys(f"validation_{name}" for name in names))
        frame = Frame(self.plan, self.workload.steps_per_epoch, columns)
        found = resume_from(folder, self.identity, frame, self.recipe.epochs)
        if found is not None:
            self._warn_of_a_jump(found[1])
        return found

    def _warn_of_a_jump(self, before: Checkpoint) -> None:
        """Say so if the learning rate goes on elsewhere, because the schedule depends on the number of epochs."""
        steps, rows, schedule = self.workload.steps_per_epoch, len(self.training_rows), self.recipe.schedule
        there = np.array([float(before.state.count)])
        was, now = (
            float(schedule.factors(there, Timeline(epochs, steps, rows), np)[0])
            for epochs in (before.epochs or self.recipe.epochs, self.recipe.epochs)
        )
        if was != now:
            warnings.warn(
                f"the schedule {schedule.name} stretches over all epochs: with {self.recipe.epochs} instead of "
                f"{before.epochs} its factor on the learning rate here is {now:.3g}, where it would have been {was:.3g}.",
                CheckpointWarning,
                stacklevel=4,
            )

    def keep(self, folder: Path, every: float, training: Training, backend: Backend, last: Path | None) -> Keeper:
        """What writes checkpoints of the training; `last` is the one that it went on from."""

        def take() -> Checkpoint | None:
            state = training.state()
            # From numbers that are infinite nothing goes on; the next step says so.
            sound = bool(np.isfinite(state.parameters).all())
            if not sound:
                return None
            return Checkpoint(self.identity, backend.name, self.recipe.epochs, state, training.progress)

        return Keeper(folder, every, take, last)

    def begin(self, backend: Backend, program: Program, before: Checkpoint | None = None) -> Training:
        """Begin the training on a backend, with the program that it made of the plan; or go on from a checkpoint."""
        state = before.state if before else TrainingState.initial(self.plan, self.seed, self.parameters)
        validation = None
        if self.held_out is not None:
            x, targets, weights = self.held_out
            validation = Validation(backend.from_host(x), targets, weights)
        profile = stored_profile()
        known = None if profile is None else profile.backends.get(backend.name)
        expected = math.nan if known is None else step_seconds(self.workload, known)
        progress = before.progress if before else None
        return Training(
            program, state, self.rows, self.training_rows, self.recipe, validation, self.threads, expected, progress
        )


def assign(
    network: Network,
    X: Any,
    y: Any,
    *,
    loss: str | Loss | None,
    optimizer: str | Optimizer,
    schedule: str | Schedule,
    epochs: int,
    batch_size: int | None,
    l2: float | L2,
    clip_norm: float | None,
    sample_weight: Any,
    validation: float | Sequence[Any] | None,
    metrics: Iterable[str | Metric] | None,
    early_stopping: int | EarlyStopping | None,
    callbacks: Iterable[Callable[[Training], bool | None]],
    time_limit: float,
    seed: int,
    order: Order | None,
    initial: Model | np.ndarray | Sequence[Any] | None,
    dtype: str,
    threads: int | None,
    report: Callable[[Status], None] | None,
) -> Assignment:
    """What `train` is given, checked; the parameters are its own.

    Raises
    ------
    InputError
        If something given can't be used.
    """
    x = as_features(X, dtype)
    _check_rows(network, x)
    outputs = network.output_shape[0]
    chosen_loss = as_loss(default_loss(y, outputs) if loss is None else loss)
    penalty = l2 if isinstance(l2, L2) else L2(l2)
    plan = Plan(network, chosen_loss, as_optimizer(optimizer), penalty, clip_norm, dtype)
    targets = as_targets(y, chosen_loss, len(x), outputs, dtype)
    weights = as_weights(sample_weight, len(x), dtype)
    chosen_metrics = default_metrics(chosen_loss) if metrics is None else tuple(map(as_metric, metrics))
    check_metrics(chosen_loss, chosen_metrics)
    training_rows = np.arange(len(x), dtype=np.int32)
    held_out: tuple[np.ndarray, np.ndarray, np.ndarray | None] | None = None
    if isinstance(validation, (int, float)):
        labels = targets if chosen_loss.targets == "labels" else None
        training_rows, rows = split(len(x), validation, seed, labels)
        held_out = x[rows], targets[rows], None if weights is None else weights[rows]
    elif validation is not None:
        check(len(validation) in (2, 3), "validation takes a fraction, (X, y) or (X, y, weights).")
        held_out = _read_validation(plan, *validation)
    _check_several_classes(chosen_loss, targets[training_rows])

    recipe = Recipe(
        epochs=epochs,
        batch_size=min(batch_size or len(training_rows), len(training_rows)) if batch_size != 0 else 0,
        schedule=as_schedule(schedule),
        order=order or Shuffled(seed),
        metrics=chosen_metrics,
        early_stopping=EarlyStopping(early_stopping) if isinstance(early_stopping, int) else early_stopping,
        callbacks=tuple(callbacks),
        time_limit=time_limit,
        report=report,
    )
    _check_stopping_metric(recipe, held_out is not None)
    check_memory(plan, recipe.batch_size)
    check(threads is None or is_whole(threads, 1), f"the threads must be a whole number, 1 or more, not {threads!r}.")
    parameters = _initial_parameters(plan, initial)
    return Assignment(plan, recipe, Rows(x, targets, weights), training_rows, held_out, parameters, seed, threads)


def _checkpoint_folder(checkpoint: str | Path | None, every: float, resume: bool) -> Path | None:
    """The folder for checkpoints, if there are to be any, and they can be written."""
    check(0 <= every < math.inf, f"checkpoints can be written every 0 seconds or more, not every {every}.")
    if checkpoint is None:
        check(not resume, "resume needs the folder with the checkpoints to go on from, as checkpoint.")
        return None
    folder = Path(checkpoint)
    open_folder(folder, resume)
    return folder


def _before_auto(backend: str, before: tuple[Path, Checkpoint] | None) -> str:
    """The backend to take: for "auto" the one before, if it is there, as another one would give other bits."""
    if backend != "auto" or before is None or before[1].backend not in backend_names():
        return backend
    name = before[1].backend
    return name if backend_class(name).unavailable_reason() is None else backend


def _between_slices(keeper: Keeper | None, interruption: Interruption, stopped_by: str | None) -> str | None:
    """Write a checkpoint where one is due, or the training ends; and say whether it is to end."""
    if stopped_by is None and interruption.number is not None:
        stopped_by = INTERRUPT
    if keeper is not None and (stopped_by is not None or keeper.is_due):
        keeper.save(is_last=stopped_by is not None)
    return stopped_by


def _interrupted(model: Model, keeper: Keeper | None, number: int) -> TrainingInterrupted:
    report, folder = model.report, keeper.folder if keeper is not None and keeper.has_kept else None
    assert report is not None, "a training leaves a report"
    further = "nothing was kept to go on from" if folder is None else f"resume=True goes on from {folder}"
    return TrainingInterrupted(
        f"the training was interrupted after {counted(report.epochs, 'epoch')}: {further}.", model, folder, number
    )


def _finished(training: Training, backend: Backend, reason: str, seconds_compile: float, stopped_by: str) -> Model:
    progress = training.progress
    best = progress.best.epoch if training.recipe.early_stopping and progress.best else progress.epoch
    report = TrainingReport(
        backend=backend.name,
        kernel=training.program.kernel,
        reason=reason,
        seconds=progress.seconds,
        seconds_compile=seconds_compile,
        epochs=progress.epoch,
        best_epoch=best,
        rows=training.rows,
        train_loss=progress.history["train_loss"][best - 1] if best else training.status().train_loss,
        metrics=training.validate(),
        history=progress.history,
        stopped_by=stopped_by,
        settings=_settings(training.program.plan, training.recipe, training.state().seed),
        finished=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return replace(training.model(), report=report)


def _settings(plan: Plan, recipe: Recipe, seed: int) -> dict[str, str]:
    """What else was asked for, as text; what was not is left out."""
    stopping = recipe.early_stopping
    settings: dict[str, Any] = {
        "optimizer": plan.optimizer,
        "learning rate": f"{plan.optimizer.learning_rate:g}",
        "schedule": recipe.schedule,
        "epochs": recipe.epochs,
        "batch size": recipe.batch_size,
        "l2": plan.l2.strength or None,
        "clip norm": plan.clip_norm,
        "early stopping": stopping and f"{stopping.metric}, patience {stopping.patience}",
        "time limit": None if recipe.time_limit == math.inf else f"{recipe.time_limit:g} s",
        "seed": seed,
    }
    return {name: str(value) for name, value in settings.items() if value is not None}


def _check_rows(network: Network, x: np.ndarray) -> None:
    check(
        x.shape[1:] == network.input_shape,
        f"X has rows of the shape {x.shape[1:]}, but the network takes {network.input_shape}.",
    )


def _read_validation(
    plan: Plan, X: Any, y: Any, weights: Any = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    x = as_features(X, plan.dtype)
    _check_rows(plan.network, x)
    targets = as_targets(y, plan.loss, len(x), plan.outputs, plan.dtype)
    return x, targets, as_weights(weights, len(x), plan.dtype)


def _check_several_classes(loss: Loss, targets: np.ndarray) -> None:
    if is_classification(loss):
        check(
            bool((targets != targets[:1]).any()),
            f"every training row has the target {targets[0]}: there is nothing to learn from one class.",
        )


def _check_stopping_metric(recipe: Recipe, has_validation: bool) -> None:
    if recipe.early_stopping is None:
        return
    known = ["loss", *(metric.name for metric in recipe.metrics if has_validation)]
    check(
        recipe.early_stopping.metric in known,
        f"early stopping can't watch {recipe.early_stopping.metric!r}, only {', '.join(known)}"
        + ("." if has_validation else ": give a validation set to watch a metric."),
    )


def check_memory(plan: Plan, batch_size: int) -> None:
    """Raise `InputError` if a training takes more memory than there is: before any is taken."""
    need, there = memory_bytes(plan, batch_size), available_memory()
    check(
        need <= there,
        f"training {plan.network.parameter_count:,} parameters with batches of {batch_size:,} rows takes "
        f"{readable_bytes(need)}, but this machine has {readable_bytes(there)} free: take narrower layers or smaller batches.",
    )


def _initial_parameters(plan: Plan, initial: Any) -> np.ndarray | None:
    """The flat vector to begin with, if one is given in whatever form."""
    if initial is None:
        return None
    if isinstance(initial, Model):
        initial = initial.layers()
    if isinstance(initial, np.ndarray) and initial.ndim == 1:
        check(
            initial.shape == (plan.network.size,),
            f"the initial parameters must have the length {plan.network.size}, not {initial.shape[0]}.",
        )
        initial = plan.network.unpack(initial, np)
    parameters = plan.network.pack(initial, plan.dtype)
    check(bool(np.isfinite(parameters).all()), "the initial parameters hold NaN or infinite values.")
    return parameters
