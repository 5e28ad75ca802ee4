"""The page on energy says what is so."""

import re

import pytest
from pages import python_blocks
from program import ROOT

from ratespike.metrics.devices import DEVICES

PAGE = ROOT / "docs/energy.md"


@pytest.mark.slow
def test_its_code_prints_what_it_says(capsys: pytest.CaptureFixture[str]) -> None:
    code = "\n".join(python_blocks(PAGE))
    exec(code, {})
    assert capsys.readouterr().out.splitlines() == re.findall(r"# prints: (.+)", code)


def test_its_table_is_that_of_the_devices() -> None:
    rows = re.findall(
        r"^\| `(\w+)`[^|]*\| (spikes|plain network) \| ([^|]*) \| ([^|]*) \| ([^|]*) \|", PAGE.read_text(), re.MULTILINE
    )
    assert [name for name, *_ in rows] == [device.name for device in DEVICES]
    for device, (_, runs, accumulate, multiply_accumulate, update) in zip(DEVICES, rows, strict=True):
        assert device.runs_spikes == (runs == "spikes")
        assert not device.runs_spikes or float(accumulate) == device.accumulate
        assert float(multiply_accumulate) == device.multiply_accumulate
        words = {0.0: "not counted", None: "by the neuron's type"}
        assert update == words[device.update] if device.update in words else float(update) == device.update
