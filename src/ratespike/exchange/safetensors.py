"""Weights in safetensors: a header of names, shapes and words, and the numbers behind it; nothing in such a file can run."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ratespike.exchange.packages import needed
from ratespike.exchange.whole_file import whole_file
from ratespike.parameters import ParameterError

METADATA = "ratespike"  # the key under which the description is kept, as JSON
_SHA256 = "ratespike.sha256"  # and that of description and tensors: the format has no checksum


def write_safetensors(path: str | Path, state: Mapping[str, Tensor], description: Mapping[str, Any] | None = None) -> None:
    """Write tensors by name, and what describes them.

    Args:
        path: of the file, which is there as a whole or not at all.
        state: such as a network's `state_dict()`.
        description: what JSON can hold.

    Raises:
        ParameterError: the package is missing.

    Example:
        >>> import tempfile
        >>> from torch import nn
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_safetensors(f"{folder}/a.safetensors", nn.Linear(2, 3).state_dict(), {"classes": 3})
        ...     tensors, description = read_safetensors(f"{folder}/a.safetensors")
        >>> sorted(tensors), description
        (['bias', 'weight'], {'classes': 3})
    """
    library = needed("safetensors.torch")
    # copies: the format has one order of memory, and no two names for one tensor
    copies = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in state.items()}
    described = json.dumps(description or {})
    with whole_file(path) as unfinished:
        unfinished.write_bytes(library.save(copies, {METADATA: described, _SHA256: _sha256(described, copies)}))


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], Any]:
    """The tensors of a file by name, and what describes them.

    Args:
        path: of the file.

    Raises:
        ParameterError: the package is missing; no such file, or one that is no whole safetensors file, has no description, or
            is not what `write_safetensors` has written.
    """
    library = needed("safetensors")
    if not Path(path).is_file():
        raise ParameterError(f"{path}: no such file")
    try:
        with library.safe_open(str(path), framework="pt") as file:
            metadata = file.metadata() or {}
            description = json.loads(metadata[METADATA])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
    except KeyError:
        raise ParameterError(f"{path}: holds weights without the settings that ratespike keeps beside them") from None
    except (library.SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ParameterError(f"{path}: cannot be read ({' '.join(str(error).split())[:160]})") from None
    is_signed = set(metadata) != {METADATA}  # those of earlier versions are not
    if is_signed and metadata.get(_SHA256) != _sha256(metadata[METADATA], tensors):
        raise ParameterError(f"{path}: is damaged: its content is not that of its SHA-256; take another copy")
    return tensors, description


def sha256_of_tensors(state: Mapping[str, Tensor]) -> str:
    """A hash of tensors and their names, whatever the order of the names and of the tensors' memory.

    Args:
        state: such as a network's `state_dict()`.
    """
    found = hashlib.sha256()
    for name, tensor in sorted(state.items()):
        found.update(name.encode())
        found.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()


def _sha256(described: str, state: Mapping[str, Tensor]) -> str:
    return hashlib.sha256(f"{described}{sha256_of_tensors(state)}".encode()).hexdigest()
