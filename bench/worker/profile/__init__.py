"""What a step does, from torch.profiler."""
