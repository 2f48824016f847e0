"""`schedule info` and `example`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from schedule.cli.options import levels_given, on_levels
from schedule.cli.shell import (
    DONE,
    help_option,
    names_from,
    on_graph,
    read_graph,
    remark,
    require_writable,
    show,
    show_json,
    sink,
)
from schedule.errors import BadOption

if TYPE_CHECKING:
    from schedule.bounds import Floor


@click.command(epilog="Example:  schedule info unet.json.gz")
@click.option(
    "--time-limit",
    type=click.FloatRange(min=0),
    default=6.0,
    show_default=True,
    metavar="S",
    help="Seconds for the least budget and the bounds; 0 leaves them out.",
)
@on_levels
@on_graph
def info(
    graph: str,
    memory_attribute: str,
    compute_attribute: str,
    time_limit: float,
    host: str | None,
    link: str | None,
    as_json: bool,
) -> int:
    """Show what GRAPH holds: nodes, tensors, its peak, and what budgets it can have.

    The floor is what some node needs in any case: no schedule fits less. The
    least budget is that of a schedule that was replayed, with what is proved to
    be needed; the bounds say what no schedule can beat. With --host and --link the
    same is shown for schedules that may copy tensors to a host.
    """
    from schedule.budgets.summary import Summary

    levels = levels_given(host, link)
    loaded = read_graph(graph, memory_attribute, compute_attribute)
    summary = Summary.of(loaded, time_limit, levels)
    if summary.interrupted:
        remark("interrupted; with more time the least budget and the bounds may get closer")
    if as_json:
        show_json(summary.to_json())
    else:
        from schedule.report.tables import summary_table

        show(summary_table(summary))
        if summary.level_floor is not None:
            _show_levels(summary.level_floor, summary.makespan_bounds)
    return DONE


def _show_levels(floor: Floor, bounds: dict[str, float | None]) -> None:
    from schedule.report.tables import ListTable
    from schedule.sizes import format_enough, format_share

    rows = [("floor", *format_enough(floor.memory))]
    for share, bound in bounds.items():
        found = "no schedule fits" if bound is None else f"at least {format_share(bound)} makespan"
        rows.append((f"budget {share}", found))
    show("", ListTable(("with a host", "in any order"), rows))


@click.command(epilog="Example:  schedule example chain --size layers=64 -o chain.json")
@click.argument("name", required=False, shell_complete=names_from("schedule.examples", "EXAMPLES"))
@click.option(
    "--size",
    "sizes",
    multiple=True,
    metavar="KEY=N",
    help="How large to make it, as often as it has sizes.",
)
@sink("-o", "--output", help="File to write, gzipped where it ends in .gz.")
@help_option
def example(name: str | None, sizes: tuple[str, ...], output: str | None) -> int:
    """Write the example graph NAME to a file (or to standard output).

    Without NAME: list the examples.
    """
    from schedule import examples
    from schedule.frontends.files import write
    from schedule.frontends.graph_format import graph_to_json

    if name is None:
        from schedule.report.tables import ListTable

        if sizes or output is not None:
            raise BadOption("which example? 'schedule example' lists them")
        show(ListTable(("example", "what it is"), examples.EXAMPLES.items()))
        return DONE
    require_writable(output)
    graph = examples.example(name, **dict(_size(text) for text in sizes))
    if output is None:
        show_json(graph_to_json(graph))
    else:
        write(graph, output)
    return DONE


def _size(text: str) -> tuple[str, int]:
    key, _, number = text.partition("=")
    if not number.isdecimal() or len(number) > 9:
        raise BadOption(f"--size {text!r} is not of the form KEY=N, as layers=64")
    return key, int(number)
