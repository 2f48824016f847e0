"""Seconds of the processor instead of those that pass: others may be at work on the machine."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from schedule.solvers.exact import highs

#: Seconds after which it is known how much slower they pass, and how much more may.
_SURE, _SPARE = 0.5, 2.0


@contextmanager
def processor_time(threads: int = 1) -> Iterator[None]:
    """Limits and clocks count what this process computes, whatever else the machine does.

    `threads` that compute side by side make one second of two seconds of the processor.
    """
    question, passing = highs._Work._question, time.monotonic
    begun = passing(), time.process_time() / threads

    def stretched(work):
        arrays, options, *more = question(work)
        # HiGHS's own limit is by another clock, and is told when to stop: but what it solves
        # within its search doesn't hear that, and has that limit alone.
        ours, limit = seconds() - begun[1], math.inf
        if ours > _SURE:
            limit = _SPARE * (passing() - begun[0]) / ours * options["time_limit"]
        return arrays, options | {"time_limit": limit}, *more

    def seconds() -> float:
        return time.process_time() / threads

    clock = patch.object(time, "monotonic", seconds)
    here = patch.object(highs, "_LARGE", sys.maxsize)
    with clock, here, patch.object(highs._Work, "_question", stretched):
        yield
