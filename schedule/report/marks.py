"""What is marked in a picture of memory over steps: peaks, passes and checkpoints."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from schedule.memory import Trace
from schedule.report.lifetimes import Lifetime
from schedule.sizes import format_memory

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Colours of what the passes make, and of the inputs.
FORWARD, BACKWARD, INPUT = "#5b9bd5", "#e08e2b", "#9aa4b1"
_INK = "#9a5b0c"  # as BACKWARD, dark enough for letters
#: Longer names are cut: the picture is beside them.
_LONGEST = 28
#: Of letters, in points.
_SIZE = 9


def mark_traces(axes: Axes, traces: Mapping[str, Trace], scale: int) -> list[str]:
    """Mark the peak of every line, and the passes and checkpoints of the last.

    Parameters
    ----------
    axes
        Where the lines of `traces` are, the k-th in colour k, with the limits that it keeps.
    traces
        By label; the last is the one that the picture is about.
    scale
        Memory of one unit of the y-axis.

    Returns
    -------
    list[str]
        The labels of those whose peak has no room for its figure, which would lie on a line.
    """
    unplaced = []
    for at, (name, trace) in enumerate(traces.items()):
        step, top = max(trace.peak_step, 0) + 0.5, trace.peak / scale
        axes.plot([step], [top], "o", color=f"C{at}", markersize=4)
        label = f"peak {format_memory(trace.peak)}"
        # Above the line, on the side where there is more room.
        right = step > len(trace.codes) / 2
        for side in (right, not right):
            if _is_free(axes, traces, scale, (step, top), len(label), side):
                away, aligned = (-4 if side else 4, 5), "right" if side else "left"
                _write(axes, label, (step, top), away, f"C{at}", aligned)
                break
        else:
            unplaced.append(name)
    if traces:
        last = list(traces.values())[-1]
        mark_backward(axes, last)
        _mark_checkpoints(axes, last, scale)
    return unplaced


def _is_free(
    axes: Axes,
    traces: Mapping[str, Trace],
    scale: int,
    point: tuple[float, float],
    letters: int,
    is_left: bool,
) -> bool:
    """Whether no line passes where so many letters would stand, above a point and beside it."""
    point_size = axes.figure.dpi / 72
    # In points, before the layout, which only makes it larger.
    wide, high = axes.bbox.width / point_size, axes.bbox.height / point_size
    steps = max(len(trace.codes) for trace in traces.values()) or 1
    width = (letters * 0.6 * _SIZE + 4) * steps / wide
    low, up = (point[1] + part * axes.get_ylim()[1] / high for part in (3, 5 + _SIZE))
    first, last = (point[0] - width, point[0]) if is_left else (point[0], point[0] + width)
    for trace in traces.values():
        seen = trace.during[max(int(first), 0) : int(last) + 1] / scale
        after = np.append(seen[1:], seen[-1:])
        # From one step to the next the line goes through all that is between.
        least, most = np.minimum(seen, after), np.maximum(seen, after)
        if np.any((least <= up) & (most >= low)):
            return False
    return True


def colour_of(trace: Trace, storage: int) -> str:
    """What made a storage: a node of the forward pass, of the backward pass, or nothing."""
    layout = trace.graph.layout
    maker = int(layout.producer[storage])
    return INPUT if maker < 0 else BACKWARD if layout.backward[maker] else FORWARD


def largest_rows(trace: Trace, stays: Sequence[Lifetime], most: int) -> list[int]:
    """The largest storages that take memory, in the order in which they first come."""
    sizes = trace.graph.layout.memory.tolist()
    there = list(dict.fromkeys(stay.storage for stay in stays if sizes[stay.storage]))
    largest = set(sorted(there, key=lambda storage: (-sizes[storage], storage))[:most])
    return [storage for storage in there if storage in largest]


def left_out(trace: Trace, stays: Sequence[Lifetime], rows: Sequence[int]) -> str:
    """How many storages have no row, and how large they are."""
    sizes = trace.graph.layout.memory.tolist()
    rest = {stay.storage for stay in stays if sizes[stay.storage]} - set(rows)
    if not rest:
        return ""
    largest = format_memory(max(sizes[storage] for storage in rest))
    return f"the {len(rows)} largest of {len(rows) + len(rest)} storages; others up to {largest}"


def name_rows(axes: Axes, trace: Trace, rows: Sequence[int]) -> None:
    """Write the names of storages beside their rows, the first lowest."""
    names = [trace.graph.layout.tensor_names[storage] for storage in rows]
    cut = [name if len(name) <= _LONGEST else f"{name[: _LONGEST - 1]}…" for name in names]
    # A dollar sign would begin a formula.
    axes.set_yticks(range(len(rows)), [name.replace("$", r"\$") for name in cut], size=7)
    axes.set_ylim(-0.8, len(rows) - 0.2)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(axis="y", length=0)


def mark_backward(axes: Axes, trace: Trace) -> None:
    """Shade the steps from the first backward run on."""
    if trace.boundary is not None:
        axes.axvspan(trace.boundary, len(trace.codes), color=BACKWARD, alpha=0.08, linewidth=0)


def checkpoint_memory(trace: Trace) -> int:
    """Memory of the storages that the checkpoints are on, each counted once, without inputs."""
    layout = trace.graph.layout
    tensors = [layout.tensor_id[name] for name in trace.checkpoints]
    owners = np.unique(layout.storage[tensors]) if tensors else np.zeros(0, np.int64)
    return int(layout.memory[owners[layout.producer[owners] >= 0]].sum())


def _mark_checkpoints(axes: Axes, trace: Trace, scale: int) -> None:
    """A bar as high as the checkpoints' memory, where the backward pass begins."""
    if trace.boundary is None:
        return
    held, count = checkpoint_memory(trace), len(trace.held_checkpoints)
    axes.vlines(trace.boundary, 0, held / scale, color=_INK, linewidth=3)
    plural = "" if count == 1 else "s"
    said = f"backward, from {count} checkpoint{plural} of {format_memory(held)}"
    # On the side where there is more room.
    right = trace.boundary > len(trace.codes) / 2
    _write(
        axes, said, (trace.boundary, 0), (-5 if right else 5, 4), _INK, "right" if right else "left"
    )


def _write(
    axes: Axes,
    text: str,
    point: tuple[float, float],
    away: tuple[float, float],
    colour: str,
    side: str = "left",
) -> None:
    axes.annotate(
        text,
        point,
        away,
        textcoords="offset points",
        color=colour,
        size=_SIZE,
        ha=side,
        clip_on=False,
        zorder=5,
        # A line may pass behind it.
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.7, "pad": 0.5},
    )
