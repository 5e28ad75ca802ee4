"""From which epoch a training that was interrupted goes on, and with which best one."""

import pickle
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import hydra
import pytest
import torch
from omegaconf import OmegaConf
from program import ROOT

from ratespike.config.job import Job
from ratespike.config.schemas import Config, check
from ratespike.parameters import ParameterError
from ratespike.pipeline import fit_stage
from ratespike.pipeline.assembly import build_classifier, build_components
from ratespike.pipeline.checkpoint import read_checkpoint
from ratespike.pipeline.datamodule import DataModule
from ratespike.pipeline.open_run import identity_tags
from ratespike.tracking import store
from ratespike.tracking.runs import BEST, LAST, Run
from ratespike.tracking.sweeps import children

SLICE = ("data.train_images=20", "data.validation_images=10", "data.test_images=5", "trainer.accelerator=cpu")
NETWORK = tuple(f"network.layers.conv{number}.filters=4" for number in (1, 2, 3))
# every epoch is as good as the first, which is kept as the best
LEARNS_NOTHING = ("optimizer=sgd", "optimizer.lr=1e-20", "optimizer.schedule=constant")


def job(folder: Path, max_epochs: int, *given: str) -> Job[Config]:
    asked = [f"data.dir={ROOT}/data/mnist", *SLICE, *NETWORK, *(given or LEARNS_NOTHING)]
    asked.append(f"trainer.max_epochs={max_epochs}")
    with hydra.initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = hydra.compose("config", asked)
    return Job(check(config), OmegaConf.to_container(config, resolve=True), asked, folder, number=0)  # type: ignore[arg-type]


def train(job: Job[Config], run: Run) -> int:
    """How many images a training goes through."""
    components = build_components(job.config, job.root)
    classifier = build_classifier(components, job, job.config.n_steps)
    datamodule = DataModule(components.splits, components.data.batch_size, job.config.seed, components.augmentation)
    fit_stage.fit(job, run, components, classifier, datamodule)
    return classifier.trained_images


def epoch_of(run: Run, path: str) -> int:
    with run.artifact(path) as checkpoint:
        return int(torch.load(checkpoint, weights_only=True)["epoch"])


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's advice
@pytest.mark.parametrize("goes_on_in", ["here", "another checkout"])
def test_a_training_goes_on_from_its_last_epoch_even_if_an_earlier_one_is_the_best(
    tmp_path: Path, database: str, goes_on_in: str
) -> None:
    here = tmp_path / "here"
    there = tmp_path / goes_on_in
    for folder in {here, there}:
        folder.mkdir()
    client = store.connect(database)
    begun = store.open_run(client, "mnist", "run", identity_tags(job(here, 3)))
    assert train(job(here, 3), begun) == 60
    assert (epoch_of(begun, BEST), epoch_of(begun, LAST)) == (0, 2)
    begun.client.delete_tag(begun.id, fit_stage.shared.TRAINED)
    assert train(job(there, 5), Run(client, begun.id, "mnist", resumed=True)) == 40
    assert (epoch_of(begun, BEST), epoch_of(begun, LAST)) == (0, 4)
    assert sorted(begun.history("val/rate_accuracy")) == [1, 2, 3, 4, 5]


def trained(folder: Path, database: str, *given: str) -> tuple[Run, dict[str, torch.Tensor]]:
    """A run of a training, and the weights that it keeps."""
    asked = job(folder, 1, "optimizer=sgd", *given)
    run = store.open_run(store.connect(database), "mnist", "run", identity_tags(asked))
    train(asked, run)
    with run.artifact(BEST) as path:
        assert path is not None
        return run, read_checkpoint(path).state


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's advice
def test_what_is_kept_is_the_moving_average(tmp_path: Path, database: str) -> None:
    """After two steps with the weights w1 and w2, that of decay d is d * w1 + (1 - d) * w2; w1 follows from two decays."""
    two_steps = ("data.batch_size=10", "optimizer.schedule=constant")
    w2 = trained(tmp_path, database, *two_steps)[1]["conv1.weight"]
    found = []
    for decay in (0.5, 0.75):
        mean = trained(tmp_path, database, *two_steps, f"optimizer.weight_averaging={decay}")[1]["conv1.weight"]
        found.append((mean - (1 - decay) * w2) / decay)
    assert torch.allclose(*found, atol=1e-6)
    assert not torch.allclose(found[0], w2, atol=1e-4), "the second step changed nothing: nothing is compared"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's advice
