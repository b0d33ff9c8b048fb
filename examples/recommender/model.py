"""A recommender that has nothing but embeddings, so that all of its gradients are sparse."""

import torch
from torch import nn


class Recommender(nn.Module):
    """Scores how well items suit readers: the product of the means of two bags of embeddings.

    Maps what each reader has read, shape (batch, read), and what each item is tagged with, shape
    (batch, tags), to scores, shape (batch,).
    """

    def __init__(self, items: int, tags: int, width: int) -> None:
        super().__init__()
        self.readers = nn.EmbeddingBag(items, width, mode="mean", sparse=True)
        self.items = nn.EmbeddingBag(tags, width, mode="mean", sparse=True)

    def forward(self, read: torch.Tensor, tags: torch.Tensor) -> torch.Tensor:
        reader = self.readers(read)
        item = self.items(tags)
        return (reader * item).sum(dim=1)
