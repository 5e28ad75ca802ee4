"""A folder of pictures, a folder for each class: photographs, drawings, scans."""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import PIL
import torch

from ratespike.data.base import Content, UnsplitDataSet
from ratespike.data.cache import Cache
from ratespike.data.images import Images
from ratespike.data.mapped import Mapped
from ratespike.data.pictures import Header, Shape, is_hidden, pictures_below, printable, read_headers, read_pictures
from ratespike.parameters import ParameterError, parameter

_PIXELS, _DAMAGED = "pixels.npy", "damaged.json"  # in the cache
_LARGEST_UNASKED = 256  # pixels; of larger pictures the user is asked for a size
_NAMED = 3  # damaged files that an error line names
_VALIDATION = "validation"
_SPLITS = {"train": "train", "training": "train", "test": "test", "testing": "test"}  # by the lower-case names of folders
_SPLITS |= dict.fromkeys(("val", "valid", "validation"), _VALIDATION)
_LAYOUTS = "<class>/…, or train/<class>/… and test/<class>/…"
_logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class ImageFolder(UnsplitDataSet):
    """Pictures in any format that Pillow reads, in a folder for each class.

    `dir` holds `train/<class>/…` and `test/<class>/…`, in upper or lower case; or `<class>/…`, of which some pictures of each
    class are drawn for tests. Classes are numbered in the order of their names. A class without pictures is left out, with a
    warning. The pictures are decoded once, into the cache, by as many threads as there are cores.

    Attributes:
        colour: whether images have three channels; null if any picture has colours.
        height: of the images, pixels; null, with `width`, for the size that most pictures have.
        width: of the images, pixels.
        fit: how pictures of other proportions are fitted: `stretch`, `crop` or `pad`.
        on_error: a damaged file is an error (`raise`), or is left out and counted in the run (`skip`).

    Raises:
        ParameterError: a parameter out of range.

    Example:
        >>> ImageFolder(dir="photos", height=32, width=32, fit="crop").fit
        'crop'
    """

    colour: bool | None = parameter(None)
    height: int | None = parameter(None, at_least=1)
    width: int | None = parameter(None, at_least=1)
    fit: str = parameter("stretch", choices=("stretch", "crop", "pad"))
    on_error: str = parameter("raise", choices=("raise", "skip"))

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.height is None) != (self.width is None):
            raise ParameterError(f"height={self.height}: width={self.width} is given; give both or neither")

    def files(self, folder: Path) -> Sequence[str]:
        return [picture.path for picture in _find(folder)]

    def read(self, folder: Path, cache: Cache) -> Content:
        found = _find(folder)
        if not found:
            raise ParameterError(f"holds no pictures in folders of classes, as {_LAYOUTS}")
        files = [picture.path for picture in found]
        options = [self.colour, self.height, self.width, self.fit]
        how = json.dumps(["pictures", options, _code()])
        decoded = cache.made(how, folder, files, lambda place: _decode(files, self._shape(files), place, cache))
        damaged = json.loads((decoded / _DAMAGED).read_text(encoding="utf-8"))
        left_out = {
            printable(Path(found[int(row)].path).relative_to(folder).as_posix()): reason for row, reason in damaged.items()
        }
        self._report(left_out, len(found))
        rows = [row for row in range(len(found)) if str(row) not in damaged]
        return self._content(folder, found, rows, Mapped.of_array_file(decoded / _PIXELS), left_out)

    def _shape(self, files: Sequence[str]) -> Shape:
        """What the user asked for; else the size that most pictures have, and colours if any picture has them."""
        if self.colour is not None and self.height is not None and self.width is not None:
            return Shape(3 if self.colour else 1, self.height, self.width, self.fit)
        headers = [header for header in read_headers(files, "reading headers") if header is not None]
        if not headers:
            raise ParameterError(f"none of its {len(files)} pictures can be read")
        is_colour = self.colour
        if is_colour is None:
            is_colour = any(header.is_colour for header in headers)
        height, width = self.height, self.width
        if height is None or width is None:
            height, width = _usual_size(headers)
        return Shape(3 if is_colour else 1, height, width, self.fit)

    def _report(self, left_out: Mapping[str, str], n_files: int) -> None:
        """Warn of damaged files that are to be skipped; raise `ParameterError` if they are not."""
        if not left_out:
            return
        if self.on_error == "skip":
            _logger.warning("%s: %d of %d pictures cannot be read and are left out", self.dir, len(left_out), n_files)
            return
        named = [f"{name} ({reason})" for name, reason in list(left_out.items())[:_NAMED]]
        if len(left_out) > _NAMED:
            named.append("…")
        raise ParameterError(
            f"{len(left_out)} of {n_files} pictures cannot be read: {', '.join(named)}; mend or remove them, or leave them out "
            "with data.on_error=skip"
        )

    def _content(
        self, folder: Path, found: Sequence["_Picture"], rows: Sequence[int], pixels: Mapped, left_out: Mapping[str, str]
    ) -> Content:
        """The images whose pixels can be read, which are those at `rows`."""
        by_split: dict[str | None, list[int]] = {}
        for row in rows:
            by_split.setdefault(found[row].split, []).append(row)
        class_names = sorted({found[row].class_name for row in rows if found[row].split != "test"})
        for name in sorted({found[row].class_name for row in by_split.get("test", [])}.difference(class_names)):
            raise ParameterError(f"test/{name} has pictures, but train/{name} has none")
        for name in sorted(_class_folders(folder).difference(class_names)):
            _logger.warning("%s: the class %s has no pictures and is left out", self.dir, name)
        numbers = {name: number for number, name in enumerate(class_names)}

        def images(split: str | None) -> Images:
            own = by_split.get(split, [])
            labels = torch.tensor([numbers[found[row].class_name] for row in own], dtype=torch.long)
            return Images(pixels, labels, rows=torch.tensor(own, dtype=torch.int32))

        if None in by_split:
            train, test = self.with_test_images(images(None))
        else:
            train, test = self.in_random_order(images("train")), self.in_random_order(images("test"))
        return Content(train, test, tuple(class_names), left_out)


