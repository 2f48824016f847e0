"""What a solver is: it gets a `Problem` and answers with a `Proposal`.

A solver proposes; `schedule.planner` disposes: it replays every proposal on
the memory model and derives all figures and the status from that.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Protocol

from schedule.bounds import TOLERANCE
from schedule.graph import Graph
from schedule.layout import Ints
from schedule.memory import Trace, simulate
from schedule.result import Order

#: Plans of more runs are not written: they would take more than three gigabytes to check.
MOST_RUNS = 20_000_000
#: Runs that are written, freed between and checked in a second, at least.
_RUNS_A_SECOND = 1_000_000


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a solve stands: what a progress callback gets.

    `best` and `bound` are computes (None: none yet); `seconds` have passed of
    `time_limit`; `note` says what keeps the solver busy, where that isn't solving.
    """

    solver: str
    seconds: float
    time_limit: float
    best: int | float | None
    bound: int | float | None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Proposal:
    """A solver's answer, to be checked.

    Attributes
    ----------
    codes
        Steps as codes (see `schedule.layout`); None: nothing found. They have
        to be valid; where their peak exceeds the budget, that peak is reported
        and nothing else.
    bound
        A proved lower bound on the compute of every schedule that fits the
        budget, in the order that the problem asks for; None: none beyond
        every node once.
    needed
        Set where it is proved that no schedule fits: the least budget that the
        proof leaves open. `node` is the node that needs it.
    runs
        Set where what fits is known, but too long to be written: its runs. `codes`
        may be a shorter schedule, which doesn't fit.
    """

    codes: Ints | None = None
    bound: float | None = None
    needed: int | None = None
    node: str | None = None
    runs: int | None = None


def _nothing(_: object) -> None:
    """Take an offer or a note and do nothing with it."""


def _never() -> bool:
    """Say that nobody stops the solve."""
    return False


@dataclass(frozen=True)
class Problem:
    """What is to be solved, and within which limits.

    Attributes
    ----------
    graph
        The graph.
    budget
        In the graph's unit; None: no limit.
    order
        `free`, or `fixed`: first runs in the graph's order. It is also the
        order in which a proposed bound has to hold.
    time_limit, started
        Seconds, and the monotonic clock at the start.
    gap
        Stop when best and bound are this close, as a share of every node once.
    seed, workers
        Seed of every random choice; threads to use.
    offer
        Call it with any `Proposal` that is better than the last one: it is
        kept when the solve is interrupted, and shown as progress.
    say
        Call it with what keeps the solver busy where that isn't solving; with an
        empty text when that is over.
    stopped
        Whether to end before the time limit: then no seconds are left.
    known
        Codes of a schedule to begin with, valid and in the order that is asked
        for; None: there is none.
    """

    graph: Graph
    budget: int | None
    order: Order = "free"
    time_limit: float = 60.0
    gap: float = 0.0
    seed: int = 0
    workers: int = 1
    started: float = field(default_factory=time.monotonic)
    offer: Callable[[Proposal], None] = _nothing
    say: Callable[[str], None] = _nothing
    stopped: Callable[[], bool] = _never
    known: Ints | None = None

    @property
    def seconds_left(self) -> float:
        """Seconds until the time limit, at least 0."""
        if self.stopped():
            return 0.0
        return max(0.0, self.started + self.time_limit - time.monotonic())

    @property
    def most_runs(self) -> int:
        """The longest plan that there is time and memory to write, in runs."""
        return min(MOST_RUNS, int(_RUNS_A_SECOND * self.seconds_left))

    def enough(self, best: int | float, bound: int | float) -> bool:
        """Whether a schedule of compute `best` is as close to a bound as it was asked to be."""
        if math.isinf(best):
            return False
        return best - bound <= max(self.gap, TOLERANCE) * float(self.graph.compute)

    def fits(self, peak: int) -> bool:
        """Whether a schedule with this peak is within the budget."""
        return self.budget is None or peak <= self.budget


class Best:
    """The best schedule that fits, as far as this solve knows; for several threads.

    Attributes
    ----------
    trace
        The best schedule; None: there is none.
    nearest
        Of those that don't fit, the one of least peak; None: none was offered.
    """

    def __init__(self, problem: Problem) -> None:
        self._problem = problem
        self._lock = threading.Lock()
        known = None if problem.known is None else simulate(problem.graph, problem.known)
        self.trace = known if known is not None and problem.fits(known.peak) else None
        self.nearest: Trace | None = None

    @property
    def compute(self) -> int | float:
        """Its compute; infinite where there is none."""
        trace = self.trace
        return math.inf if trace is None else trace.compute

    def take(self, trace: Trace) -> bool:
        """Offer a schedule; True where it fits."""
        self._problem.offer(Proposal(trace.codes))
        fits = self._problem.fits(trace.peak)
        with self._lock:
            if fits and trace.compute < self.compute:
                self.trace = trace
            elif not fits and (self.nearest is None or trace.peak < self.nearest.peak):
                self.nearest = trace
        return fits


class Solver(Protocol):
    """One way to find schedules.

    A solver is stateless: `propose` may be called from several threads, and
    gives the same proposal for the same problem and work limit.
    """

    @property
    def name(self) -> str:
        """What it is called in tables, files and on the command line."""

    @property
    def summary(self) -> str:
        """One line: what it does, and its source."""

    def supports(self, graph: Graph) -> str | None:
        """None, or the reason why this graph can't be solved by it."""

    def propose(self, problem: Problem) -> Proposal:
        """The best schedule it finds, and what it can prove."""
