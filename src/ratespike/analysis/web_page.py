"""A page in HTML that is one file and loads nothing: lines, tables and pictures.

MLflow shows it in a frame of its own, and it can be sent to somebody. Every text is escaped: names of runs and classes may come
from a stranger's files.
"""

import base64
from collections.abc import Iterable, Mapping, Sequence
from html import escape

_STYLE = """
body { font: 14px/1.5 system-ui, sans-serif; color: #222; background: #fff; max-width: 75rem; margin: 1rem auto }
body { padding: 0 1rem }
h1 { font-size: 1.4rem }
h2 { font-size: 1.1rem; margin-top: 2rem }
div { overflow-x: auto }
table { border-collapse: collapse }
th, td { text-align: left; vertical-align: top; max-width: 30rem; overflow-wrap: break-word }
th, td { padding: .2rem .8rem .2rem 0; border-bottom: 1px solid #ddd }
pre { white-space: pre-wrap; background: #f4f4f4; padding: .5rem }
figure { margin: 0 0 1rem }
figcaption { color: #666 }
img { max-width: 100% }
"""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def page(title: str, parts: Iterable[str]) -> str:
    """A whole page.

    Args:
        title: on top of the page.
        parts: made by the other functions of this module.

    Example:
        >>> page("sweep <1>", [paragraph("2 jobs")]).splitlines()[-2:]
        ['<h1>sweep &lt;1&gt;</h1>', '<p>2 jobs</p>']
    """
    head = [
        "<!doctype html>",
        '<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        f"<title>{escape(title)}</title>",
        f"<style>{_STYLE}</style>",
    ]
    return "\n".join([*head, f"<h1>{escape(title)}</h1>", *parts])


def heading(text: str) -> str:
    """The heading of a section."""
    return f"<h2>{escape(text)}</h2>"


def paragraph(text: str) -> str:
    """A line of words."""
    return f"<p>{escape(text)}</p>"


def command(text: str) -> str:
    """A command, as it is typed."""
    return f"<pre>{escape(text)}</pre>"


def table(rows: Iterable[Sequence[str]], header: Sequence[str] = ()) -> str:
    """A table.

    Args:
        rows: the cells of each row.
        header: the columns' titles; empty for a table without.

    Example:
        >>> print(table([["agreement", "98.50 %"]]))
        <div><table>
        <tr><td>agreement</td><td>98.50 %</td></tr>
        </table></div>
    """
    lines = [_row("td", row) for row in rows]
    if header:
        lines.insert(0, _row("th", header))
    return "\n".join(["<div><table>", *lines, "</table></div>"])


def pictures(by_name: Mapping[str, bytes]) -> Iterable[str]:
    """Pictures with their names.

    Args:
        by_name: the content of PNG files.
    """
    for name, png in by_name.items():
        source = f"data:image/png;base64,{base64.b64encode(png).decode()}"
        caption = escape(name.replace("_", " "))
        yield f'<figure><img src="{source}" alt="{caption}"><figcaption>{caption}</figcaption></figure>'


def _row(kind: str, cells: Sequence[str]) -> str:
    return f"<tr>{''.join(f'<{kind}>{escape(cell)}</{kind}>' for cell in cells)}</tr>"
