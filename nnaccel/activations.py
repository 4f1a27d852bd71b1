"""Activations: each a frozen description with its formula and its derivative.

An activation says in `saves` whether its derivative is written in terms of its output or of its input, so that a
training step keeps only one of the two.
"""

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Literal

from nnaccel.arrays import Array, Namespace
from nnaccel.description import Description, read_description
from nnaccel.errors import check


@dataclass(frozen=True)
class Activation(Description):
    """An elementwise function of a layer's sums.

    Attributes
    ----------
    saves : "output" or "input"
        What `derivative` takes. Prefer the output: it is there anyway.
    """

    saves: ClassVar[Literal["output", "input"]] = "output"

    @abstractmethod
    def value(self, z: Array, xp: Namespace) -> Array:
        """The activation of `z`, elementwise, in its shape and dtype."""

    @abstractmethod
    def derivative(self, saved: Array, xp: Namespace) -> Array:
        """The derivative at every element, from the output or the input, as `saves` says."""


def stable_sigmoid(z: Array, xp: Namespace) -> Array:
    """1 / (1 + exp(-z)), written so that no exponential overflows and small values keep their relative precision."""
    e = xp.exp(-xp.abs(z))
    return xp.where(z >= 0, 1 / (1 + e), e / (1 + e))


def stable_softplus(z: Array, xp: Namespace) -> Array:
    """log(1 + exp(z)), without overflow."""
    return xp.maximum(z, xp.zeros_like(z)) + xp.log1p(xp.exp(-xp.abs(z)))


@dataclass(frozen=True)
class Identity(Activation):
    """f(z) = z."""

    name: ClassVar[str] = "identity"

    def value(self, z: Array, xp: Namespace) -> Array:
        return z

    def derivative(self, saved: Array, xp: Namespace) -> Array:
        return xp.ones_like(saved)


@dataclass(frozen=True)
class Sigmoid(Activation):
    """f(z) = 1 / (1 + exp(-z))."""

    name: ClassVar[str] = "sigmoid"

    def value(self, z: Array, xp: Namespace) -> Array:
        return stable_sigmoid(z, xp)

    def derivative(self, saved: Array, xp: Namespace) -> Array:
        return saved * (1 - saved)


@dataclass(frozen=True)
class Tanh(Activation):
    """f(z) = tanh(z)."""

    name: ClassVar[str] = "tanh"

    def value(self, z: Array, xp: Namespace) -> Array:
        return xp.tanh(z)

    def derivative(self, saved: Array, xp: Namespace) -> Array:
        return 1 - saved * saved


@dataclass(frozen=True)
class ReLU(Activation):
    """f(z) = max(z, 0), with f'(0) = 0."""

    name: ClassVar[str] = "relu"

    def value(self, z: Array, xp: Namespace) -> Array:
        return xp.maximum(z, xp.zeros_like(z))

    def derivative(self, saved: Array, xp: Namespace) -> Array:
        return xp.astype(saved > 0, saved.dtype)


@dataclass(frozen=True)
class LeakyReLU(Activation):
    """f(z) = z for z > 0, else slope * z (Maas, Hannun, Ng 2013); f'(0) = slope."""

    name: ClassVar[str] = "leaky_relu"
    slope: float = 0.01

    def validate(self) -> None:
        check(0 <= self.slope < math.inf, f"the slope of leaky_relu must be 0 or more, not {self.slope}.")

    def value(self, z: Array, xp: Namespace) -> Array:
        return xp.where(z > 0, z, self.slope * z)

    def derivative(self, saved: Array, xp: Namespace) -> Array:
        return xp.where(saved > 0, xp.ones_like(saved), xp.full_like(saved, self.slope))


