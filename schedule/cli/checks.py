"""`schedule verify` and `replay`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from schedule.cli.schedules import read_plan, show_fault
from schedule.cli.shell import (
    DONE,
    NOT,
    names_from,
    on_graph,
    read_graph,
    show,
    show_json,
    source,
)
from schedule.errors import BadOption, InvalidSchedule, NotEqual, is_out_of_memory

if TYPE_CHECKING:
    from schedule.executors import Comparison
    from schedule.graph import Graph
    from schedule.memory import Trace
    from schedule.result import Result


@click.command(epilog="Example:  schedule verify unet.json.gz plan.json --budget 2GiB")
@click.option(
    "--budget",
    metavar="B",
    help="Memory that the peak must not exceed; the file's own budget always counts.",
)
@on_graph
@source("schedule")
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
    from schedule.claims import verify_claims
    from schedule.sizes import parse_budget

    loaded = read_graph(graph, memory_attribute, compute_attribute)
    limit = None if budget is None else parse_budget(budget, loaded)
    try:
        stated = read_plan(schedule, loaded)
        trace = verify_claims(loaded, stated, limit)
    except InvalidSchedule as error:
        return show_fault(error, as_json)
    _show_trace(trace, stated, limit, as_json)
    return DONE


def _show_trace(trace: Trace, stated: Result, limit: int | None, as_json: bool) -> None:
    budget = stated.budget if limit is None else limit
    if as_json:
        with_levels = {
            "makespan": trace.makespan,
            "level_peaks": dict(zip([level.name for level in trace.levels], trace.peaks_below)),
            "busy": trace.timeline.busy,
            "waited": trace.timeline.waited,
        }
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
                **(with_levels if trace.levels else {}),
            }
        )
        return
    from schedule.report.tables import trace_table

    show("valid", "", trace_table(trace, budget))


@click.command(epilog="Example:  schedule replay unet.json.gz plan.json --backend torch")
@click.option(
    "--backend",
    default="numpy",
    show_default=True,
    metavar="NAME",
    shell_complete=names_from("schedule.executors.calls", "backend_names"),
    help="Whose arrays: numpy, torch, or another package's.",
)
@click.option(
    "--kernels",
    metavar="MODULE:NAME",
    help="Your own kernels: a function that takes the graph and returns a mapping from"
    " nodes' names to callables, and a mapping of inputs.",
)
@click.option(
    "--arena",
    is_flag=True,
    help="Run SCHEDULE in one piece of memory, each array at its offset: that of the file,"
    " or one found now.",
)
@on_graph
@source("schedule")
def replay(
    graph: str,
    schedule: str,
    memory_attribute: str,
    compute_attribute: str,
    backend: str,
    kernels: str | None,
    arena: bool,
    as_json: bool,
) -> int:
    """Run SCHEDULE for real, and GRAPH as it is beside it.

    Is the measured peak of array memory the promised one, and are all outputs
    equal, bit for bit? Without --kernels each node's run is made up: it
    allocates what the graph declares, in bytes, and mixes all that it reads.
    """
    from schedule.cli.loading import load

    given = None if kernels is None else load(kernels, "--kernels")
    loaded = read_graph(graph, memory_attribute, compute_attribute)
    try:
        found = _replayed(loaded, read_plan(schedule, loaded), backend, given, kernels, arena)
    except InvalidSchedule as error:
        return show_fault(error, as_json)
    except NotEqual as error:
        if as_json:
            show_json({"equal": False, "fault": {"kind": "NotEqual", "message": str(error)}})
        else:
            show(f"not equal: {error}")
        return NOT
    _show_replay(found, as_json)
    return DONE if found.planned.exact else NOT


def _replayed(
    graph: Graph, plan: Result, backend: str, given: Any, kernels: str | None, arena: bool
) -> Comparison:
    from schedule.executors import replay_compared, replay_synthetic
    from schedule.progress import Runs

    with Runs() as runs:
        if kernels is None:
            return replay_synthetic(graph, plan, backend=backend, watch=runs.update, arena=arena)
        return replay_compared(graph, plan, _told(given, kernels), backend=backend, arena=arena)


def _told(given: Any, spec: str) -> Any:
    """The caller's kernels; what their function raises is told in a line, with its name."""
    if not callable(given):
        return given

    def kernels(graph: Graph) -> Any:
        try:
            return given(graph)
        except Exception as error:  # the function is the caller's
            if is_out_of_memory(error):
                raise
            raise BadOption(f"--kernels {spec}: {type(error).__name__}: {error}") from error

    return kernels


def _show_replay(found: Comparison, as_json: bool) -> None:
    plain, planned = found.plain, found.planned
    if as_json:
        show_json(found.to_json())
        return
    from schedule.report.tables import replay_table

    if planned.exact:
        count = len(plain.outputs)
        equal = "the only output" if count == 1 else f"all {count} outputs"
        show(f"equal: {equal}, and the measured peak is the promised one")
    else:
        more = planned.measured_peak - planned.promised_peak
        where = f"measured peak is {more:+} off" if more else "peak of a level below is another"
        show(f"not as promised: all outputs are equal, but the {where}")
    show("", replay_table(found))
