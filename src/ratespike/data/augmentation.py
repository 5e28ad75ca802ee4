"""Augmentation: training images moved, bent, recoloured and partly erased at random, anew in each epoch.

What an image looks like depends on the seed, the epoch and the image's number in its split, and on nothing else: neither the
batch in which it comes nor the number of processes matters, and a resumed epoch draws what it would have drawn.
"""

from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F

from ratespike.data.images import Images, is_from_0_to_1
from ratespike.parameters import ParameterError, check_parameters, parameter
from ratespike.random import uniform

_PURPOSE = 0xA06  # of the numbers: no layer of a simulation has this one
_LUMA = (0.299, 0.587, 0.114)  # what red, green and blue are of grey (ITU-R BT.601)


class _Draws(NamedTuple):
    """What is drawn of each image but the elastic points: uniform numbers in [0, 1), each of the shape (batch,).

    The order says which of an image's numbers is whose: a parameter that is turned on leaves the other draws as they are.
    """

    shift_right: Tensor
    shift_down: Tensor
    rotation: Tensor
    scale: Tensor
    shear: Tensor
    flip: Tensor
    crop: Tensor
    crop_right: Tensor
    crop_down: Tensor
    cut_out_right: Tensor
    cut_out_down: Tensor
    brightness: Tensor
    contrast: Tensor
    saturation: Tensor


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """Random changes of images, each drawn uniformly up to its parameter, and off at 0.

    An image is cropped, mirrored, sheared, scaled, rotated, shifted and bent, all in one interpolation (bilinear; black, which
    is 0, outside the image). Then brightness, contrast and saturation change, for which values must be in [0, 1], and a square
    is erased: it becomes black.

    Sources: elastic deformation by random displacements of a coarse grid as O. Ronneberger, P. Fischer and T. Brox 2015,
    arXiv:1505.04597, theirs being normal and ours uniform; cut-out as T. DeVries and G. W. Taylor 2017, arXiv:1708.04552;
    brightness, contrast and saturation as `torchvision.transforms.ColorJitter`, in this order.

    Attributes:
        shift: largest shift in either direction, as a fraction of the image's width and height.
        rotation: largest angle in either direction, degrees.
        scale: largest enlargement or reduction: factors from 1 - scale to 1 + scale.
        shear: largest angle by which vertical lines lean to either side, degrees.
        elastic: largest displacement of a point of the grid in x and in y, pixels; in between it is interpolated cubically.
        elastic_spacing: about how far the points of that grid are from each other, pixels.
        flip: probability of a horizontal mirror image.
        crop: largest fraction of both sides that is cut off; the rest, wherever it lies, is resized to the whole.
        cut_out: side of the erased square, as a fraction of the shorter side; its centre lies anywhere in the image.
        brightness: largest change of the factor of all values, from 1.
        contrast: largest change, from 1, of the factor of the differences to the image's mean grey.
        saturation: largest change, from 1, of the factor of the differences to a pixel's grey; with 3 channels only.

    Raises:
        ParameterError: a parameter out of range.

    Example:
        >>> images = torch.rand(8, 1, 28, 28)
        >>> number = torch.arange(8)
        >>> augmentation = Augmentation(rotation=10, shift=0.1)
        >>> augmented = augmentation(images, number, seed=0, epoch=3)
        >>> augmented.shape
        torch.Size([8, 1, 28, 28])
        >>> torch.allclose(augmentation(images[5:6], number[5:6], seed=0, epoch=3), augmented[5:6], atol=1e-6)
        True
        >>> Augmentation()(images, number, seed=0, epoch=3) is images
        True
    """

    shift: float = parameter(0.0, at_least=0, at_most=1)
    rotation: float = parameter(0.0, at_least=0, at_most=180, unit="degrees")
    scale: float = parameter(0.0, at_least=0, below=1)
    shear: float = parameter(0.0, at_least=0, below=90, unit="degrees")
    elastic: float = parameter(0.0, at_least=0, at_most=1000, unit="pixels")
    elastic_spacing: float = parameter(7.0, at_least=1, at_most=1000, unit="pixels")
    flip: float = parameter(0.0, at_least=0, at_most=1)
    crop: float = parameter(0.0, at_least=0, below=1)
    cut_out: float = parameter(0.0, at_least=0, at_most=1)
    brightness: float = parameter(0.0, at_least=0, at_most=1)
    contrast: float = parameter(0.0, at_least=0, at_most=1)
    saturation: float = parameter(0.0, at_least=0, at_most=1)

    def __post_init__(self) -> None:
        check_parameters(self)

    @property
    def is_off(self) -> bool:
        """Whether images stay as they are."""
        return not (self._moves or self._recolours or self.cut_out)

    @property
    def _moves(self) -> bool:
        return any((self.shift, self.rotation, self.scale, self.shear, self.elastic, self.flip, self.crop))

    @property
    def _recolours(self) -> bool:
        return any((self.brightness, self.contrast, self.saturation))

    def __call__(
        self, images: Float[Tensor, "batch channels height width"], image_index: Int[Tensor, " batch"], seed: int, epoch: int
    ) -> Float[Tensor, "batch channels height width"]:
        """Augment images; without any effect turned on they come back as the same tensor.

        Args:
            images: values in [0, 1]; any others if colours do not change (`check_colours`).
            image_index: the number of each in its split.
            seed: of the training.
            epoch: its number; each has draws of its own.

        Returns:
            Images of the same shape.
        """
        if self.is_off or not len(images):
            return images
        rows, columns = self._grid_points(images)
        n_single = len(_Draws._fields)
        n_numbers = n_single + 2 * rows * columns
        numbers = uniform(seed, image_index, n_numbers, (_PURPOSE, epoch)).to(images.dtype)  # (batch, numbers)
        draws = _Draws(*numbers[:, :n_single].unbind(1))
        points = numbers[:, n_single:].reshape(len(images), 2, rows, columns)
        if self._moves:
            images = self._moved(images, draws, points)
        if self._recolours:
            images = self._recoloured(images, draws)
        if self.cut_out:
            images = self._with_cut_out(images, draws)
        return images

    def check_colours(self, images: Images) -> None:
        """Raise `ParameterError` if brightness, contrast or saturation change of images that are not from 0 to 1."""
        if not self._recolours or is_from_0_to_1(images.value_range):
            return
        lowest, highest = images.value_range
        found = "events" if images.event_height is not None else f"floating-point numbers from {lowest:g} to {highest:g}"
        raise ParameterError(
            f"augmentation.brightness={self.brightness} contrast={self.contrast} saturation={self.saturation}: colours "
            f"can only be changed of images from 0 to 1, but these are {found}; scale floating-point numbers to [0, 1], or "
            "take augmentation=digits or none"
        )

    def _grid_points(self, images: Tensor) -> tuple[int, int]:
        """Rows and columns of the elastic grid, the outermost on the image's border; none if it is off."""
        if not self.elastic:
            return 0, 0
        rows, columns = (max(2, 1 + round((size - 1) / self.elastic_spacing)) for size in images.shape[-2:])
        return rows, columns

    def _moved(self, images: Tensor, draws: _Draws, points: Tensor) -> Tensor:
        """Crop, mirror, shear, scale, rotate, shift and bend; `points` are the elastic grid's draws, (batch, 2, rows, columns).

        Where a pixel comes from, x and y each, is one product of matrices: a basis of functions of its row (1, its height, the
        weight of each row of the elastic grid) times coefficients times the same of its column.
        """
        height, width = images.shape[-2:]
        rows, columns = points.shape[-2:]
        coefficients = images.new_zeros(len(images), 2, 2 + rows, 2 + columns)
        coefficients[:, :, 0, 0], coefficients[:, :, 0, 1], coefficients[:, :, 1, 0] = self._affine(draws, height, width)
        half_sizes = points.new_tensor([width / 2, height / 2]).reshape(2, 1, 1)
        coefficients[:, :, 2:, 2:] = _either_way(points, self.elastic) / half_sizes
        places = _basis(height, rows, images) @ coefficients @ _basis(width, columns, images).T  # (batch, 2, height, width)
        places = places.permute(0, 2, 3, 1)
        return F.grid_sample(images, places, mode="bilinear", padding_mode="zeros", align_corners=False)

    def _affine(self, draws: _Draws, height: int, width: int) -> tuple[Tensor, Tensor, Tensor]:
        """Where a place (x, y) of the augmented image comes from: the origin, and what to add for x and for y, each (batch, 2).

        Units are half the image's sides, from its centre. An angle is one in pixels, so that a rotation of an image that is not
        square stays a rotation.
        """
        angle = torch.deg2rad(_either_way(draws.rotation, self.rotation))  # counter-clockwise
        sine, cosine = angle.sin(), angle.cos()
        lean = torch.deg2rad(_either_way(draws.shear, self.shear)).tan()
        cut_off = self.crop * draws.crop
        zoom = (1 - cut_off) / (1 + _either_way(draws.scale, self.scale))
        mirrored = torch.where(draws.flip < self.flip, -zoom, zoom)
        # Backwards: out of the rotation, the shear, the scale, the mirror; the x axis points right, the y axis down.
        of_x = torch.stack([mirrored * (cosine - lean * sine), zoom * sine * (width / height)], dim=1)
        of_y = torch.stack([-mirrored * (sine + lean * cosine) * (height / width), zoom * cosine], dim=1)
        # A crop at the border ends at its pixels' centres: it does not blend with the black outside.
        farthest_right, farthest_down = 1 - 1 / width, 1 - 1 / height
        window = torch.stack(
            [_either_way(draws.crop_right, farthest_right), _either_way(draws.crop_down, farthest_down)], dim=1
        )
        right = _either_way(draws.shift_right, 2 * self.shift).unsqueeze(1)
        down = _either_way(draws.shift_down, 2 * self.shift).unsqueeze(1)
        origin = cut_off.unsqueeze(1) * window - of_x * right - of_y * down
        return origin, of_x, of_y

    def _recoloured(self, images: Tensor, draws: _Draws) -> Tensor:
        """Brightness, contrast, saturation, each a factor of its own for each image."""
        images = images * _per_image(1 + _either_way(draws.brightness, self.brightness))
        if self.contrast:
            mean = _grey(images).mean((1, 2, 3), keepdim=True)
            images = torch.lerp(mean, images, _per_image(1 + _either_way(draws.contrast, self.contrast)))
        if self.saturation and images.shape[1] == 3:
            images = torch.lerp(_grey(images), images, _per_image(1 + _either_way(draws.saturation, self.saturation)))
        return images.clamp(0, 1)

    def _with_cut_out(self, images: Tensor, draws: _Draws) -> Tensor:
        """Black in a square, as far as it lies in the image."""
        height, width = images.shape[-2:]
        half = self.cut_out * min(height, width) / 2
        rows = torch.arange(height, device=images.device) + 0.5  # the pixels' centres
        columns = torch.arange(width, device=images.device) + 0.5
        is_row = (rows - height * draws.cut_out_down.unsqueeze(1)).abs() < half  # (batch, height)
        is_column = (columns - width * draws.cut_out_right.unsqueeze(1)).abs() < half  # (batch, width)
        return images.masked_fill((is_row.unsqueeze(2) & is_column.unsqueeze(1)).unsqueeze(1), 0)