@dataclass(frozen=True)
class ELU(Activation):
    """f(z) = z for z > 0, else alpha * (exp(z) - 1) (Clevert, Unterthiner, Hochreiter 2016, arXiv:1511.07289)."""

    name: ClassVar[str] = "elu"
    alpha: float = 1.0

    def validate(self) -> None:
        check(0 < self.alpha < math.inf, f"the alpha of elu must be above 0, not {self.alpha}.")

    def value(self, z: Array, xp: Namespace) -> Array:
        return xp.where(z > 0, z, self.alpha * xp.expm1(xp.minimum(z, xp.zeros_like(z))))

    def derivative(self, saved: Array, xp: Namespace) -> Array:
        return xp.where(saved > 0, xp.ones_like(saved), saved + self.alpha)


@dataclass(frozen=True)
class SELU(Activation):
    """f(z) = scale * elu(z) with the constants that keep mean 0 and variance 1 (Klambauer et al. 2017, arXiv:1706.02515)."""

    name: ClassVar[str] = "selu"
    ALPHA: ClassVar[float] = 1.6732632423543772
    SCALE: ClassVar[float] = 1.0507009873554805

    def value(self, z: Array, xp: Namespace) -> Array:
        return self.SCALE * xp.where(z > 0, z, self.ALPHA * xp.expm1(xp.minimum(z, xp.zeros_like(z))))

    def derivative(self, saved: Array, xp: Namespace) -> Array:
        return xp.where(saved > 0, xp.full_like(saved, self.SCALE), saved + self.SCALE * self.ALPHA)


@dataclass(frozen=True)
class GELU(Activation):
    """f(z) = z/2 * (1 + tanh(sqrt(2/pi) * (z + 0.044715 z**3))), Gaussian error linear unit.

    The tanh form of Hendrycks and Gimpel 2016 (arXiv:1606.08415); it differs from the form with erf by at most 5e-4.
    The array API has no erf.
    """

    name: ClassVar[str] = "gelu"
    saves: ClassVar[Literal["output", "input"]] = "input"
    CUBIC: ClassVar[float] = 0.044715
    RATE: ClassVar[float] = math.sqrt(2 / math.pi)

    def value(self, z: Array, xp: Namespace) -> Array:
        return 0.5 * z * (1 + xp.tanh(self.RATE * (z + self.CUBIC * (z * z * z))))

    def derivative(self, saved: Array, xp: Namespace) -> Array:
        z = saved
        t = xp.tanh(self.RATE * (z + self.CUBIC * (z * z * z)))
        return 0.5 * (1 + t) + 0.5 * z * (1 - t * t) * (self.RATE * (1 + 3 * self.CUBIC * (z * z)))


@dataclass(frozen=True)
class SiLU(Activation):
    """f(z) = z * sigmoid(z), also called swish (Elfwing, Uchibe, Doya 2017, arXiv:1702.03118)."""

    name: ClassVar[str] = "silu"
    saves: ClassVar[Literal["output", "input"]] = "input"

    def value(self, z: Array, xp: Namespace) -> Array:
        return z * stable_sigmoid(z, xp)

    def derivative(self, saved: Array, xp: Namespace) -> Array:
        s = stable_sigmoid(saved, xp)
        return s * (1 + saved * (1 - s))


@dataclass(frozen=True)
class Softplus(Activation):
    """f(z) = log(1 + exp(z)); its derivative is sigmoid(z) = 1 - exp(-f(z))."""

    name: ClassVar[str] = "softplus"

    def value(self, z: Array, xp: Namespace) -> Array:
        return stable_softplus(z, xp)

    def derivative(self, saved: Array, xp: Namespace) -> Array:
        return -xp.expm1(-saved)


ACTIVATIONS: dict[str, type[Activation]] = {
    a.name: a for a in (Identity, Sigmoid, Tanh, ReLU, LeakyReLU, ELU, SELU, GELU, SiLU, Softplus)
}


def as_activation(given: str | Activation) -> Activation:
    """The activation that `given` is or names.

    Examples
    --------
    >>> as_activation("elu,alpha=0.5")
    ELU(alpha=0.5)
    """
    return read_description("activation", ACTIVATIONS, given)
