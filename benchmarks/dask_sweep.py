"""Sweep several graphs on one Dask cluster while a worker is killed: is anything solved twice?

    python benchmarks/dask_sweep.py [GRAPH …] [--points 15] [--seconds 2] [--processes 2]
                                    [--markdown FILE]

Every solve is noted in a file by the worker that makes it. After a fifth of them
one worker gets SIGKILL. Without GRAPH eight layered examples are swept.
"""

from __future__ import annotations

import argparse
import os
import signal
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from distributed import Client, LocalCluster
from tables import show

import schedule
from schedule.solvers import SOLVERS, Deadline, Incumbent, Problem, Proof

HEADINGS = ["graph", "nodes", "budgets", "with a schedule", "optimal", "solved", "solved twice"]
#: Of all budgets, the share that is solved when the worker is killed.
SHARE = 0.2


class Noted:
    """The default solver, which notes what it is asked."""

    name, summary = "auto", "notes what it is asked"

    def __init__(self, log: Path) -> None:
        self.log = str(log)

    def supports(self, graph: schedule.Graph) -> str | None:
        return SOLVERS["auto"].supports(graph)

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        proof = SOLVERS["auto"].improve(problem, incumbent, deadline)
        with open(self.log, "a", encoding="utf-8") as file:
            file.write(f"{problem.graph.digest} {problem.budget}\n")
        return proof


def kill(client: Client, log: Path, solves: int) -> None:
    """Kill one worker process after so many solves."""
    victim = next(iter(client.run(os.getpid).values()))
    while log.read_text("utf-8").count("\n") < solves:
        time.sleep(0.02)
    os.kill(victim, signal.SIGKILL)


def main() -> None:
    """Print the table, and write it as markdown for the docs."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("graphs", nargs="*", metavar="GRAPH")
    parser.add_argument("--points", type=int, default=15, metavar="N")
    parser.add_argument("--seconds", type=float, default=2.0, help="for each solve")
    parser.add_argument("--processes", type=int, default=2, metavar="N")
    parser.add_argument("--markdown", type=Path, metavar="FILE")
    given = parser.parse_args()
    graphs = [schedule.read(name) for name in given.graphs]
    graphs = graphs or [schedule.example("layered", nodes=60, seed=seed) for seed in range(1, 9)]
    with (
        tempfile.TemporaryDirectory() as folder,
        LocalCluster(given.processes, threads_per_worker=1, dashboard_address=":0") as cluster,
        Client(cluster) as client,
        ThreadPoolExecutor(len(graphs)) as threads,
    ):
        log = Path(folder) / "log.txt"
        log.touch()
        solves = int(SHARE * len(graphs) * given.points)
        threading.Thread(target=kill, args=(client, log, solves), daemon=True).start()
        executor, solver, started = client.get_executor(), Noted(log), time.perf_counter()

        def swept(graph: schedule.Graph) -> schedule.Sweep:
            return schedule.sweep(
                graph,
                points=given.points,
                solver=solver,
                time_limit=given.seconds,
                executor=executor,
                workers=1,
            )

        curves = list(threads.map(swept, graphs))
        seconds = time.perf_counter() - started
        noted = Counter(line.split()[0] for line in set(log.read_text("utf-8").splitlines()))
        made = Counter(line.split()[0] for line in log.read_text("utf-8").splitlines())
    rows = [
        [
            graph.name,
            str(len(graph)),
            str(len(curve.points)),
            str(len(curve.planned)),
            str(sum(point.status is schedule.Status.OPTIMAL for point in curve.points)),
            str(curve.solved),
            str(made[graph.digest] - noted[graph.digest]),
        ]
        for graph, curve in zip(graphs, curves, strict=True)
    ]
    show(f"a worker killed after {solves} solves, {seconds:.1f} s", HEADINGS, rows, given.markdown)


if __name__ == "__main__":
    main()
