"""Hydra's errors, which take several lines and name its classes, as the one line that a user needs."""

import re
from pathlib import Path

import hydra
from hydra.errors import HydraException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from ratespike.parameters import ParameterError, nearest
from ratespike.pipeline.saved_settings import OPTION
from ratespike.plugins import PluginError

BAD_INPUT = (HydraException, OmegaConfBaseException, ParameterError, PluginError)
_KEY = re.compile(r"[+~]*[a-z_][\w./@:-]*", re.ASCII | re.IGNORECASE)
_ABOUT_CLASSES = re.compile(r"full_key|object_type|reference_type|To append|See http")


def explain(error: Exception, conf: Path, config_name: str) -> str:
    """The message of one of `BAD_INPUT` in one line, with the nearest names where a name was not found.

    Args:
        error: what Hydra, OmegaConf or a check of ours raised.
        conf: the folder of the configuration.
        config_name: of the program's configuration.
    """
    if isinstance(error, OverrideParseException):
        return _unreadable(str(error.override))
    text = _in_one_line(error)
    option = re.search(r"Could not find '([\w/]+)/([^/']+)'", text)
    if option:
        return _unknown_option(text, option[1], option[2])
    key = re.search(r"Could not override '([^']+)'", text)
    if key is None or key[1].startswith("hydra."):
        return text
    is_group_of_training = config_name == "config" and (conf / key[1]).is_dir()
    if is_group_of_training:
        return f"{key[1]}: is not among the defaults; give +{key[1]}= with a plus"
    return _unknown_key(text, key[1], conf, config_name)


def _unreadable(override: str) -> str:
    """What Hydra's grammar does not read: a word with letters or signs that mean something to it, or have no place in it."""
    key, _, value = override.partition("=")
    if not _KEY.fullmatch(key) or not value:
        return f"{override}: must be <key>=<value>, or <group>=<option>"
    quoted = value.replace("'", "\\'")
    return f"{override}: Hydra wants quotes around such a word, and the shell around these; give \"{key}='{quoted}'\""


def _in_one_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines()]
    if isinstance(error.__cause__, OmegaConfBaseException):
        lines.append(str(error.__cause__).splitlines()[0])
    return " ".join(line for line in lines if line and not _ABOUT_CLASSES.match(line))


def _unknown_option(text: str, group: str, option: str) -> str:
    """`neuron=typo`: the options of the group stand in Hydra's message, those of plugins and `--config-dir` among them."""
    message, _, available = text.partition(" Available options")
    options = available.partition(":")[2].partition(" Config")[0].split()
    if group.startswith("hydra/"):
        message += ", or its extra is not installed (docs/many_devices.md)"
    return f"{message}: {nearest(option, [name for name in options if name != OPTION])}"


def _unknown_key(text: str, key: str, conf: Path, config_name: str) -> str:
    """`neuron.tau_rcc=1`: the keys that the configuration has by default beside it."""
    group, _, name = key.rpartition(".")
    with hydra.initialize_config_dir(str(conf), version_base="1.3"):
        config = hydra.compose(config_name)
    beside = OmegaConf.select(config, group) if group else config
    if not isinstance(beside, DictConfig):  # no such group either
        beside = config
    elif name in beside:
        return f"{key}: the option of {group} that was chosen has no {name}"
    return f"{text}: {nearest(name, [str(known) for known in beside])}"
