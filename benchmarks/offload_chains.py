"""Chains on a device with a host: beside a search over everything, and beside H-Revolve's package.

    python benchmarks/offload_chains.py [--layers 2,3,4] [--budgets 3,4,5] [--rates 0.25,0.5,1,2]
        [--time-limit 10] [--places 20000] [--steps 20,100,1000] [--markdown FILE]

First training chains of so many layers, each twice a node and one more, of tensors and costs
of one unit. `auto` is asked with a host that has room for everything, over links that copy so
many tensors in the time of a node. Beside it stands what `tests/oracles.py` finds, a search
without a rule of its own; where it looks at more than `--places` places it gives up.

Then what H-Revolve's plans cost in the paper's cost model, of this package and of
checkpoint-schedules, for chains of so many steps, with slots in memory and on disk.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from tables import show

import schedule
from schedule.solvers.offloading.hierarchy import Hierarchy, Storage

sys.path.insert(0, str(Path(__file__).parents[1]))
from tests import oracles
from tests.solvers.offloading.test_hierarchy import published

#: Slots in memory and on disk; what writing to that and reading from it costs.
_SLOTS = ((3, 3), (10, 10), (10, 100))
_COSTS = ((0.5, 0.5), (2.0, 2.0), (5.0, 1.0))


def numbers(text: str) -> list[float]:
    """Those in a text, with commas between."""
    return [float(each) for each in text.split(",")]


def beside_search(given: argparse.Namespace) -> list[list[str]]:
    """A row for each chain, budget and link."""
    rows = []
    schedule.warm()
    for layers in map(int, numbers(given.layers)):
        graph = schedule.example("chain", layers=layers)
        for budget in map(int, numbers(given.budgets)):
            for rate in numbers(given.rates):
                host = schedule.Level("host", 10**6, rate, rate)
                limit = given.time_limit
                plan = schedule.solve(graph, budget, levels=host, time_limit=limit)
                began = time.process_time()
                try:
                    least = oracles.least_makespan(graph, budget, host, given.places)
                except oracles.Exhausted:
                    least = None
                seconds = time.process_time() - began
                ours = [plan.status, f"{plan.makespan:g}", f"{plan.lower_bound:g}"]
                cells = [str(len(graph)), str(budget), f"{rate:g}", *map(str, ours)]
                rows.append([*cells, "–" if least is None else f"{least:g}", f"{seconds:.1f}"])
                print(*rows[-1], file=sys.stderr, flush=True)
    return rows


def beside_package(given: argparse.Namespace) -> list[list[str]]:
    """A row for each chain, slots and costs of copies."""
    rows = []
    for steps in map(int, numbers(given.steps)):
        for slots in _SLOTS:
            for write, read in _COSTS:
                began = time.process_time()
                levels = Storage(slots[0], 0.0, 0.0), Storage(slots[1], write, read)
                plan = Hierarchy(steps, levels)
                length = sum(1 for _ in plan.operations())
                between = time.process_time()
                theirs = published(steps, slots, write, read, 1.0, 1.0)
                cells = [steps, *slots, write, read, plan.cost, theirs, length]
                seconds = between - began, time.process_time() - between
                rows.append([f"{each:g}" for each in cells] + [f"{each:.2f}" for each in seconds])
                print(*rows[-1], file=sys.stderr, flush=True)
    return rows


def main() -> None:
    """Both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--layers", default="2,3,4")
    parser.add_argument("--budgets", default="3,4,5")
    parser.add_argument("--rates", default="0.25,0.5,1,2")
    parser.add_argument("--time-limit", type=float, default=10.0, metavar="SECONDS")
    parser.add_argument("--places", type=int, default=20_000)
    parser.add_argument("--steps", default="20,100,1000")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the tables")
    given = parser.parse_args()
    head = ["nodes", "budget", "rate", "status", "makespan", "bound", "search", "its seconds"]
    if given.layers:
        show("Beside a search over everything", head, beside_search(given), given.markdown)
    head = ["steps", "memory", "disk", "write", "read", "ours", "theirs", "operations"]
    if given.steps:
        rows = beside_package(given)
        file = given.markdown and given.markdown.with_stem(f"{given.markdown.stem}-package")
        show("In H-Revolve's cost model", [*head, "seconds", "their seconds"], rows, file)


if __name__ == "__main__":
    main()
