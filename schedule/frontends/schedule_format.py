"""Schedules as JSON: the format `schedule/1`, read; `Result.to_json` writes it.

Keys that the format doesn't know are ignored, so newer files stay readable.
"""

from __future__ import annotations

import re
from typing import Any, NoReturn

from schedule.addresses import Addresses
from schedule.errors import BadSchedule
from schedule.frontends.graph_format import GRAPH_FORMAT
from schedule.levels import MOST_LEVELS, Level, levels_of
from schedule.result import SCHEDULE_FORMAT, Result, Shortfall, Status
from schedule.steps import TRANSFER_WORDS, TRANSFERS, Compute, Free, Schedule, Step
from schedule.values import cost, flag, in_json, name_of, shown, size


@in_json()
def result_from_json(data: Any) -> Result:
    """The result that parsed JSON describes: the inverse of `Result.to_json`.

    Raises
    ------
    BadSchedule
        Names the key, or the step by its number, and the mistake.
    BadInput
        The same for a size, a cost or a name, which the rules for graphs check.
    """
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
        out_of_time=flag(data.get("out_of_time", False), "out_of_time"),
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
