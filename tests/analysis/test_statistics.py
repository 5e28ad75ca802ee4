import numpy as np
import pytest
from scipy import stats

from ratespike.analysis.statistics import Estimate, beaten_by, estimate, mean_of, non_dominated, pareto_best


@pytest.mark.parametrize("n", [2, 3, 5, 30])
def test_the_interval_is_students(n: int) -> None:
    values = np.random.default_rng(n).normal(0.98, 0.01, n)
    found = estimate(values.tolist())
    low, high = stats.t.interval(0.95, n - 1, values.mean(), stats.sem(values))
    assert found.mean == pytest.approx(values.mean())
    assert found.half_width == pytest.approx((high - low) / 2)


def test_a_single_run_has_no_interval() -> None:
    assert estimate([0.9]) == Estimate(0.9)
    assert estimate([0.9]).half_width is None


def test_the_interval_of_a_mean_of_two_groups_is_welchs() -> None:
    generator = np.random.default_rng(0)
    first = generator.normal(0.9, 0.01, 3)
    second = generator.normal(0.7, 0.03, 8)
    found = mean_of([estimate(first.tolist()), estimate(second.tolist())])
    difference = stats.ttest_ind(first, second, equal_var=False).confidence_interval()
    assert found.mean == pytest.approx((first.mean() + second.mean()) / 2)
    assert found.half_width == pytest.approx((difference.high - difference.low) / 4)  # half of the mean, half of the width


def test_a_mean_of_groups_has_an_interval_only_if_all_have() -> None:
    assert mean_of([estimate([0.9, 0.8]), estimate([0.7])]).half_width is None
    assert mean_of([estimate([0.9, 0.9]), estimate([0.7, 0.7])]).half_width == 0
    single = estimate([0.9, 0.8, 0.7])
    assert mean_of([single]).half_width == pytest.approx(single.half_width)


def test_95_of_100_intervals_hold_the_mean() -> None:
    samples = np.random.default_rng(1).normal(0.5, 0.1, (4000, 3))
    found = [estimate(sample.tolist()) for sample in samples]
    assert np.mean([abs(one.mean - 0.5) <= one.half_width for one in found]) == pytest.approx(0.95, abs=0.01)


@pytest.mark.parametrize("seed", range(20))
def test_pareto_best_as_by_comparing_each_with_each(seed: int) -> None:
    values, costs = np.random.default_rng(seed).integers(0, 6, (2, 40)).astype(float)  # with ties

    def is_beaten(index: int) -> bool:
        at_least = (values >= values[index]) & (costs <= costs[index])
        return bool((at_least & ((values > values[index]) | (costs < costs[index]))).any())

    assert pareto_best(values, costs).tolist() == [not is_beaten(index) for index in range(40)]


@pytest.mark.parametrize("seed", range(20))
def test_a_point_is_beaten_by_the_best_of_the_front_that_beats_it(seed: int) -> None:
    values = np.random.default_rng(seed).integers(0, 5, (60, 4)).astype(float)  # with ties

    def beats(first: int, second: int) -> bool:
        return bool((values[first] >= values[second]).all() and (values[first] > values[second]).any())

    front = [point for point in range(60) if not any(beats(other, point) for other in range(60))]
    found = beaten_by(values)
    assert np.flatnonzero(non_dominated(values)).tolist() == front
    for point, by in enumerate(found):
        if point in front:
            assert by == -1
        else:
            beating = [other for other in front if beats(other, point)]
            assert by in beating and values[by, 0] == max(values[other, 0] for other in beating)


def test_the_front_of_two_objectives_is_that_of_pareto_best() -> None:
    values, costs = np.random.default_rng(0).normal(size=(2, 3000))
    assert np.array_equal(non_dominated(np.column_stack([values, -costs])), pareto_best(values, costs))
