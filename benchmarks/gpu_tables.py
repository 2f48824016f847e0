"""The tables of `gpu.py`, from its lines."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tables import show

HEADINGS = ["model", "line", "ms", "±", "host, ms", "promise, MB", "peak, MB", "off, %"]
HEADINGS += ["reserved, MB", "predicted, %", "measured, %", "by the model, %"]


def rows_of(lines: Sequence[dict[str, Any]]) -> list[list[str]]:
    """The table: predicted and measured are against the captured step at 100 %, run likewise."""
    known = {(row["model"], row["line"]): row for row in lines}
    table = []
    for row in lines:
        name, line = row["model"], row["line"]
        if line in ("capture", "costs"):
            continue
        trouble = row.get("failure") or row.get("fallback")
        if trouble:
            table.append([name, line, trouble[:60], *[""] * 9])
            continue
        of = functools.partial(_figure, row)
        base = known.get((name, "100% graphs" if line.endswith("graphs") else "100%"), {})
        is_planned = "promise" in row and "ms" in base
        slower = 100 * (row["ms"] / base["ms"] - 1) if is_planned else None
        off = None
        if row.get("promise") and row.get("allocated") and not line.endswith("graphs"):
            off = 100 * (row["promise"] / row["allocated"] - 1)
        table.append(
            [
                name,
                line,
                of("ms", 1, "{:.1f}"),
                of("spread", 1, "{:.1f}"),
                of("host", 1, "{:.1f}"),
                of("promise", 1e-6, "{:.1f}"),
                of("allocated", 1e-6, "{:.1f}"),
                "" if off is None else f"{off:+.2f}",
                of("reserved", 1e-6, "{:.0f}"),
                of("predicted", 100, "{:+.1f}"),
                "" if slower is None else f"{slower:+.1f}",
                of("by_model", 100, "{:+.1f}"),
            ]
        )
    return table


def _figure(row: dict[str, Any], key: str, unit: float, form: str) -> str:
    return form.format(row[key] * unit) if row.get(key) is not None else ""


def report(lines: Sequence[dict[str, Any]], device: str, markdown: Path | None) -> None:
    """Print what there is, and write the first table."""
    show(f"steps on {device}", HEADINGS, rows_of(lines), markdown, left=2)
    headings = ["model", "capture, s", "nodes", "measured, ms", "again, ms", "ranking"]
    headings += ["ranking, model", "measuring, s"]
    table = []
    for name in dict.fromkeys(row["model"] for row in lines):
        found = {row["line"]: row for row in lines if row["model"] == name}
        capture, costs = found.get("capture", {}), found.get("costs", {})
        row = [_figure(capture, "seconds", 1, "{:.1f}"), _figure(capture, "nodes", 1, "{}")]
        row += [_figure(costs, key, 1, "{:.2f}") for key in ("ms", "again")]
        row += [_figure(costs, key, 1, "{:.3f}") for key in ("ranking", "with_model")]
        table.append([name, *row, _figure(costs, "seconds", 1, "{:.1f}")])
    show("captures and measured costs", headings, table)
