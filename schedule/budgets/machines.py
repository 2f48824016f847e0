"""Curves of one graph on several machines: what each says about the others."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from schedule.budgets.curve import Sweep
from schedule.budgets.solving import Stated, descending, facts_about, reconciled, state, stated_by
from schedule.graph import Graph
from schedule.levels import Level
from schedule.options import SolveOptions
from schedule.planner import solver_for
from schedule.result import Result
from schedule.solvers import Proof, Solver


def is_no_worse(one: Sequence[Level], other: Sequence[Level]) -> bool:
    """Whether every schedule for `other` is one for `one`, and takes no longer there."""
    return len(one) >= len(other) and all(
        a.capacity >= b.capacity and a.down >= b.down and a.up >= b.up and a.latency <= b.latency
        for a, b in zip(one, other)
    )


def carried(
    graph: Graph,
    others: Iterable[Sweep],
    solver: Solver,
    options: SolveOptions,
    levels: tuple[Level, ...],
) -> dict[int, Result]:
    """What curves of other machines say about this one, by budget, without a solve.

    A schedule serves every machine that is no worse. A bound holds for every one that is no
    better, and so does a proof that nothing fits.
    """
    known: dict[int, list[Stated]] = {}
    for curve in others:
        serves, holds = is_no_worse(levels, curve.levels), is_no_worse(curve.levels, levels)
        for point in curve.points if serves or holds else ():
            said = stated_by(graph, point)
            said = said if holds else replace(said, proof=Proof())
            said = said if serves else replace(said, codes=None)
            known.setdefault(point.budget or 0, []).append(said)
    return {
        budget: state(graph, budget, solver, options, stated, levels)
        for budget, stated in known.items()
    }


def reconciled_across(
    graph: Graph, curves: Mapping[str, Sweep], asked: str | Solver, options: SolveOptions
) -> dict[str, Sweep]:
    """The curves with what each says about the others: none of a better machine is above."""
    found: dict[str, Sweep] = {}
    for name, curve in curves.items():
        others = [other for key, other in curves.items() if key != name]
        solver = solver_for(asked, curve.levels)
        known = carried(graph, others, solver, options, curve.levels)
        results = {point.budget or 0: point for point in curve.points}
        for budget, result in results.items():
            facts = facts_about(graph, budget, known)
            if facts.improve(result):
                said = (stated_by(graph, result), facts.stated)
                made = state(graph, budget, solver, options, said, curve.levels)
                results[budget] = replace(
                    made,
                    seconds=result.seconds,
                    interrupted=result.interrupted,
                    out_of_memory=result.out_of_memory,
                    out_of_time=result.out_of_time,
                )
        results = reconciled(graph, results, solver, options, curve.levels)
        points = descending([results[budget] for budget in sorted(results)])
        found[name] = replace(curve, points=points)
    return found
