"""Many small solves, as a compiler pass asks for them: how long one call takes.

    python benchmarks/small.py [--against ../before] [--sizes 20,100,300] [--families mlp,resnet]
        [--graphs N] [--gap G] [--seconds S] [--work W] [--tries N] [--table FILE.md]
    python benchmarks/small.py --quick [--processor-time] [--against ../before] [...]

Graphs of about 20, 100 and 300 nodes at 60 % of their peak, each new to the process that
solves it, which is warm: its compiled code is loaded. For each kind of graph and each
checkout a process of its own, in turn, so that noise hits both alike; of some tries the one
of least median counts. A solve may take S seconds, by default one, and stops at a gap of G,
by default 0.01; with W it may do so much work, too, which is the same on every machine.
Shown are the median and the 95th percentile of one call in milliseconds,
called one after the other and from eight threads at once; the mean overhead of what both
found, and how many of the graphs have a schedule, how many a proof that there is none; and
what is left behind when all calls have returned: threads, and other processes.

With --quick, on the kinds that use up the time, `auto` beside the quick solvers, given the
same seconds: the best of them on each graph. With --processor-time these are the processor's,
of which `auto`, with its two threads, gets two for one: others may be at work on the machine.
"""

from __future__ import annotations

import argparse
import random
import statistics
import sys
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from pathlib import Path

from checkouts import checkouts, parser_of, printed
from clocks import processor_time
from tables import show

import schedule
from schedule import Graph, GraphBuilder, gradient

THREADS = 8
#: The solvers that are there to be quick.
QUICK = ("greedy", "dtr", "recompute_all", "lp_rounding")
#: Blocks, levels and layers for about 20, 100 and 300 nodes.
BLOCKS = {20: 1, 100: 6, 300: 20}
LEVELS = {20: 1, 100: 4, 300: 8}
LAYERS = {20: 1, 100: 3, 300: 9}
NET = {20: 8, 100: 36, 300: 80}


