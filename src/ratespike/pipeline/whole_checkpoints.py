"""Checkpoint files that appear whole or not at all."""

import io
from pathlib import Path
from typing import Any

import torch
from lightning_fabric.plugins.io.torch_io import TorchCheckpointIO

from ratespike.exchange.whole_file import whole_file
from ratespike.execution.room import room_in


class WholeCheckpoints(TorchCheckpointIO):
    """Lightning's checkpoints, written beside their place and then moved there.

    Lightning writes them in the folder for temporary files first, where a program that is killed leaves them, and which may be
    on another disk; then its move is a copy, that a kill cuts short.
    """

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        """Write a file; raises `NoRoomError` where the disk is full."""
        target = Path(path)
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with room_in(target.parent):
            target.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(target) as unfinished:
                unfinished.write_bytes(content.getbuffer())
