"""Networks that are broken on purpose: the sentence names what was broken, and of healthy ones it names nothing."""

import re
from types import ModuleType
from typing import Any

import hydra
import pytest
import torch
from program import CONF, ROOT
from torch import nn

from ratespike.config.schemas import Config, check
from ratespike.conversion.convert import convert
from ratespike.conversion.methods import Balanced, Calibrated, Conversion, ResidualPotential, SignedSpikes
from ratespike.diagnosis import Case, diagnose_case
from ratespike.diagnosis.causes import Cause, Evidence
from ratespike.diagnosis.causes.refractory_below_step import RefractoryBelowStep
from ratespike.diagnosis.causes.scale_of_inputs import ScaleOfInputs
from ratespike.diagnosis.causes.unbalanced_layers import UnbalancedLayers
from ratespike.diagnosis.causes.uneven_input import UnevenInput
from ratespike.diagnosis.decomposition import LayerError
from ratespike.diagnosis.measured import measure
from ratespike.neurons import LIF, IntegrateAndFire
from ratespike.parameters import build, kinds

pytestmark = [pytest.mark.filterwarnings("ignore:.*spikes will be fewer than its rate says:UserWarning")]

NAMES = (
    *("too_few_steps", "start_at_zero", "rate_beyond_step", "refractory_below_step", "silent_neurons", "saturated_neurons"),
    *("slow_readout", "uneven_input", "limited_membrane", "unbalanced_layers", "scale_of_inputs", "batch_norm_statistics"),
)
SHAPES = ("dense", "convolutional")


@pytest.fixture(scope="module")
def healthy_accuracy(broken: ModuleType, trained: dict[str, Any]) -> dict[str, float]:
    """Of each shape, on spikes, where nothing is broken."""
    return {shape: float(broken.healthy(trained[shape]).right().double().mean()) for shape in SHAPES}


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_the_sentence_names_what_was_broken(
    name: str, shape: str, broken: ModuleType, trained: dict[str, Any], healthy_accuracy: dict[str, float]
) -> None:
    cause, breaks = broken.BROKEN[name]
    found = diagnose_case(breaks(trained[shape]))
    assert found.spiking_accuracy < healthy_accuracy[shape] - 0.01, "nothing was broken"
    assert found.advised is not None, found.tried
    assert found.advised.cause == cause, found.tried
    assert cause in found.advice and found.advised.override in found.advice
    assert found.advised.accuracy > found.spiking_accuracy
    if shape == "convolutional":
        assert f"`{found.advised.override}`" in _section(name), "the page does not name the override that mends it"


def _section(name: str) -> str:
    """The part of the page with the picture of this name."""
    page = (ROOT / "docs/why_accuracy_falls.md").read_text()
    (section,) = [part for part in re.split(r"^##+ ", page, flags=re.MULTILINE) if f"why_accuracy_falls/{name}.png" in part]
    return section


def _compose(override: str) -> Config:
    words = override.replace("<run>", "0123456789abcdef").split()
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        return check(hydra.compose("config", ["+experiment=mnist", "conversion=none", *words]))


def test_the_page_names_overrides_that_a_configuration_takes() -> None:
    words: dict[str, str] = {}
    for name in NAMES:
        mends = [found for found in re.findall(r"`([\w.]+=[^`]+)`", _section(name)) if not found.startswith("+")]
        assert mends, name
        words.update({word.partition("=")[0]: word for word in " ".join(mends).split() if not word.startswith("conversion")})
    assert {"dt", "n_steps", "simulation.start", "simulation.readout", "neuron.min_voltage", "data.mean"} <= set(words)
    _compose(" ".join(words.values()))


@pytest.mark.parametrize(
    ("override", "conversion"),
    [
        ("conversion=balanced conversion.percentile=99.9", Balanced(percentile=99.9)),
        ("conversion=signed_spikes", SignedSpikes()),
        ("conversion=calibrated conversion.n_steps=60", Calibrated(n_steps=60)),
    ],
)
def test_a_conversion_that_is_tried_is_that_of_its_override(override: str, conversion: Conversion) -> None:
    assert build(Conversion, _compose(override).conversion, "conversion") == conversion


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", ["healthy", "healthy_and_leaky"])
def test_a_healthy_network_gets_no_advice(name: str, shape: str, broken: ModuleType, trained: dict[str, Any]) -> None:
    found = diagnose_case(getattr(broken, name)(trained[shape]))
    assert found.rate_accuracy > 0.9, "the network has not learned"
    assert found.advised is None
    assert found.advice.startswith("Nothing to mend")


