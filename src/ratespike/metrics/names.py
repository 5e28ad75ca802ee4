"""Every metric once, and what is logged of a test.

The names that MLflow logs, the table of a run, the comparison of runs and the objectives of a search are made from this list.
A metric that is added, here or as a file in `metrics/added/`, therefore appears in all of them.
"""

import functools
import importlib
import pkgutil
import sys
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ratespike.metrics import added
from ratespike.metrics.metric import HERTZ, MILLION, PERCENT, POINTS, STEPS, TIMES, Metric, Unit

if TYPE_CHECKING:
    from torch import Tensor

    from ratespike.metrics.results import Results

STEPS_SHOWN = (1, 2, 5, 10, 20, 30, 60, 120, 300)  # at which people look at accuracies

RATE_ACCURACY = Metric(
    name="rate_accuracy",
    label="rate accuracy",
    column="rates",
    unit=PERCENT,
    more_is_better=True,
    compute=lambda results: results.rate_accuracy,
    in_groups="always",
)
SPIKING_ACCURACY = Metric(
    name="spiking_accuracy",
    label="spiking accuracy",
    column="spikes",
    unit=PERCENT,
    more_is_better=True,
    compute=lambda results: float(results.spiking_accuracy[-1]),
    in_groups="always",
    over_steps=True,
)
ACCURACY_GAP = Metric(
    name="accuracy_gap",
    label="gap (rate - spiking)",
    column="gap",
    unit=POINTS,
    more_is_better=False,
    compute=lambda results: results.rate_accuracy - float(results.spiking_accuracy[-1]),
    in_groups="always",
)
RATE_BALANCED_ACCURACY = Metric(
    name="rate_balanced_accuracy",
    label="balanced accuracy, rates",
    unit=PERCENT,
    more_is_better=True,
    compute=lambda results: _mean_over_classes(results.rate_class_accuracy),
    in_groups="never",
    row_if=lambda results: _are_unequal(results.class_images),
)
SPIKING_BALANCED_ACCURACY = Metric(
    name="spiking_balanced_accuracy",
    label="balanced accuracy, spikes",
    unit=PERCENT,
    more_is_better=True,
    compute=lambda results: _mean_over_classes(results.spiking_class_accuracy),
    in_groups="never",
    row_if=lambda results: _are_unequal(results.class_images),
)
AGREEMENT = Metric(
    name="agreement",
    label="agreement of rates and spikes",
    unit=PERCENT,
    more_is_better=True,
    compute=lambda results: float(results.agreement[-1]),
    in_groups="never",
)
MEAN_STEPS = Metric(
    name="mean_steps",
    label="steps until an early exit, mean",
    column="steps until an early exit",
    unit=STEPS,
    more_is_better=False,
    compute=lambda results: results.mean_steps,
    in_groups="always",
    shown_if=lambda mean_steps, n_steps: mean_steps < n_steps,
)
EXIT_THRESHOLD = Metric(
    name="exit_threshold",
    label="early exit at, fitted",
    unit=Unit("", decimals=4),
    more_is_better=None,
    compute=lambda results: results.exit_threshold,
    in_groups="never",
)
FIRING_RATE = Metric(
    name="firing_rate_hz",
    label="firing rate",
    unit=HERTZ,
    more_is_better=None,
    compute=lambda results: results.firing_rate_hz(),
    per_layer=True,
)
SYNAPTIC_OPERATIONS = Metric(
    name="synaptic_operations",
    label="synaptic operations an image",
    unit=MILLION,
    more_is_better=False,
    compute=lambda results: float(results.synaptic_operations.sum()),
    in_groups="always",
)
OPERATIONS_OVER_PLAIN = Metric(
    name="operations_over_plain",
    label="fewer operations than the plain network",
    column="fewer than plain",
    unit=TIMES,
    more_is_better=False,
    compute=lambda results: _over_plain(results),  # defined below
    in_groups="always",
)
LOSS = Metric(name="loss", label="loss", unit=Unit("", decimals=4), more_is_better=False, compute=None)


