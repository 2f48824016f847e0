"""`place`: an offset for every allocation, in as little memory as there is time to find."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping

import numpy as np

from schedule.addresses import check_offsets
from schedule.arena.arena import Arena
from schedule.arena.buffers import NONE
from schedule.arena.searching import Search
from schedule.cancelling import is_cancelled
from schedule.errors import BadAddresses, BadBudget, BadOption, SolverBug
from schedule.graph import Graph
from schedule.layout import Ints
from schedule.lifetimes import Inputs, Lifetimes, lifetimes_of
from schedule.options import Cancel, SolveOptions
from schedule.result import Status
from schedule.sizes import format_short, parse_memory, with_exact
from schedule.solvers.contract import Deadline
from schedule.solvers.kit.interrupts import interrupts
from schedule.steps import AnySchedule
from schedule.values import as_float, integer, is_one_of, shown
from schedule.verification import verify

_LARGEST = 2**61


def place(
    given: Graph | Lifetimes,
    schedule: AnySchedule | None = None,
    *,
    capacity: int | str | None = None,
    alignment: int = 1,
    time_limit: float = 10.0,
    preplaced: Mapping[str, int] | None = None,
    inputs: Inputs = "inside",
    seed: int = 0,
    workers: int = 2,
    cancel: Cancel | None = None,
) -> Arena:
    """Give every allocation an offset in one arena, as small as can be found.

    Parameters
    ----------
    given
        A graph, whose `schedule` is placed; or lifetimes alone, as
        `schedule.read_lifetimes` reads them.
    schedule
        Of the graph: as for `schedule.verify`.
    capacity
        Ends the search as soon as an arena is within it; as an integer or a size
        (`"2GiB"`). None: the smallest arena is sought.
    alignment
        Every offset is a multiple of this power of two.
    time_limit
        Seconds after which the best found so far is returned.
    preplaced
        Offsets that are given already, by the names of allocations (see `Lifetimes`): every
        allocation of that name has it. Lifetimes from a file may have some of their own.
    inputs
        `"outside"`: resident inputs are somebody else's, and aren't placed.
    seed
        Of random choices.
    workers
        Threads that may be used. With one, the same seed gives the same offsets wherever the
        goal is reached before the time limit; but CP-SAT, to which parts of up to 150 buffers
        go, has a share of the time where some of them are preplaced.
    cancel
        As in `schedule.SolveOptions`.

    Returns
    -------
    Arena
        `optimal` only where its size is a proved bound. On Ctrl-C, and where it is
        cancelled, the best found so far is returned, with `interrupted` set.

    Raises
    ------
    BadBudget
        A capacity that is no amount of memory, or less than the load.
    BadOption
        Another option that isn't one; an alignment at which offsets would be too large for
        64-bit integers; preplaced allocations that overlap, aren't aligned, or aren't there.
    BadInput, InvalidSchedule
        As `schedule.verify`.

    Notes
    -----
    The problem is dynamic storage allocation (Garey and Johnson 1979, SR2), NP-hard. Time
    is cut where nothing lives across; each part is packed by best fit in several
    orders, laid from below, and searched: canonically (Moffitt 2023,
    doi:10.1145/3623278.3624752), by beams, by ejections, by ruin and recreate (Schrimpf et al.
    2000, doi:10.1006/jcph.1999.6413), and on CP-SAT where it is small. Where too many pairs can
    collide for that, buffers are fitted in the order of time, and by size and width.

    Examples
    --------
    >>> import schedule
    >>> graph = schedule.example("chain")
    >>> plan = schedule.solve(graph, "50%")
    >>> arena = schedule.place(graph, plan)
    >>> arena.status, arena.size == plan.peak
    (<Status.OPTIMAL: 'optimal'>, True)
    """
    started = time.monotonic()
    _check_options(alignment, time_limit, inputs)
    options = SolveOptions(seed=seed, workers=workers, cancel=cancel)
    lifetimes = _lifetimes(given, schedule, inputs)
    fixed = _fixed(lifetimes, {} if preplaced is None else preplaced, alignment)
    _check_rounded(lifetimes, int(alignment))
    limit = None if capacity is None else parse_memory(capacity, "capacity")
    load = lifetimes.load
    if limit is not None and limit < load:
        asked, used, more = format_short(limit, load, load - limit)
        raise BadBudget(
            f"capacity {asked} is less than the load: {with_exact(used, load)} are in use at time"
            f" {lifetimes.load_time}, {more} more"
        )
    deadline, called_off = Deadline.after(as_float(time_limit)), threading.Event()
    search = Search(
        lifetimes,
        fixed,
        limit,
        int(alignment),
        deadline,
        lambda: cancel is not None and _is_told(called_off, cancel),
        options,
    )
    interrupted = False
    try:
        with interrupts():
            search.run()
    except KeyboardInterrupt:
        interrupted = True
    interrupted |= called_off.is_set()
    offsets, size, by = search.best()
    try:
        check_offsets(lifetimes, offsets.tolist(), size, alignment)
        if not (offsets[fixed != NONE] == fixed[fixed != NONE]).all():
            raise BadAddresses("what is preplaced was moved")
    except BadAddresses as error:
        raise SolverBug(f"the packing is wrong: {error}") from error
    bound = search.bound
    if limit is not None and size > limit:
        status = Status.INFEASIBLE if bound > limit else Status.UNKNOWN
    else:
        status = Status.OPTIMAL if size == bound else Status.FEASIBLE
    fits = status in (Status.OPTIMAL, Status.FEASIBLE)
    return Arena(
        status=status,
        lifetimes=lifetimes,
        offsets=offsets if fits else None,
        size=size if fits else None,
        least_size=size,
        load=load,
        lower_bound=bound,
        capacity=limit,
        alignment=int(alignment),
        inputs=inputs,
        seconds=time.monotonic() - started,
        found_by=by,
        interrupted=interrupted,
        compiling=search.compiling,
    )


def _is_told(called_off: threading.Event, cancel: Cancel) -> bool:
    """Whether it is cancelled, now or earlier; noted in the event."""
    if not called_off.is_set() and is_cancelled(cancel):
        called_off.set()
    return called_off.is_set()


def check_alignment(alignment: object) -> None:
    """Raise BadOption unless it is a power of two."""
    power = integer(alignment)
    if power is None or power < 1 or power & (power - 1) or power >= _LARGEST:
        raise BadOption(f"alignment is {shown(alignment)}; it has to be a power of two")


def _check_options(alignment: object, time_limit: object, inputs: object) -> None:
    check_alignment(alignment)
    if not 0 < as_float(time_limit) < math.inf:
        raise BadOption(f"time_limit is {shown(time_limit)}; it has to be a number of seconds > 0")
    if not is_one_of(inputs, ("inside", "outside")):
        raise BadOption(f"inputs is {shown(inputs)}; it is 'inside' or 'outside'")


def _check_rounded(lifetimes: Lifetimes, alignment: int) -> None:
    """Raise BadOption where offsets might not fit 64-bit integers."""
    together = int((-(-lifetimes.size // alignment)).sum()) * alignment
    if together >= _LARGEST:
        raise BadOption(
            f"alignment is {alignment}: {len(lifetimes)} allocations, each rounded up to a multiple"
            " of it, take 2**61 or more together; give a smaller one"
        )


def _lifetimes(given: object, schedule: AnySchedule | None, inputs: Inputs) -> Lifetimes:
    if isinstance(given, Lifetimes):
        if schedule is not None or inputs == "outside":
            raise BadOption("lifetimes alone have neither a schedule nor inputs")
        return given
    if not isinstance(given, Graph):
        raise BadOption(f"{shown(given)} is neither a graph nor lifetimes")
    if schedule is None:
        raise BadOption("a graph is placed by a schedule: give one")
    return lifetimes_of(verify(given, schedule), inputs)


def _fixed(lifetimes: Lifetimes, preplaced: Mapping[str, int], alignment: int) -> Ints:
    """Shape (n,): the offsets that are given, else −1; refused where they can't be."""
    if not isinstance(preplaced, Mapping):
        raise BadOption(
            f"preplaced is {shown(preplaced)}; it has to be a mapping of names to offsets"
        )
    known = set(lifetimes.names)
    fixed = np.full(len(lifetimes), NONE) if lifetimes.fixed is None else lifetimes.fixed.copy()
    for name in preplaced:
        if name not in known:
            raise BadOption(f"preplaced {shown(name)} isn't allocated")
    for at, name in enumerate(lifetimes.names):
        offset = preplaced.get(name, None if fixed[at] == NONE else int(fixed[at]))
        if offset is None:
            continue
        where = integer(offset)
        if where is None or not 0 <= where < _LARGEST or where % alignment:
            raise BadOption(
                f"preplaced {name!r}: its offset is {shown(offset)}; it has to be a multiple of"
                f" {alignment}, 0 or more"
            )
        fixed[at] = where
    given = np.flatnonzero(fixed != NONE)
    names = tuple(lifetimes.names[k] for k in given.tolist())
    part = Lifetimes(names, *(each[given] for each in lifetimes.columns))
    try:
        check_offsets(part, fixed[given].tolist(), 2 * _LARGEST)
    except BadAddresses as error:
        raise BadOption(f"preplaced: {error}") from None
    return fixed
