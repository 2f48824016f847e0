"""Graph and schedule files: the formats `schedule-graph/1` and `schedule/1`.

Keys that a format doesn't know are ignored, so newer files stay readable.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from schedule.addresses import Addresses
from schedule.errors import BadGraph, BadInput, BadSchedule, WrongGraph
from schedule.files import STANDARD, AnyPath, read_json, read_text, source_text, write_json
from schedule.frontends.exchange import FORMATS, edges_of_adjacency, from_text
from schedule.frontends.networkx import from_node_link
from schedule.frontends.plugged import built_in, reader_for
from schedule.graph import Graph, Input, Node, Tensor, require_graph
from schedule.levels import MOST_LEVELS, Level, levels_of
from schedule.result import Result, Shortfall, Status
from schedule.steps import TRANSFER_WORDS, TRANSFERS, Compute, Free, Schedule, Step
from schedule.values import cost, flag, in_json, name_of, shown, size

GRAPH_FORMAT = "schedule-graph/1"
SCHEDULE_FORMAT = "schedule/1"


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
        The file can't be written.
    """
    require_graph(graph)
    write_json(path, graph_to_json(graph))


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


@in_json()
def graph_from_json(data: Any, *, memory: str = "memory", compute: str = "compute") -> Graph:
    """The graph that parsed JSON describes; see `read`."""
    if not isinstance(data, dict):
        raise BadGraph(f"a graph is a JSON object, not {shown(data)}")
    if data.get("format") == GRAPH_FORMAT:
        return _graph(data)
    if data.get("format") == SCHEDULE_FORMAT:
        raise BadGraph("this is a schedule, not a graph; give the graph's file")
    if "format" in data:
        raise BadGraph(f"format is {shown(data['format'])}; this version reads {GRAPH_FORMAT!r}")
    if "nodes" in data and ("edges" in data or "links" in data):
        return from_node_link(data, memory=memory, compute=compute)
    if "nodes" in data and "adjacency" in data:
        link = edges_of_adjacency(data)
        return from_node_link(link, memory=memory, compute=compute)
    raise BadGraph(
        f'no graph: it has neither "format": "{GRAPH_FORMAT}" nor a node-link graph\'s'
        f" 'nodes' and 'edges', as networkx.node_link_data gives them"
    )


def graph_to_json(graph: Graph) -> dict[str, Any]:
    """The graph as plain data; what has its default value is left out."""
    data: dict[str, Any] = {"format": GRAPH_FORMAT, "name": graph.name}
    if graph.inputs:
        data["inputs"] = [
            {"name": item.name, "memory": item.memory}
            | ({"freeable": True} if item.freeable else {})
            | ({} if item.offloadable else {"offloadable": False})
            for item in graph.inputs
        ]
    data["nodes"] = [_node_to_json(node) for node in graph.nodes]
    read = {reading for node in graph.nodes for reading in node.inputs}
    if graph.outputs != tuple(name for name in graph.tensors if name not in read):
        data["outputs"] = list(graph.outputs)
    return data


def _node_to_json(node: Node) -> dict[str, Any]:
    data: dict[str, Any] = {"name": node.name, "inputs": list(node.inputs)}
    first = node.outputs[0]
    if len(node.outputs) == 1 and first.name == node.name and first.view_of is None:
        data["memory"] = first.memory
    else:
        data["outputs"] = [
            {"name": out.name, "memory": out.memory}
            if out.view_of is None
            else {"name": out.name, "view_of": out.view_of}
            for out in node.outputs
        ]
    data["compute"] = node.compute
    if node.workspace:
        data["workspace"] = node.workspace
    if not node.recomputable:
        data["recomputable"] = False
    if node.backward:
        data["backward"] = True
    return data


def _graph(data: dict[str, Any]) -> Graph:
    nodes = [_node(item, at) for at, item in enumerate(_list(data, "nodes", "the graph"))]
    listed = _list(data, "inputs", "the graph") if "inputs" in data else []
    inputs = [_input(item, at) for at, item in enumerate(listed)]
    outputs = _list(data, "outputs", "the graph") if "outputs" in data else None
    return Graph(nodes, inputs, outputs, data.get("name", "graph"))


