"""A network that a command line names by its file: loaded, or refused in one line."""

from pathlib import Path

import pytest
import torch
from torch import nn

from ratespike.conversion.plain_model import load_weights_of_plain_model, plain_model, sources_of
from ratespike.parameters import ParameterError

FILE = """
from torch import nn

class Net(nn.Sequential):
    def __init__(self, width=4):
        super().__init__(nn.Linear(3, width), nn.ReLU(), nn.Linear(width, 2))

made = Net(5)
number = 3
def fails(): raise ValueError("no weights here")
def leaves(): raise SystemExit(3)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "my_network.py"
    path.write_text(FILE)
    return path


@pytest.mark.parametrize(("name", "width"), [("Net", 4), ("made", 5)])
def test_a_class_or_a_network(file: Path, name: str, width: int) -> None:
    network = plain_model(f"{file}:{name}")
    assert not network.training
    assert network(torch.ones(1, 3)).shape == (1, 2)
    assert network[0].out_features == width  # type: ignore[index]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("Nett", "has no Nett; .*Net"),
        ("number", "int|not callable"),
        ("fails", r"fails\(\) fails \(ValueError: no weights here\)"),
        ("leaves", "SystemExit: 3"),
        ("", "must be <file.py>:<name>"),
    ],
)
def test_another_name_is_refused(file: Path, name: str, message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        plain_model(f"{file}:{name}")


def test_a_file_that_is_not_there_or_fails(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="there is no file"):
        plain_model(f"{tmp_path / 'none.py'}:Net")
    (tmp_path / "bad.py").write_text("import nothing_of_this_name")
    with pytest.raises(ParameterError, match="ModuleNotFoundError: No module named 'nothing_of_this_name'"):
        plain_model(f"{tmp_path / 'bad.py'}:Net")


def test_a_file_may_import_what_lies_beside_it(tmp_path: Path) -> None:
    (tmp_path / "beside_my_network.py").write_text("WIDTH = 7")
    (tmp_path / "net.py").write_text("from torch import nn\nfrom beside_my_network import WIDTH\nnet = nn.Linear(3, WIDTH)")
    assert plain_model(f"{tmp_path / 'net.py'}:net")(torch.ones(1, 3)).shape == (1, 7)


def test_a_file_with_a_dataclass_that_imports_while_it_makes_the_network(tmp_path: Path) -> None:
    (tmp_path / "beside_the_net.py").write_text("WIDTH = 6")
    code = """
from __future__ import annotations
from dataclasses import dataclass
from torch import nn
@dataclass
class Settings:
    width: int = 2
def net():
    from beside_the_net import WIDTH
    return nn.Linear(3, WIDTH)
"""
    (tmp_path / "net.py").write_text(code)
    assert plain_model(f"{tmp_path / 'net.py'}:net")(torch.ones(1, 3)).shape == (1, 6)


def test_each_model_has_the_helper_that_lies_beside_it(tmp_path: Path) -> None:
    for name, width in (("one", 4), ("two", 9)):
        folder = tmp_path / name
        folder.mkdir()
        (folder / "helper_of_net.py").write_text(f"WIDTH = {width}")
        (folder / "net.py").write_text("from torch import nn\nfrom helper_of_net import WIDTH\nnet = nn.Linear(3, WIDTH)")
        assert plain_model(f"{folder / 'net.py'}:net").out_features == width


def test_a_source_that_is_no_python_of_today_is_left_out(tmp_path: Path) -> None:
    (tmp_path / "net.py").write_text("try:\n    import old\nexcept SyntaxError:\n    pass\nfrom ............ import far")
    (tmp_path / "old.py").write_text("print 'old'")
    assert [path.name for path in sources_of(tmp_path / "net.py")] == ["net.py", "old.py"]


def test_the_sources_are_the_files_that_are_imported(tmp_path: Path) -> None:
    files = {
        "net.py": "import torch\nimport blocks\nfrom parts import head",
        "blocks.py": "import net\nfrom parts.deep.layers import Layer as L",
        "other.py": "",
        "parts/__init__.py": "from . import tail",
        "parts/head.py": "from .deep import *",
        "parts/tail.py": "",
        "parts/other.py": "",
        "parts/deep/__init__.py": "",
        "parts/deep/layers.py": "from ..twice import x",
        "parts/twice.py": "",
    }
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    found = [path.relative_to(tmp_path.resolve()).as_posix() for path in sources_of(tmp_path / "net.py")]
    assert found == sorted(set(files) - {"other.py", "parts/other.py"}, key=lambda name: Path(name))


@pytest.mark.parametrize("prefix", ["", "module.", "network."])
@pytest.mark.parametrize("key", [None, "state_dict", "model"])
def test_weights_are_found_under_the_usual_names(file: Path, tmp_path: Path, prefix: str, key: str | None) -> None:
    trained = plain_model(f"{file}:Net")
    state = {prefix + name: weights for name, weights in trained.state_dict().items()}
    torch.save(state if key is None else {key: state, "epoch": 3}, tmp_path / "weights.pt")
    network = plain_model(f"{file}:Net")
    load_weights_of_plain_model(network, tmp_path / "weights.pt")
    images = torch.rand(4, 3)
    assert torch.equal(network(images), trained(images))


class Stranger:
    """An object whose class only this file knows."""


def test_other_files_are_refused(file: Path, tmp_path: Path) -> None:
    network = plain_model(f"{file}:Net")
    contents = {
        "there is no such file": None,
        "without running code": {"model": Stranger()},
        "holds no state dict": {"epoch": 3},
        "do not fit the model": nn.Linear(3, 3).state_dict(),
    }
    for message, content in contents.items():
        path = tmp_path / "weights.pt"
        if content is not None:
            torch.save(content, path)
        with pytest.raises(ParameterError, match=message):
            load_weights_of_plain_model(network, path)
