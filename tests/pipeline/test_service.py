"""A network that answers strangers' requests: the answers are those of the library, and what cannot be is refused in a line."""

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ratespike
from ratespike.network import build_network
from ratespike.parameters import ParameterError
from ratespike.pipeline.checkpoint import write_checkpoint
from ratespike.pipeline.service import MOST_STEPS, Service, TooLongError
from ratespike.synapses import LowPass

LAYERS = {
    "conv": {"type": "Conv", "filters": 4, "kernel": 3},
    "neuron1": {"type": "Neurons"},
    "dense": {"type": "Dense", "units": 3},
}
NEURON = {"type": "IntegrateAndFire", "max_rate": 400}
SETTINGS = {
    "data": {"type": "MNIST", "dir": "data/mnist", "mean": 0.25, "std": 0.5, "batch_size": 3},
    "network": {"layers": LAYERS},
    "neuron": NEURON,
    "synapse": {"type": "LowPass", "tau": 0.02},
    "n_steps": 12,
    "dt": 0.002,
}


@pytest.fixture
def served(tmp_path: Path) -> Callable[..., Service]:
    """A service of a network with random weights, given settings in place of the usual ones."""

    def make(value_range: tuple[float, float] = (0.0, 1.0), **settings: Any) -> Service:
        torch.manual_seed(0)
        network = build_network(LAYERS, NEURON, (1, 6, 6), 3)
        description = {
            "config": SETTINGS | settings,
            "image_shape": [1, 6, 6],
            "classes": 3,
            "class_names": ["cat", "dog", "owl"],
            "value_range": list(value_range),
        }
        write_checkpoint(tmp_path / "network.ckpt", network, description)
        return Service(tmp_path / "network.ckpt")

    return make


def pictures(count: int) -> np.ndarray:
    return np.random.default_rng(0).random((count, 1, 6, 6), dtype=np.float32)


def test_the_answers_are_those_of_the_library(served: Callable[..., Service], tmp_path: Path) -> None:
    service = served()
    images = pictures(7)  # three batches
    network = ratespike.load(tmp_path / "network.ckpt")
    seen = (torch.from_numpy(images) - 0.25) / 0.5
    with torch.no_grad():
        rates = network(seen).softmax(1)
    names = np.array(["cat", "dog", "owl"])
    answers = service(images, "rates")
    assert [answer.class_name for answer in answers] == names[rates.argmax(1)].tolist()
    assert [answer.confidence for answer in answers] == pytest.approx(rates.amax(1).tolist(), rel=1e-5)
    assert {answer.decision_step for answer in answers} == {None}
    for n_steps in (12, 5):
        simulation = ratespike.simulate(network, seen, n_steps, 0.002, synapse=LowPass(tau=0.02))
        answers = service(images, n_steps=None if n_steps == 12 else n_steps)
        assert [answer.class_name for answer in answers] == names[simulation.predictions[-1]].tolist()
        for place, answer in enumerate(answers):
            predicted = simulation.predictions[:, place].tolist()
            step = answer.decision_step
            assert step is not None
            assert set(predicted[step - 1 :]) == {predicted[-1]}
            assert step == 1 or predicted[step - 2] != predicted[-1]
    assert service(images[:0]) == []


def test_a_pixel_divided_by_255_is_what_the_program_sees_of_the_byte() -> None:
    """A client divides in double precision, and JSON carries all digits of that."""
    pixels = np.arange(256, dtype=np.uint8)
    assert np.array_equal((pixels / 255).astype(np.float32), (torch.from_numpy(pixels).float() / 255.0).numpy())


@pytest.mark.parametrize(
    ("change", "asked", "message"),
    [
        (lambda images: np.where(images > 0.9, np.nan, images), {}, "image 0: has a value that is not a finite number"),
        (lambda images: np.where(images > 0.9, np.inf, images), {}, "image 0: has a value that is not a finite number"),
        (lambda images: images * 255, {}, "images: have values from .* must be from 0 .black. to 1 .white., as pixels"),
        (lambda images: images - 1, {}, "images: have values from -"),
        (lambda images: images, {"mode": "spike"}, "mode=spike: must be rates or spikes"),
        (lambda images: images, {"n_steps": 0}, f"n_steps=0: must be a whole number from 1 to {MOST_STEPS}"),
        (lambda images: images, {"n_steps": 10**9}, f"n_steps=1000000000: must be a whole number from 1 to {MOST_STEPS}"),
    ],
)
def test_what_is_no_picture_or_cannot_be_asked_is_refused(
    served: Callable[..., Service], change: Callable[[np.ndarray], np.ndarray], asked: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=message):
        served()(change(pictures(40)).astype(np.float32), **asked)


def test_values_of_a_data_set_that_are_no_pictures_are_not_held_to_their_range(served: Callable[..., Service]) -> None:
    assert len(served(value_range=(-3.0, 3.0))(pictures(2) * 6 - 3)) == 2


def test_a_request_that_takes_too_long_ends_and_the_next_one_is_answered(served: Callable[..., Service]) -> None:
    service = served()
    with pytest.raises(TooLongError, match=r"of 10000 images were answered in 0\.05 s; send fewer images or steps"):
        service(pictures(10_000), n_steps=1000, seconds=0.05)
    assert len(service(pictures(2), seconds=60)) == 2


def test_a_request_waits_for_its_turn_no_longer_than_it_may(served: Callable[..., Service]) -> None:
    service = served()
    with service._turn, pytest.raises(TooLongError, match=r"others had their turn for 0\.05 s"):
        service(pictures(1), seconds=0.05)


def test_clients_at_the_same_time_get_the_answers_that_each_gets_alone(served: Callable[..., Service]) -> None:
    service = served()
    images = [pictures(20)[first : first + 5] for first in range(0, 16)]
    alone = [service(own) for own in images]
    together: dict[int, object] = {}

    def ask(number: int) -> None:
        together[number] = service(images[number])

    clients = [threading.Thread(target=ask, args=(number,)) for number in range(16)]
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    assert [together[number] for number in range(16)] == alone


def test_a_conversion_that_needs_training_images_answers_on_rates_alone(served: Callable[..., Service]) -> None:
    service = served(conversion={"type": "Balanced"})
    assert len(service(pictures(2), "rates")) == 2
    with pytest.raises(ParameterError, match=r"mode=spikes: conversion\.type=Balanced looks at training images"):
        service(pictures(2))


def test_a_network_for_events_is_not_served(served: Callable[..., Service]) -> None:
    with pytest.raises(ParameterError, match="which are not served; `ratespike evaluate` simulates recordings"):
        served(data={"type": "Events", "dir": "recordings.npz"})
