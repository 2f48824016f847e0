"""The published strategies beside the optimum, on the same graphs, budgets and memory model.

    python benchmarks/classics.py [GRAPH …] [--budgets 90%,80%,70%,60%,50%,40%]
        [--seconds 60] [--search] [--picture FILE] [--markdown FILE]
    python benchmarks/classics.py --adjoint 20,100,1000 [--checkpoints 2,3,5,10,20]
        [--markdown FILE]

Every solver but `search` (which always takes all its time; --search adds it)
plans every GRAPH and a U-Net that `gradient` makes. Every overhead is
that of a schedule that was replayed; where none fits, it is the least peak that
was reached, as a share of the unplanned one. "optimum" is the best schedule that
any solver found, marked with ≤ where it isn't proved, and "bound" what is proved.
Where `auto` is
worse than another solver in the same time, that is printed.
The mean ratio is that of the compute to the optimum's (to the bound where it isn't
proved), over the budgets that are met and have an optimum above every node once.

With --adjoint, `mixed` is held against `MixedCheckpointSchedule` of checkpoint-schedules on
adjoint chains of so many steps, of unit sizes. The package's own schedule is replayed on the
graph, and `mixed` gets the peak of that replay as its budget, then a unit less. Seconds are
those for a plan: the package's without its compiling, ours with the replay. Where the package
isn't installed its columns stay empty, and the budget is five units more than checkpoints.
A second table has chains of steps whose sizes and costs are drawn (states and data of 100 to
500, gradients of 100 to 300, costs of 1 to 40; seed 0), at 5, 12, 25 and 50 %, and `chain`.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from statistics import geometric_mean
from typing import Any

import numpy as np
from tables import percent, show

import schedule
from schedule.budgets.comparison import Entry, compare
from schedule.layout import Ints
from schedule.lowering import replayed
from schedule.result import Status
from schedule.solvers import SOLVERS

BUDGETS = "90%,80%,70%,60%,50%,40%"
#: What the table's "optimum" comes from: not classics.
OURS = ("greedy", "search", "ilp", "auto")
PICTURE = Path(__file__).parent.parent / "docs" / "images" / "classics.svg"


@dataclass(frozen=True)
class Column:
    """All solvers at one budget."""

    share: str
    unplanned: int
    entries: dict[str, Entry]

    @property
    def best(self) -> float | None:
        """The least overhead that any solver reached."""
        found = [entry.result.overhead for entry in self.entries.values() if entry.fits]
        return min(found, default=None)

    @property
    def bound(self) -> float | None:
        """The largest lower bound, as an overhead; None: proved that nothing fits."""
        results = [entry.result for entry in self.entries.values() if entry.result is not None]
        if any(entry.infeasible for entry in self.entries.values()):
            return None
        return max(result.bound_overhead or 0.0 for result in results)

    @property
    def proved(self) -> bool:
        """Whether the best is the optimum."""
        results = [entry.result for entry in self.entries.values() if entry.result is not None]
        return any(result.status is Status.OPTIMAL for result in results)

    def cell(self, solver: str) -> str:
        """What one solver reached."""
        entry = self.entries[solver]
        if entry.result is None:
            return "–"
        if entry.fits:
            return percent(entry.result.overhead)
        peak = entry.least_peak
        return "infeasible" if peak is None else f"({100 * peak / self.unplanned:.1f} %)"

    def reached(self, solver: str) -> float:
        """Its overhead; infinite where nothing fits."""
        entry = self.entries[solver]
        return float(entry.result.overhead) if entry.fits else float("inf")

    def ratio(self, solver: str) -> float | None:
        """Compute over the optimum's, or the bound's."""
        entry, bound = self.entries[solver], self.bound
        if not entry.fits or bound is None or not self.best:
            return None
        return (1 + entry.result.overhead) / (1 + bound)


def columns(graph: schedule.Graph, given: argparse.Namespace) -> list[Column]:
    """The solvers at every budget."""
    found = []
    solvers = [solver for name, solver in SOLVERS.items() if given.search or name != "search"]
    for share in given.budgets.split(","):
        entries = compare(graph, share, solvers, time_limit=given.seconds)
        unplanned = schedule.parse_budget("100%", graph)
        found.append(Column(share, unplanned, {entry.solver: entry for entry in entries}))
        print(graph.name, share, "done", file=sys.stderr, flush=True)
    return found


def rows(graph: schedule.Graph, found: list[Column]) -> list[list[str]]:
    """One line a classic, then the optimum and the bound."""
    table = []
    for name in SOLVERS:
        if name not in OURS:
            ratios = [ratio for column in found if (ratio := column.ratio(name)) is not None]
            mean = f"{geometric_mean(ratios):.4f}" if ratios else ""
            spent = [e.result.seconds for c in found if (e := c.entries[name]).result is not None]
            seconds = f"{max(spent):.2f}" if spent else ""
            table.append(
                [graph.name, name, *(column.cell(name) for column in found), mean, seconds]
            )
    best = [
        "–" if c.best is None else f"{'' if c.proved else '≤ '}{percent(c.best)}" for c in found
    ]
    bound = ["infeasible" if column.bound is None else percent(column.bound) for column in found]
    return [
        *table,
        [graph.name, "optimum", *best, "", ""],
        [graph.name, "bound", *bound, "", ""],
    ]


def means(everything: list[list[Column]]) -> list[list[str]]:
    """For each solver: budgets met, and the mean ratio over all graphs."""
    table = []
    flat = [column for found in everything for column in found]
    for name in flat[0].entries:
        applies = [c for c in flat if c.entries[name].result is not None and c.best is not None]
        met = sum(column.entries[name].fits for column in applies)
        ratios = [ratio for column in flat if (ratio := column.ratio(name)) is not None]
        mean = f"{geometric_mean(ratios):.4f}" if ratios else ""
        table.append([name, f"{met} of {len(applies)}", mean])
    return table


def beaten(graph: schedule.Graph, found: list[Column]) -> list[str]:
    """Where `auto` is worse than another solver."""
    lines = []
    for column in found:
        reached = column.reached("auto")
        if column.best is not None and column.best < reached - 1e-9:
            by = [name for name in column.entries if column.reached(name) < reached - 1e-9]
            better = f"{percent(column.best)} % by {', '.join(by)}"
            lines.append(f"{graph.name} at {column.share}: auto {percent(reached)} %, {better}")
    return lines


def adjoint_chain(
    steps: int, draw: Callable[[int, int], int] = lambda *_: 1, name: str = "mixed"
) -> schedule.Graph:
    """Steps that write the next state and what their adjoints read, of one unit or as drawn."""
    g = schedule.GraphBuilder(f"{name}{steps}")
    state, data, gradient = g.input("x0", draw(100, 500)), [], []
    for i in range(1, steps + 1):
        sizes = {f"x{i}": draw(100, 500), f"a{i}": draw(100, 500)}
        state, read = g.node(f"F{i}", state, memory=sizes, compute=draw(1, 40))
        data.append(read)
    for i in range(steps, 0, -1):
        reads = [data[i - 1], *gradient]
        gradient = [g.node(f"y{i}", reads, memory=draw(100, 300), compute=0, backward=True)]
    return g.build(gradient)


def unequal_rows(given: argparse.Namespace) -> list[list[str]]:
    """`mixed` beside `chain` where steps differ, one line a chain and budget."""
    table = []
    for steps in map(int, given.adjoint.split(",")):
        graph = adjoint_chain(steps, random.Random(0).randint, "unequal")
        for share in ("5%", "12%", "25%", "50%"):
            row = [graph.name, share]
            for solver in ("mixed", "chain"):
                plan = schedule.solve(graph, share, solver, time_limit=given.seconds)
                fits = plan.schedule is not None
                row += [percent(plan.overhead, 1) if fits else "–", f"{plan.seconds:.2f}"]
            table.append(row)
    return table


def published_runs(steps: int, checkpoints: int) -> Ints:
    """The runs of the published package's schedule, as numbers of nodes."""
    from checkpoint_schedules import Forward, MixedCheckpointSchedule, Reverse, StorageType

    runs: list[int] = []
    plan = MixedCheckpointSchedule(steps, checkpoints, storage=StorageType.RAM)
    for action in plan:
        if isinstance(action, Forward):
            runs += range(action.n0, action.n1)
        elif isinstance(action, Reverse):
            runs += range(2 * steps - action.n1, 2 * steps - action.n0)
    return np.array(runs)


