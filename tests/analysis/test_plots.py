import numpy as np

from ratespike.analysis import plots
from ratespike.analysis.plots import Axis, Line


def line(name: str, values: list[float]) -> Line:
    return Line(name, np.arange(1.0, len(values) + 1), np.array(values), np.full(len(values), 0.01))


def test_accuracy_against_steps_has_a_band_and_the_rates_dashed_in_the_same_colour() -> None:
    figure = plots.accuracy_against_steps([line("a", [0.5, 0.9, 0.95]), line("b", [0.6, 0.8])], [0.97, 0.96], 5)
    for axes in figure.axes:
        spikes, rates, others, other_rates = axes.lines
        assert np.allclose(spikes.get_ydata(), [50, 90, 95])
        assert np.allclose(rates.get_ydata(), 97)
        assert spikes.get_color() == rates.get_color() != others.get_color() == other_rates.get_color()
        top_of_band = axes.collections[0].get_paths()[0].vertices[:, 1].max()
        assert np.isclose(top_of_band, 96)
    assert "2 of 5 settings" in figure.axes[0].get_title()
    low, high = figure.axes[1].get_ylim()
    assert 50 < low < 80
    assert 97 <= high <= 100


def test_gap_against_a_parameter_over_a_decade_is_logarithmic() -> None:
    x = np.array([0.001, 0.01, 0.1])
    gaps = Line("LIF", x, np.array([0.01, 0.02, 0.03]), np.array([0.001, np.nan, 0.001]))
    figure = plots.gap_against("lr", [gaps], "mean over tau", is_joined=True)
    (axes,) = figure.axes
    assert axes.get_xscale() == "log"
    assert [text.get_text() for text in axes.get_xticklabels()] == ["0.001", "0.01", "0.1"]
    assert np.allclose(axes.containers[0].lines[0].get_ydata(), [1, 2, 3])
    assert axes.get_title() == "mean over tau"


def test_gap_against_a_parameter_in_one_decade_is_linear() -> None:
    gaps = Line("", np.array([1.0, 2.0]), np.zeros(2), np.zeros(2))
    axes = plots.gap_against("tau", [gaps], "", is_joined=True).axes[0]
    assert axes.get_xscale() == "linear"
    assert axes.get_legend() is None, "one line needs no legend"


def test_accuracy_against_a_cost_names_the_front_best_first() -> None:
    operations = np.array([1.0, 2.0, 3.0, 4.0])
    accuracy = np.array([0.2, 0.98, 0.97, 0.99])
    half_widths = np.full((4, 2), np.nan)
    figure = plots.accuracy_against_cost("million", operations, accuracy, half_widths, ["low", "middle", None, "high"])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["Pareto front", "1 other group", "high", "middle", "low"]
    front = figure.axes[0].lines[1]
    assert len(figure.axes) == 2, "20 % and 99 % are far apart"
    assert np.allclose(front.get_xdata(), [1, 2, 4])
    assert np.allclose(front.get_ydata(), [20, 98, 99])


def test_a_long_front_has_names_for_its_best() -> None:
    accuracy = np.linspace(0.9, 0.92, 30)
    figure = plots.accuracy_against_cost("million", accuracy, accuracy, np.zeros((30, 2)), [f"g{i}" for i in range(30)])
    names = [text.get_text() for text in figure.legends[0].get_texts()]
    assert names == ["Pareto front", *(f"g{i}" for i in range(29, 9, -1)), "10 more of the front"]
    assert len(figure.axes) == 1


def test_a_heat_map_writes_each_value_where_there_is_one() -> None:
    figure = plots.heat_map(np.array([[0.9, np.nan], [0.8, 0.7]]), Axis("tau", ["1", "2"]), Axis("lr", ["3", "4"]), "")
    axes = figure.axes[0]
    places = {text.get_text(): text.get_position() for text in axes.texts}
    assert places == {"90.00": (0, 0), "80.00": (0, 1), "70.00": (1, 1)}
    assert [text.get_text() for text in axes.get_yticklabels()] == ["1", "2"]
    assert axes.get_xlabel() == "lr"


def test_a_search_by_one_objective_shows_the_best_so_far() -> None:
    values = np.array([0.5, 0.7, 0.6])
    trials, best = plots.one_objective(values, "val/agreement", maximize=True).axes[0].lines
    assert np.allclose(trials.get_ydata(), values)
    assert np.allclose(best.get_ydata(), [0.5, 0.7, 0.7])
    axes = plots.one_objective(values, "val/loss", maximize=False).axes[0]
    assert np.allclose(axes.lines[1].get_ydata(), [0.5, 0.5, 0.5])
    assert axes.get_ylabel() == "val/loss (less is better)"


def test_a_search_by_two_objectives_joins_the_front() -> None:
    values = np.array([[0.9, 3.0], [0.8, 1.0], [0.7, 2.0]])
    figure = plots.pareto_front(values, [("accuracy", True), ("cost", False)], ["a", "b", None])
    others, front, *named = figure.axes[0].lines
    assert np.allclose(others.get_xydata(), [[2.0, 0.7]])
    assert np.allclose(front.get_xydata(), [[1.0, 0.8], [3.0, 0.9]])
    assert [line.get_label() for line in named] == ["b", "a"], "the cheapest first"
    assert front.get_drawstyle() == "steps-post"


def test_a_search_by_three_objectives_has_two_panels_and_no_line() -> None:
    objectives = [("a", True), ("b", True), ("c", False)]
    figure = plots.pareto_front(np.eye(3), objectives, ["x", "y", None])
    assert [axes.get_xlabel() for axes in figure.axes] == ["b (more is better)", "c (less is better)"]
    for axes in figure.axes:
        labels = [line.get_label() for line in axes.lines]
        assert labels == ["1 other trials", *labels[1:]]
        assert set(labels[1:]) == {"x", "y"}
