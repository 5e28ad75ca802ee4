"""Mutated files of every format that ratespike reads: used or refused, never a crash, a hang or gigabytes."""

import io
import json
import tempfile
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from idx_files import idx
from mutations import survived
from PIL import Image
from torch import nn

import ratespike
from ratespike.checked_files import read_npz
from ratespike.conversion.nengodl import load_nengodl
from ratespike.data.idx import IDX
from ratespike.data.image_folder import ImageFolder
from ratespike.data.npz import NPZ
from ratespike.exchange.nir import read_nir, write_nir
from ratespike.exchange.safetensors import write_safetensors
from ratespike.network import build_network
from ratespike.neurons import LIF
from ratespike.pipeline.checkpoint import write_checkpoint

pytestmark = pytest.mark.filterwarnings("ignore")

SHORT, LONG = 40, 10_000
LAYERS = {"dense": {"type": "Dense", "units": 5}, "neuron": {"type": "Neurons"}, "out": {"type": "Dense"}}
DESCRIPTION = {"image_shape": [1, 8, 8], "classes": 3, "config": {"network": {"layers": LAYERS}, "neuron": {"type": "LIF"}}}


@dataclass(frozen=True)
class Format:
    """What is mutated, and what reads it.

    Attributes:
        content: of a good file.
        use: reads a file; raises `ParameterError` if it refuses it.
    """

    content: bytes
    use: Callable[[bytes], None]


def network() -> nn.Sequential:
    torch.manual_seed(0)
    return build_network(LAYERS, {"type": "LIF"}, (1, 8, 8), 3).eval()


def written(name: str, write: Callable[[Path], object]) -> bytes:
    with tempfile.TemporaryDirectory() as folder:
        write(Path(folder) / name)
        return (Path(folder) / name).read_bytes()


def read(name: str, content: bytes, use: Callable[[Path], object]) -> object:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
        return use(path)


def with_same_weights(path: Path) -> None:
    """Load a network; its weights are those of the good file, whatever the rest says."""
    loaded = ratespike.load(path).state_dict()
    for name, weights in network().state_dict().items():
        assert torch.equal(loaded[name], weights), f"{name} was loaded with other weights"


def checkpoint(suffix: str) -> Format:
    name = f"a{suffix}"
    write = write_checkpoint_file if suffix == ".ckpt" else write_safetensors_file
    return Format(written(name, write), lambda content: read(name, content, with_same_weights) and None)


def write_checkpoint_file(path: Path) -> None:
    write_checkpoint(path, network(), DESCRIPTION)


def write_safetensors_file(path: Path) -> None:
    write_safetensors(path, network().state_dict(), json.loads(json.dumps(DESCRIPTION)))


def nengodl() -> Format:
    layers = {"dense": {"type": "Dense", "units": 4}, "neuron": {"type": "Neurons"}}
    file = io.BytesIO()
    weights = {"dense_kernel": np.eye(4, dtype="f4"), "dense_bias": np.zeros(4, "f4"), "lif1_v0": np.ones(4) / 2}
    np.savez_compressed(file, **weights, gain=1.5, bias=1.0, tau_rc=0.02)
    use = lambda content: read("a.npz", content, lambda path: load_nengodl(path, layers, (1, 2, 2))) and None  # noqa: E731
    return Format(file.getvalue(), use)


def arrays() -> Format:
    file = io.BytesIO()
    np.savez_compressed(file, **{"test:a": np.arange(6.0).reshape(2, 3), "test:b": np.array(["x", "y"])})
    return Format(file.getvalue(), lambda content: read("a.npz", content, read_npz) and None)


def npz() -> Format:
    file = io.BytesIO()
    labels = np.arange(40) % 4
    images = np.random.default_rng(0).integers(0, 256, (40, 4, 4), np.uint8)
    np.savez_compressed(file, images=images, labels=labels, class_names=np.array(list("abcd")))
    use = lambda content: read("data/a.npz", content, lambda path: NPZ(dir=str(path)).load(path.parent)) and None  # noqa: E731
    return Format(file.getvalue(), use)


def images_of_idx() -> Format:
    images = np.random.default_rng(0).integers(0, 256, (20, 4, 4), np.uint8)

    def use(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            (folder / "train-images-idx3-ubyte").write_bytes(content)
            (folder / "t10k-images-idx3-ubyte").write_bytes(idx(images))
            for split in ("train", "t10k"):
                (folder / f"{split}-labels-idx1-ubyte").write_bytes(idx((np.arange(20) % 4).astype(np.uint8)))
            IDX(dir=name).load(folder)

    return Format(idx(images), use)


def picture(kind: str) -> Format:
    pixels = np.random.default_rng(0).integers(0, 256, (8, 8, 3), np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind)

    def use(content: bytes) -> None:
        with tempfile.TemporaryDirectory() as name:
            pictures = Path(name) / "pictures"
            for label in "ab":
                (pictures / label).mkdir(parents=True)
                for number in range(5):
                    good = pictures / label / f"{number}.{kind.lower()}"
                    good.write_bytes(file.getvalue())
            good.write_bytes(content)
            ImageFolder(dir="pictures", height=8, width=8).load(Path(name))

    return Format(file.getvalue(), use)


def nir() -> Format:
    pytest.importorskip("nir")
    torch.manual_seed(0)
    plain = nn.Sequential(nn.Flatten(), nn.Linear(4, 3), LIF(tau_ref=0.0), nn.Linear(3, 2))
    content = written("a.nir", lambda path: write_nir(plain, path, torch.rand(2, 1, 2, 2), lossy=True))
    return Format(content, lambda content: read("a.nir", content, read_nir) and None)


FORMATS: dict[str, Callable[[], Format]] = {
    "checkpoint": lambda: checkpoint(".ckpt"),
    "safetensors": lambda: checkpoint(".safetensors"),
    "NengoDL's arrays": nengodl,
    "results of a run": arrays,
    "npz": npz,
    "IDX": images_of_idx,
    "PNG": lambda: picture("PNG"),
    "JPEG": lambda: picture("JPEG"),
    "NIR": nir,
}


@pytest.mark.parametrize("name", FORMATS)
def test_mutated_files_are_used_or_refused(name: str, tmp_path: Path) -> None:
    report(name, SHORT, 0, tmp_path)


@pytest.mark.weekend
@pytest.mark.parametrize("name", FORMATS)
def test_many_mutated_files_are_used_or_refused(name: str, tmp_path: Path) -> None:
    report(name, LONG, 1, tmp_path)


def report(name: str, number: int, seed: int, folder: Path) -> None:
    mutated = FORMATS[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        counts = survived(mutated.content, number, seed, mutated.use, folder / "report.txt")
    print(f"\n{name}: {number} mutations of {len(mutated.content)} bytes: {counts['refused']} refused, {counts['used']} used")
