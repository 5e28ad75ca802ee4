"""Picture files of any format that Pillow reads, as arrays of one shape."""

import functools
import os
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError
from rich.console import Console
from rich.progress import track

from ratespike.parameters import ParameterError

T = TypeVar("T")
_AT_ONCE = 256  # pictures that are decoded before the first of them is used
_MOST_PIXELS = 50_000_000  # of a picture; what claims more is taken for a decompression bomb
_NO_PICTURES = ("EPS", "MPEG", "WMF")  # Pillow starts another program for them, or only identifies them
_GREYS = ("1", "L", "LA", "La", "F", "I")
_DEEP = ("I", "I;16", "I;16L", "I;16B", "I;16N")  # Pillow's conversion to 8 bits would cut all that is not nearly black
_REDUCIBLE = ("L", "LA", "RGB", "RGBA", "CMYK", "YCbCr")
_ORIENTATION = 0x0112  # EXIF's tag; from 5 on the picture lies on its side


@dataclass(frozen=True)
class Shape:
    """What pictures are brought to.

    Attributes:
        channels: 1 for grey, 3 for red, green and blue.
        height: in pixels.
        width: in pixels.
        fit: how a picture of other proportions is fitted: `stretch` changes its proportions, `crop` cuts off what is too
            much on both sides, `pad` adds black on both sides.
    """

    channels: int
    height: int
    width: int
    fit: str = "stretch"


@dataclass(frozen=True)
class Header:
    """What the beginning of a picture file says.

    Attributes:
        height: in pixels, as the picture is looked at.
        width: in pixels, likewise.
        is_colour: whether it may have more than greys.
    """

    height: int
    width: int
    is_colour: bool


