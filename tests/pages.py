"""The pages of the documentation as tests read them: their code blocks, their commands and their tables of names."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from program import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
GUIDES = sorted((ROOT / "docs").glob("adding_a_*.md"))
_FILE = re.compile(r"^`([^`\n]+)`:\n\n```(?:python|yaml)\n(.*?)^```$", re.DOTALL | re.MULTILINE)
_BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.DOTALL | re.MULTILINE)  # its language, if it has one, and its text
_SECTION = re.compile(r"^## (.+)$", re.MULTILINE)
_ROW = re.compile(r"^\| `([^`]+)` \| (.*) \|$", re.MULTILINE)


@dataclass(frozen=True)
class Guide:
    """A page that says how to add something.

    Attributes:
        files: the text of each file that it asks for, by path.
        commands: the commands that it shows, each as words, in the page's order.
    """

    files: dict[str, str]
    commands: list[list[str]]

    @classmethod
    def read(cls, page: Path) -> "Guide":
        text = page.read_text()
        shown = "".join(block for language, block in _BLOCK.findall(text) if not language)
        lines = shown.replace("\\\n", " ").splitlines()
        commands = [shlex.split(line, comments=True) for line in lines if line.startswith("python ")]
        return cls(dict(_FILE.findall(text)), commands)

    @property
    def completing(self) -> list[list[str]]:
        """The commands that make something of the repository anew, such as `python docs/gallery.py`."""
        return [command for command in self.commands if command[1].startswith("docs/")]

    @property
    def training(self) -> list[str] | None:
        """The last command that trains, if the guide has one."""
        trainings = [command for command in self.commands if command[1] == "train.py"]
        return trainings[-1] if trainings else None


def python_blocks(page: Path) -> list[str]:
    """The blocks of Python on a page, in its order."""
    return [block for language, block in _BLOCK.findall(page.read_text()) if language == "python"]


def contract() -> dict[str, dict[str, str]]:
    """The names in docs/contract.md with what stands beside them, by section; without planned ones."""
    text = (ROOT / "docs" / "contract.md").read_text()
    _, *parts = _SECTION.split(text)
    sections = dict(zip(parts[::2], parts[1::2], strict=True))
    names = {}
    for section, body in sections.items():
        names[section] = {name: meaning for name, meaning in _ROW.findall(body) if not meaning.startswith("planned")}
    return names