def uneven_chain(nodes: int, seed: int) -> Graph:
    """A training chain of steps that all differ, another one for each seed."""
    rng = random.Random(seed)
    g = GraphBuilder("uneven chain")
    here = None
    for layer in range(nodes // 2):
        size, cost = rng.randint(1, 1000), rng.randint(1, 1000)
        here = g.node(f"f{layer}", here or (), memory=size, compute=cost)
    return gradient(g.build(), keep=())


def no_trivial_one(make: Callable[[int], Graph], k: int) -> Graph:
    """The first of some random graphs whose largest node alone leaves the question open."""
    for seed in range(k + 1, k + 10_000, 100):
        graph = make(seed)
        if schedule.memory_floor(graph).memory <= schedule.parse_budget("60%", graph):
            return graph
    raise AssertionError("none of a hundred graphs has a question to ask")


def example(name: str, **sizes: int) -> Graph:
    """One of the package's examples."""
    return schedule.example(name, **sizes)


#: Kinds of graphs, by about how many nodes and by a number that makes each another one.
FAMILIES: dict[str, Callable[[int, int], Graph]] = {
    "chain": lambda n, k: example("chain", layers=n // 2 - 1 + k),
    "uneven chain": lambda n, k: no_trivial_one(lambda seed: uneven_chain(n, seed), k),
    "mlp": lambda n, k: example("mlp", layers=n // 4, width=256 + 64 * k, batch=8192),
    "resnet": lambda n, k: example("resnet", blocks=BLOCKS[n], channels=16 + 4 * k, batch=256),
    "unet": lambda n, k: example(
        "unet", depth=LEVELS[n], channels=8 + 4 * k, size=512 if n > 100 else 64, batch=64
    ),
    "transformer": lambda n, k: example("transformer", layers=LAYERS[n], batch=32 + 8 * k),
    "random net": lambda n, k: no_trivial_one(
        lambda seed: gradient(example("layered", nodes=NET[n], seed=seed)), k
    ),
    "random DAG": lambda n, k: no_trivial_one(
        lambda seed: example("layered", nodes=n, seed=seed), k
    ),
}
#: The kinds that a second isn't enough for.
HARD = ("random net", "random DAG")


def one_call(graph: Graph, solver: str, seconds: float, gap: float, work: str) -> tuple[float, str]:
    """Milliseconds of a call, and what it found: a share of overhead, `no`, or nothing."""
    started = time.perf_counter()
    more = {"work_limit": float(work)} if work else {}  # which earlier checkouts don't know
    plan = schedule.solve(graph, "60%", solver, time_limit=seconds, gap=gap, **more)
    taken = 1000 * (time.perf_counter() - started)
    impossible = plan.status is schedule.Status.INFEASIBLE
    return taken, "no" if impossible else str(plan.overhead)


def children() -> int:
    """Processes that this one has started and that still run; Linux only."""
    lists = Path("/proc/self/task").glob("*/children")
    return sum(len(each.read_text().split()) for each in lists)


def child(
    family: str,
    size: int,
    graphs: int,
    seconds: float,
    gap: float,
    work: str,
    solvers: str,
    clock: str,
) -> None:
    """What a process prints: of each call its way, number, milliseconds and answer."""
    schedule.warm()
    make = FAMILIES[family]
    schedule.solve(make(size, graphs), "60%", time_limit=seconds, gap=gap)
    first = threading.active_count()
    nodes = 0
    for k in range(graphs):
        for solver in solvers.split(","):
            graph = make(size, k)
            nodes = max(nodes, len(graph))
            by_processor = processor_time(2 if solver == "auto" else 1)
            with by_processor if clock == "processor" else nullcontext():
                print(solver, k, *one_call(graph, solver, seconds, gap, work))
    if solvers == "auto":
        with ThreadPoolExecutor(THREADS) as pool:
            made = [make(size, k) for k in range(graphs)]
            found = pool.map(lambda graph: one_call(graph, "auto", seconds, gap, work), made)
            for k, (taken, answer) in enumerate(found):
                print("threads", k, taken, answer)
    print("left", threading.active_count() - first, children(), nodes)


_CHILD = """
import sys
sys.path.append(sys.argv[1])
import small
small.child(
    sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), float(sys.argv[5]), float(sys.argv[6]),
    sys.argv[7], sys.argv[8], sys.argv[9],
)
"""


class Measured:
    """What one process printed.

    Attributes
    ----------
    calls
        By way (a solver, or `threads`): milliseconds and answer of each call.
    left
        Threads and processes left behind.
    nodes
        Of the largest graph.
    """

    def __init__(self, words: Sequence[str]) -> None:
        self.calls: dict[str, list[tuple[float, str]]] = {}
        rows = [words[at : at + 4] for at in range(0, len(words), 4)]
        for way, _, taken, answer in rows[:-1]:
            self.calls.setdefault(way, []).append((float(taken), answer))
        _, threads, processes, nodes = rows[-1]
        self.left, self.nodes = f"{threads} + {processes}", int(nodes)

    def median(self, way: str) -> float:
        """Of one call, in milliseconds."""
        return statistics.median(taken for taken, _ in self.calls[way])

    def latest(self, way: str) -> float:
        """The 95th percentile of one call, in milliseconds."""
        times = sorted(taken for taken, _ in self.calls[way])
        return times[-(-95 * len(times) // 100) - 1]

    def answers(self, way: str) -> list[str]:
        """What each call found."""
        return [answer for _, answer in self.calls[way]]

    def overheads(self, way: str) -> dict[int, float]:
        """The share of overhead of each graph that has a schedule."""
        found = enumerate(self.answers(way))
        return {k: float(each) for k, each in found if each not in ("no", "None")}


def measured(options: argparse.Namespace, checkout: Path, family: str, size: int) -> Measured:
    """The try of least median."""
    here = str(Path(__file__).resolve().parent)
    solvers = ",".join(("auto", *QUICK)) if options.quick else "auto"
    limits = [str(each) for each in (options.graphs, options.seconds, options.gap, options.work)]
    clock = "processor" if options.quick and options.processor_time else "wall"
    tries = [
        Measured(printed(checkout, _CHILD, here, family, str(size), *limits, solvers, clock))
        for _ in range(options.tries)
    ]
    return min(tries, key=lambda each: each.median("auto"))


def figures(found: Measured, ways: Sequence[str]) -> list[str]:
    """Median and 95th percentile."""
    return [f"{found.median(way):.1f} / {found.latest(way):.1f}" for way in ways]


def compared(measurements: Sequence[Measured]) -> list[str]:
    """The mean overhead of the graphs that all found a schedule of, and what each decided."""
    known = [each.overheads("auto") for each in measurements]
    common = set.intersection(*map(set, known))
    row = []
    for each, overheads in zip(measurements, known, strict=True):
        mean = f"{100 * statistics.mean(overheads[k] for k in common):.2f}" if common else ""
        row += [mean, f"{len(overheads)} + {each.answers('auto').count('no')}"]
    return row


def quickly(found: Measured) -> list[str]:
    """On how many graphs `auto` is worse than the best quick solver, and by how many points."""
    own = found.overheads("auto")
    best: dict[int, float] = {}
    for solver in QUICK:
        for k, overhead in found.overheads(solver).items():
            best[k] = min(best.get(k, overhead), overhead)
    lost = [k for k in best if k not in own]
    worse = [100 * (own[k] - best[k]) for k in best if k in own]
    return [
        str(len(own)),
        str(len(best)),
        str(len(lost)),
        f"{statistics.median(worse):.2f}" if worse else "",
        f"{max(worse):.2f}" if worse else "",
    ]


def main() -> None:
    """A row for each size and kind of graph."""
    parser = parser_of(__doc__, "least median")
    parser.set_defaults(tries=1)
    parser.add_argument("--sizes", default="20,100,300")
    parser.add_argument("--families", default=None)
    parser.add_argument("--graphs", type=int, default=20, help="of each size and kind")
    parser.add_argument("--gap", type=float, default=0.01)
    parser.add_argument("--seconds", type=float, default=1.0)
    parser.add_argument("--work", default="", help="a work limit, beside the seconds")
    parser.add_argument("--quick", action="store_true", help="auto beside the quick solvers")
    parser.add_argument("--table", type=Path, help="a file for the table, in markdown")
    parser.add_argument("--processor-time", action="store_true", help="with --quick")
    options = parser.parse_args()
    places = checkouts(options)
    families = options.families or ",".join(HARD if options.quick else FAMILIES)
    ways = ("auto", "threads")
    rows = []
    for size in map(int, options.sizes.split(",")):
        for family in families.split(","):
            found = [measured(options, checkout, family, size) for checkout in places]
            row = [str(size), family, str(found[0].nodes)]
            if options.quick:
                row += [figure for each in found for figure in quickly(each)]
            else:
                row += [figure for each in found for figure in figures(each, ways)]
                row += compared(found)
                row += [each.left for each in found]
            print("  ".join(row), file=sys.stderr, flush=True)
            rows.append(row)
    names = [checkout.name for checkout in places] if len(places) > 1 else [""]
    if options.quick:
        heads = ("auto's schedules", "theirs", "only theirs", "auto is worse by: median", "most")
        columns = [f"{name} {head}".strip() for name in names for head in heads]
    else:
        columns = [f"{name} {way}, ms".strip() for name in names for way in ("alone", "8 threads")]
        columns += [
            f"{name} {head}".strip()
            for name in names
            for head in ("overhead %", "schedules + proofs of none")
        ]
        columns += [f"{name} left: threads + processes".strip() for name in names]
    title = f"60 %, time_limit={options.seconds:g}, gap={options.gap:g}: median / 95th percentile"
    show(title, ["size", "kind", "nodes", *columns], rows, options.table, left=2)


if __name__ == "__main__":
    main()
