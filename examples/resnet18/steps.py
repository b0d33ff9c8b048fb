"""The training step of a resnet18 that is not ours, for the suite."""

import torch
from model import Classifier
from torch.nn.functional import cross_entropy

from sumnet import Step, training_step


@training_step(batch=[1])
def resnet(device, batch):
    """MONAI's resnet18 on photographs of 64 by 64 pixels."""
    model = Classifier().to(device)
    photographs = torch.rand(batch, 3, 64, 64, device=device)
    labels = torch.randint(10, (batch,), device=device)
    return Step(model, loss=lambda: cross_entropy(model(photographs), labels), samples=batch)
