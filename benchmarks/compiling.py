"""Processor time of compiling each part on a fresh machine, of one checkout beside another.

`python benchmarks/compiling.py --against ../before` compiles the parts of both in turn, each
in a process of its own with an empty cache: noise hits both alike.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

#: Prints the parts; or, given one, how long compiling it takes, beside what it imports.
_CHILD = """
import importlib, pkgutil, sys, time
from schedule import example, solvers
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.kit.loading import Loading

if len(sys.argv) == 1:
    for found in pkgutil.walk_packages(solvers.__path__, "schedule.solvers."):
        if found.ispkg:
            for name, value in vars(importlib.import_module(found.name)).items():
                if isinstance(value, Loading):
                    print(f"{found.name}:{name}")
else:
    module, _, name = sys.argv[1].partition(":")
    loading = getattr(importlib.import_module(module), name)
    import numba.core.registry, numba.np.ufunc, highspy
    incumbent = Incumbent(Problem(example("chain"), 5))
    started = time.process_time()
    loading.wait(incumbent, Deadline())
    print(time.process_time() - started)
"""


def run(checkout: Path, cache: str, *arguments: str) -> str:
    """What the child prints, run on a checkout's code."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("NUMBA_")}
    environment |= {"PYTHONPATH": str(checkout), "NUMBA_CACHE_DIR": cache}
    return subprocess.run(
        [sys.executable, "-c", _CHILD, *arguments],
        env=environment,
        cwd=cache,
        check=True,
        capture_output=True,
        text=True,
    ).stdout


def main() -> None:
    """A line for each part: the least of some tries, in seconds."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--against", type=Path, help="another checkout")
    parser.add_argument("--tries", type=int, default=2, help="of which the least counts")
    options = parser.parse_args()
    checkouts = [Path(__file__).resolve().parents[1]]
    if options.against:
        checkouts.append(options.against.resolve())
    with tempfile.TemporaryDirectory() as cache:
        parts = run(checkouts[0], cache).split()
    totals = [0.0] * len(checkouts)
    print(f"{'part':44s}", *(f"{each.name:>12s}" for each in checkouts))
    for part in parts:
        least = [float("inf")] * len(checkouts)
        for _ in range(options.tries):
            for at, checkout in enumerate(checkouts):
                with tempfile.TemporaryDirectory() as cache:
                    least[at] = min(least[at], float(run(checkout, cache, part)))
        totals = [total + seconds for total, seconds in zip(totals, least, strict=True)]
        print(f"{part:44s}", *(f"{seconds:10.1f} s" for seconds in least))
    print(f"{'all':44s}", *(f"{seconds:10.1f} s" for seconds in totals))


if __name__ == "__main__":
    main()
