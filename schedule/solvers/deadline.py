"""When a solver is to stop: after some time, or after some work that is the same everywhere."""

from __future__ import annotations

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

#: Schedules of more runs are not written: they would take more than three gigabytes to check.
MOST_RUNS = 20_000_000
#: Runs that are at least written, freed between and checked in a second.
_RUNS_A_SECOND = 1_000_000


@dataclass(slots=True)
class Clock:
    """What the seconds of a solve are: those that pass, or those that its work takes.

    The work is counted by what is done, moves, states, iterations, each with the seconds
    that it takes on one core of a machine of 2026, about. So it is the same on every
    machine, however busy that is, and so is whatever is decided by it.

    Attributes
    ----------
    counts_work
        Whether seconds are those of work.
    stops
        What else ends the whole solve, whatever the seconds.
    done
        Seconds of work done so far.
    """

    counts_work: bool = False
    stops: tuple[Callable[[], bool], ...] = ()
    done: float = 0.0

    def now(self) -> float:
        """Seconds; only their differences mean anything."""
        return self.done if self.counts_work else time.monotonic()

    def spend(self, seconds: float) -> None:
        """Take note of work that was done; time passes by itself."""
        self.done += seconds

    @property
    def is_stopped(self) -> bool:
        """Whether something else ends the solve."""
        return any(stop() for stop in self.stops)


@dataclass(slots=True)
class Deadline:
    """When to stop: at a time, after some work, or because of what has happened.

    That may be that an answer is known, or that too much of the machine's memory is taken.

    Ctrl-C needs no question: it is a `KeyboardInterrupt`, wherever it comes.

    Attributes
    ----------
    end
        On the clock.
    limit
        Seconds of the whole solve: a part of it has the same.
    work
        The work that is left, in a unit of the solver's own, the same on every machine.
        A solver subtracts the work that it has done.
    clock
        What counts the seconds; the whole solve has one.
    """

    end: float = math.inf
    limit: float = math.inf
    work: float = math.inf
    clock: Clock = field(default_factory=Clock)
    _conditions: tuple[Callable[[], bool], ...] = field(default=())

    @classmethod
    def after(cls, seconds: float, clock: Clock | None = None) -> Deadline:
        """`seconds` from now; by the time that passes, unless another clock is given."""
        clock = Clock() if clock is None else clock
        return cls(clock.now() + seconds, seconds, clock=clock)

    @property
    def passed(self) -> bool:
        """Whether to stop."""
        return self.work <= 0 or self.seconds_left <= 0

    @property
    def seconds_left(self) -> float:
        """Seconds until then, at least 0, and 0 where something else says to stop."""
        if self.clock.is_stopped or any(condition() for condition in self._conditions):
            return 0.0
        return max(0.0, self.end - self.clock.now())

    def spend(self, seconds: float) -> None:
        """Take note of work: the seconds that it takes, about, by what was done."""
        self.clock.spend(seconds)

    def within(self, seconds: float) -> Deadline:
        """The same, but no later than `seconds` from now."""
        return self._like(end=min(self.end, self.clock.now() + seconds))

    def share(self, share: float, least: float = 0.0) -> Deadline:
        """The same, with a share of the seconds left, but at least `least` of them."""
        return self if share >= 1 else self.within(max(share * self.seconds_left, least))

    def earlier(self, seconds: float) -> Deadline:
        """The same, `seconds` earlier."""
        return self._like(end=self.end - seconds)

    def at_least(self, seconds: float) -> Deadline:
        """The same, but no earlier than `seconds` from now; only what ends the solve ends it."""
        left = max(self.seconds_left, seconds)
        return self._like(end=self.clock.now() + left, work=math.inf, _conditions=())

    def with_work(self, work: float) -> Deadline:
        """The same, with this much work, counted by itself."""
        return self._like(work=work)

    def unless(self, condition: Callable[[], bool]) -> Deadline:
        """The same, but passed as soon as a condition holds."""
        return self._like(_conditions=(*self._conditions, condition))

    def _like(self, **changes: Any) -> Deadline:
        found = copy.copy(self)
        for name, value in changes.items():
            setattr(found, name, value)
        return found

    @property
    def most_runs(self) -> int:
        """The longest schedule that there is time and memory to write, in runs."""
        return int(min(MOST_RUNS, _RUNS_A_SECOND * self.seconds_left))
