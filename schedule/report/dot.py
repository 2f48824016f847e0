"""A graph and its schedule as a picture for Graphviz: the DOT language."""

from __future__ import annotations

from collections.abc import Iterator

from schedule.errors import BadOption
from schedule.files import AnyPath, write_bytes
from schedule.memory import Trace
from schedule.sizes import format_memory

#: Larger graphs are refused: laying them out takes long, and nobody can read them.
MOST_NODES = 500

_FORWARD, _BACKWARD = "#d6e6f5", "#fbe3cf"


def dot_text(trace: Trace) -> str:
    """The graph in the DOT language, marked with what the schedule does to it.

    Forward and backward nodes have colours of their own, a node that runs
    again a double border and how often it runs, an input of the graph an
    ellipse; an edge is a tensor with its size, bold where the tensor is live
    when the backward pass begins.

    Parameters
    ----------
    trace
        What `schedule.verify` returns.

    Raises
    ------
    BadOption
        The graph has more than `MOST_NODES` nodes.

    Examples
    --------
    >>> import schedule
    >>> from schedule.report.dot import dot_text
    >>> graph = schedule.example("chain", layers=2)
    >>> plan = schedule.solve(graph, "100%")
    >>> dot_text(schedule.verify(graph, plan.schedule)).splitlines()[0]
    'digraph "chain" {'
    """
    count = len(trace.graph.nodes)
    if count > MOST_NODES:
        raise BadOption(
            f"a dot file is for graphs of up to {MOST_NODES} nodes, and this one has {count};"
            " write an HTML page, which shows a node and its neighbours"
        )
    lines = "\n".join(f"  {line};" for line in (*_style(), *_nodes(trace), *_edges(trace)))
    return f"digraph {_quoted(trace.graph.name)} {{\n{lines}\n}}\n"


def write_dot(trace: Trace, path: AnyPath) -> None:
    """Write `dot_text` to a file, gzipped where the name ends in `.gz`.

    Raises
    ------
    BadOption
        The graph has more than `MOST_NODES` nodes.
    BadOutput
        The file can't be written; what was there before is still there.
    """
    write_bytes(path, dot_text(trace).encode("utf-8"))


def _style() -> Iterator[str]:
    yield 'node [shape=box, style=filled, fontname="sans-serif", fontsize=11]'
    yield 'edge [fontname="sans-serif", fontsize=9]'


def _nodes(trace: Trace) -> Iterator[str]:
    layout = trace.graph.layout
    for tensor in range(layout.n_inputs):
        label = f"{layout.tensor_names[tensor]}\n{format_memory(int(layout.memory[tensor]))}"
        yield f'i{tensor} [shape=ellipse, fillcolor="#eeeeee", label={_label(label)}]'
    for v, runs in enumerate(trace.runs.tolist()):
        label = f"{layout.node_names[v]}\ncompute {trace.graph.nodes[v].compute}"
        if runs > 1:
            label += f" × {runs}"
        colour = _BACKWARD if layout.backward[v] else _FORWARD
        border = ", peripheries=2" if runs > 1 else ""
        yield f'n{v} [fillcolor="{colour}"{border}, label={_label(label)}]'


def _edges(trace: Trace) -> Iterator[str]:
    layout, kept = trace.graph.layout, set(trace.checkpoints)
    for v, reads in enumerate(layout.reads_of):
        for tensor in reads:
            owner, name = int(layout.producer[tensor]), layout.tensor_names[tensor]
            if owner < 0:
                yield f"i{tensor} -> n{v}"
                continue
            size = format_memory(int(layout.memory[layout.storage[tensor]]))
            single = len(layout.outputs_of[owner]) == 1
            label = _label(size if single else f"{name}\n{size}")
            bold = ", style=bold" if name in kept else ""
            yield f"n{owner} -> n{v} [label={label}{bold}]"


def _quoted(text: str) -> str:
    r"""`text` as an identifier: in quotes, where only a quote is escaped.

    A backslash in front of the closing quote would escape that; `\\` stays two.
    """
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _label(text: str) -> str:
    """`text` as a label, in which backslashes and HTML's entities have a meaning."""
    lines = text.replace("\r", " ").replace("\0", " ").replace("&", "&amp;")
    return _quoted(lines).replace("\n", "\\n")
