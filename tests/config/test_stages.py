import hydra
import pytest
from omegaconf import DictConfig
from program import CONF

from ratespike.config.schemas import check
from ratespike.parameters import ParameterError


def composed(*overrides: str) -> DictConfig:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return hydra.compose("config", list(overrides))


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("{a: {seed: 3}}", "stages.a.seed: a stage cannot have it; known: augmentation, forward"),
        ("{a: {neuron: lif}}", "stages.a.neuron=lif: must be keys and values"),
        ("{a: 3}", "stages.a=3: must be groups of settings"),
        ("{a: {}, b: {trainer: {max_epochs: 0}}}", "stages.b: trainer.max_epochs=0: must be"),
        ("{a: {neuron: {tau_rc: -1}}, b: {}}", "stages.a: neuron.tau_rc=-1: must be"),
        ("{a: {neuron: {threshold: 1}}}", None),  # of a neuron's own keys its class knows more
    ],
)
def test_a_wrong_stage_is_named(wrong: str, message: str | None) -> None:
    config = composed(f"stages={wrong}")
    if message is None:
        check(config)
        return
    with pytest.raises(ParameterError, match=f"^{message}"):
        check(config)
