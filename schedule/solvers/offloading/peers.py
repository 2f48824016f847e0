"""What others do: one rule, or torchtitan's policy. Nothing is searched, and nothing is bounded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from schedule.graph import Graph
from schedule.lowering import needed_in_order
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.offloading.attempt import Attempt, program_of
from schedule.solvers.offloading.choosing import LARGEST_FIRST
from schedule.solvers.offloading.gaps import Runs
from schedule.solvers.offloading.h_revolve import HRevolve
from schedule.solvers.offloading.poet import Poet
from schedule.solvers.offloading.torchtitan import (
    OFFLOAD,
    RECOMPUTE,
    Inner,
    by_program,
    by_rank,
    parts_of,
    runs_with,
    saved_by,
    ways_of,
)


@dataclass(frozen=True, slots=True)
class OffloadAll:
    """Spend on the host all that the forward pass keeps, as far as there is room.

    That is what hooks for saved tensors do: whatever is idle when the backward pass
    begins is copied to the host when it has been written, and fetched for its reader.
    Nothing is recomputed. Without a backward pass it is all that is ever idle. O(n log n).
    """

    counts_work: ClassVar[bool] = True
    knows_levels: bool = True
    name: str = "offload_all"
    summary: str = "copies all that the forward pass keeps to the host, and recomputes nothing"

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """One schedule."""
        attempt = Attempt(problem, incumbent)
        runs = program_of(problem.graph)
        boundary = runs.boundary
        gaps = [gap for gap in runs.gaps() if gap.last < boundary <= gap.next]
        attempt.offer(runs, attempt.choice(runs, gaps or runs.gaps()).everything())
        return Proof()


@dataclass(frozen=True, slots=True)
class OffloadLargest:
    """Spend the largest gaps on the host, until the program fits.

    Where memory is worst, the largest storage that is idle there goes; nothing is
    recomputed. O(n²) in the worst case.
    """

    counts_work: ClassVar[bool] = True
    knows_levels: bool = True
    name: str = "offload_largest"
    summary: str = "copies the largest storages to the host until it fits, and recomputes nothing"

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """One schedule, where that fits."""
        attempt = Attempt(problem, incumbent)
        runs = program_of(problem.graph)
        chosen = attempt.choice(runs, runs.gaps()).by(LARGEST_FIRST)
        if chosen is not None:
            attempt.offer(runs, chosen)
        return Proof()


@dataclass(frozen=True, slots=True)
class Torchtitan:
    """Keep, recompute or offload each tensor saved for the backward pass, as torchtitan does.

    A linear program divides what each block of the forward pass saves, such that memory fits
    at every block of the backward pass, and all copies are hidden; then each block's tensors
    are ranked, or chosen by an integer program. Blocks are of about the same size, as a graph
    has no layers. Where the peak of what comes of it exceeds the budget, that is asked again
    with a lower one.

    Parameters
    ----------
    inner
        How a block's tensors are chosen: `torchtitan.by_rank` or `torchtitan.by_program`.
    name, summary
        Of the two.
    blocks, attempts, step
        The number of blocks, how often it is asked, and by what share of the budget lower
        each time.
    """

    inner: Inner
    name: str
    summary: str
    blocks: int = 24
    attempts: int = 25
    step: float = 0.02
    counts_work: ClassVar[bool] = True
    knows_levels: bool = True

    def supports(self, graph: Graph) -> str | None:
        """Training graphs."""
        return None if graph.layout.backward.any() else "it has no backward pass"

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """The first plan that fits."""
        if incumbent.offer(needed_in_order(problem.graph)):
            return Proof()
        assert problem.budget is not None, "without a budget the program fits as it is"
        graph, attempt = problem.graph, Attempt(problem, incumbent)
        plain = program_of(graph)
        saved = saved_by(plain, self.blocks)
        for lower in range(self.attempts if saved is not None else 0):
            if deadline.passed or saved is None:
                break
            budget = int(problem.budget * (1 - self.step * lower))
            parts = parts_of(saved, budget, attempt.level, deadline)
            if parts is None:
                break
            ways = ways_of(saved, parts, self.inner, deadline)
            rerun = np.zeros(graph.layout.n_tensors, dtype=bool)
            rerun[saved.storages[ways == RECOMPUTE]] = True
            runs = Runs(graph, runs_with(graph, plain, rerun))
            away = set(saved.storages[ways == OFFLOAD].tolist())
            boundary = runs.boundary
            gaps = [gap for gap in runs.gaps() if gap.last < boundary <= gap.next]
            gaps = [gap for gap in gaps if gap.storage in away]
            if np.isfinite(attempt.offer(runs, attempt.choice(runs, gaps).everything())):
                break
        return Proof()


#: In the order in which tables list them.
PEERS = (
    OffloadLargest(),
    OffloadAll(),
    Torchtitan(by_rank, "torchtitan_greedy", "torchtitan's policy, tensors by rank"),
    Torchtitan(by_program, "torchtitan_ilp", "torchtitan's policy, tensors by programs"),
    HRevolve(),
    Poet(),
)
