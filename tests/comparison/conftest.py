from collections.abc import Callable

import pytest

from ratespike.comparison import Record


@pytest.fixture
def make_run() -> Callable[..., Record]:
    """A run with a number of its own, given its spiking accuracy, some parameters and more metrics (without `test/`)."""
    made: list[Record] = []

    def make(spiking: float, operations: float | None = 1e6, *, started: int | None = None, **parameters: object) -> Record:
        number = len(made)
        settings = {"n_steps": "30", **{name.replace("__", "."): str(value) for name, value in parameters.items()}}
        metrics = {"test/rate_accuracy": 0.99, "test/spiking_accuracy": spiking}
        if operations is not None:
            metrics["test/synaptic_operations"] = operations
        made.append(Record(f"id{number}", f"run {number}", number if started is None else started, 60.0, settings, metrics))
        return made[-1]

    return make
