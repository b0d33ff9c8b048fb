"""Microbenchmarks of what a device can reach."""
