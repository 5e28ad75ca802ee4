"""Show pictures to a trained network: its answers on rates and on spikes."""

from pathlib import Path

from ratespike.cli.main import command
from ratespike.config.job import Job
from ratespike.config.schemas import PredictConfig
from ratespike.pipeline.saved_settings import offer_settings


def predict(job: Job[PredictConfig]) -> None:
    from ratespike.pipeline.predict import predict_pictures

    predict_pictures(job)


if __name__ == "__main__":
    command("predict", predict, root=Path(__file__).resolve().parent, settings_of=offer_settings)
