"""An `.npz` file: mapped or unpacked, any order of axes, and what is refused in one line."""

import io
import logging
import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from ratespike.data import Images
from ratespike.data.npz import NPZ
from ratespike.parameters import ParameterError

GENERATOR = np.random.default_rng(0)
IMAGES = GENERATOR.integers(0, 256, (40, 6, 5, 3), dtype=np.uint8)
LABELS = np.arange(40) % 4
SPLIT = np.array(["train", "test", "train", "train", "train"] * 8)
TEST = np.flatnonzero(SPLIT == "test")


def load(path: Path, **given: object):
    return NPZ(dir=str(path), **given).load(path.parent)  # type: ignore[arg-type]


def save(folder: Path, compressed: bool = False, **changed: np.ndarray) -> Path:
    arrays = {"images": IMAGES, "labels": LABELS, "split": SPLIT} | changed
    path = folder / "some.npz"
    path.unlink(missing_ok=True)  # what is mapped stays what it was
    (np.savez_compressed if compressed else np.savez)(path, **arrays)  # type: ignore[arg-type]
    return path


@pytest.mark.parametrize("compressed", [False, True])
@pytest.mark.parametrize(
    "images",
    [
        pytest.param(IMAGES, id="channels last"),
        pytest.param(IMAGES.transpose(0, 3, 1, 2).copy(), id="channels first"),
        pytest.param(np.asfortranarray(IMAGES), id="first index fastest"),
    ],
)
def test_images_are_those_of_the_file(tmp_path: Path, compressed: bool, images: np.ndarray) -> None:
    splits = load(save(tmp_path, compressed, images=images))
    assert (splits.image_shape, splits.classes) == ((3, 6, 5), 4)
    expected = torch.from_numpy(IMAGES[TEST].transpose(0, 3, 1, 2).copy())
    assert torch.equal(splits.test.pixels, expected)
    assert splits.test.labels.tolist() == LABELS[TEST].tolist()
    assert torch.equal(pickle.loads(pickle.dumps(splits.test)).pixels, expected), "in another process"


def test_grey_numbers_words_and_names(tmp_path: Path) -> None:
    greys = GENERATOR.random((40, 6, 5))
    names = np.array(["wolf", "dog", "fox", "cat"])
    splits = load(save(tmp_path, images=greys, labels=names[LABELS]))
    assert splits.class_names == ("cat", "dog", "fox", "wolf")
    assert torch.equal(splits.test.as_inputs()[:, 0], torch.from_numpy(greys[TEST]).float())
    assert [splits.class_names[label] for label in splits.test.labels] == names[LABELS[TEST]].tolist()
    assert load(save(tmp_path, class_names=names)).class_names == tuple(names)
    assert load(save(tmp_path, class_names=np.array([10, 20, 7, 5]))).class_names == ("10", "20", "7", "5")
    fortran = load(save(tmp_path, images=np.asfortranarray(greys), labels=LABELS[:, None]))
    assert torch.equal(fortran.test.as_inputs(), splits.test.as_inputs())


def test_without_a_split_a_share_of_each_class_is_drawn_once_for_all(tmp_path: Path) -> None:
    path = tmp_path / "some.npz"
    np.savez(path, images=IMAGES, labels=np.repeat([0, 1], (30, 10)))
    splits, other = load(path), load(path, split_seed=3)
    assert splits.test.labels.bincount().tolist() == [6, 2]
    assert torch.equal(splits.test.pixels, other.test.pixels), "test images do not depend on the seed of the validation images"
    assert not torch.equal(splits.test.pixels, load(path, test_seed=3).test.pixels)


