"""Training on rates, testing on rates and on spikes, as a LightningModule."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from pytorch_lightning import LightningModule
from torch import Tensor, nn
from torch.nn import functional as F
from torchmetrics import MeanMetric
from torchmetrics.classification import MulticlassAccuracy

from ratespike.metrics import RateVsSpike, Results
from ratespike.pipeline.datamodule import Batch, Batches, epoch_seed
from ratespike.pipeline.finite_loss import check_finite
from ratespike.pipeline.forwards import Forward, Rates
from ratespike.pipeline.losses import Loss
from ratespike.pipeline.optimizers import Optimizer
from ratespike.pipeline.rate_control import HeldRates
from ratespike.pipeline.simulator import Simulator


class Classifier(LightningModule):
    """A network that learns classes by its firing rates and is tested on rates and on spikes.

    Args:
        network: rates in its `forward`, spikes in `simulate`.
        forward: what a training step computes of its images.
        layers: the names of the calls of neurons, in their order.
        loss: of the training.
        optimizer: makes optimizer and schedule.
        simulator: the spiking mode, of the network or of what a conversion has made of it.
        n_steps: length of the simulations in tests.
        comparison: an empty one, filled by each test.
        seed: with the epoch's number, the seed of what is random in training (dropout).
        description: plain values kept in each checkpoint, from which `ratespike.load` builds the network again.
        class_weights: what an image of each class counts in the training loss, shape (classes,); None for 1.
        held_rates: adds a term to the training loss; None for none.

    Attributes:
        spiking_network: what tests simulate; None: the network.
        results: of the last test in this process; None before one.
        seconds: spent on training, and in the last test on rates and on spikes.
        trained_images: how many images the training has seen, in all processes.
    """

    def __init__(
        self,
        network: nn.Module,
        forward: Forward,
        layers: Sequence[str],
        loss: Loss,
        optimizer: Optimizer,
        simulator: Simulator,
        n_steps: int,
        comparison: RateVsSpike,
        seed: int,
        description: Mapping[str, Any],
        class_weights: Tensor | None = None,
        held_rates: HeldRates | None = None,
    ):
        super().__init__()
        self.network = network
        self.training_forward = forward
        self.layers = layers
        self.loss = loss
        self.optimizer = optimizer
        self.simulator = simulator
        self.n_steps = n_steps
        self.comparison = comparison
        self.seed = seed
        self.description = description
        self.class_weights: Tensor | None
        self.register_buffer("class_weights", class_weights, persistent=False)
        self.held_rates = held_rates
        self.held_in_validation = MeanMetric()
        classes = int(description["classes"])
        self.train_accuracy = MulticlassAccuracy(classes, average="micro")
        self.val_accuracy = MulticlassAccuracy(classes, average="micro")
        self.val_loss = MeanMetric(nan_strategy="disable")  # over images, of which processes may have unequal numbers
        self.spiking_network: nn.Module | None = None
        self.results: Results | None = None
        self.seconds = {"train": 0.0, "rate": 0.0, "spiking": 0.0}
        self.trained_images = 0

    def forward(self, images: Tensor) -> Tensor:
        """The rate mode."""
        return self.network(images)  # type: ignore[no-any-return]

    def on_train_epoch_start(self) -> None:
        torch.manual_seed(epoch_seed(self.seed, self.current_epoch, self.global_rank))
        self.epoch_began = time.perf_counter()

    def training_step(self, batch: Batch, number: int) -> Tensor:
        images, labels, _ = batch
        # of the images of this process, (images, classes)
        watch = None if self.held_rates is None else self.held_rates.watch
        outputs = self.training_forward(self.network, images, self.layers, self.simulator.dt, watch)
        batches = self.trainer.train_dataloader
        assert isinstance(batches, Batches)
        whole = batches.size(number)  # images of this batch in all processes
        # Lightning averages the gradients of the processes, whose parts of a batch may differ in size.
        n_images = whole / self.trainer.world_size
        summed = self.loss(outputs, labels, self.class_weights, self._on_rates(images))
        loss: Tensor = summed / n_images
        check_finite(loss, self.network, images)
        self.trained_images += whole
        if len(images):  # of the last batch of an epoch a process may have none
            self.train_accuracy.update(outputs, labels)
        self.log("train/loss", loss, on_step=False, on_epoch=True, prog_bar=True, sync_dist=True, batch_size=whole)
        self.log("train/rate_accuracy", self.train_accuracy, on_step=False, on_epoch=True)
        if self.held_rates is None:
            return loss
        penalty, quantity = self.held_rates.taken(n_images, self.trainer.strategy.reduce)
        name = f"train/{self.held_rates.term.quantity}"
        self.log(name, quantity, on_step=False, on_epoch=True, sync_dist=True, batch_size=whole)
        return loss + penalty

    @torch.no_grad()
    def _on_rates(self, images: Tensor) -> Tensor | None:
        return self(images) if self.loss.needs_rates else None  # type: ignore[no-any-return]

    def on_validation_epoch_start(self) -> None:
        self.seconds["train"] += time.perf_counter() - self.epoch_began

    def validation_step(self, batch: Batch, number: int) -> None:
        images, labels, _ = batch
        watch = None if self.held_rates is None else self.held_rates.watch
        outputs = Rates()(self.network, images, self.layers, self.simulator.dt, watch)
        self.val_accuracy(outputs, labels)
        losses = F.cross_entropy(outputs, labels, reduction="none")
        check_finite(losses, self.network, images)
        self.val_loss.update(losses)
        self.log("val/loss", self.val_loss)
        self.log("val/rate_accuracy", self.val_accuracy, prog_bar=True)
        if self.held_rates is not None:
            self.held_in_validation.update(self.held_rates.taken().quantity, len(images))
            self.log(f"val/{self.held_rates.term.quantity}", self.held_in_validation)

    def on_test_epoch_start(self) -> None:
        self.seconds |= {"rate": 0.0, "spiking": 0.0}
        self.comparison.reset()

    def test_step(self, batch: Batch, number: int) -> None:
        images, labels, index = batch
        rates = self._timed("rate", lambda: self(images))
        shown = self._shown(images, index)
        network = self.network if self.spiking_network is None else self.spiking_network
        spikes = self._timed("spiking", lambda: self.simulator(network, shown, index, self.n_steps))
        self.comparison.update(rates, spikes, labels, index)

    def on_test_epoch_end(self) -> None:
        self.results = self.comparison.compute()

    def configure_optimizers(self) -> Any:
        optimizer = self.optimizer.optimizer(self.network.parameters())
        scheduler = self.optimizer.scheduler(optimizer, int(self.trainer.estimated_stepping_batches))
        if scheduler is None:
            return optimizer
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        # plain values: a partial or a DictConfig would break loading with `weights_only`
        checkpoint["ratespike"] = dict(self.description)

    def _shown(self, images: Tensor, index: Tensor) -> Tensor:
        """What a simulation shows: the images, or of those that change what they are in each step."""
        batches = self.trainer.test_dataloaders
        assert isinstance(batches, Batches)
        over_time = batches.over_time(index.cpu())
        return images if over_time is None else over_time.to(images.device)

    def _timed(self, mode: str, compute: Callable[[], Any]) -> Any:
        began = time.perf_counter()
        result = compute()
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)
        self.seconds[mode] += time.perf_counter() - began
        return result
