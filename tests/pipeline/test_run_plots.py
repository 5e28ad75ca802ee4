import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.figure import Figure
from matplotlib.text import Text

from ratespike.metrics import Results
from ratespike.metrics.exits import exit_curve
from ratespike.pipeline import plots

N_STEPS = 30
OUTPUTS = torch.from_numpy(np.random.default_rng(0).normal(size=(N_STEPS, 5, 10)))
RESULTS = Results(
    rate_accuracy=0.95,
    spiking_accuracy=torch.linspace(0.1, 0.9, N_STEPS, dtype=torch.float64),
    agreement=torch.linspace(0, 1, N_STEPS, dtype=torch.float64),
    spikes_per_neuron={"neuron1": torch.full((N_STEPS,), 0.005), "neuron2": torch.full((N_STEPS,), 0.02)},
    synaptic_operations=torch.ones(N_STEPS),
    confusion=torch.tensor([[8, 2], [0, 9]]).repeat(N_STEPS, 1, 1),
    rate_confusion=torch.tensor([[9, 1], [0, 9]]),
    running=torch.ones(N_STEPS),
    dt=0.001,
    first=0,
    first_rate_accuracy=0.0,
    first_spiking_accuracy=torch.zeros(0),
)


def figures(results: Results = RESULTS, names: tuple[str, ...] = tuple("0123456789")) -> dict[str, Figure]:
    return plots.run_figures(torch.zeros(5, 1, 8, 8), torch.arange(5), OUTPUTS, results, names)


def many_classes(names: tuple[str, ...]) -> dict[str, Figure]:
    """Five images, the n-th of class n; the network answers n + 1 to three of ten images of class n."""
    classes = len(names)
    confusion = 7 * torch.eye(classes, dtype=torch.long) + 3 * torch.eye(classes, dtype=torch.long).roll(1, dims=1)
    results = replace(
        RESULTS, confusion=confusion.repeat(N_STEPS, 1, 1), rate_confusion=10 * torch.eye(classes, dtype=torch.long)
    )
    outputs = torch.eye(classes)[torch.arange(5) % classes].repeat(N_STEPS, 1, 1)
    return plots.run_figures(torch.zeros(5, 3, 8, 8), torch.arange(5) % classes, outputs, results, names)


def labels(texts: list[Text]) -> list[str]:
    return [text.get_text() for text in texts]


def test_the_figures_of_a_run() -> None:
    assert set(figures()) == {"outputs_over_time", "accuracy_over_steps", "firing_rates", "confusion_matrix", "class_accuracy"}


def test_outputs_over_time_shows_each_image_beside_each_output() -> None:
    figure = figures()["outputs_over_time"]
    pictures = figure.axes[0::2]
    curves = figure.axes[1::2]
    assert len(pictures) == 5
    assert [len(axes.lines) for axes in curves] == [10] * 5
    assert np.array_equal(curves[2].lines[7].get_ydata(), OUTPUTS[:, 2, 7])
    assert curves[2].lines[2].get_linewidth() > curves[2].lines[7].get_linewidth(), "the label's line is not the thick one"
    assert curves[2].get_title() == f"label 2, predicted {int(OUTPUTS[-1, 2].argmax())}"
    assert curves[0].lines[0].get_xdata()[-1] == pytest.approx(30), "milliseconds"
    assert len(figure.legends[0].get_texts()) == 10


def test_accuracy_over_steps_draws_the_rate_accuracy_as_a_line() -> None:
    rates, spikes, agreement = figures()["accuracy_over_steps"].axes[0].lines
    assert np.allclose(rates.get_ydata(), 95)
    assert np.allclose(spikes.get_ydata(), 100 * np.linspace(0.1, 0.9, N_STEPS))
    assert np.allclose(agreement.get_ydata(), 100 * np.linspace(0, 1, N_STEPS))


def test_firing_rates_have_a_bar_for_each_layer() -> None:
    axes = figures()["firing_rates"].axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([5, 20])
    assert labels(axes.get_yticklabels()) == ["neuron1", "neuron2"]


def test_confusion_matrix_writes_each_count_but_zeros() -> None:
    texts = figures()["confusion_matrix"].axes[0].texts
    places = {text.get_text(): text.get_position() for text in texts}
    assert places == {"8": (0, 0), "2": (1, 0), "9": (1, 1)}


