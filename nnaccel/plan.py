"""The plan of a training: all that a backend must know to make a program of it."""

import math
from dataclasses import dataclass

from nnaccel.description import plain_number
from nnaccel.errors import check
from nnaccel.losses import Loss
from nnaccel.network import Network
from nnaccel.optimizers import L2, Optimizer

DTYPES = ("float32", "float64")


@dataclass(frozen=True)
class Plan:
    """What a step computes, without data, parameters or schedule.

    Attributes
    ----------
    network : Network
    loss : Loss
    optimizer : Optimizer
        A program reads the learning rate, the momentum and the weight decay from each `Step`, not from here.
    l2 : L2
    clip_norm : float, optional
        The largest Euclidean norm of a gradient; None doesn't clip.
    dtype : "float32" or "float64"
        Of parameters, activations and gradients.

    Raises
    ------
    InputError
        If the parts don't fit together.
    """

    network: Network
    loss: Loss
    optimizer: Optimizer
    l2: L2 = L2()
    clip_norm: float | None = None
    dtype: str = "float32"

    def __post_init__(self) -> None:
        if self.clip_norm is not None:
            object.__setattr__(self, "clip_norm", plain_number("the norm to clip gradients at", float, self.clip_norm))
        check(self.dtype in DTYPES, f"unknown dtype {self.dtype!r}; known: {', '.join(DTYPES)}.")
        check(
            self.clip_norm is None or 0 < self.clip_norm < math.inf,
            f"the norm to clip gradients at must be above 0, not {self.clip_norm}; leave it out to clip nothing.",
        )
        shape = self.network.output_shape
        check(len(shape) == 1, f"the network must end in a row of outputs, not in the shape {shape}.")
        check(
            self.loss.targets == "values" or shape[0] >= 2,
            f"{self.loss.name} needs an output for each class, so 2 or more, not {shape[0]}; "
            "for two classes with one output take binary_cross_entropy.",
        )

    @property
    def outputs(self) -> int:
        """How many outputs the network has."""
        return self.network.output_shape[0]
