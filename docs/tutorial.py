"""Runs the Python of docs/tutorial.md and writes what it prints into the page, and its pictures beside it.

python docs/tutorial.py        minutes of two cores
"""

import io
import os
import re
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from pathlib import Path

import matplotlib

DOCS = Path(__file__).parent
PAGE = DOCS / "tutorial.md"
CELL = re.compile(r"^```python\n(?P<code>.*?)^```\n(?:\n```text\n(?P<printed>.*?)^```\n)?", re.DOTALL | re.MULTILINE)


def printed(page: str) -> list[str]:
    """What each block of Python printed when the page was written; empty for one that printed nothing."""
    return [cell["printed"] or "" for cell in CELL.finditer(page)]


def run(page: str, settings: Mapping[str, int] | None = None) -> list[str]:
    """Run the blocks of Python from top to bottom, as one program in the current folder.

    Args:
        page: the text of the page.
        settings: numbers in place of those that the page gives to these names, for a shorter run.

    Returns:
        What each block prints.
    """
    matplotlib.use("Agg")
    names: dict[str, object] = {"__name__": "tutorial"}
    outputs = []
    for number, cell in enumerate(CELL.finditer(page), start=1):
        code = cell["code"]
        for name, value in (settings or {}).items():
            code = re.sub(rf"^{name} = [\d_]+", f"{name} = {value}", code, flags=re.MULTILINE)
        print(f"block {number} of {len(CELL.findall(page))}", file=sys.stderr)
        with redirect_stdout(io.StringIO()) as output:
            exec(code, names)
        outputs.append(output.getvalue())
    return outputs


def written(page: str, outputs: list[str]) -> str:
    """The page with these outputs behind its blocks of Python."""
    remaining = iter(outputs)

    def with_output(cell: re.Match[str]) -> str:
        output = next(remaining)
        code = f"```python\n{cell['code']}```\n"
        return f"{code}\n```text\n{output}```\n" if output else code

    return CELL.sub(with_output, page)


if __name__ == "__main__":
    os.chdir(DOCS.parent)
    (DOCS / "images/tutorial").mkdir(parents=True, exist_ok=True)
    text = PAGE.read_text()
    PAGE.write_text(written(text, run(text)))
