"""The networks of docs/broken.py, trained once for all tests of a process."""

import sys
from types import ModuleType
from typing import Any

import pytest
from program import ROOT


@pytest.fixture(scope="session")
def broken() -> ModuleType:
    """The script that breaks networks on purpose."""
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import broken
    finally:
        sys.path.remove(str(ROOT / "docs"))
    return broken


@pytest.fixture(scope="session")
def trained(broken: ModuleType) -> dict[str, Any]:
    """Plain networks of two shapes."""
    return {"dense": broken.train(broken.dense), "convolutional": broken.train(broken.convolutional)}
