"""How good predictions are, where the truth stands beside the rows, however many rows there are."""

from typing import TYPE_CHECKING

from nnaccel.errors import InputError, counted

if TYPE_CHECKING:
    import numpy as np

    from nnaccel.assessment import Assessment
    from nnaccel.model import Model
    from nnaccel.table import Table


class Judge:
    """Collects the truth, where it is known, beside the network's outputs, and judges them in the end.

    Only these are kept of the rows: metrics such as the area under a curve need all of them at once.

    Parameters
    ----------
    model : Model
        One with an encoding.
    metrics : list of str
        Names; empty for the usual ones.
    weight : str, optional
        The column that says how much each row counts.
    """

    def __init__(self, model: "Model", metrics: list[str], weight: str | None) -> None:
        from nnaccel.metrics import as_metric, check_metrics, default_metrics

        assert model.encoding is not None, "a model without one gets the plain one"
        self._model, self._target = model, model.encoding.target
        self._metrics = tuple(map(as_metric, metrics)) or default_metrics(model.loss)
        check_metrics(model.loss, self._metrics)
        self._truths: list[np.ndarray] = []
        self._outputs: list[np.ndarray] = []
        self._weight, self._unweighted = weight, ""
        self._weights: list[np.ndarray] = []
        self._respelled: dict[str, str] = {}
        self._strangers = 0

    def add(self, table: "Table", outputs: "np.ndarray") -> None:
        """Take the rows of a table that have a target."""
        import numpy as np

        from nnaccel.preparation import row_weights
        from nnaccel.targets import present

        known = self._target.known(table)
        if self._weight is not None and not self._unweighted:
            try:
                self._weights.append(row_weights(table, self._weight, np.flatnonzero(known))[known])
            except InputError as error:
                # They are wanted for the scores alone, which go without.
                self._unweighted = str(error)
        self._truths.append(self._target.encode(table, known))
        self._outputs.append(outputs[known])
        self._strangers += int((present(table, self._target.names) & ~known).sum())
        self._respelled |= {word: repr(label) for word, label in self._target.respelled(table).items()}

    @property
    def remarks(self) -> list[str]:
        """What the user should know of how the truth was read."""
        lines = [f"{word!r} is read as the class {label}" for word, label in self._respelled.items()]
        if self._strangers:
            lines.append(f"{counted(self._strangers, 'row')} not scored: of classes that training had not")
        if self._unweighted:
            lines.append(f"scores aren't weighted, though the training was: {self._unweighted}")
        elif self._weights:
            lines.append(f"scores are weighted by {self._weight!r}, as the training was")
        return lines

    def result(self) -> "Assessment":
        """How good the predictions are where the truth is known."""
        import numpy as np

        from nnaccel.assessment import Assessment, assess

        if not any(map(len, self._truths)):
            return Assessment()
        weights = np.concatenate(self._weights) if self._weights and not self._unweighted else None
        if weights is not None and not weights.any():
            weights, self._unweighted = None, f"all weights in column {self._weight!r} are zero."
        truth, outputs = np.concatenate(self._truths), np.concatenate(self._outputs)
        self._truths, self._outputs = [], []
        return assess(self._target, self._model.loss, self._metrics, truth, outputs, weights)
