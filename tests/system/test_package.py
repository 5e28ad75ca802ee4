"""The package without a clone: a wheel in an empty environment, and a user's own package as docs/template shows one.

It installs everything anew, so it needs a package index.
"""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest
from program import PATIENCE, ROOT, metrics, names, query, run_ids, tags

pytestmark = pytest.mark.system


class Environment:
    """A virtual environment with nothing in it, and a folder from which its programs are run."""

    def __init__(self, folder: Path):
        self.bin = folder / "environment/bin"
        self.work = folder / "empty"
        self.work.mkdir()
        subprocess.run([sys.executable, "-m", "venv", self.bin.parent], check=True)

    def run(self, *command: object, code: int = 0) -> str:
        """Run one of its programs to its end; what it prints, on standard error if it fails."""
        environment = {
            key: value
            for key, value in os.environ.items()
            if not key.startswith(("MLFLOW", "HYDRA", "PYTHON", "OMP_NUM", "VIRTUAL"))
        }
        began = time.monotonic()
        program, *arguments = map(str, command)
        done = subprocess.run(
            [self.bin / program, *arguments],
            cwd=self.work,
            env=environment,
            text=True,
            capture_output=True,
            timeout=PATIENCE,
        )
        print(f"{time.monotonic() - began:6.1f} s  {' '.join([program, *arguments])}", flush=True)
        assert done.returncode == code, f"{done.stdout}{done.stderr}"
        return done.stderr if code else done.stdout


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The repository's files, without what was built beside them."""
    folder = tmp_path_factory.mktemp("clone") / "ratespike"
    listed = ["git", "-C", str(ROOT), "ls-files", "--cached", "--others", "--exclude-standard"]
    for name in subprocess.run(listed, text=True, capture_output=True, check=True).stdout.splitlines():
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    subprocess.run(["git", "init", "--quiet", folder], check=True)
    subprocess.run(["git", "-C", folder, "add", "--all"], check=True)
    return folder


@pytest.fixture(scope="module")
def environment(clone: Path, tmp_path_factory: pytest.TempPathFactory) -> Environment:
    """An environment with the wheel and the user's package, installed as the page says."""
    found = Environment(tmp_path_factory.mktemp("package"))
    project = found.work.parent / "my_spikes"
    shutil.copytree(ROOT / "docs/template", project, ignore=shutil.ignore_patterns("__pycache__", "*.egg-info", "build"))
    pip = ("python", "-m", "pip", "--quiet", "--disable-pip-version-check")
    found.run(*pip, "install", "--constraint", clone / "constraints.txt", clone)
    found.run(*pip, "install", "--constraint", clone / "constraints.txt", project)
    shutil.rmtree(project)  # what was installed does without
    return found


def test_an_installation_leaves_nothing_for_git(clone: Path, environment: Environment) -> None:
    status = ["git", "-C", clone, "status", "--porcelain", "--untracked-files=all"]
    changed = subprocess.run(status, text=True, capture_output=True, check=True).stdout.splitlines()
    assert [line for line in changed if not line.startswith("A  ")] == []


def test_the_wheel_has_the_configuration_of_the_repository(clone: Path, environment: Environment) -> None:
    (installed,) = environment.bin.parent.glob("lib/python*/site-packages/ratespike/conf")
    for path in (clone / "conf").rglob("*.yaml"):
        assert (installed / path.relative_to(clone / "conf")).read_bytes() == path.read_bytes()
    assert len([*installed.rglob("*.*")]) == len([*(clone / "conf").rglob("*.*")])


