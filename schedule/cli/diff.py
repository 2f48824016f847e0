"""`schedule diff`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from schedule.cli.schedules import read_plan, show_fault
from schedule.cli.shell import DONE, on_graph, read_graph, show, show_json, source
from schedule.errors import InvalidSchedule

if TYPE_CHECKING:
    from rich.console import RenderableType

    from schedule.difference import Difference
    from schedule.graph import Graph
    from schedule.memory import Trace

#: Lines of a list that are shown before the rest is counted.
_FEW = 20


@click.command(epilog="Example:  schedule diff unet.json.gz before.json after.json")
@on_graph
@source("a")
@source("b")
def diff(
    graph: str, a: str, b: str, memory_attribute: str, compute_attribute: str, as_json: bool
) -> int:
    """Show what schedule B of GRAPH does otherwise than schedule A.

    What is kept for the backward pass, what is recomputed, what is copied to a host,
    what runs in another order, and what that changes in peak, compute and makespan.
    Both are replayed on paper first, as by 'verify'; GRAPH says what their nodes and
    tensors take.
    """
    from schedule.difference import Difference

    loaded = read_graph(graph, memory_attribute, compute_attribute)
    try:
        found = Difference(*(_checked(loaded, path) for path in (a, b)))
    except InvalidSchedule as error:
        return show_fault(error, as_json)
    if as_json:
        show_json(found.to_json())
    else:
        show(str(found), *(() if found.same else _tables(found)))
    return DONE


def _checked(graph: Graph, path: str) -> Trace:
    """The trace of the schedule in a file."""
    from schedule.claims import faults_of, verify_claims

    with faults_of(path):
        return verify_claims(graph, read_plan(path, graph))


def _tables(found: Difference) -> Iterator[RenderableType]:
    from schedule.report.tables import ListTable
    from schedule.sizes import format_computes, format_memories

    yield ""
    yield ListTable(("", "A", "B", "change"), _figures(found), right=3, spare=(3,))
    kept = (*found.kept_by_a, *found.kept_by_b)
    rows = list(zip((name for name, _ in kept), format_memories(*(size for _, size in kept))))
    by_a = len(found.kept_by_a)
    yield from _list(("kept by A only", "memory"), rows[:by_a])
    yield from _list(("kept by B only", "memory"), rows[by_a:])
    changes = format_computes(*(rerun.compute for rerun in found.reruns))
    yield from _list(
        ("recomputed", "runs in A", "runs in B", "compute"),
        [(*rerun[:3], _signed(change)) for rerun, change in zip(found.reruns, changes)],
        spare=(3,),
    )
    sizes = format_memories(*(each.memory for each in found.copied))
    yield from _list(
        ("copied", "memory", "copies in A", "copies in B"),
        [(each.tensor, size, each.a, each.b) for each, size in zip(found.copied, sizes)],
        spare=(1,),
    )
    yield from _list(("moved",), [(name,) for name in found.moved])
    yield f"\nthe first step that isn't the same: {found.first_step}"


def _figures(found: Difference) -> Iterator[tuple[str, ...]]:
    from schedule.sizes import format_memories, format_share

    one, other = found.to_json()["a"], found.to_json()["b"]
    sign = "-" if found.peak_change < 0 else "+"
    *peaks, change = format_memories(one["peak"], other["peak"], abs(found.peak_change))
    yield ("peak", *peaks, f"{sign}{change}")
    yield _figure("compute", one, other)
    shares = (one["overhead"], other["overhead"])
    points = 100 * (shares[1] - shares[0])
    yield ("overhead", *map(format_share, shares), f"{points:+.2f} points")
    keys = ("makespan", "runs", "copies") if found.has_copies else ("runs",)
    for key in (*keys, "checkpoints", "steps"):
        yield _figure(key, one, other)


def _figure(key: str, one: dict[str, Any], other: dict[str, Any]) -> tuple[str, ...]:
    from schedule.sizes import format_computes

    *both, change = format_computes(one[key], other[key], other[key] - one[key])
    return (key, *both, _signed(change))


def _signed(change: str) -> str:
    return change if change.startswith("-") else f"+{change}"


def _list(
    head: Sequence[str], rows: Iterable[Sequence[object]], spare: Sequence[int] = ()
) -> Iterator[RenderableType]:
    """A table of the first rows, and how many more there are; nothing where there are none."""
    from schedule.report.tables import ListTable, printable

    cells = [(printable(str(name)), *(str(value) for value in rest)) for name, *rest in rows]
    if cells:
        yield ""
        yield ListTable(head, cells[:_FEW], right=len(head) - 1, spare=spare)
    if len(cells) > _FEW:
        yield f"… and {len(cells) - _FEW} more (--json lists them all)"
