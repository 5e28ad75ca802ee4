"""Installed packages that add neurons, data sets, layers and the like of their own.

Such a package names one of its modules under the entry point `ratespike.plugins`. Importing the module defines the classes,
which are then found as those of this package are. The folder `conf` beside the module has their options of the configuration.
Only what is installed is imported: a configuration, a run or a checkpoint names classes, never modules.
"""

import functools
import hashlib
import importlib
import importlib.util
import inspect
import sys
from abc import ABC
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

GROUP = "ratespike.plugins"  # of the entry points
_OURS = "ratespike"


class PluginError(Exception):
    """An installed plugin that cannot be used: says which package it comes from, in one line."""


@dataclass(frozen=True, order=True)
class Plugin:
    """A module that an installed package names.

    Attributes:
        module: its name, such as `my_spikes`.
        package: that pip has installed, such as `my-spikes 0.1.0`.
    """

    module: str
    package: str

    def load(self) -> None:
        """Import the module, which defines its classes.

        Raises:
            PluginError: it is not there, or fails, or defines a class with the name of one of this package's.
        """
        try:
            importlib.import_module(self.module)
        except (Exception, SystemExit) as error:
            first_line = next(iter(str(error).strip().splitlines()), "")[:200]
            raise self._unusable(f"{type(error).__name__}: {first_line}") from error
        self._refuse_names_of_ours()

    def conf_folder(self) -> Path | None:
        """The folder `conf` beside the module, found without importing it; None if there is none.

        Raises:
            PluginError: the module is not there, as in a package whose files somebody has moved.
        """
        top, *below = self.module.split(".")
        spec = importlib.util.find_spec(top)
        if spec is None:
            raise self._unusable(f"there is no module {top}")
        for location in spec.submodule_search_locations or ():
            folder = Path(location)
            for name in below:
                if (folder / name).is_dir():
                    folder /= name
            if (folder / "conf").is_dir():
                return folder / "conf"
        return None

    def holds(self, cls: type) -> bool:
        """Whether a class is defined in the Python package at whose top the module lies: for `acme.plugins`, in `acme`."""
        return _top(cls.__module__) == _top(self.module)

    def sources(self) -> str:
        """A hash of all Python files of that package."""
        package = importlib.import_module(_top(self.module))
        files: list[Path] = []
        for folder in getattr(package, "__path__", ()):
            files += sorted(Path(folder).rglob("*.py"))
        if not files and package.__file__:  # a module of one file
            files = [Path(package.__file__)]
        digest = hashlib.sha256()
        for path in files:
            digest.update(path.read_bytes())
        return digest.hexdigest()

    def _refuse_names_of_ours(self) -> None:
        """Raise `PluginError` for a class that a configuration could mean by the name of one of this package."""
        for cls in self._classes():
            for base in cls.__mro__[1:]:
                for other in below(base) if _top(base.__module__) == _OURS else ():
                    if other.__name__ == cls.__name__ and _top(other.__module__) == _OURS and is_concrete(other):
                        raise PluginError(
                            f"plugin {self.module} of the package {self.package}: {cls.__module__}.{cls.__qualname__} has the "
                            f"name of {other.__module__}.{other.__qualname__}; rename it"
                        )

    def _classes(self) -> Iterator[type]:
        """The concrete classes at the top of those of its modules that are imported."""
        for name, module in list(sys.modules.items()):
            if _top(name) != _top(self.module):
                continue
            for value in list(vars(module).values()):
                if isinstance(value, type) and value.__module__ == name and is_concrete(value):
                    yield value

    def _unusable(self, reason: str) -> PluginError:
        name = self.package.partition(" ")[0]
        return PluginError(
            f"plugin {self.module} of the package {self.package}: cannot be imported ({reason}); "
            f"mend it, or pip uninstall {name}"
        )


def is_concrete(cls: type) -> bool:
    """Whether a class neither has abstract methods nor names `ABC` as a base."""
    return not inspect.isabstract(cls) and ABC not in cls.__bases__


def below(base: type) -> Iterator[type]:
    """A class and all that inherit from it."""
    yield base
    children: list[type] = base.__subclasses__()
    for child in children:
        yield from below(child)


def _top(module: str) -> str:
    return module.partition(".")[0]


@functools.cache
def installed() -> tuple[Plugin, ...]:
    """The plugins of this environment, by the names of their modules."""
    from importlib import metadata  # takes 20 ms, which a notebook without plugins need not wait for

    found = set()
    for entry_point in metadata.entry_points(group=GROUP):
        package = f"{entry_point.dist.name} {entry_point.dist.version}" if entry_point.dist else entry_point.name
        found.add(Plugin(entry_point.module, package))
    return tuple(sorted(found))


def load() -> None:
    """Import all plugins; raises `PluginError` if one of them cannot be used (see `Plugin.load`)."""
    for plugin in installed():
        plugin.load()


def holds(cls: type) -> bool:
    """Whether a class comes from a plugin."""
    return _top(cls.__module__) != _OURS and any(plugin.holds(cls) for plugin in installed())


def sources_of(classes: Iterable[type]) -> dict[str, str]:
    """By plugin, a hash of the sources of those plugins that some classes come from, or inherit from.

    Args:
        classes: any classes; none of those of this package comes from a plugin.

    Example:
        >>> from ratespike.neurons import LIF
        >>> sources_of([LIF])
        {}
    """
    return {plugin.module: plugin.sources() for plugin in _used_by(classes)}


def packages_of(classes: Iterable[type]) -> tuple[str, ...]:
    """The packages of those plugins, as pip names them, such as `my-spikes`."""
    return tuple(sorted({plugin.package.partition(" ")[0] for plugin in _used_by(classes)}))


def _used_by(classes: Iterable[type]) -> Iterator[Plugin]:
    defined = {base for cls in classes for base in cls.__mro__}
    for plugin in installed():
        if any(plugin.holds(cls) for cls in defined):
            yield plugin
