"""The least peak without recomputation, and the peak that no order beats.

    python benchmarks/reordering.py GRAPH … [--seconds 30] [--seed 0] [--markdown FILE]

Peaks are those of replayed orders; "floor" is `reordering_floor`, "bound" what is
proved with the exhaustive search, too. Without GRAPH a shipped example is reordered.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

from tables import show

import schedule
from schedule.lowering import needed_in_order
from schedule.solvers.annealing import SEQUENCES
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.eviction import EVICTION

HEADINGS = ["instance", "nodes", "own peak", "reordered %", "bound %", "floor %", "seconds"]


def row(graph: schedule.Graph, seconds: float, seed: int) -> list[str]:
    """The cells of one graph; shares are of the peak in its own order."""
    own = needed_in_order(graph).peak
    started = time.perf_counter()
    limits = schedule.minimum_budget(graph, recompute=False, time_limit=seconds, seed=seed)
    spent = time.perf_counter() - started
    peaks = limits.known, limits.needed, schedule.reordering_floor(graph)
    shares = [f"{100 * peak / own:.3f}" for peak in peaks]
    return [graph.name, str(len(graph)), str(own), *shares, f"{spent:.1f}"]


def main() -> None:
    """Print the table, and write it as markdown for the docs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("graphs", nargs="*", metavar="GRAPH")
    parser.add_argument("--seconds", type=float, default=30.0, help="for each graph")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    given = parser.parse_args()
    graphs = [schedule.read(name) for name in given.graphs] or [schedule.example("diamonds")]
    # What is compiled is loaded, or made, before any time is taken.
    incumbent, deadline = Incumbent(Problem(graphs[0], None)), Deadline.after(600)
    EVICTION.wait(incumbent, deadline)
    SEQUENCES.wait(incumbent, deadline)
    rows = [row(graph, given.seconds, given.seed) for graph in graphs]
    show("no node twice", HEADINGS, rows, given.markdown)


if __name__ == "__main__":
    main()
