"""Why a multirun does not begin, a job of it has no result, or it ends early."""


class RefusedError(SystemExit):
    """A multirun does not begin. It is an exit, as Hydra makes a warning of a callback's exception and goes on."""

    def __init__(self, reason: Exception):
        super().__init__(f"error: {reason}")
        self.reason = reason


class JobFailedError(Exception):
    """A job of a search, or of a multirun without a parent run, has failed; the job has printed why."""


class UnfinishedError(Exception):
    """A multirun ended before all of its jobs had finished; the message says what to do."""
