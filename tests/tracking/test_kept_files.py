"""What runs share is compared with its SHA-256: a damaged file is used by nobody, and does no harm once it was mended."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from ratespike.parameters import ParameterError
from ratespike.pipeline.checkpoint import checkpoint_of_run, write_checkpoint
from ratespike.tracking import shared, store
from ratespike.tracking.kept_files import SHA256, signed
from ratespike.tracking.runs import BEST, Client, Run

ARRAYS = {"test:rates": np.arange(100.0)}


@pytest.fixture
def make_run(client: Client, request: pytest.FixtureRequest) -> Callable[[], Run]:
    tags = {shared.TRAINING_HASH: f"t {request.node.name}", shared.SIMULATION_HASH: f"s {request.node.name}"}
    return lambda: store.open_run(client, "kept_files", "a run", tags)


def file_of(run: Run, artifact: str) -> Path:
    return Path(str(run.client.get_run(run.id).info.artifact_uri).removeprefix("file://")) / artifact


def flip(path: Path, place: int) -> bytes:
    """Change one bit of a file; returns what it was."""
    content = path.read_bytes()
    changed = bytearray(content)
    changed[place] ^= 1
    path.write_bytes(changed)
    return content


def train(run: Run, folder: Path) -> Path:
    """Have a run end a training; returns the file of its checkpoint."""
    path = folder / Path(BEST).name
    write_checkpoint(path, nn.Linear(40, 10), {"classes": 10})
    run.file(path, "checkpoints")
    shared.sign(run, BEST, shared.sha256(path))
    run.tags({shared.TRAINED: "true"})
    return file_of(run, BEST)


def test_a_damaged_training_is_not_taken_and_a_mended_one_is(
    make_run: Callable[[], Run], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    trained, other = make_run(), make_run()
    path = train(trained, tmp_path)
    content = flip(path, 1500)
    with caplog.at_level("WARNING"):
        assert not shared.take_training(other, BEST)
    assert f"run {trained.id}" in caplog.text and str(path) in caplog.text and "trained anew" in caplog.text
    assert not other.has(BEST) and other.tag(shared.TRAINED_IN) is None
    path.write_bytes(content)
    assert shared.take_training(other, BEST)
    assert file_of(other, BEST).read_bytes() == content
    assert other.tag(SHA256 + BEST) == trained.tag(SHA256 + BEST)


def test_a_training_of_an_earlier_version_is_known_by_its_checksums(make_run: Callable[[], Run], tmp_path: Path) -> None:
    trained, other = make_run(), make_run()
    path = train(trained, tmp_path)
    trained.client.delete_tag(trained.id, SHA256 + BEST)
    content = flip(path, 1500)
    assert not shared.take_training(other, BEST)
    path.write_bytes(content)
    assert shared.take_training(other, BEST)


def test_no_flipped_bit_of_a_checkpoint_is_read(make_run: Callable[[], Run], tmp_path: Path) -> None:
    run = make_run()
    path = train(run, tmp_path)
    size = path.stat().st_size
    for place in range(0, size, max(1, size // 50)):
        content = flip(path, place)
        with pytest.raises(
            ParameterError, match=r"best\.ckpt is damaged: its SHA-256 .* delete the run and repeat its command"
        ):
            checkpoint_of_run(run.id, run.client.tracking_uri, tmp_path)
        path.write_bytes(content)
    with signed(run, BEST) as whole:
        assert whole is not None and len(torch.load(whole, weights_only=True)["state_dict"]) == 2


@pytest.mark.parametrize("has_tag", [True, False])
def test_a_damaged_simulation_is_not_taken_and_a_mended_one_is(make_run: Callable[[], Run], has_tag: bool) -> None:
    simulated, other = make_run(), make_run()
    shared.keep_simulation(simulated, 5, ARRAYS)
    artifact = "results/simulation.npz"
    if not has_tag:
        simulated.client.delete_tag(simulated.id, SHA256 + artifact)
    path = file_of(simulated, artifact)
    content = path.read_bytes()
    for cut in (0, 1, len(content) // 2, len(content) - 1):
        path.write_bytes(content[:cut])
        assert shared.find_simulation(other, 5) is None
        assert shared.find_simulation(simulated, 5) is None
    path.write_bytes(content)
    found = shared.find_simulation(other, 5)
    assert found is not None and found["test:rates"].tolist() == ARRAYS["test:rates"].tolist()
