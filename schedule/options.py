"""What every solve can be told: `SolveOptions`, and the keyword arguments that stand for it."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol, TypedDict, TypeVar, get_args

from schedule.errors import BadOption
from schedule.result import Order
from schedule.values import as_float, integer, is_one_of, meant, shown

if TYPE_CHECKING:
    from schedule.solvers.contract import Progress

Function = TypeVar("Function", bound=Callable[..., Any])


class Event(Protocol):
    """What can be set once: `threading.Event`, or that of another library."""

    def is_set(self) -> bool:
        """Whether it was."""


#: Says whether a solve is called off: a function, or an event.
Cancel = Callable[[], object] | Event


@dataclass(frozen=True, slots=True)
class SolveOptions:
    """How a solve is to be done; whatever solves takes these as keyword arguments, too.

    Numbers may be NumPy's; they are kept as Python's own.

    Parameters
    ----------
    order
        `"free"`: any schedule, and a bound that holds for every one.
        `"fixed"`: first runs in the graph's order, and a bound for those.
    time_limit
        Seconds after which the best found so far is returned, a number > 0; with a
        work limit also `math.inf`.
    work_limit
        Work after which the best found so far is returned, a number > 0; None: no limit.
        A unit is what one core of a machine of 2026 does in about a second, but it is
        counted by what is done (moves, states, iterations), not by the clock. So the
        same seed and work limit give the same schedule on every machine, however busy,
        unless the result is `interrupted`, as it is where the time limit came first.
        One worker is used, however many may be.
    gap
        Stop as soon as the overhead of the best schedule is within this of the
        bound, a number ≥ 0: 0.001 is a tenth of a percentage point; `math.inf`
        stops at the first schedule that fits.
    seed
        Of every random choice, an integer from 0 to 2**31 − 1: with one worker
        the same seed gives the same schedule, unless the time limit ends the
        solve, or what is compiled isn't loaded yet (`schedule.warm`); with a work
        limit always.
    workers
        Threads that may be used, an integer ≥ 1; what they find reaches each
        other when it happens to, so that two runs may differ.
    progress
        Called with a `Progress` whenever the best schedule or the bound gets
        better, from whatever thread found it.
    memory_share
        The best found so far is returned, too, once more than this share of the
        machine's memory is taken, a number > 0 and ≤ 1: of what this process doesn't
        hold when the solve begins, or what its control groups allow it. As where memory
        runs out, the result has `out_of_memory` set.
    cancel
        The best found so far is returned, too, with `interrupted` set, soon after this
        function returns something true, or this event is set: in a second or less,
        whatever the solver does. It is asked from the thread that called `solve`, twenty
        times a second; the solver works in another one, which is left behind where it
        doesn't end. None: nobody calls it off.

    Raises
    ------
    BadOption
        One of them is something else.

    Examples
    --------
    >>> import schedule
    >>> quick = schedule.SolveOptions(time_limit=5, gap=0.01)
    >>> plan = schedule.solve(schedule.example("chain"), "50%", options=quick, seed=1)
    >>> plan.seed
    1
    """

    order: Order = "free"
    time_limit: float = 60.0
    work_limit: float | None = None
    gap: float = 0.0
    seed: int = 0
    workers: int = 2
    progress: Callable[[Progress], None] | None = None
    memory_share: float = 0.8
    cancel: Cancel | None = None

    def __post_init__(self) -> None:
        put = object.__setattr__
        if not is_one_of(self.order, get_args(Order)):
            raise BadOption(f"order is {shown(self.order)}; it has to be 'free' or 'fixed'")
        seconds = as_float(self.time_limit)
        if not 0 < seconds < math.inf and not (seconds == math.inf and self.work_limit):
            raise BadOption(
                f"time_limit is {shown(self.time_limit)}; it has to be a number of seconds > 0,"
                " and finite unless there is a work limit"
            )
        put(self, "time_limit", seconds)
        if self.work_limit is not None:
            work = as_float(self.work_limit)
            if not 0 < work < math.inf:
                raise BadOption(
                    f"work_limit is {shown(self.work_limit)}; it has to be a finite number > 0"
                )
            put(self, "work_limit", work)
        gap = as_float(self.gap)
        if not gap >= 0:
            raise BadOption(f"gap is {shown(self.gap)}; it has to be a number ≥ 0")
        put(self, "gap", gap)
        seed = integer(self.seed)
        if seed is None or not 0 <= seed < 2**31:
            raise BadOption(
                f"seed is {shown(self.seed)}; it has to be an integer from 0 to 2**31 − 1"
            )
        put(self, "seed", seed)
        workers = integer(self.workers)
        if workers is None or workers < 1:
            raise BadOption(f"workers is {shown(self.workers)}; it has to be an integer ≥ 1")
        put(self, "workers", workers)
        if self.progress is not None and not callable(self.progress):
            raise BadOption(f"progress is {shown(self.progress)}; it has to be a function, or None")
        share = as_float(self.memory_share)
        if not 0 < share <= 1:
            raise BadOption(
                f"memory_share is {shown(self.memory_share)}; it has to be a number > 0 and ≤ 1"
            )
        put(self, "memory_share", share)
        cancel = self.cancel
        if isinstance(cancel, type):  # its objects are true: every solve would end at once
            raise BadOption(
                f"cancel is the class {cancel.__name__}: give an object, {cancel.__name__}()"
            )
        if cancel is not None and not (
            callable(cancel) or callable(getattr(cancel, "is_set", None))
        ):
            raise BadOption(
                f"cancel is {shown(cancel)}; it has to be a function, an event (with is_set),"
                " or None"
            )


class SweepKeywords(TypedDict, total=False):
    """`SolveOptions` as keyword arguments, of what has threads and progress of its own."""

    order: Order
    time_limit: float
    work_limit: float | None
    gap: float
    seed: int
    memory_share: float


class SolveKeywords(SweepKeywords, total=False):
    """`SolveOptions` as keyword arguments."""

    workers: int
    progress: Callable[[Progress], None] | None
    cancel: Cancel | None


def options_of(
    options: SolveOptions | None,
    given: SweepKeywords | SolveKeywords,
    asked: Callable[..., Any] | None = None,
) -> SolveOptions:
    """The options with those that were given as keyword arguments in their place.

    Parameters
    ----------
    asked
        The function that was given them: what it takes besides may have been meant, too.

    Raises
    ------
    BadOption
        They are none, or one of them is something else.
    TypeError
        One isn't known.
    """
    if options is not None and not isinstance(options, SolveOptions):
        raise BadOption(f"options is {shown(options)}; it has to be a SolveOptions, or None")
    own = [] if asked is None else [*inspect.signature(asked).parameters]
    for name in given:
        if name not in SolveOptions.__annotations__:
            known = ", ".join(SolveOptions.__annotations__)
            raise TypeError(
                f"unexpected keyword argument {name!r}; options of a solve: {known}"
                f"{meant(name, [*SolveOptions.__annotations__, *own])}"
            )
    return replace(SolveOptions() if options is None else options, **given)


def spelled_out(
    keywords: type, defaults: SolveOptions | None = None
) -> Callable[[Function], Function]:
    """Let `help` show the keyword arguments that a function takes as `**given`, with defaults."""
    values = SolveOptions() if defaults is None else defaults

    def spell(function: Function) -> Function:
        signature = inspect.signature(function)
        shown_first = [p for p in signature.parameters.values() if p.kind is not p.VAR_KEYWORD]
        others = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=getattr(values, name),
                annotation=SolveOptions.__annotations__[name],
            )
            for name in SolveOptions.__annotations__
            if name in keywords.__annotations__
        ]
        made = signature.replace(parameters=[*shown_first, *others])
        function.__signature__ = made  # type: ignore[attr-defined]
        return function

    return spell
