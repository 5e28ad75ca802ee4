import numpy as np

from ratespike.pipeline import plots


def test_outputs_over_time_shows_each_image_beside_each_output() -> None:
    outputs = np.random.default_rng(0).normal(size=(30, 5, 10))
    figure = plots.outputs_over_time(np.zeros((5, 1, 8, 8)), np.arange(5), outputs, dt=0.001)
    pictures, curves = figure.axes[0::2], figure.axes[1::2]
    assert len(pictures) == 5 and all(len(axes.lines) == 10 for axes in curves)
    assert np.array_equal(curves[2].lines[7].get_ydata(), outputs[:, 2, 7])
    assert len(figure.legends[0].get_texts()) == 10


def test_accuracy_over_steps_draws_the_rate_accuracy_as_a_line() -> None:
    figure = plots.accuracy_over_steps(np.linspace(0.1, 0.9, 30), 0.95, np.linspace(0, 1, 30))
    rates, spikes, _ = figure.axes[0].lines
    assert np.allclose(rates.get_ydata(), 95) and np.allclose(spikes.get_ydata(), 100 * np.linspace(0.1, 0.9, 30))


def test_firing_rates_names_each_layer() -> None:
    axes = plots.firing_rates({"neuron1": 5.0, "neuron2": 20.0}).axes[0]
    assert [bar.get_width() for bar in axes.patches] == [5.0, 20.0]


def test_confusion_matrix_writes_each_count() -> None:
    axes = plots.confusion_matrix(np.array([[8, 2], [0, 9]])).axes[0]
    assert {text.get_text(): text.get_position() for text in axes.texts} == {"8": (0, 0), "2": (1, 0), "9": (1, 1)}
