"""Recordings of an event camera: what rates and spikes see of events whose rates are known, and what is refused in one line."""

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from event_files import Arrays, regular, saccades, save
from program import ROOT
from torch import nn
from torch.nn import functional as F

from ratespike import simulate
from ratespike.data import MNIST, Augmentation, Recordings, Splits
from ratespike.data.events import Events
from ratespike.neurons import LIF, IntegrateAndFire, SpikingRectifiedLinear
from ratespike.parameters import ParameterError
from ratespike.synapses import NoFilter

GENERATOR = np.random.default_rng(0)
RATES = GENERATOR.integers(0, 20, (20, 2, 3, 4)) * 10.0  # Hz: a whole number of events in 100 ms
RATES[0, 1, 2, 3] = 190
LABELS = np.arange(20) % 2
COUNTS = GENERATOR.integers(0, 60, 30)  # of events, some recordings have none
COUNTS[3] = 0
SCATTERED: Arrays = {  # random events, in no order of time
    "t": GENERATOR.random(COUNTS.sum()) * 0.05,
    "x": GENERATOR.integers(0, 5, COUNTS.sum(), dtype=np.uint16),
    "y": GENERATOR.integers(0, 4, COUNTS.sum(), dtype=np.int8),
    "polarity": GENERATOR.random(COUNTS.sum()) < 0.4,
    "begin": np.cumsum([0, *COUNTS]),
    "labels": np.arange(30) % 3,
    "split": np.array(["test"] * 10 + ["train"] * 20),
}


def load(path: Path, **given: object) -> Splits:
    return Events(dir=str(path), **given).load(path.parent)  # type: ignore[arg-type]


def all_recordings(path: Path, n_steps: int, dt: float, **given: object) -> Recordings:
    """Those of a file whose words all say that they are for tests, but for the two last."""
    test = load(path, **given).shown_for(n_steps, dt).test
    assert isinstance(test, Recordings)
    return test


@pytest.fixture
def regular_file(tmp_path: Path) -> Path:
    rates = np.concatenate([RATES, RATES[:4]])
    arrays = regular(rates, 0.1, np.concatenate([LABELS, LABELS[:4]]))
    return save(tmp_path / "some.npz", arrays | {"split": np.array(["test"] * 20 + ["train"] * 4)})


@pytest.fixture
def scattered_file(tmp_path: Path) -> Path:
    return save(tmp_path / "some.npz", SCATTERED)


@pytest.mark.parametrize("dt", [0.001, 0.0005, 0.004])
def test_the_mean_is_the_rate_and_does_not_depend_on_dt(regular_file: Path, dt: float) -> None:
    shown = all_recordings(regular_file, round(0.1 / dt), dt, max_rate=80)
    expected = torch.from_numpy(RATES / 80).float()
    assert torch.allclose(shown.as_inputs(), expected, rtol=1e-6)
    over_time = shown.over_time()
    assert over_time.shape == (round(0.1 / dt), 20, 2, 3, 4)
    assert torch.allclose(over_time.mean(0), expected, rtol=1e-5)
    assert over_time.unique()[1] == pytest.approx(1 / (80 * dt)), "an event is as high as a spike of a neuron"
    assert torch.equal(shown.as_pictures(), shown.as_inputs())


def test_halved_steps_give_the_same_mean(scattered_file: Path) -> None:
    whole, halves = (all_recordings(scattered_file, n_steps, dt) for n_steps, dt in ((25, 0.001), (50, 0.0005)))
    assert torch.equal(whole.as_inputs(), halves.as_inputs())
    pairs = halves.over_time().unflatten(0, (25, 2)).mean(1)
    assert torch.allclose(whole.over_time(), pairs)


