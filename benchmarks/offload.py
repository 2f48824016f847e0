"""A folder of graphs on a device with a host: makespans and bounds, and the peers'.

    python benchmarks/offload.py DIR [--budgets 70%,50%,40%] [--links 12GB/s,25GB/s,50GB/s]
        [--host 64GiB] [--time-limit 60] [--against NAME,…] [--only NAME …] [--processor-time]
        [--one-process] [--json FILE] [--markdown FILE]

`offload` is asked for every file, budget and link. Beside it stand recomputation alone
(`auto` without a host), and what `--against` names: by default all other solvers that know
of a host. Every solve has the same seconds, in a process of its own that has loaded what is
compiled, or with `--one-process` in one for all; every schedule was replayed. Makespans are in
percent above the compute of every node once, gaps in percentage points of it. Links take a
graph's compute as nanoseconds.

With `--processor-time`, seconds are those of the processor, two of which make one where two
threads compute: others may be at work on the machine. What `--json` names is added to: questions
that it answers already aren't asked again.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
from pathlib import Path
from typing import Any

from running import asked, clock_of, graph_files, name_of, parser_of
from tables import percent, show

import schedule
from schedule.errors import ScheduleError
from schedule.solvers.offloading.solvers import OFFLOADERS

#: The column for recomputation alone, and the solvers that recompute nothing.
_ALONE = "recompute"
_COPYING = ("offload_largest", "offload_all")


def child(
    file: str, budget: str, solver: str, seconds: str, clock: str, *host: str
) -> dict[str, Any]:
    """The outcome of a solve, with a host and a link or on one level of memory."""
    graph = schedule.read(file)
    schedule.warm()
    levels = schedule.host(*host) if host else None
    limit, threads = float(seconds), 2 if solver == "auto" else 1
    with clock_of(clock == "processor", threads):
        plan = schedule.solve(graph, budget, solver, levels=levels, time_limit=limit, workers=2)

    def share(time: float | None) -> float | None:
        return None if time is None else float(time / graph.compute - 1)

    return {
        "nodes": len(graph),
        "status": str(plan.status),
        "makespan": share(plan.makespan if host else plan.compute),
        "bound": share(plan.lower_bound),
        "seconds": plan.seconds,
        "found_by": plan.found_by,
        "proved_by": plan.proved_by,
        "copies": plan.trace.copies if plan.trace else None,
        "overhead": plan.overhead,
    }


def solved(
    file: Path, budget: str, solver: str, given: argparse.Namespace, *host: str
) -> dict[str, Any]:
    """The outcome of one solve; `error` where it ended in one."""
    clock = "processor" if given.processor_time else "wall"
    question = (str(file), budget, solver, str(given.time_limit), clock, *host)
    if not given.one_process:
        return asked("offload", *question)
    try:
        return child(*question)
    except ScheduleError as error:
        return {"error": str(error)}


def answered(
    file: Path, budget: str, given: argparse.Namespace, known: list[dict[str, Any]]
) -> None:
    """Add a row for each link that has none; recomputation alone knows none of them."""
    others = [name for name in given.against.split(",") if name]
    name = name_of(file)
    there = {row["link"]: row for row in known if (row["file"], row["budget"]) == (name, budget)}
    alone = next((row["others"][_ALONE] for row in there.values()), None)
    for link in given.links.split(","):
        if link in there:
            continue
        if alone is None:
            alone = solved(file, budget, "auto", given)
        host = (given.host, link)
        ours = solved(file, budget, "auto", given, *host)
        found = {other: solved(file, budget, other, given, *host) for other in others}
        row = {"file": name, "budget": budget, "link": link, "ours": ours}
        known.append(row | {"others": {_ALONE: alone} | found})
        print(*cells(known[-1]), file=sys.stderr, flush=True)
        if given.json:
            given.json.write_text(json.dumps(known, indent=1), "utf-8")


def makespan(found: dict[str, Any]) -> float:
    """As a share above every node once; infinite without a schedule."""
    known = found.get("makespan")
    return math.inf if known is None else float(known)


def gap(row: dict[str, Any]) -> float | None:
    """Between makespan and bound; None: nothing fits, as is proved."""
    ours = row["ours"]
    if ours.get("status") == "infeasible":
        return None
    return makespan(ours) - float(ours.get("bound") or 0)


def offloading(row: dict[str, Any]) -> float:
    """The best of those that recompute nothing."""
    return min((makespan(row["others"].get(name, {})) for name in _COPYING), default=math.inf)


def cells(row: dict[str, Any]) -> list[str]:
    """A line of the table."""
    ours, others = row["ours"], row["others"]
    figures = [ours.get("makespan"), ours.get("bound"), gap(row)]
    peers = [makespan(others[_ALONE]), offloading(row)]
    peers += [makespan(found) for name, found in others.items() if name not in (_ALONE, *_COPYING)]
    shown = [percent(figure, 2) for figure in figures]
    shown += ["–" if math.isinf(peer) else percent(peer, 2) for peer in peers]
    status = str(ours.get("status", ours.get("error")))
    return [row["file"], row["budget"], row["link"], status, *shown]


def headings(rows: list[dict[str, Any]]) -> list[str]:
    """The heads of the columns."""
    peers = [name for name in rows[0]["others"] if name not in (_ALONE, *_COPYING)]
    ours = ["graph", "budget", "link", "status", "makespan %", "bound %", "gap"]
    return [*ours, "recomputation alone", "offloading alone", *peers]


def summary(rows: list[dict[str, Any]]) -> str:
    """How far from the bound, and how it stands against the best of the others."""
    gaps = [found for row in rows if (found := gap(row)) is not None]
    lead = [
        min(makespan(found) for found in row["others"].values()) - makespan(row["ours"])
        for row in rows
        if gap(row) is not None and not math.isinf(makespan(row["ours"]))
    ]
    better = sum(ahead > 1e-6 for ahead in lead)
    worse = sum(ahead < -1e-6 for ahead in lead)
    reached = sum(
        math.isinf(makespan(row["others"][_ALONE])) for row in rows if gap(row) is not None
    )
    return (
        f"{len(rows)} questions, {len(rows) - len(gaps)} of them proved infeasible; of the others"
        f" the median gap is {percent(statistics.median(gaps), 2) if gaps else '–'} points;"
        f" better than the best of the others in {better}, worse in {worse};"
        f" {reached} aren't reached by recomputation alone"
    )


def arguments() -> argparse.Namespace:
    """What the command line asks for."""
    parser = parser_of(__doc__, against=",".join(list(OFFLOADERS)[1:]))
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--budgets", default="70%,50%,40%")
    parser.add_argument("--links", default="12GB/s,25GB/s,50GB/s")
    parser.add_argument("--host", default="64GiB")
    parser.add_argument("--one-process", action="store_true", help="for all solves: less to load")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="the table")
    return parser.parse_args()


def main() -> None:
    """Lines as they come, then the table, and a summary."""
    given = arguments()
    rows: list[dict[str, Any]] = []
    if given.json and given.json.exists():
        rows = json.loads(given.json.read_text("utf-8"))
    for _, file in graph_files([given.folder], given.only):
        for budget in given.budgets.split(","):
            answered(file, budget, given, rows)
    if rows:
        show("On a device with a host", headings(rows), [cells(r) for r in rows], given.markdown, 4)
        print(summary(rows))


if __name__ == "__main__":
    main()