def _list(data: dict[str, Any], key: str, owner: str) -> list[Any]:
    if key not in data:
        raise BadGraph(f"{owner} has no {key!r}")
    value = data[key]
    if type(value) is not list:
        raise BadGraph(f"{owner}: {key} is {shown(value)}; it has to be a list")
    return value


def _named(item: Any, what: str) -> str:
    """The name of a JSON object; `what` says which it is until that is known."""
    if type(item) is not dict:
        raise BadGraph(f"{what} is {shown(item)}; it has to be an object")
    if "name" not in item:
        raise BadGraph(f"{what} has no 'name'")
    return name_of(item["name"], f"{what}: its name")


def _input(item: Any, at: int) -> Input:
    name = _named(item, f"input {at}")
    if "memory" not in item:
        raise BadGraph(f"input {name!r} has no 'memory'")
    return Input(name, item["memory"], item.get("freeable", False), item.get("offloadable", True))


def _node(item: Any, at: int) -> Node:
    name = _named(item, f"node {at}")
    inputs = item.get("inputs")
    if type(inputs) is not list:
        if "inputs" not in item:
            raise BadGraph(f"node {name!r} has no 'inputs'; write [] where it reads nothing")
        raise BadGraph(f"node {name!r}: inputs is {shown(inputs)}; it has to be a list")
    if "compute" not in item:
        raise BadGraph(f"node {name!r} has no 'compute'")
    return Node(
        name,
        tuple(inputs),
        _outputs(item, name),
        item["compute"],
        item.get("workspace", 0),
        item.get("recomputable", True),
        item.get("backward", False),
    )


def _outputs(item: dict[str, Any], node: str) -> tuple[Tensor, ...]:
    if "outputs" not in item:
        if "memory" not in item:
            raise BadGraph(f"node {node!r} has neither 'memory' nor 'outputs'")
        return (Tensor(node, item["memory"]),)
    if "memory" in item:
        raise BadGraph(
            f"node {node!r} has both 'memory' and 'outputs'; memory belongs to each output"
        )
    listed = _list(item, "outputs", f"node {node!r}")
    return tuple(_tensor(out, f"node {node!r}: output {at}") for at, out in enumerate(listed))


def _tensor(out: Any, what: str) -> Tensor:
    name = _named(out, what)
    view_of = out.get("view_of")
    if view_of is None and "memory" not in out:
        raise BadGraph(f"{what} ({name!r}) has neither 'memory' nor 'view_of'")
    if view_of is not None and type(view_of) is not str:
        raise BadGraph(f"{what} ({name!r}): view_of is {shown(view_of)}; it is a tensor's name")
    return Tensor(name, out.get("memory", 0), view_of)


@in_json()
def result_from_json(data: Any) -> Result:
    """The result that parsed JSON describes: the inverse of `Result.to_json`."""
    if not isinstance(data, dict):
        raise BadSchedule(f"a schedule is a JSON object, not {shown(data)}")
    if data.get("format") == GRAPH_FORMAT:
        raise BadSchedule("this is a graph, not a schedule; give the schedule's file")
    if data.get("format") != SCHEDULE_FORMAT:
        stated = shown(data["format"]) if "format" in data else "missing"
        raise BadSchedule(f"format is {stated}; this version reads {SCHEDULE_FORMAT!r}")
    name, digest, graph_compute = _made_for(data.get("graph"))
    steps = _steps(data.get("steps"))
    status = _one_of(data.get("status", "feasible"), "status", [str(known) for known in Status])
    nothing = status in (Status.INFEASIBLE, Status.UNKNOWN) and not steps
    shortfall = _shortfall(data.get("shortfall"))
    levels, level_peaks = _levels(data.get("levels"))
    _figure(data, "gap")  # it follows from others, but a wrong one is a wrong file
    return Result(
        status=Status(status),
        schedule=None if nothing else Schedule(steps, name, digest),
        graph_name=name,
        digest=digest,
        graph_compute=graph_compute,
        solver=name_of(data.get("solver", "unstated"), "solver"),
        order="fixed"
        if _one_of(data.get("order", "free"), "order", ["free", "fixed"]) == "fixed"
        else "free",
        budget=_size(data, "budget"),
        seconds=_number(data.get("seconds", 0.0), "seconds"),
        seed=_size(data, "seed") or 0,
        lower_bound=_cost(data, "lower_bound"),
        peak=_size(data, "peak"),
        compute=_cost(data, "compute"),
        overhead=_figure(data, "overhead"),
        checkpoints=_names(data.get("checkpoints", [])),
        shortfall=shortfall if nothing else None,
        interrupted=flag(data.get("interrupted", False), "interrupted"),
        out_of_memory=flag(data.get("out_of_memory", False), "out_of_memory"),
        found_by=_name_or_none(data, "found_by"),
        proved_by=_name_or_none(data, "proved_by"),
        compiling=_number(data.get("compiling", 0.0), "compiling"),
        addresses=None if nothing else _addresses(data.get("addresses")),
        levels=levels,
        level_peaks=level_peaks,
        makespan=_cost(data, "makespan"),
    )


