"""The memory that a run is going to need, so that it is refused before it trains.

These are lower bounds, computed from numbers alone: what is refused could not have run.
"""

_FLOAT = 4  # bytes
_COPIES_OF_WEIGHTS = 4  # the weights, their gradients, those before training, those of the best epoch
_COPIES_OF_ACTIVATIONS = 2  # what arrives at a neuron and what leaves it are kept for the gradient


def of_training(weights: int, neurons: int, images: int) -> int:
    """The bytes that a training keeps at once.

    Args:
        weights: of the network.
        neurons: in it.
        images: of a batch, on the host; 0 if they are on a GPU.

    Example:
        >>> of_training(weights=1000, neurons=100, images=10)
        24000
    """
    return _FLOAT * (_COPIES_OF_WEIGHTS * weights + _COPIES_OF_ACTIVATIONS * neurons * images)


def of_results(n_steps: int, classes: int, images: int) -> int:
    """The bytes of what a test measures after each step: a table of classes, and of each image its answer and its clearness.

    Args:
        n_steps: of the simulations.
        classes: of the data.
        images: that are tested.

    Example:
        >>> of_results(n_steps=30, classes=10, images=10_000)
        6048000
    """
    table = 2 * 8 * classes**2  # so far, and of a batch
    answers = 20 * images  # the class, in 4 bytes, and four values
    return n_steps * (table + answers)
