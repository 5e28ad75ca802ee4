"""What the test stage simulates: trained networks converted, untrained ones as they are."""

import hydra
import pytest
from omegaconf import OmegaConf
from program import ROOT

from ratespike.config.job import Job
from ratespike.config.schemas import check
from ratespike.pipeline.assembly import build_classifier, build_components
from ratespike.pipeline.datamodule import DataModule
from ratespike.pipeline.test_stage import StageResults, _measure

SMALL = ("data.train_images=2", "data.validation_images=2", "data.test_images=5", "trainer.accelerator=cpu", "n_steps=6")
NETWORK = ("neuron=clip_floor_shift", *[f"network.layers.conv{number}.filters=4" for number in (1, 2, 3)])


def measured(conversion: str) -> StageResults:
    """Of a network whose weights before and after its training are the same."""
    asked = [f"data.dir={ROOT}/data/mnist", *SMALL, *NETWORK, f"conversion={conversion}"]
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = hydra.compose("config", asked)
    job = Job(check(config), OmegaConf.to_container(config, resolve=True), asked, ROOT, number=0)  # type: ignore[arg-type]
    components = build_components(job.config, ROOT)
    classifier = build_classifier(components, job, job.config.n_steps)
    return _measure(job, classifier, DataModule(components.splits, 5, 0), components.network.state_dict())


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's advice
def test_what_was_not_trained_is_not_converted() -> None:
    gated, as_trained = measured("residual_potential"), measured("none")
    assert gated.test.synaptic_operations.tolist() != as_trained.test.synaptic_operations.tolist(), "nothing was converted"
    assert gated.untrained.synaptic_operations.tolist() == as_trained.untrained.synaptic_operations.tolist()
