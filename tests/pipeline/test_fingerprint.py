import copy
import functools
from pathlib import Path

import grimp
import hydra
import pytest
from omegaconf import OmegaConf
from program import CONF
from variants import all_but_one_slow

from ratespike.config.schemas import check
from ratespike.config.stages import stages_of
from ratespike.pipeline import fingerprint

config_hash, simulation_hash, training_hash = (
    functools.partial(getattr(fingerprint, name), content="") for name in ("config_hash", "simulation_hash", "training_hash")
)


@functools.cache
def plain(*overrides: str) -> dict:
    """The configuration of a training as plain values; the same object for the same overrides."""
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", list(overrides))
    check(config)
    return OmegaConf.to_container(config, resolve=True)


@pytest.mark.parametrize(
    "override",
    all_but_one_slow(
        [
            *("n_steps=60", "dt=0.002", "synapse=alpha", "synapse.tau=0.05", "simulation=steady_phase", "simulation.seed=1"),
            *("simulation.engine=torch", "simulation.early_exit=0.5", "neuron.min_voltage=-1", "data.test_images=100"),
            *("conversion=calibrated", "conversion=balanced"),
            *("neuron=poisson", "neuron=stochastic", "neuron=regular"),  # of the soft LIF, whose rate they train
            "+network.layers.filter1={type: Filter, synapse: {type: LowPass, tau: 0.01}}",
        ]
    ),
)
def test_what_does_not_change_a_training(override: str) -> None:
    assert training_hash(plain(override)) == training_hash(plain())
    assert config_hash(plain(override)) != config_hash(plain())


@pytest.mark.parametrize(
    "override",
    all_but_one_slow(
        [
            *(
                "neuron.tau_rc=0.03",
                "neuron.sigma=0.05",
                "neuron.max_rate=200",
                "neuron.amplitude=0.02",
                "neuron=lif",
                "neuron=relu",
            ),
            *("seed=1", "optimizer.lr=0.01", "optimizer=sgd", "trainer.max_epochs=2", "network=conv3_glorot"),
            *(
                "data.batch_size=100",
                "data.split_seed=1",
                "data.train_images=100",
                "data.class_weights=balanced",
                "network.layers.conv1.filters=16",
            ),
            *("augmentation=digits", "augmentation.rotation=10", "loss=smoothed", "forward=spikes", "start_from=some.ckpt"),
            *("rate_control=operations", "rate_control=band"),
            *("optimizer.weight_averaging=0.9", "trainer.precision=bf16-mixed", "neuron=clip_floor_shift"),
            "+network.layers.neuron1.neuron={type: SpikingRectifiedLinear}",
        ]
    ),
)
def test_what_changes_a_training(override: str) -> None:
    assert training_hash(plain(override)) != training_hash(plain())
    assert simulation_hash(plain(override)) != simulation_hash(plain())


def test_a_training_on_spikes_depends_on_its_steps() -> None:
    on_spikes = training_hash(plain("forward=spikes"))
    for override in ("forward.n_steps=9", "forward.least_steps=2", "forward.start=half", "dt=0.002"):
        assert training_hash(plain("forward=spikes", override)) != on_spikes
    assert training_hash(plain("forward=spikes", "n_steps=60")) == on_spikes


@pytest.mark.parametrize(
    ("option", "changes"),
    all_but_one_slow(
        [
            ("neuron=window_count", ("neuron.n_steps=9", "neuron.start=zero", "dt=0.0005")),
            ("neuron=staircase", ("dt=0.002",)),
            ("forward=residual_noise", ("forward.n_steps=9", "dt=0.002")),
            ("forward=spike_noise", ("forward.tau_s=0.002",)),
        ]
    ),
)
def test_a_training_depends_on_the_steps_that_its_rates_know_of(option: str, changes: tuple[str, ...]) -> None:
    training = training_hash(plain(option))
    assert training != training_hash(plain())
    for change in changes:
        assert training_hash(plain(option, change)) != training


