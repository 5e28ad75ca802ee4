"""CIFAR-10's binary files for tests."""

from pathlib import Path

import numpy as np

NAMES = ["airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck"]


def cifar10(folder: Path, in_each: int) -> np.ndarray:
    """Write six files of random pixels, with so many records in each, classes in turn; returns the records of the test file."""
    generator = np.random.default_rng(0)
    for name in [*(f"data_batch_{number}" for number in range(1, 6)), "test_batch"]:
        records = generator.integers(0, 256, (in_each, 3073), dtype=np.uint8)
        records[:, 0] = np.arange(in_each) % 10
        (folder / f"{name}.bin").write_bytes(records.tobytes())
    (folder / "batches.meta.txt").write_text("\n".join([*NAMES, "", ""]))
    return records
