"""A plain network from a list of its layers, for processes that have PyTorch alone."""

from torch import nn


def plain_row(layers: list[list[int]], classes: int) -> nn.Sequential:
    """3 x 3 convolutions with batch normalisation and ReLUs, average pooling of 2 x 2, and a dense layer.

    Args:
        layers: channels that a convolution takes and gives, or zeros for a pooling.
        classes: outputs of the dense layer, whose inputs are found with the first image.
    """
    row: list[nn.Module] = []
    for channels in layers:
        if any(channels):
            row += [nn.Conv2d(*channels, 3, padding=1), nn.BatchNorm2d(channels[1]), nn.ReLU()]
        else:
            row.append(nn.AvgPool2d(2))
    return nn.Sequential(*row, nn.Flatten(), nn.LazyLinear(classes))
