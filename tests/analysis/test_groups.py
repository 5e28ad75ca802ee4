import itertools
from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest

from ratespike.analysis import Record, compare, select
from ratespike.analysis.runs import measures
from ratespike.parameters import ParameterError

MakeRun = Callable[..., Record]


def no_curve(run_id: str) -> Mapping[int, float]:
    raise AssertionError("a curve costs a call")


def groups(*runs: Record) -> dict[str, int]:
    """How many runs each group has, by its name, the best first."""
    return {group.name: len(group.runs) for group in compare(runs, [30], no_curve).groups}


def test_runs_that_differ_in_seeds_or_in_where_they_ran_are_one_group(make_run: MakeRun) -> None:
    runs = [make_run(0.9, seed=0, trainer__devices=1)]
    runs.append(make_run(0.9, seed=1, data__split_seed=1))
    runs.append(make_run(0.9, seed=1, simulation__seed=1, trainer__devices=2))
    runs.append(make_run(0.9, seed=4, tracking__experiment="other", resume="abc", trainer__accelerator="cpu"))
    assert groups(*runs) == {"all runs": 4}


def test_equal_numbers_are_one_value_however_written(make_run: MakeRun) -> None:
    texts = ("0.02", "0.020", "2e-2", "0.03")
    runs = [make_run(0.9, neuron__tau_rc=text, seed=number) for number, text in enumerate(texts)]
    assert groups(*runs) == {"tau_rc=0.02": 3, "tau_rc=0.03": 1}


def test_names_are_short_but_unambiguous_and_a_type_stands_for_itself(make_run: MakeRun) -> None:
    common = {"synapse__type": "LowPass", "network__layers__conv1__filters": 32}
    runs = [
        make_run(0.93, neuron__type="LIF", neuron__tau_rc=0.02, network__layers__conv2__filters=64, **common),
        make_run(0.92, neuron__type="LIF", neuron__tau_rc=0.05, network__layers__conv2__filters=64, **common),
        make_run(0.91, neuron__type="SpikingRectifiedLinear", network__layers__conv2__filters=32, **common),
    ]
    assert list(groups(*runs)) == [
        "LIF conv2.filters=64 tau_rc=0.02",
        "LIF conv2.filters=64 tau_rc=0.05",
        "SpikingRectifiedLinear conv2.filters=32",
    ]


def test_a_parameter_that_only_some_have_names_a_group_if_nothing_else_does(make_run: MakeRun) -> None:
    plain = make_run(0.9)
    with_exit = make_run(0.8, simulation__early_exit=0.5)
    assert groups(plain, with_exit) == {"all runs": 1, "early_exit=0.5": 1}
    lif = make_run(0.9, neuron__type="LIF", neuron__tau_rc=0.02)
    relu = make_run(0.8, neuron__type="ReLU")
    assert groups(lif, relu) == {"LIF": 1, "ReLU": 1}, "the type tells them apart, tau_rc is not needed"


def test_of_many_parameters_that_vary_together_one_names_the_groups(make_run: MakeRun) -> None:
    runs = []
    for variant, b in itertools.product((1, 2), (1, 2)):
        alike = dict.fromkeys(("a0", "a1", "a2", "a3", "a4", "a5"), variant)
        runs.append(make_run(0.9, **alike, b=b))
    found = compare(runs, [], no_curve)
    assert {group.name for group in found.groups} == {"a0=1 b=1", "a0=1 b=2", "a0=2 b=1", "a0=2 b=2"}
    assert found.together == {"a0": ("a1", "a2", "a3", "a4", "a5"), "b": ()}


def test_a_run_that_was_repeated_counts_once(make_run: MakeRun) -> None:
    runs = [make_run(0.9, seed=0, started=5), make_run(0.8, seed=0, started=3), make_run(0.7, seed=1)]
    found = compare(runs, [], no_curve)
    assert found.repeats == 1
    assert {run.record.id for run in found.runs} == {"id0", "id2"}, "of two with seed 0 the later one counts"


def test_groups_are_ranked_and_the_pareto_best_are_foremost(make_run: MakeRun) -> None:
    runs = [make_run(0.95, 9e6, a=1), make_run(0.97, 30e6, a=2), make_run(0.96, 50e6, a=3), make_run(0.2, 1e6, a=4)]
    runs.append(make_run(0.99, None, a=5))  # its operations are unknown
    found = compare(runs, [], no_curve)
    assert [group.name for group in found.groups] == ["a=5", "a=2", "a=3", "a=1", "a=4"]
    assert [group.name for group in found.groups if group.is_pareto_best] == ["a=2", "a=1", "a=4"]
    assert [group.name for group in found.foremost(4)] == ["a=5", "a=2", "a=1", "a=4"]
    assert [group.name for group in found.foremost(2)] == ["a=2", "a=1"]


def with_costs(make_run: MakeRun, accuracy: float, operations: float, steps: float, joules: float | None, a: int) -> Record:
    run = make_run(accuracy, operations, a=a)
    costs = {"test/mean_steps": steps} | ({} if joules is None else {"test/energy_joules/loihi": joules})
    return replace(run, metrics=run.metrics | costs)


