"""Interruptions: Ctrl-C and its like wait until a training can be stopped without losing anything."""

import contextlib
import signal
import threading
import time
from pathlib import Path
from types import FrameType
from typing import Any

from nnaccel.model import Model

PATIENCE = 1.0
"""Seconds after which a second signal is meant: sooner, it is the same one, come by two ways or typed twice."""

SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
"""Ctrl-C; a scheduler's or a container's wish to end; a terminal that was closed."""


class TrainingInterrupted(KeyboardInterrupt):
    """A training was interrupted, by Ctrl-C or a signal, after all that can be kept was kept.

    Attributes
    ----------
    model : Model
        With early stopping the best epoch so far, else what there is at this moment; its report tells which.
    checkpoint : Path or None
        The folder from which the training can go on.
    signal : int
    """

    def __init__(self, sentence: str, model: Model, checkpoint: Path | None, number: int) -> None:
        super().__init__(sentence)
        self.model, self.checkpoint, self.signal = model, checkpoint, number


class Interruption:
    """Notes signals while the block runs, instead of letting them break into it; afterwards all is as it was before.

    A second signal, more than a second after the first, raises KeyboardInterrupt at once. Only the main thread of a process
    gets signals: in others nothing is noted.

    Parameters
    ----------
    saving : bool
        Whether there is something to save before a signal may end the process. If not, those that nobody has asked for
        do so at once, as ever; only Ctrl-C is noted.
    """

    def __init__(self, saving: bool) -> None:
        self.number: int | None = None
        self._saving = saving
        self._noted = 0.0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> "Interruption":
        if threading.current_thread() is threading.main_thread():
            unwanted = [None, signal.SIG_IGN, *([] if self._saving else [signal.SIG_DFL])]
            self._before = {number: signal.getsignal(number) for number in SIGNALS}
            self._before = {number: before for number, before in self._before.items() if before not in unwanted}
            for number in self._before:
                signal.signal(number, self._note)
        return self

    def __exit__(self, *error: Any) -> None:
        for number, before in self._before.items():
            signal.signal(number, before)

    def _note(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self.number is None:
            self.number, self._noted = number, now
        elif now - self._noted > PATIENCE:
            raise KeyboardInterrupt

    def pass_on(self) -> None:
        """Let the signal do what it would have done at first, except to raise KeyboardInterrupt: call it after the block."""
        if self.number is not None:
            with contextlib.suppress(KeyboardInterrupt):
                signal.raise_signal(self.number)
