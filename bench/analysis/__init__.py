"""What run files mean: estimates with intervals, one tidy frame, comparisons."""
