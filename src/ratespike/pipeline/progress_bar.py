"""The bar that shows how far a training or a test has come."""

from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import RichProgressBar
from rich import get_console

_SHORT_NAMES = {"train/loss": "loss", "val/rate_accuracy": "accuracy"}
_ROOMY = 120  # columns of a terminal in which all that Lightning shows is whole
_SHORT_BAR = 10  # columns, of 40


class ProgressBar(RichProgressBar):
    """Lightning's bar, with the mean training loss and the rate accuracy on validation images whole in 80 columns."""

    def configure_columns(self, trainer: Trainer) -> list[Any]:
        """Description, bar, batches, time, and where there is room batches a second; Lightning adds the metrics."""
        columns = super().configure_columns(trainer)
        if get_console().width < _ROOMY:
            description, bar, batches, time, _ = columns
            bar.bar_width = _SHORT_BAR
            return [description, bar, batches, time]
        return columns

    def get_metrics(self, trainer: Trainer, pl_module: LightningModule) -> dict[str, int | str | float | dict[str, float]]:
        """The metrics by short names, the loss first; MLflow keeps them by their own."""
        metrics = super().get_metrics(trainer, pl_module)
        return {short: metrics[name] for name, short in _SHORT_NAMES.items() if name in metrics}