def _basis(size: int, n_points: int, like: Tensor) -> Float[Tensor, "size functions"]:
    """Functions of the pixels along a side: 1, the place from -1 to 1 at the edges, the cubic weight of each elastic point."""
    place = (torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) * 2 / size - 1
    functions = [torch.ones_like(place).unsqueeze(1), place.unsqueeze(1)]
    if n_points:
        each = torch.eye(n_points, device=like.device, dtype=like.dtype)[None, None]  # one point displaced by 1, in each column
        functions.append(F.interpolate(each, size=(size, n_points), mode="bicubic", align_corners=True)[0, 0])
    return torch.cat(functions, dim=1)


def _either_way(numbers: Tensor, largest: float) -> Tensor:
    """Numbers in [0, 1) stretched to [-largest, largest)."""
    return largest * (2 * numbers - 1)


def _per_image(factors: Float[Tensor, " batch"]) -> Float[Tensor, "batch 1 1 1"]:
    return factors.reshape(-1, 1, 1, 1)


def _grey(images: Float[Tensor, "batch channels height width"]) -> Float[Tensor, "batch 1 height width"]:
    """Luma of red, green and blue; of any other number of channels their mean."""
    if images.shape[1] != 3:
        return images.mean(1, keepdim=True)
    weights = images.new_tensor(_LUMA).reshape(3, 1, 1)
    return (weights * images).sum(1, keepdim=True)
