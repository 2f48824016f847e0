"""Processor time of compiling everything on a fresh machine, of one checkout beside another.

`python benchmarks/compiling.py --against ../before` compiles all parts of both in turn, in the
order in which they are of use, as `schedule warm` does: each checkout in a process of its own
with an empty cache, so that noise hits both alike. What Numba needs to begin is in the first.
"""

from __future__ import annotations

import tempfile

from checkouts import checkouts, parser_of, printed

#: Prints each part and how long compiling it takes, beside what it imports.
_CHILD = """
import time
import numba.core.registry, numba.np.ufunc, highspy
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.warming import parts
from schedule import example

incumbent = Incumbent(Problem(example("chain"), 5))
for name, loading in sorted(parts().items(), key=lambda part: part[1].rank):
    started = time.process_time()
    loading.wait(incumbent, Deadline())
    print(name, time.process_time() - started)
"""


def main() -> None:
    """A line for each part: the least of some tries, in seconds; and for all together."""
    options = parser_of(__doc__, "least").parse_args()
    compared = checkouts(options)
    least: dict[str, list[float | None]] = {}
    for _ in range(options.tries):
        for at, checkout in enumerate(compared):
            with tempfile.TemporaryDirectory() as cache:
                words = printed(checkout, _CHILD, cache=cache)
            found = {name: float(seconds) for name, seconds in zip(words[::2], words[1::2])}
            for name, seconds in (found | {"all": sum(found.values())}).items():
                kept = least.setdefault(name, [None] * len(compared))
                before = kept[at]
                kept[at] = seconds if before is None else min(seconds, before)
    print(f"{'part':24s}", *(f"{each.name:>12s}" for each in compared))
    for name in [*(name for name in least if name != "all"), "all"]:
        print(f"{name:24s}", *("–".rjust(12) if s is None else f"{s:10.1f} s" for s in least[name]))


if __name__ == "__main__":
    main()