def test_the_users_package_trains_sweeps_and_compares(environment: Environment) -> None:
    """A neuron, a data set and an experiment of the user's, from an empty folder."""
    work = environment.work
    printed = environment.run("ratespike", "train", "+experiment=rings")
    assert "spiking accuracy" in printed
    (trained,) = run_ids(work)
    measured = {name: float(str(value)) for (name, _), value in metrics(work, trained).items()}
    assert measured["test/rate_accuracy"] > 0.6, "chance is a third"
    assert abs(measured["test/accuracy_gap"]) < 0.1
    parameters = dict(query(work, "select key, value from params where run_uuid = ?", trained))
    assert (parameters["neuron.type"], parameters["data.type"]) == ("Saturating", "Rings")

    environment.run("ratespike", "train", "-m", "+experiment=rings", "neuron.top_rate=200,400", "n_steps=10,20")
    jobs = {name: run for name, run in names(work).items() if name.startswith("top_rate=")}
    assert len(jobs) == 4
    trainings = {tags(work, run)["ratespike.training_hash"] for run in jobs.values()}
    assert len(trainings) == 2
    assert tags(work, trained)["ratespike.training_hash"] in trainings
    assert query(work, "select distinct status from runs") == [("FINISHED",)]

    printed = environment.run("ratespike", "compare", "experiments=rings")
    assert "top_rate" in printed
    assert (work / "outputs/comparison/groups.md").is_file()
    assert {path.name.partition(".")[0] for path in work.iterdir()} == {"mlflow", "mlruns", "outputs"}


def test_its_trained_network_is_evaluated_and_loaded(environment: Environment) -> None:
    trained = run_ids(environment.work)[0]
    printed = environment.run("ratespike", "evaluate", f"run={trained}", "n_steps=5")
    assert "spiking accuracy" in printed
    loaded = environment.run("python", "-c", f"import ratespike; print(ratespike.load('{trained}').neuron1)")
    assert loaded.startswith("Saturating(")


@pytest.mark.parametrize(("launcher", "seeds"), [("basic", "5,6"), ("joblib", "7,8")])
def test_jobs_in_other_processes_find_the_plugin(environment: Environment, launcher: str, seeds: str) -> None:
    if launcher == "joblib":
        constraints = ROOT / "constraints.txt"
        environment.run("python", "-m", "pip", "install", "--quiet", "--constraint", constraints, "hydra-joblib-launcher")
    jobs = ("-m", "+experiment=rings", "+debug=fast", f"seed={seeds}")
    environment.run("ratespike", "train", *jobs, f"hydra/launcher={launcher}")
    assert query(environment.work, "select distinct status from runs") == [("FINISHED",)]


def test_two_processes_share_a_training(environment: Environment) -> None:
    """Lightning starts the second one, which imports the plugin again."""
    devices = ("trainer.devices=2", "trainer.accelerator=cpu")
    environment.run("ratespike", "train", "+experiment=rings", "+debug=fast", *devices)
    assert query(environment.work, "select distinct status from runs") == [("FINISHED",)]


def test_an_edited_neuron_is_trained_anew(environment: Environment) -> None:
    """By the identical command, which has nothing to do as long as nothing was edited."""
    sweep = ("train", "-m", "+experiment=rings", "n_steps=11")
    trainings = "select count(*) from metrics where key = 'train/seconds'"
    before = query(environment.work, trainings)
    environment.run("ratespike", *sweep)
    assert query(environment.work, trainings) == before, "the training of the first sweep did not serve"
    assert "finished before" in environment.run("ratespike", *sweep)
    (neuron,) = environment.bin.parent.glob("lib/python*/site-packages/my_spikes/neuron.py")
    neuron.write_text(neuron.read_text() + "\n# edited\n")
    assert "finished before" not in environment.run("ratespike", *sweep)
    assert query(environment.work, trainings) != before, "the edited neuron was not trained"


def test_without_the_plugin_a_line_says_so(environment: Environment) -> None:
    trained = run_ids(environment.work)[0]
    environment.run("python", "-m", "pip", "uninstall", "--quiet", "--yes", "my-spikes")
    for settings in (("evaluate", f"run={trained}", "n_steps=5"), ("train", "data=digits", "neuron.type=Saturating")):
        error = environment.run("ratespike", *settings, code=1)
        assert "no installed plugin has it" in error
        assert error.count("\n") == 1, error
