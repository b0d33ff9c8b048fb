"""How well identical runs agree."""
