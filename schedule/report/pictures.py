"""Pictures of memory over time, with matplotlib (the extra `plot`)."""

from __future__ import annotations

import io
import os
import warnings
from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from schedule.errors import BadInput, BadOption, BadOutput, MissingExtra
from schedule.files import STANDARD, AnyPath, path_text, write_bytes
from schedule.memory import Trace
from schedule.report.marks import mark_traces
from schedule.sizes import format_memory, format_share
from schedule.values import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: A picture with a part for every storage can be read up to this many steps.
MOST_STEPS = 100


def memory_picture(traces: Mapping[str, Trace], budget: int | None = None) -> Figure:
    """Memory in use during each step, one line a schedule.

    Their peaks are marked, and of the last one the backward pass and the
    memory of the checkpoints that it begins with.

    Parameters
    ----------
    traces
        By label: what `schedule.simulate` or `verify` returns.
    budget
        Drawn as a line, in the graphs' unit.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with `save_picture`, or show it in a notebook.

    Raises
    ------
    BadInput
        Something else is given.
    MissingExtra
        matplotlib isn't installed.

    Examples
    --------
    >>> import schedule
    >>> from schedule.report.pictures import memory_picture
    >>> graph = schedule.example("chain")
    >>> plan = schedule.solve(graph, solver="store_all")
    >>> figure = memory_picture({"as it is": schedule.verify(graph, plan.schedule)})
    """
    for label, trace in traces.items():
        if not isinstance(trace, Trace):
            raise BadInput(
                f"{label!r} is {shown(trace)}, no trace: give what schedule.verify returns"
            )
    figure, axes = canvas()
    most = max((trace.peak for trace in traces.values()), default=0)
    scale, unit = memory_unit(most)
    lines = {}
    for label, trace in traces.items():
        is_plain = not round(100 * trace.overhead, 4)
        text = label if is_plain else f"{label}: {format_share(trace.overhead)} compute"
        steps = np.arange(len(trace.during) + 1)
        lines[label] = axes.stairs(
            trace.during / scale, steps, label=text, linewidth=1.4, baseline=None
        )
    if budget is not None:
        label = f"budget {format_memory(budget)}"
        axes.axhline(budget / scale, color="0.35", linewidth=1, linestyle="--", label=label)
    axes.set_ylim(0, 1.15 * max(most, budget or 0, 1) / scale)
    unplaced = mark_traces(axes, traces, scale)
    for label in unplaced:
        peak = format_memory(traces[label].peak)
        lines[label].set_label(f"{lines[label].get_label()}, peak {peak}")
    axes.set_xlabel("step")
    axes.set_ylabel(f"memory in use{unit}")
    axes.margins(x=0)
    # Above, where no line is.
    size = 9 if len(unplaced) < 2 else 8
    axes.legend(frameon=False, loc="lower right", bbox_to_anchor=(1, 1), ncols=3, fontsize=size)
    return figure


def stack_picture(trace: Trace) -> Figure:
    """What makes up the memory in use during each run: one block a storage.

    For small graphs, of up to `MOST_STEPS` steps. Only runs are shown: a free
    shows as what is missing from the next run on.

    Parameters
    ----------
    trace
        What `schedule.simulate` or `verify` returns.

    Raises
    ------
    BadOption
        There are too many steps to be read.
    MissingExtra
        matplotlib isn't installed.
    """
    if len(trace.codes) > MOST_STEPS:
        raise BadOption(f"{len(trace.codes)} steps can't be told apart; {MOST_STEPS} can")
    figure, axes = canvas()
    runs = np.flatnonzero(trace.codes >= 0).tolist()
    names = trace.graph.layout.node_names
    colours: dict[str, str] = {}
    for at, step in enumerate(runs):
        _stack(axes, at, trace, step, colours)
    axes.set_xticks(range(len(runs)), [names[int(trace.codes[step])] for step in runs])
    axes.tick_params(axis="x", length=0, labelrotation=0 if len(runs) < 16 else 90)
    axes.set_xlabel("what runs")
    axes.set_ylabel("memory in use")
    axes.margins(x=0.01)
    return figure


def _stack(axes: Axes, at: int, trace: Trace, step: int, colours: dict[str, str]) -> None:
    """Draw the storages in use during `step` on top of each other, the oldest lowest."""
    place = trace.graph.layout.tensor_id
    roles = {"live": 0, "output": 1, "second copy": 2, "workspace": 3}
    shares = sorted(trace.shares(step), key=lambda s: (roles[s.role], place.get(s.name, 0)))
    height = 0
    for share in shares:
        colour = colours.setdefault(share.name, f"C{len(colours) % 10}")
        passing = share.role in ("workspace", "second copy")
        axes.bar(
            at,
            share.memory,
            0.94,
            height,
            color="white" if passing else colour,
            alpha=0.85,
            edgecolor=colour,
            hatch="///" if passing else None,
            linewidth=1,
        )
        text = share.name if share.role in ("live", "output") else share.role
        axes.text(at, height + share.memory / 2, text, ha="center", va="center", size=8)
        height += share.memory


def save_picture(figure: Figure, path: AnyPath) -> None:
    """Write a picture, whole or not at all; the ending says how (`.svg`, `.png`, `.pdf`).

    The same figure gives the same bytes.

    Raises
    ------
    BadOutput
        The file can't be written, or its ending is unknown.
    """
    write_bytes(path, picture_bytes(figure, require_picture(path)))


def require_picture(path: AnyPath) -> str:
    """What kind of picture the ending of `path` asks for, before any long work; `-` is SVG.

    Raises
    ------
    BadOutput
        Its ending is unknown.
    MissingExtra
        matplotlib isn't installed.
    """
    known = canvas()[0].canvas.get_supported_filetypes()
    if path == STANDARD:
        return "svg"
    kind = os.path.splitext(path_text(path))[1].lower().removeprefix(".")
    if kind not in known:
        raise BadOutput(f"{path_text(path)}: can't be written: give it the ending .svg, .png, .pdf")
    return kind


def picture_bytes(figure: Figure, kind: str) -> bytes:
    """A picture as the content of a file of this kind: `svg`, `png`, `pdf`."""
    from matplotlib import rc_context

    stamps = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}
    written = io.BytesIO()
    with (
        rc_context({"svg.fonttype": "none", "svg.hashsalt": "schedule"}),
        warnings.catch_warnings(),
    ):
        # The font lacks it: SVG has the letter all the same, elsewhere a box can be seen.
        warnings.filterwarnings("ignore", "Glyph .* missing from")
        figure.savefig(written, format=kind, metadata=stamps.get(kind))
    return written.getvalue()


def canvas() -> tuple[Figure, Axes]:
    """An empty picture, as wide as a page; MissingExtra where matplotlib isn't there."""
    try:
        from matplotlib.figure import Figure
    except ImportError:
        raise MissingExtra(
            "pictures need matplotlib; install it with: pip install 'graph-schedule[plot]'"
        ) from None
    figure = Figure(figsize=(7.2, 3.2), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def memory_unit(most: int) -> tuple[int, str]:
    """What to divide by on an axis, and what to call it: the unit that `format_memory` takes."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB")):
        if most >= (1024**power if power > 2 else 10**6):
            return 1024**power, f", {unit}"
    return 1, ""