def adjoint_rows(given: argparse.Namespace) -> list[list[str]]:
    """`mixed` beside the published package, one line a chain and number of checkpoints."""
    table = []
    for steps in map(int, given.adjoint.split(",")):
        graph = adjoint_chain(steps)
        for checkpoints in map(int, given.checkpoints.split(",")):
            budget, theirs = checkpoints + 5, ["", ""]
            if find_spec("checkpoint_schedules"):
                published_runs(steps, checkpoints)  # compiles it
                start = time.perf_counter()
                runs = published_runs(steps, checkpoints)
                spent = time.perf_counter() - start
                trace = replayed(graph, runs)
                budget, theirs = trace.peak, [str(trace.compute), f"{spent:.3f}"]
            plan, less = (
                schedule.solve(graph, memory, "mixed", time_limit=given.seconds)
                for memory in (budget, budget - 1)
            )
            ours = [str(plan.compute), str(less.compute), f"{plan.seconds:.3f}"]
            table.append([graph.name, str(checkpoints), str(budget), *theirs, *ours])
    return table


Panel = dict[str, list[tuple[float, float]]]


def panel(found: list[Column]) -> Panel:
    """Budget and overhead in percent of each classic, and of the optimum."""
    at = [float(column.share.rstrip("%")) for column in found]
    lines = {
        solver: [
            (x, 100 * column.reached(solver))
            for x, column in zip(at, found)
            if column.reached(solver) <= 1
        ]
        for solver in SOLVERS
        if solver not in OURS
    }
    best = [(x, 100 * column.best) for x, column in zip(at, found) if column.best is not None]
    return lines | {"optimum": best}