def test_the_front_is_over_accuracy_steps_operations_and_energy(make_run: MakeRun) -> None:
    runs = [
        with_costs(make_run, 0.97, 30e6, 10, 2e-3, a=1),
        with_costs(make_run, 0.95, 40e6, 4, 3e-3, a=2),  # fewer steps
        with_costs(make_run, 0.95, 40e6, 12, 1e-3, a=3),  # less energy
        with_costs(make_run, 0.95, 40e6, 12, 3e-3, a=4),
        with_costs(make_run, 0.90, 41e6, 4, 3e-3, a=5),
    ]
    found = compare(runs, [], no_curve)
    assert [cost.figure for cost in found.costs] == ["mean_steps", "operations", "energy"]
    assert {group.name: group.beaten_by for group in found.groups} == {
        **{"a=1": None, "a=2": None, "a=3": None},
        **{"a=4": "a=1", "a=5": "a=2"},
    }
    assert {group.name for group in found.groups if group.is_pareto_best} == {"a=1", "a=2", "a=3"}


def test_a_cost_that_is_not_known_of_all_groups_is_left_out(make_run: MakeRun) -> None:
    runs = [with_costs(make_run, 0.97, 30e6, 10, 2e-3, a=1), with_costs(make_run, 0.95, 40e6, 12, None, a=2)]
    found = compare(runs, [], no_curve)
    assert [cost.figure for cost in found.costs] == ["mean_steps", "operations"]
    assert [group.beaten_by for group in found.groups] == [None, "a=1"]
    with pytest.raises(ParameterError, match=r"device=cpu: is none that runs spikes; .*loihi"):
        compare(runs, [], no_curve, "cpu")


def test_an_accuracy_after_steps_is_read_where_it_costs_least() -> None:
    metrics = {"test/rate_accuracy": 0.99, "test/spiking_accuracy": 0.98, "test/spiking_accuracy_after/5_steps": 0.5}
    run = Record("a", "a", 0, 60.0, {"n_steps": "30"}, metrics)
    found = measures(run, [5, 30, 60], no_curve)
    assert found["spiking_accuracy_after/5_steps"] == 0.5
    assert found["spiking_accuracy_after/30_steps"] == 0.98
    assert "spiking_accuracy_after/60_steps" not in found, "the run ended before"
    asked = []

    def read_curve(run_id: str) -> Mapping[int, float]:
        asked.append(run_id)
        return {7: 0.7, 60: 0.1}

    assert measures(run, [7], read_curve)["spiking_accuracy_after/7_steps"] == 0.7
    assert asked == ["a"]


def test_every_metric_of_a_run_is_compared() -> None:
    logged = {
        **{"test/rate_accuracy": 0.99, "test/spiking_accuracy": 0.98, "test/accuracy_gap": 0.01, "test/agreement": 0.97},
        **{"test/mean_steps": 12.0, "test/synaptic_operations": 1e6, "test/firing_rate_hz/neuron1": 5.0},
    }
    found = measures(Record("a", "a", 0, 60.0, {}, {**logged, "test/first_10_images/rate_accuracy": 1.0}), [], no_curve)
    assert {f"test/{name}": value for name, value in found.items()} == pytest.approx({**logged, "test/seconds": 60.0})


def test_seconds_are_those_of_training_and_test_if_a_run_has_logged_them() -> None:
    metrics = {"test/rate_accuracy": 0.99, "test/spiking_accuracy": 0.98}
    timed = {**metrics, "train/seconds": 200.0, "test/seconds": 20.0}
    assert measures(Record("a", "a", 0, 60.0, {}, timed), [], no_curve)["seconds"] == 220
    assert measures(Record("a", "a", 0, 60.0, {}, metrics), [], no_curve)["seconds"] == 60
    assert "seconds" not in measures(Record("a", "a", 0, None, {}, metrics), [], no_curve)


def test_runs_are_selected_by_values_of_parameters(make_run: MakeRun) -> None:
    taus = ("0.02", "0.020", "0.05")
    runs = [make_run(0.9, neuron__tau_rc=tau, neuron__type="LIF", data__limit=None) for tau in taus]
    assert select(runs, {"neuron.tau_rc": 0.02, "data.limit": None}) == runs[:2]
    assert select(runs, {"tau_rc": "0.05"}) == runs[2:]
    assert select(runs, {}) == runs


@pytest.mark.parametrize(
    ("where", "message"),
    [
        ({"neuron.tau_rcc": 1}, "where.neuron.tau_rcc: not a parameter of the runs; did you mean neuron.tau_rc"),
        ({"tau": 1}, "it may be neuron.tau or synapse.tau"),
        ({"neuron.tau_rc": 0.03}, "where.neuron.tau_rc=0.03: no run has this value; .*known: 0.02"),
    ],
)
def test_what_no_run_has_is_reported(make_run: MakeRun, where: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        select([make_run(0.9, neuron__tau_rc="0.02", neuron__tau=1, synapse__tau=1)], where)