@dataclass(frozen=True)
class _Picture:
    """A picture file; `split` is None in a folder that does not say which are for tests."""

    path: str
    split: str | None
    class_name: str


def _find(folder: Path) -> list[_Picture]:
    """All picture files in folders of classes, in the order of their names."""
    found = []
    for split, parent in _splits(folder):
        for class_folder in _folders(parent):
            for path in pictures_below(class_folder):
                found.append(_Picture(path, split, class_folder.name))
    return found


def _splits(folder: Path) -> list[tuple[str | None, Path]]:
    """The folders in which there is a folder for each class, and which images they hold.

    Folders named after images of any kind are never taken for classes: that would train on wrong ones without a word.
    """
    named = [(_SPLITS[path.name.lower()], path) for path in _folders(folder) if path.name.lower() in _SPLITS]
    if not named:
        return [(None, folder)]
    splits = sorted(split for split, _ in named)
    if splits == ["test", "train"]:
        return list(named)
    names = ", ".join(path.name for _, path in named)
    if splits == ["test", "train", _VALIDATION]:
        validation = next(path.name for split, path in named if split == _VALIDATION)
        raise ParameterError(
            f"holds {names}; move the pictures of {validation} into those of training, of which data.validation_images are set "
            f"aside, or remove {validation}"
        )
    raise ParameterError(f"holds {names}; must hold {_LAYOUTS}; rename a class that is called so")


def _class_folders(folder: Path) -> set[str]:
    return {path.name for _, parent in _splits(folder) for path in _folders(parent)}


def _folders(parent: Path) -> list[Path]:
    return sorted(path for path in parent.iterdir() if path.is_dir() and not is_hidden(path.name))


def _usual_size(headers: Sequence[Header]) -> tuple[int, int]:
    """The height and width that most pictures have."""
    sizes = Counter((header.height, header.width) for header in headers)
    (height, width), count = sizes.most_common(1)[0]
    if max(height, width) > _LARGEST_UNASKED:
        raise ParameterError(f"pictures of {height} x {width} pixels are large; give data.height= and data.width=, such as 64")
    if len(sizes) > 1:
        _logger.info("%d of %d pictures have %d x %d pixels; the others are fitted", count, len(headers), height, width)
    return height, width


def _decode(files: Sequence[str], shape: Shape, place: Path, cache: Cache) -> None:
    """Write the pixels of all files, zeros for damaged ones, and which are damaged and why."""
    whole = (len(files), shape.channels, shape.height, shape.width)
    cache.check_room(int(np.prod(whole, dtype=float)), f"{len(files)} pictures of {shape.height} x {shape.width} pixels")
    pixels = np.lib.format.open_memmap(place / _PIXELS, "w+", np.uint8, whole)
    damaged = {}
    for row, picture in enumerate(read_pictures(files, shape, "decoding pictures, once")):
        if isinstance(picture, str):
            damaged[row] = picture
        else:
            pixels[row] = picture
    pixels.flush()
    (place / _DAMAGED).write_text(json.dumps(damaged), encoding="utf-8")


def _code() -> str:
    """A hash of what decodes: other code may give other pixels."""
    code = Path(__file__).read_bytes() + Path(__file__).with_name("pictures.py").read_bytes() + PIL.__version__.encode()
    return hashlib.sha256(code).hexdigest()
