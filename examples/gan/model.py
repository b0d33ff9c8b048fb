"""A generator of points and a discriminator that tells them from real ones."""

import torch
from torch import nn


class Generator(nn.Module):
    """Maps noise, shape (batch, noise), to points, shape (batch, features)."""

    def __init__(self, noise: int, features: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(noise, width), nn.ReLU(), nn.Linear(width, width), nn.ReLU()
        )
        self.out = nn.Linear(width, features)

    def forward(self, noise: torch.Tensor) -> torch.Tensor:
        return torch.tanh(self.out(self.layers(noise)))


class Discriminator(nn.Module):
    """Maps points, shape (batch, features), to scores, shape (batch,): above 0 for real ones."""

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(features, width),
            nn.LeakyReLU(0.2),
            nn.Linear(width, width),
            nn.LeakyReLU(0.2),
        )
        self.out = nn.Linear(width, 1)

    def forward(self, points: torch.Tensor) -> torch.Tensor:
        return self.out(self.layers(points)).squeeze(1)
