"""A schedule as one HTML page that needs nothing else: no network, no server, no library."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from html import escape
from importlib.resources import files
from typing import TYPE_CHECKING, Any

import numpy as np

from schedule.errors import BadOption, WrongGraph
from schedule.files import AnyPath, write_bytes
from schedule.graph import Graph
from schedule.layout import Ints
from schedule.lowering import in_order
from schedule.memory import Trace
from schedule.report.arena import arena_section
from schedule.report.lanes import lanes_section
from schedule.result import Result
from schedule.sizes import parse_memory
from schedule.verification import verify

if TYPE_CHECKING:
    from schedule.budgets.curve import Sweep


#: The page's scripts, in the order in which they build on one another.
_SCRIPTS = ("text", "model", "chart", "live", "why", "search", "controls", "curve", "page")


def page(trace: Trace, result: Result | None = None, budget: int | None = None) -> str:
    """The page's HTML: a timeline of memory, what is live at any step, and why.

    Parameters
    ----------
    trace
        What `schedule.verify` returns for the schedule.
    result
        Where it comes from, for the solver, the bound and the status.
    budget
        In the graph's unit; by default that of `result`.

    Returns
    -------
    str
        One document with its style, its script and its data; it loads nothing.

    Notes
    -----
    O(steps + edges), in time and in size: names once, steps as integers.

    Examples
    --------
    >>> import schedule
    >>> from schedule.report.page import page
    >>> graph = schedule.example("chain")
    >>> plan = schedule.solve(graph, "50%")
    >>> html = page(schedule.verify(graph, plan.schedule), plan)
    >>> html.startswith("<!doctype html>"), "https://" in html
    (True, False)
    """
    arena = None if result is None else result.addresses
    sections = [lanes_section(trace)] if trace.copies else []
    sections += [] if arena is None else [arena_section(trace, arena)]
    return _document(page_data(trace, result, budget), "".join(sections))


def sweep_page(graph: Graph, sweep: Sweep) -> str:
    """The same for many budgets: their curve, and the page of the one that is chosen.

    It begins with the knee, where the curve has one, else with the smallest
    budget that has a schedule.

    Parameters
    ----------
    graph
        What was swept.
    sweep
        What `schedule.budgets.sweep` returns.

    Raises
    ------
    BadOption
        No budget has a schedule.
    WrongGraph
        The sweep is one of another graph.
    InvalidSchedule
        A schedule breaks a rule of the memory model, or its budget.
    """
    if sweep.digest != graph.digest:
        raise WrongGraph(f"the sweep is one of graph {sweep.graph_name!r}, not of {graph.name!r}")
    if not sweep.planned:
        raise BadOption("no budget of this sweep has a schedule: there is nothing to show")
    traces = [verify(graph, point, point.budget, point.levels) for point in sweep.planned]
    return _document(sweep_data(graph, sweep, traces))


def write_page(
    trace: Trace, path: AnyPath, result: Result | None = None, budget: int | None = None
) -> None:
    """Write `page` to a file, whole or not at all.

    Raises
    ------
    BadOutput
        The file can't be written; what was there before is still there.
    """
    write_bytes(path, page(trace, result, budget).encode("utf-8"))


def write_sweep_page(graph: Graph, sweep: Sweep, path: AnyPath) -> None:
    """Write `sweep_page` to a file, whole or not at all.

    Raises
    ------
    BadOption, WrongGraph, InvalidSchedule
        As `sweep_page`.
    BadOutput
        The file can't be written; what was there before is still there.
    """
    write_bytes(path, sweep_page(graph, sweep).encode("utf-8"))


def page_data(trace: Trace, result: Result | None, budget: int | None) -> dict[str, Any]:
    """What the page's script works on, as plain data: the graph, and one plan."""
    if budget is None and result is not None:
        budget = result.budget
    elif budget is not None:
        budget = parse_memory(budget, "budget")
    return _graph_data(trace.graph) | {
        "plans": [_plan_data(trace, result, budget)],
        "first": 0,
        "curve": None,
    }


