"""`export.py` as its user sees it: files of each format from a checkpoint, and bad input in one line."""

import json
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from omegaconf import OmegaConf
from program import CONF, ROOT, run_here

import ratespike
import ratespike.config.schemas  # registers the schema
from ratespike import simulate
from ratespike.data.digits import Digits
from ratespike.network import build_network
from ratespike.parameters import ParameterError
from ratespike.pipeline.checkpoint import Checkpoint, read_checkpoint, write_checkpoint

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore:.*spikes will be fewer than its rate says:UserWarning")]

SMALL = ("+experiment=digits", "data.train_images=60", "data.validation_images=20", "data.test_images=20")
LAYERS = {
    "conv": {"type": "Conv", "filters": 4, "kernel": 3},
    "neuron": {"type": "Neurons"},
    "pool": {"type": "AveragePool"},
    "dense": {"type": "Dense"},
}


def checkpoint(folder: Path, *overrides: str) -> Path:
    """A checkpoint file of a run with these settings, whose weights are large enough for spikes."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", [*SMALL, *overrides])
    settings: Any = OmegaConf.to_container(config, resolve=True)
    settings["network"]["layers"] = LAYERS
    torch.manual_seed(0)
    network = build_network(settings["network"]["layers"], settings["neuron"], (1, 8, 8), 10)
    for parameter in network.parameters():
        parameter.data.mul_(3)
    trained = Checkpoint(settings, (1, 8, 8), tuple("0123456789"), {}, (0.0, 1.0))
    write_checkpoint(folder / "a.ckpt", network, trained.description())
    return folder / "a.ckpt"


def export(checkout: Path, *arguments: str) -> tuple[int, str, str]:
    return run_here(checkout, *arguments, program="export.py")


def test_nir_says_what_is_lost(checkout: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "neuron=lif")
    code, _, error = export(checkout, f"checkpoint={path}", "to=nir", f"folder={tmp_path}/out")
    assert (code, len(error.splitlines())) == (1, 1)
    assert error.startswith("error: to=nir: neuron: tau_ref=0.002: NIR has no refractory time; min_voltage=0")
    code, out, error = export(checkout, f"checkpoint={path}", "to=nir", f"folder={tmp_path}/out", "lossy=true")
    assert code == 0, error
    report = json.loads((tmp_path / "out/network.json").read_text())
    assert list(report["lost"]) == ["neuron"] and report["loss"]["n_images"] == 20
    assert f"spike counts differ by neuron {report['loss']['layers']['neuron']:.2%}" in out
    assert f"whose step is Euler's spike counts differ by neuron {report['euler']['layers']['neuron']:.2%}" in out
    assert "these settings at simulation.start=" in out and "is not in the file" in out


def test_a_neuron_is_changed_in_what_no_training_depends_on(checkout: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "neuron=integrate_and_fire_1_khz", "simulation=from_zero")
    asked = (f"checkpoint={path}", "to=nir", f"folder={tmp_path}")
    code, _, error = export(checkout, *asked)
    assert code == 1 and "reset=subtract: in NIR a spike sets the voltage to v_reset" in error
    code, out, error = export(checkout, *asked, "neuron.reset=zero")
    assert code == 0, error
    assert "lost" not in out and "voltage 0" not in out
    images = torch.rand(5, 1, 8, 8)
    network = ratespike.load(path)
    network.neuron.reset = "zero"
    expected = simulate(network, images, 20, start="zero", record=["neuron"])
    found = simulate(ratespike.exchange.nir.read_nir(tmp_path / "network.nir"), images, 20, start="zero", record=["neuron"])
    assert expected.recordings["neuron"].sum() > 100
    assert torch.equal(expected.recordings["neuron"], found.recordings["neuron"])
    code, _, error = export(checkout, *asked, "neuron.max_rate=500")
    assert code == 1 and "would change the training" in error


def test_safetensors_hold_what_the_checkpoint_does(checkout: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "neuron=lif")
    code, out, error = export(checkout, f"checkpoint={path}", "to=safetensors", f"folder={tmp_path}", "n_steps=7")
    assert code == 0, error
    written = tmp_path / "network.safetensors"
    assert f'ratespike.load("{written}")' in out
    before, after = read_checkpoint(path), read_checkpoint(written)
    assert after.config == before.config | {"n_steps": 7}
    images = torch.rand(3, 1, 8, 8)
    assert torch.equal(ratespike.load(written)(images), ratespike.load(path)(images))
    code, out, error = export(checkout, f"checkpoint={written}", "to=safetensors", f"folder={tmp_path}/again")
    assert code == 0, error
    assert read_checkpoint(tmp_path / "again/network.safetensors").description() == after.description()


def test_programs_are_of_the_converted_network(checkout: Path, tmp_path: Path) -> None:
    """Rates are those of the network as it was trained; the step has the conversion of the settings."""
    path = checkpoint(tmp_path, "neuron=integrate_and_fire_1_khz", "conversion=signed_spikes")
    code, out, error = export(checkout, f"checkpoint={path}", "to=torch_export", f"folder={tmp_path}")
    assert code == 0, error
    assert "with 3 tensors of state" in out  # voltage, spikes sent, filter
    images = torch.rand(3, 1, 8, 8)
    rates = torch.export.load(tmp_path / "rates.pt2").module()
    assert torch.allclose(rates(images), ratespike.load(path)(images), atol=1e-6)
    code, out, error = export(checkout, f"checkpoint={path}", "to=torch_export", f"folder={tmp_path}", "conversion=none")
    assert code == 0 and "with 2 tensors of state" in out, error


def test_rates_stay_beside_their_step(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "random").mkdir()
    path = checkpoint(tmp_path / "random", "neuron=poisson")
    kept = {"rates.pt2": "of an older network", "step.pt2": "of an older network"}
    (tmp_path / "out").mkdir()
    for name, text in kept.items():
        (tmp_path / "out" / name).write_text(text)
    code, _, error = export(checkout, f"checkpoint={path}", "to=torch_export", f"folder={tmp_path}/out", "conversion=none")
    assert code == 1 and error.startswith("error: to=torch_export: "), error
    assert {each.name: each.read_text() for each in (tmp_path / "out").iterdir()} == kept


def test_data_that_cannot_be_read_are_not_the_folders_fault(
    checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(self: Any, root: Path) -> Any:
        raise ParameterError("data.path=a.npz: no such file")

    path = checkpoint(tmp_path, "neuron=lif")
    monkeypatch.setattr(Digits, "load", load)
    code, _, error = export(checkout, f"checkpoint={path}", "to=nir", f"folder={tmp_path}/out")
    assert (code, error) == (1, "error: data.path=a.npz: no such file\n")


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ((), "to=null: give the format, one of nir, onnx, torch_export, safetensors"),
        (("to=hdf5",), "to=hdf5: must be one of nir, onnx, torch_export, safetensors or null"),
        (("to=onnx", "lossy=true"), "lossy=true: nothing is lost with to=onnx; leave it out"),
        (("to=nir", "fodler=x"), "did you mean folder"),
        (("to=onnx", "conversion=residual_potential"), "conversion.type=ResidualPotential: is a way to simulate"),
        (("to=onnx", "neuron.tau_rc=0.5"), "would change the training"),
    ],
)
def test_bad_input_is_one_line(arguments: tuple[str, ...], reason: str, checkout: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "neuron=lif")
    code, _, error = export(checkout, *arguments, f"checkpoint={path}", f"folder={tmp_path}/out")
    assert (code, len(error.splitlines())) == (1, 1), error
    assert reason in error
    assert not (tmp_path / "out").exists() or not list((tmp_path / "out").iterdir())


def test_a_folder_that_cannot_be_written_to_is_named(checkout: Path, tmp_path: Path) -> None:
    path = checkpoint(tmp_path, "neuron=lif")
    code, _, error = export(checkout, f"checkpoint={path}", "to=safetensors", f"folder={path}/out")
    assert (code, error) == (1, f"error: folder={path}/out: cannot be written to (Not a directory)\n")


def test_a_missing_package_is_named(checkout: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import importlib

    imported = importlib.import_module

    def without(name: str, package: str | None = None) -> Any:
        if name in ("nir", "onnxscript", "safetensors.torch"):
            raise ImportError(name)
        return imported(name, package)

    path = checkpoint(tmp_path, "neuron=lif")
    monkeypatch.setattr(importlib, "import_module", without)
    for to, package in (("nir", "nir"), ("onnx", "onnxscript"), ("safetensors", "safetensors")):
        code, _, error = export(checkout, f"checkpoint={path}", f"to={to}", f"folder={tmp_path}/out")
        assert (code, error) == (1, f"error: to={to}: needs the package {package}: pip install 'ratespike[export]'\n")


def test_help_shows_the_formats(checkout: Path) -> None:
    code, out, _ = export(checkout, "--help")
    assert code == 0 and "python export.py run=<id or name> to=nir lossy=true" in out
    assert (ROOT / "export.py").exists()
