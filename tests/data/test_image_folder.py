"""A folder of somebody's pictures: sizes, colours, damage, the cache, and what is refused in one line."""

import logging
import os
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from ratespike.data import Cache
from ratespike.data.image_folder import ImageFolder
from ratespike.data.pictures import Shape, read_picture
from ratespike.parameters import ParameterError

GENERATOR = np.random.default_rng(0)


def picture(path: Path, height: int = 12, width: int = 10, mode: str = "RGB") -> Image.Image:
    path.parent.mkdir(parents=True, exist_ok=True)
    colours = GENERATOR.integers(0, 256, (height, width, 3), dtype=np.uint8)
    image = Image.fromarray(colours).convert(mode)
    image.save(path)
    return image


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two classes, PNG and JPEG, grey and colour, three sizes, one turned by its camera."""
    folder = tmp_path / "photos"
    for number in range(10):
        picture(folder / "cats" / f"{number}.png", mode="L" if number < 3 else "RGB")
        picture(folder / "dogs" / "more" / f"{number}.jpeg", height=30 if number < 2 else 12)
    picture(folder / "cats" / "wide.PNG", 5, 20)
    (folder / "cats" / "notes.txt").write_text("not a picture")
    (folder / "cats" / ".hidden.png").write_bytes(b"")
    return folder


def test_pictures_of_all_kinds_become_images_of_one_shape(photos: Path, tmp_path: Path) -> None:
    splits = ImageFolder(dir=str(photos)).load(tmp_path)
    assert splits.class_names == ("cats", "dogs")
    assert splits.image_shape == (3, 12, 10), "the size that most have, in colour"
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 21
    assert splits.test.labels.bincount().tolist() == [2, 2], "a fifth of each class"


def test_pixels_are_those_of_the_files(photos: Path, tmp_path: Path) -> None:
    data = ImageFolder(dir=str(photos))
    content = data.read(photos, Cache(tmp_path / "cache"))
    seen = {tuple(image.flatten().tolist()) for image in torch.cat([content.train.pixels, content.test.pixels])}
    for number in range(3, 10):
        expected = np.asarray(Image.open(photos / "cats" / f"{number}.png")).transpose(2, 0, 1)
        assert tuple(expected.flatten().tolist()) in seen


def test_folders_for_training_and_test_are_kept_apart(tmp_path: Path) -> None:
    for split, count in (("train", 8), ("test", 3)):
        for name in ("a", "b"):
            for number in range(count):
                picture(tmp_path / "set" / split / name / f"{number}.png", mode="L")
    splits = ImageFolder(dir="set", validation_images=4).load(tmp_path)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (12, 4, 6)
    assert splits.image_shape == (1, 12, 10), "no picture has colours"
    slices = [ImageFolder(dir="set", test_images=3, test_seed=seed).load(tmp_path).test.labels.tolist() for seed in range(5)]
    assert any(len(set(labels)) == 2 for labels in slices), "a slice is not of the first class alone"
    picture(tmp_path / "set" / "test" / "c" / "0.png")
    with pytest.raises(ParameterError, match="test/c has pictures, but train/c has none"):
        ImageFolder(dir="set").load(tmp_path)


def test_damaged_files_are_named_or_left_out(photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    whole = photos / "cats" / "5.png"
    whole.write_bytes(whole.read_bytes()[:60])
    (photos / "dogs" / "none.jpg").write_bytes(b"this is no picture")
    (photos / "empty").mkdir()
    named = r"2 of 22 pictures cannot be read: cats/5.png \(.*\), dogs/none.jpg \(not a picture, or damaged\); .*on_error=skip"
    for _ in range(2):  # the second time from the cache
        with pytest.raises(ParameterError, match=named):
            ImageFolder(dir=str(photos)).load(tmp_path)
    splits = ImageFolder(dir=str(photos), on_error="skip").load(tmp_path)
    assert set(splits.left_out) == {"cats/5.png", "dogs/none.jpg"}
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 20
    assert splits.class_names == ("cats", "dogs")
    with caplog.at_level(logging.WARNING):
        ImageFolder(dir=str(photos), on_error="skip").load(tmp_path)
    assert "the class empty has no pictures and is left out" in caplog.text
    for path in (photos / "dogs" / "more").iterdir():
        path.write_bytes(b"this is no picture")
    with pytest.raises(ParameterError, match="there is only one class, cats; to tell classes apart takes two or more"):
        ImageFolder(dir=str(photos), on_error="skip").load(tmp_path)


def test_the_cache_serves_until_a_file_changes(photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data = ImageFolder(dir=str(photos), test_fraction=0.5)
    before, content = data.load(tmp_path), data.content(tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("ratespike.data.image_folder.read_pictures", None)
        patch.setattr("ratespike.data.cache._content_of_file", None)
        again = data.load(tmp_path)
    assert torch.equal(again.test.pixels, before.test.pixels)
    picture(photos / "cats" / "4.png")
    assert data.content(tmp_path) != content
    changed = data.load(tmp_path)
    assert (len(changed.test), len(changed.train)) == (len(before.test), len(before.train))
    both = [torch.cat([own.train.pixels, own.validation.pixels, own.test.pixels]).flatten(1) for own in (before, changed)]
    assert int((both[0] != both[1]).any(1).sum()) == 1, "one picture was changed"


@pytest.mark.parametrize(("fit", "left", "right"), [("stretch", 255, 255), ("crop", 255, 255), ("pad", 0, 0)])
def test_other_proportions_are_fitted(tmp_path: Path, fit: str, left: int, right: int) -> None:
    Image.new("L", (10, 20), 255).save(tmp_path / "high.png")
    pixels = read_picture(tmp_path / "high.png", Shape(1, 20, 20, fit))
    assert pixels.shape == (1, 20, 20)
    assert (pixels[0, 10, 0], pixels[0, 10, 10], pixels[0, 10, 19]) == (left, 255, right)


def test_16_bits_transparency_and_cameras(tmp_path: Path) -> None:
    """A conversion by Pillow alone makes nearly all of 16 bits white, and shows what is transparent."""
    deep = np.linspace(0, 65535, 48).round().astype(np.uint16).reshape(6, 8)
    Image.fromarray(deep).save(tmp_path / "deep.png")
    assert np.array_equal(read_picture(tmp_path / "deep.png", Shape(1, 6, 8))[0], deep // 257)
    Image.new("RGBA", (4, 4), (255, 0, 0, 0)).save(tmp_path / "clear.png")
    assert (read_picture(tmp_path / "clear.png", Shape(3, 4, 4)) == 255).all()
    rows = np.repeat(np.array([[0], [60], [120], [240]], np.uint8), 8, axis=1)
    turned = Image.Exif()
    turned[0x0112] = 6  # to be turned by 90 degrees clockwise
    Image.fromarray(rows).save(tmp_path / "turned.png", exif=turned)
    assert read_picture(tmp_path / "turned.png", Shape(1, 8, 4))[0, 0].tolist() == [240, 120, 60, 0]


@pytest.mark.parametrize(
    ("ending", "kind", "most", "white"),
    [
        ("png", np.uint16, 100, 65535),  # of 16 bits, however dark
        ("pgm", np.uint16, 100, 65535),  # Pillow opens it as one of 32 bits
        ("tif", np.uint16, 100, 65535),
        ("tif", np.int32, 255, 255),
        ("tif", np.int32, 65535, 65535),
    ],
)
def test_what_is_white_in_a_file_of_more_than_8_bits(tmp_path: Path, ending: str, kind: type, most: int, white: int) -> None:
    deep = np.linspace(0, most, 48).astype(kind).reshape(6, 8)
    Image.fromarray(deep).save(tmp_path / f"deep.{ending}")
    assert np.array_equal(read_picture(tmp_path / f"deep.{ending}", Shape(1, 6, 8))[0], deep // (white // 255))


@pytest.mark.parametrize(
    ("pixels", "message"),
    [
        (np.linspace(0, 1, 48, dtype=np.float32), "floating-point numbers.*; save it with 8 or 16 bits"),
        (np.full(48, 65536, np.int32), "from 65536 to 65536; save it with 8 or 16 bits"),
        (np.full(48, -1, np.int32), "from -1 to -1; save it"),
    ],
)
def test_pictures_whose_white_is_unknown_are_refused(tmp_path: Path, pixels: np.ndarray, message: str) -> None:
    Image.fromarray(pixels.reshape(6, 8)).save(tmp_path / "deep.tif")
    with pytest.raises(ParameterError, match=message):
        read_picture(tmp_path / "deep.tif", Shape(1, 6, 8))


def bomb(width: int, height: int) -> bytes:
    """A PNG that claims a size in its header, and has one row of pixels."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    header = struct.pack(">2I5B", width, height, 8, 0, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(bytes(width + 1))) + chunk(b"IEND", b"")


