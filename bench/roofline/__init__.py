"""How far a step is from what its machine can reach."""