def draw(panels: dict[str, Panel], path: Path) -> None:
    """Overhead over the budget, one panel a graph; what doubles the compute is left out.

    Three panels stand side by side, which is what can be read on a page.
    """
    import matplotlib as mpl
    from matplotlib import pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "classics"
    mpl.rcParams["svg.fonttype"] = "none"
    wide = min(3, len(panels))
    tall = len(panels) // wide + 1  # with a place for the legend
    figure, axes = plt.subplots(
        tall, wide, figsize=(7.6, 2.6 * tall), sharey=True, squeeze=False, layout="constrained"
    )
    flat = axes.ravel()
    shown = [
        label
        for label in next(iter(panels.values()))
        if any(y > 0 for lines in panels.values() for _, y in lines.get(label, []))
    ]
    for axis, (name, lines) in zip(flat, panels.items()):
        for number, label in enumerate(shown):
            style: dict[str, Any] = {"color": "black", "linewidth": 2}
            if label != "optimum":
                marker = "osv^D<>pXh*"[number % 11]
                style = {"color": f"C{number}", "marker": marker, "markersize": 4, "linewidth": 0.9}
            axis.plot(*(list(zip(*lines.get(label, []))) or ([], [])), label=label, **style)
        budgets = [x for points in lines.values() for x, _ in points]
        axis.set_title(name, fontsize=10)
        axis.set_yscale("symlog", linthresh=0.1)
        axis.set_xlim(max(budgets) + 3, min(40, *budgets) - 3)
        axis.grid(visible=True, alpha=0.3)
    for axis in flat[len(panels) :]:
        axis.set_axis_off()
    for axis in flat[max(0, len(panels) - wide) : len(panels)]:
        axis.set_xlabel("budget, % of the peak")
    for axis in axes[:, 0]:
        axis.set_ylabel("extra compute, %")
    handles, labels = flat[0].get_legend_handles_labels()
    place = flat[len(panels)]
    place.legend(handles, labels, loc="center", ncols=2, frameon=False, fontsize=8, columnspacing=1)
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Date": None})


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("graphs", nargs="*", metavar="GRAPH")
    parser.add_argument("--budgets", default=BUDGETS)
    parser.add_argument("--seconds", type=float, default=60.0, help="for each solve, at most")
    parser.add_argument("--search", action="store_true", help="with search, too")
    parser.add_argument("--adjoint", metavar="STEPS", help="mixed beside the published package")
    parser.add_argument("--checkpoints", default="2,3,5,10,20", help="with --adjoint")
    parser.add_argument("--picture", type=Path, default=PICTURE, metavar="FILE")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    return parser.parse_args()


def main() -> int:
    """Print the tables, draw the picture; 1 where LP rounding's mean ratio is above 1.06."""
    given = arguments()
    if given.adjoint:
        theirs, ours = ["their steps", "seconds"], ["steps", "in a unit less", "seconds"]
        headings = ["chain", "checkpoints", "peak", *theirs, *ours]
        show("forward steps", headings, adjoint_rows(given), given.markdown)
        headings = ["chain", "budget", "mixed", "seconds", "as a chain of layers", "seconds"]
        unequal = given.markdown and given.markdown.with_stem(f"{given.markdown.stem}-unequal")
        show("overhead %", headings, unequal_rows(given), unequal)
        return 0
    graphs = [*(schedule.read(name) for name in given.graphs), schedule.example("unet")]
    # What is compiled is loaded, or made, before any time is taken.
    schedule.solve(schedule.example("chain", layers=3), 4, "search", order="fixed")
    shares = given.budgets.split(",")
    everything = [columns(graph, given) for graph in graphs]
    lines = [row for graph, found in zip(graphs, everything) for row in rows(graph, found)]
    headings = ["instance", "solver", *shares, "mean ratio", "slowest, s"]
    show("overhead %, or (least peak)", headings, lines, given.markdown, left=2)
    summary = means(everything)
    show("all graphs", ["solver", "budgets met", "mean ratio"], summary)
    worse = [line for graph, found in zip(graphs, everything) for line in beaten(graph, found)]
    print("\n".join(worse) or "auto is never worse than another solver")
    panels = {graph.name: panel(found) for graph, found in zip(graphs, everything)}
    draw(panels, given.picture)
    rounding = next((row for row in summary if row[0] == "lp_rounding"), None)
    return int(rounding is not None and float(rounding[2] or "nan") > 1.06)


if __name__ == "__main__":
    sys.exit(main())
