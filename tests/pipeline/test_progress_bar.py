"""What stands in the terminal during a training."""

import re

import pytest
import torch
from pytorch_lightning import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from ratespike.pipeline.progress_bar import ProgressBar

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice


class Logging(LightningModule):
    """Learns nothing, and logs what a training shows."""

    def training_step(self, batch: Tensor, number: int) -> None:
        self.log("train/loss", torch.tensor(12.3456), on_step=False, on_epoch=True, prog_bar=True)

    def validation_step(self, batch: Tensor, number: int) -> None:
        self.log("val/rate_accuracy", torch.tensor(0.98765), prog_bar=True)

    def configure_optimizers(self) -> None:
        return None


def shown(width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> str:
    """The bar at the end of the last of eleven epochs of 500 batches."""
    for name, value in {"COLUMNS": str(width), "TTY_COMPATIBLE": "1", "NO_COLOR": "1"}.items():
        monkeypatch.setenv(name, value)
    trainer = Trainer(
        max_epochs=11,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        callbacks=[ProgressBar()],
    )
    trainer.fit_loop.epoch_progress.current.processed = trainer.fit_loop.epoch_progress.current.completed = 10
    images = DataLoader(torch.zeros(500, 1))
    trainer.fit(Logging(), images, DataLoader(torch.zeros(1, 1)))
    assert set(trainer.callback_metrics) == {"train/loss", "val/rate_accuracy"}
    printed = re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", capsys.readouterr().out)
    return printed.replace("\r", "\n").split("Epoch")[-1]


@pytest.mark.parametrize("width", [80, 120])
def test_the_metrics_are_whole_in_one_line(
    width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    line = "Epoch" + shown(width, monkeypatch, capsys).splitlines()[0].rstrip()
    assert line.startswith("Epoch 10/10")
    assert re.search(r" 500/500 0:00:\d\d • 0:00:00 .*loss: 12.346 accuracy: 0.988$", line)
    assert ("it/s" in line) == (width == 120)
    assert len(line) <= width
