"""Make an order of runs fit a budget: evict what is idle, recompute it when it is read."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schedule.graph import Graph
from schedule.layout import Ints
from schedule.result import Order
from schedule.solvers.contract import Deadline
from schedule.solvers.program.tensors import tensors_of

if TYPE_CHECKING:
    from schedule.solvers.eviction.state import EvictionLimits

#: Work between two questions whether to stop: some milliseconds.
_PAUSE = 100_000
#: About the seconds that a pass takes, and each unit of its work.
_SECONDS_A_PASS, _SECONDS_OF_WORK = 1e-4, 1e-8


@dataclass(frozen=True, slots=True)
class Rule:
    """What to evict first: the least cost ** `cost` / (size ** `size` · wait ** `wait`).

    `cost` is the compute that restores the storage's tensors when one of them is
    read next, `wait` the compute until then. With all exponents 1 this is the
    eviction score of DTR (Kirisame et al. 2021, arXiv:2006.09616), looking
    ahead instead of back.
    """

    cost: float = 1.0
    size: float = 1.0
    wait: float = 1.0


#: The best guess first, then the one that seldom has to recompute much at once (Belady's:
#: what is read last is evicted first); all are cheap to try.
RULES = (
    Rule(wait=0.5),
    Rule(cost=0.0, size=0.0),
    Rule(wait=0.0),
    Rule(),
    Rule(size=0.5),
    Rule(size=0.5, wait=0.0),
    Rule(cost=0.75, size=1.25, wait=0.25),
    Rule(cost=0.5),
)


def fit(
    graph: Graph,
    runs: Ints,
    budget: int,
    rule: Rule,
    order: Order = "free",
    deadline: Deadline | None = None,
) -> Ints | None:
    """Runs that fit the budget and follow `runs`, with more recomputation where needed.

    A pass over `runs`: before each run, what it reads and isn't live is
    recomputed, and as long as the run doesn't fit, the idle storage that the rule
    picks is evicted. A tensor is freed after its last use in `runs`. Then another
    pass over the result, which leaves out reruns of what could have stayed, until
    that saves nothing.

    Parameters
    ----------
    graph
        The graph.
    runs
        Shape (r,): an executable order of runs, every needed node in it.
    budget
        Memory that must not be exceeded.
    rule
        What is evicted first.
    order
        `fixed`: first runs stay in the order in which `runs` has them.
    deadline
        Ends a pass without a result; None: nothing does.

    Returns
    -------
    numpy.ndarray or None
        Node numbers; None where the pass gets stuck.

    Notes
    -----
    O((runs + evictions) · (log storages + ancestors looked at)), compiled; the
    ancestors looked at are bounded.
    """
    return Fitting(graph, order, deadline or Deadline()).fit(runs, budget, rule)


class Fitting:
    """What all fits of one graph share.

    Parameters
    ----------
    graph, order
        See `fit`.
    deadline
        Ends a pass without a result. Its work are nodes and edges looked at, and a little
        for each run; a million are some ten milliseconds.
    limits
        How far a pass looks; None: `EvictionLimits()`.
    """

    def __init__(
        self,
        graph: Graph,
        order: Order,
        deadline: Deadline,
        limits: EvictionLimits | None = None,
    ) -> None:
        from schedule.solvers.eviction.state import LIMITS  # compiles: only when needed

        self._layout, self._order, self.deadline = graph.layout, order, deadline
        self._tensors = tensors_of(graph)
        self._limits = limits or LIMITS

    def fit(self, runs: Ints, budget: int, rule: Rule) -> Ints | None:
        """Runs that fit the budget and follow `runs`; None where the pass gets stuck."""
        found = self._follow(runs, budget, rule)
        for _ in range(1, self._limits.passes):
            again = None if found is None else self._follow(found, budget, rule)
            if found is None or again is None or self._compute(again) >= self._compute(found):
                break
            found = again
        return found

    def other_orders(self, runs: Ints) -> Iterator[Ints]:
        """Orders of the same runs, each of a needed node once, that often hold less memory.

        Fewer where there is no time for all of them.
        """
        from schedule.solvers.eviction.order import backward_order
        from schedule.solvers.eviction.shifting import shifted

        backward = backward_order(self._tensors, self._layout.needed, self.deadline)
        if backward is not None:
            yield backward
            yield shifted(self._tensors, runs, self.deadline)
            yield shifted(self._tensors, backward, self.deadline)

    def _compute(self, runs: Ints) -> float:
        return float(self._layout.compute[runs].sum())

    def _follow(self, runs: Ints, budget: int, rule: Rule) -> Ints | None:
        from schedule.solvers.eviction.following import DONE, PAUSED, follow
        from schedule.solvers.eviction.state import EMITTED, WORK, Exponents, base_of, start
        from schedule.solvers.program.waste import without_waste

        exponents = Exponents(float(rule.cost), float(rule.size), float(rule.wait))
        base = base_of(self._tensors, runs, exponents, self._limits)
        state = start(self._tensors, base, self._limits.longest * len(runs) + 100)
        work, answer, until = self.deadline.work, PAUSED, 0
        while answer == PAUSED and not self.deadline.passed:
            until += _PAUSE
            answer = follow(self._tensors, base, state, budget, until)
            self.deadline.work = work - int(state.numbers[WORK])
        self.deadline.spend(_SECONDS_A_PASS + _SECONDS_OF_WORK * int(state.numbers[WORK]))
        if answer != DONE:
            return None
        return without_waste(self._layout, state.emitted[: state.numbers[EMITTED]], self._order)
