"""The fastest configuration at each batch size."""
