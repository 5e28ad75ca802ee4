"""`python train.py data=idx data.dir=…`: somebody's own images or events, from training to evaluation."""

import csv
import re
import shutil
from pathlib import Path

import hydra
import numpy as np
import pytest
import torch
from cifar_files import cifar10
from event_files import regular, save
from idx_files import idx
from omegaconf import OmegaConf
from PIL import Image
from program import CONF, ROOT, SMALL, metrics, query, run_here, run_ids, status, tags

import ratespike
from ratespike.data.idx import parse_idx
from ratespike.pipeline.fingerprint import config_hash, data_content, training_hash

pytestmark = [
    pytest.mark.program,
    pytest.mark.filterwarnings("ignore"),  # Lightning's advice
]


@pytest.fixture(scope="module")
def squares(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of images, 18 x 20 pixels: a bright square on the left, in the middle, on the right."""
    folder = tmp_path_factory.mktemp("squares")
    generator = np.random.default_rng(0)
    for split, count in (("train", 240), ("test", 60)):
        labels = generator.integers(0, 3, count).astype(np.uint8)
        images = generator.integers(0, 60, (count, 18, 20)).astype(np.uint8)
        for image, label in zip(images, labels, strict=True):
            image[6:12, 1 + 6 * label : 7 + 6 * label] = 220
        (folder / f"{split}-images").write_bytes(idx(images))
        (folder / f"{split}-labels").write_bytes(idx(labels))
    return folder


def artifact(checkout: Path, run_id: str, name: str) -> Path:
    (folder,) = checkout.glob(f"mlruns/*/{run_id}/artifacts")
    return folder / name


def test_own_images_train_and_are_evaluated(checkout: Path, squares: Path) -> None:
    given = ("data=idx", f"data.dir={squares}", "n_steps=20", "data.test_images=null", "optimizer.lr=0.01")
    code, out, error = run_here(checkout, *SMALL, *given)
    assert code == 0, error
    (run_id,) = run_ids(checkout)
    assert status(checkout, run_id) == "FINISHED"
    measured = metrics(checkout, run_id)
    assert measured["test/rate_accuracy", 0] == 1, "three squares were not told apart"  # type: ignore[comparison-overlap]
    assert float(measured["test/spiking_accuracy", 0]) > 0.9  # type: ignore[arg-type]
    named = query(checkout, "select name from datasets where name like 'IDX%' order by name")
    assert named == [("IDX_test",), ("IDX_train",), ("IDX_validation",)]

    code, out, error = run_here(checkout, f"run={run_id}", "n_steps=25", program="evaluate.py")
    assert code == 0, error
    assert "spiking accuracy, 25 steps" in out

    answers = list(csv.DictReader(artifact(checkout, run_id, "results/predictions.csv").open()))
    assert len(answers) == 60
    for mode in ("rate", "spiking"):
        right = np.mean([answer["label"] == answer[f"{mode}_prediction"] for answer in answers])
        assert right == pytest.approx(measured[f"test/{mode}_accuracy", 0])
    code, out, error = run_here(checkout, f"paired=[{run_id},{run_ids(checkout)[-1]}]", program="compare.py")
    assert code == 0, error
    assert len(re.findall(r"[+-]\d\.\d\d ± \d\.\d\d", out)) == 4
    code, _, error = run_here(checkout, f"paired=[{run_id},nobody]", program="compare.py")
    assert code == 1
    assert "run nobody: not found" in error


def test_an_epoch_of_cifar10(checkout: Path, tmp_path: Path) -> None:
    cifar10(tmp_path, in_each=50)
    given = ("data=cifar10", f"data.dir={tmp_path}", "trainer.max_epochs=1", "n_steps=5")
    code, out, error = run_here(checkout, *SMALL, *given)
    assert code == 0, error
    assert "spiking accuracy, 5 steps" in out
    (kept,) = checkout.glob(f"mlruns/*/{run_ids(checkout)[-1]}/artifacts")
    assert "airplane" in (kept / "results/per_class.csv").read_text()


def test_classes_of_different_sizes(checkout: Path, squares: Path) -> None:
    """They count the same in the training; what the network does on each of them is kept by the class's name."""
    given = ("data=idx", f"data.dir={squares}", "data.test_images=null", "data.class_weights=balanced", "n_steps=20")
    code, _, error = run_here(checkout, *SMALL, *given)
    assert code == 0, error
    run_id = run_ids(checkout)[-1]
    (kept,) = checkout.glob(f"mlruns/*/{run_id}/artifacts")
    with (kept / "results/per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class_name"] for row in rows] == ["0", "1", "2"]
    sizes = [int(row["test_images"]) for row in rows]
    assert sum(sizes) == 60
    measured = metrics(checkout, run_id)
    for mode in ("rate", "spiking"):
        accuracies = [float(row[f"{mode}_accuracy"]) for row in rows]
        assert measured[f"test/{mode}_balanced_accuracy", 0] == pytest.approx(np.mean(accuracies))
        assert measured[f"test/{mode}_accuracy", 0] == pytest.approx(np.average(accuracies, weights=sizes))
    checkpoint = torch.load(kept / "checkpoints/best.ckpt", weights_only=True)
    assert checkpoint["ratespike"]["class_names"] == ["0", "1", "2"]
    assert ratespike.load(kept / "checkpoints/best.ckpt")