@pytest.mark.parametrize(("n_steps", "dt"), [(30, 0.001), (7, 0.0013), (60, 0.001), (1, 0.02)])
@pytest.mark.parametrize("compressed", [False, True])
def test_events_are_counted_as_numpy_counts_them(tmp_path: Path, n_steps: int, dt: float, compressed: bool) -> None:
    path = save(tmp_path / "some.npz", SCATTERED, compressed)
    shown = all_recordings(path, n_steps, dt, height=6, max_rate=50)
    recording = np.repeat(np.arange(30), COUNTS)
    columns = [SCATTERED["t"], recording, SCATTERED["polarity"], SCATTERED["y"], SCATTERED["x"]]
    edges = [np.arange(n_steps + 1) * dt, *(np.arange(count + 1) - 0.5 for count in (10, 2, 6, 5))]
    expected, _ = np.histogramdd(np.stack(columns, 1).astype(float), edges)
    assert torch.allclose(shown.over_time().double() * 50 * dt, torch.from_numpy(expected), rtol=1e-6)
    assert np.array_equal(shown.pixels.numpy(), expected.sum(0))
    assert not shown.pixels[3].any(), "a recording without events is one of zeros"


def test_recordings_do_not_depend_on_the_batch_or_its_order(scattered_file: Path) -> None:
    shown = all_recordings(scattered_file, 30, 0.001)
    whole = shown.over_time()
    order = torch.from_numpy(GENERATOR.permutation(10))
    parts = torch.cat([shown[index].over_time() for index in order.split(3)], dim=1)
    assert torch.equal(parts, whole[:, order])
    assert torch.equal(shown[order][2:4].as_inputs(), shown.as_inputs()[order[2:4]])
    assert torch.equal(shown[order].labels, shown.labels[order])
    assert torch.equal(pickle.loads(pickle.dumps(shown)).over_time(), whole), "in another process"
    assert len(shown[:0].as_inputs()) == 0


def test_channels_size_and_splits(tmp_path: Path) -> None:
    splits = load(save(tmp_path / "some.npz", SCATTERED))
    assert (splits.image_shape, splits.classes) == ((2, 4, 5), 3)
    assert (len(splits.train), len(splits.validation), len(splits.test)) == (18, 2, 10)
    without = {name: values for name, values in SCATTERED.items() if name not in ("polarity", "split")}
    one_channel = load(save(tmp_path / "some.npz", without), height=9, width=7)
    assert one_channel.image_shape == (1, 9, 7)
    assert one_channel.test.labels.bincount().tolist() == [2, 2, 2]
    assert torch.equal(one_channel.train.scaled(one_channel.train.scaling).pixels, one_channel.train.pixels)


@pytest.mark.slow
def test_spikes_are_those_of_a_count_by_hand(regular_file: Path) -> None:
    """A neuron starts at an eighth of its threshold and gets a quarter from each event of its pixel: every fourth fires it."""
    shown = all_recordings(regular_file, 100, 0.001, max_rate=400)
    network = nn.Sequential(IntegrateAndFire(max_rate=100))
    start = {"0": {"voltage": torch.full((), 0.125)}}
    events = shown.over_time().double()
    for engine in ("torch", "event_driven"):
        options = {"start": start, "record": ["0"], "engine": engine, "synapse": NoFilter(), "images_over_time": True}
        spikes = simulate(network, events, 100, event_height=shown.event_height, **options).recordings["0"]  # type: ignore[arg-type]
        so_far = (events / shown.event_height).round().cumsum(0)
        assert torch.equal(spikes.cumsum(0), (so_far / 4).floor()), engine
    assert torch.equal(so_far[-1], torch.from_numpy(RATES / 10))


@pytest.mark.slow
@pytest.mark.parametrize(
    "neuron", [LIF(max_rate=200, intercept=-0.1), SpikingRectifiedLinear(max_rate=200), IntegrateAndFire(max_rate=300)]
)
def test_both_engines_make_the_same_spikes_and_operations(scattered_file: Path, neuron: nn.Module) -> None:
    torch.manual_seed(0)
    shown = all_recordings(scattered_file, 40, 0.001, max_rate=20)
    layers = [nn.Conv2d(2, 9, 3, padding=1), neuron, nn.AvgPool2d(2), nn.Flatten(), nn.Linear(36, 20), neuron, nn.Linear(20, 3)]
    network = nn.Sequential(*layers).double()
    events = shown.over_time().double()
    results = []
    for engine in ("torch", "event_driven"):
        options = {"record": ["1", "5"], "engine": engine, "images_over_time": True, "event_height": shown.event_height}
        results.append(simulate(network, events, 40, **options))  # type: ignore[arg-type]
    reference, event_driven = results
    for layer in ("1", "5"):
        assert reference.recordings[layer].sum() > 100, f"{layer} hardly spikes: nothing would be compared"
        assert torch.equal(reference.recordings[layer], event_driven.recordings[layer])
    assert torch.allclose(reference.outputs, event_driven.outputs, atol=1e-12)
    assert torch.equal(reference.synaptic_operations, event_driven.synaptic_operations)


