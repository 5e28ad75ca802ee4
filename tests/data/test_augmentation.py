"""Augmented images against SciPy, slices and closed forms, and draws that depend on seed, epoch and image alone."""

import math
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import torch
import yaml
from program import CONF
from torch import Tensor

from ratespike.data import Images
from ratespike.data import augmentation as module
from ratespike.data.augmentation import Augmentation
from ratespike.parameters import ParameterError, build

OPTIONS = sorted((CONF / "augmentation").glob("*.yaml"))
NUMBER = torch.tensor([7])
EVERYTHING = Augmentation(
    shift=0.1,
    rotation=15,
    scale=0.2,
    shear=10,
    elastic=1,
    flip=0.5,
    crop=0.2,
    cut_out=0.3,
    brightness=0.3,
    contrast=0.3,
    saturation=0.3,
)


def drawn(monkeypatch: pytest.MonkeyPatch, **numbers: float) -> None:
    """Let every draw be in the middle of its range, but for those given."""
    values = [numbers.get(name, 0.5) for name in module._Draws._fields]

    def uniform(seed: int, image_index: Tensor, n_numbers: int, purpose: tuple[int, int]) -> Tensor:
        row = torch.full((n_numbers,), 0.5)
        row[: len(values)] = torch.tensor(values)
        return row.expand(len(image_index), -1)

    monkeypatch.setattr(module, "uniform", uniform)


def smooth(height: int, width: int, channels: int = 1) -> Tensor:
    """An image that is black at its border: what lies beyond does not matter."""
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, channels, height, width, generator=generator)
    image[..., :4, :] = image[..., -4:, :] = 0
    image[..., :4] = image[..., -4:] = 0
    return image


def augmented(image: Tensor, **parameters: float) -> Tensor:
    return Augmentation(**parameters)(image, NUMBER, seed=0, epoch=0)


def by_scipy(image: Tensor, backwards: np.ndarray, down_and_right: tuple[float, float] = (0, 0)) -> Tensor:
    """The image whose place p, from its centre and before the shift, comes from backwards @ p; in rows and columns."""
    centre = (np.array(image.shape[-2:]) - 1) / 2
    offset = centre - backwards @ (centre + np.array(down_and_right))
    channels = [scipy.ndimage.affine_transform(each.numpy(), backwards, offset, order=1) for each in image[0].double()]
    return torch.from_numpy(np.stack(channels)).float().unsqueeze(0)


@pytest.mark.parametrize(("right", "down"), [(3, 0), (0, -2), (-3, 2)])
def test_a_shift_by_whole_pixels_is_a_slice(right: int, down: int, monkeypatch: pytest.MonkeyPatch) -> None:
    image = smooth(20, 40, channels=2)
    drawn(monkeypatch, shift_right=0.5 + right / 40 / 0.4, shift_down=0.5 + down / 20 / 0.4)
    shifted = augmented(image, shift=0.2)
    torch.testing.assert_close(shifted, image.roll((down, right), (2, 3)), rtol=0, atol=2e-5)