def sweep_data(graph: Graph, sweep: Sweep, traces: Sequence[Trace]) -> dict[str, Any]:
    """The same with a plan for each of `sweep.planned`, whose traces these are."""
    planned = sweep.planned
    number = {point.budget: at for at, point in enumerate(planned)}
    knee = sweep.knee
    return _graph_data(graph) | {
        "plans": [_plan_data(trace, point, point.budget) for trace, point in zip(traces, planned)],
        "first": 0 if knee is None else number[knee.budget],
        "curve": [
            {
                "budget": point.budget,
                "share": sweep.share(point.budget or 0),
                "plan": number.get(point.budget, -1),
                "overhead": point.objective_overhead,
                "bound": point.bound_overhead,
                "peak": point.peak,
                "status": str(point.status),
                "knee": point is knee,
            }
            for point in sweep.points
        ],
    }


def _document(data: dict[str, Any], pictures: str = "") -> str:
    """The page with its style, its scripts, its data and pictures of lanes and arena put in."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    parts = {
        "title": escape(data["graph"]["name"]),
        "pictures": pictures,
        "style": _asset("page.css"),
        "script": "\n".join(_asset(f"{name}.js") for name in _SCRIPTS),
        # Nothing in the data can then end the element, or begin a comment in it.
        "data": text.replace("<", "\\u003c").replace(">", "\\u003e"),
    }
    # One pass: what is put in isn't searched for places to put things.
    return re.sub(r"\{\{(\w+)\}\}", lambda place: parts[place[1]], _asset("page.html"))


def _plan_data(trace: Trace, result: Result | None, budget: int | None) -> dict[str, Any]:
    """One schedule, and what is said about it.

    `codes` are the steps (see `schedule.layout`). Memory in use comes as the
    differences from one step to the next, beginning with that of the first
    step; there is one more value than steps, for the end.
    """
    return {
        "codes": trace.codes.tolist(),
        "memory": _line(trace),
        "peak": trace.peak,
        "peakStep": trace.peak_step,
        "turn": -1 if trace.boundary is None else trace.boundary,
        "budget": budget,
        "compute": trace.compute,
        "overhead": trace.overhead,
        "makespan": trace.makespan if trace.levels else None,
        "levels": [level.name for level in trace.levels],
        "checkpoints": len(trace.held_checkpoints),
        "bound": None if result is None else result.bound_overhead,
        "status": None if result is None else str(result.status),
        "solver": None if result is None else result.solver,
        "order": None if result is None else result.order,
    }


def _graph_data(graph: Graph) -> dict[str, Any]:
    """The graph, names once, numbers in the order of its layout; and its run as it is."""
    layout, plain = graph.layout, in_order(graph)
    names: list[str | int] = list(layout.tensor_names)
    for v, outputs in enumerate(layout.outputs_of):
        for tensor in outputs:
            if names[tensor] == layout.node_names[v]:
                names[tensor] = 0  # called like its node
    nodes = {
        "name": graph.name,
        "nodes": layout.node_names,
        "tensors": names,
        "outputs": np.diff(layout.first_output).tolist(),
        "reads": layout.reads_of,
        "sizes": layout.memory.tolist(),
        "storage": (np.arange(layout.n_tensors) - layout.storage).tolist(),
        "costs": [node.compute for node in graph.nodes],
        "workspace": layout.workspace.tolist(),
        "backward": layout.backward.astype(int).tolist(),
        "again": layout.recomputable.astype(int).tolist(),
        "resident": layout.resident[: layout.n_inputs].astype(int).tolist(),
        "results": np.flatnonzero(layout.is_output).tolist(),
    }
    return {"graph": nodes, "plain": _line(plain), "plainPeak": plain.peak}


def _line(trace: Trace) -> list[int]:
    """Memory in use during every step and at the end, each as what it adds to the last."""
    end: Ints = trace.after[-1:] if len(trace.after) else np.array([trace.start])
    changes: list[int] = np.diff(np.concatenate([trace.during, end]), prepend=0).tolist()
    return changes


def _asset(name: str) -> str:
    return files("schedule.report").joinpath("assets", name).read_text("utf-8")
