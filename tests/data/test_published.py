"""CIFAR in its binary form, the digits of scikit-learn, and IDX files whose checksums are known."""

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from cifar_files import cifar10
from program import ROOT
from sklearn.datasets import load_digits

from ratespike.data.cifar import CIFAR10, CIFAR100
from ratespike.data.digits import Digits
from ratespike.data.idx import IDX
from ratespike.data.images import Images
from ratespike.parameters import ParameterError

GENERATOR = np.random.default_rng(0)


def test_cifar10(tmp_path: Path) -> None:
    records = cifar10(tmp_path, in_each=10)
    splits = CIFAR10(dir=".", split_seed=None).load(tmp_path)
    assert (splits.image_shape, len(splits.train), len(splits.test)) == ((3, 32, 32), 45, 10)
    assert splits.class_names[3] == "cat"
    red, row, column = 1 + 0, 4, 7
    assert splits.test.pixels[2, 0, row, column] == records[2, red + 32 * row + column]
    assert splits.test.pixels[2, 2, row, column] == records[2, 1 + 2048 + 32 * row + column]
    (tmp_path / "data_batch_3.bin").write_bytes(bytes(3073 * 4 + 1))
    with pytest.raises(ParameterError, match=r"data_batch_3.bin: is damaged: its 12293 bytes are no whole number of 3073"):
        CIFAR10(dir=".").load(tmp_path)
    (tmp_path / "test_batch.bin").unlink()
    with pytest.raises(ParameterError, match=r"data_batch_3.bin: is damaged|test_batch.bin is missing"):
        CIFAR10(dir=".").load(tmp_path)


def test_the_class_of_cifar100_is_the_fine_one(tmp_path: Path) -> None:
    for name in ("train", "test"):
        records = GENERATOR.integers(0, 20, (200, 3074), dtype=np.uint8)
        records[:, 1] = np.arange(200) % 100
        (tmp_path / f"{name}.bin").write_bytes(records.tobytes())
    (tmp_path / "fine_label_names.txt").write_text("\n".join(f"class_{number}" for number in range(100)))
    splits = CIFAR100(dir=".").load(tmp_path)
    assert splits.classes == 100
    assert splits.test.labels.tolist() == list(range(100)) * 2


def test_digits_are_scikit_learns(tmp_path: Path) -> None:
    splits = Digits(validation_images=100).load(tmp_path)
    whole = torch.cat([splits.train.as_inputs(), splits.validation.as_inputs(), splits.test.as_inputs()])
    original = torch.from_numpy(load_digits().images).float() / 16
    assert sorted(whole.flatten(1).sum(1).tolist()) == sorted(original.flatten(1).sum(1).tolist())
    assert whole.max() == 1
    larger = Digits(validation_images=100, size=28).load(tmp_path)
    assert larger.image_shape == (1, 28, 28)
    assert torch.equal(larger.test.labels, splits.test.labels)


def test_idx_files_with_known_checksums(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shutil.copytree(ROOT / "data" / "mnist", tmp_path / "mnist")
    with caplog.at_level("INFO"):
        IDX(dir="mnist").load(tmp_path)
    assert "mnist: the checksums are those of MNIST" in caplog.text
    labels = tmp_path / "mnist" / "t10k-labels-idx1-ubyte.gz"
    labels.write_bytes(labels.read_bytes()[:-1] + b"x")
    with pytest.raises(ParameterError, match=r"t10k-labels-idx1-ubyte.gz: is damaged"):
        IDX(dir="mnist").load(tmp_path)


def test_floats_are_inputs_as_they_are() -> None:
    pixels = torch.tensor([[[[-1.0, 0.5, 3.0]]]], dtype=torch.float64)
    assert torch.equal(Images(pixels, torch.tensor([0])).as_inputs(), pixels.float())
