"""Weights in safetensors: a header of names, shapes and words, and the numbers behind it; nothing in such a file can run."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor

from ratespike.exchange.packages import needed
from ratespike.exchange.whole_file import whole_file
from ratespike.parameters import ParameterError

METADATA = "ratespike"  # the key under which the description is kept, as JSON


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
    with whole_file(path) as unfinished:
        unfinished.write_bytes(library.save(copies, {METADATA: json.dumps(description or {})}))


def read_safetensors(path: str | Path) -> tuple[dict[str, Tensor], Any]:
    """The tensors of a file by name, and what describes them.

    Args:
        path: of the file.

    Raises:
        ParameterError: the package is missing; no such file, or one that is no whole safetensors file or has no description.
    """
    library = needed("safetensors")
    if not Path(path).is_file():
        raise ParameterError(f"{path}: no such file")
    try:
        with library.safe_open(str(path), framework="pt") as file:
            description = json.loads((file.metadata() or {})[METADATA])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118  # it is no mapping
    except KeyError:
        raise ParameterError(f"{path}: holds weights without the settings that ratespike keeps beside them") from None
    except (library.SafetensorError, OSError, ValueError, RecursionError) as error:
        raise ParameterError(f"{path}: cannot be read ({' '.join(str(error).split())[:160]})") from None
    return tensors, description
