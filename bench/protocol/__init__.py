"""What the runner and a worker exchange: messages, the types in them, their validation."""
