"""Means over runs and how far they may be off."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Estimate:
    """A mean of runs.

    Attributes:
        mean: of the runs.
        standard_error: of the mean; None if a single run leaves it unknown.
        degrees_of_freedom: of Student's t.
    """

    mean: float
    standard_error: float | None = None
    degrees_of_freedom: float = 0.0

    @property
    def half_width(self) -> float | None:
        """Of the 95 % confidence interval; None if unknown."""
        if self.standard_error is None:
            return None
        return self.standard_error * float(t_quantile(self.degrees_of_freedom))


def t_quantile(degrees_of_freedom: float) -> float:
    """How many standard errors the 95 % confidence interval reaches to each side, by Student's t.

    Example:
        >>> round(t_quantile(2), 3)
        4.303
    """
    return float(stdtrit(degrees_of_freedom, (1 + CONFIDENCE) / 2))


def estimate(values: Sequence[float]) -> Estimate:
    """The mean of independent runs.

    Example:
        >>> found = estimate([0.98, 0.99, 1.0])
        >>> round(found.mean, 4), round(found.half_width, 4)
        (0.99, 0.0248)
    """
    n = len(values)
    if n == 1:
        return Estimate(values[0])
    return Estimate(math.fsum(values) / n, float(np.std(values, ddof=1)) / math.sqrt(n), n - 1)


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of several groups' means, each with the same weight; degrees of freedom by Welch and Satterthwaite.

    The differences between the groups do not widen the interval: they are meant, not drawn. Without an interval if a group
    has none.

    Source: B. L. Welch, Biometrika 34 (1947) 28-35.
    """
    mean = math.fsum(part.mean for part in estimates) / len(estimates)
    errors = [part.standard_error for part in estimates]
    variances = [error**2 for error in errors if error is not None]
    if len(variances) < len(errors):
        return Estimate(mean)
    freedom = [part.degrees_of_freedom for part in estimates]
    spread = sum(variance**2 / degrees for variance, degrees in zip(variances, freedom, strict=True))
    total = sum(variances)
    return Estimate(mean, math.sqrt(total) / len(variances), total**2 / spread if spread else sum(freedom))


def non_dominated(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points no other beats: with at least as much in each coordinate, and more in one.

    Args:
        values: shape (points, objectives), the more the better.

    Example:
        >>> non_dominated(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 1.0]])).tolist()
        [True, True, False]
    """
    at_least = (values[:, None] >= values[None]).all(axis=-1)
    more = (values[:, None] > values[None]).any(axis=-1)
    return np.asarray(~(at_least & more).any(axis=0))


def pareto_best(values: NDArray[np.float64], costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the pairs no other beats: with at least its value at no more cost, and better in one of them.

    Args:
        values: shape (pairs,), the more the better.
        costs: shape (pairs,), the less the better.

    Example:
        >>> pareto_best(np.array([0.9, 0.8, 0.95]), np.array([10.0, 12.0, 30.0])).tolist()
        [True, False, True]
    """
    best = np.zeros(len(values), dtype=bool)
    reached, at_cost = -math.inf, math.inf
    for index in np.lexsort((-values, costs)):
        is_better = values[index] > reached
        best[index] = is_better or (values[index] == reached and costs[index] == at_cost)
        if is_better:
            reached, at_cost = values[index], costs[index]
    return best
