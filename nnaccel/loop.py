"""The loop of a training: slices of steps, epochs, validation, early stopping, callbacks, until something stops it."""

import math
import time
from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from nnaccel.arrays import Array
from nnaccel.errors import InputError
from nnaccel.metrics import evaluate
from nnaccel.model import Model
from nnaccel.optimizers import Step
from nnaccel.order import batch_bounds
from nnaccel.program import Program, Rows, TrainingState
from nnaccel.progress import Best, Progress, Status
from nnaccel.recipe import Recipe
from nnaccel.schedules import Plateau, Timeline

SLICE_SECONDS = 0.1
"""About how long one call of `Run.train` takes: so often can a training report, stop, or be interrupted."""

MOST_ROWS_PER_SLICE = 1 << 20

_VALIDATION = "validation_"
"""Before this come the names of what was measured on the validation set, in the history."""


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


class Slice(NamedTuple):
    """One call of `Run.train`: its steps, its seconds, and these with all that came before and after it."""

    steps: int
    run_seconds: float
    seconds: float


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
    expected_step_s : float
        The seconds that a step should take: in the first epoch, what is left is told from that as well. NaN where unknown.
    progress : Progress, optional
        Where to go on, with the state that belongs to it; by default, nothing has been done yet.
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
        expected_step_s: float = math.nan,
        progress: Progress | None = None,
    ) -> None:
        self.program, self.recipe, self.progress = program, recipe, progress or Progress()
        self._expected_step_s = expected_step_s
        self.run = program.start(state, rows, recipe.batch_size, threads)
        self._rows, self._validation = training_rows, validation
        self._bounds = batch_bounds(len(training_rows), recipe.batch_size)
        self._timeline = Timeline(recipe.epochs, len(self._bounds) - 1, len(training_rows))
        self._epoch_by_epoch = validation is not None or recipe.watches_epochs
        self._order: tuple[int, np.ndarray] = (-1, training_rows)
        self._slice_steps = 1
        self._last_validation = {
            name.removeprefix(_VALIDATION): values[-1]
            for name, values in self.progress.history.as_dict().items()
            if name.startswith(_VALIDATION)
        }

    def until_done(self, between: Callable[[str | None], str | None] = lambda stopped_by: stopped_by) -> str:
        """Train until the recipe says stop, leave the run at the epoch to keep, and say what stopped it.

        Parameters
        ----------
        between : callable
            Called after each slice with what stops the training, or None; returns what is to stop it.

        Raises
        ------
        TrainingDiverged
            If the loss becomes NaN or infinite; the run is then left at the best finished epoch, if there is one.
        """
        # One that goes on may be over already.
        stopped_by, reported = self._stopped_by(), -math.inf
        while stopped_by is None:
            self.one_slice()
            stopped_by = between(self._stopped_by())
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
            seconds_left=self._step_seconds(steps) * (timeline.steps - steps),
        )

    def _step_seconds(self, steps: int) -> float:
        """What a step takes. The first ones are slow, so what was expected counts as well until an epoch is over."""
        expected, part = self._expected_step_s, min(1.0, steps / self._timeline.steps_per_epoch)
        if not steps:
            return expected
        seconds = self.progress.seconds / steps
        return part * seconds + (1 - part) * expected if expected > 0 else seconds

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

    def one_slice(self) -> Slice:
        """Go on by one call of `Run.train`, and do what has to be done after it.

        Raises
        ------
        TrainingDiverged
            If the loss becomes NaN or infinite.
        """
        started = time.perf_counter()
        steps = self._steps_of_slice()
        start = self.run.state() if steps > self._timeline.steps_per_epoch else None
        inputs = self._inputs(self.progress.epoch, self.progress.step, steps)
        began = time.perf_counter()
        log = self.run.train(*inputs)
        seconds = time.perf_counter() - began
        self._adapt_slice(steps, seconds)
        self._take_log(log, start)
        whole = time.perf_counter() - started
        self.progress.seconds += whole
        return Slice(steps, seconds, whole)

    def _take_log(self, log: np.ndarray, start: TrainingState | None) -> None:
        """Note steps that were made, and take stock where they end epochs; `start` is the state before them, if needed."""
        progress, timeline, steps = self.progress, self._timeline, len(log)
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
            columns |= {f"{_VALIDATION}{name}": [value] for name, value in self._last_validation.items()}
        progress.history.extend(columns)
        if isinstance(recipe.schedule, Plateau):
            loss = self._last_validation.get("loss", columns["train_loss"][-1])
            progress.plateau = recipe.schedule.after_epoch(progress.plateau, loss)
        self._note_best(self._monitored(columns), first, start)

    def _monitored(self, columns: dict[str, list[float]]) -> list[float]:
        """What is to be minimised, of the epochs just finished."""
        name = self.recipe.early_stopping.metric if self.recipe.early_stopping else "loss"
        values = columns[f"{_VALIDATION}{name}"] if self._validation else columns["train_loss"]
        if name != "loss" and np.isnan(values).any():
            raise InputError(
                f"early stopping can't watch {name}: it can't be computed of the validation rows, say because all are of one "
                "class; watch another metric, or hold out other rows."
            )
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
