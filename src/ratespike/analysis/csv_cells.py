"""Cells of CSV files that hold names: no name becomes a formula of the program that opens the file."""

from collections.abc import Iterable

from ratespike.analysis.values import parse

_FORMULA = ("=", "+", "-", "@", "\t", "\r")  # how one begins in a spreadsheet


def row(cells: Iterable[object]) -> list[object]:
    """Cells to write: a word that begins as a formula does has an apostrophe in front; numbers are as they are.

    Source: OWASP, "CSV injection", https://owasp.org/www-community/attacks/CSV_Injection.

    Example:
        >>> row(["=1+1", "-0.5", -0.5, "cat"])
        ["'=1+1", '-0.5', -0.5, 'cat']
    """
    return [f"'{cell}" if isinstance(cell, str) and _is_formula(cell) else cell for cell in cells]


def _is_formula(word: str) -> bool:
    return word.startswith(_FORMULA) and isinstance(parse(word), str)
