"""The search on large and wide graphs, beside other solvers and FastSA's published figures.

    python benchmarks/search.py GRAPH … [--budgets 90%,80%,70%] [--solvers search,auto]
        [--order free|fixed] [--seconds 20] [--workers 1] [--seed 0] [--markdown FILE]
    python benchmarks/search.py --moves [GRAPH …] [--seconds 20]

Every overhead is that of a schedule that was replayed on the memory model; where
none fits, the least peak that was reached is shown. "best at" is when the last
improvement came, in seconds from the start. Without GRAPH a shipped example is
solved. With --moves it prints how many moves one thread tries in a second, on
each GRAPH at the last budget and on a transformer of 10,000 nodes.
"""

from __future__ import annotations

import argparse
import math
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from tables import percent, show

import schedule
from schedule.memory import overhead_of
from schedule.result import Result
from schedule.solvers.annealing.searcher import Searcher
from schedule.solvers.contract import Deadline, Incumbent, Problem, Progress

#: Overheads in percent that FastSA publishes (Imanishi et al., NeurIPS 2023), by budget,
#: and its seconds; None: it ends above the budget.
FASTSA: dict[str, tuple[dict[str, float | None], float]] = {
    "layered-100": ({"90%": 0.0, "80%": 0.3, "70%": None}, 12),
    "layered-250": ({"90%": 0.0, "80%": 0.0, "70%": 2.6}, 15),
    "layered-500": ({"90%": 0.03, "80%": 2.3, "70%": None}, 21),
    "layered-1000": ({"90%": 0.4, "80%": 2.5, "70%": 7.4}, 36),
    "fcn8-vgg-train": ({"90%": 0.1, "80%": 0.1, "70%": 3.0}, 9.5),
    "resnet50-train": ({"90%": 0.2, "80%": 0.4, "70%": 0.8}, 11),
}
HEADINGS = [
    "instance",
    "budget",
    "solver",
    "status",
    "overhead %",
    "peak %",
    "bound %",
    "gap %",
    "best at",
    "seconds",
    "limit",
    "FastSA %",
    "its seconds",
]
#: Layers of a transformer of 10,000 nodes.
_LAYERS = 294


@dataclass
class Watch:
    """When the best schedule got better for the last time."""

    seconds: float = math.nan
    best: float = math.inf

    def __call__(self, now: Progress) -> None:
        """Take note of progress."""
        if now.best is not None and now.best < self.best:
            self.best, self.seconds = float(now.best), now.seconds


def published(name: str, share: str) -> list[str]:
    """FastSA's overhead and seconds, where it has this instance and budget."""
    figures, seconds = FASTSA.get(name, ({}, 0))
    if share not in figures:
        return ["", ""]
    overhead = figures[share]
    return ["misses" if overhead is None else str(overhead), f"{seconds:g}"]


def solved(graph: schedule.Graph, share: str, solver: str, given: argparse.Namespace) -> list[str]:
    """The cells of one solve."""
    watch = Watch()
    plan = schedule.solve(
        graph,
        share,
        solver,
        order=given.order,
        time_limit=given.seconds,
        seed=given.seed,
        workers=given.workers,
        progress=watch,
    )
    figures = [percent(plan.overhead), peak_of(graph, plan), percent(plan.bound_overhead)]
    figures += [percent(plan.gap), "" if math.isnan(watch.seconds) else f"{watch.seconds:.1f}"]
    figures += [f"{plan.seconds:.1f}", f"{given.seconds:g}"]
    return [graph.name, share, solver, str(plan.status), *figures, *published(graph.name, share)]


def peak_of(graph: schedule.Graph, plan: Result) -> str:
    """The peak, or the least that was reached, as percent of the unplanned one."""
    peak = plan.peak
    if peak is None and plan.shortfall is not None:
        peak = plan.shortfall.least_peak
    unplanned = schedule.parse_budget("100%", graph)
    return "" if peak is None else f"{peak / unplanned * 100:.2f}"


def moves(graph: schedule.Graph, share: str, given: argparse.Namespace) -> list[str]:
    """Moves tried in a second by one thread, what is compiled being there already."""
    budget = schedule.parse_budget(share, graph)
    problem = Problem(graph, budget, given.order)
    incumbent = Incumbent(problem)
    searcher = Searcher(problem, given.order, incumbent, given.seed)
    searcher.round(Deadline.after(0))
    before, started = searcher.moves, time.perf_counter()
    deadline = Deadline.after(given.seconds)
    while not deadline.passed:
        searcher.round(deadline)
    spent = time.perf_counter() - started
    rate = (searcher.moves - before) / spent
    trace = incumbent.trace
    found = None if trace is None else overhead_of(graph, trace.compute)
    return [graph.name, f"{len(graph):,}", share, f"{rate:,.0f}", f"{spent:.1f}", percent(found)]


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("graphs", nargs="*", metavar="GRAPH")
    parser.add_argument("--budgets", default="90%,80%,70%")
    parser.add_argument("--solvers", default="search", help="names, with commas")
    parser.add_argument("--order", choices=["free", "fixed"], default="free")
    parser.add_argument("--seconds", type=float, default=20.0, help="for each instance")
    parser.add_argument("--workers", type=int, default=1, metavar="N")
    parser.add_argument("--seed", type=int, default=0, metavar="N")
    parser.add_argument("--moves", action="store_true", help="print moves per second instead")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    return parser.parse_args()


def main() -> int:
    """Print the table; exit status 1 where the search found nothing that fits."""
    given = arguments()
    graphs = [schedule.read(name) for name in given.graphs]
    shares = given.budgets.split(",")
    if given.moves:
        graphs.append(schedule.example("transformer", layers=_LAYERS))
        rows = [moves(graph, shares[-1], given) for graph in graphs]
        headings = ["instance", "nodes", "budget", "moves a second", "seconds", "overhead %"]
        show("moves of one thread", headings, rows, given.markdown)
        return 0
    # What is compiled is loaded, or made, before any time is taken.
    schedule.solve(schedule.example("chain", layers=3), 4, "search", order="fixed")
    rows = []
    for graph in graphs or [schedule.example("transformer")]:
        for share in shares:
            for solver in given.solvers.split(","):
                rows.append(solved(graph, share, solver, given))
                print(*(cell or "–" for cell in rows[-1]), file=sys.stderr, flush=True)
    title = f"{given.order} order, {given.workers} thread(s)"
    show(title, HEADINGS, rows, given.markdown, left=4)
    return int(any(row[3] != "feasible" and row[3] != "optimal" for row in rows))


if __name__ == "__main__":
    sys.exit(main())
