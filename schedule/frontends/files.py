"""Graph and schedule files: reading and writing them, whole and by their names.

What is in them, `schedule.frontends.graph_format` and `schedule_format` say.
"""

from __future__ import annotations

from typing import Any

from schedule.errors import BadGraph, BadInput, BadOutput, BadSchedule, WrongGraph
from schedule.files import (
    STANDARD,
    AnyPath,
    path_text,
    read_json,
    read_text,
    source_text,
    write_json,
)
from schedule.frontends.exchange import FORMATS, from_text
from schedule.frontends.graph_format import graph_from_json, graph_to_json
from schedule.frontends.plugged import built_in, plugin_by_ending, reader_for
from schedule.frontends.schedule_format import result_from_json
from schedule.graph import Graph, require_graph
from schedule.result import Result


def read(
    path: AnyPath,
    *,
    memory: str = "memory",
    compute: str = "compute",
    reader: str | None = None,
) -> Graph:
    """Read a graph file, plain or gzipped.

    Parameters
    ----------
    path
        A `schedule-graph/1` file; a graph as networkx writes it, as node-link or
        adjacency JSON, GraphML (`.graphml`) or GML (`.gml`); or a file with an
        ending that an installed package reads. `"-"` is standard input.
    memory, compute
        Graphs of networkx only: the node attributes that hold a node's memory
        and its compute.
    reader
        Who reads it: `"json"`, `"graphml"` and `"gml"`, which are built in, or the
        name of another package's reader. By default the ending says so; those of
        the built-in ones are always theirs, and what nobody claims is JSON.

    Raises
    ------
    BadGraph
        Names the file, the node, and the mistake.
    BadOption, BadPlugin
        There is no such reader, or it doesn't work.

    Notes
    -----
    O(size of the file): 100,000 nodes take about a second.
    """
    others = reader_for(path, reader)
    if others is not None:
        return others()
    kind = reader or built_in(path)
    if kind in FORMATS:
        content: Any = read_text(path, BadGraph)
    else:
        content = _json(path, kind)
    try:
        if kind in FORMATS:
            return from_text(content, kind, memory=memory, compute=compute)
        return graph_from_json(content, memory=memory, compute=compute)
    except BadGraph as error:
        raise BadGraph(f"{source_text(path)}: {error}") from None


def _json(path: AnyPath, kind: str | None) -> Any:
    """The JSON in a graph's file; where nothing said that it is JSON, what else there is."""
    try:
        return read_json(path, BadGraph)
    except BadGraph as error:
        if kind is not None or "not JSON" not in str(error):
            raise
        other = "; reader= (--reader) says which comes in" if path == STANDARD else ""
        raise BadGraph(
            f"{error} Graphs are JSON, GraphML (.graphml) or GML (.gml); networkx writes them"
            f" with node_link_data, write_graphml and write_gml{other}"
        ) from None


def write(graph: Graph, path: AnyPath) -> None:
    """Write a graph to a `schedule-graph/1` file, gzipped where the name ends in `.gz`.

    The file appears complete or not at all, and reads back equal.

    Raises
    ------
    BadOutput
        The file can't be written, or has the ending of another format, as which it would be read.
    """
    require_graph(graph)
    require_ending(path)
    write_json(path, graph_to_json(graph))


def require_ending(path: AnyPath) -> None:
    """Refuse the ending of another format, as which a graph that is written would be read.

    Raises
    ------
    BadOutput
        It has one.
    """
    kind, other = built_in(path), plugin_by_ending(path)
    if kind in FORMATS:
        reader = f"as {FORMATS[kind]}"
    elif other is not None:
        reader = f"by {other.name!r} of {other.origin}"
    else:
        return
    raise BadOutput(
        f"{path_text(path)}: what is written is JSON, and by its ending it would be read"
        f" {reader}; give a name that ends in .json"
    )


def read_schedule(path: AnyPath, graph: Graph | None = None) -> Result:
    """Read a schedule file; a written `Result` reads back equal.

    The figures are the file's claims: `schedule.verify` replays the steps, and
    `schedule.verify_claims` holds the figures against them. Only `format`,
    `graph.sha256` and `steps` have to be there; a status that isn't stated is
    `feasible`, and other figures are None or 0.

    Parameters
    ----------
    path
        The file, plain or gzipped.
    graph
        Where given, the schedule has to be one of it.

    Raises
    ------
    BadSchedule
        Names the file and the mistake, a wrong step by its number.
    WrongGraph
        Names the file, which is of another graph.
    """
    if graph is not None:
        require_graph(graph)
    data = read_json(path, BadSchedule)
    try:
        found = result_from_json(data)
    except BadInput as error:  # sizes and names are checked by the rules for graphs
        raise BadSchedule(f"{source_text(path)}: {error}") from None
    if graph is not None and found.schedule is not None:
        try:
            found.schedule.require(graph)
        except WrongGraph as error:
            raise WrongGraph(f"{source_text(path)}: {error}") from None
    return found
