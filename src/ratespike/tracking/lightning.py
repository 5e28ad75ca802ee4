"""What a run keeps of each epoch of a training."""

from pathlib import Path

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

from ratespike.classifier import Classifier
from ratespike.tracking.runs import Run


class KeepEpochs(Checkpoint):
    """Logs an epoch's metrics, with the epoch as MLflow's step, then copies the checkpoints to the run's artifacts.

    In this order, so that a training that goes on from the kept checkpoint lacks no metric. It is a `Checkpoint` because
    Lightning calls those last and in the order given: `best` and `latest`, which come first, have saved the epoch by then.
    """

    def __init__(self, run: Run, best: ModelCheckpoint, latest: ModelCheckpoint):
        self.run, self.best, self.latest = run, best, latest

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.current_epoch == 0:
            path = Path(str(self.latest.dirpath)) / "last.ckpt"
            trainer.save_checkpoint(path)
            self._keep(trainer, path)

    def on_train_epoch_end(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.is_global_zero:
            metrics = {name: float(value) for name, value in trainer.callback_metrics.items()}
            self.run.metrics(metrics, step=trainer.current_epoch + 1)
        for checkpoint in (self.best, self.latest):
            self._keep(trainer, Path(checkpoint.best_model_path))

    def on_train_end(self, trainer: Trainer, module: LightningModule) -> None:
        assert isinstance(module, Classifier)
        if trainer.is_global_zero and module.trained_images:
            self.run.metrics({"train/images_per_second": module.trained_images / module.seconds["train"]})

    def _keep(self, trainer: Trainer, path: Path) -> None:
        if trainer.is_global_zero:
            self.run.file(path, "checkpoints")
