"""`schedule sweep`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from schedule.cli.options import SOLVER, machines_given, on_machines, solve_options
from schedule.cli.shell import (
    DONE,
    INTERRUPTED,
    NOT,
    directory_names,
    failure,
    on_graph,
    read_graph,
    remark,
    require_writable,
    show,
    show_json,
    sink,
)
from schedule.errors import BadOption
from schedule.progress import Watch

if TYPE_CHECKING:
    from schedule.budgets.curve import Sweep
    from schedule.budgets.running import SweepProgress
    from schedule.graph import Graph
    from schedule.levels import Level

_RANGE = (
    click.option("--from", "start", metavar="B", help="The smallest budget.  [default: 30%]"),
    click.option("--to", "stop", metavar="B", help="The largest budget.  [default: 100%]"),
    click.option("--points", type=int, metavar="N", help="How many budgets.  [default: 15]"),
    click.option("--budgets", metavar="B,...", help="These budgets instead, as 40%,2GiB,9000."),
)
_FILES = (
    click.option(
        "--directory",
        metavar="DIR",
        shell_complete=directory_names,
        help="Write each schedule there once it is known.",
    ),
    click.option("--resume", is_flag=True, help="Go on from the schedules in DIR."),
    sink("--csv", "table", help="Table to write."),
    sink("-o", "--output", help="Picture to write (.svg, .png, .pdf)."),
)


def _options(command: Any) -> Any:
    asked = solve_options(10.0, "Seconds for each budget.", "Budgets solved at once.")
    for option in reversed((*_RANGE, SOLVER, on_machines, asked, *_FILES)):
        command = option(command)
    return command


@click.command(epilog="Example:  schedule sweep unet.json.gz --from 50% -o curve.svg")
@_options
@on_graph
def sweep(
    graph: str,
    memory_attribute: str,
    compute_attribute: str,
    start: str | None,
    stop: str | None,
    points: int | None,
    budgets: str | None,
    directory: str | None,
    table: str | None,
    output: str | None,
    as_json: bool,
    host: str | None,
    links: tuple[str, ...],
    **options: Any,
) -> int:
    """Solve GRAPH at many budgets: the curve of memory against compute, also after Ctrl-C."""
    given = {"start": start, "stop": stop, "points": points}
    wanted: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if budgets is not None and wanted:
        raise BadOption("give either --budgets, or --from, --to and --points")
    machines = machines_given(host, links)
    if len(machines) > 1 and (directory is not None or table is not None):
        what = "--csv" if directory is None else "--directory"
        raise BadOption(f"{what} is for one --link; give {len(machines)} commands one each")
    for file in (table, output):
        require_writable(file, graph)
    if output is not None:
        from schedule.report.pictures import require_picture

        require_picture(output)
    if options["resume"] and directory is None:
        raise BadOption("--resume needs the directory to go on from: --directory")
    loaded = read_graph(graph, memory_attribute, compute_attribute)
    wanted["budgets"] = None if budgets is None else budgets.split(",")
    curves = _curves(loaded, machines, directory=directory, **wanted, **options)
    try:
        _save(curves, table, output)
    finally:  # the answer is printed even where it can't be written
        _show(curves, as_json)
    last = list(curves.values())[-1]
    if last.ended:
        kept = "" if directory is None else f"; --resume goes on from {directory}"
        if last.failed:
            return failure(f"{last.ended}{kept}")
        remark(f"{last.ended}{kept}")
    return min(_status(curve) for curve in curves.values())


def _curves(
    graph: Graph, machines: dict[str, tuple[Level, ...]], **options: Any
) -> dict[str, Sweep]:
    """The curve of each machine; what ends one early ends all."""
    from schedule.budgets import sweeping

    with Sweeping(graph) as watch:
        if len(machines) > 1:
            del options["directory"], options["resume"]
            return sweeping.sweeps(graph, machines, progress=watch.hear, **options)
        ((link, levels),) = machines.items()
        return {link: sweeping.sweep(graph, levels=levels, progress=watch.hear, **options)}


def _status(curve: Sweep) -> int:
    """The exit status: an answer, none, or that there was no time for one."""
    if curve.ended and len(curve.unsolved) == len(curve.points):
        return INTERRUPTED
    return DONE if curve.planned else NOT


def _save(curves: dict[str, Sweep], table: str | None, output: str | None) -> None:
    first = next(iter(curves.values()))
    if table is not None:
        first.save_csv(table)
    if output is not None:
        from schedule.report.curves import curve_picture, curves_picture
        from schedule.report.pictures import save_picture

        save_picture(curve_picture(first) if len(curves) == 1 else curves_picture(curves), output)


def _show(curves: dict[str, Sweep], as_json: bool) -> None:
    if as_json:
        told = [curve.to_json() for curve in curves.values()]
        show_json(told[0] if len(told) == 1 else {"curves": told})
        return
    from schedule.report.tables import sweep_table

    for at, (link, curve) in enumerate(curves.items()):
        head = [] if len(curves) == 1 else [*([""] if at else []), f"link {link}"]
        proofs = [point.shortfall.reason for point in curve.points if point.shortfall is not None]
        show(*head, str(curve), "", sweep_table(curve), *(f"\n{proof}" for proof in proofs[-1:]))


class Sweeping(Watch):
    """What a sweep is doing: budgets done, time left, and best, bound and gap at one of them.

    Parameters
    ----------
    graph
        What is swept: overheads are relative to its compute.
    """

    def __init__(self, graph: Graph) -> None:
        super().__init__(graph, 0.0)
        self._news: SweepProgress | None = None

    def hear(self, news: SweepProgress) -> None:
        """Take the news; a `progress` callback for `schedule.sweep`."""
        if news.latest is not None:
            self.update(news.latest)
        self._news = news

    def text(self, seconds: float) -> str:
        """All that on one line."""
        from schedule.sizes import format_memory

        news = self._news
        if news is None:
            return "starting"
        parts = [f"{news.done} of {news.total} budgets"]
        if news.seconds_left is not None:
            left = max(0.0, news.seconds_left + news.seconds - seconds)
            parts.append(f"at most {left:.0f} s left")
        if news.latest is not None:
            found = super().text(seconds).partition(", ")[2]  # without solver and time
            parts.append(f"at {format_memory(news.budget)} {found}")
        return ", ".join(parts)
