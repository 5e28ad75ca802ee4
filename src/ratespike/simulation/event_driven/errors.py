"""The error by which the event-driven engine hands a network over to the reference engine."""


class UnsupportedError(Exception):
    """The event-driven engine cannot run this network; the message names the part that it cannot run."""
