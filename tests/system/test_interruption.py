"""A training that is killed, terminated or interrupted at any moment of its life, again and again, and goes on.

SIGKILL, SIGTERM and SIGINT go to all processes of the program, as the kernel, a scheduler and Ctrl-C send them. A training
goes on by `resume=`, a sweep by the same command. What they end with is compared with an undisturbed one bit for bit.
"""

import os
import random
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
import torch
from program import PATIENCE, SMALL, metrics, query, run, start
from test_killed_sweep import fresh

TRAINING = (*SMALL, "n_steps=3", "trainer.max_epochs=4")
SWEEP = ("-m", *SMALL, "n_steps=3", "optimizer.lr=0.001,0.002", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
SIGNALS = (signal.SIGKILL, signal.SIGTERM, signal.SIGINT)
SEED = 20251127
ATTEMPTS = 6  # of one training, each ended early but the last: what is left of it grows shorter

Process = subprocess.Popen[str]


def weights(folder: Path, run_id: str) -> dict[str, torch.Tensor]:
    """The best epoch's, from the run's own artifact."""
    (path,) = folder.glob(f"mlruns/*/{run_id}/artifacts/checkpoints/best.ckpt")
    return torch.load(path, weights_only=True)["state_dict"]  # type: ignore[no-any-return]


def finished(folder: Path) -> dict[str, str]:
    """The ids by name of all runs, which are FINISHED."""
    rows = query(folder, "select name, run_uuid, status from runs")
    assert {row[2] for row in rows} == {"FINISHED"}, rows
    return {str(name): str(run_id) for name, run_id, _ in rows}


def disturb(folder: Path, command: tuple[str, ...], seconds: float, number: signal.Signals) -> tuple[bool, str]:
    """Start a command and end it after a while; whether it had ended before, and what it printed as errors."""
    process = start(folder, *command)
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, number)
    _, error = process.communicate(timeout=PATIENCE)
    was_quicker = process.returncode == 0
    if not was_quicker and number is not signal.SIGKILL:
        ignored = "Exception ignored in.*?KeyboardInterrupt"  # Python reports one that meets the end of a weak reference
        assert "Traceback" not in re.sub(ignored, "", error, flags=re.DOTALL), error
    return was_quicker, error