def test_each_cause_is_broken_and_has_a_picture(broken: ModuleType) -> None:
    assert set(NAMES) == set(broken.BROKEN)
    assert {cause for cause, _ in broken.BROKEN.values()} == {kind.name for kind in kinds(Cause).values()}
    assert len({kind.order for kind in kinds(Cause).values()}) == len(kinds(Cause)) == 10
    pictures = {path.stem for path in (ROOT / "docs/images/why_accuracy_falls").glob("*.png")}
    assert pictures == set(NAMES), "a picture is missing or left over: run `python docs/broken.py`"


def _evidence(network: nn.Module, images: torch.Tensor, **settings: Any) -> Evidence:
    case = Case(network=network.eval(), images=images, labels=torch.zeros(len(images)).long(), **settings)
    measured = measure(case)
    return Evidence(case, measured.errors, measured.activity)


class _WithSpareNeurons(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 3))
        self.spare = LIF(tau_ref=0.0001)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.layers(x)
        return output


def test_neurons_that_are_never_called_are_no_evidence() -> None:
    images = torch.rand(30, 6)
    converted = convert(_WithSpareNeurons(), neuron=IntegrateAndFire(max_rate=1000), images=images * 40)
    evidence = _evidence(converted, images, n_steps=5, training=images)
    assert list(RefractoryBelowStep().remedies(evidence)) == []
    assert [remedy.override for remedy in UnbalancedLayers().remedies(evidence)] == [
        "conversion=balanced conversion.percentile=99.9"
    ]


def test_pixels_that_are_all_the_same_are_compared_with_nothing() -> None:
    network = nn.Sequential(nn.Linear(6, 8), IntegrateAndFire(max_rate=1000), nn.Linear(8, 3))
    evidence = _evidence(network, torch.ones(30, 6), n_steps=5, training=torch.full((30, 6), 0.5))
    assert list(ScaleOfInputs().remedies(evidence)) == []


def _uneven(neuron: nn.Module, **settings: Any) -> list[str]:
    """The overrides for a network whose second layer of neurons gets pooled spikes, all of its error from their unevenness."""
    pooled = [nn.Conv2d(1, 2, 3, padding=1), IntegrateAndFire(max_rate=1000), nn.AvgPool2d(2)]
    network = nn.Sequential(*pooled, nn.Conv2d(2, 2, 2), neuron, nn.Flatten(), nn.Linear(2, 3)).eval()
    images = torch.rand(30, 1, 4, 4)
    case = Case(network=network, images=images, labels=torch.zeros(30).long(), training=images, **settings)
    errors = [LayerError("4", 1.0, {"uneven input": 1.0}, 0.0), LayerError("output", 1.0, {"inherited": 1.0}, 0.0)]
    return [remedy.override for remedy in UnevenInput().remedies(Evidence(case, errors, []))]


def test_uneven_input_has_the_remedies_that_its_neurons_and_conversion_allow() -> None:
    calibrated = "conversion=calibrated conversion.n_steps=8"
    assert _uneven(IntegrateAndFire(max_rate=1000), n_steps=8) == ["conversion=signed_spikes", calibrated]
    assert _uneven(LIF(), n_steps=8) == ["neuron.min_voltage=null", calibrated]
    assert _uneven(LIF(min_voltage=None), n_steps=8) == [calibrated]
    assert _uneven(IntegrateAndFire(max_rate=1000), n_steps=8, conversion=ResidualPotential()) == []


@pytest.mark.filterwarnings("ignore:.*spikes will be fewer than its rate says:UserWarning")
def test_a_calibration_looks_at_no_more_steps_than_it_takes() -> None:
    assert _uneven(LIF(min_voltage=None), n_steps=1001, dt=1e-5) == ["conversion=calibrated conversion.n_steps=1000"]