@pytest.mark.parametrize(
    ("of_each_class", "message"),
    [
        (1, "none of 4 images can be set aside for tests: no class has more than one image"),
        (2, "no image can be set aside for validation: no class has more than one training image; give more"),
    ],
)
def test_too_few_images_of_each_class(tmp_path: Path, of_each_class: int, message: str) -> None:
    labels = np.repeat(np.arange(4), of_each_class)
    path = tmp_path / "some.npz"
    np.savez(path, images=IMAGES[: len(labels)], labels=labels)
    with pytest.raises(ParameterError, match=message):
        load(path, stratify=True, test_fraction=0.5)


def huge(path: Path, compression: int) -> None:
    """A file whose header claims 10^9 images."""
    content = io.BytesIO()
    np.lib.format.write_array_header_1_0(content, {"shape": (10**9, 28, 28), "fortran_order": False, "descr": "|u1"})
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("images.npy", content.getvalue() + bytes(100))
        archive.writestr("labels.npy", content.getvalue())


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_a_header_that_claims_more_than_there_is(tmp_path: Path, compression: int) -> None:
    huge(tmp_path / "huge.npz", compression)
    with pytest.raises(ParameterError, match=r"images.npy is damaged: it holds 228 bytes, but its header says 784000000128"):
        load(tmp_path / "huge.npz")


NAN = GENERATOR.random((40, 6, 5))
NAN[17, 2, 2] = np.nan


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"images": NAN}, "image 17 has pixels that are NaN or infinite"),
        ({"images": IMAGES.astype(np.int64)}, "images are torch.int64; save them as uint8 from 0 to 255, or as floating-point"),
        ({"images": NAN[:, :0]}, r"images have no pixels: their shape \(channels, height, width\) is \(1, 0, 5\)"),
        ({"images": IMAGES[:30]}, "holds 40 labels for 30 images"),
        ({"images": IMAGES[..., :2]}, r"images have the shape \(40, 6, 5, 2\); must be"),
        ({"labels": LABELS + 0.5}, "labels must be one whole number or word for each image"),
        ({"labels": np.array([None] * 40)}, "labels.npy holds Python objects"),
        ({"split": SPLIT[:3]}, "split must hold the word train or test for each of the 40 images"),
        ({"split": SPLIT == "test"}, "split must hold the word train or test"),
        ({"split": SPLIT[:, None]}, r"split has the shape \(40, 1\); must be a list of words"),
        ({"split": np.array(["train"] * 40)}, "there are no test images"),
        ({"labels": np.array(3)}, "labels must be one whole number or word for each image"),
        ({"labels": np.array("cat")}, r"labels has the shape \(\); must be a list of words"),
        ({"labels": np.array(["café".encode()] * 40)}, "labels holds bytes that are not ASCII; save them as words"),
        ({"labels": (SPLIT == "test") * 2}, "there are test images of the class 2, but no training images"),
        ({"labels": np.where(SPLIT == "test", "cat", "dog")}, "there are test images of the class cat, but no training images"),
        ({"labels": np.zeros(40, int)}, "there is only one class, 0; to tell classes apart takes two or more"),
        ({"labels": np.zeros(40, "datetime64[s]")}, r"labels.npy holds datetime64\[s\]; save whole or floating-point"),
        ({"labels": np.zeros(40, [("a", int)])}, r"labels.npy holds \[\('a', '<i8'\)\]; save whole or floating-point"),
        ({"images": np.zeros((40, 6, 5), np.longdouble)}, "images.npy holds float128; save whole or floating-point"),
        ({"images": np.zeros((40, 6, 5), ">f4")}, r"images.npy holds >f4, another byte order than .*; save .astype\('<f4'\)"),
        ({"class_names": np.array(4)}, r"class_names has the shape \(\); must be a list of words"),
        ({"class_names": np.arange(8).reshape(4, 2)}, r"class_names has the shape \(4, 2\); must be a list of words"),
        ({"class_names": np.array(["a", "b", "", "c"])}, "the class 2 has an empty name"),
        ({"class_names": np.array(["a", "b", "a", "c"])}, "two classes have the name a; give each a name of its own"),
        ({"class_names": np.array(["a", "b", "c\udcff", "d"])}, r"the name of the class 'c\\udcff' is not UTF-8"),
    ],
)
def test_wrong_content_is_refused_in_one_line(tmp_path: Path, changed: dict[str, np.ndarray], message: str) -> None:
    with pytest.raises(ParameterError, match=f"^data.dir=.*: .*{message}"):
        load(save(tmp_path, **changed))


