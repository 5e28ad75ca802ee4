"""Two ways to answer the same images: by how much one is right more often, and whether that may be chance."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import norm

from ratespike.analysis.statistics import CONFIDENCE
from ratespike.metrics import mcnemar
from ratespike.parameters import ParameterError


@dataclass(frozen=True)
class PairedDifference:
    """The difference of two accuracies on the same images.

    Attributes:
        first: accuracy of the first.
        second: accuracy of the second.
        only_first: how many images the first alone has right.
        only_second: how many the second alone has right.
        half_width: of the 95 % confidence interval of `first - second`.
        p_value: how probable a split of the images that one alone has right as uneven as this is, if both are equally good.
    """

    first: float
    second: float
    only_first: int
    only_second: int
    half_width: float
    p_value: float

    @property
    def difference(self) -> float:
        """`first - second`."""
        return self.first - self.second


def paired_difference(first: NDArray[np.bool_], second: NDArray[np.bool_]) -> PairedDifference:
    """Compare two answers to each of some images.

    The images on which both are right, or both wrong, say nothing about the difference; with b and c images that one of them
    alone has right, of n, its variance is `(b + c - (b - c)^2 / n) / n^2`. The test is McNemar's (`ratespike.metrics.mcnemar`).

    Args:
        first: whether the first is right, shape (images,).
        second: whether the second is right on the same images.

    Source: of the interval, A. Agresti, Categorical Data Analysis, section 10.1.

    Example:
        >>> found = paired_difference(np.array([True] * 90 + [False] * 10), np.array([True] * 80 + [False] * 20))
        >>> round(found.difference, 3), found.only_first, found.only_second, round(found.half_width, 4), round(found.p_value, 4)
        (0.1, 10, 0, 0.0588, 0.002)
    """
    n = len(first)
    only_first = int((first & ~second).sum())
    only_second = int((second & ~first).sum())
    different = only_first + only_second
    variance = (different - (only_first - only_second) ** 2 / n) / n**2
    p_value = mcnemar.p_value(only_first, only_second)
    half_width = float(norm.ppf((1 + CONFIDENCE) / 2)) * math.sqrt(variance)
    return PairedDifference(float(first.mean()), float(second.mean()), only_first, only_second, half_width, p_value)


@dataclass(frozen=True)
class Predictions:
    """The answers of a run to its test images.

    Attributes:
        name: of the run.
        labels: the right classes, shape (images,).
        rates: predicted from rates.
        spikes: predicted from spikes, after the last step.
    """

    name: str
    labels: NDArray[np.int64]
    rates: NDArray[np.int64]
    spikes: NDArray[np.int64]


def paired_rows(runs: Sequence[Predictions]) -> list[tuple[str, PairedDifference]]:
    """What is compared of one run or of two: rates with spikes of each, then rates and spikes of one with those of the other.

    The rows call the runs 1 and 2, as their names may be long.

    Raises:
        ParameterError: the runs were tested on different images.
    """
    rows = []
    for number, run in enumerate(runs, 1):
        rows.append((f"rates, spikes of {number}", paired_difference(run.rates == run.labels, run.spikes == run.labels)))
    if len(runs) == 2:
        first, second = runs
        if not np.array_equal(first.labels, second.labels):
            sizes = f"{len(first.labels)} and {len(second.labels)} images, of other classes"
            raise ParameterError(f"paired={first.name},{second.name}: were tested on different images ({sizes})")
        for mode in ("rates", "spikes"):
            right = [getattr(run, mode) == run.labels for run in runs]
            rows.append((f"{mode} of 1, of 2", paired_difference(*right)))
    return rows
