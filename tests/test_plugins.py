"""Installed packages that bring a neuron, a data set and options of their own: the template of docs/your_own_project.md."""

import contextlib
import doctest
import gc
import importlib
import math
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from unittest.mock import MagicMock

import hydra
import pytest
import torch
from omegaconf import OmegaConf
from program import CONF, ROOT, run_here

import ratespike
from ratespike import plugins
from ratespike.config.schemas import check
from ratespike.data import DataSet
from ratespike.network import build_network
from ratespike.neurons import LIF, Neuron
from ratespike.parameters import ParameterError, build
from ratespike.pipeline import servable
from ratespike.pipeline.checkpoint import write_checkpoint
from ratespike.pipeline.fingerprint import config_hash, simulation_hash, training_hash
from ratespike.tracking.models import requirements

SATURATING = {"type": "Saturating", "max_rate": 100, "top_rate": 400}


@pytest.fixture
def site_packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder with the template as pip installs it, and nothing of it left in this process afterwards."""
    folder = tmp_path / "site-packages"
    shutil.copytree(ROOT / "docs/template/src", folder, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    described = folder / "my_spikes-0.1.0.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.4\nName: my-spikes\nVersion: 0.1.0\n")
    (described / "entry_points.txt").write_text("[ratespike.plugins]\nmy_spikes = my_spikes\n")
    monkeypatch.syspath_prepend(folder)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # an edit within a second would not be seen
    plugins.installed.cache_clear()
    yield folder
    plugins.installed.cache_clear()
    _forget()


def _forget() -> None:
    """Make the plugin's classes vanish from those below ours."""
    for name in [name for name in sys.modules if name.startswith("my_spikes")]:
        del sys.modules[name]
    gc.collect()


def test_a_class_of_a_plugin_is_found_by_its_type(site_packages: Path) -> None:
    neuron = build(Neuron, SATURATING, "neuron")  # type: ignore[type-abstract]
    current = torch.tensor([-3.0, 0.0, 50.0, 400.0, 1e6])
    rates = [400 * math.tanh(max(value, 0) / 400) for value in current.tolist()]
    assert neuron.firing_rate(current).tolist() == pytest.approx(rates)
    splits = build(DataSet, {"type": "Rings", "validation_images": 100}, "data").load(Path())  # type: ignore[type-abstract]
    assert (splits.classes, len(splits.train)) == (3, 900)


def test_the_examples_of_the_template_run(site_packages: Path) -> None:
    for name in ("my_spikes.neuron", "my_spikes.data"):
        failed, tried = doctest.testmod(importlib.import_module(name))
        assert tried and not failed


def test_a_type_that_nobody_has_is_refused_in_a_line_that_speaks_of_plugins() -> None:
    with pytest.raises(ParameterError, match=r"^neuron\.type=Saturating: .*known: .*; no installed plugin has it$"):
        build(Neuron, SATURATING, "neuron")  # type: ignore[type-abstract]


def test_a_module_that_only_a_configuration_names_is_not_imported(site_packages: Path) -> None:
    (site_packages / "stranger.py").write_text("raise SystemExit('it ran')\n")
    for name in ("stranger", "stranger.Saturating", "my_spikes.neuron.Saturating"):
        with pytest.raises(ParameterError, match="no installed plugin has it"):
            build(Neuron, {"type": name}, "neuron")  # type: ignore[type-abstract]
    assert "stranger" not in sys.modules


@pytest.mark.parametrize("failure", ["import a_module_that_is_not_there", "1 / 0", "raise SystemExit(3)", "def ("])
def test_a_plugin_that_fails_is_named_in_one_line(site_packages: Path, failure: str) -> None:
    (site_packages / "my_spikes/neuron.py").write_text(failure)
    assert isinstance(build(Neuron, {"type": "LIF"}, "neuron"), LIF)  # type: ignore[type-abstract]
    with pytest.raises(ParameterError) as raised:
        build(Neuron, SATURATING, "neuron")  # type: ignore[type-abstract]
    line = str(raised.value)
    assert line.startswith("plugin my_spikes of the package my-spikes 0.1.0: cannot be imported (")
    assert line.endswith("; mend it, or pip uninstall my-spikes")
    assert "\n" not in line
    _forget()


