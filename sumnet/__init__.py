"""SumNet: a 41-parameter net that learns the sum of two numbers, described as a training step.

Also the words in which any training step is described. Importing the package does not import torch.
"""

from .steps import Axis, Step, training_step

__all__ = ["Axis", "Step", "training_step"]
