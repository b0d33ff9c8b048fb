"""MONAI's resnet18 for small colour photographs."""

import torch
from monai.networks.nets import resnet18
from torch import nn


class Classifier(nn.Module):
    """Maps photographs, shape (batch, 3, 64, 64) of values 0 to 1, to scores, (batch, classes)."""

    def __init__(self, classes: int = 10) -> None:
        super().__init__()
        self.net = resnet18(
            spatial_dims=2, n_input_channels=3, num_classes=classes, conv1_t_stride=2
        )
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).view(3, 1, 1))
        self.register_buffer("spread", torch.tensor([0.229, 0.224, 0.225]).view(3, 1, 1))

    def forward(self, photographs: torch.Tensor) -> torch.Tensor:
        return self.net((photographs - self.mean) / self.spread)
