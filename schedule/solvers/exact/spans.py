"""A bound for any order that adds up over spans of a long path, a few cut points at a time.

Cut points on one directed path divide every schedule into intervals, one after the
other (see `schedule.solvers.exact.model`). Where a graph goes on for hundreds of steps,
as iterative methods do, one program of all of them is out of reach. So the path is
divided into *spans* of a few intervals, and each has a linear program of its own, in
which whatever was computed before may be held as it begins, as far as that fits.

What runs in an interval and precedes its cut point in the graph had run before: it is a
*rerun*. Reruns in different intervals are different runs, so what each span has to rerun
adds up, and all of it comes on top of every node once. Taken alone, a span would throw
away all that only later ones need, so a part of each rerun's compute is charged to the
spans before it: span s counts reruns after its end at β_s, and those inside it at
1 − (β_1 + … + β_{s−1}). So none is counted more than once in all.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from schedule.bounds import round_up
from schedule.graph import Graph
from schedule.layout import Bools, Ints
from schedule.lowering import needed_in_order
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.exact.cut_points import cut_candidates, excess_of
from schedule.solvers.exact.highs import Outcome, minimise
from schedule.solvers.exact.model import StagedModel, Windows, free_windows
from schedule.solvers.exact.relaxation import safe_bound
from schedule.solvers.program.contraction import Contraction, contract


@dataclass(frozen=True, slots=True)
class SpanSettings:
    """How a path is divided.

    Attributes
    ----------
    cuts
        Cut points at most, at first; twice as many as long as that proves more.
    intervals
        Of one span, between its first cut point and its last.
    least
        Cut points that a path must have at least.
    high
        What crosses a cut point exceeds the budget by at least this share of what crosses the
        highest does.
    later
        What all spans together count reruns after their end at, as a share of them: more
        for the first ones, before which there is little that could be rerun.
    enough
        The share of the spans after which a division is given up that isn't going to prove
        more than is known.
    """

    cuts: int = 24
    intervals: int = 2
    least: int = 4
    high: float = 0.5
    later: float = 0.25
    enough: float = 0.3


SPANS = SpanSettings()


def prove_spans(
    problem: Problem,
    incumbent: Incumbent,
    deadline: Deadline,
    settings: SpanSettings = SPANS,
) -> int | float:
    """Prove what spans of a path add up to, for any order; the best sum, with every node once.

    Linear programs: each of at most `settings.intervals` + 2 times as many columns as
    there are operations and resources before its end.
    """
    contraction, budget = contract(problem.graph), problem.budget or 0
    once = float(problem.graph.layout.compute[contraction.nodes].sum())
    excess = excess_of(contraction, needed_in_order(problem.graph), budget)
    path = np.array(cut_candidates(contraction, "free", excess), np.int64)
    if not len(path):
        return 0
    crossing = crossing_memory(problem.graph, contraction, path)
    # Points between the high ones weaken linear programs: they split reruns into fractions.
    high = budget + settings.high * (int(crossing.max()) - budget)
    most, found, chosen = settings.cuts, 0.0, 0
    while not deadline.passed:
        cuts = spread_out(crossing, high, most)
        if len(cuts) < settings.least or len(cuts) == chosen:
            break
        before, chosen = found, len(cuts)
        for share, bound in _sums(
            problem.graph, contraction, path[cuts], budget, deadline, settings
        ):
            if bound > found:
                found = bound
                incumbent.prove(Proof(bound=round_up(problem.graph, found)))
            # What all of them would add up to is guessed from the first ones.
            guess = once + (bound - once) / share
            if share >= settings.enough and guess < max(before, incumbent.bound):
                break
        if found <= before:
            break
        most *= 2
    return found


def crossing_memory(graph: Graph, contraction: Contraction, path: Ints) -> Ints:
    """Shape (path,): what has been written and is read later, in any order, beside each run.

    Memory of what surely exists before the first run of a node of the path and is surely
    read then or after, that node's own, and resident inputs'. Where it exceeds the budget
    something has to be recomputed. O(path + operations + reads).
    """
    c, layout, n = contraction, graph.layout, len(path)
    windows = free_windows(c, path)
    reader = np.repeat(np.arange(c.n_operations), np.diff(c.first_read))
    end = np.zeros(c.n_resources, np.int64)
    np.maximum.at(end, c.reads, windows.earliest[reader])
    end[c.is_output] = n
    begin = np.where(c.producer >= 0, windows.latest[np.maximum(c.producer, 0)], 0)
    crosses = end > begin
    change = np.zeros(n + 1, np.int64)
    np.add.at(change, begin[crosses], c.size[crosses])
    np.add.at(change, end[crosses], -c.size[crosses])
    own: Ints = layout.run_memory[c.nodes[path]]
    return np.cumsum(change)[:n] + own + layout.resident_memory


def spread_out(crossing: Ints, limit: float, most: int) -> Ints:
    """At most `most` positions above a limit, the highest first, some way apart; ascending."""
    apart = max(1, len(crossing) // most)
    free: Bools = crossing > limit
    chosen: list[int] = []
    for at in np.argsort(-crossing, kind="stable").tolist():
        if free[at] and len(chosen) < most:
            chosen.append(at)
            free[max(0, at - apart + 1) : at + apart] = False
    return np.array(sorted(chosen), np.int64)


def _sums(
    graph: Graph,
    contraction: Contraction,
    cuts: Ints,
    budget: int,
    deadline: Deadline,
    settings: SpanSettings,
) -> Iterator[tuple[float, float]]:
    """The share of the spans that are solved, and every node once with what they add: a bound."""
    compute = graph.layout.compute[contraction.nodes]
    total = float(compute.sum())
    spans = [
        cuts[at : at + settings.intervals + 1] for at in range(0, len(cuts) - 1, settings.intervals)
    ]
    windows = [free_windows(contraction, span) for span in spans]
    # What could be rerun after a span, from the inputs on: where that is little, it counts more.
    before = [float(compute[each.latest < len(each.cuts)].sum()) for each in windows]
    weights = 1.0 / np.maximum(before, 1e-9 * max(total, 1e-300))
    prices = settings.later * weights / weights.sum()
    counted = 0.0
    for count, (each, price) in enumerate(zip(windows, prices.tolist()), start=1):
        if deadline.passed:
            return
        total += _reruns(graph, contraction, each, budget, (1.0 - counted, price), deadline)
        counted += price
        yield count / len(spans), total


def _reruns(
    graph: Graph,
    contraction: Contraction,
    windows: Windows,
    budget: int,
    weights: tuple[float, float],
    deadline: Deadline,
) -> float:
    """The least compute of a span's reruns: those inside and those after it, by their weights.

    0 where the time runs out.
    """
    model = StagedModel(graph, contraction, windows, budget)
    inside, after = weights
    stage = np.arange(model.intervals)
    weight = np.where(stage == 0, 0.0, np.where(stage == stage[-1], after, inside))
    stages, v = np.nonzero((model.run >= 0) & (windows.latest < stage[:, None]))
    cost = np.zeros(model.n_columns)
    compute = graph.layout.compute[contraction.nodes]
    cost[model.run[stages, v]] = weight[stages] * compute[v] / model.scale
    answer = minimise(replace(model.program.relaxed(), cost=cost), deadline=deadline)
    if answer.outcome is not Outcome.SOLVED or answer.x is None:
        return 0.0
    return max(0.0, safe_bound(answer, model) * model.scale)
