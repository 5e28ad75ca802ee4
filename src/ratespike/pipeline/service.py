"""A trained network that answers requests: images come as numbers from strangers, several at a time, as a server gets them.

Nothing here is MLflow's; `served_model.py` is the adapter.
"""

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Float32
from torch import Tensor

from ratespike.data import DataSet, Images, Scaling
from ratespike.data.images import is_from_0_to_1
from ratespike.parameters import ParameterError, build
from ratespike.pipeline.answers import (
    Answer,
    answer_on_rates,
    answer_on_spikes,
    converted_without_images,
    simulator_of,
    trained_to_answer,
)
from ratespike.pipeline.checkpoint import read_checkpoint

RATES = "rates"
SPIKES = "spikes"
MOST_STEPS = 10_000
_AT_ONCE = 6000  # images times steps: bounds the memory of a simulation, and how late a request that takes too long ends


class TooLongError(Exception):
    """A request could not be answered in its time; the message says what to do."""


class Service:
    """The network of a checkpoint, with the simulation that its settings name.

    Requests may come from several threads: one is computed at a time, on all cores.

    Args:
        checkpoint: the file.

    Attributes:
        image_shape: channels, height, width of an image.

    Raises:
        ParameterError: no checkpoint of ratespike, or of a network that cannot be served: one that was trained on events, or
            whose code is in a file of the user's.
    """

    def __init__(self, checkpoint: Path):
        trained = read_checkpoint(checkpoint)
        settings = trained.config
        if settings["data"].get("type") == "Events":
            raise ParameterError(
                "that network was trained on events, which are not served; `ratespike evaluate` simulates recordings"
            )
        data = build(DataSet, settings["data"], "data")  # type: ignore[type-abstract]
        self.image_shape = trained.image_shape
        self._n_steps = settings["n_steps"]
        self._class_names = trained.class_names
        self._scaling = Scaling(white=1, mean=data.mean or (), std=data.std or ())
        self._are_pictures = is_from_0_to_1(trained.value_range)
        self._batch_size = data.batch_size
        self._network = trained_to_answer(trained, f"checkpoint {checkpoint}")
        self._simulator = simulator_of(settings)
        self._turn = threading.Lock()
        self._spiking = None
        if not self._simulator.conversion.n_images:
            self._simulator.check(self._network, self._n_steps)
            self._spiking = converted_without_images(self._network, self._simulator)
        blank = np.zeros((1, *self.image_shape), np.float32)
        self(blank, RATES if self._spiking is None else SPIKES)  # loads or compiles the kernels before somebody waits for them

    def __call__(
        self,
        images: Float32[np.ndarray, "images channels height width"],
        mode: str = SPIKES,
        n_steps: int | None = None,
        seconds: float | None = None,
    ) -> list[Answer]:
        """The answers to some images.

        Args:
            images: as the data set has them before its normalisation: pictures from 0 (black) to 1 (white).
            mode: `rates` or `spikes`.
            n_steps: how many steps of spikes; None for those of the settings.
            seconds: how long the answer may take, with the time for which others have their turn; None for no limit.

        Raises:
            ParameterError: numbers that are no picture's, another mode, a number of steps that cannot be.
            TooLongError: the time was over first.
        """
        until = None if seconds is None else time.monotonic() + seconds
        if n_steps is None:
            n_steps = self._n_steps
        self._check(images, mode, n_steps)
        if not self._turn.acquire(timeout=-1 if seconds is None else seconds):
            raise TooLongError(f"others had their turn for {seconds:g} s; try again later")
        try:
            answers: list[Answer] = []
            for rows in self._batches(len(images), mode, n_steps):
                if until is not None and time.monotonic() > until:
                    raise TooLongError(
                        f"{len(answers)} of {len(images)} images were answered in {seconds:g} s; send fewer images or steps, "
                        "or start the server with a longer --timeout"
                    )
                answers += self._answers(torch.tensor(images[rows.numpy()]), rows, mode, n_steps)
            return answers
        finally:
            self._turn.release()

    def _check(self, images: Float32[np.ndarray, "images channels height width"], mode: str, n_steps: int) -> None:
        if mode not in (RATES, SPIKES):
            raise ParameterError(f"mode={mode}: must be {RATES} or {SPIKES}")
        if mode == SPIKES and self._spiking is None:
            method = type(self._simulator.conversion).__name__
            raise ParameterError(
                f"mode={SPIKES}: conversion.type={method} looks at training images, which a served model does not have; "
                f"give mode={RATES}, or use `ratespike predict`"
            )
        if not 1 <= n_steps <= MOST_STEPS:
            raise ParameterError(f"n_steps={n_steps}: must be a whole number from 1 to {MOST_STEPS}")
        if mode == SPIKES:
            self._simulator.check(self._network, n_steps)
        lowest = images.min(axis=(1, 2, 3))  # NaN where an image has one
        highest = images.max(axis=(1, 2, 3))
        for number in np.flatnonzero(~(np.isfinite(lowest) & np.isfinite(highest)))[:1]:
            raise ParameterError(f"image {number}: has a value that is not a finite number")
        if self._are_pictures and len(images) and not is_from_0_to_1((float(lowest.min()), float(highest.max()))):
            raise ParameterError(
                f"images: have values from {lowest.min():g} to {highest.max():g}; must be from 0 (black) to 1 (white), "
                "as pixels of 0 to 255 divided by 255"
            )

    def _batches(self, n_images: int, mode: str, n_steps: int) -> Iterator[Tensor]:
        """Numbers of images that follow each other."""
        steps = 1 if mode == RATES else n_steps
        at_once = max(1, min(self._batch_size, _AT_ONCE // steps))
        for first in range(0, n_images, at_once):
            yield torch.arange(first, min(first + at_once, n_images))

    @torch.no_grad()
    def _answers(
        self, images: Float[Tensor, "batch channels height width"], rows: Tensor, mode: str, n_steps: int
    ) -> list[Answer]:
        inputs = Images(images, torch.zeros(len(images), dtype=torch.long), self._scaling).as_inputs()
        if mode == RATES:
            return [answer_on_rates(outputs, self._class_names) for outputs in self._network(inputs)]
        assert self._spiking is not None
        outputs = self._simulator(self._spiking, inputs, rows, n_steps).outputs  # (time, batch, classes)
        return [answer_on_spikes(of_image, self._class_names) for of_image in outputs.unbind(1)]