@pytest.mark.parametrize("first", [{"type": "LIF"}, SATURATING], ids=["LIF", "Saturating"])
def test_a_plugin_with_the_name_of_one_of_our_classes_is_refused(site_packages: Path, first: dict[str, object]) -> None:
    """Whether or not our class was used before, and however often the plugin is asked for."""
    with (site_packages / "my_spikes/neuron.py").open("a") as file:
        file.write("\n\nclass LIF(Saturating):\n    pass\n")
    with contextlib.suppress(ParameterError):
        build(Neuron, first, "neuron")  # type: ignore[type-abstract]
    for _ in range(2):
        with pytest.raises(ParameterError) as raised:
            build(Neuron, SATURATING, "neuron")  # type: ignore[type-abstract]
        assert str(raised.value) == (
            "plugin my_spikes of the package my-spikes 0.1.0: my_spikes.neuron.LIF has the name of ratespike.neurons.lif.LIF; "
            "rename it"
        )


def test_two_plugins_of_one_namespace_with_a_class_of_one_name_are_refused(site_packages: Path) -> None:
    source = "from ratespike.neurons import LIF\n\n\nclass Leaky(LIF):\n    pass\n"
    entries = "[ratespike.plugins]\n"
    for name in ("one", "other"):
        folder = site_packages / "my_spikes_lab" / name
        folder.mkdir(parents=True)
        (folder / "__init__.py").write_text(source)
        entries += f"{name} = my_spikes_lab.{name}\n"
    (site_packages / "my_spikes-0.1.0.dist-info/entry_points.txt").write_text(entries)
    try:
        for _ in range(2):
            with pytest.raises(
                ParameterError, match=r"^neuron\.type=Leaky: my_spikes_lab\.one\.Leaky and my_spikes_lab\.other\.L"
            ):
                build(Neuron, {"type": "Leaky"}, "neuron")  # type: ignore[type-abstract]
    finally:
        _forget()


def test_a_plugin_that_is_imported_again_is_one(site_packages: Path) -> None:
    before = build(Neuron, SATURATING, "neuron")  # type: ignore[type-abstract]
    importlib.reload(sys.modules["my_spikes.neuron"])
    assert type(build(Neuron, SATURATING, "neuron")) is not type(before)  # type: ignore[type-abstract]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("neuron=saturatin",), "did you mean saturating"),
        (("+experiment=ring",), "did you mean rings"),
        (("neuron=null",), "relu, saturating, sigmoid"),
        (("+experiment=rings", "neuron.top_rate=50"), "error: neuron.max_rate=100: must be above 0 and below top_rate = 50 Hz"),
        (("+experiment=rings", "data.noise=-1"), "error: data.noise=-1: must be a number at least 0; the default is 0.1"),
    ],
)
def test_options_of_a_plugin_are_found_on_the_command_line(
    site_packages: Path, checkout: Path, arguments: tuple[str, ...], message: str
) -> None:
    code, out, error = run_here(checkout, *arguments)
    assert code == 1, out
    assert message in error
    assert error.count("\n") == 1, error


def test_an_option_with_the_name_of_one_of_ours_is_refused(site_packages: Path, checkout: Path) -> None:
    shutil.copy(site_packages / "my_spikes/conf/neuron/saturating.yaml", site_packages / "my_spikes/conf/neuron/lif.yaml")
    code, _, error = run_here(checkout, "neuron=lif")
    assert code == 1
    assert error == (
        "error: plugin my_spikes of the package my-spikes 0.1.0: conf/neuron/lif.yaml has the name of an option of ratespike, "
        "which would be taken in its place; rename it\n"
    )


def test_a_plugin_whose_files_are_gone_is_named_in_one_line(site_packages: Path, checkout: Path) -> None:
    (site_packages / "my_spikes").rename(site_packages / "moved")
    code, _, error = run_here(checkout, "neuron=saturating")
    assert code == 1
    assert error.startswith("error: plugin my_spikes of the package my-spikes 0.1.0: cannot be imported (there is no module")
    assert error.count("\n") == 1, error


def test_the_folder_of_options_is_found_without_an_import(site_packages: Path) -> None:
    (plugin,) = plugins.installed()
    assert plugin.conf_folder() == site_packages / "my_spikes/conf"
    assert plugins.Plugin("my_spikes.neuron", "my-spikes").conf_folder() == site_packages / "my_spikes/conf"
    assert not [name for name in sys.modules if name.startswith("my_spikes")]