def _name_or_none(data: dict[str, Any], key: str) -> str | None:
    return None if data.get(key) is None else name_of(data[key], key)


def _made_for(graph: Any) -> tuple[str, str, int | float | None]:
    """Name, digest and compute of the graph that a schedule was made for."""
    if not isinstance(graph, dict):
        raise BadSchedule('the schedule doesn\'t say for which graph it is ("graph": {…})')
    digest = graph.get("sha256")
    if not isinstance(digest, str) or not re.fullmatch("[0-9a-f]{64}", digest):
        raise BadSchedule(
            f"graph.sha256 is {shown(digest)}; it has to be the graph's digest, 64 hex digits"
        )
    name = graph.get("name", "graph")
    if name != "":  # a graph may have an empty name, but nothing else
        name_of(name, "graph.name")
    return name, digest, _cost(graph, "compute")


def _steps(listed: Any) -> tuple[Step, ...]:
    if not isinstance(listed, list):
        raise BadSchedule("the schedule has no list of 'steps'")
    made: dict[tuple[str, str], Step] = {}  # equal steps are one object: files have many
    steps = []
    for at, item in enumerate(listed):
        if type(item) is not list or len(item) < 2:
            _refuse_step(at, item)
        kind, name = item[:2]
        if len(item) != 2 or kind not in ("compute", "free"):
            steps.append(_transfer(at, item))
            continue
        if type(name) is not str:
            _refuse_step(at, item)
        step = made.get((kind, name))
        if step is None:
            step = made[kind, name] = Compute(name) if kind == "compute" else Free(name)
        steps.append(step)
    return tuple(steps)


def _transfer(at: int, item: list[Any]) -> Step:
    """A step for a level below the device: `["offload", TENSOR]`, or with the level's number."""
    kind, name, *level = item
    if type(name) is not str or len(level) > 1 or kind not in TRANSFER_WORDS:
        _refuse_step(at, item)
    if level and (type(level[0]) is not int or not 1 <= level[0] <= MOST_LEVELS):
        raise BadSchedule(
            f"step {at} is for level {shown(level[0])}; levels are counted from 1, the one below"
            f" the device, to {MOST_LEVELS}"
        )
    return TRANSFERS[TRANSFER_WORDS.index(kind)](name, *level)


def _refuse_step(at: int, item: Any) -> NoReturn:
    said = ", ".join(shown(part) for part in item[:4]) if isinstance(item, list) else shown(item)
    raise BadSchedule(
        f'step {at} is [{said}]; a step is ["compute", NODE] or ["free", TENSOR], or for a level'
        f' below the device ["offload", TENSOR], ["prefetch", TENSOR] or ["drop", TENSOR]'
    )