def _over_plain(results: "Results") -> float | None:
    """Synaptic operations over those of the same network with ordinary activations, run once; None where these are unknown."""
    if results.cost is None or not results.cost.plain_operations:
        return None
    return float(results.synaptic_operations.sum()) / results.cost.plain_operations


def _mean_over_classes(accuracies: "Tensor") -> float | None:
    """The mean over the classes that have images; None if no class has an accuracy.

    Source: K. H. Brodersen, C. S. Ong, K. E. Stephan and J. M. Buhmann 2010, "The balanced accuracy and its posterior
    distribution", doi:10.1109/ICPR.2010.764.
    """
    return None if accuracies.isnan().all() else float(accuracies.nanmean())


def _are_unequal(class_images: "Tensor") -> bool:
    """Whether the largest class has more than 1.5 times the images of the smallest; in MNIST's test set it has 1.27 times."""
    return bool(class_images.max() > 1.5 * class_images.min())


@functools.cache
def metrics() -> tuple[Metric, ...]:
    """All metrics in the order of the tables: those of this file, then those of `metrics/added/` by file name.

    Raises:
        ValueError: two metrics have the same name.
    """
    found: dict[str, Metric] = {}
    for metric in _defined():
        if found.setdefault(metric.name, metric) is not metric:
            raise ValueError(f"two metrics are called {metric.name}")
    return tuple(found.values())


def _defined() -> Iterator[Metric]:
    """The metrics, and tuples of them, at the top level of this module and of each module in `metrics/added/`."""
    modules = [sys.modules[__name__]]
    for file in pkgutil.iter_modules(added.__path__):
        modules.append(importlib.import_module(f"{added.__name__}.{file.name}"))
    for module in modules:
        for value in vars(module).values():
            several = value if isinstance(value, tuple) else (value,)
            yield from (metric for metric in several if isinstance(metric, Metric))


def find(name: str) -> Metric | None:
    """The metric that a name stands for, without `test/` or `val/`; None if there is none.

    Example:
        >>> find("agreement") is AGREEMENT, find("firing_rate_hz/neuron1") is FIRING_RATE, find("firing_rate_hz") is None
        (True, True, True)
    """
    for metric in metrics():
        if metric.of_layer(name) or (name == metric.name and not metric.per_layer):
            return metric
    return None


def final(results: "Results") -> dict[str, float]:
    """All metrics at the last step, by the names that MLflow shows, without the `test/` or `val/` before them."""
    values: dict[str, float] = {}
    for metric in metrics():
        values.update(metric.values(results))
    return values


def after_fewer_steps(results: "Results") -> dict[str, float]:
    """By name, the metrics with `over_steps` after those of `STEPS_SHOWN` that are fewer than all steps."""
    values = {}
    for steps in steps_shown(results.n_steps):
        shorter = results.until(steps)
        for metric in metrics():
            if metric.over_steps:
                values.update({metric.after(steps): value for value in metric.values(shorter).values()})
    return values


def steps_shown(n_steps: int) -> list[int]:
    """Those of `STEPS_SHOWN` that are fewer than `n_steps`.

    Example:
        >>> steps_shown(20)
        [1, 2, 5, 10]
    """
    return [steps for steps in STEPS_SHOWN if steps < n_steps]


def of_first_images(results: "Results") -> dict[str, float]:
    """The accuracies of the first images alone, by names that say how many; empty if they are not reported."""
    if not results.first:
        return {}
    prefix = f"first_{results.first}_images"
    return {
        f"{prefix}/{RATE_ACCURACY.name}": results.first_rate_accuracy,
        f"{prefix}/{SPIKING_ACCURACY.name}": float(results.first_spiking_accuracy[-1]),
    }


def in_steps(steps: int) -> str:
    """A number of steps in words.

    Example:
        >>> in_steps(1), in_steps(30)
        ('1 step', '30 steps')
    """
    return "1 step" if steps == 1 else f"{steps} steps"
