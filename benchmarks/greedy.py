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
import random
import resource
import subprocess
import sys
import time

import numpy as np

import schedule
from schedule.graph import Graph, Node, Tensor

SIZES = [1_000, 10_000, 100_000]
#: Family and budget: the last is below what it can reach, so that all its work is done.
CASES = [("transformer", "60%"), ("layered", "90%"), ("layered", "60%")]
MOST = 1.3
NODES_OF_A_LAYER = 34


def layered(
    nodes: int, width: int = 20, reads: int = 2, skips: float = 0.14, reach: int = 10, seed: int = 0
) -> Graph:
    """Layers of about `width` nodes, from one node to one node.

    Each node reads `reads` of the layer before, or, for a share of `skips`, of
    one of the last `reach` layers; everything is read by the next layer.
    """
    rng = random.Random(seed)
    layers = [range(1)]
    while layers[-1].stop < nodes - 1:
        first = layers[-1].stop
        count = rng.randint(width // 2, width * 3 // 2)
        layers.append(range(first, min(first + count, nodes - 1)))
    layers.append(range(nodes - 1, nodes))
    sources: list[set[int]] = [set() for _ in range(nodes)]
    for at in range(1, len(layers)):
        for v in layers[at]:
            for _ in range(reads):
                skip = rng.random() < skips
                back = rng.randrange(max(0, at - reach), at) if skip else at - 1
                sources[v].add(rng.choice(layers[back]))
        for u in layers[at - 1]:
            sources[rng.choice(layers[at])].add(u)
    made = [
        Node(
            f"n{v}",
            tuple(f"n{u}" for u in sorted(sources[v])),
            (Tensor(f"n{v}", 10 * rng.randint(1, 800)),),
            rng.randrange(1000),
        )
        for v in range(nodes)
    ]
    return Graph(made, name=f"layered-{nodes}")


def graph_of(family: str, size: int) -> Graph:
    """A graph of about that many nodes; any other family is a file."""
    if family == "layered":
        return layered(size)
    if family == "transformer":
        return schedule.example("transformer", layers=round(size / NODES_OF_A_LAYER))
    return schedule.read(family)


def measure(family: str, size: int, budget: str) -> dict[str, object]:
    """One solve, in this process."""
    schedule.solve(schedule.example("unet"), "80%", "greedy")
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
