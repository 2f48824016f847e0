"""Results, comparisons and graphs as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.table import Table
from rich.text import Text

from schedule.budgets.comparison import Entry
from schedule.budgets.summary import Summary
from schedule.memory import Trace
from schedule.result import Result, Status
from schedule.sizes import format_memory

if TYPE_CHECKING:
    from schedule.budgets.curve import Sweep
    from schedule.executors import Comparison

#: Longer names are cut: they may have a thousand letters.
_LONGEST = 60


def printable(name: str) -> str:
    """A name on one line, whatever letters it is made of, and not too long."""
    text = _on_one_line(name)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _on_one_line(text: str) -> str:
    return text if text.isprintable() else repr(text)[1:-1]


def result_table(result: Result) -> Table:
    """Everything that `Result.rows` says."""
    return facts_table(result.rows())


def facts_table(rows: Iterable[tuple[str, str]]) -> Table:
    """Labels on the left, values on the right, without lines."""
    table = Table.grid(padding=(0, 2))
    for label, value in rows:
        table.add_row(Text(label, style="bold"), Text(_on_one_line(value)))
    return table


def list_table(columns: Sequence[str], rows: Iterable[Sequence[str]], right: int = 0) -> Table:
    """Rows under a head; the columns 1 … `right` hold numbers."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
    for at, column in enumerate(columns):
        number = 1 <= at <= right
        table.add_column(
            column,
            justify="right" if number else "left",
            no_wrap=number or at == 0,
            overflow="fold",
        )
    for row in rows:
        table.add_row(*(Text(cell) for cell in row))
    return table


def comparison_table(entries: Iterable[Entry]) -> Table:
    """One line a solver: overhead, peak, bound, gap, seconds, and why nothing fits."""
    head = ("solver", "overhead", "bound", "gap", "peak", "seconds", "")
    return list_table(head, (_compared(entry) for entry in entries), right=5)


def _compared(entry: Entry) -> tuple[str, ...]:
    result = entry.result
    if result is None:
        return entry.solver, "–", "–", "–", "–", "–", entry.reason
    peak = "–" if entry.least_peak is None else format_memory(entry.least_peak)
    note = str(result.status)
    if result.status is Status.UNKNOWN:  # the peak's column says by how much it doesn't fit
        note = entry.reason if entry.least_peak is None else "doesn't fit"
    return (
        entry.solver,
        _percent(result.overhead),
        _percent(result.bound_overhead),
        "–" if result.gap is None else f"{100 * result.gap:.4f}",
        peak,
        f"{result.seconds:.2f}",
        ", ".join(filter(None, (note, result.stop))),
    )


def sweep_table(curve: Sweep) -> Table:
    """One line a budget: overhead, bound, gap, seconds, status, and which is the knee."""
    return list_table(curve.columns, curve.rows(), right=5)


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:+.4f} %"


_ORDERS = {"free": "any order", "fixed": "the given order"}


def summary_table(summary: Summary) -> Table:
    """A graph in figures, with what makes up its peak."""
    data = summary.to_json()
    rows = [
        ("graph", printable(data["name"])),
        ("nodes", f"{data['nodes']} ({_parts(data)})"),
        ("tensors", f"{data['tensors']}, {data['views']} of them views"),
        ("inputs", f"{data['inputs']}, {format_memory(data['resident_memory'])} resident"),
        ("outputs", str(data["outputs"])),
        ("compute", f"{data['compute']} with every node once"),
        ("peak", f"{format_memory(data['peak'])} {_where(data['peak_node'])}, nothing recomputed"),
    ]
    for part in data["at_peak"]:
        name = printable(part["name"])
        rows.append(("", f"{format_memory(part['memory'])}  {name} ({part['role']})"))
    floor = data["floor"]
    rows.append(
        ("floor", f"{format_memory(floor['memory'])} {_where(floor['node'])}, in any order")
    )
    for order, found in data["least_budget"].items():
        rows.append(("least budget", f"{_limits(found)}, in {_ORDERS[order]}"))
    if data["reordered"] is not None:
        rows.append(
            ("reordered", f"{_limits(data['reordered'])}, in any order, nothing recomputed")
        )
    for share, budget in data["budgets"].items():
        beyond = ""
        if share in data["bound_overhead"]:
            bound = data["bound_overhead"][share]
            found = (
                "no schedule fits" if bound is None else f"at least {bound * 100:+.4f} % compute"
            )
            beyond = f", {found}"
        rows.append((f"budget {share}", f"{budget} ({format_memory(budget)}){beyond}"))
    return facts_table(rows)


def _limits(found: dict[str, Any]) -> str:
    """What is known of the least budget, in words."""
    known, needed = found["known"], found["needed"]
    if known == needed:
        return f"{format_memory(known)}, proved"
    return f"{format_memory(known)} or less, at least {format_memory(needed)}"


def _parts(data: dict[str, int]) -> str:
    parts = [f"{data['forward_nodes']} forward, {data['backward_nodes']} backward"]
    if data["not_recomputable"]:
        parts.append(f"{data['not_recomputable']} must not run twice")
    if data["not_needed"]:
        parts.append(f"{data['not_needed']} needed by no output")
    return ", ".join(parts)


def _where(node: str | None) -> str:
    return "at the start or end" if node is None else f"while {printable(node)!r} runs"


def trace_table(trace: Trace, budget: int | None, largest: int = 5) -> Table:
    """What a valid schedule does, with the `largest` parts of its peak."""
    rows = [("graph", printable(trace.graph.name)), ("steps", str(len(trace.codes)))]
    if budget is not None:
        rows.append(("budget", format_memory(budget)))
    rows.append(("peak", f"{format_memory(trace.peak)} {_at(trace)}"))
    rows += [
        ("", f"{format_memory(part.memory)}  {printable(part.name)} ({part.role})")
        for part in trace.peak_shares[:largest]
    ]
    rows += [
        ("compute", f"{trace.compute} ({100 * trace.overhead:+.4f} %)"),
        ("checkpoints", str(len(trace.checkpoints))),
    ]
    return facts_table(rows)


def _at(trace: Trace) -> str:
    step = trace.peak_step
    if step < 0:
        return "before the first step"
    code, layout = int(trace.codes[step]), trace.graph.layout
    if code < 0:
        return f"at step {step}"
    return f"at step {step}, while {printable(layout.node_names[code])!r} runs"


def replay_table(found: Comparison) -> Table:
    """The program as it is and as planned, both run: promised and measured peaks."""
    head = ("", "promised peak", "measured peak", "runs", "seconds")
    rows = [
        (
            name,
            format_memory(run.promised_peak),
            format_memory(run.measured_peak),
            str(run.runs),
            f"{run.seconds:.2f}",
        )
        for name, run in (("as it is", found.plain), ("planned", found.planned))
    ]
    return list_table(head, rows, right=4)
