"""Whether a change of the code changed any schedule: a table of digests, to compare two checkouts.

    python -m benchmarks.same_schedules before.json        # in one checkout
    python -m benchmarks.same_schedules after.json --like before.json

Every solver on every example, at three budgets, in both orders, with one worker and seed 0.
A case that a time limit ended isn't compared: what it finds depends on the machine.
"""

from __future__ import annotations

import argparse
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import schedule
from schedule.examples import EXAMPLES

BUDGETS = ("85%", "65%", "45%")
ORDERS = ("free", "fixed")
#: Seconds for a case; the share of them after which a case counts as ended by its limit.
LIMIT = 20.0
CUT = 0.5


def cases() -> Iterator[tuple[str, str, str, str]]:
    """Example, budget, order, solver."""
    for name in EXAMPLES:
        for budget in BUDGETS:
            for order in ORDERS:
                for solver in schedule.SOLVERS:
                    yield name, budget, order, solver


def row(name: str, budget: str, order: str, solver: str) -> dict[str, object] | None:
    """The outcome of one case; None where the solver doesn't handle the graph."""
    graph = schedule.example(name)
    if schedule.SOLVERS[solver].supports(graph) is not None:
        return None
    found = schedule.solve(graph, budget, solver, order=order, time_limit=LIMIT, workers=1)
    steps = json.dumps([str(step) for step in found.schedule]) if found.schedule else ""
    return {
        "status": found.status.value,
        "compute": found.compute,
        "peak": found.peak,
        "bound": found.lower_bound,
        "least_peak": found.shortfall.least_peak if found.shortfall else None,
        "steps": hashlib.sha256(steps.encode()).hexdigest()[:16],
        "cut": found.seconds > CUT * LIMIT,
    }


def main() -> None:
    """Write the table, and compare it with another one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("output", type=Path)
    parser.add_argument("--like", type=Path, help="a table of another checkout")
    parser.add_argument("--solvers", nargs="*", help="only these")
    options = parser.parse_args()
    table = {}
    for case in cases():
        if options.solvers and case[3] not in options.solvers:
            continue
        found = row(*case)
        if found is not None:
            table[" ".join(case)] = found
    options.output.write_text(json.dumps(table, indent=1), "utf-8")
    print(f"{len(table)} cases, {sum(bool(each['cut']) for each in table.values())} cut")
    if options.like is None:
        return
    other = json.loads(options.like.read_text("utf-8"))
    compared = 0
    for case, mine in table.items():
        theirs = other.get(case)
        if theirs is None or mine["cut"] or theirs["cut"]:
            continue
        compared += 1
        if mine != theirs:
            print(f"differs: {case}\n  was {theirs}\n  is  {mine}")
    print(f"{compared} compared")


if __name__ == "__main__":
    main()
