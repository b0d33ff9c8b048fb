"""The training step of the generator and its discriminator, for the suite."""

import torch
from model import Discriminator, Generator
from torch.nn.functional import softplus

from sumnet import Step, training_step

NOISE, FEATURES = 32, 64


@training_step(batch=[128], width=[128])
def gan(device, batch, width):
    """A generator and a discriminator, each with its own Adam, trained in turn."""
    generator = Generator(NOISE, FEATURES, width).to(device)
    discriminator = Discriminator(FEATURES, width).to(device)
    adam_g = torch.optim.Adam(generator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    adam_d = torch.optim.Adam(discriminator.parameters(), lr=2e-4, betas=(0.5, 0.999))
    real = torch.rand(batch, FEATURES, device=device) * 2 - 1

    def train():
        fake = generator(torch.randn(batch, NOISE, device=device))

        adam_d.zero_grad()
        judged = discriminator(torch.cat([real, fake.detach()]))
        loss_d = softplus(-judged[:batch]).mean() + softplus(judged[batch:]).mean()
        loss_d.backward()
        adam_d.step()

        adam_g.zero_grad()
        loss_g = softplus(-discriminator(fake)).mean()
        loss_g.backward()
        adam_g.step()
        return loss_d

    state = [generator, discriminator, adam_g, adam_d]
    return Step(run=train, state=state, samples=batch)
