"""Schedule and addresses together: smaller budgets inside, until the arena is within the budget."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

from schedule.addresses import Addresses
from schedule.bounds import memory_floor, memory_unit, round_down_memory
from schedule.layout import Ints
from schedule.log import LOG
from schedule.lowering import replayed
from schedule.memory import Trace
from schedule.options import Cancel
from schedule.result import Result, Shortfall, Status
from schedule.sizes import format_short
from schedule.solvers.contract import Deadline, Problem, Proof

if TYPE_CHECKING:
    from schedule.arena.arena import Arena

#: The first solve's share of the time, and its seconds at most: how long it takes to place what
#: it finds says how long the one that matters may take.
_PROBE, _PROBE_SECONDS = 0.15, 2.0
#: Shares of the time left: of the second solve, where the first one's schedule wasn't packed;
#: of each one within less; of a packing.
_WHOLE, _LATER, _PACKING = 0.5, 0.3, 0.3
#: Where it wasn't, as short a solve within less comes next, if that is no more than this share of
#: the time left.
_SOON = 0.1
#: Where it was packed, time is kept to place a better one: so many times what that took, within
#: these shares of what is left; and the share of it that the packing has.
_AGAIN, _LEAST_KEPT, _MOST_KEPT, _REPACKING = 3.0, 0.05, 0.3, 0.7
#: Seconds that a packing has at most, and at least: where the solve took all, or was cut short.
_MOST_SECONDS, _LEAST_SECONDS = 5.0, 0.2
#: A solve that left a tenth of its time had nothing more to look for, nor has one that proved
#: its answer.
_ALL, _PROVED = 0.9, (Status.OPTIMAL, Status.INFEASIBLE)
#: A packing is known to cost less than this part of the budget: nothing is sought between.
_CLOSE = 500


@dataclass(frozen=True)
class Inner:
    """What a solve inside is asked: its budget and seconds, and what is known before."""

    budget: int | None
    seconds: float
    starts: tuple[Trace, ...]
    bound: int | float


class Judge(Protocol):
    """Who checks the schedules that have an arena, and what is proved for the whole budget."""

    def take(self, codes: Ints, by: str) -> Trace:
        """Replay a schedule, and keep it if it is the best."""

    def prove(self, proof: Proof, by: str) -> None:
        """Record a proof."""

    def result(self, interrupted: bool, ran_out: bool, compiling: float) -> Result:
        """What is known now."""


class Joint:
    """A search for the cheapest schedule whose arena is within the budget.

    Parameters
    ----------
    problem
        The budget is the arena's size; None: whatever arena is found will do.
    alignment
        Of offsets.
    deadline
        Of all of it.
    solve
        Solves without addresses, within a smaller budget.
    judge
        Is shown only schedules that have an arena.
    cancel
        As in `SolveOptions`.

    Notes
    -----
    An arena is at least as large as the peak, so a bound on the compute of schedules within
    the budget holds for those whose arena is. One for a smaller budget doesn't.
    """

    def __init__(
        self,
        problem: Problem,
        alignment: int,
        deadline: Deadline,
        solve: Callable[[Inner], Result],
        judge: Judge,
        cancel: Cancel | None,
    ) -> None:
        self._problem, self._alignment, self._deadline = problem, alignment, deadline
        self._solve, self._judge, self._cancel = solve, judge, cancel
        self._starts: list[Trace] = []
        self._best: Trace | None = None
        self._addresses: Addresses | None = None
        self._whole: Result | None = None  # what the last solve within the whole budget says
        self._bound: int | float = 0
        self._least_size: int | None = None
        self._took: float | None = None  # seconds of the last packing that fits
        # Budgets inside, multiples of what divides all sizes, as peaks are: this one and less is
        # too little, and from this one on arenas are too large, as far as is known.
        self._unit = memory_unit(problem.graph)
        self._low = memory_floor(problem.graph).memory - self._unit
        self._high = self._rounded(problem.budget or 0) + self._unit
        self._interrupted = self._ran_out = False
        self._compiling = 0.0

    def result(self) -> Result:
        """Search until the deadline, or until nothing is left to try; what is known then."""
        try:
            self._run()
        except KeyboardInterrupt:
            if self._whole is None:
                raise
            self._interrupted = True
        except MemoryError:
            if self._best is None:
                raise
            self._interrupted = self._ran_out = True
        assert self._whole is not None, "the first solve is within the whole budget"
        if not self._starts:
            return replace(self._whole, interrupted=self._interrupted)
        found = self._judge.result(self._interrupted, self._ran_out, self._compiling)
        if self._best is None:
            return replace(found, shortfall=self._shortfall())
        return replace(found, addresses=self._addresses)

    def _run(self) -> None:
        inner, is_first = self._problem.budget, True
        seconds = min(_PROBE * self._deadline.seconds_left, _PROBE_SECONDS)
        while True:
            seconds = max(seconds, _LEAST_SECONDS / 10)
            result, arena = self._attempt(inner, seconds)
            if self._is_over:
                return
            is_too_large = arena is not None and arena.offsets is None
            if inner == self._problem.budget and (is_first or not is_too_large):
                # What is left is to look for a better schedule, if there can be one.
                is_first = False
                if result.seconds > _ALL * seconds and result.status not in _PROVED:
                    soon = self._soon(arena, seconds) if is_too_large else None
                    if soon is None:
                        seconds = self._seconds_again(self._deadline.seconds_left)
                        continue
                    _, settled = self._attempt(soon, seconds)
                    if self._is_over:
                        return
                    self._following(soon, settled)
                    seconds = _WHOLE * self._deadline.seconds_left
                    continue
                if not is_too_large:
                    return
            following = self._following(inner or 0, arena)
            if following is None:
                return
            inner, seconds = following, _LATER * self._deadline.seconds_left

    def _attempt(self, inner: int | None, seconds: float) -> tuple[Result, Arena | None]:
        """Solve within a budget inside, and pack what is found."""
        result = self._solve(Inner(inner, seconds, tuple(self._starts), self._bound))
        self._interrupted, self._ran_out = result.interrupted, result.out_of_memory
        self._compiling += result.compiling
        is_whole = inner == self._problem.budget
        if is_whole:
            self._note(result)
        return result, self._packed(result, is_whole)

    @property
    def _is_over(self) -> bool:
        return self._interrupted or self._deadline.passed or self._is_good_enough

    def _soon(self, arena: Arena | None, seconds: float) -> int | None:
        """A budget inside at which as short a solve may be packed, where there is time for it.

        The next one is long, and may be interrupted: there should be an answer by then.
        """
        budget = self._problem.budget
        if arena is None or budget is None or seconds > _SOON * self._deadline.seconds_left:
            return None
        inner = max((self._low + budget) // 2, arena.load - 2 * (arena.least_size - budget))
        inner = self._rounded(inner)
        return inner if inner > self._low else None

    def _seconds_again(self, left: float) -> float:
        """What the next solve within the whole budget has of the time left."""
        if self._took is None:
            return _WHOLE * left
        return left - min(max(_AGAIN * self._took, _LEAST_KEPT * left), _MOST_KEPT * left)

    def _note(self, result: Result) -> None:
        """What holds for the whole budget."""
        self._whole = result
        if result.lower_bound is not None and result.lower_bound > self._bound:
            self._bound = result.lower_bound
            self._judge.prove(Proof(bound=self._bound), result.proved_by or result.solver)

    @property
    def _is_good_enough(self) -> bool:
        return self._best is not None and self._problem.enough(self._best.compute, self._bound)

    def _packed(self, result: Result, is_whole: bool) -> Arena | None:
        """The arena of a schedule that would be the best; None: it wouldn't, or there is none."""
        from schedule.arena.placing import place  # it loads what compiles

        if result.trace is None:
            return None
        # With every free as early as can be no lifetime is longer than it has to be.
        trace = replayed(self._problem.graph, result.trace.codes[result.trace.codes >= 0])
        if self._best is not None and trace.compute >= self._best.compute:
            return None
        share = _REPACKING if is_whole and self._took is not None else _PACKING
        seconds = min(share * self._deadline.seconds_left, _MOST_SECONDS)
        arena = place(
            self._problem.graph,
            trace.codes,
            capacity=self._problem.budget,
            alignment=self._alignment,
            time_limit=_LEAST_SECONDS if self._interrupted else max(seconds, _LEAST_SECONDS),
            seed=self._problem.seed,
            workers=self._problem.workers,
            cancel=None if self._interrupted else self._cancel,
        )
        LOG.debug("compute %s, peak %s: arena %s", trace.compute, trace.peak, arena)
        self._interrupted |= arena.interrupted
        self._starts.append(trace)
        if arena.offsets is not None:
            self._judge.take(trace.codes, result.found_by or result.solver)
            self._best, self._addresses = trace, arena.addresses
            self._took = arena.seconds - arena.compiling
        else:
            self._least_size = min(arena.least_size, self._least_size or arena.least_size)
        return arena

    def _following(self, inner: int, arena: Arena | None) -> int | None:
        """The budget inside to try next; None: none is left."""
        budget = self._problem.budget
        assert budget is not None, "without a budget every arena will do"
        if arena is None or arena.offsets is not None:
            self._low = max(self._low, self._rounded(inner))
        else:
            self._high = min(self._high, arena.load)
        room = self._high - self._low
        if room <= self._unit or (self._best is not None and room <= budget // _CLOSE):
            return None
        middle = max(
            self._rounded((self._low + self._high) // 2),
            self._low + self._unit,
        )
        if self._best is not None or arena is None:
            return middle
        # Nothing was packed yet: as much less as the arena was too large.
        less = max(self._unit, arena.least_size - budget)
        return max(middle, self._rounded(self._high - less))

    def _rounded(self, budget: int) -> int:
        """The largest peak within a budget."""
        return round_down_memory(self._problem.graph, budget)

    def _shortfall(self) -> Shortfall:
        graph, budget = self._problem.graph, self._problem.budget
        least_peak = min(trace.peak for trace in self._starts)
        if budget is None or self._least_size is None:
            reason = "there was no time to place what was found"
        else:
            asked, size, peak = format_short(budget, self._least_size, least_peak)
            reason = (
                f"no arena was found within {asked}: the smallest that was reached takes {size}"
                f" (the least peak is {peak})"
            )
        needed = memory_floor(graph)
        return Shortfall(needed.memory, needed.node, reason, least_peak)
