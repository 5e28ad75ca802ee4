"""`train.py`, except that trainings stand still in their second epoch for as long as the file `hold` lies beside this one.

So a test can interrupt or kill a training under way, however fast or slow the machine is (see `Held` in `program.py`). A
process that stands still leaves the file `held.<its process id>`.
"""

import os
import time
from pathlib import Path
from typing import Any

from ratespike.cli.main import Program, run_program
from ratespike.cli.programs import train
from ratespike.config.job import Job
from ratespike.config.schemas import Config

ROOT = Path(__file__).resolve().parent


def train_held(job: Job[Config]) -> None:
    """Train, but stand still between the first and the second step of the second epoch."""
    from ratespike.pipeline.classifier import Classifier

    training_step = Classifier.training_step
    hold = ROOT / "hold"

    def held_step(self: Classifier, batch: Any, number: int) -> Any:
        if self.current_epoch == 1 and number == 1 and hold.exists():
            (ROOT / f"held.{os.getpid()}").touch()
            while hold.exists():
                time.sleep(0.05)
        return training_step(self, batch, number)

    Classifier.training_step = held_step  # type: ignore[method-assign]
    train(job)


if __name__ == "__main__":
    run_program(Program("config", train_held), ROOT, conf=ROOT / "conf")
