"""What a training makes small, as the configuration names it."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ratespike.parameters import check_parameters, parameter


@dataclass(frozen=True, kw_only=True)
class Loss(ABC):
    """A loss of a network's outputs. A class below this one is an option of `loss.type`.

    Attributes:
        needs_rates: of the class, whether it compares the outputs with those on rates.

    Raises:
        ParameterError: a value out of range.
    """

    needs_rates: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_parameters(self)

    @abstractmethod
    def __call__(
        self,
        outputs: Float[Tensor, "batch classes"],
        labels: Int[Tensor, " batch"],
        class_weights: Tensor | None,
        on_rates: Float[Tensor, "batch classes"] | None = None,
    ) -> Float[Tensor, ""]:
        """The sum over the images of a batch.

        Args:
            outputs: of the network, before any softmax.
            labels: the right classes.
            class_weights: what an image of each class counts, shape (classes,); None for 1.
            on_rates: the outputs on rates, without slope, if the loss needs them.
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
        self,
        outputs: Float[Tensor, "batch classes"],
        labels: Int[Tensor, " batch"],
        class_weights: Tensor | None,
        on_rates: Float[Tensor, "batch classes"] | None = None,
    ) -> Float[Tensor, ""]:
        return F.cross_entropy(outputs, labels, class_weights, reduction="sum", label_smoothing=self.label_smoothing)


@dataclass(frozen=True, kw_only=True)
class Distillation(CrossEntropy):
    """Cross-entropy, and beside it how far the outputs are from those of the same network on rates.

    For a training on spikes: the network on rates, as it is at that step, is the teacher. The added term is `weight` times
    `temperature ** 2` times the Kullback-Leibler divergence of the two softmaxes at this temperature. Weights of classes count
    in the cross-entropy alone.

    Source: Hinton, Vinyals and Dean 2015, "Distilling the knowledge in a neural network", arXiv:1503.02531, section 2.

    Attributes:
        weight: of the divergence beside the cross-entropy.
        temperature: by which outputs are divided before the softmax.

    Example:
        >>> import torch
        >>> outputs, labels, on_rates = torch.tensor([[2.0, 0.0]]), torch.tensor([0]), torch.tensor([[0.0, 0.0]])
        >>> Distillation(weight=0)(outputs, labels, None, on_rates), Distillation(weight=1)(outputs, labels, None, outputs)
        (tensor(0.1269), tensor(0.1269))
        >>> Distillation(weight=1, temperature=1)(outputs, labels, None, on_rates)
        tensor(0.5607)
    """

    needs_rates: ClassVar[bool] = True

    weight: float = parameter(1.0, at_least=0)
    temperature: float = parameter(2.0, above=0)

    def __call__(
        self,
        outputs: Float[Tensor, "batch classes"],
        labels: Int[Tensor, " batch"],
        class_weights: Tensor | None,
        on_rates: Float[Tensor, "batch classes"] | None = None,
    ) -> Float[Tensor, ""]:
        assert on_rates is not None
        student = F.log_softmax(outputs / self.temperature, dim=1)
        teacher = F.log_softmax(on_rates / self.temperature, dim=1)
        divergence = F.kl_div(student, teacher, reduction="sum", log_target=True)
        return super().__call__(outputs, labels, class_weights) + self.weight * self.temperature**2 * divergence
