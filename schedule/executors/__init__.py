"""Schedules become values: replays on NumPy and torch."""
