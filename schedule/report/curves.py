"""A picture of what memory costs: compute over budgets, and what is proved about it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from schedule.budgets.curve import Sweep
from schedule.errors import BadInput
from schedule.layout import Floats
from schedule.report.pictures import canvas, memory_unit
from schedule.result import Result
from schedule.sizes import format_share
from schedule.values import shown

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_LINE, _PROVED = "#2f6db3", "#d9dde3"


def curve_picture(curve: Sweep) -> Figure:
    """The compute of the schedules of a sweep over their budgets, above its bound.

    What is shaded is proved to be out of reach. Between two budgets the line
    goes on from the smaller, whose schedule fits there too; the shade goes back
    from the larger, whose bound holds there too.

    Parameters
    ----------
    curve
        What `schedule.sweep` returns.

    Returns
    -------
    matplotlib.figure.Figure
        Save it with `schedule.report.pictures.save_picture`.

    Raises
    ------
    BadInput
        Something else is given.
    MissingExtra
        matplotlib isn't installed.

    Examples
    --------
    >>> import schedule
    >>> from schedule.report.curves import curve_picture
    >>> figure = curve_picture(schedule.sweep(schedule.example("chain"), points=4))
    """
    if not isinstance(curve, Sweep):
        raise BadInput(f"{shown(curve)} is no sweep: give what schedule.sweep returns")
    figure, axes = canvas()
    scale, unit = memory_unit(max((_budget(point) for point in curve.points), default=0))
    plans = _line(curve, scale, lambda point: point.objective_overhead)
    bounds = _line(curve, scale, lambda point: point.bound_overhead)
    asked = [_budget(point) / scale for point in curve.points if not bounds.size]
    _show_all(axes, [*plans[1], *bounds[1]])
    _shade(axes, bounds, curve.least_budget / scale, asked)
    axes.plot(
        *plans,
        color=_LINE,
        marker="o",
        markersize=4,
        linewidth=1.4,
        drawstyle="steps-post",
        label="best schedule found",
        zorder=3,
    )
    _mark(axes, curve, scale)
    axes.set_xlabel(f"budget{unit}")
    axes.set_ylabel(f"extra {curve.objective}, %")
    if curve.plain_peak:
        whole = curve.plain_peak / scale
        share = axes.secondary_xaxis("top", functions=(_times(100 / whole), _times(whole / 100)))
        share.set_xlabel("of the unplanned peak, %")
    axes.legend(frameon=False, loc="best")  # a sweep that was cut short is flat, at the top
    return figure


def curves_picture(curves: Mapping[str, Sweep]) -> Figure:
    """The curves of several sweeps of one graph in one picture, such as for several links.

    Each line is the best that was found, the broken one below it what is proved: the
    same line where they meet.

    Parameters
    ----------
    curves
        By label: what `schedule.sweep` returns.

    Raises
    ------
    MissingExtra
        matplotlib isn't installed.

    Examples
    --------
    >>> import schedule
    >>> from schedule.report.curves import curves_picture
    >>> graph = schedule.example("chain")
    >>> curves = {name: schedule.sweep(graph, points=4, solver=name) for name in ("sqrt", "auto")}
    >>> figure = curves_picture(curves)
    """
    figure, axes = canvas()
    budgets = [_budget(point) for curve in curves.values() for point in curve.points]
    scale, unit = memory_unit(max(budgets, default=0))
    seen: list[float] = []
    for at, (label, curve) in enumerate(curves.items()):
        style: dict[str, Any] = {"color": f"C{at % 10}", "linewidth": 1.4}
        plans = _line(curve, scale, lambda point: point.objective_overhead)
        bounds = _line(curve, scale, lambda point: point.bound_overhead)
        axes.plot(*plans, drawstyle="steps-post", marker="o", markersize=4, label=label, **style)
        axes.plot(*bounds, drawstyle="steps-pre", linestyle=":", **style)
        seen += [*plans[1], *bounds[1]]
    _show_all(axes, seen)
    axes.set_xlabel(f"budget{unit}")
    what = {curve.objective for curve in curves.values()}
    axes.set_ylabel(f"extra {' or '.join(sorted(what))}, %")
    axes.legend(frameon=False, loc="best", title="dotted: proved")
    return figure


def _line(curve: Sweep, scale: int, value: Callable[[Result], float | None]) -> Floats:
    """Budgets, and a value in percent, of the points that have it: shape (2, n)."""
    found = [(_budget(point) / scale, value(point)) for point in curve.points]
    shown = [(budget, 100 * share) for budget, share in found if share is not None]
    return np.array(shown, np.float64).reshape(-1, 2).T


def _show_all(axes: Axes, values: Iterable[float]) -> None:
    """Room for all values, from 0 on, also where all are 0."""
    most = max([0.01, *values])
    axes.set_ylim(-0.03 * most, 1.12 * most)


def _shade(axes: Axes, bounds: Floats, least: float, seen: list[float]) -> None:
    """What is proved to be out of reach, below the bounds and left of the least budget.

    `seen` are budgets that are to be seen, too.
    """
    shown = [*bounds[0], *seen, *([least] if least else [])] or [0.0]
    margin = 0.03 * (max(shown) - min(shown)) or 1.0
    left, bottom = min(shown) - margin, axes.get_ylim()[0]
    style: dict[str, Any] = {"color": _PROVED, "linewidth": 0}
    start = least or left
    axes.axvspan(left - margin, start, **style)
    axes.fill_between(
        [start, *bounds[0]],
        bottom,
        [0.0, *bounds[1]],
        step="pre",
        label="proved out of reach",
        **style,
    )
    axes.set_xlim(left, max(shown) + margin)


def _mark(axes: Axes, curve: Sweep, scale: int) -> None:
    """Name the knee."""
    knee = curve.knee
    if knee is None or knee.objective_overhead is None:
        return
    extra = 100 * knee.objective_overhead
    at = (_budget(knee) / scale, extra)
    beyond = format_share(knee.objective_overhead)
    text = f"knee: {100 * curve.share(_budget(knee)):.3g} %, {beyond} {curve.objective}"
    axes.plot(*at, marker="o", markersize=8, color=_LINE, zorder=4)
    left, right = axes.get_xlim()
    if at[0] < left + 0.55 * (right - left):
        axes.annotate(text, at, (8, 8), textcoords="offset points", color=_LINE)
    else:  # where the line has come down
        place: dict[str, Any] = {"textcoords": ("axes fraction", "offset points"), "ha": "right"}
        axes.annotate(text, at, (1, 14), color=_LINE, **place)


def _budget(point: Result) -> int:
    assert point.budget is not None, "a point of a sweep has a budget"
    return point.budget


def _times(factor: float) -> Callable[[Any], Any]:
    return lambda values: values * factor