def plain(**groups: object) -> dict[str, object]:
    """The configuration of a training with some groups in place of the default ones."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", ["data=digits", "network=pool3"])
    check(config)
    return {**OmegaConf.to_container(config, resolve=True), **groups}  # type: ignore[dict-item]


def test_an_edited_neuron_is_another_training(site_packages: Path) -> None:
    """And one that nobody uses is not."""
    cases = {
        "neuron": plain(neuron=SATURATING),
        "neuron of a stage": plain(stages={"first": {"neuron": SATURATING}}),
        "neuron of a layer": plain(
            network={
                "initialisation": "pytorch",
                "layers": {"neuron": {"type": "Neurons", "neuron": SATURATING}, "dense": {"type": "Dense", "units": None}},
            }
        ),
        "rate of a random neuron": plain(neuron={"type": "PoissonSpiking", "neuron": SATURATING}),
    }
    unused = plain()
    hashes = (training_hash, simulation_hash, config_hash)
    before = {name: [own(case, "") for own in hashes] for name, case in cases.items()}
    without = [own(unused, "") for own in hashes]
    with (site_packages / "my_spikes/neuron.py").open("a") as file:
        file.write("\n# edited\n")
    for name, case in cases.items():
        for own, earlier in zip(hashes, before[name], strict=True):
            assert own(case, "") != earlier, (name, own)
    assert [own(unused, "") for own in hashes] == without


def test_an_edited_filter_is_another_simulation_of_the_same_training(site_packages: Path) -> None:
    source = "from ratespike.synapses import LowPass\n\n\nclass MyFilter(LowPass):\n    pass\n"
    with (site_packages / "my_spikes/__init__.py").open("a") as file:
        file.write(source)
    case = plain(synapse={"type": "MyFilter", "tau": 0.1})
    before = (training_hash(case, ""), simulation_hash(case, ""))
    with (site_packages / "my_spikes/__init__.py").open("a") as file:
        file.write("# edited\n")
    assert training_hash(case, "") == before[0]
    assert simulation_hash(case, "") != before[1]


def test_a_class_beside_the_module_of_the_entry_point_belongs_to_the_plugin(site_packages: Path) -> None:
    """The package names a sub-package, which imports a module outside itself; that class inherits from one of a third."""
    package = site_packages / "my_spikes"
    (site_packages / "my_spikes-0.1.0.dist-info/entry_points.txt").write_text("[ratespike.plugins]\na = my_spikes.entry\n")
    (package / "entry").mkdir()
    (package / "entry/__init__.py").write_text("from my_spikes import neuron\n")
    (package / "__init__.py").write_text("")
    (package / "mixins.py").write_text("class Mixin:\n    pass\n")
    neuron = (package / "neuron.py").read_text()
    inheriting = neuron.replace("class Saturating(", "class Saturating(Mixin, ")
    (package / "neuron.py").write_text(inheriting.replace("\nimport ", "\nfrom my_spikes.mixins import Mixin\nimport ", 1))
    case = plain(neuron=SATURATING)
    saturating = type(build(Neuron, SATURATING, "neuron"))  # type: ignore[type-abstract]
    assert "Mixin" in [base.__name__ for base in saturating.__mro__]
    for file in ("neuron.py", "mixins.py"):
        before = config_hash(case, "")
        with (package / file).open("a") as source:
            source.write("\n# edited\n")
        assert config_hash(case, "") != before, file


def test_a_model_requires_the_package_of_its_neuron(site_packages: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kept = []
    monkeypatch.setattr(servable, "keep_model", lambda run, model: kept.append(requirements(model.plugins)))
    monkeypatch.setattr(servable, "write_checkpoint", lambda *_: None)
    for neuron in (SATURATING, {"type": "LIF"}):
        classifier = SimpleNamespace(description={"config": plain(neuron=neuron)})
        results = SimpleNamespace(exit_threshold=None, n_steps=30)
        servable.keep_servable(MagicMock(), MagicMock(), classifier, results)  # type: ignore[arg-type]
    assert "my-spikes==0.1.0" in kept[0]
    assert kept[0][:-1] == kept[1]


def test_a_checkpoint_with_a_neuron_of_a_plugin_needs_the_plugin(
    site_packages: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = {"neuron": {"type": "Neurons"}, "dense": {"type": "Dense", "units": None}}
    config = plain(neuron=SATURATING, network={"initialisation": "pytorch", "layers": layers})
    network = build_network(layers, SATURATING, (1, 3, 3), classes=2)
    write_checkpoint(tmp_path / "a.ckpt", network, {"config": config, "image_shape": [1, 3, 3], "classes": 2})
    loaded = ratespike.load(tmp_path / "a.ckpt")
    assert type(loaded.neuron).__name__ == "Saturating"

    del loaded, network
    monkeypatch.undo()
    plugins.installed.cache_clear()
    _forget()
    with pytest.raises(ParameterError, match=r"a\.ckpt: .*type=Saturating: .*; no installed plugin has it$"):
        ratespike.load(tmp_path / "a.ckpt")


def test_nothing_of_the_plugin_stays() -> None:
    """The tests of all neurons would find it."""
    assert build(Neuron, {"type": "LIF"}, "neuron").max_rate == LIF().max_rate  # type: ignore[type-abstract]
    assert not [neuron for neuron in Neuron.__subclasses__() if neuron.__module__.startswith("my_spikes")]
