"""How far apart two results may be: the only place in the tests where such a number stands.

Every bound comes from `tolerance`, which says what rounding a sum of so many terms may cost. Kernels compare a product
with `assert_product_close`, a training with `assert_trajectory_close`; both want the reference in float64, from the
very inputs, already rounded, that the kernel had.
"""

import math

import numpy as np
import scipy.stats

SAFETY = 4
"""The worst ratio measured of an honest product is 1.1; a wrong index or a lost term is off by orders of magnitude."""

ORACLE = 1e-9
"""How closely 100 epochs in float64 must repeat scikit-learn's, relative to the largest element."""

SAME_OPTIMUM = 0.01
"""How near to each other two searches must end whose paths rounding drives apart, relative to the loss."""

FALSE_ALARM = 1e-9
"""How often a statistical bound may fail by chance, if another seed were drawn."""


def unit(dtype):
    """Half of eps: the largest relative error of one rounding."""
    return float(np.finfo(dtype).eps) / 2


def tolerance(magnitude, terms, dtype, equal_terms=False):
    """The error that rounding may leave in a sum.

    Parameters
    ----------
    magnitude : float or array
        The sum of the absolute values of the terms; for an elementwise formula, of its intermediate results.
    terms : int
        How many terms the sum has, or how many roundings follow each other.
    dtype
        That in which the sum was computed.
    equal_terms : bool
        Rounding errors of random terms cancel, and grow with the root of their number; those of equal terms don't.
    """
    return SAFETY * unit(dtype) * (terms if equal_terms else math.sqrt(terms)) * magnitude


def product_tolerance(x, w, b=0.0, *, dtype, equal_terms=False):
    """The error that rounding may leave in each element of x @ w + b."""
    magnitude = np.abs(np.asarray(x, np.float64)) @ np.abs(np.asarray(w, np.float64)) + np.abs(b)
    return tolerance(magnitude, x.shape[-1], dtype, equal_terms)


def assert_within(got, reference, bound):
    """Every element of `got` is as near to the reference as `bound` says; NaN is near to nothing."""
    got, reference = np.asarray(got, np.float64), np.asarray(reference, np.float64)
    assert got.shape == reference.shape
    error = np.abs(got - reference)
    bound = np.broadcast_to(bound, error.shape)
    wrong = ~(error <= bound)
    if wrong.any():
        i = np.unravel_index(np.argmax(np.where(wrong, error, -1)), error.shape)
        raise AssertionError(
            f"{wrong.sum()} of {wrong.size} differ; at {i}: {got[i]} - {reference[i]}, bound {bound[i]}"
        )


def assert_product_close(got, x, w, b=0.0, *, equal_terms=False):
    """`got` is x @ w + b, computed in its own dtype."""
    reference = np.asarray(x, np.float64) @ np.asarray(w, np.float64) + np.asarray(b, np.float64)
    assert_within(got, reference, product_tolerance(x, w, b, dtype=got.dtype, equal_terms=equal_terms))


def assert_trajectory_close(got, working, exact):
    """`got` has lost at most `SAFETY` times what the reference loses in the same dtype, norm-wise.

    Parameters
    ----------
    got : array
        The result of a training.
    working : array
        The reference's, in the dtype of `got`.
    exact : array
        The reference's in float64, from the same inputs.
    """
    got, working, exact = (np.asarray(a, np.float64) for a in (got, working, exact))
    assert got.shape == exact.shape
    error, allowed = np.linalg.norm(got - exact), SAFETY * np.linalg.norm(working - exact)
    assert error <= allowed, f"off by {error}, allowed {allowed}"


def assert_equals_oracle(got, want):
    """`got`, in float64, is what another library trained."""
    assert_within(got, want, ORACLE * np.max(np.abs(want)))


def assert_derivative(got, function, point, direction, magnitude):
    """`got` is the derivative of `function` at `point` along `direction`.

    Compares with a central difference. Its error is measured, not guessed: halving the step quarters the part that
    comes from the curvature, and `magnitude`, the size of what the function adds up, gives that from rounding.
    """
    step = np.cbrt(np.finfo(np.float64).eps)

    def difference(h):
        return (function(point + h * direction) - function(point - h * direction)) / (2 * h)

    coarse, fine = difference(2 * step), difference(step)
    bound = abs(coarse - fine) + tolerance(magnitude, np.size(point), np.float64) / step
    assert bound <= math.sqrt(np.finfo(np.float64).eps) * magnitude, "the difference is too blurred to prove anything"
    assert_within(got, fine, bound)


def binomial_bounds(trials, probability):
    """Between which counts, both included, a binomial variable lies."""
    return scipy.stats.binom.interval(1 - FALSE_ALARM, trials, probability)


def variance_bounds(samples):
    """Between which values the mean of the squares of standard normal samples lies."""
    low, high = scipy.stats.chi2.interval(1 - FALSE_ALARM, samples)
    return low / samples, high / samples


def assert_distributed(samples, distribution):
    """The samples come from a distribution of scipy.stats (Kolmogorov-Smirnov)."""
    assert scipy.stats.kstest(samples, distribution.cdf).pvalue > FALSE_ALARM
