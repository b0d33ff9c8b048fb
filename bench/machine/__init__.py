"""What machine this is, which measurements compare, and what else it was doing."""
