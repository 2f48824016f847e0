"""The exact method: the staged integer program, refined until its plan fits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

from schedule.bounds import least_compute
from schedule.graph import Graph
from schedule.lowering import needed_in_order
from schedule.memory import simulate
from schedule.result import Order
from schedule.solvers.annealing import SEQUENCES
from schedule.solvers.classics.revolve import uniform_chain
from schedule.solvers.classics.sqrt import Sqrt
from schedule.solvers.contract import Best, Problem, Proposal
from schedule.solvers.eviction import EVICTION
from schedule.solvers.exhaustive import states
from schedule.solvers.kit.loading import PATIENCE
from schedule.solvers.program.contraction import contract
from schedule.solvers.reorder import Reordering

if TYPE_CHECKING:
    from schedule.solvers.annealing.searcher import Searcher

#: Where any order is asked for: the share of the time that goes to any order first (it
#: may prove all there is to prove), and of the rest, what the given order may then take.
_FIRST = 0.15
_SHARE = 0.6
#: Seconds that the first programs get at least before something else has its turn.
_LEAST = 1.0
#: Small graphs are searched first, for a second at most, and again for so many states (ten
#: seconds) where the integer programs don't decide; graphs of so few nodes for as many at once.
_THOROUGH = 300_000
_FEW = 12


@dataclass(frozen=True, slots=True)
class Ilp:
    """An exact method: integer programs that are relaxations, refined until a plan fits.

    The model knows memory only at a few cut points, so its optimum is a lower
    bound, and its solution, laid out as steps and replayed, is proved optimal
    as soon as it fits. Where it doesn't, the step with the most memory in use
    becomes a cut point (or gets a memory row of its own), and the model is
    solved again (dynamic discretization discovery, Boland et al. 2017,
    doi:10.1287/opre.2017.1624, on the staged model of Jain et al. 2020,
    arXiv:1910.02653).

    In a free order, an order in which the graph fits as it is comes first (the
    exhaustive search of `reorder`). Small graphs are searched exhaustively, too
    (`schedule.solvers.exhaustive`). Uniform training chains are not searched:
    their optimum is known in closed form (`schedule.solvers.classics.revolve`).

    For `order="free"` a second refinement bounds every order: its cut points
    lie on one directed path, and what the path doesn't place may run on either
    side. NP-hard; in practice seconds for training graphs of thousands of
    nodes.

    Parameters
    ----------
    starts
        Whether to begin with the plan of `sqrt`; without, the first bound is
        there sooner.
    """

    starts: bool = True
    name: str = "ilp"
    summary: str = "integer programs on HiGHS, refined until proved; exact in the given order"

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def propose(self, problem: Problem) -> Proposal:
        """What is proved, in the order that is asked for; the best plan was offered."""
        best = Best(problem)
        proposal = self.begin(problem, best)
        return self.prove(problem, best) if proposal is None else proposal

    def begin(self, problem: Problem, best: Best) -> Proposal | None:
        """What needs no integer program; None: the question is open."""
        graph = problem.graph
        plain = needed_in_order(graph)
        if best.take(plain):
            return Proposal()
        chain = uniform_chain(graph)
        proof = None if chain is None else chain.optimum(problem)
        if proof is not None:
            return proof
        sqrt = Sqrt()
        if self.starts and problem.seconds_left > 0 and sqrt.supports(graph) is None:
            codes = sqrt.propose(problem).codes
            if codes is not None:
                best.take(simulate(graph, codes))
        # Nothing has to run twice where another order fits, which is soon found, or not at all.
        if problem.order == "free" and problem.seconds_left > 0:
            reordering = Reordering(problem)
            if reordering.prove_floor() <= (problem.budget or 0):
                reordering.search()
                if reordering.trace is not plain:
                    best.take(reordering.trace)
        if problem.enough(best.compute, least_compute(graph)):
            return Proposal()
        if states.is_small(graph):
            return self._search(problem, best, _THOROUGH if _is_tiny(graph) else states.MOST_STATES)
        return None

    def prove(
        self,
        problem: Problem,
        best: Best,
        *,
        searches: bool = True,
        between: Callable[[], object] | None = None,
    ) -> Proposal:
        """Integer programs, and for a small graph that they leave open, a longer search.

        With `searches`, sequences of runs are searched for schedules, too, where
        the programs are hard. `between` is called once, where the first programs
        leave the question open, which have a share of the time.
        """
        if problem.seconds_left <= 0:
            return Proposal()
        proposal = self._refine(problem, best, searches, between)
        graph = problem.graph
        is_open = proposal.needed is None and not problem.enough(best.compute, proposal.bound or 0)
        if is_open and states.is_small(graph) and not _is_tiny(graph):
            return self._search(problem, best, _THOROUGH) or proposal
        return proposal

    def _search(self, problem: Problem, best: Best, most_states: int) -> Proposal | None:
        """The exhaustive search of small graphs; None where it gives up."""
        graph, order = problem.graph, problem.order

        def stop() -> bool:
            return problem.seconds_left <= 0

        found = states.least_compute(
            graph,
            problem.budget or 0,
            order,
            most_states=most_states,
            stop=stop,
            below=best.compute,
        )
        if found.codes is not None:
            best.take(simulate(graph, found.codes))
        if found.bound is None:  # nothing fits: what would?
            peak = states.least_peak(graph, order, most_states=most_states, stop=stop)
            if peak.codes is not None:
                best.take(simulate(graph, peak.codes))
            proof = max(found, peak, key=lambda each: each.needed or 0)
            return Proposal(needed=proof.needed, node=proof.node)
        if found.decided or problem.enough(best.compute, found.bound):
            return Proposal(bound=found.bound)
        problem.offer(Proposal(bound=found.bound))
        return None

    def _refine(
        self, problem: Problem, best: Best, searches: bool, between: Callable[[], object] | None
    ) -> Proposal:
        """Integer programs, in the order that is asked for and the given one."""
        # HiGHS is loaded only when it is needed.
        from schedule.solvers.exact.refinement import Refinement

        contraction, plain = contract(problem.graph), needed_in_order(problem.graph)

        @cache
        def made() -> Searcher:
            # Numba is loaded only when it is needed.
            from schedule.solvers.annealing.searcher import Searcher

            return Searcher(problem, contraction, problem.order, best, problem.seed)

        def searcher() -> Searcher | None:
            is_ready = searches and all(
                part.wait(problem, PATIENCE) for part in (EVICTION, SEQUENCES)
            )
            return made() if is_ready else None

        def refinement(order: Order) -> Refinement:
            return Refinement(problem, contraction, order, best, plain, searcher)

        if problem.seconds_left <= 0:
            return Proposal()
        asked = refinement(problem.order)
        if between is not None:
            proposal = asked.run(max(problem.seconds_left * _FIRST, _LEAST))
            if proposal.needed is not None or asked.closed:
                return proposal
            between()
        if problem.order == "fixed":
            return asked.run(problem.seconds_left)
        proposal = asked.run(problem.seconds_left * _FIRST)
        if proposal.needed is None and not asked.closed and problem.seconds_left > 0:
            share = 1.0 if asked.finished else _SHARE
            refinement("fixed").run(problem.seconds_left * share)
            proposal = asked.run(problem.seconds_left)
        return proposal


def _is_tiny(graph: Graph) -> bool:
    return int(graph.layout.needed.sum()) <= _FEW
