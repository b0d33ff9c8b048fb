"""The training step of the recommender, for the suite."""

import torch
from model import Recommender
from torch.nn.functional import binary_cross_entropy_with_logits

from sumnet import Step, training_step

ITEMS, READ = 10_000, 20
TAGS, TAGGED = 1_000, 5


@training_step(batch=[512], width=[32])
def recommender(device, dtype, batch, width):
    """Two bags of embeddings with sparse gradients."""
    model = Recommender(ITEMS, TAGS, width).to(device, dtype)
    read = torch.randint(ITEMS, (batch, READ), device=device)
    tags = torch.randint(TAGS, (batch, TAGGED), device=device)
    liked = torch.randint(2, (batch,), device=device).to(dtype)

    def loss():
        return binary_cross_entropy_with_logits(model(read, tags), liked)

    return Step(model, loss=loss, samples=batch)