def processes_of(folder: Path) -> list[str]:
    """The processes that work in a folder."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if (process / "cwd").resolve() == folder.resolve():
                found.append((process / "cmdline").read_text().replace("\0", " "))
        except OSError:  # it has just ended
            continue
    return found


def check_whole_checkpoints(folder: Path) -> None:
    """Those that a kill leaves can all be read."""
    for path in [*folder.glob("mlruns/*/*/artifacts/checkpoints/*.ckpt"), *folder.glob("outputs/trainings/*/*.ckpt")]:
        if not path.name.startswith("."):
            torch.load(path, weights_only=True)


def check_nothing_is_left(folder: Path, *, was_killed: bool = False) -> None:
    """No process, no temporary file of ours, and no lock but the empty files that locks are taken in.

    PyTorch leaves an empty cache, and Python, of a sweep that was killed, a folder with the socket of the server of its jobs.
    """
    others = r"\.devices$|^torchinductor_|^pymp-" if was_killed else r"\.devices$|^torchinductor_"
    deadline = time.monotonic() + 60
    while processes_of(folder) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert processes_of(folder) == []
    assert list((folder / "outputs").rglob("*.ckpt")) == []
    left = [path for path in folder.rglob("*") if re.search(r"unfinished|uploading|^tmp.", path.name)]
    left += [path for path in (folder / "tmp").iterdir() if not re.search(others, path.name)]
    assert left == []
    locks = [*folder.glob("*.lock"), folder / "outputs/locks", *(folder / "tmp").glob("*.devices")]
    assert {path.stat().st_size for path in locks} == {0}


def id_to_resume(folder: Path) -> str | None:
    """The run of a training that has been killed; None if it had not begun."""
    if not (folder / "mlflow.db").exists():
        return None
    rows = query(folder, "select run_uuid from runs where name not like 'stage%'")
    assert len(rows) <= 1, "resume= goes on with the run"
    return str(rows[0][0]) if rows else None


class Undisturbed:
    """What a training and a sweep end with that nobody disturbs, and how long they take.

    Args:
        folder: their checkout.
        command: of the program.
    """

    def __init__(self, folder: Path, command: tuple[str, ...]):
        began = time.monotonic()
        code, _, error = run(folder, *command)
        assert code == 0, error
        self.seconds = time.monotonic() - began
        self.metrics = {}
        self.weights = {}
        for name, run_id in finished(folder).items():
            self.metrics[name] = metrics(folder, run_id)
            if not name.startswith("sweep"):
                self.weights[name] = weights(folder, run_id)
        check_nothing_is_left(folder)

    def check_equal(self, folder: Path) -> None:
        """The runs in another folder have the same numbers, bit for bit."""
        ids = finished(folder)
        assert {name: metrics(folder, run_id) for name, run_id in ids.items()} == self.metrics
        for name, expected in self.weights.items():
            found = weights(folder, ids[name])
            assert list(found) == list(expected)
            assert all(torch.equal(found[key], expected[key]) for key in expected)


def disturbed_training(checkout: Path, name: str, undisturbed: Undisturbed, moments: random.Random) -> list[str]:
    """Train to the end, however often it is ended; returns when and by what it was."""
    folder = fresh(checkout, name)
    ended = []
    while True:
        run_id = id_to_resume(folder)
        command = TRAINING if run_id is None else (*TRAINING, f"resume={run_id}")
        if len(ended) == ATTEMPTS - 1:
            break
        number = moments.choice(SIGNALS)
        seconds = moments.uniform(0, undisturbed.seconds)
        was_quicker, error = disturb(folder, command, seconds, number)
        check_whole_checkpoints(folder)
        ended.append(f"{number.name} after {seconds:.1f} s{', when it had ended' if was_quicker else ''}")
        if was_quicker:
            break
        found = id_to_resume(folder)
        if number is not signal.SIGKILL and found is not None and "interrupted" in error:
            assert f"resume={found}" in error, "the command that goes on is printed"
    else:
        raise AssertionError
    if not ended or "had ended" not in ended[-1]:
        code, _, error = run(folder, *command)
        assert code == 0, error
    undisturbed.check_equal(folder)
    check_nothing_is_left(folder)
    return ended


def disturbed_sweep(checkout: Path, name: str, undisturbed: Undisturbed, moments: random.Random) -> str:
    """End a sweep once, and give the same command again; returns when and by what it was ended."""
    folder = fresh(checkout, name)
    number = moments.choice(SIGNALS)
    seconds = moments.uniform(0, undisturbed.seconds)
    disturb(folder, SWEEP, seconds, number)
    check_whole_checkpoints(folder)
    code, _, error = run(folder, *SWEEP)
    assert code == 0, error
    undisturbed.check_equal(folder)
    check_nothing_is_left(folder, was_killed=number is signal.SIGKILL)
    return f"{number.name} after {seconds:.1f} s"


def interrupt(checkout: Path, kills: int, sweeps: int) -> None:
    """End trainings so often in all, and so many sweeps, at moments drawn by the seed."""
    moments = random.Random(SEED)
    training = Undisturbed(fresh(checkout, "training"), TRAINING)
    print(f"undisturbed training: {training.seconds:.1f} s", flush=True)
    n_done = 0
    while n_done < kills:
        ended = disturbed_training(checkout, f"training{n_done}", training, moments)
        n_done += len([words for words in ended if "had ended" not in words])
        print(f"training: {'; '.join(ended)}: the same numbers; {n_done} in all", flush=True)
    if sweeps:
        sweep = Undisturbed(fresh(checkout, "sweep"), SWEEP)
        for number in range(sweeps):
            print(f"sweep: {disturbed_sweep(checkout, f'sweep{number}', sweep, moments)}: the same numbers", flush=True)


@pytest.mark.system
def test_a_training_and_a_sweep_that_are_ended_at_any_moment_go_on(checkout: Path) -> None:
    interrupt(checkout, kills=5, sweeps=1)


@pytest.mark.weekend
def test_sixty_ends(checkout: Path) -> None:
    interrupt(checkout, kills=50, sweeps=10)
