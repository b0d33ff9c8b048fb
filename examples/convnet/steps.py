"""The training step of the convnet, for the suite."""

import torch
from model import ConvNet
from torch.nn.functional import cross_entropy

from sumnet import Step, training_step


@training_step(batch=[16], width=[16])
def convnet(device, dtype, batch, width):
    """A small convnet with batch normalisation and dropout, on images of 32 by 32."""
    model = ConvNet(width).to(device, dtype)
    images = torch.randn(batch, 3, 32, 32, device=device, dtype=dtype)
    labels = torch.randint(10, (batch,), device=device)
    return Step(model, loss=lambda: cross_entropy(model(images), labels), samples=batch)
