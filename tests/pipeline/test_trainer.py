"""How Lightning's trainer is made and ended; `tests/system/test_ddp.py` trains with two processes."""

import signal
import threading
from pathlib import Path

import cloudpickle
import pytest
from pytorch_lightning import Trainer

from ratespike.config.job import Job
from ratespike.config.schemas import Config, TrainerConfig
from ratespike.pipeline import trainer as module
from ratespike.pipeline.trainer import use_trainer

pytestmark = pytest.mark.filterwarnings("ignore")  # Lightning's advice

ONE_PROCESS = TrainerConfig(accelerator="cpu")
TWO_PROCESSES = TrainerConfig(accelerator="cpu", devices=2)


def make_trainer(config: TrainerConfig) -> Trainer:
    with module._strategy(config) as strategy:
        return module._trainer(config, strategy, [], "32-true", shows_progress=False)


def test_an_error_kills_the_processes_that_lightning_has_started(monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = make_trainer(TWO_PROCESSES)
    launcher = trainer.strategy.launcher
    assert launcher is not None and callable(launcher.kill), "Lightning offers no other way to kill its processes"
    killed_by: list[int] = []
    monkeypatch.setattr(launcher, "kill", killed_by.append)
    with pytest.raises(KeyboardInterrupt), module._killing_processes_on_error(trainer):
        raise KeyboardInterrupt
    assert killed_by == [signal.SIGKILL]


def test_an_error_in_one_process_is_just_raised() -> None:
    with pytest.raises(ZeroDivisionError), module._killing_processes_on_error(make_trainer(ONE_PROCESS)):
        raise ZeroDivisionError


def test_a_stage_reaches_other_processes_without_the_job(tmp_path: Path) -> None:
    """The job holds connections, which cannot be pickled; here a lock stands for them."""
    sent: list[bytes] = []
    plain = {"unpicklable": threading.Lock()}
    job = Job(
        Config(trainer=ONE_PROCESS),
        plain,
        overrides=[],
        root=tmp_path,
        number=0,
        send_stage=lambda stage: sent.append(cloudpickle.dumps(stage)),
    )
    devices: list[int] = []
    use_trainer(job, [], lambda trainer: devices.append(trainer.num_devices))
    assert devices == [1], "the first process has not taken part itself"
    assert len(sent) == 1
    cloudpickle.loads(sent[0])()  # what another process does
