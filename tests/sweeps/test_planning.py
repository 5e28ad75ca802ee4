import warnings

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override

from ratespike.sweeps.planning import _choices, _few_jobs_with_every_choice


def parsed(*overrides: str) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(overrides))


def test_a_search_is_tried_with_every_option_and_with_the_ends_of_every_range() -> None:
    overrides = ("neuron=lif,relu,sigmoid", "seed=range(1,9,3)", "optimizer.lr=tag(log,interval(0.1,1))", "n_steps=3")
    assert _few_jobs_with_every_choice([_choices(override) for override in parsed(*overrides)]) == [
        ["neuron=lif", "seed=1", "optimizer.lr=0.1", "n_steps=3"],
        ["neuron=relu", "seed=7", "optimizer.lr=1.0", "n_steps=3"],
        ["neuron=sigmoid", "seed=7", "optimizer.lr=1.0", "n_steps=3"],
    ]
    assert _few_jobs_with_every_choice([]) == [[]]


@pytest.mark.parametrize(
    "values", ["range(9)", "range(1,9,3)", "range(0.1,1,0.3)", "interval(0.1,1)", "tag(log,interval(1,9))"]
)
def test_the_ends_are_those_that_the_sweeper_draws_from(values: str) -> None:
    with warnings.catch_warnings(action="ignore"):
        from hydra_plugins.hydra_optuna_sweeper._impl import create_optuna_distribution_from_override

        (override,) = parsed(f"x={values}")
        drawn = create_optuna_distribution_from_override(override)
    low, high = (float(choice.removeprefix("x=")) for choice in _choices(override))
    assert (low, high) == (pytest.approx(drawn.low), pytest.approx(drawn.high))


def test_the_options_of_a_shuffled_choice_are_the_same_each_time() -> None:
    (override,) = parsed("x=shuffle(range(9))")
    assert _choices(override) == [f"x={number}" for number in range(9)]
