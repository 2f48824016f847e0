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
import time
from math import comb, inf
from pathlib import Path

from baselines import BASELINES, Answer
from tables import percent, show

import schedule
from schedule.bounds import TOLERANCE, round_up
from schedule.errors import NotApplicable
from schedule.memory import Trace, overhead_of
from schedule.result import Order, Result, Status


def times(ratio: float) -> str:
    """A ratio to about three digits."""
    return f"{ratio:,.0f}" if ratio >= 10 else f"{ratio:.2f}"


def ours(
    graph: schedule.Graph, share: str, order: Order, limit: float
) -> tuple[Result, float, list[str]]:
    """Our answer, its wall time, and its cells."""
    started = time.perf_counter()
    plan = schedule.solve(graph, share, "ilp", order=order, time_limit=limit)
    seconds = time.perf_counter() - started
    figures = [percent(figure, 4) for figure in (plan.overhead, plan.bound_overhead, plan.gap)]
    return plan, seconds, [graph.name, share, order, plan.status, *figures, f"{seconds:.2f}"]


def theirs(graph: schedule.Graph, share: str, name: str, limit: float, seconds: float) -> list[str]:
    """A baseline's cells: overhead, bound, seconds, and how many times ours they are."""
    budget = schedule.parse_budget(share, graph)
    try:
        answer = BASELINES[name](graph, budget, limit)
    except NotApplicable as reason:
        print(f"{name}: {reason}", file=sys.stderr)
        return ["–"] * 4
    trace = None if answer.codes is None else schedule.verify(graph, answer.codes, budget)
    found, bound = "none", ""
    if trace is not None:
        found = percent(trace.overhead, 4)
    if answer.bound == inf:
        found = "infeasible"
    elif answer.bound > -inf:
        bound = percent(overhead_of(graph, round_up(graph, answer.bound)), 4)
    if proved(graph, trace, answer):
        return [found, bound, f"{answer.seconds:.1f}", times(answer.seconds / seconds)]
    # What it needs to stop after its limit is not held against it.
    spent = min(answer.seconds, limit)
    return [found, bound, f"> {spent:.1f}", f"> {times(spent / seconds)}"]


def proved(graph: schedule.Graph, trace: Trace | None, answer: Answer) -> bool:
    """Whether the baseline has solved its own model: an optimum, or infeasible."""
    if trace is None:
        return answer.bound == inf
    gap = float(trace.compute - round_up(graph, answer.bound))
    return gap <= TOLERANCE * float(graph.compute)


def columns(baselines: list[str]) -> list[str]:
    """The headings."""
    found = ["instance", "budget", "order", "status", "overhead %", "bound %", "gap", "seconds"]
    for name in baselines:
        found += [f"{name} %", "its bound", "seconds", "ratio"]
    return found


def solves(
    graphs: list[schedule.Graph], given: argparse.Namespace
) -> tuple[list[list[str]], list[float]]:
    """Rows for every graph, budget and order, and our seconds."""
    rows, spent = [], []
    orders: list[Order] = ["fixed", "free"] if given.order == "both" else [given.order]
    tasks = [(g, share, o) for g in graphs for share in given.budgets.split(",") for o in orders]
    for graph, share, order in tasks:
        plan, seconds, row = ours(graph, share, order, given.time_limit)
        spent.append(seconds)
        for name in given.baselines:
            # Where our proof is that nothing fits, there is nothing to compare.
            if order == "fixed" and plan.status != Status.INFEASIBLE:
                row += theirs(graph, share, name, given.baseline_limit, seconds)
            else:
                row += [""] * 4
        rows.append(row)
        print(*(cell or "–" for cell in row), file=sys.stderr, flush=True)
    return rows, spent


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


def names(text: str) -> list[str]:
    """The baselines in a list with commas; `none` is no baseline."""
    found = [name for name in text.split(",") if name not in ("", "none")]
    for name in found:
        if name not in BASELINES:
            raise argparse.ArgumentTypeError(f"{name!r} is none of {', '.join(BASELINES)}")
    return found


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("graphs", nargs="*", metavar="GRAPH")
    parser.add_argument("--budgets", default="90%,80%,70%,60%,50%")
    parser.add_argument("--order", choices=["fixed", "free", "both"], default="fixed")
    parser.add_argument("--time-limit", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--baselines", type=names, default=[], help="of " + ", ".join(BASELINES))
    parser.add_argument("--baseline-limit", type=float, default=600.0, metavar="SECONDS")
    parser.add_argument("--chains", type=int, metavar="L", help="12 without GRAPH, else 0")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    given = parser.parse_args()
    if given.chains is None:
        given.chains = 0 if given.graphs else 12
    return given


def main() -> int:
    """Print the tables; exit status 1 where a chain misses its closed form."""
    given = arguments()
    graphs = [schedule.read(name) for name in given.graphs] or [
        schedule.example(name) for name in ("mlp", "unet", "resnet", "transformer")
    ]
    rows, seconds = solves(graphs, given)
    title = "ilp, and textbook models in the given order beside it"
    show(title, columns(given.baselines), rows, given.markdown, left=4)
    print(f"median of our seconds: {statistics.median(seconds):.2f}")
    if not given.chains:
        return 0
    asked, right, slowest = chains(given.chains)
    print(
        f"training chains to L = {given.chains}, every budget: {right} of {asked} proved equal"
        f" to the closed form, the slowest in {slowest:.2f} s"
    )
    return 0 if right == asked else 1


if __name__ == "__main__":
    sys.exit(main())
