"""How cases are timed: a worker process that measures on request, and the one that asks it."""
