"""What an early exit would do at each of many thresholds, computed from simulations of the whole window.

An image is done with a threshold as soon as the largest of its scores so far reaches it. So the running maxima of its scores
say when it is done, whatever the threshold. Thresholds between two maxima that follow each other give the same: quantiles of
all images' maxima are enough. The mean number of steps is one more than the number of maxima, per image, that a threshold
exceeds. So from one quantile to the next it grows by equal amounts.
"""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

_THRESHOLDS = 200  # at most: the mean numbers of steps of two that follow each other differ by 1/200 of the window


@dataclass(frozen=True)
class ExitCurve:
    """What a simulation with an early exit gives, by its length and by threshold.

    Attributes:
        thresholds: in ascending order; the last one is infinite: no exit.
        accuracy: fraction of images whose answer is right.
        mean_steps: for how many steps an image is simulated.
        synaptic_operations: per image.
    """

    thresholds: Float[Tensor, " thresholds"]
    accuracy: Float[Tensor, "time thresholds"]
    mean_steps: Float[Tensor, "time thresholds"]
    synaptic_operations: Float[Tensor, "time thresholds"]

    def until(self, n_steps: int) -> "ExitCurve":
        """The same of simulations of at most the first `n_steps` steps."""
        return ExitCurve(
            self.thresholds, self.accuracy[:n_steps], self.mean_steps[:n_steps], self.synaptic_operations[:n_steps]
        )

    def fitted(self, loss: float) -> float | None:
        """The threshold with the fewest steps that, like all above it, costs at most `loss` of the accuracy without an exit.

        Without the condition on those above, a threshold that is lucky on these images would be found.

        Args:
            loss: fraction of images.

        Returns:
            One of the thresholds; None if each costs more accuracy.
        """
        accuracy = self.accuracy[-1]
        too_much = accuracy < accuracy[-1] - loss - 1e-9  # fractions are rounded
        last_too_much = int(too_much.nonzero().max()) if too_much.any() else -1
        threshold = float(self.thresholds[last_too_much + 1])  # steps grow with the threshold
        return None if math.isinf(threshold) else threshold


def exit_curve(
    scores: Float[Tensor, "time images"], right: Float[Tensor, "time images"], operations: Float[Tensor, "time images"]
) -> ExitCurve:
    """The curve of one criterion.

    Args:
        scores: of `ratespike.simulation.early_exit.ExitScores`, after each step of simulations without an exit; of one image
            at least.
        right: 1 where the answer after a step is right, else 0.
        operations: synaptic operations in each step.

    Example:
        >>> scores = torch.tensor([[1.0, 2.0], [3.0, 1.0], [4.0, 1.0]])
        >>> right = torch.tensor([[0.0, 1.0], [1.0, 1.0], [1.0, 1.0]])
        >>> curve = exit_curve(scores, right, operations=torch.ones(3, 2))
        >>> for row in zip(curve.thresholds, curve.accuracy[-1], curve.mean_steps[-1]):
        ...     print([float(value) for value in row])
        [1.0, 0.5, 1.0]
        [2.0, 1.0, 1.5]
        [3.0, 1.0, 2.5]
        [inf, 1.0, 3.0]
        >>> curve.fitted(loss=0.0)
        2.0
    """
    maxima = scores.cummax(dim=0).values
    thresholds = _thresholds(maxima[:-1])  # after the last step nothing depends on them
    # how many thresholds are reached; infinity never is
    reached = torch.searchsorted(thresholds, maxima.double(), right=True).clamp(max=len(thresholds) - 1)
    reached_before = torch.cat([torch.zeros_like(reached[:1]), reached[:-1]])
    images = scores.shape[1]

    def running(weights: Float[Tensor, "time images"]) -> Float[Tensor, "time thresholds"]:
        """Mean over images of weights, those of the steps that an image is simulated for."""
        return _sums(weights, reached_before, len(thresholds)) / images

    # right at its end: while an image runs what its answer is, then what it was at the exit
    right_at_exit = running(right) - _sums(right, reached, len(thresholds)) / images
    before = torch.cat([torch.zeros_like(right_at_exit[:1]), right_at_exit[:-1]])
    return ExitCurve(
        thresholds=thresholds,
        accuracy=before.cumsum(0) + running(right),
        mean_steps=running(torch.ones_like(right)).cumsum(0),
        synaptic_operations=running(operations).cumsum(0),
    )


def _thresholds(maxima: Float[Tensor, "time images"]) -> Float[Tensor, " thresholds"]:
    """Those that are tried: some of the maxima above 0, and infinity."""
    values = maxima.double().flatten().sort().values
    places = torch.linspace(0, len(values) - 1, min(_THRESHOLDS, len(values)), dtype=torch.float64).round().long()
    some = values[places].unique()
    return torch.cat([some[some > 0], torch.tensor([math.inf], dtype=torch.float64)])


def _sums(
    weights: Float[Tensor, "time images"], reached: Int[Tensor, "time images"], n_thresholds: int
) -> Float[Tensor, "time thresholds"]:
    """By threshold, the sum of the weights of those images that have not reached it."""
    n_steps = len(weights)
    steps = torch.arange(n_steps).unsqueeze(1)
    cells = (steps * n_thresholds + reached).flatten()
    sums = torch.bincount(cells, weights.double().flatten(), minlength=n_steps * n_thresholds)
    return sums.reshape(n_steps, n_thresholds).cumsum(1)
