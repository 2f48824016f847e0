"""Dynamic tensor rematerialization: the online policy, run ahead of time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from schedule.errors import BadOption
from schedule.graph import Graph
from schedule.lowering import needed_in_order
from schedule.solvers.classics.dtr.runtime import Runtime
from schedule.solvers.classics.dtr.scores import HEURISTICS, Heuristic
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof

#: Evictions end after this many runs for each node of the program, and this many more.
_MOST_RUNS = 20
_MORE_RUNS = 1000


@dataclass(frozen=True, slots=True)
class Dtr:
    """Run the program; where an allocation doesn't fit, evict; recompute what is read again.

    The runtime system of Kirisame, Lyubomirsky, Haan, Brennan, He, Roesch,
    Chen and Tatlock 2021 ("Dynamic Tensor Rematerialization", ICLR,
    arXiv:2006.09616), simulated. It takes the program's nodes one by one and
    knows nothing of the later ones. What it evicts is the storage of the least
    score among those that aren't in use and can be recomputed; what a node
    reads and was evicted is recomputed, with all that this takes.

    Storages are evicted at once when the program has read them for the last
    time (the paper's eager eviction); what nothing can need any more takes no
    part in the scores. Where even evicting all doesn't help, it goes on over
    the budget. After 20 runs for each node nothing is evicted any more.

    Parameters
    ----------
    heuristic
        The score: ``dtr`` (cost of the storage and its evicted neighbourhood /
        (size · staleness)), ``dtr_eq`` (the neighbourhood approximated by union
        and find), ``dtr_local`` (its own cost instead), ``e_star`` (the cost of
        storage and neighbourhood, by itself), ``lru``, or ``largest``.

    Notes
    -----
    A run and an eviction take O(candidates) in NumPy, and what it takes to walk
    through the neighbourhoods that are looked at.
    """

    heuristic: Heuristic = "dtr"
    counts_work: ClassVar[bool] = True
    name: str = "dtr"
    summary: str = (
        "evicts by cost, size and staleness, without foresight (DTR, Kirisame et al. 2021)"
    )

    def __post_init__(self) -> None:
        if self.heuristic not in HEURISTICS:
            raise BadOption(
                f"unknown heuristic {self.heuristic!r}; there are {', '.join(HEURISTICS)}"
            )

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """The program under DTR; where it fits as it is, or without a budget, as it is."""
        trace = needed_in_order(problem.graph)
        incumbent.offer(trace)
        if problem.budget is None or problem.fits(trace.peak):
            return Proof()
        runtime = Runtime(
            problem.graph.layout,
            problem.budget,
            self.heuristic,
            _MOST_RUNS * len(problem.graph) + _MORE_RUNS,
            deadline,
        )
        incumbent.offer(runtime.run())
        return Proof()
