"""Arenas: minimalloc's challenging inputs, large ones, and schedules of graphs in files.

python benchmarks/addresses.py inputs FILE.csv… [--capacity B] [--time-limit S] [--seed N]
python benchmarks/addresses.py varied FILE.csv… [--capacity B] [--time-limit S] [--seed N]
python benchmarks/addresses.py schedules GRAPH… [--budgets 80%,60%,50%] [--solve S] [--time-limit S]
    [--seed N]
python benchmarks/addresses.py joint GRAPH… [--budgets 80%,60%,50%] [--solve S]
python benchmarks/addresses.py million [--buffers N] [--time-limit S]

With --processor-time, seconds are those of the processor: others may be at work on the machine.
"""

from __future__ import annotations

import argparse
import itertools
import resource
import statistics
import sys
import time
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
from clocks import processor_time
from tables import show

import schedule
from schedule.layout import Ints
from schedule.lifetimes import Lifetimes

_JOINT_HEAD = ["input", "overhead", "with addresses", "status", "seconds", "with addresses"]
_HEAD = ["input", "buffers", "load", "size", "above the bound", "status", "seconds", "found by"]


def row(name: str, arena: schedule.Arena) -> list[str]:
    """One line of a table."""
    return [
        name,
        str(len(arena.lifetimes)),
        str(arena.load),
        str(arena.least_size),
        f"{100 * arena.gap:.4f} %",
        str(arena.status),
        f"{arena.seconds:.2f}",
        arena.found_by,
    ]


def inputs(options: argparse.Namespace) -> Iterator[list[str]]:
    """Lifetimes from files."""
    for path in options.files:
        arena = schedule.place(
            schedule.read_lifetimes(path),
            capacity=options.capacity,
            time_limit=options.time_limit,
            seed=options.seed,
        )
        yield row(Path(path).name.partition(".")[0], arena)


def varied(options: argparse.Namespace) -> Iterator[list[str]]:
    """Lifetimes run backwards, halved, one after the other, with what is there (nearly) always."""
    given = [
        (Path(path).name.partition(".")[0], schedule.read_lifetimes(path)) for path in options.files
    ]
    for name, found, more in _variations(given):
        capacity = max(found.load, int(options.capacity or 0) + more)
        limit, seed = options.time_limit, options.seed
        yield row(name, schedule.place(found, capacity=capacity, time_limit=limit, seed=seed))


def _variations(given: list[tuple[str, Lifetimes]]) -> Iterator[tuple[str, Lifetimes, int]]:
    """Each with a name, and by how much its capacity is larger."""
    for name, found in given:
        lower, upper, size = found.columns
        yield f"{name}, backwards", _made(-upper, -lower, size), 0
        middle = (int(lower.min()) + int(upper.max())) // 2
        for half, begin, end in (
            ("first half", lower, np.minimum(upper, middle)),
            ("second half", np.maximum(lower, middle), upper),
        ):
            kept = begin < end
            yield f"{name}, {half}", _made(begin[kept], end[kept], size[kept]), 0
        yield f"{name}, with eight", *_bridged(found, 8)
    for (name, found), (other, after) in itertools.pairwise(given):
        shift = int(found.upper.max()) - int(after.lower.min())
        columns = [
            np.concatenate([first, second + by])
            for first, second, by in zip(found.columns, after.columns, (shift, shift, 0))
        ]
        both = _made(*columns)
        yield f"{name}, {other}", both, 0
        yield f"{name}, {other}, with four", *_bridged(both, 4)
        yield f"{name}, {other}, with four nearly", *_bridged(both, 4, nearly=True)


