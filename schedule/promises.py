"""Schedules that somebody runs: one within the budget, or the reason why there is none."""

from __future__ import annotations

from dataclasses import replace

from schedule.errors import DoesNotFit
from schedule.files import AnyPath
from schedule.frontends.files import read_schedule
from schedule.graph import Graph
from schedule.memory import Trace
from schedule.options import SolveOptions
from schedule.planner import solve
from schedule.result import Result
from schedule.sizes import parse_budget
from schedule.solvers import Solver
from schedule.verification import verify


def promised(
    graph: Graph, budget: int | str | None, solver: str | Solver, options: SolveOptions
) -> Result:
    """A schedule within the budget; a share is of the graph's peak as it is.

    Raises
    ------
    DoesNotFit
        None is known; says the least that is needed.
    KeyboardInterrupt
        None was known yet.
    """
    return fitting(graph, solve(graph, budget, solver, options=options), options)


def fitting(graph: Graph, result: Result, options: SolveOptions) -> Result:
    """What a solve found, where it found a schedule; raises as `promised` does."""
    if result.shortfall is not None:
        if result.interrupted and options.cancel is None and options.work_limit is None:
            raise KeyboardInterrupt
        raise DoesNotFit(f"{graph.name}: {result.shortfall.reason}")
    return result


def promised_before(
    graph: Graph, schedule: AnyPath | Result, budget: int | str | None = None
) -> Result:
    """A schedule that was made before; its figures are the replayed ones.

    Raises
    ------
    WrongGraph
        It was made for another graph.
    InvalidSchedule
        It doesn't keep to the budget; None: its own.
    BadInput
        It copies between levels of memory.
    """
    found = schedule if isinstance(schedule, Result) else read_schedule(schedule)
    limit = found.budget if budget is None else parse_budget(budget, graph)
    trace = verify(graph, found, limit).require_no_copies("what is planned here")
    return restated(graph, found, limit, trace)


def restated(graph: Graph, result: Result, limit: int | None, trace: Trace) -> Result:
    """A result with the figures of its schedule as the graph has them, by its trace."""
    return replace(
        result,
        budget=limit,
        graph_compute=graph.compute,
        peak=trace.peak,
        compute=trace.compute,
        overhead=trace.overhead,
        checkpoints=trace.checkpoints,
        level_peaks=trace.peaks_below,
        makespan=trace.makespan if trace.levels else None,
        trace=trace,
    )