@pytest.mark.slow
def test_a_training_within_a_budget_depends_on_the_steps_that_are_counted() -> None:
    within = training_hash(plain("rate_control=operations"))
    for override in ("n_steps=9", "rate_control.n_steps=9", "rate_control.target=1", "dt=0.002"):
        assert training_hash(plain("rate_control=operations", override)) != within
    assert training_hash(plain("rate_control=operations", "rate_control.n_steps=30", "n_steps=60")) == within
    assert training_hash(plain("rate_control=band", "dt=0.002")) == training_hash(plain("rate_control=band"))


def test_stages_in_another_order_are_another_training() -> None:
    stages = plain("stages=rectified_then_rates")
    turned = {**stages, "stages": dict(reversed(stages["stages"].items()))}
    for hashed in (training_hash, config_hash, simulation_hash):
        assert hashed(turned) != hashed(stages)


def test_a_first_stage_is_the_training_that_it_would_be_alone() -> None:
    stages = plain("stages=rectified_then_rates", "conversion=calibrated")
    name, first = stages_of(stages)[0]
    alone = ("neuron=integrate_and_fire_1_khz", "optimizer=adamw_averaged", "loss=smoothed")
    trainer = ("trainer.max_epochs=14", "trainer.precision=bf16-mixed")
    assert name == "rectified"
    assert training_hash(first) == training_hash(plain(*alone, *trainer))


def test_a_training_from_a_changed_file_is_another(tmp_path: Path) -> None:
    start = tmp_path / "start.ckpt"
    start.write_bytes(b"one")
    before = training_hash(plain(f"start_from={start}"))
    start.write_bytes(b"another")
    assert training_hash(plain(f"start_from={start}")) != before


