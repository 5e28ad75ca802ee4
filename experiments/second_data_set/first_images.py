"""The first images of a folder of gzipped IDX files, as a smaller folder.

python experiments/second_data_set/first_images.py <folder> <new folder> <training images> <test images>
"""

import gzip
import struct
import sys
from pathlib import Path

FILES = (("images-idx3", 16, 28 * 28), ("labels-idx1", 8, 1))  # a name, the bytes of its header and of an image or a label

source, target, *counts = sys.argv[1:]
Path(target).mkdir(parents=True)
for split, count in zip(("train", "t10k"), map(int, counts), strict=True):
    for name, header, size in FILES:
        content = gzip.decompress(Path(source, f"{split}-{name}-ubyte.gz").read_bytes())
        shortened = content[:4] + struct.pack(">I", count) + content[8 : header + count * size]
        Path(target, f"{split}-{name}-ubyte").write_bytes(shortened)
