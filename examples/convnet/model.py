"""A small convolutional net for images of 32 by 32 pixels."""

import torch
from torch import nn


def block(channels_in: int, channels_out: int) -> nn.Sequential:
    """Convolution, batch normalisation, ReLU, and half the height and width."""
    return nn.Sequential(
        nn.Conv2d(channels_in, channels_out, 3, padding=1, bias=False),
        nn.BatchNorm2d(channels_out),
        nn.ReLU(),
        nn.MaxPool2d(2),
    )


class ConvNet(nn.Module):
    """Maps images, shape (batch, 3, 32, 32), to scores, shape (batch, classes)."""

    def __init__(self, width: int, classes: int = 10) -> None:
        super().__init__()
        self.features = nn.Sequential(
            block(3, width), block(width, 2 * width), block(2 * width, 4 * width)
        )
        self.dropout = nn.Dropout(0.2)
        self.head = nn.Linear(4 * width, classes)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        features = self.features(images)
        pooled = features.mean(dim=(2, 3))
        return self.head(self.dropout(pooled))
