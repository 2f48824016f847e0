"""What `solve` does by default."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace

from schedule.graph import Graph
from schedule.solvers.classics.recompute_all import RecomputeAll
from schedule.solvers.contract import Best, Problem, Proposal
from schedule.solvers.greedy import Greedy
from schedule.solvers.ilp import Ilp
from schedule.solvers.race import Race
from schedule.solvers.search import Search

#: Above this many nodes the quadratic strategy isn't worth its time.
_SMALL = 1000
#: Above this many nodes `greedy` comes first, and above so many proofs are out of reach.
_LARGE = 3000
_VAST = 30_000
#: Above so many nodes, with one worker and with more, the thread of the proof searches, too,
#: for this share of the time that is left, where the first integer programs don't decide; with
#: more workers only while best and bound are so far apart. On wide graphs they never meet.
_MANY = 200
_MORE = 400
_SHARE = 0.9
_APART = 0.01
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
        if nodes > _VAST:
            Search().improve(shared, best)
            return Proposal()
        return _side_by_side(race, problem) if problem.workers > 1 else _in_turn(race, problem)


def _side_by_side(race: Race, problem: Problem) -> Proposal:
    """Proof and search in threads of their own; in time both may search."""
    shared, best = race.problem, race.best

    def join() -> None:
        if race.gap > _APART:
            seed = problem.seed + problem.workers
            Search().improve(replace(_brief(shared, _SHARE), workers=1, seed=seed), best)

    between = join if len(problem.graph) > _MORE else None
    return race.run(
        lambda: Ilp().prove(shared, best, searches=False, between=between),
        lambda: _search(replace(shared, workers=problem.workers - 1), best),
        _HEAD_START,
    )


def _in_turn(race: Race, problem: Problem) -> Proposal:
    """Proof and search one after the other."""
    shared, best = race.problem, race.best
    if len(problem.graph) > _MANY:
        proposal = Ilp().prove(
            shared, best, searches=False, between=lambda: _search(_brief(shared, _SHARE), best)
        )
    else:
        proposal = Ilp().prove(shared, best)
    if proposal.needed is None and not race.closed:
        _search(shared, best)
    return proposal


def _search(problem: Problem, best: Best) -> None:
    if len(problem.graph) <= _LARGE:
        Greedy().improve(problem, best)
    Search().improve(problem, best)


def _brief(problem: Problem, share: float) -> Problem:
    """The same problem, with a share of the time that is left."""
    until = time.monotonic() - problem.started + share * problem.seconds_left
    return replace(problem, time_limit=until)
