"""Early exit: an image whose answer is clear is not simulated any further."""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ratespike.simulation.readout import Answers


@dataclass(frozen=True)
class EarlyExit:
    """When an image is done: after every step its answer is looked at.

    Attributes:
        margin: by which the largest answer must lead the second, in the read-out's unit.
        answers: makes the read-out of a simulation that begins.
    """

    margin: float
    answers: Callable[[], Answers]

    def done(self, answers: Float[Tensor, "*time batch classes"]) -> Bool[Tensor, "*time batch"]:
        """Which answers are clear.

        Args:
            answers: of two classes at least.
        """
        first, second = answers.topk(2, dim=-1).values.unbind(-1)
        return first - second >= self.margin

    def steps(self, answers: Float[Tensor, "time batch classes"]) -> Int[Tensor, " batch"]:
        """How many steps each image takes: those after which it is clear for the first time, or all.

        Args:
            answers: after each step of a simulation without early exit.
        """
        done = self.done(answers)  # (time, batch)
        first_clear = done.int().argmax(0)  # 0 too if there is none
        return torch.where(done.any(0), first_clear + 1, len(answers))
