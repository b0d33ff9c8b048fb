"""The gate: two revisions of the subject measured against each other, and a verdict."""
