"""What the runner and a worker say to each other: messages, the types in them, validation."""
