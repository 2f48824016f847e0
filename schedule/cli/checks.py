"""`schedule verify` and `replay`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from schedule.cli.shell import (
    DONE,
    NOT,
    on_graph,
    read_graph,
    show,
    show_json,
)
from schedule.errors import InvalidSchedule, WrongGraph

if TYPE_CHECKING:
    from schedule.graph import Graph
    from schedule.memory import Trace
    from schedule.result import Result
    from schedule.steps import Schedule


@click.command(epilog="Example:  schedule verify unet.json.gz plan.json --budget 2GiB")
@click.option(
    "--budget",
    metavar="B",
    help="Memory that the peak must not exceed; the file's own budget always counts.",
)
@on_graph
@click.argument("schedule")
def verify(
    graph: str,
    schedule: str,
    memory_attribute: str,
    compute_attribute: str,
    budget: str | None,
    as_json: bool,
) -> int:
    """Replay SCHEDULE on paper: is it valid for GRAPH, and all that it says true?

    Prints 'valid' and its figures, or 'not valid' and the first fault with its step.
    """
    from schedule.budget import parse_budget
    from schedule.frontends.files import read_schedule

    loaded = read_graph(graph, memory_attribute, compute_attribute)
    stated = read_schedule(schedule)
    limit = None if budget is None else parse_budget(budget, loaded)
    if stated.schedule is None:
        return _show_fault("NoSchedule", None, f"the file has no schedule: {stated}", as_json)
    _require(stated.schedule, loaded, schedule)
    try:
        trace = _checked(loaded, stated, limit)
    except InvalidSchedule as error:
        return _show_fault(type(error).__name__, error.step, str(error), as_json)
    _show_trace(trace, stated, limit, as_json)
    return DONE


def _require(steps: Schedule, graph: Graph, path: str) -> None:
    """Raise WrongGraph, naming the file, unless these are steps of this graph."""
    from schedule.files import path_text

    try:
        steps.require(graph)
    except WrongGraph as error:
        raise WrongGraph(f"{path_text(path)}: {error}") from None


def _checked(graph: Graph, stated: Result, limit: int | None) -> Trace:
    """The trace of a schedule that is valid, fits, and keeps its file's word."""
    from schedule.cli.claims import check_claims
    from schedule.memory import verify

    assert stated.schedule is not None
    trace = verify(graph, stated.schedule)
    check_claims(stated, trace)
    return trace if limit is None else verify(graph, stated.schedule, limit)


def _show_fault(kind: str, step: int | None, message: str, as_json: bool) -> int:
    if as_json:
        show_json({"valid": False, "fault": {"kind": kind, "step": step, "message": message}})
    else:
        show(f"not valid: {message}")
    return NOT


def _show_trace(trace: Trace, stated: Result, limit: int | None, as_json: bool) -> None:
    budget = stated.budget if limit is None else limit
    if as_json:
        show_json(
            {
                "valid": True,
                "fault": None,
                "steps": len(trace.codes),
                "budget": budget,
                "peak": trace.peak,
                "peak_step": trace.peak_step,
                "compute": trace.compute,
                "overhead": trace.overhead,
                "checkpoints": list(trace.checkpoints),
            }
        )
        return
    from schedule.report.tables import trace_table

    show("valid", "", trace_table(trace, budget))
