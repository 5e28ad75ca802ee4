"""What is measured: accuracy at every step, agreement, activity, and their comparison between rates and spikes."""

from ratespike.metrics.comparison import Comparison, Results
from ratespike.metrics.over_time import AccuracyAtEveryStep, MeanAtEveryStep

__all__ = ["AccuracyAtEveryStep", "Comparison", "MeanAtEveryStep", "Results"]
