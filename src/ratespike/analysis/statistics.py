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
    standard_deviation = float(np.std(values, ddof=1))
    return Estimate(math.fsum(values) / n, standard_deviation / math.sqrt(n), n - 1)


def mean_of(estimates: Sequence[Estimate]) -> Estimate:
    """The mean of several groups' means, each with the same weight.

    The differences between the groups do not widen the interval: they were chosen, not drawn at random. The degrees of freedom
    are those of Welch and Satterthwaite, `(sum v)^2 / sum(v^2 / f)` with the variances v of the groups' means and their
    degrees of freedom f.

    Args:
        estimates: at least one; if one has no interval, the mean has none.

    Source: B. L. Welch, Biometrika 34 (1947) 28-35.

    Example:
        >>> found = mean_of([estimate([0.9, 0.8, 0.7]), estimate([0.5, 0.6, 0.7])])
        >>> round(found.mean, 3), round(found.standard_error, 4), round(found.degrees_of_freedom, 6)
        (0.7, 0.0408, 4.0)
    """
    n = len(estimates)
    mean = math.fsum(part.mean for part in estimates) / n
    total = 0.0  # of the variances
    spread = 0.0
    freedom = 0.0
    for part in estimates:
        if part.standard_error is None:
            return Estimate(mean)
        variance = part.standard_error**2
        total += variance
        spread += variance**2 / part.degrees_of_freedom
        freedom += part.degrees_of_freedom
    if spread:  # else all runs of each group are equal
        freedom = total**2 / spread
    return Estimate(mean, math.sqrt(total) / n, freedom)


def non_dominated(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which points no other beats: with at least as much in each coordinate, and more in one.

    Args:
        values: shape (points, objectives), the more the better.

    Example:
        >>> non_dominated(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 1.0]])).tolist()
        [True, True, False]
    """
    return beaten_by(values) < 0


def beaten_by(values: NDArray[np.float64]) -> NDArray[np.int64]:
    """By which point each is beaten: of the points that nothing beats that with the most of the first objective; -1 for none.

    Args:
        values: shape (points, objectives), the more the better.

    Example:
        >>> beaten_by(np.array([[1.0, 2.0], [2.0, 1.0], [1.0, 1.0]])).tolist()
        [-1, -1, 1]
    """
    beaten = np.full(len(values), -1)
    order = np.lexsort(-values.T[::-1])  # by the first objective, then by the next: who beats a point stands before it
    front = np.empty_like(values)
    members = np.empty(len(values), dtype=np.int64)
    size = 0
    for index in order:
        before = front[:size]
        beats = (before >= values[index]).all(axis=1) & (before > values[index]).any(axis=1)
        if beats.any():
            beaten[index] = members[beats.argmax()]
        else:
            front[size] = values[index]
            members[size] = index
            size += 1
    return beaten


def pareto_best(values: NDArray[np.float64], costs: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which of the pairs no other beats: with at least its value at no more cost, and better in one of them.

    The same as `non_dominated` for two objectives, in n log n time.

    Args:
        values: shape (pairs,), the more the better.
        costs: shape (pairs,), the less the better.

    Example:
        >>> pareto_best(np.array([0.9, 0.8, 0.95]), np.array([10.0, 12.0, 30.0])).tolist()
        [True, False, True]
    """
    best = np.zeros(len(values), dtype=bool)
    reached = -math.inf  # the highest value at no more than this cost
    at_cost = math.inf
    for index in np.lexsort((-values, costs)):  # the cheapest first, of equally cheap ones the best
        is_better = values[index] > reached
        best[index] = is_better or (values[index] == reached and costs[index] == at_cost)
        if is_better:
            reached = values[index]
            at_cost = costs[index]
    return best
