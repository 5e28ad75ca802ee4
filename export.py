"""Write a trained network in a format of other programs: NIR, ONNX, torch.export or safetensors."""

from pathlib import Path

from ratespike.cli.main import command
from ratespike.config.job import Job
from ratespike.config.schemas import ExportConfig
from ratespike.pipeline.saved_settings import offer_settings


def export(job: Job[ExportConfig]) -> None:
    from ratespike.pipeline.export import export_network

    export_network(job)


if __name__ == "__main__":
    command("export", export, root=Path(__file__).resolve().parent, settings_of=offer_settings)
