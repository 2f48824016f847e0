"""What a notebook shows of a graph and of a result: a table, and memory over steps."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape

from schedule.budget import format_memory
from schedule.errors import MissingExtra
from schedule.graph import Graph
from schedule.lowering import in_order
from schedule.report.pictures import memory_picture, picture_bytes
from schedule.result import Result


def graph_html(graph: Graph) -> str:
    """The graph in figures, with the memory of the program as it is.

    Examples
    --------
    >>> import schedule
    >>> from schedule.report.notebook import graph_html
    >>> graph_html(schedule.example("chain")).startswith("<table>")
    True
    """
    backward = int(graph.layout.backward.sum())
    rows = [
        ("graph", graph.name),
        ("nodes", str(len(graph.nodes)) + (f", {backward} backward" if backward else "")),
        ("tensors", str(graph.layout.n_tensors)),
        ("compute", f"{graph.compute} with every node once"),
        ("peak", f"{format_memory(in_order(graph).peak)}, nothing recomputed"),
    ]
    return _html(rows, graph_svg(graph))


def graph_svg(graph: Graph) -> str | None:
    """Memory over the steps of the program as it is; None where matplotlib isn't installed."""
    try:
        return _svg(picture_bytes(memory_picture({"as it is": in_order(graph)}), "svg"))
    except MissingExtra:
        return None


def result_html(result: Result) -> str:
    """Everything that `Result.rows` says, with the picture of `result_svg`."""
    return _html(result.rows(), result_svg(result))


def result_svg(result: Result) -> str | None:
    """Memory before and after; None without matplotlib, or where the trace isn't known."""
    trace = result.trace
    if trace is None:
        return None
    traces = {"as it is": in_order(trace.graph), "planned": trace}
    try:
        return _svg(picture_bytes(memory_picture(traces, result.budget), "svg"))
    except MissingExtra:
        return None


def _svg(picture: bytes) -> str:
    """The element alone: HTML takes no prolog."""
    text = picture.decode("utf-8")
    return text[text.index("<svg") :]


def _html(rows: Iterable[tuple[str, str]], svg: str | None) -> str:
    lines = "".join(
        f"<tr><th style='text-align:left'>{escape(label)}</th><td>{escape(value)}</td></tr>"
        for label, value in rows
    )
    return f"<table>{lines}</table>{svg or ''}"