def _levels(listed: Any) -> tuple[tuple[Level, ...], tuple[int, ...]]:
    """The levels below the device, and the peak that is stated for each, if any is."""
    if listed is None:
        return (), ()
    if not isinstance(listed, list):
        raise BadSchedule(f"levels is {shown(listed)}; it has to be a list of levels")
    levels, peaks = [], []
    for at, item in enumerate(listed):
        if not isinstance(item, dict):
            raise BadSchedule(f"level {at} is {shown(item)}; it has to be an object")
        for key in ("name", "capacity", "down", "up"):
            if key not in item:
                raise BadSchedule(f"level {at} ({shown(item.get('name'))}) has no {key!r}")
        levels.append(
            Level(
                item["name"],
                item["capacity"],
                item["down"],
                item["up"],
                item.get("latency", 0),
            )
        )
        if item.get("peak") is not None:
            peaks.append(size(item["peak"], f"level {at}: peak"))
    if peaks and len(peaks) < len(levels):
        raise BadSchedule(f"{len(peaks)} of {len(levels)} levels state a peak; all do, or none")
    return levels_of(levels), tuple(peaks)


def _one_of(value: Any, what: str, known: list[str]) -> str:
    if not isinstance(value, str) or value not in known:
        raise BadSchedule(f"{what} is {shown(value)}; it has to be one of {', '.join(known)}")
    return value


def _size(data: dict[str, Any], key: str) -> int | None:
    return None if data.get(key) is None else size(data[key], key)


def _cost(data: dict[str, Any], key: str) -> int | float | None:
    return None if data.get(key) is None else cost(data[key], key)


def _figure(data: dict[str, Any], key: str) -> float | None:
    return None if data.get(key) is None else _number(data[key], key)


def _number(value: Any, what: str) -> float:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not number or not -1e300 < value < 1e300:  # false for NaN too
        raise BadSchedule(f"{what} is {shown(value)}; it has to be a finite number")
    return float(value)


def _names(listed: Any) -> tuple[str, ...]:
    if not isinstance(listed, list):
        raise BadSchedule(f"checkpoints is {shown(listed)}; it has to be a list of tensors' names")
    return tuple(name_of(name, f"checkpoint {at}") for at, name in enumerate(listed))


def _addresses(data: Any) -> Addresses | None:
    """Where allocations lie; None where the file doesn't say."""
    if data is None:
        return None
    if not isinstance(data, dict):
        raise BadSchedule(f"addresses is {shown(data)}; it has to be an object")
    inputs = _one_of(data.get("inputs", "inside"), "addresses.inputs", ["inside", "outside"])
    listed = data.get("offsets")
    if not isinstance(listed, list):
        raise BadSchedule("addresses has no list of 'offsets'")
    alignment = size(data.get("alignment", 1), "addresses.alignment")
    if alignment < 1:
        raise BadSchedule("addresses.alignment is 0; it has to be 1 or more")
    return Addresses(
        size(data.get("size"), "addresses.size"),
        alignment,
        tuple(_address(item, f"addresses.offsets: entry {at}") for at, item in enumerate(listed)),
        "outside" if inputs == "outside" else "inside",
    )


def _address(item: Any, what: str) -> tuple[int, str, int]:
    if not isinstance(item, list) or len(item) != 3 or type(item[1]) is not str:
        raise BadSchedule(f"{what} is {shown(item)}; an entry is [STEP, NAME, OFFSET]")
    step = -1 if item[0] == -1 else size(item[0], f"{what}: its step")
    return step, item[1], size(item[2], f"{what}: its offset")


def _shortfall(data: Any) -> Shortfall:
    if data is None:
        return Shortfall(0, None, "the file doesn't say why")
    if not isinstance(data, dict):
        raise BadSchedule(f"shortfall is {shown(data)}; it has to be an object")
    node = data.get("node")
    reason = data.get("reason", "the file doesn't say why")
    if not isinstance(reason, str):
        raise BadSchedule(f"shortfall.reason is {shown(reason)}; it has to be text")
    tensors = data.get("tensors", [])
    if not isinstance(tensors, list):
        raise BadSchedule(f"shortfall.tensors is {shown(tensors)}; it has to be a list of names")
    return Shortfall(
        _size(data, "needed") or 0,
        None if node is None else name_of(node, "shortfall.node"),
        reason,
        _size(data, "least_peak"),
        tuple(name_of(name, "a tensor of shortfall.tensors") for name in tensors),
    )
