"""What a schedule file says about itself, held against a replay of its steps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from schedule.addresses import verify_addresses
from schedule.bounds import TOLERANCE, least_compute
from schedule.errors import BadInput, FalseClaim, InvalidSchedule, OverBudget
from schedule.files import AnyPath, path_text
from schedule.graph import Graph
from schedule.memory import Trace
from schedule.result import Result, Status
from schedule.sizes import parse_budget
from schedule.steps import Schedule
from schedule.values import shown
from schedule.verification import verify

#: Overheads in files of other tools may be rounded to this.
_ROUNDED = 1e-6


def verify_claims(graph: Graph, stated: Result, budget: int | str | None = None) -> Trace:
    """Check a schedule as `verify` does, and hold every figure stated with it against the replay.

    Parameters
    ----------
    graph
        The graph.
    stated
        What `schedule.read_schedule` returned: its figures are what the file
        claims. Figures that it doesn't state aren't claims.
    budget
        Memory that the peak must not exceed either, as for `schedule.solve`;
        the stated budget always counts.

    Returns
    -------
    Trace
        What the schedule does to memory.

    Raises
    ------
    WrongGraph, BadInput
        The schedule was made for another graph; there is none.
    InvalidSchedule
        It breaks a rule of the memory model.
    FalseClaim
        Peaks, compute, makespan, overhead, checkpoints or graph compute differ; or the
        status or the lower bound can't be true of these steps.
    OverBudget
        The peak exceeds the stated budget, or `budget`.
    BadAddresses
        Stated addresses overlap, or aren't those of the schedule's allocations.

    Examples
    --------
    >>> import schedule
    >>> from dataclasses import replace
    >>> graph = schedule.example("chain")
    >>> plan = schedule.solve(graph, "50%")
    >>> schedule.verify_claims(graph, plan).peak == plan.peak
    True
    >>> schedule.verify_claims(graph, replace(plan, peak=1))
    Traceback (most recent call last):
    schedule.errors.FalseClaim: the file states a peak of 1, but its steps give 9
    """
    if not isinstance(stated, Result):
        if isinstance(stated, Schedule):
            raise BadInput("a Schedule states no figures to check: schedule.verify replays it")
        raise BadInput(f"{shown(stated)} is no Result; schedule.read_schedule reads one")
    limit = None if budget is None else parse_budget(budget, graph)
    trace = verify(graph, stated)
    check_claims(stated, trace)
    if stated.addresses is not None:
        verify_addresses(trace, stated.addresses)
    return trace if limit is None else verify(graph, trace.codes, limit, trace.levels)


@contextmanager
def faults_of(path: AnyPath) -> Iterator[None]:
    """Let faults name the file: for what reads several schedules."""
    try:
        yield
    except InvalidSchedule as error:
        raise type(error)(f"{path_text(path)}: {error}", error.step) from error


def check_claims(result: Result, trace: Trace) -> None:
    """Compare every figure that a file states with the one that its steps give.

    Raises
    ------
    FalseClaim, OverBudget
        As `verify_claims`.
    """
    allowed = TOLERANCE * float(trace.graph.compute)
    for what, stated, found, slack in (
        ("a peak", result.peak, trace.peak, 0.0),
        ("a compute", result.compute, trace.compute, allowed),
        ("a makespan", result.makespan, trace.makespan, allowed),
        ("an overhead", result.overhead, trace.overhead, _ROUNDED),
        ("a graph with compute", result.graph_compute, trace.graph.compute, allowed),
    ):
        if stated is not None and abs(stated - found) > slack:
            raise FalseClaim(f"the file states {what} of {stated}, but its steps give {found}")
    for level, peak, found in zip(trace.levels, result.level_peaks, trace.peaks_below):
        if peak != found:
            raise FalseClaim(
                f"the file states a peak of {peak} on {level.name!r}, but its steps give {found}"
            )
    _check_checkpoints(result, trace)
    _check_bound(result, trace, allowed)
    if result.budget is not None and trace.peak > result.budget:
        raise OverBudget(f"the peak {trace.peak} exceeds the file's own budget {result.budget}")


def _check_checkpoints(result: Result, trace: Trace) -> None:
    if not result.checkpoints:
        return  # not stated, or there are none
    stated, found = set(result.checkpoints), set(trace.checkpoints)
    for name in sorted(stated ^ found):
        where = "isn't" if name in stated else "is"
        raise FalseClaim(
            f"the file states {len(stated)} checkpoints, but its steps give {len(found)}:"
            f" {name!r} {where} live when the backward pass starts"
        )


def _check_bound(result: Result, trace: Trace, allowed: float) -> None:
    """A bound above the makespan is false; a bound below it proves nothing optimal.

    The makespan is the compute, where there are no levels below the device.
    """
    if result.status in (Status.INFEASIBLE, Status.UNKNOWN):
        raise FalseClaim(f"the file states the status {result.status}, but has a schedule")
    bound = result.lower_bound
    if bound is not None and bound - trace.makespan > allowed:
        raise FalseClaim(
            f"the file states the lower bound {bound}, but its steps take {trace.makespan}"
        )
    known = least_compute(trace.graph) if bound is None else bound
    if result.status is Status.OPTIMAL and trace.makespan - known > allowed:
        raise FalseClaim(
            f"the file states the status optimal, but its bound is {known}"
            f" and its steps take {trace.makespan}"
        )
