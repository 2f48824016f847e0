"""Moves a second of `search`, and passes a second of `greedy`, of one checkout beside another.

    python benchmarks/moves.py --against ../before [GRAPH …]

Each is a process of its own on one thread, in turn, so that noise hits both alike; compiled
before it is measured. Without graphs, layered graphs of 250 and 1,000 nodes, at 70 % of the peak.
"""

from __future__ import annotations

from pathlib import Path

from checkouts import checkouts, parser_of, printed

#: Prints moves a second, passes a second, and the compute that the moves came to.
_CHILD = """
import sys, time
import numpy as np
import schedule
from schedule.lowering import in_order
from schedule.solvers.annealing.rounds import Annealing, AnnealingSettings
from schedule.solvers.contract import Deadline
from schedule.solvers.eviction.fitting import RULES, Fitting
from schedule.solvers.program.operations import operations_of

given = sys.argv[1]
graph = schedule.example("layered", nodes=int(given)) if given.isdigit() else schedule.read(given)
operations = operations_of(graph, "free")
budget = in_order(graph).peak * 7 // 10
start = np.arange(len(operations.nodes))


def annealing():
    own = budget - graph.layout.resident_memory
    return Annealing(operations, start, own, 0, AnnealingSettings())


annealing().load()
search = annealing()
started = time.process_time()
for _ in range(2):
    search.round(Deadline())
moves = search.moves / (time.process_time() - started)
program = np.arange(len(graph))
fitting = Fitting(graph, "free", Deadline())
fitting.fit(program, budget, RULES[0])
started, passes = time.process_time(), 0
while time.process_time() - started < 1:
    fitting.fit(program, budget, RULES[passes % len(RULES)])
    passes += 1
print(moves, passes / (time.process_time() - started), search.compute)
"""


def main() -> None:
    """A line for each graph and checkout: the most of some tries."""
    parser = parser_of(__doc__, "most")
    parser.add_argument("graphs", nargs="*", default=["250", "1000"])
    options = parser.parse_args()
    compared = checkouts(options)
    for given in options.graphs:
        graph = str(Path(given).resolve()) if Path(given).exists() else given
        tries = [
            [[float(each) for each in printed(checkout, _CHILD, graph)] for checkout in compared]
            for _ in range(options.tries)
        ]
        for checkout, found in zip(compared, zip(*tries, strict=True), strict=True):
            moves, passes, _ = map(max, zip(*found, strict=True))
            name = Path(given).name.removesuffix(".json.gz")
            print(
                f"{name:24s} {checkout.name:12s} {moves:12,.0f} moves/s {passes:10.1f} passes/s"
                f"   compute {found[0][2]:.6f}"
            )


if __name__ == "__main__":
    main()
