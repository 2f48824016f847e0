"""Schedules become values: replays on NumPy and torch.

`replay` runs a schedule with the caller's kernels, `run` also measures it, and
`replay_compared` runs the program as it is beside it; `replay_synthetic` does
that with kernels of its own, for any graph. Nothing here needs a
solver; torch is imported when it is asked for.
"""

from schedule.executors.calls import replay, run
from schedule.executors.comparison import Comparison, replay_compared
from schedule.executors.contract import Allocator, Backend, Into, Kernel, Replay
from schedule.executors.synthetic import replay_synthetic

__all__ = [
    "Allocator",
    "Backend",
    "Comparison",
    "Into",
    "Kernel",
    "Replay",
    "replay",
    "replay_compared",
    "replay_synthetic",
    "run",
]
