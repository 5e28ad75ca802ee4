"""The programs, which a script in the repository's root and the console command start alike.

Each imports what is heavy only when it is called, once its options are known to be good.
"""

from pathlib import Path

from ratespike.cli.main import Program, run_program
from ratespike.config.job import Job
from ratespike.config.schemas import (
    CompareConfig,
    Config,
    DiagnoseConfig,
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    RunConfig,
)
from ratespike.pipeline.saved_settings import offer_settings


def train(job: Job[Config]) -> None:
    """Train a network on its firing rates, then test it on rates and on spikes."""
    _experiment(job)


def evaluate(job: Job[EvaluateConfig]) -> None:
    """Simulate a trained network again, with other settings, without training."""
    _experiment(job)


def predict(job: Job[PredictConfig]) -> None:
    """Show pictures to a trained network: its answers on rates and on spikes."""
    from ratespike.pipeline.predict import predict_pictures

    predict_pictures(job)


def export(job: Job[ExportConfig]) -> None:
    """Write a trained network in a format of other programs: NIR, ONNX, torch.export or safetensors."""
    from ratespike.pipeline.export import export_network

    export_network(job)


def diagnose(job: Job[DiagnoseConfig]) -> None:
    """Find out why a trained network is right less often on spikes than on rates, and which override to try."""
    from ratespike.pipeline.diagnose import diagnose_network

    diagnose_network(job)


def compare(job: Job[CompareConfig]) -> None:
    """Compare finished runs: what the step from rates to spikes costs, for each setting, over its seeds."""
    from ratespike.cli.compare import compare_runs

    compare_runs(job)


PROGRAMS = {
    "train": Program("config", train),
    "evaluate": Program("evaluate", evaluate, offer_settings),
    "predict": Program("predict", predict, offer_settings),
    "export": Program("export", export, offer_settings),
    "diagnose": Program("diagnose", diagnose, offer_settings),
    "compare": Program("compare", compare),
}


def run_script(name: str, root: Path) -> None:
    """Run a program of a clone of the repository, whose `conf/` it takes.

    Args:
        name: of the program.
        root: the repository root, where relative paths start, whatever the current folder is.
    """
    run_program(PROGRAMS[name], root, conf=root / "conf")


def _experiment(job: Job[RunConfig]) -> None:
    from ratespike.pipeline.assembly import check_and_build

    components = check_and_build(job)  # before Lightning and MLflow are imported
    from ratespike.pipeline.run import run_experiment

    run_experiment(job, components)
