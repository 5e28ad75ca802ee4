"""What is measured: accuracy at every step, agreement, activity, and their comparison between rates and spikes."""

from ratespike.metrics.comparison import STEPS_SHOWN, Comparison, Results
from ratespike.metrics.over_time import AccuracyAtEveryStep, ConfusionAtEveryStep, MeanAtEveryStep

__all__ = ["STEPS_SHOWN", "AccuracyAtEveryStep", "Comparison", "ConfusionAtEveryStep", "MeanAtEveryStep", "Results"]
