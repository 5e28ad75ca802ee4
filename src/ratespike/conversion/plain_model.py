"""A plain PyTorch network that a command line names: the file and the name of what makes it, and the file of its weights."""

import ast
import importlib.util
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from ratespike.checked_files import check_archive
from ratespike.parameters import ParameterError, nearest

_imported_beside: dict[Path, set[str]] = {}  # by the folder of a model's file, names of modules


def plain_model(model: str) -> nn.Module:
    """The network `<file.py>:<name>`, in eval mode.

    The file is run. The name stands for a network, or for a class or function that makes one when called without arguments.

    Raises:
        ParameterError: no such file or name, an exception in the file, or something else than a network.
    """
    file, _, name = model.rpartition(":")
    if not file or not name:
        raise ParameterError(f"model={model}: must be <file.py>:<name>, the name of a network or of what makes one")
    if not Path(file).is_file():
        raise ParameterError(f"model={model}: there is no file {file}")
    with _importing_beside(Path(file)):
        return _made(_run(Path(file), model), name, model).eval()


def _made(module: ModuleType, name: str, model: str) -> nn.Module:
    """The network that a name in a module stands for."""
    if not hasattr(module, name):
        names = [
            known for known, value in vars(module).items() if not known.startswith("_") and not isinstance(value, ModuleType)
        ]
        raise ParameterError(f"model={model}: the file has no {name}; {nearest(name, names)}")
    network = getattr(module, name)
    if not isinstance(network, nn.Module):
        try:
            network = network()
        except (Exception, SystemExit) as error:
            raise ParameterError(f"model={model}: {name}() fails ({_first_line(error)})") from None
    if not isinstance(network, nn.Module):
        raise ParameterError(f"model={model}: gives a {type(network).__name__}; it must give a torch.nn.Module")
    return network


def sources_of(file: Path) -> list[Path]:
    """A Python file and the files beside it that it imports, also by way of each other, in alphabetical order."""
    found: set[Path] = set()
    to_read = [file.resolve()]
    while to_read:
        path = to_read.pop()
        if path not in found:
            found.add(path)
            to_read += _imported_files(path, file.resolve().parent)
    return sorted(found)


def _imported_files(path: Path, folder: Path) -> list[Path]:
    """The files that a file imports from a folder, or from its own package there."""
    names: list[tuple[Path, str]] = []  # where to look, and for which dotted name
    try:
        syntax = ast.parse(path.read_bytes())
    except SyntaxError:  # of a file that is imported in a `try`
        return []
    for node in ast.walk(syntax):
        if isinstance(node, ast.Import):
            names += [(folder, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            start = path.parents[min(node.level, len(path.parents)) - 1] if node.level else folder
            module = f"{node.module}." if node.module else ""
            names += [(start, module + alias.name) for alias in node.names]
    places: list[Path] = []
    for start, name in names:
        parts = name.split(".")
        for length in range(1, len(parts) + 1):
            place = start.joinpath(*parts[:length])
            places += [place.with_suffix(".py"), place / "__init__.py"]
    return [place.resolve() for place in places if place.is_file()]


def load_weights_of_plain_model(network: nn.Module, path: Path) -> None:
    """Put the weights in a file of `torch.save` into a network; no code in the file is run.

    The file holds a state dict, or a dictionary with one under `state_dict` or `model`, whose names may begin with `module.`,
    `model.` or `network.`, as wrappers put it there.

    Raises:
        ParameterError: no such file, other weights, or more than tensors in it.
    """
    if not path.is_file():
        raise ParameterError(f"checkpoint={path}: there is no such file")
    try:
        check_archive(path)
        content = torch.load(path, map_location="cpu", weights_only=True)
    except ParameterError as error:
        raise ParameterError(f"checkpoint={error}") from None
    except Exception as error:
        raise ParameterError(
            f"checkpoint={path}: cannot be read without running code in it ({type(error).__name__}); "
            "save it by torch.save(network.state_dict(), file)"
        ) from None
    state = _state_dict(content)
    if state is None:
        raise ParameterError(f"checkpoint={path}: holds no state dict; save it by torch.save(network.state_dict(), file)")
    try:
        network.load_state_dict(_as_named(state, network))
    except (RuntimeError, TypeError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ParameterError(f"checkpoint={path}: its weights do not fit the model ({reason})") from None


def _run(file: Path, model: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(f"model_of_user_{file.stem}", file)
    if spec is None or spec.loader is None:
        raise ParameterError(f"model={model}: {file} is no Python file")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses and pickles look for a class there
    try:
        spec.loader.exec_module(module)
    except (Exception, SystemExit) as error:
        raise ParameterError(f"model={model}: {file} fails ({_first_line(error)})") from None
    return module


@contextmanager
def _importing_beside(file: Path) -> Iterator[None]:
    """Inside, as for a program, what lies beside a file can be imported, and nothing of that name from elsewhere is taken."""
    folder = file.resolve().parent
    for other, names in _imported_beside.items():
        for name in names if other != folder else ():
            sys.modules.pop(name, None)
    before = set(sys.modules)
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        of_folder = {name for name in set(sys.modules) - before if _lies_below(sys.modules[name], folder)}
        _imported_beside.setdefault(folder, set()).update(of_folder)


def _lies_below(module: ModuleType, folder: Path) -> bool:
    file = getattr(module, "__file__", None)
    return file is not None and folder in Path(file).resolve().parents


def _state_dict(content: Any) -> dict[str, Tensor] | None:
    """The state dict that a file holds, or None."""
    if not isinstance(content, Mapping):
        return None
    for key in ("state_dict", "model"):
        if isinstance(content.get(key), Mapping):
            content = content[key]
    if content and all(isinstance(value, Tensor) for value in content.values()):
        return dict(content)
    return None


def _as_named(state: Mapping[str, Tensor], network: nn.Module) -> dict[str, Tensor]:
    """The weights by the names that the network gives them."""
    wanted = set(network.state_dict())
    for prefix in ("module.", "model.", "network."):
        without = {name.removeprefix(prefix): weights for name, weights in state.items() if name.startswith(prefix)}
        if set(without) == wanted:
            return without
    return dict(state)


def _first_line(error: BaseException) -> str:
    text = str(error).splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
