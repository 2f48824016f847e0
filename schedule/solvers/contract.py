"""What a solver is: it improves an incumbent until its deadline, and says what it proved.

    solver.improve(problem, incumbent, deadline) -> Proof

A `Problem` is the question. The `Incumbent` is the best schedule known so far,
and where a solver offers its own. The `Deadline` says when to stop, and the
`Proof` what no schedule can do. Nothing of this is believed: what judges a
solve (`schedule.planner`) replays every schedule on the memory model, and derives
all figures and the status from that.
"""

from __future__ import annotations

import copy
import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from schedule.bounds import TOLERANCE, least_compute
from schedule.graph import Graph
from schedule.layout import Ints
from schedule.levels import Level
from schedule.memory import Trace, simulate
from schedule.result import Order
from schedule.solvers.deadline import MOST_RUNS as MOST_RUNS
from schedule.solvers.deadline import Clock as Clock
from schedule.solvers.deadline import Deadline as Deadline
from schedule.values import name_of, number, shown

#: What checking a schedule takes, and each of its steps.
_SECONDS_A_REPLAY, _SECONDS_A_STEP = 1e-4, 1e-6

T = TypeVar("T")


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


@dataclass(frozen=True)
class Problem:
    """What is to be solved.

    Attributes
    ----------
    graph
        The graph.
    budget
        In the graph's unit, a multiple of what divides all sizes; None: no limit.
    order
        `free`, or `fixed`: first runs in the graph's order. It is also the
        order in which a proved bound has to hold.
    gap
        Incumbent and bound this close, as a share of every node once, are good enough.
    seed, workers
        Seed of every random choice; threads to use.
    levels
        What is below the device, a host first. Where there is anything, the makespan
        takes the place of the compute, in bounds, too.
    """

    graph: Graph
    budget: int | None
    order: Order = "free"
    gap: float = 0.0
    seed: int = 0
    workers: int = 1
    levels: tuple[Level, ...] = ()

    def fits(self, peak: int) -> bool:
        """Whether a schedule with this peak is within the budget."""
        return self.budget is None or peak <= self.budget

    def asked(self, best: int | float) -> int | float:
        """Where such a schedule is known, compute below which others are of interest."""
        return best - self.gap * float(self.graph.compute) if self.gap else best

    def enough(self, best: int | float, bound: int | float) -> bool:
        """Whether a schedule of compute `best` is as close to a bound as it was asked to be."""
        if math.isinf(best):
            return False
        return best - bound <= max(self.gap, TOLERANCE) * float(self.graph.compute)


@dataclass(frozen=True, slots=True)
class Proof:
    """What holds for every schedule of a problem.

    Attributes
    ----------
    bound
        A lower bound on the compute of every schedule that fits the budget, in
        the order that the problem asks for; None: none beyond every node once.
    needed
        Set where no schedule fits: the least budget that the proof leaves open.
        `node` is the node that needs it.
    runs
        Set where a schedule that fits is known, but too long to be written, as is every
        other one that fits: its runs.

    Raises
    ------
    TypeError
        A figure that is none. NumPy's are kept as Python's own.
    """

    bound: int | float | None = None
    needed: int | None = None
    node: str | None = None
    runs: int | None = None

    def __post_init__(self) -> None:
        for name in ("bound", "needed", "runs"):
            value = getattr(self, name)
            if value is None:
                continue
            found = number(value)
            is_bound = name == "bound" and isinstance(found, float) and found < math.inf
            if not (isinstance(found, int) or is_bound):
                kind = "a finite number" if name == "bound" else "an integer"
                raise TypeError(f"{name} of a Proof is {shown(value)}; it has to be {kind}")
            object.__setattr__(self, name, found)
        if self.node is not None and not isinstance(self.node, str):
            raise TypeError(f"node of a Proof is {shown(self.node)}; it has to be a node's name")

    @property
    def ends(self) -> bool:
        """Whether nothing is left to look for: nothing fits, or nothing that can be written."""
        return self.needed is not None or self.runs is not None


class Judge(Protocol):
    """Who checks what solvers offer."""

    def take(self, codes: Ints, by: str) -> Trace:
        """Replay a schedule, keep it if it is the best, and return the replay."""

    def prove(self, proof: Proof, by: str) -> None:
        """Record a proof."""

    def say(self, note: str) -> None:
        """Hear what keeps a solver busy."""


@dataclass(slots=True)
class _Known:
    """What all who share an incumbent know."""

    trace: Trace | None = None
    nearest: Trace | None = None
    bound: int | float = 0
    closed: bool = False
    compiling: int = 0  # methods that wait for a compiler, since when, and how long before
    compiling_since: float = 0.0
    compiled_for: float = 0.0
    resumed: dict[object, object] = field(default_factory=dict)
    lock: threading.RLock = field(default_factory=threading.RLock)


