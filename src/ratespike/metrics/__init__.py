"""What is measured: accuracy at every step, agreement, activity, and their comparison between rates and spikes."""

from ratespike.metrics.over_time import AccuracyAtEveryStep, ConfusionAtEveryStep, MeanAtEveryStep
from ratespike.metrics.rate_vs_spike import STEPS_SHOWN, Comparison, Results

__all__ = ["STEPS_SHOWN", "AccuracyAtEveryStep", "Comparison", "ConfusionAtEveryStep", "MeanAtEveryStep", "Results"]