@pytest.fixture(scope="module")
def pictures(squares: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same images as picture files: PNG and JPEG, grey and colour, two sizes; two are damaged, and a class is empty."""
    folder = tmp_path_factory.mktemp("pictures")
    images = parse_idx((squares / "train-images").read_bytes()).numpy()
    labels = parse_idx((squares / "train-labels").read_bytes()).tolist()
    for number, (pixels, label) in enumerate(zip(images, labels, strict=True)):
        place = folder / ("left", "middle", "right")[label]
        place.mkdir(exist_ok=True)
        picture = Image.fromarray(pixels)
        if number % 3 == 0:
            picture = picture.convert("RGB")
        if number % 5 == 0:
            picture = picture.resize((40, 36))
        picture.save(place / f"{number}.{'jpg' if number % 2 else 'png'}")
    (folder / "left" / "cut.png").write_bytes(min((folder / "left").iterdir()).read_bytes()[:50])
    (folder / "right" / "none.jpg").write_bytes(b"no picture")
    (folder / "empty").mkdir()
    return folder


def test_pictures_train_and_new_ones_are_predicted(checkout: Path, pictures: Path, tmp_path: Path) -> None:
    given = (
        "data=image_folder",
        f"data.dir={pictures}",
        "data.test_images=null",
        "data.train_images=null",
        "optimizer.lr=0.01",
    )
    code, _, error = run_here(checkout, *SMALL, *given)
    assert code == 1
    assert "2 of 242 pictures cannot be read: left/cut.png" in error
    code, out, error = run_here(checkout, *SMALL, *given, "data.on_error=skip", "n_steps=20", "data.batch_size=10")
    assert code == 0, error
    run_id = run_ids(checkout)[-1]
    assert tags(checkout, run_id)["ratespike.files_left_out"] == "2"
    measured = metrics(checkout, run_id)
    assert measured["test/rate_accuracy", 0] == 1, "three squares were not told apart"  # type: ignore[comparison-overlap]

    new = tmp_path / "new"
    new.mkdir()
    for name, left in (("a.png", 1), ("b.bmp", 7), ("c.png", 13)):
        pixels = np.full((18, 20), 30, np.uint8)
        pixels[6:12, left : left + 6] = 220
        Image.fromarray(pixels).save(new / name)
    (new / "d.png").write_bytes(b"no picture")
    folder = tmp_path / "answers"
    asked = (f"run={run_id}", f"images={new}", f"folder={folder}", "simulation=half")
    code, out, error = run_here(checkout, *asked, program="predict.py")
    assert code == 1
    assert f"1 of 4 pictures cannot be read; the first, {new}/d.png: not a picture, or damaged" in error
    assert "3 of 4 pictures in" in out
    with (folder / "predictions.csv").open() as file:
        answers = list(csv.DictReader(file))
    assert [answer["rate_class"] for answer in answers] == ["left", "middle", "right", ""]
    assert [answer["spike_class"] for answer in answers] == ["left", "middle", "right", ""]
    assert all(1 <= int(answer["decision_step"]) <= 20 for answer in answers[:3])
    assert (folder / "outputs_over_time.png").stat().st_size > 10_000


def test_bad_input_of_predict_is_one_line(checkout: Path, squares: Path) -> None:
    run_id = run_ids(checkout)[-1]
    for arguments, message in (
        (("images=nowhere",), "images=nowhere: no such file or folder; give images=<folder>, <file> or [<file>,<file>]"),
        (("images=[~/nowhere.png]",), f"images={Path.home()}/nowhere.png: no such file or folder"),
        ((), "images=None: no such file or folder"),
        ((f"images={squares}",), "holds no pictures"),
        (("images=nowhere", "neuron.tau_rc=0.5"), "images=nowhere"),
    ):
        code, _, error = run_here(checkout, f"run={run_id}", *arguments, program="predict.py")
        assert code == 1
        assert message in error
        assert error.count("\n") == 1


def test_a_changed_picture_is_another_training(checkout: Path, pictures: Path) -> None:
    with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
        config = hydra.compose("config", ["+experiment=mnist", "data=image_folder", f"data.dir={pictures}"])
    plain = OmegaConf.to_container(config, resolve=True)
    assert isinstance(plain, dict)
    before = [own(plain, data_content(plain, checkout)) for own in (config_hash, training_hash)]
    assert before == [own(plain, data_content(plain, checkout)) for own in (config_hash, training_hash)]
    Image.new("L", (20, 18), 9).save(pictures / "left" / "new.png")
    after = [own(plain, data_content(plain, checkout)) for own in (config_hash, training_hash)]
    assert before[0] != after[0]
    assert before[1] != after[1]


def test_a_network_that_does_not_fit_the_images_is_refused(checkout: Path, squares: Path) -> None:
    before = run_ids(checkout)
    code, _, error = run_here(checkout, *SMALL, "data=idx", f"data.dir={squares}", "network.layers.dense.units=10")
    assert code == 1
    assert "the output has shape (10,), but the data have 3 classes" in error
    code, _, error = run_here(checkout, *SMALL, "data=idx", f"data.dir={squares}", "network.layers.conv2.kernel=17")
    assert code == 1
    assert "kernel=17: must be at most the image, here 16x18" in error
    assert run_ids(checkout) == before


@pytest.mark.system
def test_the_page_on_images_of_ones_own_is_true(checkout: Path, pictures: Path) -> None:
    """Its commands, each on fewer steps of training and simulation."""
    for name in ("left", "middle", "right"):
        folder = checkout / "photos" / name
        folder.mkdir(parents=True)
        for path in sorted((pictures / name).iterdir())[5:25]:
            if path.stat().st_size > 60:  # none of the damaged ones
                shutil.copy(path, folder)
    commands = re.findall(r"^python (\w+\.py) (.*)$", (ROOT / "docs/your_own_images.md").read_text(), re.MULTILINE)
    assert [program for program, _ in commands] == ["train.py", "train.py", "compare.py", "predict.py"]
    small = ("trainer.max_epochs=1", "n_steps=5", *(f"network.layers.conv{number}.filters=8" for number in (1, 2, 3)))
    printed = []
    for program, arguments in commands:
        run = run_ids(checkout)[-1] if program == "predict.py" else ""
        given = arguments.replace("<id or name>", run).replace("new_photos", "photos/left").split()
        code, out, error = run_here(checkout, *given, *(small if program == "train.py" else ()), program=program)
        assert code == 0, error
        printed.append(out)
    assert "spiking accuracy, 5 steps" in printed[0]
    assert "2 runs in 2 groups" in printed[2], "the sweep's neurons are compared"
    assert "20 of 20 pictures in" in printed[3]


@pytest.fixture(scope="module")
def recordings(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three classes of recordings, 18 x 20 pixels: 150 Hz on the left, in the middle, on the right, else up to 20 Hz."""
    generator = np.random.default_rng(0)
    labels = generator.integers(0, 3, 300)
    rates = 20.0 * generator.integers(0, 2, (300, 2, 18, 20))
    for recording, label in zip(rates, labels, strict=True):
        recording[:, 6:12, 1 + 6 * label : 7 + 6 * label] = 150
    return save(tmp_path_factory.mktemp("recordings") / "some.npz", regular(rates, 0.1, labels))


def test_own_events_train_and_are_evaluated(checkout: Path, recordings: Path) -> None:
    given = ("data=events", f"data.dir={recordings}", "n_steps=60", "data.test_images=null", "optimizer.lr=0.01")
    code, out, error = run_here(checkout, *SMALL, *given)
    assert code == 0, error
    run_id = run_ids(checkout)[-1]
    assert status(checkout, run_id) == "FINISHED"
    measured = metrics(checkout, run_id)
    assert measured["test/rate_accuracy", 0] == 1, "three places were not told apart"  # type: ignore[comparison-overlap]
    assert float(measured["test/spiking_accuracy", 0]) > 0.8  # type: ignore[arg-type]
    named = query(checkout, "select name from datasets where name like 'Events%' order by name")
    assert named == [("Events_test",), ("Events_train",), ("Events_validation",)]

    code, out, error = run_here(checkout, f"run={run_id}", "synapse.tau=0.05", program="evaluate.py")
    assert code == 0, error
    assert "spiking accuracy, 60 steps" in out
    code, _, error = run_here(checkout, f"run={run_id}", "n_steps=30", "synapse.tau=0.02", program="evaluate.py")
    assert code == 1
    assert "n_steps=30 (trained with 60): would change the training" in error


def test_pictures_are_not_shown_to_a_network_that_was_trained_on_other_values(
    checkout: Path, squares: Path, tmp_path: Path
) -> None:
    """White of a picture is 1; of these images it was 255."""
    images, labels = (parse_idx((squares / f"train-{what}").read_bytes()).numpy() for what in ("images", "labels"))
    np.savez(tmp_path / "some.npz", images=images.astype(np.float32), labels=labels)
    Image.fromarray(images[0]).save(tmp_path / "0.png")
    given = ("data=npz", f"data.dir={tmp_path}/some.npz", "n_steps=3", "trainer.max_epochs=1")
    code, _, error = run_here(checkout, *SMALL, *given)
    assert code == 0, error
    run_id = run_ids(checkout)[-1]
    code, out, error = run_here(checkout, f"run={run_id}", f"images={tmp_path}/0.png", program="predict.py")
    assert (code, out) == (1, "")
    assert f"error: that network was trained on floating-point images from 0 to {images.max()}; pictures are from" in error
    (checkpoint,) = checkout.glob(f"mlruns/*/{run_id}/artifacts/checkpoints/best.ckpt")
    content = torch.load(checkpoint, weights_only=True)
    for value_range, expected in ((None, 0), ([0.0, 1.0], 0), ([0.0], 1), ([0, "1"], 1)):
        content["ratespike"].pop("value_range", None)
        if value_range is not None:
            content["ratespike"]["value_range"] = value_range
        torch.save(content, tmp_path / "other.ckpt")
        asked = (f"checkpoint={tmp_path}/other.ckpt", f"images={tmp_path}/0.png", f"folder={tmp_path}")
        code, _, error = run_here(checkout, *asked, program="predict.py")
        assert code == expected, error
        assert code == 0 or "its value_range is not two floating-point numbers" in error


def test_colours_of_events_are_refused_before_a_run(checkout: Path, recordings: Path) -> None:
    before = run_ids(checkout)
    code, _, error = run_here(checkout, *SMALL, "data=events", f"data.dir={recordings}", "augmentation=photos")
    assert code == 1
    assert "error: augmentation.brightness=0.2 contrast=0.2 saturation=0.2: colours can only be changed of images" in error
    assert run_ids(checkout) == before


def test_events_after_the_last_step_are_refused(checkout: Path, recordings: Path) -> None:
    before = run_ids(checkout)
    code, _, error = run_here(checkout, *SMALL, "data=events", f"data.dir={recordings}", "n_steps=2")
    assert code == 1
    assert "n_steps=2 dt=0.001: the first event comes after 0.00333333 s, when no step is left" in error
    assert run_ids(checkout) == before
