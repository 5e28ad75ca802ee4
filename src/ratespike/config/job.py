"""One run of a command, as the user asked for it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, TypeVar

C = TypeVar("C", covariant=True)


@dataclass(frozen=True)
class Job(Generic[C]):
    """One run of a command as the user asked for it.

    Attributes:
        config: checked against the schema; ranges of the groups with a `type` are checked where they are built.
        plain: the same as nested dictionaries, every interpolation resolved.
        overrides: the command line's arguments.
        root: the folder of the database and the outputs, where relative paths start: the repository root, or the current folder
            of the console command.
        default: `plain` of the same command without arguments; of an evaluation, the settings of its network's run.
        number: of a job among those of a multirun, from 0; None for a single run.
        max_concurrent_jobs: how many jobs of the multirun this host runs at the same time; None if a scheduler gives
            each its devices.
        send_stage: sends a stage to the other processes of this job, where there are any (see `execution.distributed`).
    """

    config: C
    plain: dict[str, Any]
    overrides: list[str]
    root: Path
    default: Mapping[str, Any] = field(default_factory=dict)
    number: int | None = None
    max_concurrent_jobs: int | None = None
    send_stage: Callable[[Callable[[], object]], None] | None = None
