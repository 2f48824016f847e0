"""Tests, a folder for each room of `schedule`, with what several of them need."""

from pathlib import Path

#: The checkout.
ROOT = Path(__file__).parents[1]
