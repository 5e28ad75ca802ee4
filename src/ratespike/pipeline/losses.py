"""What a training makes small, as the configuration names it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ratespike.parameters import check_parameters, parameter


@dataclass(frozen=True, kw_only=True)
class Loss(ABC):
    """A loss of outputs on rates. A class below this one is an option of `loss.type`.

    Raises:
        ParameterError: a value out of range.
    """

    def __post_init__(self) -> None:
        check_parameters(self)

    @abstractmethod
    def __call__(
        self, outputs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], class_weights: Tensor | None
    ) -> Float[Tensor, ""]:
        """The sum over the images of a batch.

        Args:
            outputs: of the network, before any softmax.
            labels: the right classes.
            class_weights: what an image of each class counts, shape (classes,); None for 1.
        """


@dataclass(frozen=True, kw_only=True)
class CrossEntropy(Loss):
    """Cross-entropy of the softmax of the outputs.

    Source of the smoothing: Szegedy et al. 2016, "Rethinking the Inception architecture", arXiv:1512.00567, section 7.

    Attributes:
        label_smoothing: part of each label that is shared by all classes.

    Example:
        >>> import torch
        >>> outputs, labels = torch.tensor([[2.0, 0.0], [0.0, 0.0]]), torch.tensor([0, 0])
        >>> CrossEntropy()(outputs, labels, None), CrossEntropy(label_smoothing=0.1)(outputs, labels, None)
        (tensor(0.8201), tensor(0.9201))
    """

    label_smoothing: float = parameter(0.0, at_least=0, below=1)

    def __call__(
        self, outputs: Float[Tensor, "batch classes"], labels: Int[Tensor, " batch"], class_weights: Tensor | None
    ) -> Float[Tensor, ""]:
        return F.cross_entropy(outputs, labels, class_weights, reduction="sum", label_smoothing=self.label_smoothing)
