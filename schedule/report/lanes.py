"""Three lanes and more: what every engine does when, where tensors are copied between levels."""

from __future__ import annotations

import math
from collections.abc import Iterator
from html import escape
from typing import TYPE_CHECKING, NamedTuple

from schedule.lowering import in_order
from schedule.memory import Trace
from schedule.report.lifetimes import Lifetime, copies, lifetimes
from schedule.report.marks import BACKWARD, FORWARD, colour_of, largest_rows, left_out, name_rows
from schedule.report.pictures import canvas, memory_unit
from schedule.sizes import format_compute, format_memory
from schedule.steps import in_words, transfer_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Of what runs again, of copies down and up, and of time in which compute waits.
AGAIN, DOWN, UP, WAIT = "#c44e52", "#8172b3", "#55a868", "#d9dde3"
_LEGEND = {
    "forward": FORWARD,
    "backward": BACKWARD,
    "again": AGAIN,
    "copy down": DOWN,
    "copy up": UP,
    "compute waits": WAIT,
}
#: Width of the lanes in a page, and the height of one, in their own units.
_WIDTH, _LANE = 1000, 34


class Slice(NamedTuple):
    """A time in which an engine works, or waits: the number of its lane, when, what and how."""

    lane: int
    begin: float
    end: float
    text: str
    colour: str


def slices(trace: Trace) -> Iterator[Slice]:
    """What every engine does, lane by lane in the order of `Timeline.engines`; O(steps)."""
    layout, line = trace.graph.layout, trace.timeline
    ran = [False] * layout.n_nodes
    before, ended = dict[int, float](), 0.0  # when the compute before each one ended
    begins, ends, codes = line.begin.tolist(), line.end.tolist(), trace.codes.tolist()
    for step, lane in enumerate(line.engine.tolist()):
        if lane < 0:
            continue
        code, said = codes[step], in_words(trace.graph, trace.codes, step)
        if code < 0:
            tensor = transfer_of(layout, code)[0]
            text = f"{said}, {format_memory(int(layout.memory[tensor]))}"
            colour = DOWN if lane % 2 else UP
        else:
            text = said
            colour = AGAIN if ran[code] else BACKWARD if layout.backward[code] else FORWARD
            ran[code] = True
            before[step], ended = ended, ends[step]
        yield Slice(lane, begins[step], ends[step], text, colour)
    for wait in line.waits:
        text = f"waits for {in_words(trace.graph, trace.codes, wait.copy)}"
        yield Slice(0, before[wait.step], begins[wait.step], text, WAIT)


def lanes_picture(trace: Trace, budget: int | None = None, most: int = 20) -> Figure:
    """Memory of every level over time, a lane for each engine, and where large storages are.

    Time runs from left to right, in units of compute. The rows below are the largest
    storages, the first to come lowest: dark on the device, light on a level below it.

    Parameters
    ----------
    trace
        What `schedule.verify` returns for a schedule with levels below the device.
    budget
        Of the device, in the graph's unit; drawn as a line.
    most
        How many of the largest storages have a row.

    Raises
    ------
    MissingExtra
        matplotlib isn't installed.

    Examples
    --------
    >>> import schedule
    >>> from schedule.report.lanes import lanes_picture
    >>> graph = schedule.example("chain")
    >>> plan = schedule.solve(graph, "50%", levels=schedule.Level("host", 100, down=1, up=1))
    >>> figure = lanes_picture(schedule.verify(graph, plan), plan.budget)
    """
    figure, memory = canvas()
    stays = lifetimes(trace)
    rows = largest_rows(trace, stays, most)
    engines = len(trace.timeline.engines)
    figure.set_size_inches(8.4, 3.6 + 0.3 * engines + 0.16 * len(rows))
    heights = (2.4, 0.3 + 0.3 * engines, 0.5 + 0.16 * len(rows))
    grid = figure.add_gridspec(3, 1, height_ratios=heights)
    memory.set_subplotspec(grid[0])
    lanes = figure.add_subplot(grid[1], sharex=memory)
    below = figure.add_subplot(grid[2], sharex=memory)
    _draw_memory(memory, trace, budget)
    _draw_lanes(lanes, trace)
    _draw_rows(below, trace, stays, rows)
    memory.set_xlim(0, max(float(trace.makespan), 1e-12))
    for axes in (memory, lanes):
        axes.tick_params(labelbottom=False)
    below.set_xlabel("time, in units of compute")
    power = _power(float(trace.makespan))
    below.xaxis.set_major_formatter(lambda time, _: _tick(time, power))
    return figure


def _power(most: float) -> int:
    """The power of ten that figures up to `most` have, as `format_compute` writes them."""
    power = math.floor(math.log10(most)) // 3 * 3 if most > 0 else 0
    return power if not -3 <= power < 6 else 0


def _tick(time: float, power: int) -> str:
    """A time on an axis: with its power of ten, not with one in the corner for all of them."""
    value = f"{time / 10**power:.6g}"
    return value if not power or value == "0" else f"{value}e{power}"


