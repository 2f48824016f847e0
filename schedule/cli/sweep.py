"""`schedule sweep`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from schedule.cli.options import SOLVER, solve_options
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

_RANGE = (
    click.option("--from", "start", metavar="B", help="The smallest budget.  [default: 30%]"),
    click.option("--to", "stop", metavar="B", help="The largest budget.  [default: 100%]"),
    click.option("--points", type=int, metavar="N", help="How many budgets.  [default: 15]"),
    click.option("--budgets", metavar="B,…", help="These budgets instead, as 40%,2GiB,9000."),
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
    for option in reversed((*_RANGE, SOLVER, asked, *_FILES)):
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
    **options: Any,
) -> int:
    """Solve GRAPH at many budgets: the curve of memory against compute, also after Ctrl-C."""
    from schedule.budgets import running

    given = {"start": start, "stop": stop, "points": points}
    wanted: dict[str, Any] = {key: value for key, value in given.items() if value is not None}
    if budgets is not None and wanted:
        raise BadOption("give either --budgets, or --from, --to and --points")
    for file in (table, output):
        require_writable(file, graph)
    if output is not None:
        from schedule.report.pictures import require_picture

        require_picture(output)
    loaded = read_graph(graph, memory_attribute, compute_attribute)
    with Sweeping(loaded) as watch:
        curve = running.sweep(
            loaded,
            None if budgets is None else budgets.split(","),
            directory=directory,
            progress=watch.hear,
            **wanted,
            **options,
        )
    try:
        _save(curve, table, output)
    finally:  # the answer is printed even where it can't be written
        _show(curve, as_json)
    if curve.ended:
        kept = "" if directory is None else f"; --resume goes on from {directory}"
        if curve.failed:
            return failure(f"{curve.ended}{kept}")
        remark(f"{curve.ended}{kept}")
    return _status(curve)


def _status(curve: Sweep) -> int:
    """The exit status: an answer, none, or that there was no time for one."""
    if curve.ended and len(curve.unsolved) == len(curve.points):
        return INTERRUPTED
    return DONE if curve.planned else NOT


def _save(curve: Sweep, table: str | None, output: str | None) -> None:
    if table is not None:
        curve.save_csv(table)
    if output is not None:
        from schedule.report.curves import curve_picture
        from schedule.report.pictures import save_picture

        save_picture(curve_picture(curve), output)


def _show(curve: Sweep, as_json: bool) -> None:
    if as_json:
        show_json(curve.to_json())
        return
    from schedule.report.tables import sweep_table

    proofs = [point.shortfall.reason for point in curve.points if point.shortfall is not None]
    show(str(curve), "", sweep_table(curve), *(f"\n{proof}" for proof in proofs[-1:]))


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
