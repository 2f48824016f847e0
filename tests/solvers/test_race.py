"""Proof and search side by side: they share the best, end together, and hide no error."""

from __future__ import annotations

import threading
import time
from dataclasses import replace

import numpy as np
import pytest

import schedule
from schedule.errors import SolverFailed
from schedule.lowering import in_order
from schedule.memory import simulate
from schedule.solvers.classics.sqrt import Sqrt
from schedule.solvers.contract import Best, Problem, Proposal
from schedule.solvers.greedy import Greedy
from schedule.solvers.ilp import Ilp
from schedule.solvers.race import Race
from schedule.solvers.search import Search


@pytest.fixture
def problem():
    """A chain at half its peak, with a list of what was offered."""
    graph = schedule.example("chain", layers=30)
    offers = []
    made = Problem(graph, in_order(graph).peak // 2, time_limit=20, offer=offers.append)
    return made, offers


def trace_of(problem):
    return simulate(problem.graph, Sqrt().propose(problem).codes)


def forever(problem):
    """Busy until the problem says that no time is left; how long that took."""
    started = time.monotonic()
    while problem.seconds_left > 0:
        time.sleep(0.002)
    return time.monotonic() - started


def test_the_search_ends_with_the_proof(problem):
    """Infeasible is an answer: the search is told, and what it still finds is left out."""
    outer, offers = problem
    race = Race(outer)
    ended = threading.Event()

    def search():
        forever(race.problem)
        race.problem.offer(Proposal(bound=1.0))
        ended.set()

    found = race.run(lambda: time.sleep(0.05) or Proposal(needed=7), search, 0.0)
    assert found.needed == 7
    assert ended.wait(5)
    assert offers == []


def test_the_proof_ends_when_the_search_meets_the_bound(problem):
    """The prover has offered a bound and goes on; a schedule of that compute ends it."""
    outer = replace(problem[0], time_limit=3600)
    race, trace = Race(outer), trace_of(outer)

    def prove():
        race.problem.offer(Proposal(bound=float(trace.compute)))
        assert not race.closed
        forever(race.problem)
        return Proposal()

    race.run(prove, lambda: race.best.take(trace), 0.02)
    assert race.closed
    assert race.best.compute == trace.compute
    assert outer.seconds_left > 0


def test_an_open_question_goes_on_until_the_search_ends(problem):
    """The prover gives up at once; what the search finds later counts."""
    race, trace = Race(problem[0]), trace_of(problem[0])

    def search():
        time.sleep(0.2)
        race.best.take(trace)

    race.run(Proposal, search, 0.0)
    assert race.best.compute == trace.compute


def test_what_the_search_has_at_its_end_counts(problem):
    """The proof ends with the time, and so does a round of annealing, which offers only then."""
    outer = replace(problem[0], time_limit=0.2, started=time.monotonic())
    race, offers = Race(outer), problem[1]

    def search():
        forever(race.problem)
        time.sleep(0.1)
        race.best.take(trace_of(outer))

    race.run(lambda: forever(race.problem) and Proposal(), search, 0.0)
    assert len(offers) == 1
    race.problem.offer(Proposal(bound=1.0))
    assert len(offers) == 1


def test_a_quick_proof_spares_the_search(problem):
    """Within its head start the prover answers alone."""
    began = []
    Race(problem[0]).run(lambda: Proposal(needed=5), lambda: began.append(1), 5.0)
    assert began == []


def test_an_error_of_the_search_is_raised(problem):
    """It ends the proof, too."""
    race = Race(problem[0])

    def search():
        raise ZeroDivisionError("search")

    with pytest.raises(ZeroDivisionError, match="search"):
        race.run(lambda: forever(race.problem) and Proposal(), search, 0.0)


def test_what_is_proved_stays_so_where_the_search_fails(problem):
    """The proof had its answer when the other thread ran out of memory."""
    outer, offers = problem
    race, proved = Race(outer), threading.Event()

    def search():
        assert proved.wait(10)
        raise MemoryError("no room")

    def prove():
        proved.set()
        return Proposal(needed=7)

    with pytest.raises(MemoryError, match="no room"):
        race.run(prove, search, 0.0)
    assert [offer.needed for offer in offers] == [7]


@pytest.mark.parametrize("dies", ["_refine", "improve"])
@pytest.mark.parametrize("workers", [1, 2])
def test_auto_keeps_the_best_when_a_part_of_it_dies(monkeypatch, problem, dies, workers):
    """Proof or search, in a thread of its own or not: what was found before is returned."""
    outer, _ = problem

    def fail(*_):
        raise ZeroDivisionError("no room")

    parts = {"_refine": lambda *_: Proposal(), "improve": lambda *_: None, dies: fail}
    monkeypatch.setattr(Ilp, "begin", lambda _, shared, best: best.take(trace_of(outer)) and None)
    monkeypatch.setattr(Ilp, "_refine", parts["_refine"])
    monkeypatch.setattr(Greedy, "improve", parts["improve"])
    monkeypatch.setattr(Search, "improve", parts["improve"])
    with pytest.warns(SolverFailed, match=r"'auto' failed \(ZeroDivisionError: no room\)"):
        plan = schedule.solve(outer.graph, outer.budget, workers=workers)
    assert plan.compute <= trace_of(outer).compute
    assert schedule.verify(outer.graph, plan.schedule).peak <= outer.budget


def test_an_interrupted_proof_ends_the_search(problem):
    race, took = Race(problem[0]), []

    def prove():
        time.sleep(0.1)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        race.run(prove, lambda: took.append(forever(race.problem)), 0.0)
    assert len(took) == 1


@pytest.mark.parametrize("workers", [1, 2])
def test_auto_is_never_worse_than_the_quick_strategies(workers):
    """On a wide graph that a second doesn't decide, with one worker and with two."""
    graph = wide(60, seed=3)
    budget = in_order(graph).peak * 3 // 4
    assert schedule.memory_floor(graph).memory < budget
    plan = schedule.solve(graph, budget, order="fixed", time_limit=3, workers=workers)
    greedy = schedule.solve(graph, budget, "greedy", order="fixed")
    assert plan.overhead is not None
    assert greedy.overhead is None or plan.compute <= greedy.compute
    assert plan.lower_bound <= plan.compute


@pytest.mark.parametrize("order", ["free", "fixed"])
@pytest.mark.parametrize(
    ("share", "times", "needs_more"), [(0.05, 0, True), (0.75, 1, False), (0.999, 0, False)]
)
def test_between_comes_once_where_the_first_programs_leave_it_open(order, share, times, needs_more):
    """Not after a proof, be it an optimum or that nothing fits."""
    graph, called = wide(60, seed=3), []
    budget = int(in_order(graph).peak * share)
    made = Problem(graph, budget, order, time_limit=3)
    found = Ilp().prove(made, Best(made), between=lambda: called.append(made.seconds_left))
    assert len(called) == times
    assert (found.needed is not None) == needs_more
    assert all(0 < left <= 2 for left in called)


def test_one_worker_searches_most_of_the_time_where_programs_are_hard(monkeypatch):
    """On a wide graph of more than 200 nodes the search gets nearly all that is left."""
    graph, given = wide(210, seed=3), []

    def improve(self, problem, best):
        whole = 4 - (time.monotonic() - problem.started)
        given.append(problem.seconds_left / whole)

    monkeypatch.setattr(Search, "improve", improve)
    budget = in_order(graph).peak * 3 // 4
    schedule.solve(graph, budget, order="fixed", time_limit=4, workers=1)
    assert 0.8 < given[0] < 0.95


def wide(nodes, seed):
    """A random graph in which most tensors are read late."""
    rng = np.random.default_rng(seed)
    builder = schedule.GraphBuilder("wide")
    names = []
    for at in range(nodes):
        reads = [names[k] for k in sorted({int(k) for k in rng.integers(0, at, 3)})] if at else []
        names.append(f"n{at}")
        builder.node(
            names[-1],
            reads,
            memory=int(rng.integers(1, 100)),
            compute=int(rng.integers(1, 100)),
        )
    return builder.build()