def _draw_memory(axes: Axes, trace: Trace, budget: int | None) -> None:
    plain = in_order(trace.graph)
    most = max(trace.peak, plain.peak, budget or 0, *trace.peaks_below, 1)
    scale, unit = memory_unit(most)
    lines = [
        ("as it is", plain.during, plain.timeline.clock, "C0", 1.1),
        ("planned", trace.during, trace.timeline.clock, "C1", 1.4),
    ]
    lines += [
        (f"on {level.name}", used, trace.timeline.clock, f"C{4 + at}", 1.1)
        for at, (level, used) in enumerate(zip(trace.levels, trace.below))
    ]
    for label, used, clock, colour, width in lines:
        values = used / scale
        axes.stairs(values, clock, label=label, color=colour, linewidth=width, baseline=None)
    if budget is not None:
        label = f"budget {format_memory(budget)}"
        axes.axhline(budget / scale, color="0.35", linewidth=1, linestyle="--", label=label)
    axes.set_ylim(0, 1.08 * most / scale)
    axes.set_ylabel(f"memory in use{unit}")
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=4, fontsize=8)


def _draw_lanes(axes: Axes, trace: Trace) -> None:
    engines = trace.timeline.engines
    spans: dict[tuple[int, str], list[tuple[float, float]]] = {}
    for each in slices(trace):
        spans.setdefault((each.lane, each.colour), []).append((each.begin, each.end - each.begin))
    for (lane, colour), parts in spans.items():
        axes.broken_barh(
            parts, (lane - 0.38, 0.76), facecolors=colour, edgecolor="white", linewidth=0.2
        )
    axes.set_yticks(range(len(engines)), list(engines), size=8)
    axes.set_ylim(len(engines) - 0.4, -0.6)
    axes.spines[:].set_visible(False)
    axes.tick_params(length=0)
    there = {colour for _, colour in spans}
    handles = [
        axes.barh(0, 0, color=colour, label=label)
        for label, colour in _LEGEND.items()
        if colour in there
    ]
    axes.legend(
        handles=handles, frameon=False, loc="lower left", bbox_to_anchor=(0, 1), ncols=6, fontsize=8
    )


def _draw_rows(axes: Axes, trace: Trace, stays: list[Lifetime], rows: list[int]) -> None:
    clock = trace.timeline.clock.tolist()
    place = {storage: at for at, storage in enumerate(rows)}
    below = [copies(trace, level) for level in range(1, len(trace.levels) + 1)]
    for depth, found in enumerate([stays, *below]):
        spans: dict[int, list[tuple[float, float]]] = {}
        for storage, start, end in found:
            if storage in place:
                begin = clock[max(start, 0)]
                spans.setdefault(storage, []).append((begin, clock[end] - begin))
        for storage, parts in spans.items():
            colour = colour_of(trace, storage)
            box = (place[storage] - (0.4 if depth == 0 else 0.12), 0.8 if depth == 0 else 0.24)
            axes.broken_barh(
                parts, box, facecolors=colour if depth == 0 else DOWN, linewidth=0, zorder=2 - depth
            )
    name_rows(axes, trace, rows)
    names_below = " or ".join(level.name for level in trace.levels)
    said = [left_out(trace, stays, rows), f"thin: a copy on {names_below}"]
    axes.set_title("; ".join(filter(None, said)), loc="right", fontsize=8, color="0.35")


def lanes_section(trace: Trace) -> str:
    """The lanes for a page: HTML with a picture as SVG, whose parts say what they are."""
    engines, whole = trace.timeline.engines, max(float(trace.makespan), 1e-12)
    drawn, there = [], set()
    for each in slices(trace):
        x, width = _WIDTH * each.begin / whole, _WIDTH * (each.end - each.begin) / whole
        when = f"{format_compute(each.begin)} to {format_compute(each.end)}"
        drawn.append(
            f'<rect x="{x:.3f}" y="{each.lane * _LANE + 4}" width="{width:.3f}"'
            f' height="{_LANE - 8}" fill="{each.colour}">'
            f"<title>{escape(f'{each.text}: {when}')}</title></rect>"
        )
        there.add(each.colour)
    legend = "".join(
        f'<li><i class="box" style="background:{colour}"></i>{label}</li>'
        for label, colour in _LEGEND.items()
        if colour in there
    )
    busy = trace.timeline.busy
    names = "".join(
        f"<li>{escape(name)}: busy for {100 * busy[name] / whole:.1f} %</li>" for name in engines
    )
    title = f"Engines over time: {format_compute(trace.makespan)} in all"
    height = _LANE * len(engines)
    return (
        '<section aria-labelledby="lanes-title"><div class="head">'
        f'<h2 id="lanes-title">{escape(title)}</h2>'
        f'<ul class="legend" aria-label="Legend of the lanes">{legend}</ul></div>'
        f'<svg id="lanes" viewBox="0 0 {_WIDTH} {height}" preserveAspectRatio="none" role="img"'
        f' aria-labelledby="lanes-title" style="width:100%;height:{height}px">'
        f"{''.join(drawn)}</svg>"
        f'<ol class="soft" aria-label="Lanes from the top">{names}</ol></section>'
    )
