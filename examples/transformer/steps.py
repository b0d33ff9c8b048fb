"""The training step of the language model, for the suite."""

import torch
from model import LanguageModel
from torch.nn.functional import cross_entropy

from sumnet import Step, training_step


@training_step(batch=[4], tokens=[64], width=[64])
def transformer(device, batch, tokens, width):
    """A causal transformer block that predicts the next token."""
    model = LanguageModel(width, tokens).to(device)
    text = torch.randint(256, (batch, tokens + 1), device=device)
    context, following = text[:, :-1], text[:, 1:].flatten()

    def loss():
        return cross_entropy(model(context).flatten(0, 1), following)

    return Step(model, loss=loss, samples=batch)
