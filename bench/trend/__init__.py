"""The history of one machine, and where it changed."""
