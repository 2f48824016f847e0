"""Folders of graphs at several budgets: how much is decided, and the open questions.

    python benchmarks/public.py DIR … [--budgets 80%,60%,50%,40%] [--order free|fixed|alternate]
        [--solver auto] [--against ilp,search,greedy] [--time-limit 60] [--only NAME …]
        [--processor-time] [--json FILE] [--markdown FILE]

Every solve is a process of its own that has loaded what is compiled, so that none is slowed by
what another left behind; every schedule was replayed. Gaps are in percentage points of the
compute of every node once. With `--order alternate`, the first file is asked in any order at the
first budget, in the given order at the second, and so on; the second file the other way round.

With `--processor-time`, seconds are those of the processor, two of which make one where two
threads compute: others may be at work on the machine. With `--against`, the other solvers have
the same seconds each where the first leaves a question open, and the table has these questions:
by how much the first is behind the best of them.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from running import asked, clock_of, graph_files, name_of, parser_of
from tables import percent, show

import schedule

#: Solvers that use one thread.
ALONE = ("ilp", "greedy")


def child(
    file: str, budget: str, order: str, solver: str, seconds: str, clock: str
) -> dict[str, Any]:
    """The outcome of a solve."""
    graph = schedule.read(file)
    schedule.warm()
    limit, threads = float(seconds), 1 if solver in ALONE else 2
    with clock_of(clock == "processor", threads):
        plan = schedule.solve(graph, budget, solver, order=order, time_limit=limit, workers=2)  # type: ignore[arg-type]
    return {
        "nodes": len(graph),
        "solver": solver,
        "status": str(plan.status),
        "overhead": plan.overhead,
        "bound": plan.bound_overhead,
        "gap": plan.gap,
        "seconds": plan.seconds,
        "found_by": plan.found_by,
        "proved_by": plan.proved_by,
    }


def solved(
    file: Path, budget: str, order: str, solver: str, given: argparse.Namespace
) -> dict[str, Any]:
    """The outcome of one solve; `error` where it ended in one."""
    clock = "processor" if given.processor_time else "wall"
    found = asked("public", str(file), budget, order, solver, str(given.time_limit), clock)
    return {"solver": solver, "file": name_of(file), "budget": budget, "order": order} | found


def behind(ours: dict[str, Any], others: list[dict[str, Any]]) -> float | None:
    """By how much the schedule costs more than the best of the others'; None: they have none."""
    best = min((o["overhead"] for o in others if o.get("overhead") is not None), default=None)
    if best is None:
        return None
    own = ours.get("overhead")
    return math.inf if own is None else float(own - best)


def cells(row: dict[str, Any]) -> list[str]:
    """A line of the table."""
    figures = [percent(row.get(key)) for key in ("overhead", "bound", "gap")]
    by = " / ".join(row.get(key) or "–" for key in ("found_by", "proved_by"))
    status = row.get("status", row.get("error"))
    seconds = f"{row['seconds']:.1f}" if "seconds" in row else ""
    question = [row["file"], str(row.get("nodes", "")), row["budget"], row["order"]]
    line = [*question, status, *figures, seconds, by]
    if "others" in row:
        line += [percent(other.get("overhead")) for other in row["others"]]
        line += [percent(row["behind"])]
    return line


def is_decided(row: dict[str, Any]) -> bool:
    """Whether nothing is left to find: proved optimal, or proved impossible."""
    return row.get("status") in ("optimal", "infeasible")


def questions(given: argparse.Namespace) -> Iterator[tuple[Path, str, str]]:
    """File, budget, order."""
    budgets = given.budgets.split(",")
    for at, file in graph_files(given.folders, given.only):
        for turn, budget in enumerate(budgets, start=at):
            order = given.order
            if order == "alternate":
                order = ("free", "fixed")[turn % 2]
            yield file, budget, order


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = parser_of(__doc__, against="")
    parser.add_argument("folders", type=Path, nargs="+", metavar="DIR")
    parser.add_argument("--budgets", default="80%,60%,50%,40%")
    parser.add_argument("--order", choices=["free", "fixed", "alternate"], default="free")
    parser.add_argument("--solver", default="auto")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the open questions")
    return parser.parse_args()


def main() -> None:
    """Lines as they come, then the worst, and a summary."""
    given = arguments()
    others = [name for name in given.against.split(",") if name]
    rows: list[dict[str, Any]] = []
    for file, budget, order in questions(given):
        row = solved(file, budget, order, given.solver, given)
        if others and not is_decided(row):
            row["others"] = [solved(file, budget, order, other, given) for other in others]
            row["behind"] = behind(row, row["others"])
        rows.append(row)
        print(*cells(row), file=sys.stderr, flush=True)
        if given.json:
            given.json.write_text(json.dumps(rows, indent=1), "utf-8")
    undecided = [row for row in rows if not is_decided(row)]
    gaps = [row["gap"] for row in rows if row.get("status") == "feasible"]
    worst = sorted(undecided, key=lambda row: -(row.get("gap") or math.inf))  # None: no schedule
    headings = ["graph", "nodes", "budget", "order", "status", "overhead %", "bound %", "gap"]
    headings += ["seconds", "found / proved by"]
    headings += [*(f"{other} %" for other in others), *(["behind"] if others else [])]
    show("What is open", headings, [cells(row) for row in worst], given.markdown)
    print(
        f"{len(rows) - len(undecided)} of {len(rows)} decided; of {len(gaps)} others the median"
        f" gap is {percent(statistics.median(gaps)) if gaps else '–'};"
        f" {len(undecided) - len(gaps)} without an answer"
    )
    if lags := [row["behind"] for row in undecided if row.get("behind") is not None]:
        print(
            f"behind the best of {', '.join(others)} where open:"
            f" {percent(statistics.median(lags))} in the median, {percent(max(lags))} at worst"
        )


if __name__ == "__main__":
    main()
