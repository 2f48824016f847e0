"""Corridor search in the given order, from the end: better schedules nearby, and proofs."""

from __future__ import annotations

from schedule.solvers.kit.loading import Loading


def _warm_up() -> None:
    from schedule.examples import example
    from schedule.lowering import in_order
    from schedule.solvers.contract import Deadline, Incumbent, Problem
    from schedule.solvers.exact.corridor.beam import Beam
    from schedule.solvers.exact.corridor.corridor import Corridor
    from schedule.solvers.exact.corridor.potentials import no_potentials
    from schedule.solvers.program.contraction import contract

    graph = example("chain", layers=6)
    contraction, half = contract(graph), in_order(graph).peak // 2
    incumbent = Incumbent(problem := Problem(graph, half, "fixed"))
    nothing = no_potentials(contraction.n_operations, contraction.n_resources)
    Corridor(graph, half).prove(incumbent, 0, nothing, Deadline(work=1_000_000))
    Beam(problem, Incumbent(problem)).improve(Deadline())
    if incumbent.trace is None:
        raise AssertionError("half its peak is enough for a chain")


#: The compiled code of this package.
CORRIDOR = Loading(_warm_up, rank=3)
