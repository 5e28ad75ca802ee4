"""Every kind of data through every program: a sweep, an evaluation, predictions, a comparison."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from cifar_files import cifar10
from event_files import regular, save
from idx_files import idx
from PIL import Image
from program import SMALL, query, run

pytestmark = pytest.mark.system

CLASSES = 5
LABELS = np.arange(400) % CLASSES


def squares(height: int, width: int) -> np.ndarray:
    """Grey images of noise, in each of which a bright square stands at the place of its class."""
    images = np.random.default_rng(0).integers(0, 60, (len(LABELS), height, width), dtype=np.uint8)
    side = width // CLASSES
    for image, label in zip(images, LABELS, strict=True):
        image[2 : 2 + side, side * label : side * (label + 1)] = 230
    return images


def idx_files(folder: Path) -> tuple[str, ...]:
    images = squares(17, 22)
    for split, chosen in (("train", slice(0, 300)), ("t10k", slice(300, 400))):
        (folder / f"{split}-images").write_bytes(idx(images[chosen]))
        (folder / f"{split}-labels").write_bytes(idx(LABELS[chosen].astype(np.uint8)))
    return "data=idx", f"data.dir={folder}"


def npz(folder: Path) -> tuple[str, ...]:
    colours = np.repeat(squares(16, 20)[..., None], 3, axis=3)
    np.savez_compressed(folder / "some.npz", images=colours, labels=np.array(["a", "b", "c", "d", "e"])[LABELS])
    return "data=npz", f"data.dir={folder}/some.npz"


def pictures(folder: Path) -> tuple[str, ...]:
    for number, (image, label) in enumerate(zip(squares(16, 20), LABELS, strict=True)):
        (folder / "pictures" / f"class_{label}").mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / "pictures" / f"class_{label}" / f"{number}.png")
    return "data=image_folder", f"data.dir={folder}/pictures"


def cifar(folder: Path) -> tuple[str, ...]:
    cifar10(folder, in_each=60)
    return "data=cifar10", f"data.dir={folder}"


def events(folder: Path) -> tuple[str, ...]:
    rates = squares(16, 20)[:, None].repeat(2, axis=1) // 50 * 50.0
    save(folder / "some.npz", regular(rates, 0.05, LABELS))
    return "data=events", f"data.dir={folder}/some.npz"


def digits(_: Path) -> tuple[str, ...]:
    return "data=digits", "network=pool3"


def larger_digits(_: Path) -> tuple[str, ...]:
    return "data=digits", "data.size=28"


@pytest.mark.parametrize("make", [idx_files, npz, pictures, cifar, digits, larger_digits, events])
def test_every_program_takes_it(make: Callable[[Path], tuple[str, ...]], checkout: Path, tmp_path: Path) -> None:
    given = make(tmp_path)
    experiment = f"tracking.experiment={make.__name__}"
    whole = (*SMALL, "data.train_images=null", "data.test_images=null", *given, experiment, "n_steps=12")
    code, out, error = run(checkout, "-m", *whole, "seed=0,1")
    assert code == 0, error
    (job,) = query(checkout, "select run_uuid from params where key = 'seed' and value = '1' order by rowid desc limit 1")
    code, out, error = run(checkout, f"run={job[0]}", "synapse.tau=0.01", program="evaluate.py")
    assert code == 0, error
    assert "spiking accuracy, 12 steps" in out
    code, out, error = run(checkout, f"experiments={make.__name__}", program="compare.py")
    assert code == 0, error
    assert "3 runs in 2 groups" in out, "of the sweep, and of the evaluation with another filter"

    picture = tmp_path / "new.png"
    Image.fromarray(squares(16, 20)[0]).save(picture)
    code, out, error = run(checkout, f"run={job[0]}", f"images={picture}", program="predict.py")
    if make is events:
        assert code == 1
        assert "that network was trained on events, not pictures; `python evaluate.py` simulates recordings" in error
    else:
        assert code == 0, error
        assert "1 of 1 pictures" in out