def _bridged(found: Lifetimes, count: int, nearly: bool = False) -> tuple[Lifetimes, int]:
    """With so many buffers that are there all the time, or nearly so, and what these take."""
    random, begin, end = np.random.default_rng(0), found.lower.min(), found.upper.max()
    size = 1024 * random.integers(1, 60, count)
    late, early = random.integers(0, (end - begin) // 20 if nearly else 1, (2, count))
    lower, upper = begin + late, end - early
    columns = (np.concatenate(pair) for pair in zip(found.columns, (lower, upper, size)))
    return _made(*columns), int(size.sum())


def _made(lower: Ints, upper: Ints, size: Ints) -> Lifetimes:
    return Lifetimes(tuple(map(str, range(len(size)))), lower, upper, size)


def schedules(options: argparse.Namespace) -> Iterator[list[str]]:
    """A schedule of each graph at each budget that has one; how many have no fragmentation."""
    arenas = []
    for path in options.files:
        graph = schedule.read(path)
        for budget in options.budgets.split(","):
            plan = schedule.solve(graph, budget, time_limit=options.solve)
            if plan.schedule is not None:
                limit, seed = options.time_limit, options.seed
                arenas.append(schedule.place(graph, plan, time_limit=limit, seed=seed))
                yield row(f"{Path(path).name.partition('.')[0]}, {budget}", arenas[-1])
    whole = sum(arena.size == arena.load for arena in arenas)
    median = statistics.median(arena.seconds for arena in arenas)
    print(f"size = load for {whole} of {len(arenas)}, median {median:.2f} s\n")


def joint(options: argparse.Namespace) -> Iterator[list[str]]:
    """Overhead with and without addresses, in the same time."""
    costs = []
    for path in options.files:
        graph = schedule.read(path)
        for budget in options.budgets.split(","):
            plan = schedule.solve(graph, budget, time_limit=options.solve)
            if plan.overhead is None:
                continue
            both = schedule.solve(graph, budget, time_limit=options.solve, addresses=True)
            name = f"{Path(path).name.partition('.')[0]}, {budget}"
            row = [name, f"{100 * plan.overhead:.3f} %", "–", str(both.status)]
            if both.overhead is not None and both.addresses is not None:
                costs.append(100 * (both.overhead - plan.overhead))
                row[2] = f"{100 * both.overhead:.3f} %"
            yield [*row, f"{plan.seconds:.2f}", f"{both.seconds:.2f}"]
    median = statistics.median(costs) if costs else float("nan")
    print(f"{len(costs)} with addresses, median {median:+.3f} points more overhead\n")


def million(options: argparse.Namespace) -> Iterator[list[str]]:
    """Buffers of all sizes and lengths, a thousand or so at once."""
    random, n = np.random.default_rng(0), options.buffers
    length = np.maximum(1, (10 ** random.uniform(0, 3.6, n)).astype(np.int64))
    lower = random.integers(0, n, n)
    size = (2 ** random.uniform(6, 24, n)).astype(np.int64) // 64 * 64
    names = tuple(map(str, range(n)))
    arena = schedule.place(
        Lifetimes(names, lower, lower + length, size), time_limit=options.time_limit
    )
    yield row(f"{n} random", arena)


def main() -> int:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["inputs", "varied", "schedules", "joint", "million"])
    parser.add_argument("files", nargs="*")
    parser.add_argument("--capacity")
    parser.add_argument("--budgets", default="80%,60%,50%")
    parser.add_argument("--solve", type=float, default=10.0)
    parser.add_argument("--buffers", type=int, default=1_000_000)
    parser.add_argument("--time-limit", type=float, default=10.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--processor-time", action="store_true")
    options = parser.parse_args()
    schedule.warm()
    started = time.monotonic()
    tables = {
        "inputs": inputs,
        "varied": varied,
        "schedules": schedules,
        "joint": joint,
        "million": million,
    }
    head = _JOINT_HEAD if options.what == "joint" else _HEAD
    with processor_time() if options.processor_time else nullcontext():
        show(options.what, head, list(tables[options.what](options)))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\n{time.monotonic() - started:.1f} s in all, {peak:.2f} GiB at most")
    return 0


if __name__ == "__main__":
    sys.exit(main())
