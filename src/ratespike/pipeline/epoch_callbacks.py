"""What a run keeps of each epoch: its metrics, and the checkpoints that the training can be resumed from."""

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

from ratespike.pipeline.classifier import Classifier
from ratespike.tracking.runs import Run


class Checkpoints(ModelCheckpoint):
    """Lightning's checkpoint of one epoch, for a training that may be resumed in another folder than it began in.

    Lightning compares the folder of a resumed training with the one that the checkpoint names. Where they differ it forgets how
    good the best epoch was and keeps the next one, however bad. So the paths in its state are moved to the new folder.

    Args:
        folder: where the file is written.
        name: of the file, without its ending.
        choice: which epoch is kept, as `ModelCheckpoint` takes it (`monitor`, `mode`); without one the last.
    """

    def __init__(self, folder: Path, name: str, **choice: Any):
        super().__init__(folder, name, enable_version_counter=False, **choice)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        moved = dict(state_dict, dirpath=self.dirpath)
        for name in ("best_model_path", "kth_best_model_path"):
            moved[name] = self._in_own_folder(state_dict[name])
        scores = state_dict["best_k_models"].items()
        moved["best_k_models"] = {self._in_own_folder(path): score for path, score in scores}
        super().load_state_dict(moved)

    def _in_own_folder(self, path: str) -> str:
        """The path of a file of this name in the folder of this training; Lightning's empty path stays empty."""
        return str(Path(str(self.dirpath)) / Path(path).name) if path else path


class KeepEpochs(Checkpoint):
    """Logs an epoch's metrics, with the epoch as MLflow's step, then copies the checkpoints to the run's artifacts.

    In this order, so that a training that is resumed from a kept checkpoint lacks no metric. It is a `Checkpoint` because
    Lightning calls those last and in the order given: `best` and `latest`, which come first, have saved the epoch by then.

    Args:
        run: which keeps them.
        best: the checkpoint of the best epoch.
        latest: the checkpoint of the last epoch.
    """

    def __init__(self, run: Run, best: Checkpoints, latest: Checkpoints):
        self.run = run
        self.best = best
        self.latest = latest

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.current_epoch == 0:  # a training that ends within its first epoch is resumed from its start
            path = Path(self.latest.format_checkpoint_name({}))
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
