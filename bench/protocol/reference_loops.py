"""The reference loops by name, and which are read before the blocks of a case."""

VERSION = 1
"""Readings compare only within a version: raise it when any loop below changes."""

DISPATCH = "dispatch"
MEMORY = "memory"

LARGE_BYTES = 2**18
"""A case with larger activations depends on memory as well."""


def reference_loops_for(activation_bytes: int) -> tuple[str, ...]:
    """The reference loops that slow down with a case of such activations."""
    return (DISPATCH, MEMORY) if activation_bytes > LARGE_BYTES else (DISPATCH,)
