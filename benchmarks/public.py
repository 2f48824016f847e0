"""A folder of graphs at several budgets: how much is decided, and the open questions.

    python benchmarks/public.py DIR [--budgets 80%,60%,50%,40%] [--order free] [--solver auto]
        [--against ilp,search] [--time-limit 60] [--only NAME …] [--json FILE] [--markdown FILE]

Every solve is a process of its own that has loaded what is compiled, so that none is slowed by
what another left behind; every schedule was replayed. Gaps are in percentage points of the
compute of every node once. With `--against`, the other solvers have the same seconds each, and
the table says by how much the first is behind the best of them.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import subprocess
import sys
from pathlib import Path
from typing import Any

from tables import percent, show

#: One solve: a file, a budget, an order, a solver and seconds.
_CHILD = """
import json, sys
import schedule
file, budget, order, solver, seconds = sys.argv[1:]
graph = schedule.read(file)
schedule.warm()
plan = schedule.solve(graph, budget, solver, order=order, time_limit=float(seconds))
print(json.dumps({
    "file": graph.name, "nodes": len(graph), "budget": budget, "solver": solver,
    "status": str(plan.status), "overhead": plan.overhead, "bound": plan.bound_overhead,
    "gap": plan.gap, "seconds": plan.seconds, "found_by": plan.found_by,
    "proved_by": plan.proved_by,
}))
"""


def solved(file: Path, budget: str, solver: str, given: argparse.Namespace) -> dict[str, Any]:
    """The outcome of one solve; `error` where it ended in one."""
    asked = [str(file), budget, given.order, solver, str(given.time_limit)]
    done = subprocess.run([sys.executable, "-c", _CHILD, *asked], capture_output=True, text=True)
    if done.returncode:
        error = done.stderr.strip().splitlines()[-1:]
        return {"file": file.name, "budget": budget, "solver": solver, "error": "".join(error)}
    found: dict[str, Any] = json.loads(done.stdout)
    return found | {"file": file.name.removesuffix(".gz").removesuffix(".json")}


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
    line = [row["file"], str(row.get("nodes", "")), row["budget"], status, *figures, seconds, by]
    return [*line, percent(row["behind"])] if "behind" in row else line


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--budgets", default="80%,60%,50%,40%")
    parser.add_argument("--order", choices=["free", "fixed"], default="free")
    parser.add_argument("--solver", default="auto")
    parser.add_argument("--against", default="", help="other solvers, with commas between")
    parser.add_argument("--time-limit", type=float, default=60.0, metavar="SECONDS")
    parser.add_argument("--only", nargs="*", default=[], help="beginnings of file names")
    parser.add_argument("--json", type=Path, metavar="FILE", help="all that was measured")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the open questions")
    return parser.parse_args()


def main() -> None:
    """Lines as they come, then the worst, and a summary."""
    given = arguments()
    files = sorted(given.folder.glob("*.json*"))
    files = [f for f in files if not given.only or f.name.startswith(tuple(given.only))]
    others = [name for name in given.against.split(",") if name]
    rows: list[dict[str, Any]] = []
    for file in files:
        for budget in given.budgets.split(","):
            row = solved(file, budget, given.solver, given)
            if others:
                found = [solved(file, budget, other, given) for other in others]
                row |= {"others": found}
                if (by := behind(row, found)) is not None:
                    row["behind"] = by
            rows.append(row)
            print(*cells(row), file=sys.stderr, flush=True)
            if given.json:
                given.json.write_text(json.dumps(rows, indent=1), "utf-8")
    decided = [row for row in rows if row.get("status") in ("optimal", "infeasible")]
    gaps = [row["gap"] for row in rows if row.get("status") == "feasible"]
    worst = sorted(
        (row for row in rows if row not in decided),
        key=lambda row: -(row.get("gap") or math.inf),  # None: no schedule
    )
    headings = ["graph", "nodes", "budget", "status", "overhead %", "bound %", "gap", "seconds"]
    headings += ["found / proved by", *(["behind"] if others else [])]
    show("What is open", headings, [cells(row) for row in worst], given.markdown)
    print(
        f"{len(decided)} of {len(rows)} decided; of {len(gaps)} others the median gap is"
        f" {percent(statistics.median(gaps)) if gaps else '–'};"
        f" {len(rows) - len(decided) - len(gaps)} without an answer"
    )
    if lags := [row["behind"] for row in rows if "behind" in row]:
        print(
            f"behind the best of {', '.join(others)}: {percent(statistics.median(lags))} in the"
            f" median, {percent(max(lags))} at worst"
        )


if __name__ == "__main__":
    main()
