"""What a job of a sweep costs beyond its training and its test, by launcher.

python benchmarks/launchers.py [basic | joblib | submitit_local | submitit_slurm | ray ...]      all, if none is named

Jobs on the smallest slice of the data, which hardly compute, in sweeps of 2 and of 10, in turns: the difference is that of 8
jobs, the sweep's own start not counted. Then both again, whose jobs are all finished.
"""

import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
LAUNCHERS = {
    "basic": (),
    "joblib": ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2"),
    "submitit_local": ("hydra/launcher=submitit_local", "hydra.launcher.cpus_per_task=1"),
    "submitit_slurm": ("hydra/launcher=submitit_slurm", "hydra.launcher.cpus_per_task=1"),
    "ray": ("hydra/launcher=ray",),
}
SLICE = ("+experiment=mnist", "+debug=fast", "data.train_images=200", "data.validation_images=20", "data.test_images=20")
FEW, MANY, ROUNDS = 2, 10, 2


def seconds(folder: Path, launcher: str, n_jobs: int) -> float:
    """Of a sweep in a folder that is a repository root."""
    command = [sys.executable, ROOT / "train.py", "-m", *SLICE, "n_steps=1", f"seed=range({n_jobs})", *LAUNCHERS[launcher]]
    database = f"tracking.uri=sqlite:///{folder}/mlflow.db"
    environment = {**os.environ, "RAY_USAGE_STATS_ENABLED": "0"}
    began = time.perf_counter()
    subprocess.run(
        [*command, database, f"hydra.sweep.dir={folder}/outputs"], cwd=ROOT, env=environment, check=True, capture_output=True
    )
    return time.perf_counter() - began


def main() -> None:
    """Print medians and ranges over the rounds."""
    launchers = sys.argv[1:] or list(LAUNCHERS)
    per_job: dict[str, list[float]] = {launcher: [] for launcher in launchers}
    again: dict[str, list[float]] = {launcher: [] for launcher in launchers}
    for _ in range(ROUNDS):
        for launcher in launchers:
            with tempfile.TemporaryDirectory() as few, tempfile.TemporaryDirectory() as many:
                start = seconds(Path(few), launcher, FEW)
                whole = seconds(Path(many), launcher, MANY)
                per_job[launcher].append((whole - start) / (MANY - FEW))
                start_again = seconds(Path(few), launcher, FEW)
                again[launcher].append((seconds(Path(many), launcher, MANY) - start_again) / (MANY - FEW))
    for launcher in launchers:
        words = [
            f"{statistics.median(times):5.2f} ({min(times):.2f}-{max(times):.2f}) s {what}"
            for what, times in (("a job", per_job[launcher]), ("a job that is finished", again[launcher]))
        ]
        print(f"{launcher:15s} " + ", ".join(words), flush=True)


if __name__ == "__main__":
    main()