def is_picture(name: str) -> bool:
    """Whether a file name has the ending of a format that Pillow reads, and is not hidden.

    Example:
        >>> is_picture("cat.JPG"), is_picture("notes.txt"), is_picture(".hidden.png")
        (True, False, False)
    """
    ending = name.lower().rpartition(".")[2]
    return f".{ending}" in _endings() and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether a file or folder is not the user's: what begins with a dot, and what macOS adds to an archive.

    Example:
        >>> is_hidden(".ipynb_checkpoints"), is_hidden("__MACOSX"), is_hidden("cats")
        (True, True, False)
    """
    return name.startswith(".") or name == "__MACOSX"


def printable(name: str) -> str:
    """A file's name for results: of one that is not UTF-8, the bytes that Python cannot decode are written as `\\udc..`.

    Example:
        >>> printable("café.png"), printable(os.fsdecode(b"caf\\xe9.png"))
        ('café.png', 'caf\\\\udce9.png')
    """
    return name.encode("utf-8", "backslashreplace").decode()


def pictures_below(folder: Path) -> list[str]:
    """The paths of the picture files in a folder and in the folders in it, in their order; hidden folders are left out.

    They are strings, as there may be many: making a `Path` of each takes longer than to find them.
    """
    return sorted(_names_below(str(folder), ()))


def _names_below(folder: str, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    status = os.stat(folder)  # noqa: PTH116  # as the paths, for speed
    own = (status.st_dev, status.st_ino)
    if own in above:  # a link back
        return
    with os.scandir(folder) as entries:
        for entry in entries:
            if _is_folder(entry):
                if not is_hidden(entry.name):
                    yield from _names_below(entry.path, (*above, own))
            elif is_picture(entry.name):
                yield entry.path


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    """Whether it is one, or a link to one; a broken link is a file that cannot be read."""
    return entry.is_dir(follow_symlinks=False) or (entry.is_symlink() and Path(entry.path).is_dir())


def read_headers(files: Sequence[str | Path], what: str) -> Iterator[Header | None]:
    """The headers of picture files, None of damaged ones; a terminal shows a progress bar named `what`."""
    return _in_threads(_or_none, files, what)


def read_pictures(files: Sequence[str | Path], shape: Shape, what: str) -> Iterator[NDArray[np.uint8] | str]:
    """The pixels of picture files, or why they cannot be read; a terminal shows a progress bar named `what`.

    Decoded by as many threads as there are cores; no more pictures than some hundreds are in memory at a time.
    """
    return _in_threads(functools.partial(_or_reason, shape), files, what)


def _or_none(path: str | Path) -> Header | None:
    try:
        return read_header(path)
    except ParameterError:
        return None


def _or_reason(shape: Shape, path: str | Path) -> NDArray[np.uint8] | str:
    try:
        return read_picture(path, shape)
    except ParameterError as error:
        return str(error)


def _in_threads(function: Callable[[str | Path], T], files: Sequence[str | Path], what: str) -> Iterator[T]:
    """The values of a function for each file, in their order."""
    console = Console(stderr=True)
    with ThreadPoolExecutor() as threads:
        values = _a_few_at_once(threads, function, files)
        yield from track(values, what, len(files), console=console, transient=True, disable=not console.is_terminal)


def _a_few_at_once(
    threads: ThreadPoolExecutor, function: Callable[[str | Path], T], files: Sequence[str | Path]
) -> Iterator[T]:
    """The values, of no more files at a time than memory holds."""
    for first in range(0, len(files), _AT_ONCE):
        yield from threads.map(function, files[first : first + _AT_ONCE])


def read_header(path: str | Path) -> Header:
    """Read the beginning of a picture file.

    Raises:
        ParameterError: no picture, or one with more pixels than 50 million.
    """
    with _opened(path) as picture:
        width, height = picture.size
        if picture.getexif().get(_ORIENTATION, 1) >= 5:
            width, height = height, width
        is_grey = picture.mode in _GREYS or picture.mode.startswith("I;16")
        return Header(height, width, not is_grey)


def read_picture(path: str | Path, shape: Shape) -> NDArray[np.uint8]:
    """Decode a picture file.

    Turned as the camera says; of an animation the first picture; what is transparent is white. White is 255 in a file of 8
    bits and 65535 in one of 16. A file of 32-bit integers is read as one of 8 bits if no pixel is above 255, else as one of 16.

    Args:
        path: of the file.
        shape: what the picture is brought to.

    Returns:
        Pixels from 0 to 255, shape (channels, height, width).

    Raises:
        ParameterError: no picture, a damaged one, one with more pixels than 50 million, or one of floating-point numbers or of
            integers that are not of 16 bits.
    """
    with _opened(path) as picture:
        # a JPEG is decoded at an eighth, a quarter or half of its size where that is enough
        picture.draft(None, (2 * shape.width, 2 * shape.height))
        mode = "L" if shape.channels == 1 else "RGB"
        white = _white(picture)
        turned = ImageOps.exif_transpose(_reduced(picture, shape))
        assert turned is not None
        fitted = _fitted(_in_mode(turned, white, mode), shape)
        pixels = np.asarray(fitted).reshape(shape.height, shape.width, shape.channels)
        return np.ascontiguousarray(pixels.transpose(2, 0, 1))


def _reduced(picture: Image.Image, shape: Shape) -> Image.Image:
    """A large picture made smaller by a whole factor, to no less than twice of what is needed: saves memory and time."""
    needed = 2 * max(shape.height, shape.width)
    factor = min(picture.size) // needed
    if factor < 2 or picture.mode not in _REDUCIBLE:
        return picture
    smaller = picture.reduce(factor)
    smaller.info = picture.info  # with the camera's orientation
    return smaller


def _white(picture: Image.Image) -> int:
    """The value of a white pixel; raises `ParameterError` for a picture that does not say which it is."""
    if picture.mode == "F":
        raise ParameterError("its pixels are floating-point numbers, which do not say what is white; save it with 8 or 16 bits")
    if picture.mode != "I":
        return 65535 if picture.mode in _DEEP else 255
    pixels = np.asarray(picture)
    lowest, highest = int(pixels.min()), int(pixels.max())
    if not 0 <= lowest <= highest <= 65535:
        raise ParameterError(f"its pixels are from {lowest} to {highest}; save it with 8 or 16 bits, from 0 to 255 or 65535")
    is_16_bits = picture.format == "PPM"  # which Pillow opens as 32
    return 255 if highest <= 255 and not is_16_bits else 65535


def _in_mode(picture: Image.Image, white: int, mode: str) -> Image.Image:
    """A picture as grey (`L`) or colour (`RGB`) on white."""
    if picture.mode in _DEEP:
        picture = Image.fromarray((np.asarray(picture) // (white // 255)).astype(np.uint8))
    if picture.has_transparency_data:
        picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture.convert("RGBA"))
    return picture.convert(mode)


def _fitted(picture: Image.Image, shape: Shape) -> Image.Image:
    size = (shape.width, shape.height)
    if picture.size == size:
        return picture
    if shape.fit == "crop":
        return ImageOps.fit(picture, size, Image.Resampling.BILINEAR)
    if shape.fit == "pad":
        return ImageOps.pad(picture, size, Image.Resampling.BILINEAR)
    return picture.resize(size, Image.Resampling.BILINEAR)


@contextmanager
def _opened(path: str | Path) -> Iterator[Image.Image]:
    """A picture whose pixels have not been read; what Pillow raises inside becomes one line."""
    try:
        with warnings.catch_warnings(), Path(path).open("rb") as file:
            warnings.simplefilter("ignore")  # about metadata, and about sizes that are checked here
            picture = Image.open(file)
            width, height = picture.size
            if width * height > _MOST_PIXELS:
                raise ParameterError(f"claims {width} x {height} pixels; at most {_MOST_PIXELS:,} are read")
            yield picture
    except ParameterError:
        raise
    except Exception as error:  # Pillow's plugins raise all kinds of errors on damaged files
        reason = (isinstance(error, OSError) and error.strerror) or str(error)
        if isinstance(error, UnidentifiedImageError):
            reason = "not a picture, or damaged"
        raise ParameterError(" ".join(reason.split())[:120] or type(error).__name__) from None


@functools.cache
def _endings() -> frozenset[str]:
    """The endings, such as `.png`, of the files that can be read."""
    kinds = Image.registered_extensions()
    return frozenset(ending for ending, kind in kinds.items() if kind in Image.OPEN and kind not in _NO_PICTURES)
