"""What a time limit holds on large graphs: wall and processor time beyond reading the file.

    python benchmarks/time_limits.py [GRAPH …] [--budget B] [--solve S] [--info S]
    python benchmarks/time_limits.py --stress N [GRAPH …] [--seconds S]

Without a GRAPH: a transformer and a layered graph of about 100,000 nodes, and a uniform
chain near its floor, which would take 12.5 million runs. Each command has a process of
its own; "reading" is `schedule info --time-limit 0`, in a process that has it all to do
again. Compiled code is loaded once before, so that no row has to wait for a compiler.

With --stress, N calls of `schedule.solve` in one process, whose limits are about to end
something: drawn from 0.3 to 3 seconds, with graph, budget, order, solver and workers, and every
third of them with Ctrl-C in the place of the limit. Shown is how long after that each
returned: the latest for each solver, and the five latest of all. It ends early after S seconds.
"""

from __future__ import annotations

import _thread
import argparse
import contextlib
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from tables import show

import schedule
from schedule.frontends.files import write

EXAMPLES = {
    "transformer": ({"layers": 2940}, "70%"),
    "layered": ({"nodes": 100_000}, "70%"),
    "chain": ({"layers": 5000}, "3"),
}
#: Solvers with C++ or long products below them, most often the one that everybody uses.
SOLVERS = ("auto", "auto", "auto", "ilp", "ilp", "lp_rounding", "intervals")
#: Transformers of this many layers are asked beside the files: some thousand nodes.
LAYERS = (60, 90, 118, 150)


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


def overrun(solve: Callable[..., schedule.Result], seconds: float, ctrl_c: bool) -> float:
    """How many seconds after its limit, or Ctrl-C, a solve returned."""
    pressed = threading.Timer(seconds, _thread.interrupt_main)
    started = time.perf_counter()
    if ctrl_c:
        pressed.start()
    with contextlib.suppress(KeyboardInterrupt):  # it had just returned
        solve(time_limit=3600.0 if ctrl_c else seconds)
    took = time.perf_counter() - started
    pressed.cancel()
    return took - seconds


def stress(count: int, seconds: float, files: Sequence[str]) -> list[tuple[float, list[str]]]:
    """Overruns of so many solves, and what each was."""
    signal.signal(signal.SIGINT, signal.default_int_handler)  # not so in a shell's background
    chance = random.Random(0)
    graphs = {Path(file).name.split(".")[0]: schedule.read(file) for file in files}
    for layers in LAYERS:
        name = f"transformer of {layers} layers"
        graphs[name] = schedule.example("transformer", layers=layers)
    found: list[tuple[float, list[str]]] = []
    until = time.monotonic() + seconds
    while len(found) < count and time.monotonic() < until:
        name, solver = chance.choice(list(graphs)), chance.choice(SOLVERS)
        budget, order = f"{chance.choice((50, 60, 70, 80, 90))}%", chance.choice(("free", "fixed"))
        workers, limit = chance.choice((1, 2)), chance.uniform(0.3, 3.0)

        solve = partial(schedule.solve, graphs[name], budget, solver, order=order, workers=workers)
        ctrl_c = len(found) % 3 == 2
        late = overrun(solve, limit, ctrl_c)
        end = "Ctrl-C" if ctrl_c else "limit"
        found.append((late, [solver, name, budget, order, str(workers), f"{limit:.2f} {end}"]))
    return found


def show_stress(found: list[tuple[float, list[str]]]) -> None:
    """The latest for each solver, and of all."""
    rows = []
    for solver in dict.fromkeys(SOLVERS):
        late = sorted(seconds for seconds, row in found if row[0] == solver and seconds > 0)
        if late:
            figures = late[len(late) // 2], late[-1]
            rows.append([solver, str(len(late)), *(f"{figure:.2f}" for figure in figures)])
    headings = ["solver", "ended by a limit", "median s", "latest s"]
    show(f"After the limit, of {len(found)} solves", headings, rows, left=1)
    latest = sorted(found, key=lambda each: -each[0])[:5]
    headings = ["solver", "graph", "budget", "order", "workers", "after", "late s"]
    show("The latest", headings, [[*row, f"{late:.2f}"] for late, row in latest], left=6)


def main() -> int:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("graphs", nargs="*")
    parser.add_argument("--budget", default="70%")
    parser.add_argument("--solve", default="20")
    parser.add_argument("--info", default="3")
    parser.add_argument("--stress", type=int, default=0, metavar="N")
    parser.add_argument("--seconds", type=float, default=600.0)
    options = parser.parse_args()
    if options.stress:
        schedule.solve(schedule.example("transformer"), "60%", time_limit=60)
        show_stress(stress(options.stress, options.seconds, options.graphs))
        return 0
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
