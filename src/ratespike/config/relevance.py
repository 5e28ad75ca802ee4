"""What of a configuration matters to what.

Questions are asked of a key: does it change a result, does it tell two groups of runs apart, or two runs, does it change what
a training gives, did a person ask for it? Their answers stand here. Within a group with a `type`, each parameter says for
itself whether a training depends on it (`parameter(..., training=False)`).
"""

SEEDS = ("seed", "data.split_seed", "simulation.seed")  # runs that differ in these alone are repetitions
TRAINING_GROUPS = (
    *("data", "augmentation", "network", "neuron", "forward", "loss", "rate_control", "optimizer"),
    *("seed", "trainer", "start_from", "stages"),
)

_BOOKKEEPING = ("tracking", "resume", "objective", "register", "diagnosis")  # where a result is kept, and what for
_HARDWARE = ("trainer.devices", "trainer.accelerator", "trainer.strategy")
FREE_IN_EVALUATION = ("data.batch_size", "data.dir", *_HARDWARE)  # may differ from the training that a network comes from
_ADDED_BY_PROGRAMS = ("tracking.parent", "resume")
_SOURCE_OF_EVALUATION = ("run", "checkpoint", "model", "tracking.uri")


def affects_result(key: str) -> bool:
    """Whether two configurations that differ in a key may give different results.

    Example:
        >>> affects_result("neuron.tau_rc"), affects_result("tracking.experiment")
        (True, False)
    """
    return key.split(".")[0] not in _BOOKKEEPING


def distinguishes_groups(key: str) -> bool:
    """Whether runs that differ in a key are compared with each other, and not averaged as repetitions.

    Example:
        >>> distinguishes_groups("n_steps"), distinguishes_groups("seed"), distinguishes_groups("trainer.devices")
        (True, False, False)
    """
    return affects_result(key) and key not in SEEDS and key not in _HARDWARE


def distinguishes_runs(key: str) -> bool:
    """Whether two runs that differ in a key are told apart by it in a list: by what tells groups apart, and by seeds.

    Example:
        >>> distinguishes_runs("n_steps"), distinguishes_runs("seed"), distinguishes_runs("trainer.devices")
        (True, True, False)
    """
    return distinguishes_groups(key) or key in SEEDS


def is_asked_for(key: str) -> bool:
    """Whether a person gave an override of a key, not a program.

    Example:
        >>> is_asked_for("n_steps"), is_asked_for("tracking.parent")
        (True, False)
    """
    return key not in _ADDED_BY_PROGRAMS


def names_a_run(key: str) -> bool:
    """Whether a run is named by its override of a key: the experiment is named already, others say what becomes of it.

    Example:
        >>> names_a_run("n_steps"), names_a_run("register")
        (True, False)
    """
    return is_asked_for(key) and key not in ("experiment", "register", "diagnosis")


def names_an_evaluation(key: str) -> bool:
    """Whether an evaluation is named by its override of a key: those that only say which network it is of are not.

    Example:
        >>> names_an_evaluation("n_steps"), names_an_evaluation("checkpoint")
        (True, False)
    """
    return is_asked_for(key) and key not in (*_SOURCE_OF_EVALUATION, "diagnosis")