class Incumbent:
    """The best schedule found so far that fits; shared by the threads of a solve.

    Parameters
    ----------
    problem
        What is solved.
    judge
        Checks what is offered; None: nobody does, beyond replaying it.
    clock
        What the solve is measured by: replays are a part of its work.
    """

    def __init__(
        self, problem: Problem, judge: Judge | None = None, clock: Clock | None = None
    ) -> None:
        self._problem, self._judge, self._by = problem, judge, ""
        self.clock = Clock() if clock is None else clock
        self._known = _Known(bound=least_compute(problem.graph))

    def by(self, solver: str) -> Incumbent:
        """The same incumbent, as a solver of that name speaks to it."""
        found = copy.copy(self)
        found._by = name_of(solver, "a solver's name")
        return found

    @property
    def trace(self) -> Trace | None:
        """The best schedule, replayed; None: there is none."""
        return self._known.trace

    @property
    def nearest(self) -> Trace | None:
        """Of those that don't fit, the one of least peak; None: none was offered."""
        return self._known.nearest

    @property
    def compute(self) -> int | float:
        """Compute of the best schedule, or its makespan with levels; infinite without one."""
        trace = self._known.trace
        return math.inf if trace is None else trace.makespan

    @property
    def bound(self) -> int | float:
        """The best lower bound that is proved on the compute of every schedule."""
        return self._known.bound

    @property
    def is_good_enough(self) -> bool:
        """Whether incumbent and bound are as close as the problem asks for."""
        return self._problem.enough(self.compute, self.bound)

    @property
    def gap(self) -> float:
        """Incumbent less bound, as a share of every node once; infinite without a schedule."""
        return (self.compute - self.bound) / max(float(self._problem.graph.compute), 1e-300)

    def offer(self, found: Trace | Ints) -> bool:
        """Offer a schedule, replayed or as codes (see `schedule.layout`); True where it fits.

        One that doesn't fit may be offered, too: its peak is reported. A schedule has
        to be valid.
        """
        return self._problem.fits(self.replay(found).peak)

    def replay(self, found: Trace | Ints) -> Trace:
        """Offer a schedule; its replay: who needs that, too, has no other made."""
        known, problem = self._known, self._problem
        codes = found.codes if isinstance(found, Trace) else found
        # What is no array is for the judge to refuse.
        self.clock.spend(_SECONDS_A_REPLAY + _SECONDS_A_STEP * getattr(codes, "size", 0))
        with known.lock:
            if self._judge is not None and not known.closed:
                trace = self._judge.take(codes, self._by)
            else:
                trace = (
                    found
                    if isinstance(found, Trace)
                    else simulate(problem.graph, codes, problem.levels)
                )
            fits = problem.fits(trace.peak)
            if fits and trace.makespan < self.compute:
                known.trace = trace
            elif not fits and (known.nearest is None or trace.peak < known.nearest.peak):
                known.nearest = trace
        return trace

    def prove(self, proof: Proof) -> None:
        """State a proof before the end: it counts at once, and where the solve is interrupted."""
        known = self._known
        with known.lock:
            if known.closed:
                return
            if self._judge is not None:
                self._judge.prove(proof, self._by)
            known.bound = max(known.bound, proof.bound or 0)

    def say(self, note: str) -> None:
        """Say what keeps the solver busy where that isn't solving; with "", that it is over."""
        if self._judge is not None and not self._known.closed:
            self._judge.say(note)

    @contextmanager
    def compiling(self) -> Iterator[None]:
        """Inside, a method waits for code that is being compiled."""
        known = self._known
        with known.lock:
            known.compiling += 1
            if known.compiling == 1:
                known.compiling_since = time.monotonic()
        try:
            yield
        finally:
            with known.lock:
                known.compiling -= 1
                if known.compiling == 0:
                    known.compiled_for += time.monotonic() - known.compiling_since

    @property
    def seconds_compiling(self) -> float:
        """For how long any method waited for a compiler, up to now."""
        known = self._known
        with known.lock:
            now = time.monotonic() - known.compiling_since if known.compiling else 0.0
            return known.compiled_for + now

    def resume(self, key: object, make: Callable[[], T]) -> T:
        """What a solver left unfinished under a key, for this incumbent; else what `make` returns.

        So a solver that is asked again goes on where it stopped.
        """
        with self._known.lock:
            if key not in self._known.resumed:
                self._known.resumed[key] = make()
            return self._known.resumed[key]  # type: ignore[return-value]

    def close(self) -> None:
        """Tell the judge nothing any more: the solve is answered."""
        with self._known.lock:
            self._known.closed = True


class Solver(Protocol):
    """One way to find schedules.

    A solver is stateless: `improve` may be called from several threads, and
    does the same for the same problem, incumbent and work limit.
    """

    @property
    def name(self) -> str:
        """What it is called in tables, files and on the command line."""

    @property
    def summary(self) -> str:
        """One line: what it does, and its source."""

    def supports(self, graph: Graph) -> str | None:
        """None, or the reason why this graph can't be solved by it."""

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """Offer schedules to the incumbent until the deadline; what can be proved.

        It ends early where it can find nothing better. Asked again with the
        same incumbent, it may go on where it stopped.
        """
