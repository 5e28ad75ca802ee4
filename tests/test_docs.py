"""The pages in docs/ say what is so."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from program import ROOT

GUIDE = (ROOT / "docs/adding_a_neuron.md").read_text()


@pytest.fixture
def gallery(monkeypatch: pytest.MonkeyPatch):  # type: ignore[no-untyped-def]
    monkeypatch.syspath_prepend(ROOT / "docs")
    import gallery

    return gallery


def test_the_gallery_is_the_one_that_the_neurons_make(gallery) -> None:  # type: ignore[no-untyped-def]
    """Else: `python docs/gallery.py`."""
    options = gallery.neurons()
    assert (ROOT / "docs/neurons.md").read_text() == gallery.page(options)
    pictures = {path.stem for path in (ROOT / "docs/images/neurons").glob("*.png")}
    assert pictures == set(options)


def test_each_neuron_tells_its_rate_its_step_and_their_source() -> None:
    from ratespike.neurons import Neuron
    from ratespike.parameters import kinds

    for name, neuron in kinds(Neuron).items():
        for section in ("\n    Rate: ", "\n    Step: ", "\n    Source: ", "\n        >>> "):
            assert section in (neuron.__doc__ or ""), f"{name} has no {section.strip()}"


def blocks(language: str) -> dict[str, str]:
    """The guide's files, by path."""
    return dict(re.findall(rf"`([^`\n]+)`:\n\n```{language}\n(.*?)```", GUIDE, re.DOTALL))


@pytest.mark.program
def test_the_guide_adds_a_neuron(tmp_path: Path) -> None:
    """In one file of at most 40 lines and one YAML: it trains, sweeps, simulates and fires at its rate."""
    for folder in ("src", "conf"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    shutil.copy(ROOT / "train.py", tmp_path)
    (tmp_path / "data").symlink_to(ROOT / "data")
    (python_file, source), *others = blocks("python").items()
    (yaml_file, configuration), *more = blocks("yaml").items()
    assert not others and not more and len(source.splitlines()) <= 40
    for name, text in ((python_file, source), (yaml_file, configuration)):
        assert not (tmp_path / name).exists()
        (tmp_path / name).write_text(text)

    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MLFLOW", "HYDRA"))}
    environment["PYTHONPATH"] = str(tmp_path / "src")

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=tmp_path, env=environment, text=True, capture_output=True, timeout=900
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    sweep = "neuron.tau_ref=0.001,0.004"
    small = ("+debug=fast", "data.train_images=200", "data.test_images=20", "n_steps=3")
    printed = python("train.py", "-m", "+experiment=mnist", "neuron=resting", sweep, *small)
    assert printed.count("after 3 steps, ") == 2
    fires = """
import torch
from program import ROOT
from ratespike import simulate
from ratespike.neurons import Neuron
from ratespike.parameters import build
neuron = build(Neuron, {"type": "RestingIntegrateAndFire"}, "neuron")
rates = torch.tensor([5.0, 31.0, 120.0, 300.0], dtype=torch.float64)
x = torch.tensor([neuron.current_for(float(rate)) for rate in rates], dtype=torch.float64) / neuron.gain_and_bias()[0]
for start in ("zero", "uniform", "half", "steady_phase"):
    counts = simulate(torch.nn.Sequential(neuron), x[None], 1000, start=start, record=["0"]).recordings["0"].sum(0)[0]
    assert ((counts - rates).abs() <= 1 + 1e-6).all(), (start, counts)
print("fires at its rate")
"""
    assert "fires at its rate" in python("-c", fires)
