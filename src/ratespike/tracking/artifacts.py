"""Files that MLflow was writing among a run's artifacts when its process was killed."""

from pathlib import Path

from mlflow.utils.file_utils import local_file_uri_to_path
from mlflow.utils.uri import is_local_uri

UNFINISHED = ".artifact.uploading."  # MLflow's own: how the name begins of a file that is not whole yet


def remove_unfinished(location: str) -> None:
    """Remove such files.

    Args:
        location: of a run's artifacts, as MLflow names it, on which no other process is at work. A server removes its own.
    """
    if is_local_uri(location):
        for left in Path(local_file_uri_to_path(location)).rglob(f"{UNFINISHED}*"):
            left.unlink()