@pytest.mark.parametrize("edited", ["net.py", "beside_net.py", "weights.pt"])
def test_an_edited_model_is_converted_anew(edited: str, tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("from beside_net import Net")
    (tmp_path / "beside_net.py").write_text("class Net: ...")
    (tmp_path / "weights.pt").write_bytes(b"weights")
    conversion = {**plain(), "model": f"{tmp_path}/net.py:Net", "checkpoint": f"{tmp_path}/weights.pt"}
    before = training_hash(conversion)
    assert training_hash(conversion) == before
    (tmp_path / edited).write_text("class Net: pass")
    assert training_hash(conversion) != before


def test_simulations_that_differ_in_length_alone_are_one() -> None:
    assert simulation_hash(plain("n_steps=60")) == simulation_hash(plain())
    for override in ("dt=0.002", "synapse.tau=0.05", "simulation.seed=1", "neuron.min_voltage=-1", "data.test_images=9"):
        assert simulation_hash(plain(override)) != simulation_hash(plain())


def test_a_training_on_events_depends_on_the_steps() -> None:
    events = plain("data=events")
    assert not fingerprint.holds_shorter_ones(events)
    assert fingerprint.holds_shorter_ones(plain())
    for override in ("n_steps=60", "dt=0.002", "data.max_rate=50"):
        other = plain("data=events", override)
        assert training_hash(other) != training_hash(events)
        assert simulation_hash(other) != simulation_hash(events)
    assert training_hash(plain("data=events", "synapse.tau=0.05")) == training_hash(events)


def test_where_a_run_is_kept_does_not_change_it() -> None:
    elsewhere = plain("tracking.experiment=other", "resume=abc", "tracking.parent=p", "register=net")
    assert config_hash(elsewhere) == config_hash(plain())
    assert training_hash(elsewhere) == training_hash(plain())


@pytest.mark.parametrize(
    ("group", "off", "on"), [("augmentation", "Augmentation", "digits"), ("rate_control", "NoControl", "operations")]
)
def test_a_configuration_from_before_there_was_the_group_has_the_same_hash(group: str, off: str, on: str) -> None:
    before = {key: value for key, value in plain().items() if key != group}
    assert config_hash(before) == config_hash(plain())
    assert config_hash(before) == config_hash({**before, group: {"type": off}})
    assert config_hash(plain(f"{group}={on}")) != config_hash(before)


def test_a_configuration_from_before_an_early_exit_could_be_fitted_has_the_same_hash() -> None:
    for override in ("simulation.early_exit=null", "simulation.early_exit=0.5"):
        now = plain(override)
        simulation = {key: value for key, value in now["simulation"].items() if key not in ("exit_by", "exit_loss")}
        assert config_hash({**now, "simulation": simulation}) == config_hash(now)
    assert config_hash(plain("simulation.exit_by=softmax")) == config_hash(plain()), "without an exit it says nothing"
    with_exit = config_hash(plain("simulation.early_exit=0.5", "simulation.exit_by=softmax"))
    assert with_exit != config_hash(plain("simulation.early_exit=0.5"))


def test_a_simulation_with_a_fitted_exit_holds_no_shorter_one() -> None:
    fitted = plain("simulation.exit_loss=0.001")
    assert not fingerprint.holds_shorter_ones(fitted)
    assert training_hash(fitted) == training_hash(plain())
    for override in ("n_steps=60", "simulation.exit_loss=0.002", "simulation.exit_by=stability"):
        assert simulation_hash(plain("simulation.exit_loss=0.001", override)) != simulation_hash(fitted)


def test_two_integrate_and_fire_neurons_that_differ_in_their_reset_train_alike() -> None:
    subtract, zero = plain("neuron=integrate_and_fire"), plain("neuron=integrate_and_fire", "neuron.reset=zero")
    assert training_hash(subtract) == training_hash(zero)
    other = copy.deepcopy(zero)
    other["neuron"]["threshold"] = 2
    assert training_hash(other) != training_hash(zero)


_CHANGE_NO_RESULT = ("ratespike.pipeline.summary", "ratespike.pipeline.fingerprint")  # but what is printed and found again


def upstream(module: str) -> set[str]:
    """The modules of the library and of the pipeline that a module runs through."""
    graph = grimp.build_graph("ratespike", cache_dir=None)
    outside = tuple(f"ratespike.{storey}" for storey in ("cli", "sweeps", "tracking", "analysis", "execution", "config"))
    return {name for name in graph.find_upstream_modules(module) | {module} if not name.startswith(outside)}


def covered(names: tuple[str, ...]) -> set[str]:
    """The modules whose sources a hash covers."""
    modules = set()
    for name in names:
        place = fingerprint._PACKAGE / name
        for path in place.rglob("*.py") if place.is_dir() else [place]:
            assert path.is_file(), f"{path} is not there: was it renamed?"
            modules.add(
                ".".join(("ratespike", *path.relative_to(fingerprint._PACKAGE).with_suffix("").parts)).removesuffix(".__init__")
            )
    return modules


def test_the_hashes_cover_every_module_that_a_training_and_a_test_run_through() -> None:
    """A module that is renamed or added does not drop out of a hash: an edit of it would not train anew."""
    found = upstream("ratespike.pipeline.classifier") - {"ratespike"}
    assert {"ratespike.neurons.lif", "ratespike.pipeline.datamodule"} <= found, "the graph of imports is not whole"
    assert found - covered(fingerprint._SIMULATION_SOURCES) == set()
    of_tests = (
        *("ratespike.conversion.methods", "ratespike.conversion.convert", "ratespike.simulation", "ratespike.metrics"),
        *("ratespike.pipeline.simulator", "ratespike.pipeline.test_stage"),
    )
    only_tests = {name for name in found if name.startswith(of_tests)}
    assert found - only_tests - covered(fingerprint._TRAINING_SOURCES) == set()


def test_a_source_that_is_gone_is_an_error() -> None:
    with pytest.raises(FileNotFoundError):
        fingerprint._sources(("network.py", "renamed.py"))
