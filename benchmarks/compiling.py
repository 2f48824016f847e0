"""Processor time of compiling each part on a fresh machine, of one checkout beside another.

`python benchmarks/compiling.py --against ../before` compiles the parts of both in turn, each
in a process of its own with an empty cache: noise hits both alike.
"""

from __future__ import annotations

import tempfile

from checkouts import checkouts, parser_of, printed

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


def main() -> None:
    """A line for each part: the least of some tries, in seconds."""
    options = parser_of(__doc__, "least").parse_args()
    compared = checkouts(options)
    totals = [0.0] * len(compared)
    print(f"{'part':44s}", *(f"{each.name:>12s}" for each in compared))
    for part in printed(compared[0], _CHILD):
        least = [float("inf")] * len(compared)
        for _ in range(options.tries):
            for at, checkout in enumerate(compared):
                with tempfile.TemporaryDirectory() as cache:
                    (seconds,) = printed(checkout, _CHILD, part, cache=cache)
                    least[at] = min(least[at], float(seconds))
        totals = [total + seconds for total, seconds in zip(totals, least, strict=True)]
        print(f"{part:44s}", *(f"{seconds:10.1f} s" for seconds in least))
    print(f"{'all':44s}", *(f"{seconds:10.1f} s" for seconds in totals))


if __name__ == "__main__":
    main()
