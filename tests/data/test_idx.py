"""A folder of somebody's IDX files: read as they are, or refused in one line that names the file."""

import gzip
import logging
import struct
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from idx_files import idx
from program import CONF, ROOT

from ratespike.data import MNIST, DataSet
from ratespike.data.idx import IDX, parse_idx
from ratespike.parameters import ParameterError, build

GENERATOR = np.random.default_rng(0)
PIXELS = GENERATOR.integers(0, 256, (12, 5, 7), dtype=np.uint8)
LABELS = np.array([0, 1, 2] * 4, dtype=np.uint8)


def write(folder: Path, zipped: bool = False, **changed: bytes) -> Path:
    """Four files, those in `changed` with another content."""
    contents = {"train_images": idx(PIXELS), "train_labels": idx(LABELS)}
    contents |= {"t10k_images": idx(PIXELS[:4]), "t10k_labels": idx(LABELS[:4])}
    for name, content in (contents | changed).items():
        split, what = name.split("_")
        kind = "idx3" if what == "images" else "idx1"
        path = folder / f"{split}-{what}-{kind}-ubyte{'.gz' if zipped else ''}"
        path.write_bytes(gzip.compress(content) if zipped else content)
    return folder


def data(folder: Path) -> IDX:
    return IDX(dir=str(folder), validation_images=2, split_seed=None)


@pytest.mark.parametrize("zipped", [False, True])
def test_other_counts_sizes_and_classes(tmp_path: Path, zipped: bool) -> None:
    splits = data(write(tmp_path, zipped)).load(tmp_path)
    assert (splits.image_shape, splits.classes, splits.class_names) == ((1, 5, 7), 3, ("0", "1", "2"))
    assert torch.equal(splits.train.pixels[:, 0], torch.from_numpy(PIXELS[:10]))
    assert torch.equal(splits.validation.pixels[:, 0], torch.from_numpy(PIXELS[10:]))
    assert splits.test.labels.tolist() == [0, 1, 2, 0]


def test_labels_that_begin_at_1_train_with_a_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Those of EMNIST's letters do."""
    folder = write(tmp_path, train_labels=idx(LABELS + 1), t10k_labels=idx(LABELS[:4] + 1))
    with caplog.at_level(logging.WARNING):
        splits = data(folder).load(tmp_path)
    assert (splits.class_names, splits.test.labels.tolist()) == (("0", "1", "2", "3"), [1, 2, 3, 1])
    assert [record.message for record in caplog.records] == [
        f"{folder}: no training images of the class 0; number the classes from 0, without gaps"
    ]


def test_colours_are_the_last_axis_of_the_file(tmp_path: Path) -> None:
    colours = GENERATOR.integers(0, 256, (12, 5, 7, 3), dtype=np.uint8)
    folder = write(tmp_path, train_images=idx(colours), t10k_images=idx(colours[:4]))
    splits = data(folder).load(tmp_path)
    assert splits.image_shape == (3, 5, 7)
    assert splits.test.pixels[2, 1, 4, 6] == colours[2, 4, 6, 1]


def test_colours_may_be_the_axis_behind_the_count(tmp_path: Path) -> None:
    colours = GENERATOR.integers(0, 256, (12, 3, 5, 7), dtype=np.uint8)
    folder = write(tmp_path, train_images=idx(colours), t10k_images=idx(colours[:4]))
    splits = data(folder).load(tmp_path)
    assert splits.image_shape == (3, 5, 7)
    assert splits.test.pixels[2, 1, 4, 6] == colours[2, 1, 4, 6]


def test_a_file_is_no_folder_of_idx_files(tmp_path: Path) -> None:
    path = write(tmp_path) / "train-images-idx3-ubyte"
    with pytest.raises(ParameterError, match=r"data\.dir=.*train-images-idx3-ubyte: no such folder; "):
        data(path).load(tmp_path)


def test_mnist_is_one_of_them() -> None:
    mnist = MNIST(dir="data/mnist", validation_images=5000).load(ROOT)
    read = IDX(dir="data/mnist", validation_images=5000).load(ROOT)
    assert torch.equal(read.train.pixels, mnist.train.pixels)
    assert torch.equal(read.test.labels, mnist.test.labels)
    assert read.class_names == mnist.class_names


