"""Texts in Markdown that hold names: no name becomes a link, a picture, HTML or a column of a table."""

import html
import re

_STRUCTURE = re.compile(r"[\\`*|\[\]]")
_LINK = re.compile(r"\[((?:\\.|[^\\\]])*)\]\(\S+\)")


def escaped(text: str) -> str:
    r"""A text in one line, as Markdown shows it to the letter.

    Example:
        >>> print(escaped("mean=[0.1] <b>"))
        mean=\[0.1\] &lt;b&gt;
    """
    line = html.escape(" ".join(text.split()), quote=False)
    return _STRUCTURE.sub(r"\\\g<0>", line)


def link(text: str, target: str) -> str:
    """A link; the target is taken as it is."""
    return f"[{escaped(text)}]({target})"


def code(text: str) -> str:
    """A text in one line in the letters of a program, between more backticks than it has in a row.

    Example:
        >>> code("python train.py"), code("a `b` c")
        ('`python train.py`', '`` a `b` c ``')
    """
    line = " ".join(text.split())
    longest = max(map(len, re.findall("`+", line)), default=0)
    if not longest:
        return f"`{line}`"
    fence = "`" * (longest + 1)
    return f"{fence} {line} {fence}"


def plain(text: str) -> str:
    r"""What `escaped` and `link` have made as a terminal shows it, without the links.

    Example:
        >>> plain(f"best: {link('mean=[0.1]', '#/runs/1')}")
        'best: mean=[0.1]'
    """
    without_links = _LINK.sub(r"\1", text)
    return html.unescape(re.sub(r"\\(.)", r"\1", without_links))
