"""MNIST and what every data set shares: splits, slices, inputs, clear lines for files that are missing or damaged."""

import shutil
from pathlib import Path

import pytest
import torch
from program import ROOT

from ratespike.data import MNIST, Images
from ratespike.parameters import ParameterError

FOLDER = "data/mnist"


def test_mnist_is_whole_and_its_splits_are_disjoint() -> None:
    splits = MNIST(dir=FOLDER, validation_images=5000).load(ROOT)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (55_000, 5_000, 10_000)
    assert splits.test.pixels.shape == (10_000, 1, 28, 28)
    assert splits.test.labels[:10].tolist() == [7, 2, 1, 0, 4, 1, 4, 9, 5, 9]
    labels = torch.cat([splits.train.labels, splits.validation.labels]).bincount()
    assert labels.tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]  # of all 60 000
    assert splits.train.pixels.long().sum() + splits.validation.pixels.long().sum() == 1_567_298_545


def test_the_split_depends_on_its_seed_alone() -> None:
    first = MNIST(dir=FOLDER, validation_images=5000, split_seed=0).load(ROOT)
    again = MNIST(dir=FOLDER, validation_images=5000, split_seed=0).load(ROOT)
    other = MNIST(dir=FOLDER, validation_images=5000, split_seed=1).load(ROOT)
    assert torch.equal(first.validation.pixels, again.validation.pixels)
    assert not torch.equal(first.validation.labels, other.validation.labels)


def test_some_training_images_are_the_first_of_a_random_order_and_spread_over_that_of_the_files() -> None:
    for seed, every in ((0, 1), (None, 250)):
        splits = MNIST(dir=FOLDER, validation_images=10_000, split_seed=seed).load(ROOT)
        assert torch.equal(splits.some_training_images(200).pixels, splits.train[: 200 * every].pixels[::every])


def test_without_a_split_seed_the_last_images_validate() -> None:
    splits = MNIST(dir=FOLDER, validation_images=10_000, split_seed=None).load(ROOT)
    assert len(splits.train) == 50_000
    assert splits.train.labels[:10].tolist() == [5, 0, 4, 1, 9, 2, 1, 3, 1, 4]


def test_a_slice_says_that_it_is_one() -> None:
    data = MNIST(dir=FOLDER, validation_images=5000, train_images=100, test_images=50)
    splits = data.load(ROOT)
    assert data.is_slice
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (100, 100, 50)


def test_inputs_are_pixels_divided_by_255() -> None:
    """In float32, each to its last digit: what networks were trained on."""
    pixels = torch.arange(256, dtype=torch.uint8).reshape(1, 1, 16, 16)
    inputs = Images(pixels, torch.tensor([0])).as_inputs()
    expected = torch.tensor([value / 255 for value in range(256)]).reshape(1, 1, 16, 16)
    assert inputs.dtype == torch.float32
    assert torch.equal(inputs, expected)


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    shutil.copytree(ROOT / FOLDER, tmp_path / "mnist")
    damaged = tmp_path / "mnist" / "train-images-idx3-ubyte.gz"
    damaged.write_bytes(damaged.read_bytes()[:1000])
    with pytest.raises(ParameterError, match=r"train-images-idx3-ubyte.gz is damaged \(1000 bytes, wrong SHA-256\)"):
        MNIST(dir="mnist", validation_images=5000).load(tmp_path)
    damaged.unlink()
    with pytest.raises(ParameterError, match="is missing"):
        MNIST(dir="mnist", validation_images=5000).load(tmp_path)
    with pytest.raises(ParameterError, match=r"data.dir=nowhere: no such folder"):
        MNIST(dir="nowhere", validation_images=5000).load(tmp_path)
    with pytest.raises(ParameterError, match="validation_images=60000: must be below 60000"):
        MNIST(dir=FOLDER, validation_images=60_000).load(ROOT)
