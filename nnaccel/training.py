"""Training: epochs, validation, early stopping, callbacks, time limit, until there is a model."""

import math
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np

from nnaccel.arrays import Array
from nnaccel.backends import Backend, choose_backend
from nnaccel.cost import memory_bytes, readable_bytes
from nnaccel.errors import InputError, check
from nnaccel.inputs import as_features, as_targets, as_weights, default_loss
from nnaccel.losses import Loss, as_loss
from nnaccel.machine import available_memory
from nnaccel.metrics import Metric, as_metric, check_metrics, default_metrics, evaluate, is_classification
from nnaccel.model import Model
from nnaccel.network import Network
from nnaccel.optimizers import L2, Optimizer, Step, as_optimizer
from nnaccel.order import Order, Shuffled, batch_bounds, split
from nnaccel.plan import Plan
from nnaccel.program import Program, Rows, TrainingState
from nnaccel.progress import Best, Progress
from nnaccel.progress import Status as Status
from nnaccel.recipe import EarlyStopping, Recipe, is_whole
from nnaccel.report import TrainingReport
from nnaccel.schedules import Plateau, Schedule, Timeline, as_schedule

SLICE_SECONDS = 0.1
"""About how long one call of `Run.train` takes: so often can a training report, stop, or be interrupted."""

MOST_ROWS_PER_SLICE = 1 << 20


class TrainingDiverged(InputError):
    """The loss became NaN or infinite.

    Attributes
    ----------
    model : Model or None
        The best finished epoch before, if there was one.
    """

    def __init__(self, sentence: str, model: Model | None) -> None:
        super().__init__(sentence)
        self.model = model


class Validation(NamedTuple):
    """A validation set: `x` on the device, the rest on the host."""

    x: Array
    targets: np.ndarray
    weights: np.ndarray | None


