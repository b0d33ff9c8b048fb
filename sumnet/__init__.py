"""SumNet: a 41-parameter net that learns the sum of two numbers, and its reference training loop.

Importing the package does not import torch, so that a tool may read the names of the optimizers
without waiting for a framework.
"""
