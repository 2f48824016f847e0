"""Results, comparisons and graphs as tables for a terminal."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich import box
from rich.cells import cell_len
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from schedule.budgets.comparison import Entry
from schedule.budgets.summary import Summary
from schedule.display import folded, written
from schedule.lowering import in_order
from schedule.memory import Trace, overhead_of
from schedule.result import Result, Status
from schedule.sizes import (
    format_compute,
    format_enough,
    format_memories,
    format_memory,
    format_points,
    format_reached,
    format_share,
    with_exact,
)

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderResult

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


def result_table(result: Result, plain: Trace | None = None) -> FactsTable:
    """Everything that `Result.rows` says, beside the program as it is where that is given."""
    rows = []
    for label, value in result.rows():
        if plain is not None and label == "peak":
            rows.append(("as it is", _as_it_is(plain)))
            rows.append((label, f"{value}{_saved(plain, result.peak)}"))
        else:
            rows.append((label, value))
    return FactsTable(rows)


def _as_it_is(plain: Trace) -> str:
    return f"peak {format_memory(plain.peak)}, compute {format_compute(plain.compute)}"


def _saved(plain: Trace, peak: int | None) -> str:
    """A peak relative to that of the program as it is."""
    if peak is None or not plain.peak:
        return ""
    return f" ({format_share(peak / plain.peak - 1)})"


def beside(plain: Trace, trace: Trace) -> str:
    """A schedule beside the program as it is, in one line."""
    before, after = format_memories(plain.peak, trace.peak)
    return (
        f"as it is: peak {before}, compute {format_compute(plain.compute)}; planned: peak"
        f" {after}{_saved(plain, trace.peak)}, compute {format_compute(trace.compute)}"
        f" ({format_share(trace.overhead)}){_makespan(trace)}"
    )


def _makespan(trace: Trace) -> str:
    if not trace.levels:
        return ""
    extra = format_share(overhead_of(trace.graph, trace.makespan))
    return f", makespan {format_compute(trace.makespan)} ({extra})"


def _unpadded(table: Table, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
    """A table whose lines end where their text does."""
    for line in Segment.split_lines(console.render(table, options)):
        while line and not line[-1].text.rstrip():
            line.pop()
        if line:
            last = line.pop()
            line.append(Segment(last.text.rstrip(), last.style, last.control))
        yield from line
        yield Segment.line()


class FactsTable:
    """Labels on the left, values on the right, without lines; no number loses its unit.

    Where there is next to no room on the right, values stand below their labels.

    Parameters
    ----------
    rows
        Labels and values.
    """

    _BETWEEN = 2
    #: Values have this much room beside their labels, or stand below them.
    _NARROWEST = 14

    def __init__(self, rows: Iterable[tuple[str, str]]) -> None:
        self._rows = [(label, _on_one_line(value)) for label, value in rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = Table.grid(padding=(0, self._BETWEEN))
        labels = max((cell_len(label) for label, _ in self._rows), default=0)
        beside = options.max_width - labels - self._BETWEEN >= self._NARROWEST
        table.add_column(no_wrap=beside)
        if beside:
            table.add_column(overflow="fold")
        room = max(options.max_width - (labels + self._BETWEEN if beside else 2), 1)
        for label, value in self._rows:
            name, text = Text(label, style="bold"), folded(written(value, options.encoding), room)
            if beside:
                table.add_row(name, Text(text))
            else:
                if label:
                    table.add_row(name)
                table.add_row(Text("\n".join(f"  {line}" for line in text.splitlines())))
        yield from _unpadded(table, console, options)


class ListTable:
    """Rows under a head, as many columns as there is room for; nothing in one is ever cut.

    Text folds; where that isn't enough columns go, and where none may go lines get longer
    than there is room for.

    Parameters
    ----------
    columns, rows
        The head, and cells in these columns. The first names the row, the last says more.
    right
        The columns 1 … `right` hold numbers, which don't fold.
    spare
        Columns that may go, the first first.
    """

    #: Text folds down to so many letters at most, and names from so many on.
    _NARROWEST, _LONGEST_NAME = 12, 20
    #: Between two columns.
    _BETWEEN = 3

    def __init__(
        self,
        columns: Sequence[str],
        rows: Iterable[Sequence[str]],
        right: int = 0,
        spare: Sequence[int] = (),
    ) -> None:
        self._columns, self._right, self._spare = columns, right, spare
        self._rows = [list(row) for row in rows]

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        # Its columns are as wide as what is written there.
        rows = [[written(cell, options.encoding) for cell in row] for row in self._rows]
        yield from ListTable(self._columns, rows, self._right, self._spare)._drawn(console, options)

    def _drawn(self, console: Console, options: ConsoleOptions) -> Iterator[Segment]:
        shown, spare = list(range(len(self._columns))), list(self._spare)
        while spare and self._least(shown) > options.max_width:
            shown.remove(spare.pop(0))
        widths = self._widths(shown, options.max_width)
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False)
        table.width = sum(widths) + self._BETWEEN * (len(widths) - 1)
        for at, width in zip(shown, widths):
            table.add_column(
                self._columns[at],
                justify="right" if self._is_number(at) else "left",
                no_wrap=self._is_number(at),
                width=width,
                overflow="fold",
            )
        for row in self._rows:
            table.add_row(*(Text(row[at]) for at in shown))
        yield from _unpadded(table, console, options)

    def _is_number(self, at: int) -> bool:
        return 1 <= at <= self._right

    def _widths(self, shown: Sequence[int], room: int) -> list[int]:
        """What each column gets: the least, and of the room that is left the first as they need."""
        widths, left = [self._width(at) for at in shown], max(0, room - self._least(shown))
        for place, at in enumerate(shown):
            more = min(left, self._longest(at) - widths[place])
            widths[place] += more
            left -= more
        return widths

    def _longest(self, at: int) -> int:
        return max(map(cell_len, self._cells(at)))

    def _cells(self, at: int) -> list[str]:
        return [self._columns[at], *(row[at] for row in self._rows)]

    def _width(self, at: int) -> int:
        """What a column takes at least: its longest cell, or word where it may fold."""
        if at <= self._right:
            return min(self._longest(at), self._LONGEST_NAME) if at == 0 else self._longest(at)
        words = [cell_len(word) for cell in self._cells(at) for word in cell.split()]
        return min(max(words, default=0), self._NARROWEST)

    def _least(self, shown: Sequence[int]) -> int:
        widths = [self._width(at) for at in shown]
        return sum(widths) + self._BETWEEN * (len(widths) - 1)


def comparison_table(entries: Iterable[Entry]) -> ListTable:
    """One line a solver: overhead, peak, bound, gap, seconds, and why nothing fits."""
    head = ("solver", "overhead", "bound", "gap", "peak", "seconds", "")
    listed = list(entries)
    peaks = format_reached(
        [entry.least_peak or 0 for entry in listed], [entry.fits for entry in listed]
    )
    rows = (_compared(entry, peak) for entry, peak in zip(listed, peaks))
    return ListTable(head, rows, right=5, spare=(5, 3, 2, 4))


def _compared(entry: Entry, peak: str) -> tuple[str, ...]:
    result = entry.result
    if result is None:
        return entry.solver, "–", "–", "–", "–", "–", entry.reason
    peak = "–" if entry.least_peak is None else peak
    note = str(result.status)
    if result.status is Status.UNKNOWN:  # the peak's column says by how much it doesn't fit
        is_told = entry.least_peak is not None and not result.compiling
        note = "doesn't fit" if is_told else entry.reason
    return (
        entry.solver,
        format_share(result.objective_overhead),
        format_share(result.bound_overhead),
        format_points(result.gap),
        peak,
        f"{result.seconds:.2f}",
        ", ".join(filter(None, (note, result.stop))),
    )


def sweep_table(curve: Sweep) -> ListTable:
    """One line a budget: overhead, bound, gap, seconds, status, and which is the knee."""
    return ListTable(curve.columns, curve.rows(), right=5, spare=(5, 4, 3, 1))


_ORDERS = {"free": "any order", "fixed": "the given order"}


def summary_table(summary: Summary) -> FactsTable:
    """A graph in figures, with what makes up its peak."""
    data = summary.to_json()
    peak, *parts = format_memories(data["peak"], *(part["memory"] for part in data["at_peak"]))
    rows = [
        ("graph", printable(data["name"])),
        ("nodes", f"{data['nodes']}{_parts(data)}"),
        ("tensors", f"{data['tensors']}, {data['views']} of them views"),
        ("inputs", f"{data['inputs']}, {format_memory(data['resident_memory'])} resident"),
        ("outputs", str(data["outputs"])),
        ("compute", f"{format_compute(data['compute'])} with every node once"),
        ("peak", f"{peak} {_where(data['peak_node'])}, nothing recomputed"),
    ]
    for memory, part in zip(parts, data["at_peak"]):
        rows.append(("", f"{memory}  {printable(part['name'])} ({part['role']})"))
    floor = data["floor"]
    rows.append(
        (
            "floor",
            f"{format_enough(floor['memory'])[0]} {_where(floor['node'])}, in any order",
        )
    )
    for order, found in data["least_budget"].items():
        rows.append(("least budget", f"{_limits(found)}, in {_ORDERS[order]}"))
    if data["reordered"] is not None:
        least = data["reordered"]
        is_plain = least["known"] == least["needed"] == data["peak"]
        found = f"{peak}, as it is, proved" if is_plain else _limits(least)
        rows.append(("reordered", f"{found}, in any order, nothing recomputed"))
    for share, budget in data["budgets"].items():
        beyond = ""
        if share in data["bound_overhead"]:
            bound = data["bound_overhead"][share]
            found = (
                "no schedule fits" if bound is None else f"at least {format_share(bound)} compute"
            )
            beyond = f", {found}"
        rows.append((f"budget {share}", f"{format_memory(budget)}{beyond}"))
    return FactsTable(rows)


def _limits(found: dict[str, Any]) -> str:
    """What is known of the least budget, in words."""
    known, needed = found["known"], found["needed"]
    enough, least = format_enough(known, needed, apart=True)
    if known == needed:
        return f"{enough}, proved"
    return f"{enough} or less, at least {with_exact(least, needed)}"


def _parts(data: dict[str, int]) -> str:
    """Which passes the nodes belong to, where there are two, and what else is special."""
    parts = []
    if data["backward_nodes"]:
        parts.append(f"{data['forward_nodes']} forward, {data['backward_nodes']} backward")
    if data["not_recomputable"]:
        parts.append(f"{data['not_recomputable']} must not run twice")
    if data["not_needed"]:
        parts.append(f"{data['not_needed']} needed by no output")
    return f" ({', '.join(parts)})" if parts else ""


def _where(node: str | None) -> str:
    return "at the start or end" if node is None else f"while {printable(node)!r} runs"


def trace_table(trace: Trace, budget: int | None, largest: int = 5) -> FactsTable:
    """What a valid schedule does, with the `largest` parts of its peak."""
    rows = [("graph", printable(trace.graph.name)), ("steps", str(len(trace.codes)))]
    if budget is not None:
        rows.append(("budget", format_memory(budget)))
    plain = in_order(trace.graph)
    rows.append(("as it is", _as_it_is(plain)))
    shares = trace.peak_shares[:largest]
    peak, *parts = format_memories(trace.peak, *(part.memory for part in shares))
    rows.append(("peak", f"{peak}{_saved(plain, trace.peak)} {_at(trace)}"))
    rows += [
        ("", f"{memory}  {printable(part.name)} ({part.role})")
        for memory, part in zip(parts, shares)
    ]
    rows.append(("compute", f"{format_compute(trace.compute)} ({format_share(trace.overhead)})"))
    if trace.boundary is not None:
        rows.append(("checkpoints", str(len(trace.held_checkpoints))))
    rows += _level_rows(trace)
    return FactsTable(rows)


def _level_rows(trace: Trace) -> Iterator[tuple[str, str]]:
    """What a schedule does beside the device: time, and memory of each level."""
    if not trace.levels:
        return
    line = trace.timeline
    yield "makespan", _makespan(trace).removeprefix(", makespan ")
    waits = f", in {len(line.waits)} places" if line.waits else ""
    yield "compute waits", f"{format_compute(line.waited)}{waits}"
    for name, time in line.busy.items():
        share = f" ({100 * time / trace.makespan:.1f} %)" if trace.makespan else ""
        yield f"{name} busy", f"{format_compute(time)}{share}"
    for level, peak in zip(trace.levels, trace.peaks_below):
        yield f"on {level.name}", " of ".join(format_memories(peak, level.capacity))


def _at(trace: Trace) -> str:
    step = trace.peak_step
    if step < 0:
        return "before the first step"
    code, layout = int(trace.codes[step]), trace.graph.layout
    if code < 0:
        return f"at step {step}"
    return f"at step {step}, while {printable(layout.node_names[code])!r} runs"


def replay_table(found: Comparison) -> ListTable:
    """The program as it is and as planned, both run: promised and measured peaks."""
    head = ("", "promised peak", "measured peak", "runs", "seconds")
    runs = {"as it is": found.plain, "planned": found.planned}
    below = {f"on {name}": peak for name, peak in found.planned.levels.items()}
    promised = [run.promised_peak for run in runs.values()]
    measured = [run.measured_peak for run in runs.values()]
    promised += [peak.promised for peak in below.values()]
    measured += [peak.measured for peak in below.values()]
    memories = zip(format_memories(*promised), format_memories(*measured))
    rest = [(str(run.runs), f"{run.seconds:.2f}") for run in runs.values()]
    rest += [("", "")] * len(below)
    rows = [(name, *peaks, *more) for name, peaks, more in zip([*runs, *below], memories, rest)]
    return ListTable(head, rows, right=4, spare=(4, 3))
