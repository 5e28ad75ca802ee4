"""Early exit: an image whose answer is clear is not simulated any further.

After each step every image has a score, and it is done once its score reaches the threshold. Three criteria make the score:

- `margin`: by how much the largest answer leads the second. Source: D. Wu, G. Jin, H. Yu, X. Yi and X. Huang 2025, "Optimizing
  event-driven spiking neural network with regularization and cutoff", doi:10.3389/fnins.2025.1522788.
- `softmax`: the highest probability in the softmax of the answers. Sources: Y. Li, T. Geller, Y. Kim and P. Panda 2023,
  "SEENN: Towards temporal spiking early exit neural networks", arXiv:2304.01230; C. Li, E. Jones and S. Furber
  2023, "Unleashing the potential of spiking neural networks with dynamic confidence", arXiv:2303.10276. (Y. Li, A. Moitra,
  T. Geller and P. Panda 2023, arXiv:2305.17346, take the entropy of the same softmax.)
- `stability`: for how many steps on end the predicted class has been the same.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ratespike.neurons.base import at_least_float32
from ratespike.simulation.readout import Answers

CRITERIA = {"margin": {"above": 0}, "softmax": {"above": 0, "at_most": 1}, "stability": {"at_least": 1}}
"""By criterion, where its threshold may lie (see `ratespike.parameters.Range`)."""


class ExitScores:
    """How clear each image's answer is after each step; answers may come some steps at a time.

    A score depends on that image's answers until then alone. Where the two largest answers are equal no class is predicted: the
    stability is 0.

    Args:
        by: one of `CRITERIA`.

    Example:
        >>> answers = torch.tensor([[[0.0, 0.0]], [[0.0, 2.0]], [[1.0, 2.0]], [[3.0, 2.0]]])  # (time, batch, classes)
        >>> [ExitScores(by).extend(answers).flatten().tolist() for by in ("margin", "stability")]
        [[0.0, 2.0, 1.0, 1.0], [0.0, 1.0, 2.0, 1.0]]
        >>> ExitScores("softmax").extend(answers).flatten()
        tensor([0.5000, 0.8808, 0.7311, 0.7311])
    """

    def __init__(self, by: str):
        self.by = by
        self._last: tuple[Tensor, Tensor] | None = None  # of `stability`: class and run length of each image

    def extend(self, answers: Float[Tensor, "time batch classes"]) -> Float[Tensor, "time batch"]:
        """The scores after each of the steps that follow, in float32 at least.

        Args:
            answers: of two classes at least.
        """
        return torch.stack([self._score(at_least_float32(answer)) for answer in answers])

    def keep(self, images: Tensor) -> None:
        """Go on with these images only: their rows, or a mask of all rows."""
        if self._last is not None:
            predicted, length = self._last
            self._last = predicted[images], length[images]

    def _score(self, answer: Float[Tensor, "batch classes"]) -> Float[Tensor, " batch"]:
        if self.by == "softmax":
            return answer.softmax(dim=-1).amax(dim=-1)
        first, second = answer.topk(2, dim=-1).values.unbind(-1)
        if self.by == "margin":
            return first - second
        return self._run_length(answer.argmax(dim=-1), first > second).to(answer.dtype)

    def _run_length(self, predicted: Int[Tensor, " batch"], leads: Bool[Tensor, " batch"]) -> Int[Tensor, " batch"]:
        """For how many steps the predicted class has been the same; 0 where none leads."""
        length = torch.zeros_like(predicted)
        if self._last is not None:
            before, length_before = self._last
            length = torch.where(predicted == before, length_before, length)
        length = torch.where(leads, length + 1, 0)
        self._last = predicted, length
        return length


@dataclass(frozen=True)
class EarlyExit:
    """When an image is done: after every step its answer is looked at.

    Attributes:
        by: the criterion, one of `CRITERIA`.
        threshold: of its score; a margin is in the read-out's unit.
        answers: makes the read-out of a simulation that begins.
    """

    by: str
    threshold: float
    answers: Callable[[], Answers]

    def steps(self, answers: Float[Tensor, "time batch classes"]) -> Int[Tensor, " batch"]:
        """How many steps each image takes: those after which it is done for the first time, or all.

        Args:
            answers: after each step of a simulation without early exit, of two classes at least.
        """
        done = ExitScores(self.by).extend(answers) >= self.threshold  # (time, batch)
        first_done = done.int().argmax(0)  # 0 too if there is none
        return torch.where(done.any(0), first_done + 1, len(answers))


class RunningExit:
    """Looks at the images of one simulation while it runs."""

    def __init__(self, early_exit: EarlyExit):
        self._threshold = early_exit.threshold
        self._answers = early_exit.answers()
        self._scores = ExitScores(early_exit.by)

    def done(self, outputs: Float[Tensor, "time batch classes"]) -> Bool[Tensor, " batch"]:
        """Which images are done after the steps that follow; `outputs` are those of the last layer, unfiltered."""
        return self._scores.extend(self._answers.extend(outputs))[-1] >= self._threshold

    def keep(self, images: Tensor) -> None:
        """Go on with these images only: their rows, or a mask of all rows."""
        self._answers.keep(images)
        self._scores.keep(images)
