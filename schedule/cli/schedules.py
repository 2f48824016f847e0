"""SCHEDULE, the file that several commands read: what it states, and what its steps do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedule.cli.shell import NOT, show, show_json
from schedule.errors import InvalidSchedule, WrongGraph

if TYPE_CHECKING:
    from schedule.graph import Graph
    from schedule.memory import Trace
    from schedule.result import Result


def read_plan(path: str, graph: Graph) -> Result:
    """What the file at `path` states; WrongGraph, naming the file, where it's for another graph."""
    from schedule.files import path_text
    from schedule.frontends.files import read_schedule

    stated = read_schedule(path)
    if stated.schedule is not None:
        try:
            stated.schedule.require(graph)
        except WrongGraph as error:
            raise WrongGraph(f"{path_text(path)}: {error}") from None
    return stated


def checked_plan(graph: Graph, stated: Result, limit: int | None = None) -> Trace:
    """The trace of a schedule that is valid, fits, and keeps its file's word."""
    from schedule.claims import check_claims
    from schedule.memory import verify

    trace = checked_steps(graph, stated)
    check_claims(stated, trace)
    return trace if limit is None else verify(graph, trace.codes, limit)


def checked_steps(graph: Graph, plan: Result) -> Trace:
    """The trace of the plan's steps, whatever else its file says."""
    from schedule.memory import verify

    if plan.schedule is None:
        raise InvalidSchedule(f"the file has no schedule: {plan}")
    return verify(graph, plan.schedule)


def show_fault(error: InvalidSchedule, as_json: bool) -> int:
    """Say why a schedule isn't valid; the exit status."""
    if as_json:
        fault = {"kind": type(error).__name__, "step": error.step, "message": str(error)}
        show_json({"valid": False, "fault": fault})
    else:
        show(f"not valid: {error}")
    return NOT