@pytest.mark.slow
def test_operations_are_the_events_times_their_weights(regular_file: Path) -> None:
    """Several events of a pixel in a step count each; neurons that nothing drives add none."""
    network = nn.Sequential(nn.Flatten(), nn.Linear(24, 7), SpikingRectifiedLinear(), nn.Linear(7, 2))
    nn.init.constant_(network[1].weight, -1)
    nn.init.zeros_(network[1].bias)
    for n_steps, dt in ((100, 0.001), (5, 0.02)):
        shown = all_recordings(regular_file, n_steps, dt)
        options = {"start": "zero", "images_over_time": True, "event_height": shown.event_height}
        result = simulate(network, shown.over_time(), n_steps, dt, **options)  # type: ignore[arg-type]
        assert result.synaptic_operations.sum(0).tolist() == (7 * RATES.sum((1, 2, 3)) / 10).tolist()


@pytest.mark.slow
def test_digits_in_the_recordings_of_a_moving_camera_are_learned(tmp_path: Path) -> None:
    digits = MNIST(dir="data/mnist", validation_images=5000).load(ROOT).train[:600]
    arrays = saccades(digits.pixels[:, 0].numpy(), digits.labels.numpy())
    split = np.array(["train"] * 450 + ["test"] * 150)
    splits = load(save(tmp_path / "some.npz", arrays | {"split": split}), max_rate=100).shown_for(60, 0.001)
    assert splits.image_shape == (2, 28, 28)
    torch.manual_seed(0)
    network = nn.Sequential(nn.Flatten(), nn.Linear(2 * 784, 60), LIF(max_rate=200, sigma=0.05), nn.Linear(60, 10))
    optimizer = torch.optim.Adam(network.parameters(), lr=0.002)
    inputs, labels = splits.train.as_inputs(), splits.train.labels.long()
    for _ in range(20):
        for batch in torch.randperm(len(labels)).split(45):
            optimizer.zero_grad()
            F.cross_entropy(network(inputs[batch]), labels[batch]).backward()
            optimizer.step()
    shown = splits.test
    options = {"images_over_time": True, "event_height": shown.event_height}
    result = simulate(network, shown.over_time(), 60, **options)  # type: ignore[arg-type]
    rates = (network(shown.as_inputs()).argmax(1) == shown.labels).float().mean()
    spikes = (result.predictions[-1] == shown.labels).float().mean()
    assert rates > 0.7 and spikes > 0.65, f"{rates:.2f} on rates, {spikes:.2f} on spikes"