def test_a_picture_that_claims_a_gigabyte_is_not_decoded(photos: Path, tmp_path: Path) -> None:
    (photos / "cats" / "bomb.png").write_bytes(bomb(10_000, 6_000))
    with pytest.raises(ParameterError, match=r"cats/bomb.png \(claims 10000 x 6000 pixels; at most 50,000,000 are read\)"):
        ImageFolder(dir=str(photos)).load(tmp_path)
    (photos / "cats" / "bomb.png").write_bytes(bomb(40_000, 30_000))
    with pytest.raises(ParameterError, match=r"cats/bomb.png \(Image size \(1200000000 pixels\) exceeds"):
        ImageFolder(dir=str(photos)).load(tmp_path)


def test_large_pictures_keep_their_orientation_and_colours(tmp_path: Path) -> None:
    """They are reduced before they are turned."""
    turned = Image.Exif()
    turned[0x0112] = 6
    rows = np.zeros((400, 600, 4), np.uint8)
    rows[:200] = (200, 100, 50, 255)  # on top; on the right when turned; below it is transparent
    for ending in ("png", "webp"):
        path = tmp_path / f"large.{ending}"
        Image.fromarray(rows).save(path, exif=turned, lossless=True)
        pixels = read_picture(path, Shape(3, 8, 6))
        assert np.abs(pixels[:, 4, 4].astype(int) - (200, 100, 50)).max() <= 1, ending
        assert (pixels[:, 4, 1] == 255).all(), ending


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"height": 8}, "height=8: width=None is given; give both or neither"),
        ({"fit": "squeeze"}, "fit=squeeze: must be one of stretch, crop, pad"),
        ({"mean": [0.5, 0.5]}, r"data.mean=\[0.5, 0.5\]: must be one number, or 3 for as many channels"),
        ({"std": 0}, "std=0: must be a number above 0"),
        ({"mean": "bright"}, "mean=bright: must be a number"),
        ({"validation_images": 17}, "data.validation_images=17: must be below 17 training images"),
    ],
)
def test_wrong_settings(photos: Path, tmp_path: Path, given: dict[str, object], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        ImageFolder(dir=str(photos), **given).load(tmp_path)  # type: ignore[arg-type]


def test_large_pictures_want_a_size(tmp_path: Path) -> None:
    for number in range(10):
        picture(tmp_path / "set" / ("a", "b")[number % 2] / f"{number}.jpg", 300, 400)
    with pytest.raises(ParameterError, match=r"pictures of 300 x 400 pixels are large; give data.height= and data.width="):
        ImageFolder(dir="set").load(tmp_path)
    assert ImageFolder(dir="set", height=30, width=40).load(tmp_path).image_shape == (3, 30, 40)


def test_names_that_are_not_utf_8(photos: Path, tmp_path: Path) -> None:
    """No table of a run can hold them: a damaged file's is escaped, a class must be renamed."""
    (photos / "cats" / os.fsdecode(b"caf\xe9.png")).write_bytes(b"no picture")
    assert set(ImageFolder(dir=str(photos), on_error="skip").load(tmp_path).left_out) == {r"cats/caf\udce9.png"}
    (photos / "cats").rename(photos / os.fsdecode(b"cats\xe9"))
    with pytest.raises(ParameterError, match=r"the name of the class 'cats\\udce9' is not UTF-8"):
        ImageFolder(dir=str(photos), on_error="skip").load(tmp_path)


def test_a_folder_without_pictures(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"data.dir=\.: holds no pictures in folders of classes"):
        ImageFolder(dir=".").load(tmp_path)


def test_normalised_inputs(photos: Path, tmp_path: Path) -> None:
    plain = ImageFolder(dir=str(photos)).load(tmp_path).test
    scaled = ImageFolder(dir=str(photos), mean=[0.1, 0.2, 0.3], std=0.5).load(tmp_path).test
    expected = (plain.as_inputs() - torch.tensor([0.1, 0.2, 0.3]).reshape(3, 1, 1)) / 0.5
    assert torch.equal(scaled.as_inputs(), expected)
    assert torch.equal(scaled.as_pictures(), plain.as_inputs())


def layout(folder: Path, *names: str) -> Path:
    """Two pictures of each of two classes in each of some folders."""
    for name in names:
        for path in ("a/0.png", "a/1.png", "b/0.png", "b/1.png"):
            picture(folder / name / path, mode="L")
    return folder


@pytest.mark.parametrize("names", [("Train", "Test"), ("TRAINING", "testing")])
def test_other_spellings_of_train_and_test(tmp_path: Path, names: tuple[str, str]) -> None:
    splits = ImageFolder(dir=".").load(layout(tmp_path, *names))
    assert splits.class_names == ("a", "b")
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (3, 1, 4)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (("train", "Val", "test"), "holds Val, test, train; move the pictures of Val into those of training"),
        (("train", "val"), r"holds train, val; must hold <class>/…, or train/<class>/… and test/<class>/…"),
        (("Train",), r"holds Train; must hold"),
        (("test", "cats"), r"holds test; must hold"),
        (("train", "Train", "test"), r"holds Train, test, train; must hold"),
    ],
)
def test_folders_of_images_are_not_taken_for_classes(tmp_path: Path, names: tuple[str, ...], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        ImageFolder(dir=".").load(layout(tmp_path, *names))


def test_what_systems_add_to_folders_is_left_out(photos: Path, tmp_path: Path) -> None:
    for name in ("__MACOSX/cats/0.png", ".cache/0.png", "cats/.checkpoints/0.png", "cats/__MACOSX/0.png"):
        picture(photos / name)
    splits = ImageFolder(dir=str(photos)).load(tmp_path)
    assert splits.class_names == ("cats", "dogs")
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 21


def test_broken_links_are_pictures_that_cannot_be_read(photos: Path, tmp_path: Path) -> None:
    (photos / "cats" / "gone.png").symlink_to(tmp_path / "none.png")
    (photos / "cats" / "itself.png").symlink_to(photos / "cats" / "itself.png")
    (photos / "cats" / "back").symlink_to(photos / "cats")
    with pytest.raises(ParameterError, match=r"cats/gone.png \(No such file or directory\), cats/itself.png \(Too many levels"):
        ImageFolder(dir=str(photos)).load(tmp_path)
    splits = ImageFolder(dir=str(photos), on_error="skip").load(tmp_path)
    assert len(splits.train) + len(splits.validation) + len(splits.test) == 21
    picture(tmp_path / "none.png")
    assert set(ImageFolder(dir=str(photos), on_error="skip").load(tmp_path).left_out) == {"cats/itself.png"}


def test_a_file_is_no_folder_of_pictures(photos: Path, tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match=r"data.dir=.*5\.png: no such folder; "):
        ImageFolder(dir=str(photos / "cats" / "5.png")).load(tmp_path)


def test_the_home_folder_and_the_place_that_was_looked_at(
    photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(photos.parent))
    data = ImageFolder(dir="~/photos")
    assert data.load(tmp_path).class_names == ("cats", "dogs")
    assert data.content(tmp_path) == ImageFolder(dir=str(photos)).content(tmp_path)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ParameterError, match=f"data.dir=here: no such folder; {tmp_path / 'here'} was looked for; give"):
        ImageFolder(dir="here").load(Path())
