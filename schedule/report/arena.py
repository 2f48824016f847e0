"""A picture of an arena: what lies where, and when."""

from __future__ import annotations

from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from schedule.addresses import Addresses, verify_addresses
from schedule.lifetimes import AGAIN, WORKSPACE, lifetimes_of
from schedule.memory import Trace
from schedule.report.marks import BACKWARD, FORWARD, INPUT, colour_of, mark_backward
from schedule.report.pictures import canvas, memory_unit
from schedule.sizes import format_memory

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Of what is there for one step: workspaces and second copies.
PASSING = "#b7a6d9"
_LEGEND = {"forward": FORWARD, "backward": BACKWARD, "input": INPUT, "one step": PASSING}
#: Size of the picture in a page, in its own units.
_WIDTH, _HEIGHT = 1000, 340


class Block(NamedTuple):
    """One allocation: its name, steps from and until before, offset, size and colour."""

    name: str
    start: int
    end: int
    offset: int
    size: int
    colour: str


def blocks_of(trace: Trace, addresses: Addresses) -> Iterator[Block]:
    """Every allocation of a schedule where it lies; checked first.

    Raises
    ------
    BadAddresses
        As `schedule.addresses.verify_addresses`.
    """
    offsets = verify_addresses(trace, addresses)
    found = lifetimes_of(trace, addresses.inputs)
    columns = (column.tolist() for column in found.columns)
    for name, start, end, size, offset in zip(found.names, *columns, offsets):
        yield Block(name, max(start, 0), max(end, 1), offset, size, _colour(trace, name))


def _colour(trace: Trace, name: str) -> str:
    number = trace.graph.layout.tensor_id.get(name)
    if number is None:
        assert name.endswith((WORKSPACE, AGAIN)), "nothing else is allocated"
        return PASSING
    return colour_of(trace, number)


def arena_picture(trace: Trace, addresses: Addresses) -> Figure:
    """Time against address: each allocation is a block.

    Parameters
    ----------
    trace
        What `schedule.verify` returns.
    addresses
        Of its allocations.

    Raises
    ------
    BadAddresses
        They are wrong.
    MissingExtra
        matplotlib isn't installed.

    Examples
    --------
    >>> import schedule
    >>> from schedule.report.arena import arena_picture
    >>> graph = schedule.example("chain")
    >>> plan = schedule.solve(graph, "50%")
    >>> arena = schedule.place(graph, plan)
    >>> figure = arena_picture(schedule.verify(graph, plan), arena.addresses)
    """
    figure, axes = canvas()
    scale, unit = memory_unit(addresses.size)
    mark_backward(axes, trace)
    for block in blocks_of(trace, addresses):
        axes.broken_barh(
            [(block.start, block.end - block.start)],
            (block.offset / scale, block.size / scale),
            facecolors=block.colour,
            edgecolor="white",
            linewidth=0.3,
        )
    axes.axhline(addresses.size / scale, color="0.35", linewidth=1, linestyle="--")
    axes.set_xlim(0, max(len(trace.codes), 1))
    axes.set_ylim(0, 1.02 * max(addresses.size, 1) / scale)
    axes.set_xlabel("step")
    axes.set_ylabel(f"address{unit}")
    handles = [axes.barh(0, 0, color=colour, label=label) for label, colour in _LEGEND.items()]
    axes.legend(
        handles=handles, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=4, fontsize=8
    )
    return figure


def arena_section(trace: Trace, addresses: Addresses) -> str:
    """The same for a page: HTML with the picture as SVG, whose blocks say what they are."""
    steps, size = max(len(trace.codes), 1), max(addresses.size, 1)
    drawn = []
    for block in blocks_of(trace, addresses):
        x, width = _WIDTH * block.start / steps, _WIDTH * (block.end - block.start) / steps
        y, height = (
            _HEIGHT * (1 - (block.offset + block.size) / size),
            _HEIGHT * block.size / size,
        )
        said = f"{block.name}: steps {block.start} to {block.end}, {block.size} at {block.offset}"
        drawn.append(
            f'<rect x="{x:.2f}" y="{y:.2f}" width="{width:.2f}" height="{height:.2f}"'
            f' fill="{block.colour}"><title>{escape(said)}</title></rect>'
        )
    legend = "".join(
        f'<li><i class="box" style="background:{colour}"></i>{label}</li>'
        for label, colour in _LEGEND.items()
    )
    title = f"Addresses: {len(drawn)} allocations in {format_memory(addresses.size)}"
    return (
        '<section aria-labelledby="arena-title"><div class="head">'
        f'<h2 id="arena-title">{escape(title)}</h2>'
        f'<ul class="legend" aria-label="Legend of the addresses">{legend}</ul></div>'
        f'<svg id="arena" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="none" role="img"'
        f' aria-labelledby="arena-title" style="width:100%;height:{_HEIGHT}px">'
        f'<g stroke="#fff" stroke-width="0.3">{"".join(drawn)}</g></svg></section>'
    )