def test_what_comes_from_outside_is_black(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn(monkeypatch, shift_right=1.0)
    shifted = augmented(torch.ones(1, 1, 8, 8), shift=0.25)
    torch.testing.assert_close(shifted[0, 0, 3], torch.tensor([0.0, 0, 1, 1, 1, 1, 1, 1]), rtol=0, atol=1e-5)


def test_a_flip_mirrors_left_and_right(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.rand(1, 3, 9, 14)
    drawn(monkeypatch, flip=0.3)
    torch.testing.assert_close(augmented(image, flip=0.4), image.flip(3), rtol=0, atol=1e-5)
    torch.testing.assert_close(augmented(image, flip=0.2), image, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (24, 41)])
def test_a_rotation_is_one_in_pixels(height: int, width: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Counter-clockwise for a draw above the middle, as SciPy's for a positive angle."""
    image = smooth(height, width)
    drawn(monkeypatch, rotation=1.0)
    expected = scipy.ndimage.rotate(image[0, 0].double().numpy(), 20, reshape=False, order=1)
    torch.testing.assert_close(augmented(image, rotation=20)[0, 0], torch.from_numpy(expected).float(), rtol=0, atol=1e-4)


def test_a_quarter_turn_of_a_square_is_exact(monkeypatch: pytest.MonkeyPatch) -> None:
    image = torch.rand(1, 3, 12, 12)
    drawn(monkeypatch, rotation=1.0)
    torch.testing.assert_close(augmented(image, rotation=90), image.rot90(1, (2, 3)), rtol=0, atol=1e-5)


def test_scale_and_shear_are_those_of_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    image = smooth(24, 41, channels=3)
    drawn(monkeypatch, scale=1.0)
    torch.testing.assert_close(augmented(image, scale=0.25), by_scipy(image, np.eye(2) / 1.25), rtol=0, atol=1e-4)
    drawn(monkeypatch, shear=1.0)
    leaning = np.array([[1, 0], [-math.tan(math.radians(20)), 1]])
    torch.testing.assert_close(augmented(image, shear=20), by_scipy(image, leaning), rtol=0, atol=1e-4)


def test_all_moves_in_one_are_one_map_of_scipy(monkeypatch: pytest.MonkeyPatch) -> None:
    """Mirrored, sheared, scaled, rotated, shifted, in this order."""
    image = smooth(24, 41)
    drawn(monkeypatch, flip=0.0, shear=1.0, scale=0.0, rotation=0.75, shift_right=0.6, shift_down=0.3)
    moves = Augmentation(flip=1, shear=10, scale=0.2, rotation=30, shift=0.1)
    sine, cosine = math.sin(math.radians(15)), math.cos(math.radians(15))
    mirror = np.diag([1.0, -1.0])
    shear = np.array([[1, 0], [math.tan(math.radians(10)), 1]])
    rotation = np.array([[cosine, -sine], [sine, cosine]])
    forwards = rotation @ (0.8 * np.eye(2)) @ shear @ mirror
    expected = by_scipy(image, np.linalg.inv(forwards), (-0.04 * 24, 0.02 * 41))
    torch.testing.assert_close(moves(image, NUMBER, 0, 0), expected, rtol=0, atol=1e-4)


def test_a_crop_is_a_window_resized_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Here half of both sides, in the upper right corner, from the border's pixels on."""
    image = torch.rand(1, 3, 8, 12)
    drawn(monkeypatch, crop=1.0, crop_right=1.0, crop_down=0.0)
    expected = by_scipy(image, np.eye(2) / 2, (7 / 2, -11 / 2))
    cropped = augmented(image, crop=0.5)
    inside = (..., slice(1, None), slice(-1))  # on the border SciPy's rounding decides
    torch.testing.assert_close(cropped[inside], expected[inside], rtol=0, atol=1e-5)
    torch.testing.assert_close(cropped[0, :, 0, -1], image[0, :, 0, -1], rtol=0, atol=1e-5)


def test_nothing_black_comes_into_a_crop() -> None:
    white = torch.ones(300, 1, 30, 40)
    torch.testing.assert_close(Augmentation(crop=0.9)(white, torch.arange(300), 0, 0), white, rtol=0, atol=1e-4)


def test_elastic_displacements_are_those_of_the_grid(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the points of the grid as drawn, in between cubic, as PyTorch enlarges an image; looked up by SciPy."""
    height, width = 22, 29
    points = torch.rand(1, 2, 4, 5, generator=torch.Generator().manual_seed(1))
    numbers = torch.cat([torch.full((1, len(module._Draws._fields)), 0.5), points.flatten(1)], dim=1)
    monkeypatch.setattr(module, "uniform", lambda seed, image_index, n_numbers, purpose: numbers)
    image = smooth(height, width)
    field = torch.nn.functional.interpolate(4 * points - 2, size=(height, width), mode="bicubic", align_corners=True)[0]
    right, down = field.double().numpy()
    places = np.mgrid[:height, :width] + np.stack([down, right])
    expected = scipy.ndimage.map_coordinates(image[0, 0].double().numpy(), places, order=1)
    bent = augmented(image, elastic=2)
    torch.testing.assert_close(bent[0, 0], torch.from_numpy(expected).float(), rtol=0, atol=1e-4)


@pytest.mark.parametrize("cut_out", [0.25, 0.5])
def test_the_erased_square_has_its_size(cut_out: float) -> None:
    """A square of 5 or 10 pixels; of one whose centre is near the border a part."""
    erased = Augmentation(cut_out=cut_out)(torch.ones(400, 3, 20, 30), torch.arange(400), 0, 0) == 0
    assert torch.equal(erased[:, 0], erased[:, 2])
    side = round(20 * cut_out)
    heights, widths = erased[:, 0].any(2).sum(1), erased[:, 0].any(1).sum(1)
    assert torch.equal(heights * widths, erased[:, 0].sum((1, 2)))
    assert int(heights.max()) == int(widths.max()) == side
    covered = float(erased[:, 0].double().mean()) * 20 * 30 / side**2
    assert covered == pytest.approx((1 - side / 4 / 20) * (1 - side / 4 / 30), abs=0.04)


def test_colours_are_the_closed_form(monkeypatch: pytest.MonkeyPatch) -> None:
    image = 0.3 + 0.2 * torch.rand(1, 3, 6, 7)
    weights = torch.tensor([0.299, 0.587, 0.114]).reshape(3, 1, 1)
    drawn(monkeypatch, brightness=0.75, contrast=0.25, saturation=0.9)
    brighter = 1.1 * image
    mean = (weights * brighter).sum(1).mean()
    flatter = mean + 0.85 * (brighter - mean)
    grey = (weights * flatter).sum(1, keepdim=True)
    expected = grey + 1.4 * (flatter - grey)
    torch.testing.assert_close(augmented(image, brightness=0.2, contrast=0.3, saturation=0.5), expected.clamp(0, 1))
    drawn(monkeypatch, brightness=1.0)
    torch.testing.assert_close(augmented(image, brightness=1), (2 * image).clamp(0, 1))
    drawn(monkeypatch, saturation=0.0)
    torch.testing.assert_close(augmented(image, saturation=1), (weights * image).sum(1, keepdim=True).expand_as(image))
    assert torch.equal(augmented(image[:, :1], saturation=1), image[:, :1])  # one channel has no colour


def test_draws_are_uniform_over_their_ranges() -> None:
    """Read from where a bright pixel goes, and whether a bright side is mirrored, in 2 000 images."""
    n_images = 2000
    number = torch.arange(n_images)
    image = torch.zeros(1, 1, 41, 61)
    image[..., 20, 30] = 1
    shifted = Augmentation(shift=0.2)(image.expand(n_images, -1, -1, -1), number, 0, 0)
    mass = shifted.sum((1, 2, 3))
    down = (shifted.sum((1, 3)) * (torch.arange(41) - 20)).sum(1) / mass
    right = (shifted.sum((1, 2)) * (torch.arange(61) - 30)).sum(1) / mass
    for found, largest in ((down, 8.2), (right, 12.2)):
        assert float(found.abs().max()) <= largest + 1e-3
        assert float(found.mean()) == pytest.approx(0, abs=5 * largest / math.sqrt(3 * n_images))
        assert float(found.std()) == pytest.approx(largest / math.sqrt(3), rel=0.05)
    assert abs(float(torch.corrcoef(torch.stack([down, right]))[0, 1])) < 5 / math.sqrt(n_images)
    left = torch.zeros(1, 1, 3, 3)
    left[..., 0] = 1
    flipped = Augmentation(flip=0.3)(left.expand(n_images, -1, -1, -1), number, 0, 0)[:, 0, 1, 2] > 0.5
    assert float(flipped.double().mean()) == pytest.approx(0.3, abs=5 * math.sqrt(0.21 / n_images))


def test_an_image_looks_the_same_in_every_batch() -> None:
    images = torch.rand(30, 3, 17, 23)
    number = torch.randperm(1000)[:30]
    whole = EVERYTHING(images, number, seed=3, epoch=5)
    order = torch.randperm(30)
    for chosen in (slice(4, 5), slice(10, 30), order):
        torch.testing.assert_close(EVERYTHING(images[chosen], number[chosen], 3, 5), whole[chosen], rtol=0, atol=1e-5)


@pytest.mark.parametrize("other", [(4, 5, 0), (3, 6, 0), (3, 5, 1)])
def test_seed_epoch_and_image_draw_anew(other: tuple[int, int, int]) -> None:
    image = torch.rand(1, 3, 17, 23)
    seed, epoch, further = other
    first = EVERYTHING(image, NUMBER, 3, 5)
    assert torch.equal(EVERYTHING(image, NUMBER, 3, 5), first)
    assert (EVERYTHING(image, NUMBER + further, seed, epoch) - first).abs().max() > 0.1


def test_a_parameter_that_is_turned_on_leaves_the_other_draws_as_they_are() -> None:
    images = torch.rand(50, 1, 9, 9)
    number = torch.arange(50)
    brighter = Augmentation(brightness=0.5)(images, number, 0, 0)
    both = Augmentation(brightness=0.5, cut_out=0.3, elastic=1e-9)(images, number, 0, 0)
    kept = both != 0
    torch.testing.assert_close(both[kept], brighter[kept], rtol=0, atol=1e-4)


def test_off_gives_the_very_tensor_back() -> None:
    images = torch.rand(2, 1, 5, 5)
    off = Augmentation(elastic_spacing=3)
    assert off.is_off and off(images, torch.arange(2), 0, 0) is images
    assert not EVERYTHING.is_off


@pytest.mark.parametrize("shape", [(2, 1, 1, 1), (2, 3, 1, 5), (2, 4, 9, 1), (0, 3, 8, 8), (3, 2, 2, 3)])
def test_images_of_any_shape(shape: tuple[int, ...]) -> None:
    images = torch.rand(shape)
    before = images.clone()
    result = EVERYTHING(images, torch.arange(len(images)), 0, 0)
    assert result.shape == images.shape
    assert bool(((result >= 0) & (result <= 1)).all())
    assert torch.equal(images, before), "the images that came in have changed"


@pytest.mark.parametrize("path", OPTIONS, ids=lambda path: path.stem)
def test_the_options_give_the_network_what_it_may_see(path: Path) -> None:
    values = yaml.safe_load((CONF / "augmentation/none.yaml").read_text()) | yaml.safe_load(path.read_text())
    values.pop("defaults", None)
    option = build(Augmentation, values, "augmentation")
    assert option.is_off == (path.stem == "none")
    assert (option.flip == 0) == (path.stem in ("none", "digits"))
    result = option(torch.rand(40, 3, 32, 32), torch.arange(40), 0, 0)
    assert float(result.min()) >= 0 and float(result.max()) <= 1


def test_a_value_out_of_range_is_named() -> None:
    with pytest.raises(ParameterError, match=r"rotation=200: must be a number at least 0 and at most 180 \(degrees\)"):
        Augmentation(rotation=200)


@pytest.mark.parametrize(
    ("pixels", "found"),
    [
        (torch.tensor([-1.0, 1.0]), "from -1 to 1"),
        (torch.tensor([0.0, 255.0], dtype=torch.float64), "from 0 to 255"),
        (torch.tensor([0.0, 1.0000005]), None),
        (torch.tensor([0, 255], dtype=torch.uint8), None),
    ],
)
@pytest.mark.parametrize("change", ["brightness", "contrast", "saturation", "cut_out"])
def test_colours_change_of_values_from_0_to_1_alone(
    monkeypatch: pytest.MonkeyPatch, pixels: torch.Tensor, found: str | None, change: str
) -> None:
    monkeypatch.setattr("ratespike.data.images._PIECE", 1)
    images = Images(pixels.reshape(2, 1, 1, 1), torch.arange(2))
    augmentation = Augmentation(**{change: 0.2})
    if found is None or change == "cut_out":
        augmentation.check_colours(images)
        return
    with pytest.raises(ParameterError, match=f"{change}=0.2.*are floating-point numbers {found}; scale .*augmentation=digits"):
        augmentation.check_colours(images)
