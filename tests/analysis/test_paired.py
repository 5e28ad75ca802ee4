"""Two answers to the same images."""

import numpy as np
import pytest
from scipy.stats import chi2

from ratespike.analysis.paired import Predictions, paired_difference, paired_rows
from ratespike.parameters import ParameterError

GENERATOR = np.random.default_rng(0)


def test_the_interval_is_that_of_a_mean_of_differences() -> None:
    first, second = GENERATOR.random((2, 500)) < [[0.9], [0.8]]
    found = paired_difference(first, second)
    differences = first.astype(float) - second
    assert found.difference == pytest.approx(differences.mean())
    assert found.half_width == pytest.approx(1.959964 * np.sqrt(differences.var() / 500))
    assert (found.only_first, found.only_second) == ((differences == 1).sum(), (differences == -1).sum())


def test_the_exact_p_is_near_that_of_large_numbers() -> None:
    first = np.repeat([True, False, True], [620, 500, 9000])
    second = np.repeat([False, True, True], [620, 500, 9000])
    statistic = (abs(620 - 500) - 1) ** 2 / (620 + 500)  # McNemar's, with Edwards' correction
    assert paired_difference(first, second).p_value == pytest.approx(chi2.sf(statistic, 1), rel=0.02)


def test_equal_answers_are_no_difference() -> None:
    right = GENERATOR.random(50) < 0.5
    found = paired_difference(right, right)
    assert (found.difference, found.half_width, found.p_value) == (0, 0, 1)


def test_rows_of_two_runs() -> None:
    labels = np.array([0, 1, 2, 0])
    one = Predictions("one", labels, rates=labels, spikes=np.array([0, 1, 0, 0]))
    other = Predictions("other", labels, rates=np.array([0, 1, 2, 1]), spikes=np.array([0, 0, 0, 0]))
    found = {name: (row.first, row.second) for name, row in paired_rows([one, other])}
    assert found == {
        "rates, spikes of 1": (1, 0.75),
        "rates, spikes of 2": (0.75, 0.5),
        "rates of 1, of 2": (1, 0.75),
        "spikes of 1, of 2": (0.75, 0.5),
    }
    assert [name for name, _ in paired_rows([one])] == ["rates, spikes of 1"]
    others_images = Predictions("third", labels[::-1], labels, labels)
    with pytest.raises(ParameterError, match="paired=one,third: were tested on different images"):
        paired_rows([one, others_images])
