"""What a time limit holds on large graphs: wall and processor time beyond reading the file.

    python benchmarks/time_limits.py [GRAPH …] [--budget B] [--solve S] [--info S]

Without a GRAPH: a transformer and a layered graph of about 100,000 nodes, and a uniform
chain near its floor, which would take 12.5 million runs. Each command has a process of
its own; "reading" is `schedule info --time-limit 0`, in a process that has it all to do
again. Compiled code is loaded once before, so that no row has to wait for a compiler.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tables import show

import schedule
from schedule.frontends.files import write

EXAMPLES = {
    "transformer": ({"layers": 2940}, "70%"),
    "layered": ({"nodes": 100_000}, "70%"),
    "chain": ({"layers": 5000}, "3"),
}


def measure(*command: str) -> tuple[float, float, float]:
    """Wall and processor seconds of a command, and its largest memory in GiB."""
    started = time.perf_counter()
    child = subprocess.Popen(
        [sys.executable, "-m", "schedule", *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    _, _, used = os.wait4(child.pid, 0)
    child.returncode = 0  # it has been waited for
    wall = time.perf_counter() - started
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 2**20


def rows(name: str, file: str, budget: str, limits: dict[str, str]) -> list[list[str]]:
    """What each command takes on one graph."""
    reading = measure("info", file, "--time-limit", "0")
    found = [[name, "reading", "", *(f"{figure:.1f}" for figure in reading)]]
    for command, limit in limits.items():
        options = ("--budget", budget) if command == "solve" else ()
        wall, cpu, memory = measure(command, file, *options, "--time-limit", limit)
        beyond = wall - reading[0], cpu - reading[1]
        found.append([name, command, limit, *(f"{figure:.1f}" for figure in (*beyond, memory))])
    return found


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("graphs", nargs="*")
    parser.add_argument("--budget", default="70%")
    parser.add_argument("--solve", default="20")
    parser.add_argument("--info", default="3")
    options = parser.parse_args()
    limits = {"info": options.info, "solve": options.solve}
    found: list[list[str]] = []
    with tempfile.TemporaryDirectory() as folder:
        files = [(Path(graph).stem, graph, options.budget) for graph in options.graphs]
        if not files:
            for name, (sizes, budget) in EXAMPLES.items():
                files.append((name, f"{folder}/{name}.json", budget))
                write(schedule.example(name, **sizes), files[-1][1])
        schedule.solve(schedule.example("transformer"), "60%", time_limit=60)
        for name, file, budget in files:
            found += rows(name, file, budget, limits)
    headings = ["graph", "command", "limit", "wall s", "processor s", "GiB"]
    show("Beyond reading the file", headings, found, left=3)
    return 0


if __name__ == "__main__":
    sys.exit(main())
