"""Pixels or batch-norm statistics of another scale than in training: the network is wrong before a spike is fired."""

import copy
from collections.abc import Iterator
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from ratespike.conversion.methods import AsTrained
from ratespike.diagnosis.case import Case, gain
from ratespike.diagnosis.causes.base import Cause, Evidence, Remedy

_MEANS = 0.3  # standard deviations by which two means may differ
_TIMES = 1.5  # by which two standard deviations may differ
_TRIED_ON = 300  # images, on rates
_USUAL = ((0.0, 255.0), (0.0, 1 / 255), (0.5, 0.5))  # means and standard deviations that pixels are scaled with


class ScaleOfInputs(Cause):
    """Pixels scaled as in training mend it, or statistics of the images as they are."""

    name = "pixels or batch-norm statistics of another scale"
    order = 1

    def remedies(self, evidence: Evidence) -> Iterator[Remedy]:
        case = evidence.case
        yield from _as_in_training(case)
        yield from _as_is_usual(case)
        yield from _statistics_anew(case)


def _as_in_training(case: Case) -> Iterator[Remedy]:
    """Pixels with the mean and the standard deviation of the training images, where these differ."""
    if case.training is None:
        return
    mean, std = _moments(case.images)
    wanted_mean, wanted_std = _moments(case.training)
    if not std or not wanted_std or not _differ(mean - wanted_mean, std, wanted_std):
        return
    finding = (
        f"the pixels have the mean {mean:.3g} and the standard deviation {std:.3g}, those of the training images "
        f"{wanted_mean:.3g} and {wanted_std:.3g}"
    )
    times = std / wanted_std
    yield _rescaled(case, finding, mean - wanted_mean * times, times)


def _as_is_usual(case: Case) -> Iterator[Remedy]:
    """Pixels scaled in a way that is usual, where the network then answers more often right on rates."""
    some = case.first(_TRIED_ON)
    before = some.rates().argmax(1) == some.labels
    best = None
    most = 0.0
    for mean, std in (*_USUAL, _moments(case.images)):
        if std <= 0:
            continue
        after = replace(some, images=(some.images - mean) / std).rates().argmax(1) == some.labels
        gained = gain(before, after)
        if gained.is_real and gained.accuracy > most:
            best, most = (mean, std), gained.accuracy
    if best is not None:
        share = float(before.double().mean())
        finding = (
            f"on rates the network is right {100 * share:.0f} % of the time, {100 * (share + most):.0f} % with other pixels"
        )
        yield _rescaled(case, finding, *best)


def _rescaled(case: Case, finding: str, mean: float, std: float) -> Remedy:
    """The remedy that takes a mean from all pixels as they are now and divides them by a standard deviation."""
    first_mean, first_std = case.pixels  # of the pixels in the files: scaled once, by both
    override = f"data.mean={first_mean + first_std * mean:.4g} data.std={first_std * std:.4g}"
    return Remedy(finding, override, replace(case, images=(case.images - mean) / std), "train")


def _statistics_anew(case: Case) -> Iterator[Remedy]:
    """Statistics of batch normalisations from the training images, where they differ from what arrives."""
    kept = _batch_norms(case.network)
    if not kept or not isinstance(case.conversion, AsTrained):
        return
    network = copy.deepcopy(case.network).eval()
    estimated = _batch_norms(network)
    for norm in estimated.values():
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    with torch.no_grad():
        for batch in (case.images if case.training is None else case.training).split(500):
            network(batch)
    network.eval()
    wrong = [name for name, norm in kept.items() if _statistics_differ(norm, estimated[name])]
    if wrong:
        finding = f"the statistics of {wrong[0]} are not those of what arrives there"
        yield Remedy(finding, f"start_from={case.name} trainer.max_epochs=1", replace(case, network=network), "train")


def _batch_norms(network: nn.Module) -> dict[str, _BatchNorm]:
    """The batch normalisations with statistics of a training, by name."""
    norms = {name: module for name, module in network.named_modules() if isinstance(module, _BatchNorm)}
    return {name: norm for name, norm in norms.items() if norm.running_mean is not None}


def _statistics_differ(kept: _BatchNorm, estimated: _BatchNorm) -> bool:
    """Whether the statistics of most channels differ by more than chance."""
    assert kept.running_mean is not None and kept.running_var is not None
    assert estimated.running_mean is not None and estimated.running_var is not None
    std = estimated.running_var.clamp(min=1e-12).sqrt()
    times = kept.running_var.clamp(min=1e-12).sqrt() / std
    shifted = (kept.running_mean - estimated.running_mean).abs() > _MEANS * std
    stretched = (times > _TIMES) | (times < 1 / _TIMES)
    return float((shifted | stretched).double().mean()) > 0.5


def _moments(images: Tensor) -> tuple[float, float]:
    """Mean and standard deviation of all pixels."""
    values = images.double()
    return float(values.mean()), float(values.std())


def _differ(means: float, std: float, wanted: float) -> bool:
    """Whether two means or standard deviations differ by more than chance."""
    return abs(means) > _MEANS * wanted or not 1 / _TIMES < std / wanted < _TIMES
