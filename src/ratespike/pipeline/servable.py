"""What a run keeps for MLflow's server: its network, with the simulation of its test."""

from pathlib import Path

from ratespike import plugins
from ratespike.execution.room import temporary_folder
from ratespike.metrics import Results
from ratespike.pipeline import service
from ratespike.pipeline.assembly import Components
from ratespike.pipeline.checkpoint import write_checkpoint
from ratespike.pipeline.classifier import Classifier
from ratespike.pipeline.fingerprint import classes_of
from ratespike.tracking.models import CHECKPOINT_NAME, ServableModel, keep_model
from ratespike.tracking.runs import Run


def keep_servable(run: Run, components: Components, classifier: Classifier, results: Results) -> None:
    """Keep the trained network as an MLflow model; of an early exit that was fitted, with the threshold that was found."""
    from ratespike.pipeline import served_model  # imports much of MLflow, which warns of its own types

    settings = classifier.description["config"]
    simulation = {**settings["simulation"], "exit_loss": None}
    if results.exit_threshold is not None:
        simulation["early_exit"] = results.exit_threshold
    description = {**classifier.description, "config": {**settings, "simulation": simulation}}
    with temporary_folder() as folder:
        checkpoint = folder / CHECKPOINT_NAME
        write_checkpoint(checkpoint, components.network, description)
        servable = ServableModel(
            code=Path(str(served_model.__file__)),
            checkpoint=checkpoint,
            image_shape=components.splits.image_shape,
            mode=service.RATES if components.simulator.conversion.n_images else service.SPIKES,
            n_steps=results.n_steps,
            plugins=plugins.packages_of(classes_of(settings)),
            has_example=components.splits.test.event_height is None,  # what was trained on events cannot be tried
        )
        keep_model(run, servable)
