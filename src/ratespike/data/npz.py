"""Arrays in an `.npz` file, as NumPy's `savez` writes them."""

import shutil
import struct
import zipfile
import zlib
from abc import ABC
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import numpy as np
import torch
from torch import Tensor

from ratespike.data.base import Content, UnsplitDataSet, check_finite, numbered_classes
from ratespike.data.cache import MOST_DEFLATED, Cache
from ratespike.data.images import Images
from ratespike.data.mapped import Mapped, read_array_header
from ratespike.parameters import ParameterError

_LOCAL_HEADER = 30  # bytes of a zip file before each member, without its name and extra field
_PIECE = 2**22  # bytes that are unpacked at a time
_CHANNELS = (1, 3)
Arrays = dict[str, Mapped | np.ndarray]


@dataclass(frozen=True, kw_only=True)
class NPZFile(UnsplitDataSet, ABC):
    """A data set in the arrays of one `.npz` file: `dir` is the file, or a folder with one such file."""

    may_be_a_file: ClassVar[bool] = True

    def files(self, folder: Path) -> Sequence[Path]:
        return [npz_file(folder)]

    def divided(self, images: Images, arrays: Arrays, class_names: tuple[str, ...], path: Path) -> Content:
        """Images divided as the array `split` says; drawn where there is none."""
        if "split" not in arrays:
            train, test = self.with_test_images(images)
            return Content(train, test, class_names)
        words = _words(arrays["split"], "split", path)
        if len(words) != len(images) or not np.isin(words, ("train", "test")).all():
            raise ParameterError(f"{path.name}: split must hold the word train or test for each of the {len(images)} images")
        is_test = torch.from_numpy(words == "test")
        return Content(images[_places(~is_test)], images[_places(is_test)], class_names)


@dataclass(frozen=True, kw_only=True)
class NPZ(NPZFile):
    """Images and labels in the arrays of one `.npz` file.

    `dir` is the file, or a folder with one such file. Its arrays:

    - `images`: (count, height, width), or with channels last or first, of bytes from 0 to 255, or of floating-point numbers,
      which a network sees as they are.
    - `labels`: (count,), class numbers from 0, or names of classes.
    - `split`, optional: (count,), `train` or `test` for each image; else some of each class are drawn for tests.
    - `class_names`, optional: the name of each class number.

    Arrays that `savez` wrote are read when they are used; those of `savez_compressed` are unpacked once, into the cache.

    Raises:
        ParameterError: a parameter out of range.

    Example:
        >>> folder = getfixture("tmp_path")
        >>> labels = np.arange(100) % 4
        >>> np.savez(folder / "some.npz", images=np.zeros((100, 8, 8), np.uint8), labels=labels)
        >>> splits = NPZ(dir=str(folder / "some.npz")).load(folder)
        >>> splits.image_shape, splits.classes, len(splits.train), len(splits.validation), len(splits.test)
        ((1, 8, 8), 4, 72, 8, 20)
    """

    def read(self, folder: Path, cache: Cache) -> Content:
        path = npz_file(folder)
        arrays = read_arrays(path, cache, ("images", "labels"), ("split", "class_names"))
        pixels = _channels_first(arrays["images"], path)
        labels, class_names = labels_and_names(arrays, path)
        if len(labels) != len(pixels.tensor):
            raise ParameterError(f"{path.name}: holds {len(labels)} labels for {len(pixels.tensor)} images")
        check_finite(pixels.tensor, path.name)
        return self.divided(Images(pixels, labels), arrays, class_names, path)


