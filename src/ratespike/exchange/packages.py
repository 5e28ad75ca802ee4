"""Packages that only an export needs: the extra `export` in pyproject.toml."""

import importlib
from types import ModuleType

from ratespike.parameters import ParameterError


def needed(*names: str) -> ModuleType:
    """The first of some packages, all of which must be installed.

    Raises:
        ParameterError: one of them is not installed; the message says what to install.

    Example:
        >>> needed("json").loads("[1]")
        [1]
        >>> needed("json", "no_such_package")
        Traceback (most recent call last):
            ...
        ratespike.parameters.ParameterError: needs the package no_such_package: pip install 'ratespike[export]'
    """
    modules: list[ModuleType] = []
    for name in names:
        try:
            modules.append(importlib.import_module(name))
        except ImportError:
            raise ParameterError(f"needs the package {name.partition('.')[0]}: pip install 'ratespike[export]'") from None
    return modules[0]
