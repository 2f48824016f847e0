"""`schedule place`."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import click

from schedule.cli.schedules import read_plan, show_fault
from schedule.cli.shell import (
    DONE,
    INTERRUPTED,
    NOT,
    on_graph,
    output_text,
    read_graph,
    remark,
    remark_compiling,
    require_writable,
    show,
    show_json,
    sink,
    source,
)
from schedule.errors import BadOption, InvalidSchedule

if TYPE_CHECKING:
    from schedule.arena.arena import Arena
    from schedule.result import Result


@click.command(
    epilog="Example:  schedule place unet.json.gz plan.json --alignment 64 -o placed.json"
)
@click.option(
    "--capacity",
    metavar="B",
    help="Stop at an arena within it, an integer or a size (512MiB); by default the smallest"
    " is sought.",
)
@click.option(
    "--alignment", type=int, default=1, show_default=True, metavar="N", help="Of every offset."
)
@click.option(
    "--inputs",
    type=click.Choice(["inside", "outside"]),
    default="inside",
    show_default=True,
    help="Whether resident inputs are placed, too.",
)
@click.option(
    "--time-limit",
    type=float,
    default=10.0,
    show_default=True,
    metavar="S",
    help="Seconds after which the best found is returned.",
)
@click.option(
    "--seed", type=int, default=0, show_default=True, metavar="N", help="Of random choices."
)
@click.option(
    "--workers", type=int, default=2, show_default=True, metavar="N", help="Threads at most."
)
@sink(
    "-o",
    "--output",
    help="File to write: the schedule with its addresses; of lifetimes, .csv or .json.",
)
@on_graph
@source("schedule", required=False)
def place(
    graph: str,
    schedule: str | None,
    memory_attribute: str,
    compute_attribute: str,
    capacity: str | None,
    alignment: int,
    inputs: str,
    time_limit: float,
    seed: int,
    workers: int,
    output: str | None,
    as_json: bool,
) -> int:
    """Give every allocation of SCHEDULE an offset in one arena, as small as possible.

    Without SCHEDULE, GRAPH is a CSV of lifetimes: id,lower,upper,size. Ctrl-C ends the
    search: the best found so far is printed and written.
    """
    from schedule.arena import placing
    from schedule.frontends.lifetimes import read_lifetimes

    plan: Result | None = None
    require_writable(output, graph, *([] if schedule is None else [schedule]))
    if schedule is not None and output is not None and output.endswith((".csv", ".csv.gz")):
        raise BadOption(f"{output}: a schedule's addresses are part of its file; give a .json")
    asked = {"capacity": capacity, "alignment": alignment, "time_limit": time_limit}
    asked |= {"seed": seed, "workers": workers}
    if schedule is None:
        if inputs != "inside":
            raise BadOption("--inputs is about a schedule: lifetimes have none")
        arena = placing.place(read_lifetimes(graph), **asked)  # type: ignore[arg-type]
    else:
        loaded = read_graph(graph, memory_attribute, compute_attribute)
        try:
            plan = read_plan(schedule, loaded)
            arena = placing.place(loaded, plan, inputs=inputs, **asked)  # type: ignore[arg-type]
        except InvalidSchedule as error:
            return show_fault(error, as_json)
    if arena.interrupted:
        best = "" if arena.offsets is None else "; this is the best that was found"
        remark(f"interrupted{best}")
    if arena.compiling:
        remark_compiling(f"{arena.compiling:.1f} s of this")
    try:
        if output is not None:
            _save(arena, plan, output)
    finally:  # the answer is printed even where it can't be written
        _show(arena, as_json)
    if arena.offsets is not None:
        return DONE
    return INTERRUPTED if arena.interrupted and arena.status == "unknown" else NOT


def _save(arena: Arena, plan: Result | None, output: str) -> None:
    if arena.offsets is None:
        remark(
            f"nothing is written to {output_text(output)}: nothing was found within the capacity"
        )
    elif plan is None:
        arena.save(output)
    else:
        replace(plan, addresses=arena.addresses).save(output)


def _show(arena: Arena, as_json: bool) -> None:
    if as_json:
        show_json(arena.to_json())
        return
    from schedule.report.tables import FactsTable

    show(str(arena), "", FactsTable(arena.rows()))