def read_arrays(path: Path, cache: Cache, needed: Sequence[str], optional: Sequence[str]) -> Arrays:
    """Arrays of an `.npz` file by name: numbers as they lie in the file, not read into memory; words as arrays.

    Args:
        path: of the file.
        cache: where compressed arrays are unpacked.
        needed: names of arrays that must be there.
        optional: names of arrays that are read if they are there; no others are looked at.

    Raises:
        ParameterError: a missing array, one of another type, a damaged file, or one that claims more than it can hold.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = {info.filename.removesuffix(".npy"): info for info in archive.infolist()}
            for name in needed:
                if name not in members:
                    found = ", ".join(sorted(members)) or "none"
                    raise ParameterError(f"{path.name}: has no array {name}; it has {found}: save them as {', '.join(needed)}")
            used = [name for name in (*needed, *optional) if name in members]
            return {name: _array(path, archive, members[name], cache) for name in used}
    except ParameterError:
        raise
    except (zipfile.BadZipFile, ValueError, EOFError, OSError, NotImplementedError, zlib.error) as error:
        raise ParameterError(f"{path.name}: is damaged, or no .npz file ({error})") from None


def _array(path: Path, archive: zipfile.ZipFile, info: zipfile.ZipInfo, cache: Cache) -> Mapped | np.ndarray:
    with archive.open(info) as member:
        header = read_array_header(member)
        begin = member.tell()
        _check_type(header.dtype, f"{path.name}: {info.filename}")
        if begin + header.size != info.file_size:
            raise ParameterError(
                f"{path.name}: {info.filename} is damaged: it holds {info.file_size} bytes, but its header says "
                f"{begin + header.size}"
            )
        if info.file_size > MOST_DEFLATED * info.compress_size:
            raise ParameterError(f"{path.name}: {info.filename} is damaged: {info.compress_size} bytes cannot hold its content")
        if header.dtype.kind in "US":
            return np.frombuffer(member.read(), header.dtype).reshape(header.shape)
    if info.compress_type == zipfile.ZIP_STORED:
        return Mapped.of_array(path, header, _begin_of(path, info) + begin)
    how = f"npz {info.filename}"
    unpacked = cache.made(how, path.parent, [path], lambda place: _unpack(archive, info, place / "array.npy", cache))
    return Mapped.of_array_file(unpacked / "array.npy")


def _check_type(dtype: "np.dtype[np.generic]", where: str) -> None:
    """Raise `ParameterError` for an array that is neither words nor numbers such as PyTorch has."""
    if dtype.hasobject:
        raise ParameterError(f"{where} holds Python objects; save numbers, or words as dtype str")
    if dtype.kind not in "USbiuf" or (dtype.kind == "f" and dtype.itemsize > 8):
        raise ParameterError(f"{where} holds {dtype}; save whole or floating-point numbers of at most 64 bits, or words")
    if dtype.kind not in "US" and not dtype.isnative:
        native = dtype.newbyteorder("=").str
        raise ParameterError(f"{where} holds {dtype.str}, another byte order than this machine's; save .astype('{native}')")


def _words(array: Mapped | np.ndarray, name: str, path: Path) -> np.ndarray:
    """A list of words, or of numbers as words."""
    values = array.tensor.numpy() if isinstance(array, Mapped) else array
    if values.ndim != 1:
        raise ParameterError(f"{path.name}: {name} has the shape {values.shape}; must be a list of words, (count,)")
    try:
        return values.astype(str)
    except UnicodeDecodeError:
        raise ParameterError(f"{path.name}: {name} holds bytes that are not ASCII; save them as words of dtype str") from None


def _unpack(archive: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path, cache: Cache) -> None:
    cache.check_room(info.file_size, info.filename)
    with archive.open(info) as member, target.open("wb") as file:
        shutil.copyfileobj(member, file, _PIECE)


def _begin_of(path: Path, info: zipfile.ZipInfo) -> int:
    """Where in a zip file the content of a member begins that is not compressed.

    Source: section 4.3.7 of PKWARE's APPNOTE.
    """
    with path.open("rb") as file:
        file.seek(info.header_offset + _LOCAL_HEADER - 4)
        name, extra = struct.unpack("<HH", file.read(4))
    return info.header_offset + _LOCAL_HEADER + int(name) + int(extra)


def labels_and_names(arrays: Arrays, path: Path) -> tuple[Tensor, tuple[str, ...]]:
    """Class numbers, and the name of each class.

    Raises:
        ParameterError: labels that are neither words nor class numbers from 0.
    """
    found = arrays["labels"]
    if isinstance(found, np.ndarray):
        names, numbers = np.unique(_words(found, "labels", path), return_inverse=True)
        return torch.from_numpy(numbers), tuple(names.tolist())
    labels = found.tensor
    is_whole = not (labels.is_floating_point() or labels.dtype == torch.bool)
    if not is_whole or not labels.dim() or labels.numel() != len(labels):
        raise ParameterError(f"{path.name}: labels must be one whole number or word for each image")
    labels = labels.flatten() if labels.dtype == torch.uint8 else labels.flatten().long()
    class_names = tuple(_words(arrays["class_names"], "class_names", path).tolist()) if "class_names" in arrays else None
    most = len(labels) if class_names is None else len(class_names)
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < most:
        holds = f"holds labels from {int(labels.min())} to {int(labels.max())}"
        allowed = f"{len(labels)} images" if class_names is None else f"{most} class_names"
        raise ParameterError(f"{path.name}: {holds}; with {allowed} they must be class numbers from 0 to {most - 1}")
    return labels, class_names or numbered_classes(labels)


def _channels_first(images: Mapped | np.ndarray, path: Path) -> Mapped:
    """Images as (count, channels, height, width)."""
    if isinstance(images, np.ndarray) or not (images.tensor.dtype == torch.uint8 or images.tensor.is_floating_point()):
        kind = images.dtype if isinstance(images, np.ndarray) else images.tensor.dtype
        raise ParameterError(f"{path.name}: images are {kind}; save them as uint8 from 0 to 255, or as floating-point numbers")
    shape = tuple(images.tensor.shape)
    if len(shape) == 3:
        return images.with_axis(1)
    if len(shape) == 4 and shape[3] in _CHANNELS:
        return images.permuted(0, 3, 1, 2)
    if len(shape) == 4 and shape[1] in _CHANNELS:
        return images
    raise ParameterError(
        f"{path.name}: images have the shape {shape}; must be (count, height, width), (count, height, width, channels) or "
        "(count, channels, height, width) with 1 or 3 channels"
    )


def npz_file(place: Path) -> Path:
    """The file itself, or the only one in a folder."""
    if place.is_file():
        return place
    found = sorted(place.glob("*.npz"))
    if len(found) != 1:
        raise ParameterError(f"{len(found)} files end in .npz; give data.dir=<file.npz>")
    return found[0]


def _places(chosen: Tensor) -> Tensor:
    """Where a mask is true."""
    return chosen.nonzero().squeeze(1).int()
