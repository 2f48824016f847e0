"""What `solve` does by default."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from schedule.graph import Graph
from schedule.solvers.contract import Problem, Proposal
from schedule.solvers.greedy import Greedy
from schedule.solvers.ilp import Ilp
from schedule.solvers.race import Race
from schedule.solvers.recompute_all import RecomputeAll
from schedule.solvers.search import Search

#: Above this many nodes the quadratic strategy isn't worth its time.
_SMALL = 1000
#: Above this many nodes `greedy` comes first, and above so many proofs are out of reach.
_LARGE = 3000
_VAST = 30_000
#: With one worker and more than this many nodes, the search gets this share of the time that
#: is left where the first integer programs don't decide: on wide graphs they never do.
_MANY = 200
_SHARE = 0.9
#: What the proof gets before the search joins in, in seconds: most questions end here.
_HEAD_START = 1.0


@dataclass(frozen=True, slots=True)
class Auto:
    """The quick strategies first, then proof and search side by side.

    `recompute_all` (on graphs of up to 1,000 nodes) and what `ilp` begins with
    come first. If they leave the question open, the integer programs of `ilp`
    run (on graphs of up to 30,000 nodes), and after a second `greedy` and
    `search` beside them, in threads of their own (all workers but one), with one
    worker between the first programs and the later ones. They share the best
    schedule and stop when it meets the bound.
    """

    name: str = "auto"
    summary: str = "the quick strategies, then ilp and search side by side: the default"

    def supports(self, graph: Graph) -> str | None:
        """Any graph."""
        return None

    def propose(self, problem: Problem) -> Proposal:
        """The best of what the solvers behind it offer."""
        race, nodes = Race(problem), len(problem.graph)
        shared, best = race.problem, race.best
        if nodes <= _SMALL:
            shared.offer(RecomputeAll().propose(shared))
        proposal = Ilp().begin(shared, best)
        if proposal is not None:
            return proposal
        if nodes > _LARGE:
            Greedy().improve(shared, best)

        def search(share: float = 1.0) -> None:
            until = time.monotonic() - shared.started + share * shared.seconds_left
            brief = replace(shared, time_limit=until, workers=max(1, problem.workers - 1))
            if nodes <= _LARGE:
                Greedy().improve(brief, best)
            Search().improve(brief, best)

        if nodes > _VAST:
            Search().improve(shared, best)
            return Proposal()
        if problem.workers > 1:
            return race.run(lambda: Ilp().prove(shared, best, searches=False), search, _HEAD_START)
        if nodes > _MANY:
            proposal = Ilp().prove(shared, best, searches=False, between=lambda: search(_SHARE))
        else:
            proposal = Ilp().prove(shared, best)
        if proposal.needed is None and not race.closed:
            search()
        return proposal
