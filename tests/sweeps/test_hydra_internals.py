"""What is used of Hydra that is not public is still there; a failure here is a change of Hydra's."""

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from program import CONF, ROOT

from ratespike.config.schemas import check
from ratespike.sweeps.hydra_internals import BASIC_SWEEPER, jobs_of_basic_sweeper


def test_the_basic_sweeper_is_the_one_that_a_multirun_takes_by_default() -> None:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", return_hydra_config=True)
        check(hydra.compose("config"))
    assert config.hydra.sweeper._target_ == BASIC_SWEEPER


def test_it_multiplies_choices_in_their_order() -> None:
    overrides = OverridesParser.create().parse_overrides(["a=1,2", "b=x,y", "c=3"])
    assert jobs_of_basic_sweeper(overrides) == [[f"a={a}", f"b={b}", "c=3"] for a in (1, 2) for b in ("x", "y")]


def test_internals_are_named_in_one_module_alone() -> None:
    users = [path.name for path in (ROOT / "src/ratespike").rglob("*.py") if "hydra._internal" in path.read_text()]
    assert users == ["hydra_internals.py"]
