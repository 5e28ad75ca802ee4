"""Names from strangers in Markdown and HTML stay text."""

import re
from html.parser import HTMLParser

import pytest

from ratespike.analysis import web_page
from ratespike.analysis.markup import code, escaped, link, plain

NAMES = [
    "tau_rc=0.02 n_steps=30",
    "mean=[0.1,0.2]",
    "](javascript:alert(1)) [x",
    "<img src=x onerror=alert(1)>",
    "a|b`c*d*\\",
    "&lt;b&gt;",
    "two\nlines # no heading",
    "\"quoted\" & 'so'",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_markdown_is_read_back_as_it_was(name: str) -> None:
    one_line = " ".join(name.split())
    assert plain(escaped(name)) == one_line
    assert plain(f"best: {link(name, '#/runs/1')}, {link('b', '#/runs/2')}") == f"best: {one_line}, b"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_markdown_has_no_structure(name: str) -> None:
    assert not re.search(r"[<>\n]", escaped(name))
    assert not re.search(r"(?<!\\)(?:\\\\)*[|\[\]`*]", escaped(name)), "a character that means something is not escaped"


@pytest.mark.parametrize("name", NAMES)
def test_a_name_does_not_end_its_code(name: str) -> None:
    fence, inside = re.fullmatch(r"(`+)(.*)\1", code(name)).groups()  # type: ignore[union-attr]
    assert fence not in inside.strip().replace(" " + fence, "")
    assert inside.strip() == " ".join(name.split())


class Reader(HTMLParser):
    """What a browser makes of a page: its elements, their attributes and the text."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[str] = []
        self.attributes: dict[str, str | None] = {}
        self.text: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.attributes.update(attrs)

    def handle_data(self, data: str) -> None:
        self.text.append(data)


@pytest.mark.parametrize("name", NAMES)
def test_a_name_in_html_is_text(name: str) -> None:
    parts = [
        web_page.heading(name),
        web_page.paragraph(name),
        web_page.command(name),
        web_page.table([[name]], header=[name]),
        *web_page.pictures({name: b"png"}),
    ]
    read = Reader(web_page.page(name, parts))
    assert set(read.elements) <= {
        *("meta", "title", "style", "h1", "h2", "p", "pre", "div", "table", "tr", "th", "td"),
        *("figure", "img", "figcaption"),
    }
    assert read.elements.count("img") == 1
    assert read.attributes["alt"] == name.replace("_", " ")
    assert read.text.count(name) >= 7, "title, h1, h2, p, pre, th and td"
    assert read.attributes["src"] == "data:image/png;base64,cG5n"
