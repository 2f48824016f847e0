"""`schedule report`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import click

from schedule.cli.schedules import checked_plan, read_plan, show_fault
from schedule.cli.shell import (
    DONE,
    file_names,
    on_graph,
    read_graph,
    require_writable,
    show,
    show_json,
)
from schedule.errors import BadOption, InvalidSchedule

if TYPE_CHECKING:
    from schedule.graph import Graph
    from schedule.result import Result

#: By ending, what is written where --format doesn't say.
_ENDINGS = {
    ".html": "html",
    ".htm": "html",
    ".json": "trace",
    ".dot": "dot",
    ".gv": "dot",
    ".svg": "gantt",
    ".png": "gantt",
    ".pdf": "gantt",
}


@click.command(epilog="Example:  schedule report unet.json.gz plan.json -o report.html")
@click.option("-o", "--output", required=True, metavar="OUT", help="File to write.")
@click.option(
    "--format",
    "kind",
    type=click.Choice(["html", "trace", "dot", "gantt"]),
    help="What to write, where the ending of OUT doesn't say: .html, .json (trace), .dot,"
    " or .svg, .png, .pdf (gantt).",
)
@on_graph
@click.argument("schedule", shell_complete=file_names)
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
    when, as a picture. The schedule is replayed on paper first, as by 'verify'.

    SCHEDULE may be the directory of a sweep: its page shows the curve, and any
    of its schedules.
    """
    wanted = _kind(output) if kind is None else kind
    require_writable(output, graph, schedule)
    if wanted == "gantt":
        from schedule.report.pictures import require_picture

        require_picture(output)
    loaded = read_graph(graph, memory_attribute, compute_attribute)
    try:
        if os.path.isdir(schedule):
            _write_sweep(wanted, loaded, schedule, output)
        else:
            _write(wanted, loaded, read_plan(schedule, loaded), output)
    except InvalidSchedule as error:
        return show_fault(error, as_json)
    size = os.path.getsize(output)
    if as_json:
        show_json({"written": output, "format": wanted, "bytes": size})
    else:
        show(f"{output}: {wanted}, {size / 1000:.0f} kB")
    return DONE


def _kind(output: str) -> str:
    """What the ending of `output` asks for."""
    ending = os.path.splitext(output.removesuffix(".gz"))[1].lower()
    if ending not in _ENDINGS:
        known = ", ".join(_ENDINGS)
        raise BadOption(f"{output!r} ends in none of {known}; say what to write with --format")
    return _ENDINGS[ending]


def _write(kind: str, graph: Graph, stated: Result, output: str) -> None:
    """Each kind loads only what it needs."""
    trace = checked_plan(graph, stated)
    if kind == "html":
        from schedule.report.page import write_page

        write_page(trace, output, stated)
    elif kind == "trace":
        from schedule.report.tracefile import write_trace

        write_trace(trace, output, stated.budget)
    elif kind == "dot":
        from schedule.report.dot import write_dot

        write_dot(trace, output)
    else:
        from schedule.report.gantt import gantt_picture
        from schedule.report.pictures import save_picture

        save_picture(gantt_picture(trace, stated.budget), output)


def _write_sweep(kind: str, graph: Graph, directory: str, output: str) -> None:
    """The page of the schedules in `directory`, one a budget."""
    from schedule.budgets.reading import read_sweep
    from schedule.report.page import write_sweep_page

    if kind != "html":
        raise BadOption(f"{directory!r} is a directory: for a sweep there is only a page (.html)")
    write_sweep_page(graph, read_sweep(graph, directory), output)
