"""A picture of what is in memory when, under the line of memory in use."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from schedule.lowering import in_order
from schedule.memory import Trace
from schedule.report.lanes import lanes_picture
from schedule.report.lifetimes import Lifetime, lifetimes
from schedule.report.marks import (
    BACKWARD,
    FORWARD,
    INPUT,
    colour_of,
    largest_rows,
    left_out,
    mark_backward,
    name_rows,
)
from schedule.report.pictures import memory_picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure


def gantt_picture(trace: Trace, budget: int | None = None, most: int = 30) -> Figure:
    """Memory over steps beside the program as it is, and below when the largest storages are there.

    Each row is a storage, the first to come lowest; a gap in a row is a time
    for which it was freed, to be made again. Colours tell what made it: a node
    of the forward pass, one of the backward pass, or nothing (an input). Where tensors
    are copied to levels below the device, it is `lanes_picture`: over time, with a lane
    for each engine.

    Parameters
    ----------
    trace
        What `schedule.verify` returns.
    budget
        Drawn as a line, in the graph's unit.
    most
        How many of the largest storages have a row; the rest have none.

    Raises
    ------
    MissingExtra
        matplotlib isn't installed.

    Examples
    --------
    >>> import schedule
    >>> from schedule.report.gantt import gantt_picture
    >>> graph = schedule.example("chain")
    >>> plan = schedule.solve(graph, "50%")
    >>> figure = gantt_picture(schedule.verify(graph, plan.schedule), plan.budget)
    """
    if trace.copies:
        return lanes_picture(trace, budget, most)
    plain = in_order(trace.graph)
    figure = memory_picture({"as it is": plain, "planned": trace}, budget)
    memory = figure.axes[0]
    stays = lifetimes(trace)
    rows = largest_rows(trace, stays, most)
    figure.set_size_inches(8.4, 3.2 + 0.16 * len(rows))
    grid = figure.add_gridspec(2, 1, height_ratios=(2.4, 0.6 + 0.16 * len(rows)))
    memory.set_subplotspec(grid[0])
    below = figure.add_subplot(grid[1], sharex=memory)
    mark_backward(below, trace)
    _draw(below, trace, stays, rows)
    _explain(below, trace, stays, rows)
    memory.set_xlim(0, max(len(trace.codes), len(plain.codes), 1))
    memory.set_xlabel("")
    memory.tick_params(labelbottom=False)
    return figure


def _draw(axes: Axes, trace: Trace, stays: Sequence[Lifetime], rows: list[int]) -> None:
    place = {storage: at for at, storage in enumerate(rows)}
    spans: dict[int, list[tuple[float, float]]] = {storage: [] for storage in rows}
    for storage, start, end in stays:
        if storage in spans:
            first = max(start, 0)
            # It is still there while it is freed.
            last = min(end + 1, len(trace.codes))
            spans[storage].append((first, max(last - first, 1)))
    for storage, parts in spans.items():
        colour = colour_of(trace, storage)
        # With an edge, so that a stay of two steps in thousands can be seen.
        box = (place[storage] - 0.4, 0.8)
        axes.broken_barh(parts, box, facecolors=colour, edgecolors=colour, linewidth=0.8)
    name_rows(axes, trace, rows)
    axes.set_xlabel("step")


def _explain(axes: Axes, trace: Trace, stays: Sequence[Lifetime], rows: list[int]) -> None:
    """Say what the colours mean, those that are there, and what has no row."""
    from matplotlib.patches import Patch

    there = {colour_of(trace, storage) for storage in rows}
    one = "forward" if trace.boundary is not None else "computed"
    colours = {one: FORWARD, "backward": BACKWARD, "input": INPUT}
    patches = [Patch(color=colour, label=label) for label, colour in colours.items()]
    axes.legend(
        handles=[patch for patch, colour in zip(patches, colours.values()) if colour in there],
        frameon=False,
        loc="lower left",
        bbox_to_anchor=(0, 1),
        ncols=3,
        fontsize=8,
    )
    axes.set_title(left_out(trace, stays, rows), loc="right", fontsize=8, color="0.35")
