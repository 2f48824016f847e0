"""Many budgets of one graph: the curve of memory against compute."""

from __future__ import annotations

from schedule.sweeps.curve import Sweep
from schedule.sweeps.reading import read_sweep
from schedule.sweeps.running import SweepProgress, sweep

__all__ = ["Sweep", "SweepProgress", "read_sweep", "sweep"]
