"""Seconds to simulate a million steps, from step objects to the trace.

python benchmarks/simulation.py
"""

from __future__ import annotations

import sys
import time

import numpy as np

import schedule
from schedule.lowering import free_early
from schedule.steps import decode


def main() -> int:
    """Run a chain of a thousand nodes 500 times over: half the steps run, half free."""
    nodes = [
        schedule.Node(str(k), (str(k - 1),) if k else (), (schedule.Tensor(str(k), 1 + k % 7),), 1)
        for k in range(1000)
    ]
    graph = schedule.Graph(nodes, outputs=[])
    steps = decode(graph, free_early(graph, np.tile(np.arange(1000), 500)))
    for _ in range(3):
        started = time.perf_counter()
        trace = schedule.simulate(graph, steps)
        seconds = time.perf_counter() - started
        print(f"{len(steps)} steps, peak {trace.peak}: {seconds:.2f} s")
    return 0


if __name__ == "__main__":
    sys.exit(main())
