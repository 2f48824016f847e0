"""Exact solves of graph files at several budgets: overhead, bound, gap, seconds.

    python benchmarks/exact.py GRAPH … [--budgets 90%,80%,70%] [--time-limit 30]

Every figure is of a schedule that was replayed on the memory model. Without
GRAPH, the shipped examples and the training chain's closed form are solved.
"""

from __future__ import annotations

import argparse
import sys
from math import comb

from rich.console import Console
from rich.table import Table

import schedule
from schedule.result import Result


def row(table: Table, name: str, share: str, plans: list[Result]) -> None:
    """One line: both orders of one graph at one budget."""
    cells = [name, share]
    for plan in plans:
        if plan.overhead is None:
            cells += [plan.status, "", "", f"{plan.seconds:.2f}"]
        else:
            cells += [
                plan.status,
                f"{plan.overhead:.4%}",
                f"{plan.gap * 100:.4f}",
                f"{plan.seconds:.2f}",
            ]
    table.add_row(*cells)


def solves(graphs: list[schedule.Graph], shares: list[str], limit: float) -> Table:
    """A table of every graph at every budget, in the given order and in any."""
    table = Table("graph", "budget", title="ilp, in the given order and in any order")
    for order in ("fixed", "free"):
        for label in (f"{order}", "overhead", "gap (points)", "seconds"):
            table.add_column(label, justify="right")
    for graph in graphs:
        for share in shares:
            plans = [
                schedule.solve(graph, share, "ilp", order=order, time_limit=limit)
                for order in ("fixed", "free")
            ]
            row(table, graph.name, share, plans)
    return table


def revolve(steps: int, checkpoints: int) -> int:
    """Least extra forward steps (Griewank & Walther 2000, doi:10.1145/347837.347846)."""
    if steps == 1:
        return 0
    repeats = next(r for r in range(steps) if comb(checkpoints + r, checkpoints) >= steps)
    return repeats * steps - comb(checkpoints + repeats, checkpoints + 1)


def chains(longest: int) -> tuple[int, int, float]:
    """Budgets solved, how many of them are proved equal to the closed form, slowest seconds."""
    asked = right = 0
    slowest = 0.0
    for length in range(1, longest + 1):
        graph = schedule.example("chain", layers=length)
        for budget in range(3, length + 3):
            plan = schedule.solve(graph, budget, "ilp", order="fixed")
            asked += 1
            right += plan.status == "optimal" and plan.compute == length + 1 + revolve(
                length + 1, budget - 2
            )
            slowest = max(slowest, plan.seconds)
    return asked, right, slowest


def main() -> int:
    """Print the tables; exit status 1 where a chain misses its closed form."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("graphs", nargs="*", metavar="GRAPH")
    parser.add_argument("--budgets", default="90%,80%,70%,60%,50%")
    parser.add_argument("--time-limit", type=float, default=30.0)
    given = parser.parse_args()
    console = Console(width=120)
    names = given.graphs
    graphs = [schedule.read(name) for name in names] or [
        schedule.example(name) for name in ("mlp", "unet", "resnet", "transformer")
    ]
    console.print(solves(graphs, given.budgets.split(","), given.time_limit))
    if names:
        return 0
    asked, right, slowest = chains(12)
    console.print(
        f"training chains to L = 12, every budget: {right} of {asked} proved equal to"
        f" the closed form, the slowest in {slowest:.2f} s"
    )
    return 0 if right == asked else 1


if __name__ == "__main__":
    sys.exit(main())