def changed(name: str, place: int, value: float) -> Arrays:
    """One value of an array that is another one."""
    values = SCATTERED[name].copy()
    values[place] = value
    return {name: values}


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (changed("t", 7, np.nan), r"t is from nan to nan; must be finite and at least 0 \(s\)"),
        (changed("t", 7, np.inf), r"t is from .* to inf; must be finite"),
        (changed("t", 7, -0.001), r"t is from -0.001 to"),
        ({"t": (SCATTERED["t"] * 1e6).astype(np.int64)}, "t is int64; must be seconds, as floating-point numbers"),
        ({"t": SCATTERED["t"][:-1]}, r"holds \d+ values of x for \d+ values of t"),
        ({"t": SCATTERED["t"].reshape(1, -1)}, r"t is of the shape \(1, \d+\); must be numbers of the shape \(count,\)"),
        ({"polarity": SCATTERED["polarity"][:-1]}, r"holds \d+ values of polarity for \d+ values of t"),
        ({"polarity": SCATTERED["polarity"] * 2 - 1}, "polarity is from -1 to 1; must be from 0 to 1"),
        (changed("x", 0, 9), "x is from 0 to 9; must be from 0 to 4"),
        (changed("y", 0, -1), "y is from -1 to 3; must be from 0 to 3"),
        ({"x": SCATTERED["x"] + 0.5}, "x is float64; must be whole numbers"),
        ({"begin": SCATTERED["begin"][::-1].copy()}, r"begin is from \d+ to 0; must be from 0 to the number of events, \d+"),
        (changed("begin", -1, 10**6), r"begin is from 0 to 1000000; must be from 0 to the number of events"),
        (changed("begin", 2, 0), r"begin falls behind recording 1, from \d+ to 0"),
        ({"begin": np.zeros(0, np.int64)}, "begin is 0 values of int64; must be whole numbers, one more than recordings"),
        ({"labels": SCATTERED["labels"][:-1]}, "holds 29 labels for 30 recordings"),
        ({"labels": SCATTERED["labels"] - 1}, "holds labels from -1 to 1; with 30 images"),
        ({"split": SCATTERED["split"][:-1]}, "split must hold the word train or test for each of the 30 images"),
        ({"x": np.array(["a"] * len(SCATTERED["x"]))}, "x is <U1; must be numbers"),
        ({name: SCATTERED[name][:0] for name in ("t", "x", "y", "polarity")} | {"begin": np.zeros(31, int)}, "holds no events"),
    ],
)
def test_wrong_content_is_refused_in_one_line(tmp_path: Path, arrays: Arrays, message: str) -> None:
    with pytest.raises(ParameterError, match=f"^data.dir=.*: some.npz: {message}|^data.dir=.*: {message}"):
        load(save(tmp_path / "some.npz", SCATTERED | arrays), height=4, width=5)


@pytest.mark.parametrize("name", ["x", "y", "polarity"])
def test_whole_numbers_of_any_type(tmp_path: Path, scattered_file: Path, name: str) -> None:
    expected = load(scattered_file).test.pixels.clone()
    other = save(tmp_path / "other.npz", SCATTERED | {name: SCATTERED[name].astype(np.uint64)})
    assert torch.equal(load(other).test.pixels, expected)


@pytest.mark.parametrize("largest", [3 * 10**8, 2**64 - 1])
def test_places_that_no_camera_has(tmp_path: Path, largest: int) -> None:
    x = SCATTERED["x"].astype(np.uint64)
    x[3] = largest
    with pytest.raises(ParameterError, match=rf"a camera of 4 x {largest + 1:,} pixels, .*; give data.height= and data.width="):
        load(save(tmp_path / "some.npz", SCATTERED | {"x": x}))


def test_an_array_that_is_missing(tmp_path: Path) -> None:
    path = save(tmp_path / "some.npz", {name: values for name, values in SCATTERED.items() if name != "begin"})
    with pytest.raises(ParameterError, match="has no array begin; it has labels, polarity, split, t, x, y"):
        load(path)


def test_events_that_all_come_too_late(tmp_path: Path) -> None:
    splits = load(save(tmp_path / "some.npz", SCATTERED | {"t": SCATTERED["t"] + 0.03}))
    with pytest.raises(
        ParameterError, match=r"^n_steps=30 dt=0.001: the first event comes after 0.03.* s, when no step is left"
    ):
        splits.shown_for(30, 0.001)
    assert splits.shown_for(40, 0.001).test.pixels.sum() > 0


def test_the_colours_of_events_do_not_change(scattered_file: Path) -> None:
    train = load(scattered_file).train
    with pytest.raises(ParameterError, match=r"^augmentation.brightness=0.2 .* but these are events; "):
        Augmentation(brightness=0.2).check_colours(train)
    Augmentation(shift=0.2, cut_out=0.2).check_colours(train)


def test_events_are_scaled_by_their_rate_alone() -> None:
    with pytest.raises(ParameterError, match=r"mean=\[0.5\]: must be null: events are scaled by max_rate alone"):
        Events(dir="data", mean=0.5)