def test_a_training_starts_from_the_weights_of_another(tmp_path: Path, database: str) -> None:
    run, weights = trained(tmp_path, database)
    with run.artifact(BEST) as path:
        kept = shutil.copy(str(path), tmp_path / "kept.ckpt")
    for start_from in (kept, run.id):
        asked = job(tmp_path, 1, f"start_from={start_from}", f"tracking.uri={database}")
        network = build_components(asked.config, tmp_path).network
        for name, value in network.state_dict().items():
            assert torch.equal(value, weights[name]), name
    others = job(tmp_path, 1, f"start_from={kept}", "neuron=clip_floor_shift")
    assert not torch.equal(
        build_components(others.config, tmp_path).network.state_dict()["conv1.weight"], weights["conv1.weight"]
    )
    for wrong, message in (
        (("start_from=nowhere.ckpt",), "start_from=nowhere.ckpt: no such file"),
        (("start_from=unknown", f"tracking.uri={database}"), "run unknown: not found"),
        ((f"start_from={kept}", "network.layers.conv1.filters=5"), f"start_from={kept}: its weights do not fit"),
        (("start_from=run", f"tracking.uri={database}"), f"is the name of a run, .* give its id, {run.id}"),
    ):
        with pytest.raises(ParameterError, match=message):
            build_components(job(tmp_path, 1, *wrong).config, tmp_path)


IN_STAGES = (
    "data.batch_size=10",
    "optimizer.lr=0.05",
    "stages={first: {neuron: {type: IntegrateAndFire}, optimizer: {lr: 0.03}}, second: {optimizer: {lr: 0.02}}}",
)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's advice
def test_stages_train_as_trainings_that_start_from_one_another(tmp_path: Path, database: str) -> None:
    kept = tmp_path / "kept.ckpt"
    start: tuple[str, ...] = ()
    for given in (
        ("neuron=integrate_and_fire", "optimizer.lr=0.03"),
        ("optimizer.lr=0.02",),
        ("optimizer.lr=0.05",),
    ):
        run, weights = trained(tmp_path, database, "data.batch_size=10", *given, *start)
        run.fetch(BEST, tmp_path)
        shutil.move(tmp_path / Path(BEST).name, kept)
        start = (f"start_from={kept}",)

    _, in_stages = trained(tmp_path, database, *IN_STAGES)
    for name, value in weights.items():
        assert torch.equal(in_stages[name], value), name


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # Lightning's advice
def test_an_interrupted_training_keeps_its_finished_stages(
    tmp_path: Path, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = replace(job(tmp_path, 1, *IN_STAGES), number=None)  # a job of a multirun would take the stages of others
    begun = store.open_run(store.connect(database), "mnist", "run", identity_tags(asked))
    trainings: list[str] = []
    use_trainer = fit_stage.use_trainer

    def interrupted_at_the_second(*arguments: Any) -> None:
        trainings.append("")
        if len(trainings) == 2:
            raise KeyboardInterrupt
        use_trainer(*arguments)

    monkeypatch.setattr(fit_stage, "use_trainer", interrupted_at_the_second)
    with pytest.raises(KeyboardInterrupt):
        train(asked, begun)
    assert stages_of(begun) == {"stage first": "FINISHED", "stage second": "KILLED"}
    train(asked, Run(begun.client, begun.id, "mnist", resumed=True))
    assert stages_of(begun) == {"stage first": "FINISHED", "stage second": "FINISHED"}
    assert len(trainings) == 4, "the interrupted one, and the last one"


def stages_of(run: Run) -> dict[str, str]:
    """The status of each stage by the name of its run."""
    return {stage.info.run_name: stage.info.status for stage in children(run.client, run.id)}


def test_the_moving_average_reaches_other_processes() -> None:
    copied = pickle.loads(pickle.dumps(fit_stage._MovingAverage(0.75)))
    average = copied._kwargs["avg_fn"](torch.tensor(2.0), torch.tensor(6.0), 1)
    assert average == pytest.approx(0.75 * 2 + 0.25 * 6)
