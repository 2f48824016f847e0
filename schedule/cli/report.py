"""`schedule report`."""

from __future__ import annotations

import os
from collections.abc import Iterator
from typing import TYPE_CHECKING

import click

from schedule.cli.schedules import read_plan, show_fault
from schedule.cli.shell import (
    DONE,
    on_graph,
    read_graph,
    require_writable,
    show,
    show_json,
    sink,
    source,
)
from schedule.errors import BadOption, InvalidSchedule
from schedule.files import STANDARD

if TYPE_CHECKING:
    from schedule.budgets.curve import Sweep
    from schedule.graph import Graph
    from schedule.result import Result


@click.command(epilog="Example:  schedule report unet.json.gz plan.json -o report.html")
@sink("-o", "--output", required=True, help="File to write.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["html", "trace", "dot", "gantt", "arena"]),
    help="What to write, where the ending of OUT doesn't say: .html, .json (trace), .dot,"
    " or .svg, .png, .pdf (gantt).",
)
@on_graph
@source("schedule")
def report(
    graph: str,
    schedule: str,
    memory_attribute: str,
    compute_attribute: str,
    output: str,
    kind: str | None,
    as_json: bool,
) -> int:
    """Show where memory goes under SCHEDULE: write a page, a trace or a picture.

    html: a page to explore it with, which needs no network. trace: for Perfetto
    and chrome://tracing. dot: a small graph for Graphviz. gantt: what is live
    when, as a picture. arena: what lies where when, of a schedule that has addresses
    ('schedule place'); the page shows it, too. The schedule is replayed on paper
    first, as by 'verify'.

    SCHEDULE may be the directory of a sweep: its page shows the curve, and any
    of its schedules.
    """
    from schedule.report.writing import report_kind, write_report

    wanted = report_kind(output, kind, by="--format")
    require_writable(output, graph, schedule)
    loaded = read_graph(graph, memory_attribute, compute_attribute)
    try:
        plan = _read(schedule, loaded, wanted)
        write_report(loaded, plan, output, wanted)
    except InvalidSchedule as error:
        return show_fault(error, as_json)
    if as_json:
        show_json({"written": output, "format": wanted, "bytes": os.path.getsize(output)})
    else:
        show(*_said(loaded, plan, output, wanted))
    return DONE


def _said(graph: Graph, plan: Result | Sweep, output: str, kind: str) -> Iterator[str]:
    """What was written, and what it is about: the plan beside the program as it is."""
    from schedule.budgets.curve import Sweep
    from schedule.lowering import in_order
    from schedule.report.tables import beside
    from schedule.verification import verify

    if output != STANDARD:
        yield f"{output}: {kind}, {os.path.getsize(output) / 1000:.0f} kB"
    yield str(plan) if isinstance(plan, Sweep) else beside(in_order(graph), verify(graph, plan))


def _read(path: str, graph: Graph, kind: str) -> Result | Sweep:
    """The schedule in a file, or those of a sweep in a directory."""
    from schedule.budgets.reading import read_sweep

    if not os.path.isdir(path):
        return read_plan(path, graph)
    if kind != "html":
        raise BadOption(f"{path!r} is a directory: for a sweep there is only a page (.html)")
    return read_sweep(graph, path)
