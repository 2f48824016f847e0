"""Seconds of the processor instead of those that pass: others may be at work on the machine."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from schedule.solvers.exact import highs


@contextmanager
def processor_time(threads: int = 1) -> Iterator[None]:
    """Limits and clocks count what this process computes, whatever else the machine does.

    `threads` that compute side by side make one second of two seconds of the processor.
    """
    question = highs._Work._question

    def without_limit(work):  # HiGHS's own is by another clock: it is told when to stop
        arrays, options, *more = question(work)
        return arrays, options | {"time_limit": math.inf}, *more

    def seconds() -> float:
        return time.process_time() / threads

    clock = patch.object(time, "monotonic", seconds)
    here = patch.object(highs, "_LARGE", sys.maxsize)
    with clock, here, patch.object(highs._Work, "_question", without_limit):
        yield
