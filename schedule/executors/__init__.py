"""Schedules become values: replays on NumPy and torch.

`replay` runs a schedule with the caller's kernels, `run` also measures it, and
`replay_synthetic` makes its own kernels for any graph. Nothing here needs a
solver; torch is imported when it is asked for.
"""

from schedule.executors.calls import replay, run
from schedule.executors.contract import Allocator, Backend, Kernel, Replay
from schedule.executors.synthetic import Comparison, replay_synthetic

__all__ = [
    "Allocator",
    "Backend",
    "Comparison",
    "Kernel",
    "Replay",
    "replay",
    "replay_synthetic",
    "run",
]