class Training:
    """A training under way: it cuts the epochs into slices, and looks at the results between them.

    Where nothing has to happen between epochs (no validation, early stopping, callbacks or plateau), a slice may span
    many epochs. Where slices are cut never changes a result.

    Parameters
    ----------
    program : Program
    state : TrainingState
    rows : Rows
        They may include rows that aren't trained on.
    training_rows : int32 array (n,)
        The numbers of those that are.
    recipe : Recipe
    validation : Validation, optional
    threads : int, optional
    """

    def __init__(
        self,
        program: Program,
        state: TrainingState,
        rows: Rows,
        training_rows: np.ndarray,
        recipe: Recipe,
        validation: Validation | None = None,
        threads: int | None = None,
    ) -> None:
        self.program, self.recipe, self.progress = program, recipe, Progress()
        self.run = program.start(state, rows, recipe.batch_size, threads)
        self._rows, self._validation = training_rows, validation
        self._bounds = batch_bounds(len(training_rows), recipe.batch_size)
        self._timeline = Timeline(recipe.epochs, len(self._bounds) - 1, len(training_rows))
        self._epoch_by_epoch = bool(
            validation or recipe.early_stopping or recipe.callbacks or isinstance(recipe.schedule, Plateau)
        )
        self._order: tuple[int, np.ndarray] = (-1, training_rows)
        self._slice_steps = 1
        self._last_validation: dict[str, float] = {}

    def until_done(self) -> str:
        """Train until the recipe says stop, leave the run at the epoch to keep, and say what stopped it.

        Raises
        ------
        TrainingDiverged
            If the loss becomes NaN or infinite; the run is then left at the best finished epoch, if there is one.
        """
        stopped_by, reported = None, -math.inf
        while stopped_by is None:
            started = time.perf_counter()
            self._one_slice()
            self.progress.seconds += time.perf_counter() - started
            stopped_by = self._stopped_by()
            if self.recipe.report and (stopped_by or time.perf_counter() - reported > SLICE_SECONDS):
                self.recipe.report(self.status())
                reported = time.perf_counter()
        self._sound_state()
        if self.recipe.early_stopping:
            self._return_to_best()
        return stopped_by

    def status(self) -> Status:
        """How far the training is."""
        progress, timeline = self.progress, self._timeline
        steps = progress.epoch * timeline.steps_per_epoch + progress.step
        rows = progress.epoch * timeline.rows_per_epoch + int(self._bounds[progress.step])
        if progress.log:
            losses, weights = np.concatenate(progress.log)[:, :2].sum(axis=0)
            train_loss = losses / weights if weights else 0.0
        else:
            train_loss = progress.history["train_loss"][-1] if len(progress.history) else math.nan
        return Status(
            epoch=progress.epoch,
            epochs=timeline.epochs,
            train_loss=float(train_loss),
            validation=self._last_validation,
            rows_per_second=rows / progress.seconds if progress.seconds else 0.0,
            seconds=progress.seconds,
            seconds_left=progress.seconds / steps * (timeline.steps - steps) if steps else math.nan,
        )

    @property
    def rows(self) -> int:
        """The number of training rows."""
        return len(self._rows)

    def state(self) -> TrainingState:
        """A copy of the parameters and all else that the run changes."""
        return self.run.state()

    def model(self) -> Model:
        """A model with the present parameters."""
        plan = self.program.plan
        return Model(plan.network, plan.loss, self.run.state().parameters)

    def validate(self) -> dict[str, float]:
        """The loss and the metrics on the validation set, now; nothing without one."""
        if self._validation is None:
            return {}
        x, targets, weights = self._validation
        return evaluate(self.program.plan.loss, self.recipe.metrics, targets, self.run.predict(x), weights)

    def _stopped_by(self) -> str | None:
        progress, recipe = self.progress, self.recipe
        if progress.epoch == recipe.epochs:
            return "epochs"
        if progress.seconds >= recipe.time_limit:
            return "time limit"
        if progress.step or not progress.epoch:
            return None
        if recipe.early_stopping and progress.bad_epochs >= recipe.early_stopping.patience:
            return "early stopping"
        # All callbacks are called, whatever the first one says.
        wishes = [callback(self) for callback in recipe.callbacks]
        return "callback" if any(wishes) else None

    def _one_slice(self) -> None:
        progress, timeline = self.progress, self._timeline
        steps = self._steps_of_slice()
        start = self.run.state() if steps > timeline.steps_per_epoch else None
        began = time.perf_counter()
        log = self.run.train(*self._inputs(progress.epoch, progress.step, steps))
        self._adapt_slice(steps, time.perf_counter() - began)

        bad = ~np.isfinite(log).all(axis=1)
        sound = int(bad.argmax()) if bad.any() else steps
        progress.log.append(log[:sound])
        progress.step += sound
        epochs = progress.step // timeline.steps_per_epoch
        if epochs:
            logs = np.concatenate(progress.log)
            used = epochs * timeline.steps_per_epoch
            progress.step -= used
            progress.log = [logs[used:]] if progress.step else []
            self._finish_epochs(logs[:used].reshape(epochs, timeline.steps_per_epoch, 3), start)
        if sound < steps:
            raise self._diverged()

    def _steps_of_slice(self) -> int:
        progress, timeline = self.progress, self._timeline
        per_epoch = timeline.steps_per_epoch
        whole_epochs = min(
            self._slice_steps // per_epoch,
            timeline.epochs - progress.epoch,
            max(1, MOST_ROWS_PER_SLICE // timeline.rows_per_epoch),
        )
        if whole_epochs > 1 and progress.step == 0 and not self._epoch_by_epoch:
            return whole_epochs * per_epoch
        return min(self._slice_steps, per_epoch - progress.step)

    def _adapt_slice(self, steps: int, seconds: float) -> None:
        if seconds > SLICE_SECONDS:
            self._slice_steps = max(1, steps // 2)
        elif seconds < SLICE_SECONDS / 2 and 2 * steps > self._slice_steps:
            self._slice_steps *= 2

    def _inputs(self, epoch: int, step: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """What `Run.train` takes for some steps: a part of one epoch, or whole epochs."""
        timeline, recipe = self._timeline, self.recipe
        epochs = max(1, steps // timeline.steps_per_epoch)
        orders = [self._epoch_order(number) for number in range(epoch, epoch + epochs)]
        starts = np.arange(epochs, dtype=np.int32)[:, None] * np.int32(timeline.rows_per_epoch) + self._bounds[:-1]
        bounds = np.append(starts.ravel(), np.int32(epochs * timeline.rows_per_epoch))[step : step + steps + 1]
        numbers = np.arange(steps, dtype=np.float64) + (epoch * timeline.steps_per_epoch + step)
        table = np.tile(np.array(self.program.plan.optimizer.base_step), (steps, 1))
        table[:, Step._fields.index("learning_rate")] *= (
            recipe.schedule.factors(numbers, timeline, np) * self.progress.plateau.factor
        )
        return orders[0] if epochs == 1 else np.concatenate(orders), bounds, table

    def _epoch_order(self, epoch: int) -> np.ndarray:
        if self._order[0] != epoch:
            # One batch holds all rows, whatever their order.
            order = self._rows if self._timeline.steps_per_epoch == 1 else self.recipe.order.epoch(epoch, self._rows)
            self._order = (epoch, order)
        return self._order[1]

    def _finish_epochs(self, logs: np.ndarray, start: TrainingState | None) -> None:
        """Take stock of finished epochs: several only where nothing has to happen between them."""
        progress, recipe, timeline = self.progress, self.recipe, self._timeline
        sums = logs.sum(axis=1)
        weights = np.where(sums[:, 1] > 0, sums[:, 1], 1.0)
        first, progress.epoch = progress.epoch, progress.epoch + len(logs)
        numbers = np.arange(first + 1, progress.epoch + 1)
        last_steps = numbers * float(timeline.steps_per_epoch) - 1
        rate = self.program.plan.optimizer.learning_rate * progress.plateau.factor
        columns = {
            "epoch": numbers.tolist(),
            "train_loss": (sums[:, 0] / weights).tolist(),
            "penalty": ((logs[:, :, 2] * logs[:, :, 1]).sum(axis=1) / weights).tolist(),
            "learning_rate": (rate * recipe.schedule.factors(last_steps, timeline, np)).tolist(),
        }
        if self._validation:
            self._last_validation = self.validate()
            columns |= {f"validation_{name}": [value] for name, value in self._last_validation.items()}
        progress.history.extend(columns)
        if isinstance(recipe.schedule, Plateau):
            loss = self._last_validation.get("loss", columns["train_loss"][-1])
            progress.plateau = recipe.schedule.after_epoch(progress.plateau, loss)
        self._note_best(self._monitored(columns), first, start)

    def _monitored(self, columns: dict[str, list[float]]) -> list[float]:
        """What is to be minimised, of the epochs just finished."""
        name = self.recipe.early_stopping.metric if self.recipe.early_stopping else "loss"
        values = columns[f"validation_{name}"] if self._validation else columns["train_loss"]
        greater = any(metric.greater_is_better for metric in self.recipe.metrics if metric.name == name)
        return [-value for value in values] if greater else values

    def _note_best(self, values: list[float], first: int, start: TrainingState | None) -> None:
        progress, stopping = self.progress, self.recipe.early_stopping
        index = int(np.argmin(values))
        value, epoch = values[index], first + index + 1
        before = progress.best.value if progress.best else math.inf
        progress.bad_epochs = (
            0 if value < before - (stopping.tolerance if stopping else 0.0) else progress.bad_epochs + 1
        )
        if not value < before:
            return
        if epoch == progress.epoch:
            start, first = self._sound_state(), epoch
        assert start is not None, "several epochs are finished at once only from a known state"
        progress.best = Best(value, epoch, start, first)

    def _sound_state(self) -> TrainingState:
        """The state, unless the last update made it infinite, which no loss has shown yet."""
        state = self.run.state()
        if not np.isfinite(state.parameters).all():
            raise self._diverged()
        return state

    def _diverged(self) -> TrainingDiverged:
        progress = self.progress
        step = progress.epoch * self._timeline.steps_per_epoch + progress.step + 1
        rate = self.program.plan.optimizer.learning_rate
        self._return_to_best()
        kept = f"epoch {progress.best.epoch} is kept" if progress.best else "no epoch was finished"
        return TrainingDiverged(
            f"the loss became NaN or infinite at step {step}, in epoch {progress.epoch + 1} ({kept}): "
            f"take a smaller learning rate, say {rate / 10:g}, or clip the gradients.",
            self.model() if progress.best else None,
        )

    def _return_to_best(self) -> None:
        """Put the run at the end of the best epoch: from the anchor, the epochs until then are trained once more."""
        best = self.progress.best
        if best is None:
            return
        self.run.restore(best.anchor)
        if best.epoch > best.anchor_epoch:
            steps = (best.epoch - best.anchor_epoch) * self._timeline.steps_per_epoch
            self.run.train(*self._inputs(best.anchor_epoch, 0, steps))


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
        Seconds after which to stop, in the middle of an epoch if need be.
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
    x = as_features(X, dtype)
    _check_rows(network, x)
    outputs = network.output_shape[0]
    chosen_loss = as_loss(default_loss(y, outputs) if loss is None else loss)
    penalty = l2 if isinstance(l2, L2) else L2(l2)
    plan = Plan(network, chosen_loss, as_optimizer(optimizer), penalty, clip_norm, dtype)
    targets = as_targets(y, chosen_loss, len(x), outputs)
    weights = as_weights(sample_weight, len(x))
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
    _check_memory(plan, recipe.batch_size)
    check(threads is None or is_whole(threads, 1), f"the threads must be a whole number, 1 or more, not {threads!r}.")

    began = time.perf_counter()
    chosen, reason = choose_backend(backend)
    program = chosen.compile(plan)
    seconds_compile = time.perf_counter() - began
    state = TrainingState.initial(plan, seed, _initial_parameters(plan, initial))
    on_device = Validation(chosen.from_host(held_out[0]), held_out[1], held_out[2]) if held_out else None
    training = Training(program, state, Rows(x, targets, weights), training_rows, recipe, on_device, threads)
    try:
        stopped_by = training.until_done()
        return _finished(training, chosen, reason, seconds_compile, stopped_by)
    finally:
        training.run.close()


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
    return x, as_targets(y, plan.loss, len(x), plan.outputs), as_weights(weights, len(x))


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


def _check_memory(plan: Plan, batch_size: int) -> None:
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
