"""How long `greedy` takes, and how much memory, on graphs of 1,000 to 100,000 nodes.

    python benchmarks/greedy.py [INSTANCE…]

Each solve runs in a process of its own, after a small one that loads what is
compiled; memory is what the process grew by since, the graph included. Prints a
markdown table with the exponents of n fitted over the sizes, then a line for
each instance file at 50 % of its peak. Exit status 1 where an exponent exceeds
1.3.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time

import numpy as np

import schedule
from schedule.graph import Graph

SIZES = [1_000, 10_000, 100_000]
#: Family and budget: the last is hard to reach, so that all its work is done.
CASES = [("transformer", "60%"), ("layered", "90%"), ("layered", "60%")]
MOST = 1.3
#: Of a transformer's layer; and of a random one, so that wider graphs don't have more edges.
NODES_OF_A_LAYER = {"transformer": 34, "layered": 20}


def graph_of(family: str, size: int) -> Graph:
    """A graph of about that many nodes; any other family is a file."""
    if family not in NODES_OF_A_LAYER:
        return schedule.read(family)
    layers = round(size / NODES_OF_A_LAYER[family])
    if family == "layered":
        return schedule.example("layered", nodes=size, layers=layers)
    return schedule.example(family, layers=layers)


def measure(family: str, size: int, budget: str) -> dict[str, object]:
    """One solve, in this process."""
    for name, easy in (("unet", "80%"), ("layered", "60%")):  # the latter runs sections again
        schedule.solve(schedule.example(name), easy, "greedy")
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    graph = graph_of(family, size)
    peak = schedule.solve(graph, solver="store_all").peak
    started = time.perf_counter()
    plan = schedule.solve(graph, budget, "greedy", time_limit=600)
    seconds = time.perf_counter() - started
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    least = None if plan.shortfall is None else plan.shortfall.least_peak
    return {
        "nodes": len(graph),
        "seconds": seconds,
        "mib": grown / 1024,
        "overhead": plan.overhead,
        "least": None if least is None else least / peak,
    }


def apart(family: str, size: int, budget: str) -> dict[str, object]:
    """The same in a fresh process."""
    found = subprocess.run(
        [sys.executable, __file__, "--one", family, str(size), budget],
        capture_output=True,
        text=True,
        check=True,
    )
    return dict(json.loads(found.stdout))


def exponent(rows: list[dict], key: str) -> float:
    """Slope on log-log paper."""
    sizes = [row["nodes"] for row in rows]
    return float(np.polyfit(np.log(sizes), np.log([max(row[key], 1e-3) for row in rows]), 1)[0])


def outcome(row: dict) -> str:
    """Its overhead, or how far it came."""
    if row["overhead"] is not None:
        return f"+{row['overhead']:.2%}"
    return "none fits" if row["least"] is None else f"reaches {row['least']:.1%}"


def main() -> int:
    """Measure, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("instances", nargs="*")
    parser.add_argument("--one", nargs=3, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        family, size, budget = given.one
        print(json.dumps(measure(family, int(size), budget)))
        return 0
    fine = True
    print("| graph | budget | nodes | seconds | MiB with the graph | plan |")
    print("|---|---|---|---|---|---|")
    for family, budget in CASES:
        rows = [apart(family, size, budget) for size in SIZES]
        for row in rows:
            print(
                f"| {family} | {budget} | {row['nodes']:,} | {row['seconds']:.2f}"
                f" | {row['mib']:.0f} | {outcome(row)} |"
            )
        fitted = [exponent(rows, "seconds"), exponent(rows[1:], "mib")]  # the first grows by noise
        fine &= max(fitted) <= MOST
        print(f"| | | exponent of n | {fitted[0]:.2f} | {fitted[1]:.2f} | |", flush=True)
    for path in given.instances:
        row = apart(path, 0, "50%")
        name = path.rpartition("/")[2].partition(".")[0]
        print(
            f"| {name} | 50% | {row['nodes']:,} | {row['seconds']:.2f}"
            f" | {row['mib']:.0f} | {outcome(row)} |"
        )
    return 0 if fine else 1


if __name__ == "__main__":
    sys.exit(main())
