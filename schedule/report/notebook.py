"""What a notebook shows of a graph, a result and a sweep: a table, and a picture."""

from __future__ import annotations

from collections.abc import Iterable
from functools import singledispatch
from html import escape

from schedule.budgets.curve import Sweep
from schedule.errors import MissingExtra
from schedule.graph import Graph
from schedule.lowering import in_order
from schedule.report.curves import curve_picture
from schedule.report.pictures import memory_picture, picture_bytes
from schedule.result import Result
from schedule.sizes import format_memory


@singledispatch
def html(thing: object) -> str:
    """Everything there is to say, as a table, with the picture of `svg`.

    A graph is drawn as it is, a result with its memory before and after, a sweep with
    its curve. Notebooks show this and not `svg`, where an object has both.

    Examples
    --------
    >>> import schedule
    >>> from schedule.report.notebook import html
    >>> html(schedule.example("chain")).startswith("<table>")
    True
    """
    raise TypeError(f"nobody knows how to draw a {type(thing).__name__}")


@singledispatch
def svg(thing: object) -> str | None:
    """The picture alone; None without matplotlib, or where there is nothing to draw."""
    raise TypeError(f"nobody knows how to draw a {type(thing).__name__}")


@html.register
def _graph_html(graph: Graph) -> str:
    backward = int(graph.layout.backward.sum())
    rows = [
        ("graph", graph.name),
        ("nodes", str(len(graph.nodes)) + (f", {backward} backward" if backward else "")),
        ("tensors", str(graph.layout.n_tensors)),
        ("compute", f"{graph.compute} with every node once"),
        ("peak", f"{format_memory(in_order(graph).peak)}, nothing recomputed"),
    ]
    return _facts(rows, svg(graph))


@svg.register
def _graph_svg(graph: Graph) -> str | None:
    """Memory over the steps of the program as it is."""
    try:
        return _element(picture_bytes(memory_picture({"as it is": in_order(graph)}), "svg"))
    except MissingExtra:
        return None


@html.register
def _result_html(result: Result) -> str:
    return _facts(result.rows(), svg(result))


@svg.register
def _result_svg(result: Result) -> str | None:
    """Memory before and after; None where the trace isn't known."""
    trace = result.trace
    if trace is None:
        return None
    traces = {"as it is": in_order(trace.graph), "planned": trace}
    try:
        return _element(picture_bytes(memory_picture(traces, result.budget), "svg"))
    except MissingExtra:
        return None


@html.register
def _sweep_html(sweep: Sweep) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in sweep.columns)
    lines = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row in sweep.rows()
    )
    caption = f"<caption>{escape(sweep.graph_name)}: {escape(str(sweep))}</caption>"
    return f"<table>{caption}<tr>{head}</tr>{lines}</table>{svg(sweep) or ''}"


@svg.register
def _sweep_svg(sweep: Sweep) -> str | None:
    """The curve."""
    try:
        return _element(picture_bytes(curve_picture(sweep), "svg"))
    except MissingExtra:
        return None


def _element(picture: bytes) -> str:
    """The element alone, no wider than its column: HTML takes no prolog."""
    _, _, text = picture.decode("utf-8").partition("<svg ")
    return f'<svg style="max-width: 100%; height: auto" {text}'


def _facts(rows: Iterable[tuple[str, str]], picture: str | None) -> str:
    lines = "".join(
        f"<tr><th style='text-align:left;padding-right:1em'>{escape(label)}</th>"
        f"<td>{escape(value)}</td></tr>"
        for label, value in rows
    )
    return f"<table>{lines}</table>{picture or ''}"
