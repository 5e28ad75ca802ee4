"""Mean firing rate of each neuron layer."""

from matplotlib.figure import Figure

from ratespike.pipeline.plots import PlotData


def draw(data: PlotData) -> Figure:
    """A bar for each layer, the first on top."""
    rates = data.results.firing_rate_hz()
    figure = Figure(figsize=(6, 0.6 * len(rates) + 1.2), layout="constrained")
    axes = figure.subplots()
    bars = axes.barh(list(rates), list(rates.values()))
    axes.bar_label(bars, fmt="%.1f", padding=3)
    axes.invert_yaxis()
    axes.margins(x=0.1)
    axes.set_xlabel("mean firing rate (Hz)")
    return figure
