"""What a trained network answers to images, on rates and on spikes: the same for `predict.py` and for a served model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from ratespike.config.schemas import SimulationConfig
from ratespike.conversion.methods import Conversion
from ratespike.parameters import build
from ratespike.pipeline.checkpoint import Checkpoint, build_trained
from ratespike.pipeline.simulator import Simulator
from ratespike.synapses import Synapse


@dataclass(frozen=True)
class Answer:
    """What a network says of one image.

    Attributes:
        class_name: the class with the largest output; on spikes after the last step.
        confidence: the softmax of that output.
        decision_step: the first step from which on the spikes' answer stayed what it was after the last one; None on rates.
    """

    class_name: str
    confidence: float
    decision_step: int | None


def answer_on_rates(outputs: Float[Tensor, " classes"], class_names: Sequence[str]) -> Answer:
    """The answer that a network's outputs on rates give.

    Example:
        >>> answer_on_rates(torch.tensor([0.0, 9.0]), ["cat", "dog"])
        Answer(class_name='dog', confidence=0.9998766183853149, decision_step=None)
    """
    number = int(outputs.argmax())
    return Answer(class_names[number], float(outputs.softmax(dim=-1)[number]), None)


def answer_on_spikes(outputs: Float[Tensor, "time classes"], class_names: Sequence[str]) -> Answer:
    """The answer that a network's outputs after each step give.

    Example:
        >>> answer_on_spikes(torch.tensor([[1.0, 0.0], [0.0, 9.0]]), ["cat", "dog"])
        Answer(class_name='dog', confidence=0.9998766183853149, decision_step=2)
    """
    predicted = outputs.argmax(dim=-1)  # (time,)
    number = int(predicted[-1])
    return Answer(class_names[number], float(outputs[-1].softmax(dim=-1)[number]), decision_step(predicted))


def decision_step(predicted: Int[Tensor, " time"]) -> int:
    """The first step from which on a prediction stays what it is after the last one, from 1.

    Example:
        >>> decision_step(torch.tensor([3, 7, 3, 7, 7])), decision_step(torch.tensor([7, 7]))
        (4, 1)
    """
    others = (predicted != predicted[-1]).nonzero()
    return int(others[-1]) + 2 if len(others) else 1


def trained_to_answer(trained: Checkpoint, where: str) -> nn.Sequential:
    """The network of a checkpoint, in the memory format that is twice as fast on CPUs.

    Args:
        trained: what the file holds.
        where: names it in an error line.

    Raises:
        ParameterError: see `build_trained`.
    """
    network = build_trained(trained, where)
    network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return network


def simulator_of(settings: Mapping[str, Any]) -> Simulator:
    """The spiking mode of images that stand still, as a configuration sets it; raises `ParameterError` for a wrong one."""
    return Simulator(
        settings=SimulationConfig(**settings["simulation"]),
        dt=settings["dt"],
        synapse=build(Synapse, settings["synapse"], "synapse"),  # type: ignore[type-abstract]
        event_height=None,
        conversion=build(Conversion, settings["conversion"], "conversion"),  # type: ignore[type-abstract]
    )


def converted_without_images(network: nn.Module, simulator: Simulator) -> nn.Module:
    """The network that runs on spikes, by a conversion that looks at no training images."""
    settings = simulator.settings
    return simulator.conversion.converted(network, torch.zeros(0), simulator.dt, start=settings.start, seed=settings.seed)
