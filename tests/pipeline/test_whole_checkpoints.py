import resource
import signal
from pathlib import Path

import pytest
import torch

from ratespike.execution.room import NoRoomError
from ratespike.pipeline.whole_checkpoints import WholeCheckpoints


def test_a_checkpoint_that_does_not_fit_leaves_the_one_before_whole(tmp_path: Path) -> None:
    """The kernel refuses to let a file of this process grow further, as it does where the disk is full."""
    path = tmp_path / "new folder" / "last.ckpt"
    WholeCheckpoints().save_checkpoint({"epoch": 1}, path)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    assert signal.getsignal(signal.SIGXFSZ) == signal.SIG_IGN, "Python makes an error of it"
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(NoRoomError, match=f"{path.parent} is full .*; make room there"):
            WholeCheckpoints().save_checkpoint({"epoch": 2, "weights": torch.zeros(10_000)}, path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert torch.load(path, weights_only=True) == {"epoch": 1}
    WholeCheckpoints().save_checkpoint({"epoch": 2}, path)
    assert torch.load(path, weights_only=True) == {"epoch": 2}
    assert [file.name for file in path.parent.iterdir()] == ["last.ckpt"]
