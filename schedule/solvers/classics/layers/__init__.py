"""The chain of layers in a training graph: where it is, what it takes, and runs over it."""
