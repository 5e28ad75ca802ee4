"""Recordings of an event camera for tests: of pixels with known rates, and of images that a camera moves across."""

from pathlib import Path

import numpy as np

Arrays = dict[str, np.ndarray]


def save(path: Path, arrays: Arrays, compressed: bool = False) -> Path:
    """Write an `.npz` file."""
    path.unlink(missing_ok=True)  # what is mapped stays what it was
    (np.savez_compressed if compressed else np.savez)(path, **arrays)  # type: ignore[arg-type]
    return path


def regular(rates: np.ndarray, seconds: float, labels: np.ndarray) -> Arrays:
    """Events of each pixel at regular times, the first after half an interval.

    Args:
        rates: Hz, shape (recordings, channels, height, width).
        seconds: how long each recording is.
        labels: of the recordings.
    """
    counts = np.floor(rates * seconds + 0.5).astype(int)
    recording, channel, y, x = _repeated(counts)
    of_pixel = counts[counts > 0]
    number = np.arange(of_pixel.sum()) - np.repeat(of_pixel.cumsum() - of_pixel, of_pixel)  # among the events of its pixel
    t = (number + 0.5) / rates[recording, channel, y, x]
    begin = np.cumsum([0, *counts.sum((1, 2, 3))])
    return {"t": t, "x": x, "y": y, "polarity": channel, "begin": begin, "labels": labels}


def saccades(images: np.ndarray, labels: np.ndarray, frames: int = 60, threshold: float = 0.3) -> Arrays:
    """What an event camera sees of images while it goes round a triangle: N-MNIST's recordings, simulated.

    A pixel sends an event, of polarity 1 for brighter and 0 for darker, where the logarithm of its intensity has changed by a
    threshold since its last event. Source: G. Orchard et al., Converting static image datasets to spiking neuromorphic datasets
    using saccades, 2015, doi:10.3389/fnins.2015.00437, which moves a real camera along such a triangle.

    Args:
        images: 0 to 255, shape (recordings, height, width).
        labels: of the recordings.
        frames: one each millisecond.
        threshold: of the logarithm of (intensity + 0.1), of intensities from 0 to 1.
    """
    corners = np.array([[0, 0], [3, 1.5], [0, 3], [0, 0]], dtype=float)  # pixels
    path = np.stack([np.interp(np.linspace(0, 3, frames + 1), range(4), corners[:, axis]) for axis in (0, 1)], 1)
    last = _moved(images, path[0])
    counts = []
    for place in path[1:]:
        change = np.trunc((_moved(images, place) - last) / threshold)
        last = last + change * threshold
        counts.append(np.stack([np.maximum(-change, 0), np.maximum(change, 0)], 1))
    events = np.stack(counts, 1).astype(int)  # (recordings, frames, polarity, height, width)
    recording, frame, polarity, y, x = _repeated(events)
    begin = np.cumsum([0, *np.bincount(recording, minlength=len(images))])
    return {"t": (frame + 0.5) / 1000, "x": x, "y": y, "polarity": polarity, "begin": begin, "labels": labels}


def _repeated(counts: np.ndarray) -> list[np.ndarray]:
    """The indices of each place along all axes, as often as it counts."""
    places = np.nonzero(counts)
    return [np.repeat(indices, counts[places]) for indices in places]


def _moved(images: np.ndarray, place: np.ndarray) -> np.ndarray:
    """The logarithm of the intensity of images moved by a place in pixels, between pixels linear."""
    moved = images / 255
    for axis, distance in enumerate(place, 1):
        whole, part = int(distance), distance % 1
        moved = (1 - part) * np.roll(moved, whole, axis) + part * np.roll(moved, whole + 1, axis)
    return np.log(moved + 0.1)
