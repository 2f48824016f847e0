"""Retention intervals beside the other solvers on small wide graphs.

    python benchmarks/intervals.py [--nodes 30,40,60,100] [--seeds 1,2] [--budgets 90%,80%,70%]
        [--orders fixed,free] [--solvers intervals,auto,ilp,search] [--kinds layered,random]
        [--seconds 10] [--workers 1] [--markdown FILE]

Graphs are the layered ones of `schedule example layered`, or random ones in which
each node reads two or three of the last nodes before it (half as many as there are
nodes: wide). Every overhead is that of a schedule that was replayed on the memory
model; "none" where no schedule was found.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections.abc import Iterator
from pathlib import Path

from tables import percent, show

import schedule
from schedule.graph import Graph, Node, Tensor
from schedule.result import Result

HEADINGS = [
    "graph",
    "order",
    "budget",
    "solver",
    "status",
    "overhead %",
    "bound %",
    "seconds",
]


def wide(nodes: int, seed: int) -> Graph:
    """A random graph in which any of half the nodes may be read next."""
    rng = random.Random(seed)
    made: list[Node] = []
    for at in range(nodes):
        recent = range(max(0, at - nodes // 2), at)
        count = min(len(recent), rng.choice([2, 3]))
        reads = tuple(f"n{u}" for u in sorted(rng.sample(recent, count)))
        out = (Tensor(f"n{at}", rng.randint(10, 100)),)
        made.append(Node(f"n{at}", reads, out, rng.randint(1, 100)))
    return Graph(made, name=f"random-{nodes}")


def graphs(kinds: list[str], sizes: list[int], seeds: list[int]) -> Iterator[tuple[str, Graph]]:
    """The graphs, with what they are called in the table."""
    for kind in kinds:
        for nodes in sizes:
            for seed in seeds:
                if kind == "random":
                    graph = wide(nodes, seed)
                else:
                    graph = schedule.example("layered", nodes=nodes, seed=seed)
                yield f"{kind}, {nodes} nodes, seed {seed}", graph


def row(name: str, order: str, budget: str, solver: str, plan: Result) -> list[str]:
    """One line of the table."""
    bound = plan.bound_overhead
    return [
        name,
        order,
        budget,
        solver,
        plan.status.value,
        "none" if plan.overhead is None else percent(plan.overhead),
        "" if bound is None else percent(bound),
        f"{plan.seconds:.1f}",
    ]


def main(argv: list[str]) -> None:
    """Solve all, print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--nodes", default="30,40,60,100")
    parser.add_argument("--seeds", default="1,2")
    parser.add_argument("--budgets", default="90%,80%,70%")
    parser.add_argument("--orders", default="fixed,free")
    parser.add_argument("--solvers", default="intervals,auto,ilp,search")
    parser.add_argument("--kinds", default="layered,random")
    parser.add_argument("--seconds", type=float, default=10.0)
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    options = parser.parse_args(argv)
    sizes = [int(nodes) for nodes in options.nodes.split(",")]
    seeds = [int(seed) for seed in options.seeds.split(",")]
    rows = []
    for name, graph in graphs(options.kinds.split(","), sizes, seeds):
        for order in options.orders.split(","):
            for budget in options.budgets.split(","):
                for solver in options.solvers.split(","):
                    plan = schedule.solve(
                        graph,
                        budget,
                        solver,
                        order=order,
                        time_limit=options.seconds,
                        workers=options.workers,
                    )
                    rows.append(row(name, order, budget, solver, plan))
                    print(" | ".join(rows[-1]), file=sys.stderr, flush=True)
    show("Small wide graphs", HEADINGS, rows, options.markdown, left=5)


if __name__ == "__main__":
    main(sys.argv[1:])
