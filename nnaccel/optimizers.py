"""Optimizers: each a frozen description whose rule is one elementwise pass over the flat vector of parameters."""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal, NamedTuple

from nnaccel.arrays import Array, Namespace
from nnaccel.description import Description, read_description
from nnaccel.errors import check


class Step(NamedTuple):
    """The numbers of one step that a schedule may change: a row of the `steps` that `Run.train` takes.

    Attributes
    ----------
    learning_rate : float
    momentum : float
        Read by SGD, if its own momentum isn't 0.
    weight_decay : float
        Read by AdamW.
    dropout : float
        Multiplies the dropout rate of every layer: 1 leaves them as declared, 0 switches dropout off.
    """

    learning_rate: float
    momentum: float
    weight_decay: float
    dropout: float


@dataclass(frozen=True)
class Optimizer(Description):
    """A rule that turns gradients into new parameters.

    Attributes
    ----------
    learning_rate : float
        Where the schedule starts from. The rule itself reads the learning rate, like the momentum and the weight
        decay, from the `Step`.
    """

    learning_rate: float = 0.001

    @property
    @abstractmethod
    def slots(self) -> tuple[str, ...]:
        """The names of the vectors that the rule keeps beside the parameters, all zero at the start."""

    def validate(self) -> None:
        check(
            0 < self.learning_rate < math.inf,
            f"the learning rate must be above 0 and finite, not {self.learning_rate}; 0.001 is a common start.",
        )

    @property
    def base_step(self) -> Step:
        """The step as this optimizer's settings have it, before any schedule."""
        return Step(self.learning_rate, getattr(self, "momentum", 0.0), getattr(self, "weight_decay", 0.0), dropout=1.0)

    @abstractmethod
    def update(
        self,
        parameters: Array,
        slots: tuple[Array, ...],
        gradient: Array,
        weight_mask: Array,
        count: int,
        step: Step,
        xp: Namespace,
    ) -> tuple[Array, tuple[Array, ...]]:
        """The new parameters and slots.

        Parameters
        ----------
        parameters, gradient : array (size,)
        slots : tuple of array (size,)
            As many as `slots` names.
        weight_mask : array (size,)
            1 where a parameter is a weight, 0 for biases and padding.
        count : int
            How many updates there will have been after this one: 1 at the first.
        step : Step
            The learning rate and the other numbers of this step.
        """


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum: v = mu * v - lr * g, p += v.

    Without momentum there is no v to keep. With `nesterov`, p += mu * v - lr * g with the new v (Sutskever et al. 2013, "On the importance of initialization and
    momentum in deep learning", in the form that scikit-learn uses).
    """

    name: ClassVar[str] = "sgd"
    learning_rate: float = 0.01
    momentum: float = 0.0
    nesterov: bool = False

    @property
    def slots(self) -> tuple[str, ...]:
        return ("velocity",) if self.momentum else ()

    def validate(self) -> None:
        super().validate()
        check(0 <= self.momentum < 1, f"the momentum must be at least 0 and below 1, not {self.momentum}.")

    def update(
        self,
        parameters: Array,
        slots: tuple[Array, ...],
        gradient: Array,
        weight_mask: Array,
        count: int,
        step: Step,
        xp: Namespace,
    ) -> tuple[Array, tuple[Array, ...]]:
        if not slots:
            return parameters - step.learning_rate * gradient, ()
        (velocity,) = slots
        descent = step.learning_rate * gradient
        velocity = step.momentum * velocity - descent
        change = step.momentum * velocity - descent if self.nesterov else velocity
        return parameters + change, (velocity,)


@dataclass(frozen=True)
class Adam(Optimizer):
    """Adaptive moment estimation (Kingma and Ba 2015, arXiv:1412.6980).

    m = beta_1 * m + (1 - beta_1) * g and v = beta_2 * v + (1 - beta_2) * g**2. With `correction="rate"`, the bias is
    corrected in the learning rate: p -= lr * sqrt(1 - beta_2**t) / (1 - beta_1**t) * m / (sqrt(v) + epsilon), the form at
    the end of the paper's section 2, also scikit-learn's. With `correction="moments"`, m and v are corrected first,
    as in the paper's algorithm 1 and in torch: p -= lr * m_hat / (sqrt(v_hat) + epsilon). The two differ in the weight that
    epsilon has in the first steps.
    """

    name: ClassVar[str] = "adam"
    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8
    correction: Literal["rate", "moments"] = "rate"

    @property
    def slots(self) -> tuple[str, ...]:
        return ("first_moment", "second_moment")

    def validate(self) -> None:
        super().validate()
        for beta in ("beta_1", "beta_2"):
            check(0 <= getattr(self, beta) < 1, f"{beta} must be at least 0 and below 1, not {getattr(self, beta)}.")
        check(0 < self.epsilon < math.inf, f"epsilon must be above 0, not {self.epsilon}.")
        check(
            self.correction in ("rate", "moments"), f"correction must be 'rate' or 'moments', not {self.correction!r}."
        )

    def update(
        self,
        parameters: Array,
        slots: tuple[Array, ...],
        gradient: Array,
        weight_mask: Array,
        count: int,
        step: Step,
        xp: Namespace,
    ) -> tuple[Array, tuple[Array, ...]]:
        m, v = slots
        m = self.beta_1 * m + (1 - self.beta_1) * gradient
        v = self.beta_2 * v + (1 - self.beta_2) * (gradient * gradient)
        correction_1, correction_2 = 1 - self.beta_1**count, math.sqrt(1 - self.beta_2**count)
        rate = step.learning_rate / correction_1
        if self.correction == "rate":
            change = rate * correction_2 * m / (xp.sqrt(v) + self.epsilon)
        else:
            change = rate * m / (xp.sqrt(v) / correction_2 + self.epsilon)
        return parameters - change, (m, v)


@dataclass(frozen=True)
class AdamW(Adam):
    """Adam with decoupled weight decay: before Adam's change, W -= lr * weight_decay * W; biases don't decay.

    Loshchilov and Hutter 2019, arXiv:1711.05101, with the decay multiplied by the learning rate, as torch does.
    """

    name: ClassVar[str] = "adamw"
    correction: Literal["rate", "moments"] = "moments"
    weight_decay: float = 0.01

    def validate(self) -> None:
        super().validate()
        check(0 <= self.weight_decay < math.inf, f"the weight decay must be 0 or more, not {self.weight_decay}.")

    def update(
        self,
        parameters: Array,
        slots: tuple[Array, ...],
        gradient: Array,
        weight_mask: Array,
        count: int,
        step: Step,
        xp: Namespace,
    ) -> tuple[Array, tuple[Array, ...]]:
        decayed = parameters - (step.learning_rate * step.weight_decay) * (weight_mask * parameters)
        return super().update(decayed, slots, gradient, weight_mask, count, step, xp)


OPTIMIZERS: dict[str, type[Optimizer]] = {optimizer.name: optimizer for optimizer in (SGD, Adam, AdamW)}


def as_optimizer(given: str | Optimizer) -> Optimizer:
    """The optimizer that `given` is or names.

    Examples
    --------
    >>> as_optimizer("sgd,learning_rate=0.1,momentum=0.9,nesterov=true")
    SGD(learning_rate=0.1, momentum=0.9, nesterov=True)
    """
    return read_description("optimizer", OPTIMIZERS, given)


@dataclass(frozen=True)
class L2(Description):
    """A penalty on the weights, not the biases, added to the loss and to its gradient before clipping.

    Attributes
    ----------
    strength : float
        The penalty is `strength / 2 * sum(W**2)`; 0 is none.
    scaling : "batch" or "row"
        With "batch" the penalty of every batch is as above. With "row" it is divided by the batch's sum of row weights:
        scikit-learn's `alpha`.
    """

    name: ClassVar[str] = "l2"
    strength: float = 0.0
    scaling: Literal["batch", "row"] = "batch"

    def validate(self) -> None:
        check(0 <= self.strength < math.inf, f"the L2 penalty must be 0 or more, not {self.strength}.")
        check(self.scaling in ("batch", "row"), f"the scaling must be 'batch' or 'row', not {self.scaling!r}.")

    def value_and_gradient(
        self, parameters: Array, weight_mask: Array, divisor: float, xp: Namespace
    ) -> tuple[Array, Array]:
        """The penalty, a scalar, and its gradient, (size,); `divisor` is the batch's sum of row weights."""
        weights = weight_mask * parameters
        strength = self.strength / divisor if self.scaling == "row" else self.strength
        return 0.5 * strength * xp.sum(weights * weights), strength * weights


def clip_by_norm(gradient: Array, limit: float, xp: Namespace) -> Array:
    """Scale the gradient down so that its Euclidean norm is at most `limit` (Pascanu et al. 2013, arXiv:1211.5063)."""
    norm = xp.sqrt(xp.sum(gradient * gradient))
    return gradient * (limit / xp.maximum(norm, xp.full_like(norm, limit)))
