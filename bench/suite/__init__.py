"""The pytest-benchmark suite: cases as parametrised tests, one benchmark a phase."""
