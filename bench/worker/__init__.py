"""The process that imports torch and measures on request."""
