"""What a run keeps of each epoch of a training."""

from pathlib import Path
from typing import Any

from pytorch_lightning import LightningModule, Trainer
from pytorch_lightning.callbacks import Checkpoint, ModelCheckpoint

from ratespike.pipeline.classifier import Classifier
from ratespike.tracking.runs import Run


class Checkpoints(ModelCheckpoint):
    """Lightning's, of which one file is kept, for a training that may go on in another folder than it began in."""

    def __init__(self, folder: Path, name: str, **choice: Any):
        super().__init__(folder, name, enable_version_counter=False, **choice)

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:  # without this, Lightning forgets how good the best one is
        def here(path: str) -> str:
            return str(Path(str(self.dirpath)) / Path(path).name) if path else path

        paths = {name: here(state_dict[name]) for name in ("best_model_path", "kth_best_model_path")}
        scores = {here(path): score for path, score in state_dict["best_k_models"].items()}
        super().load_state_dict({**state_dict, **paths, "best_k_models": scores, "dirpath": self.dirpath})


class KeepEpochs(Checkpoint):
    """Logs an epoch's metrics, with the epoch as MLflow's step, then copies the checkpoints to the run's artifacts.

    In this order, so that a training that goes on from the kept checkpoint lacks no metric. It is a `Checkpoint` because
    Lightning calls those last and in the order given: `best` and `latest`, which come first, have saved the epoch by then.
    """

    def __init__(self, run: Run, best: Checkpoints, latest: Checkpoints):
        self.run, self.best, self.latest = run, best, latest

    def on_train_start(self, trainer: Trainer, module: LightningModule) -> None:
        if trainer.current_epoch == 0:
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
