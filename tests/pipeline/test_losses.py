import numpy as np
import torch

from ratespike.pipeline.losses import CrossEntropy, Distillation


def test_distillation_adds_the_divergence_from_the_outputs_on_rates() -> None:
    """Against the sum over classes, written out; no slope goes to the teacher."""
    generator = torch.Generator().manual_seed(0)
    outputs, on_rates = (torch.randn(6, 4, generator=generator, requires_grad=True) for _ in range(2))
    labels = torch.randint(0, 4, (6,), generator=generator)
    weights = torch.rand(4, generator=generator)
    loss = Distillation(weight=0.7, temperature=3, label_smoothing=0.1)(outputs, labels, weights, on_rates.detach())

    student, teacher = (np.exp(values.detach().double().numpy() / 3) for values in (outputs, on_rates))
    student /= student.sum(1, keepdims=True)
    teacher /= teacher.sum(1, keepdims=True)
    divergence = (teacher * np.log(teacher / student)).sum()
    alone = CrossEntropy(label_smoothing=0.1)(outputs, labels, weights)
    torch.testing.assert_close(loss.detach().double(), alone.detach().double() + 0.7 * 9 * divergence, rtol=1e-5, atol=0)
    (slope,) = torch.autograd.grad(loss - alone, outputs)
    torch.testing.assert_close(slope.double(), torch.from_numpy(0.7 * 3 * (student - teacher)), rtol=1e-4, atol=1e-6)
