"""Networks that are broken on purpose: the sentence names what was broken, and of healthy ones it names nothing."""

import re
from types import ModuleType
from typing import Any

import pytest
from program import ROOT

from ratespike.diagnosis import diagnose_case
from ratespike.diagnosis.causes import Cause
from ratespike.parameters import kinds

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*spikes will be fewer than its rate says:UserWarning")]

NAMES = (
    *("too_few_steps", "start_at_zero", "rate_beyond_step", "refractory_below_step", "silent_neurons", "saturated_neurons"),
    *("slow_readout", "uneven_input", "unbalanced_layers", "scale_of_inputs", "batch_norm_statistics"),
)
SHAPES = ("dense", "convolutional")


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("name", NAMES)
def test_the_sentence_names_what_was_broken(name: str, shape: str, broken: ModuleType, trained: dict[str, Any]) -> None:
    cause, breaks = broken.BROKEN[name]
    found = diagnose_case(breaks(trained[shape]))
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
