from hydra.core.override_parser.overrides_parser import OverridesParser

from ratespike.sweep.jobs import _choices, _tries


def test_a_search_is_tried_with_every_option_and_with_the_ends_of_every_range() -> None:
    overrides = ["neuron=lif,relu,sigmoid", "seed=range(9)", "optimizer.lr=tag(log,interval(0.1,1))", "n_steps=3"]
    parsed = OverridesParser.create().parse_overrides(overrides)
    assert _tries([_choices(override) for override in parsed]) == [
        ["neuron=lif", "seed=0", "optimizer.lr=0.1", "n_steps=3"],
        ["neuron=relu", "seed=8", "optimizer.lr=1.0", "n_steps=3"],
        ["neuron=sigmoid", "seed=8", "optimizer.lr=1.0", "n_steps=3"],
    ]
    assert _tries([]) == [[]]
