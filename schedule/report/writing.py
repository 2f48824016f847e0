"""A report of any kind, written to a file: what `schedule report` does."""

from __future__ import annotations

import os
from typing import Literal, cast, get_args

from schedule.budgets.curve import Sweep
from schedule.claims import verify_claims
from schedule.errors import BadOption
from schedule.files import AnyPath, path_text
from schedule.graph import Graph
from schedule.memory import Trace
from schedule.result import Result
from schedule.steps import AnySchedule
from schedule.values import shown
from schedule.verification import verify

#: A page to explore, a trace for Perfetto, a graph for Graphviz, a picture of what is live when.
#: And, where there are addresses, of what lies where when.
Kind = Literal["html", "trace", "dot", "gantt", "arena"]
#: By ending, what is written where nothing else is said.
ENDINGS: dict[str, Kind] = {
    ".html": "html",
    ".htm": "html",
    ".json": "trace",
    ".dot": "dot",
    ".gv": "dot",
    ".svg": "gantt",
    ".png": "gantt",
    ".pdf": "gantt",
}


def write_report(
    graph: Graph, plan: AnySchedule | Sweep, path: AnyPath, kind: str | None = None
) -> Kind:
    """Write a file that shows where memory goes under a schedule, whole or not at all.

    Parameters
    ----------
    graph
        The graph that the schedule is for.
    plan
        As for `schedule.verify`; a result has to keep its own word, too, as
        `schedule.verify_claims` says. Or a `Sweep`, whose page shows its curve
        and each of its schedules.
    path
        The file to write.
    kind
        `"html"`, a page to explore the schedule with; `"trace"`, for Perfetto
        and chrome://tracing; `"dot"`, a small graph for Graphviz; `"gantt"`, a
        picture of what is live when; `"arena"`, of what lies where when, where the
        result has addresses. None: what the ending of `path` says.

    Returns
    -------
    str
        The kind that was written.

    Raises
    ------
    BadOption
        A kind or an ending that isn't one; a graph too large for Graphviz; a
        sweep in another form than a page, or without a schedule; an arena without
        addresses.
    WrongGraph, InvalidSchedule, BadInput
        As `schedule.verify` and `schedule.verify_claims`.
    BadOutput
        The file can't be written; what was there before is still there.
    MissingExtra
        A picture, and matplotlib isn't installed.

    Examples
    --------
    >>> import tempfile
    >>> import schedule
    >>> graph = schedule.example("chain")
    >>> plan = schedule.solve(graph, "50%")
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     schedule.write_report(graph, plan, f"{folder}/chain.html")
    'html'
    """
    wanted = report_kind(path, kind)
    if isinstance(plan, Sweep):
        if wanted != "html":
            raise BadOption(f"of a sweep there is only a page (.html), not {wanted!r}")
        from schedule.report.page import write_sweep_page

        write_sweep_page(graph, plan, path)
        return wanted
    result = plan if isinstance(plan, Result) else None
    trace = verify(graph, plan) if result is None else verify_claims(graph, result)
    if wanted == "dot":
        trace.require_no_copies(f"{wanted!r}")
    _write(wanted, trace, path, result)
    return wanted


def report_kind(path: AnyPath, kind: str | None = None, by: str = "kind=") -> Kind:
    """What `write_report` will write, asked before any long work.

    `by` is what the caller calls `kind`.

    Raises
    ------
    BadOption, BadOutput, MissingExtra
        As `write_report`, as far as path and kind say it.
    """
    if kind is None:
        wanted = _ending(path, by)
    elif kind in get_args(Kind):
        wanted = cast(Kind, kind)
    else:
        raise BadOption(f"kind is {shown(kind)}; it is one of {', '.join(get_args(Kind))}")
    if wanted in ("gantt", "arena"):
        from schedule.report.pictures import require_picture

        require_picture(path)
    return wanted


def _ending(path: AnyPath, by: str) -> Kind:
    """What the ending of `path` asks for."""
    text = path_text(path)
    ending = os.path.splitext(text.removesuffix(".gz"))[1].lower()
    if ending not in ENDINGS:
        kinds = ", ".join(get_args(Kind))
        raise BadOption(
            f"{text!r} ends in none of {', '.join(ENDINGS)}; say what to write by {by} ({kinds})"
        )
    return ENDINGS[ending]


def _write(kind: Kind, trace: Trace, path: AnyPath, result: Result | None) -> None:
    """Each kind loads only what it needs."""
    budget = None if result is None else result.budget
    if kind == "html":
        from schedule.report.page import write_page

        write_page(trace, path, result)
    elif kind == "trace":
        from schedule.report.tracefile import write_trace

        write_trace(trace, path, budget)
    elif kind == "dot":
        from schedule.report.dot import write_dot

        write_dot(trace, path)
    elif kind == "arena":
        from schedule.report.arena import arena_picture
        from schedule.report.pictures import save_picture

        if result is None or result.addresses is None:
            raise BadOption("the schedule has no addresses: 'schedule place' gives it some")
        save_picture(arena_picture(trace, result.addresses), path)
    else:
        from schedule.report.gantt import gantt_picture
        from schedule.report.pictures import save_picture

        save_picture(gantt_picture(trace, budget), path)