@pytest.mark.parametrize("is_split", [False, True])
@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"labels": LABELS - 1}, "labels from -1 to 2; with 40 images they must be class numbers from 0 to 39"),
        ({"labels": LABELS + 10**9 * (LABELS == 3)}, "labels from 0 to 1000000003; with 40 images"),
        (
            {"class_names": np.array(["a", "b"])},
            "labels from 0 to 3; with 2 class_names they must be class numbers from 0 to 1",
        ),
    ],
)
def test_labels_that_are_no_classes_are_refused(
    tmp_path: Path, changed: dict[str, np.ndarray], message: str, is_split: bool
) -> None:
    arrays = {"images": IMAGES, "labels": LABELS} | ({"split": SPLIT} if is_split else {}) | changed
    np.savez(tmp_path / "some.npz", **arrays)
    with pytest.raises(ParameterError, match=f"^data.dir=.*: some.npz: holds {message}"):
        load(tmp_path / "some.npz")


def test_damaged_and_missing_files(tmp_path: Path) -> None:
    path = save(tmp_path, compressed=True)
    whole = path.read_bytes()
    path.write_bytes(whole[:-100])
    with pytest.raises(ParameterError, match=r"some.npz: is damaged, or no .npz file"):
        load(path)
    path.write_bytes(whole[:300] + bytes(200) + whole[500:])
    with pytest.raises(ParameterError, match=r"some.npz: is damaged, or no .npz file \(.*\)$"):
        load(path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ParameterError, match=r"0 files end in \.npz; give data.dir=<file.npz>"):
        load(tmp_path / "empty")
    with pytest.raises(
        ParameterError, match=r"^data.dir=.*nowhere: no such file; /.*nowhere was looked for; give data.dir=<file>$"
    ):
        load(tmp_path / "nowhere")
    np.savez(path, x_train=IMAGES, y_train=LABELS)
    with pytest.raises(ParameterError, match=r"has no array images; it has x_train, y_train: save them as images, labels$"):
        load(path)


@pytest.mark.parametrize(
    ("labels", "warning"),
    [
        (LABELS + 1, "no training images of the class 0; number the classes from 0, without gaps"),
        (np.where(LABELS == 1, 39, LABELS), "no training images of the 36 classes 1, 4, 5, 6, 7, …; number the classes from 0"),
        (LABELS, ""),
    ],
)
def test_classes_without_training_images(
    tmp_path: Path, labels: np.ndarray, warning: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        splits = load(save(tmp_path, labels=labels, split=SPLIT[::-1]))
    assert splits.classes == labels.max() + 1
    assert [warning in record.message for record in caplog.records] == [True] * bool(warning)


def test_arrays_that_are_not_used_are_not_looked_at(tmp_path: Path) -> None:
    others = {"notes": np.array([None]), "when": np.zeros(3, "datetime64[s]"), "precise": np.zeros(3, np.longdouble)}
    assert load(save(tmp_path, compressed=True, **others)).classes == 4
    assert len(list((tmp_path / "outputs/data_cache").glob("*/array.npy"))) == 2, "images and labels alone are unpacked"


def test_images_that_are_mapped_take_no_memory_when_they_are_chosen(tmp_path: Path) -> None:
    splits = load(save(tmp_path))
    chosen: Images = splits.train[torch.tensor([3, 1])][:1]
    assert torch.equal(chosen.pixels[0], splits.train.pixels[3])
    assert not any(value.numel() > 40 for value in vars(chosen).values() if isinstance(value, torch.Tensor))
