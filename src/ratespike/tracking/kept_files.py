"""Artifacts that other runs use: each has its SHA-256 as a tag of its run, and is compared with it before it is used.

A disk, a copy or a person may have changed the file since. What a job takes from another run it keeps as its own, so that a
damaged file would be taken for good.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ratespike.checked_files import sha256
from ratespike.parameters import ParameterError
from ratespike.tracking.runs import Run

SHA256 = "ratespike.sha256."  # a tag's name begins so; the artifact's path follows


class DamagedError(ParameterError):
    """An artifact is not what its run has kept; says which one, and what to do."""


def sign(run: Run, artifact: str, digest: str) -> None:
    """Say what an artifact of a run is, once it is the one that stays.

    Args:
        run: has the artifact.
        artifact: its path, such as `checkpoints/best.ckpt`.
        digest: the SHA-256 of its content.
    """
    run.tags({SHA256 + artifact: digest})


@contextmanager
def signed(run: Run, artifact: str) -> Iterator[Path | None]:
    """A copy of an artifact as `Run.artifact` gives it; one that was not signed is taken as it is, as of earlier versions.

    Raises:
        DamagedError: it is not the one that was signed.
    """
    with run.artifact(artifact) as path:
        wanted = run.tag(SHA256 + artifact)
        if path is not None and wanted is not None and sha256(path) != wanted:
            raise DamagedError(_damage(run, artifact, "its SHA-256 is not the one of its tag"))
        yield path


def in_a_line(run: Run, artifact: str, error: ParameterError) -> str:
    """The line about an artifact that was refused, by its SHA-256 or by who reads it; it names the run in either case."""
    return str(error) if isinstance(error, DamagedError) else _damage(run, artifact, str(error))


def _damage(run: Run, artifact: str, reason: str) -> str:
    place = run.seen().info.artifact_uri
    return f"run {run.id}: {place}/{artifact} is damaged: {reason}; restore it, or delete the run and repeat its command"
