"""IDX files whose checksums have been published: a damaged one of them is an error, and their classes have names."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from ratespike.parameters import ParameterError


@dataclass(frozen=True)
class KnownFiles:
    """Files of a published data set.

    Attributes:
        name: of the data set.
        class_names: by class number.
        md5: of training images, training labels, test images and test labels, in hexadecimal.
    """

    name: str
    class_names: tuple[str, ...]
    md5: tuple[str, str, str, str]


_DIGITS = tuple("0123456789")
KNOWN = (
    KnownFiles(  # Y. LeCun's own files, http://yann.lecun.com/exdb/mnist
        "MNIST",
        _DIGITS,
        (
            "f68b3c2dcbeaaa9fbdd348bbdeb94873",
            "d53e105ee54ea40749a09fcbcd1e9432",
            "9fb629c4189551a2d022fa330f9573f3",
            "ec29112dd5afa0611ce80d1b7f02629c",
        ),
    ),
    KnownFiles(  # the same content, packed as in this repository
        "MNIST",
        _DIGITS,
        (
            "c7dfcf1bfd3481a40f7b3aedbdbd083c",
            "d289298a347a2cc65765a3c81043ba88",
            "ecff87aa27c74fbc2c1f97e89c19221d",
            "a38049bc042dc6e683842a84160daae1",
        ),
    ),
    KnownFiles(  # https://github.com/zalandoresearch/fashion-mnist
        "Fashion-MNIST",
        ("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat", "Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
        (
            "8d4fb7e6c68d591d4c3dfef9ec88bf0d",
            "25c81989df183df01b3e8a0aad5dffbe",
            "bef4ecab320f06d8554ea6380940ec79",
            "bb300cfdad3c16e7a12a480ee83cd310",
        ),
    ),
    KnownFiles(  # http://codh.rois.ac.jp/kmnist
        "KMNIST",
        ("o", "ki", "su", "tsu", "na", "ha", "ma", "ya", "re", "wo"),
        (
            "bdb82020997e1d708af4cf47b453dcf7",
            "e144d726b3acfaa3e44228e80efcd344",
            "5c965bf0a639b31b8f53240b1b52f4d7",
            "7320c461ea6c1c855c0b718fb2a4b134",
        ),
    ),
)
_LARGEST = 2**26  # bytes; larger files are none of these


def find_known(files: Sequence[Path]) -> KnownFiles | None:
    """The published data set whose files these are; None if no checksum of them is known.

    Args:
        files: training images, training labels, test images and test labels.

    Raises:
        ParameterError: some are files of a published set and others are not.
    """
    found = [hashlib.md5(file.read_bytes()).hexdigest() if file.stat().st_size <= _LARGEST else "" for file in files]
    for known in KNOWN:
        matches = [md5 == expected for md5, expected in zip(found, known.md5, strict=True)]
        if all(matches):
            return known
        if any(matches):
            wrong = files[matches.index(False)].name
            right = files[matches.index(True)].name
            raise ParameterError(f"{wrong}: is damaged or of another set: {right} is that of {known.name}, {wrong} is not")
    return None
