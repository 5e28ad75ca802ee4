"""The variants of a test: `make test-fast` tries one of them, `make test` all."""

from collections.abc import Iterable

import pytest


def all_but_one_slow(variants: Iterable[object]) -> list[object]:
    """The variants of an argument (tuples: of several), as they are given; those behind the first are marked as slow."""
    first, *others = variants
    return [first, *(_slow(variant) for variant in others)]


def _slow(variant: object) -> object:
    values = variant if isinstance(variant, tuple) else (variant,)
    return pytest.param(*values, marks=pytest.mark.slow)
