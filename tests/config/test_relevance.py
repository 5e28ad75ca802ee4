"""Every key of the configuration has a place among the answers."""

import hydra
from omegaconf import OmegaConf
from program import CONF

from ratespike.config import relevance
from ratespike.parameters import flat


def keys() -> set[str]:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", ["stages=rectified"])
    return {key for key, _ in flat(OmegaConf.to_container(config))}  # type: ignore[arg-type]


def test_the_keys_that_do_not_matter_exist() -> None:
    """A key that was renamed would matter again without a word."""
    known = keys()
    named = {*relevance.SEEDS, *relevance.FREE_IN_EVALUATION, *relevance._HARDWARE, *relevance._ADDED_BY_PROGRAMS}
    assert named <= known
    assert {key.split(".")[0] for key in known} >= {*relevance._BOOKKEEPING, *relevance.TRAINING_GROUPS}


def test_what_tells_groups_apart_is_what_affects_results_but_seeds_and_hardware() -> None:
    left_out = {key for key in keys() if not relevance.distinguishes_groups(key)}
    bookkeeping = {key for key in keys() if key.startswith("tracking.")} | {"resume", "objective", "register", "diagnosis"}
    assert left_out == {*relevance.SEEDS, *relevance._HARDWARE, *bookkeeping}
