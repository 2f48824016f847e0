"""The exact solver side by side with the textbook models, in one run.

    python benchmarks/exact.py GRAPH … [--budgets 90%,80%,70%] [--order fixed|free|both]
        [--baselines checkmate,moccasin] [--baseline-limit 600] [--markdown FILE]

Every overhead is that of a schedule that was replayed on the memory model. The
baselines know the given order only; one that is stopped by its limit counts as
having taken that long. Without GRAPH the shipped examples are solved, and
training chains are held against their closed form.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from math import comb, inf
from pathlib import Path

from baselines import BASELINES
from rich.console import Console
from rich.table import Table

import schedule
from schedule.errors import NotApplicable
from schedule.memory import overhead_of
from schedule.result import Result


def ours(graph: schedule.Graph, share: str, order: str, limit: float) -> tuple[Result, list[str]]:
    """Our answer, and its cells: status, overhead, bound, gap, seconds."""
    plan = schedule.solve(graph, share, "ilp", order=order, time_limit=limit)
    figures = [plan.overhead, plan.bound_overhead]
    cells = ["" if figure is None else f"{figure * 100:.4f}" for figure in figures]
    gap = "" if plan.gap is None else f"{plan.gap * 100:.4f}"
    return plan, [graph.name, share, order, plan.status, *cells, gap, f"{plan.seconds:.2f}"]


def theirs(graph: schedule.Graph, share: str, name: str, limit: float, seconds: float) -> list[str]:
    """A baseline's cells: overhead, bound, seconds, and how many times ours they are."""
    budget = schedule.parse_budget(share, graph)
    try:
        answer = BASELINES[name](graph, budget, limit)
    except NotApplicable:
        return ["–"] * 4
    overhead = "none"
    if answer.codes is not None:
        overhead = f"{schedule.verify(graph, answer.codes, budget).overhead * 100:.4f}"
    known = -inf < answer.bound < inf
    bound = f"{overhead_of(graph, answer.bound) * 100:.4f}" if known else ""
    cut = "> " if answer.seconds >= limit else ""
    return [overhead, bound, f"{cut}{answer.seconds:.1f}", f"{cut}{answer.seconds / seconds:.0f}"]


def columns(baselines: list[str]) -> list[str]:
    """The headings."""
    found = ["instance", "budget", "order", "status", "overhead %", "bound %", "gap", "seconds"]
    for name in baselines:
        found += [f"{name} %", "its bound", "seconds", "ratio"]
    return found


def solves(graphs: list[schedule.Graph], given: argparse.Namespace) -> tuple[list, list[float]]:
    """Rows for every graph, budget and order, and our seconds."""
    rows, seconds = [], []
    orders = ["fixed", "free"] if given.order == "both" else [given.order]
    for graph in graphs:
        for share in given.budgets.split(","):
            for order in orders:
                plan, row = ours(graph, share, order, given.time_limit)
                seconds.append(plan.seconds)
                for name in given.baselines:
                    row += (
                        theirs(graph, share, name, given.baseline_limit, plan.seconds)
                        if order == "fixed"
                        else [""] * 4
                    )
                rows.append(row)
                print(*row, file=sys.stderr, flush=True)
    return rows, seconds


def markdown(headings: list[str], rows: list[list[str]]) -> str:
    """The same table for the docs."""
    lines = [headings, ["---"] * 3 + ["---:"] * (len(headings) - 3), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


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
    parser.add_argument("--order", choices=["fixed", "free", "both"], default="fixed")
    parser.add_argument("--time-limit", type=float, default=60.0)
    parser.add_argument("--baselines", default="", help="of " + ", ".join(BASELINES))
    parser.add_argument("--baseline-limit", type=float, default=600.0)
    parser.add_argument("--chains", type=int, default=12, metavar="L")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    given = parser.parse_args()
    given.baselines = [name for name in given.baselines.split(",") if name]
    graphs = [schedule.read(name) for name in given.graphs] or [
        schedule.example(name) for name in ("mlp", "unet", "resnet", "transformer")
    ]
    rows, seconds = solves(graphs, given)
    table = Table(*columns(given.baselines), title="ilp, and textbook models beside it")
    for row in rows:
        table.add_row(*row)
    Console(width=180).print(table)
    print(f"median of our seconds: {statistics.median(seconds):.2f}")
    if given.markdown:
        given.markdown.write_text(markdown(columns(given.baselines), rows), "utf-8")
    if given.graphs:
        return 0
    asked, right, slowest = chains(given.chains)
    print(
        f"training chains to L = {given.chains}, every budget: {right} of {asked} proved equal"
        f" to the closed form, the slowest in {slowest:.2f} s"
    )
    return 0 if right == asked else 1


if __name__ == "__main__":
    sys.exit(main())
