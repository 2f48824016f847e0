"""Copies to the host and back for an order of runs: gaps, which of them, and when."""