HUGE = struct.pack(">HBB3I", 0, 8, 3, 10**9, 28, 28)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"train_images": HUGE + bytes(100)}, r"train-images.*: is damaged: .*its header says 784000000016"),
        (
            {"train_images": idx(PIXELS)[:-1]},
            r"train-images.*: is damaged: it holds 435 bytes, but its header says 436",
        ),
        ({"t10k_images": idx(PIXELS[:4]) * 2}, r"t10k-images.*: is damaged: .* its header says 156"),
        ({"train_labels": idx(LABELS[:5])}, r"train-labels.*: holds \(5,\) labels for 12 images"),
        ({"t10k_labels": idx(np.array([0, 1, 2, 3], np.uint8))}, r"the labels of the test images are from 0 to 3; with 3"),
        (
            {"t10k_images": idx(PIXELS[:4, :, :6])},
            r"training and test images differ in shape \(channels, height, width\): \(1, 5, 7\) and \(1, 5, 6\)",
        ),
        ({"train_images": bytes([0, 0, 13, 1, 0, 0, 0, 0])}, "train-images.*: not an IDX file of unsigned bytes: .*00000d01"),
        ({"train_images": b""}, "train-images.*: not an IDX file"),
        ({"train_images": idx(PIXELS[0])}, r"train-images.*: holds numbers of the shape \(5, 7\)"),
        (
            {"train_images": idx(PIXELS.reshape(12, 5, 7, 1).repeat(2, 3))},
            r"train-images.*shape \(12, 5, 7, 2\); .* with 1 or 3",
        ),
        ({"t10k_images": idx(PIXELS[:0]), "t10k_labels": idx(LABELS[:0])}, "there are no test images"),
        ({"train_labels": idx(LABELS % 2 * 2)}, "there are test images of the class 1, but no training images"),
        ({"train_labels": idx(0 * LABELS), "t10k_labels": idx(0 * LABELS[:4])}, "there is only one class, 0"),
        ({"train_images": idx(PIXELS[:0]), "train_labels": idx(LABELS[:0])}, "there are no training images"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, zipped: bool, changed: dict[str, bytes], message: str) -> None:
    folder = write(tmp_path, zipped, **changed)
    with pytest.raises(ParameterError, match=f"^data.dir={folder}: {message}"):
        data(folder).load(tmp_path)


def test_a_file_that_unpacks_to_more_than_its_header_says(tmp_path: Path) -> None:
    folder = write(tmp_path, zipped=True, train_images=idx(PIXELS) + bytes(10**8))
    with pytest.raises(ParameterError, match=r"it holds \d+ bytes, but its header says 436"):
        data(folder).load(tmp_path)


def test_a_damaged_gzip_file(tmp_path: Path) -> None:
    path = write(tmp_path, zipped=True) / "train-images-idx3-ubyte.gz"
    content = bytearray(path.read_bytes())
    content[40] ^= 255
    path.write_bytes(content)
    with pytest.raises(ParameterError, match=r"train-images-idx3-ubyte\.gz: is damaged"):
        data(tmp_path).load(tmp_path)


def test_missing_and_doubled_files(tmp_path: Path) -> None:
    folder = write(tmp_path)
    (folder / "train-images.gz").write_bytes(b"")
    with pytest.raises(ParameterError, match=r"2 files have train and images in their names .*; leave one"):
        data(folder).load(tmp_path)
    for path in folder.glob("train-images*"):
        path.unlink()
    (folder / "train-images").mkdir()
    (folder / "train-images-idx3-ubyte").symlink_to(tmp_path / "none")
    with pytest.raises(ParameterError, match="no file has train and images in its name"):
        data(folder).load(tmp_path)


def test_test_is_a_word_of_a_name(tmp_path: Path) -> None:
    for path in write(tmp_path).iterdir():
        path.rename(tmp_path / f"latest_{path.name.replace('t10k-', 'test.')}")
    assert len(data(tmp_path).load(tmp_path).test) == 4


def test_a_small_set_needs_no_option(tmp_path: Path) -> None:
    options = yaml.safe_load((CONF / "data/idx.yaml").read_text()) | {"dir": str(write(tmp_path))}
    splits = build(DataSet, options, "data").load(tmp_path)  # type: ignore[type-abstract]
    assert (len(splits.train), len(splits.validation)) == (11, 1)


def test_the_example_of_the_format() -> None:
    with pytest.raises(ValueError, match="not an IDX file of unsigned bytes"):
        parse_idx(bytes([0, 0, 13, 1, 0, 0, 0, 0]))
