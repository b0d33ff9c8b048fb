"""What a step of each case does, as tables."""