def test_class_accuracy_has_a_row_for_each_class_the_lowest_on_top() -> None:
    axes = figures()["class_accuracy"].axes[0]
    rates, spikes = axes.lines
    assert labels(axes.get_yticklabels()) == ["0, 10 images", "1, 9 images"]
    assert np.allclose(spikes.get_xdata(), [80, 100])
    assert np.allclose(rates.get_xdata(), [90, 100])


def test_class_accuracy_leaves_out_classes_without_images() -> None:
    axes = figures(replace(RESULTS, confusion=torch.tensor([[0, 0], [1, 9]]).repeat(N_STEPS, 1, 1)))["class_accuracy"].axes[0]
    assert labels(axes.get_yticklabels()) == ["1, 10 images"]


LONG = "a long name in the words of a data set, "


@pytest.mark.slow
@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("classes", [2, 10, 37, 100])
@pytest.mark.parametrize("name", ["{}", LONG + "{}", "_$x_{}$ {}", "{}\n"])
def test_any_number_of_classes_with_any_names_is_drawn(classes: int, name: str) -> None:
    for figure in many_classes(tuple(name.format(number, number) for number in range(classes))).values():
        figure.draw_without_rendering()


def test_classes_are_named() -> None:
    found = many_classes(("cat", "dog"))
    matrix = found["confusion_matrix"].axes[0]
    assert labels(matrix.get_xticklabels()) == labels(matrix.get_yticklabels()) == ["cat", "dog"]
    outputs = found["outputs_over_time"]
    assert outputs.axes[3].get_title() == "label dog, predicted dog"
    assert labels(outputs.legends[0].get_texts()) == ["cat", "dog"]


def test_long_names_are_cut_in_the_middle() -> None:
    matrix = many_classes((f"{LONG} A", f"{LONG} B"))["confusion_matrix"].axes[0]
    assert labels(matrix.get_yticklabels()) == ["a long name …data set, A", "a long name …data set, B"]


def test_of_many_classes_the_most_frequent_mistakes_are_listed() -> None:
    (listed,) = many_classes(tuple(f"class {number}" for number in range(100)))["confusion_matrix"].axes[0].texts
    _, first, *others = listed.get_text().splitlines()
    assert first == "3   class 0 → class 1"
    assert len(others) == 19


def test_of_many_classes_the_label_and_the_largest_outputs_have_a_colour() -> None:
    curves = many_classes(tuple(f"class {number}" for number in range(37)))["outputs_over_time"].axes[1::2]
    assert [len(axes.lines) for axes in curves] == [37 + 4] * 5
    assert labels(curves[2].get_legend().get_texts()) == ["class 2", "class 0", "class 1", "class 3"]


def test_early_exit_draws_each_criterion_beside_fixed_lengths_and_marks_the_fitted_threshold() -> None:
    scores = torch.tensor([[1.0, 2.0], [3.0, 1.0], [4.0, 1.0]])  # of two images
    curve = exit_curve(scores, right=torch.tensor([[0.0, 1], [1, 1], [1, 1]]), operations=torch.full((3, 2), 1e6))
    results = replace(RESULTS, exits={"margin": curve}, exit_threshold=2.0)
    steps, operations = figures(results)["early_exit"].axes
    for axes in (steps, operations):  # an operation of a million in each step
        by_margin, fixed, own = axes.lines
        assert list(by_margin.get_xdata()) == [1, 1.5, 2.5, 3]
        assert list(by_margin.get_ydata()) == [50, 100, 100, 100]
        assert list(fixed.get_xdata()) == [1, 2, 3]
        assert list(fixed.get_ydata()) == [50, 100, 100]
        assert own.get_ydata() == [100 * float(RESULTS.spiking_accuracy[-1])]
    assert labels(steps.get_legend().get_texts())[0] == "exit by margin"


def test_a_network_without_neurons_has_figures_too() -> None:
    assert len(figures(replace(RESULTS, spikes_per_neuron={}))) == 5


def test_a_file_in_the_folder_is_a_figure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = "from matplotlib.figure import Figure\n\ndef draw(data):\n    return Figure(figsize=(data.results.n_steps, 1))\n"
    (tmp_path / "wide.py").write_text(source)
    monkeypatch.setattr(plots, "__path__", [*plots.__path__, str(tmp_path)])
    try:
        assert figures()["wide"].get_figwidth() == N_STEPS
    finally:
        sys.modules.pop("ratespike.pipeline.plots.wide", None)
