"""All solvers at one budget."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any, Unpack

from schedule.bounds import memory_floor
from schedule.errors import BadOption
from schedule.graph import Graph, require_graph
from schedule.levels import Level, levels_of
from schedule.lowering import in_order
from schedule.makespan import level_floor
from schedule.options import SolveKeywords, SolveOptions, options_of, spelled_out
from schedule.planner import counts_as_asked, solve, solver_for
from schedule.result import Result, Status
from schedule.sizes import format_enough, parse_budget
from schedule.solvers import SOLVERS, Solver
from schedule.solvers.offloading.solvers import OFFLOADERS
from schedule.values import shown
from schedule.warming import have_compiled


@dataclass(frozen=True, slots=True)
class Entry:
    """What one solver makes of a graph and a budget.

    Attributes
    ----------
    solver
        Its name.
    result
        Its answer; None where it doesn't handle the graph.
    reason
        Why it doesn't, or why nothing fits; empty where something does.
    out_of_memory
        Whether memory ran out in its turn.
    compiling
        Seconds that what it uses was compiled for, once on a machine, before its turn:
        they aren't the result's.
    """

    solver: str
    result: Result | None
    reason: str = ""
    out_of_memory: bool = False
    compiling: float = 0.0

    @property
    def fits(self) -> bool:
        """Whether it has a schedule within the budget."""
        return self.result is not None and self.result.schedule is not None

    @property
    def infeasible(self) -> bool:
        """Whether it is proved that no schedule fits."""
        return self.result is not None and self.result.status is Status.INFEASIBLE

    @property
    def least_peak(self) -> int | None:
        """The least peak it reaches: its schedule's, or that of what doesn't fit."""
        if self.result is None:
            return None
        shortfall = self.result.shortfall
        return self.result.peak if shortfall is None else shortfall.least_peak

    def to_json(self) -> dict[str, Any]:
        """The entry as plain data."""
        found: dict[str, Any] = {"solver": self.solver, "fits": self.fits}
        if self.result is not None:
            data = self.result.to_json()
            keys = ("status", "peak", "compute", "overhead", "lower_bound", "gap", "seconds")
            found |= {key: data[key] for key in keys}
            if self.result.levels:
                found["makespan"] = self.result.makespan
        inside = 0.0 if self.result is None else self.result.compiling
        if self.compiling or inside:
            found["compiling"] = self.compiling + inside
        if self.reason:
            found |= {"reason": self.reason, "least_peak": self.least_peak}
        return found


@spelled_out(SolveKeywords)
def compare(
    graph: Graph,
    budget: int | str,
    solvers: Iterable[str | Solver] | None = None,
    *,
    levels: Iterable[Level] | Level | None = None,
    started: Callable[[str], None] | None = None,
    options: SolveOptions | None = None,
    **given: Unpack[SolveKeywords],
) -> list[Entry]:
    """Let every solver have a go at one budget, one after the other.

    Parameters
    ----------
    graph, budget
        As for `schedule.solve`.
    solvers
        Which, by name or as objects; by default all of `schedule.SOLVERS`, or, where
        there are levels, all that know of them.
    levels
        What is below the device, as for `schedule.solve`.
    started
        Called with each solver's name before its turn, and before what it uses is compiled.
    options, order, time_limit, work_limit, gap, seed, workers, progress, memory_share, cancel
        As for `schedule.solve`; the time limit is each solver's.

    Returns
    -------
    list of Entry
        What fits, by overhead (of the makespan, with levels); then what doesn't, by
        the least peak it reaches; then the solvers that don't handle the graph. After Ctrl-C, or
        where memory runs out, it ends with the solver whose turn it was.

    Examples
    --------
    >>> import schedule
    >>> found = schedule.compare(schedule.example("chain"), "100%", ["store_all"])
    >>> [(entry.solver, entry.fits) for entry in found]
    [('store_all', True)]
    """
    require_graph(graph)
    asked, limit = options_of(options, given, compare), parse_budget(budget, graph)
    if started is not None and not callable(started):
        raise BadOption(f"started is {shown(started)}; it has to be a function, or None")
    below = levels_of(levels)
    floor = level_floor(graph, below) if below else memory_floor(graph)
    searches = floor.memory <= limit < in_order(graph).peak
    every = OFFLOADERS if below else SOLVERS
    chosen = every.values() if solvers is None else _listed(solvers, below)
    found: list[Entry] = []
    for solver in chosen:
        reason = solver.supports(graph)
        if not counts_as_asked(solver, asked):
            reason = "it doesn't count its work, so no work limit ends it"
        if reason is not None:
            found.append(Entry(solver.name, None, f"doesn't apply: {reason}"))
            continue
        if started is not None:
            started(solver.name)
        compiling, wanted = 0.0, asked
        try:
            if searches:
                compiling = have_compiled(solver, asked)
        except KeyboardInterrupt:
            wanted = replace(asked, cancel=lambda: True)
        try:
            result = solve(graph, limit, solver, levels=below, options=wanted)
        except MemoryError:
            found.append(Entry(solver.name, None, "ran out of memory", True, compiling))
            break
        found.append(Entry(solver.name, result, _why(result), result.out_of_memory, compiling))
        if result.interrupted and not result.out_of_time:  # the next has time of its own
            break
    return sorted(found, key=_rank)


def _listed(solvers: Iterable[str | Solver], levels: tuple[Level, ...]) -> list[Solver]:
    if isinstance(solvers, str) or not isinstance(solvers, Iterable):
        raise BadOption(f"solvers is {shown(solvers)}; it has to be a list of solvers")
    return [solver_for(each, levels) for each in solvers]


def _why(result: Result) -> str:
    """Why nothing fits, without what the table says anyway."""
    shortfall = result.shortfall
    if shortfall is None:
        return ""
    if result.status is Status.UNKNOWN and result.compiling:
        return f"nothing found yet: it waited {result.compiling:.1f} s for a compiler"
    if result.status is Status.UNKNOWN and shortfall.least_peak is not None:
        return f"doesn't fit: the least peak it reaches is {format_enough(shortfall.least_peak)[0]}"
    return shortfall.reason


def _rank(entry: Entry) -> tuple[int, float, float]:
    result = entry.result
    if result is None:
        return 2, 0.0, 0.0
    peak = math.inf if entry.least_peak is None else float(entry.least_peak)
    return (0, result.objective_overhead or 0.0, peak) if entry.fits else (1, peak, 0.0)
