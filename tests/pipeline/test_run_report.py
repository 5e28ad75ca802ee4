"""The report of a run: what it says of the settings, and that names stay text."""

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import hydra
import pytest
from omegaconf import OmegaConf
from program import CONF

from ratespike.config.job import Job
from ratespike.config.schemas import RunConfig, check
from ratespike.metrics import Results
from ratespike.pipeline.report import changed_settings, page_of_run

RUN = SimpleNamespace(id="123", name="<b>run</b>", experiment="mnist", metric=lambda name: None)


def job(*overrides: str) -> Job[RunConfig]:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        configs = [hydra.compose("config", list(given)) for given in (overrides, ())]
    plain, default = (OmegaConf.to_container(config, resolve=True) for config in configs)
    return Job(check(configs[0]), plain, list(overrides), Path(), default)  # type: ignore[arg-type]


@pytest.fixture
def results(results: Results) -> Results:
    """The layer has a name that HTML would take for a tag."""
    (spikes,) = results.spikes_per_neuron.values()
    return replace(results, spikes_per_neuron={"<i>layer</i>": spikes}, image_means={})


def test_the_settings_that_differ_are_those_of_the_recipe_and_of_the_command_line() -> None:
    changed = {name: (value, default) for name, value, default in changed_settings(job("+experiment=digits", "n_steps=60"))}
    assert changed["n_steps"] == ("60", "30")
    assert changed["data.type"] == ("Digits", "MNIST")
    assert changed["data.test_fraction"] == ("0.2", ""), "the default's data have no such setting"
    assert "neuron.type" not in changed
    assert not any(name.startswith("tracking") for name in changed), "where a run is kept is no setting of its result"


def test_the_report_has_the_results_the_settings_and_the_figures(results: Results) -> None:
    page = page_of_run(job("n_steps=60"), RUN, results, {"some_figure": b"png"}, is_slice=True)  # type: ignore[arg-type]
    for row in ("<td>rate accuracy</td><td>90.00 %</td>", "<td>n_steps</td><td>60</td><td>30</td>"):
        assert row in page
    assert "10 test images, a slice" in page
    assert "some figure" in page and "base64,cG5n" in page
    assert "<b>" not in page and "<i>" not in page, "a name has become HTML"
    assert "train n_steps=60" in page


def test_a_run_of_the_defaults_says_so(results: Results) -> None:
    assert "<p>none</p>" in page_of_run(job(), RUN, results, {}, is_slice=False)  # type: ignore[arg-type]
