"""Where Hydra looks for the options of a configuration besides the program's own folder: in the plugins that are installed."""

from collections.abc import Mapping
from pathlib import Path

from hydra.core.config_search_path import ConfigSearchPath
from hydra.core.plugins import Plugins
from hydra.plugins.search_path_plugin import SearchPathPlugin

from ratespike import plugins
from ratespike.parameters import ParameterError


class PluginFolders(SearchPathPlugin):
    """Adds the folder `conf` of each installed plugin to Hydra's search path."""

    def manipulate_search_path(self, search_path: ConfigSearchPath) -> None:
        for plugin in plugins.installed():
            folder = plugin.conf_folder()
            if folder is not None:
                search_path.append(plugin.module, f"file://{folder}")


def search_in_plugins(conf: Path) -> list[Path]:
    """Have Hydra find the options of installed plugins.

    Args:
        conf: the program's own folder, which Hydra searches first.

    Returns:
        The folders that Hydra searches: that one and the plugins'.

    Raises:
        ParameterError: an option of a plugin has the name of another one, which would be taken in its place.
        PluginError: a plugin whose files are gone.
    """
    folders = {"ratespike": conf}
    for plugin in plugins.installed():
        folder = plugin.conf_folder()
        if folder is not None:
            _refuse_names_of_others(plugin, folder, folders)
            folders[f"plugin {plugin.module}"] = folder
    Plugins.instance().register(PluginFolders)
    return list(folders.values())


def _refuse_names_of_others(plugin: plugins.Plugin, folder: Path, others: Mapping[str, Path]) -> None:
    for path in folder.rglob("*.yaml"):
        name = path.relative_to(folder)
        for owner, other in others.items():
            if (other / name).is_file():
                raise ParameterError(
                    f"plugin {plugin.module} of the package {plugin.package}: conf/{name} has the name of an option of "
                    f"{owner}, which would be taken in its place; rename it"
                )
