"""What is measured: accuracy at every step, agreement, activity, and rates against spikes on the same images."""

from typing import TYPE_CHECKING, Any

from ratespike.metrics.metric import Metric, Unit

if TYPE_CHECKING:
    from ratespike.metrics.over_time import AccuracyAtEveryStep, ConfusionAtEveryStep, MeanAtEveryStep
    from ratespike.metrics.rate_vs_spike import RateVsSpike
    from ratespike.metrics.results import Results

__all__ = [
    "AccuracyAtEveryStep",
    "ConfusionAtEveryStep",
    "MeanAtEveryStep",
    "Metric",
    "RateVsSpike",
    "Results",
    "Unit",
]


def __getattr__(name: str) -> Any:
    """Import on first use what needs torch: a comparison of finished runs needs the metrics' names only."""
    if name == "RateVsSpike":
        from ratespike.metrics.rate_vs_spike import RateVsSpike

        return RateVsSpike
    if name == "Results":
        from ratespike.metrics.results import Results

        return Results
    if name in ("AccuracyAtEveryStep", "ConfusionAtEveryStep", "MeanAtEveryStep"):
        from ratespike.metrics import over_time

        return getattr(over_time, name)
    raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
