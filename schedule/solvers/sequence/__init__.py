"""Local search on the sequence of runs."""
