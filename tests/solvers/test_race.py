"""Proof and search side by side: they share the best, end together, and hide no error."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest

import schedule
from schedule.errors import SolverFailed
from schedule.lowering import in_order
from schedule.solvers.annealing import SEQUENCES
from schedule.solvers.annealing.sections import SECTIONS
from schedule.solvers.classics.sqrt import Sqrt
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.eviction import EVICTION
from schedule.solvers.exact.corridor import CORRIDOR
from schedule.solvers.greedy import Greedy
from schedule.solvers.ilp import Ilp
from schedule.solvers.portfolio import Auto, Method, _Race
from schedule.solvers.search import Search
from tests.judging import Hears

GRAPH = schedule.example("chain", layers=30)
BUDGET = in_order(GRAPH).peak // 2


@dataclass
class Does:
    """A solver that does what a test wants."""

    act: Any
    name: str = "does"
    summary: str = ""

    def supports(self, graph):
        return None

    def improve(self, problem, incumbent, deadline):
        return self.act(incumbent, deadline) or Proof()


class Side:
    """One chain at half its peak, with what its judge heard."""

    def __init__(self, seconds=20.0):
        self.problem = Problem(GRAPH, BUDGET, workers=2)
        self.judge = Hears(GRAPH)
        self.incumbent = Incumbent(self.problem, self.judge)
        self.deadline = Deadline.after(seconds)

    def race(self, prove, search, head_start=0.02):
        """What is proved by a prover, with a search beside it."""
        table = (
            Method("proof", Does(prove), lambda _: True, ""),
            Method("search", Does(search), lambda _: True, ""),
        )
        return _Race(table, self.problem, self.incumbent, self.deadline).side_by_side(head_start)


@pytest.fixture
def side():
    """With twenty seconds."""
    return Side()


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Before any time is taken."""
    for part in (EVICTION, SEQUENCES, SECTIONS, CORRIDOR):
        assert part.wait(Incumbent(Problem(GRAPH, BUDGET)), Deadline())


def a_trace():
    """A schedule that fits."""
    problem = Problem(GRAPH, BUDGET)
    found = Incumbent(problem)
    Sqrt().improve(problem, found, Deadline())
    return found.trace


def forever(deadline):
    """Busy until no time is left; how long that took."""
    started = time.monotonic()
    while not deadline.passed:
        time.sleep(0.002)
    return time.monotonic() - started


def test_the_search_ends_with_the_proof(side):
    """Infeasible is an answer: the search is told, and what it still finds is left out."""
    answered, ended = threading.Event(), threading.Event()

    def search(incumbent, deadline):
        forever(deadline)
        assert answered.wait(10)
        incumbent.prove(Proof(bound=1.0))
        incumbent.offer(a_trace())
        incumbent.say("late")
        ended.set()

    found = side.race(lambda *_: time.sleep(0.1) or Proof(needed=7), search)
    assert found.needed == 7
    side.incumbent.close()
    answered.set()
    assert ended.wait(10)
    assert [proof.needed for _, proof in side.judge.proofs] == [7]
    assert side.judge.offers == side.judge.notes == []


def test_the_proof_ends_when_the_search_meets_the_bound():
    """The prover has stated a bound and goes on; a schedule of that compute ends it."""
    side, trace = Side(3600), a_trace()

    def prove(incumbent, deadline):
        incumbent.prove(Proof(bound=float(trace.compute)))
        assert not incumbent.is_good_enough
        forever(deadline)

    side.race(prove, lambda incumbent, _: incumbent.offer(trace) and None)
    assert side.incumbent.is_good_enough
    assert side.incumbent.compute == trace.compute
    assert side.deadline.seconds_left > 0


def test_an_open_question_goes_on_until_the_search_ends(side):
    """The prover gives up at once; what the search finds later counts."""
    trace = a_trace()

    def search(incumbent, deadline):
        time.sleep(0.2)
        incumbent.offer(trace)

    assert side.race(lambda *_: None, search) == Proof()
    assert side.incumbent.compute == trace.compute


def test_what_the_search_has_at_its_end_counts():
    """The proof ends with the time, and so does a round of annealing, which offers only then."""
    side, trace = Side(seconds=0.2), a_trace()

    def search(incumbent, deadline):
        forever(deadline)
        time.sleep(0.1)
        incumbent.offer(trace)

    side.race(lambda _, deadline: forever(deadline) and None, search)
    assert len(side.judge.offers) == 1
    side.incumbent.close()
    side.incumbent.offer(trace)
    assert len(side.judge.offers) == 1


def test_a_quick_proof_spares_the_search(side):
    """Within its head start the prover answers alone."""
    began, started = [], time.monotonic()
    side.race(lambda *_: Proof(needed=5), lambda *_: began.append(1), 5.0)
    assert began == []
    assert time.monotonic() - started < 5


def test_an_error_of_the_search_is_raised(side):
    """It ends the proof, too."""

    def search(*_):
        raise ZeroDivisionError("search")

    with pytest.raises(ZeroDivisionError, match="search"):
        side.race(lambda _, deadline: forever(deadline) and None, search)
    assert side.deadline.seconds_left > 10


def test_what_is_proved_stays_so_where_the_search_fails(side):
    """The proof had its answer when the other thread ran out of memory."""
    began, proved = threading.Event(), threading.Event()

    def search(*_):
        began.set()
        assert proved.wait(10)
        raise MemoryError("no room")

    def prove(*_):
        assert began.wait(10)
        proved.set()
        return Proof(needed=7)

    with pytest.raises(MemoryError, match="no room"):
        side.race(prove, search)
    assert [proof.needed for _, proof in side.judge.proofs] == [7]


@pytest.mark.parametrize("dies", ["proof", "search"])
@pytest.mark.parametrize("workers", [1, 2])
def test_auto_keeps_the_best_when_a_part_of_it_dies(monkeypatch, dies, workers):
    """Proof or search, in a thread of its own or not: what was found before is returned."""
    trace = a_trace()

    def fail(*_):
        raise ZeroDivisionError("no room")

    parts = {"proof": lambda *_: Proof(), "search": lambda *_: Proof(), dies: fail}

    def improve(self, problem, incumbent, deadline):
        if self.until == "opening":
            incumbent.offer(trace)
            return Proof()
        return parts["proof"]()

    monkeypatch.setattr(Ilp, "improve", improve)
    monkeypatch.setattr(Greedy, "improve", parts["search"])
    monkeypatch.setattr(Search, "improve", parts["search"])
    with pytest.warns(SolverFailed, match=r"'auto' failed \(ZeroDivisionError: no room\)"):
        plan = schedule.solve(GRAPH, BUDGET, Auto(head_start=0.02), workers=workers)
    assert plan.compute <= trace.compute
    assert schedule.verify(GRAPH, plan.schedule).peak <= BUDGET


def test_an_interrupted_proof_ends_the_search(side):
    """Ctrl-C comes to the main thread, where the proof is."""
    began, took = threading.Event(), []

    def prove(*_):
        assert began.wait(10)
        raise KeyboardInterrupt

    def search(_, deadline):
        began.set()
        took.append(forever(deadline))

    with pytest.raises(KeyboardInterrupt):
        side.race(prove, search)
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
def test_one_worker_searches_once_where_the_first_programs_leave_it_open(
    monkeypatch, order, share, times, needs_more
):
    """Not after a proof, be it an optimum or that nothing fits."""
    graph, called = wide(210, seed=3), []

    def improve(self, problem, incumbent, deadline):
        if self in (Greedy(), Search(starts=False)):  # not the few rules that come first
            called.append((self.name, deadline.seconds_left))
        return Proof()

    monkeypatch.setattr(Greedy, "improve", improve)
    monkeypatch.setattr(Search, "improve", improve)
    without_the_last_proof(monkeypatch)
    budget = int(in_order(graph).peak * share)
    if times and order == "free":  # below what another order alone needs
        budget = budget * 4 // 5
    found = schedule.solve(graph, budget, order=order, time_limit=60, workers=1)
    assert [name for name, _ in called] == ["greedy", "search"] * times
    assert (found.status == "infeasible") == needs_more
    assert all(0 < left <= 0.9 * 60 for _, left in called)  # the table's share


def without_the_last_proof(monkeypatch):
    """Ctrl-C where `ilp` would go on to the end: so a generous limit is not waited for."""
    until_there = Ilp.improve

    def improve(self, *asked):
        if self.until == "end":
            raise KeyboardInterrupt
        return until_there(self, *asked)

    monkeypatch.setattr(Ilp, "improve", improve)


def test_one_worker_searches_most_of_the_time_where_programs_are_hard(monkeypatch):
    """On a wide graph of more than 200 nodes the search gets nearly all that is left."""
    graph, given = wide(210, seed=3), []
    started = time.monotonic()

    def improve(self, problem, incumbent, deadline):
        whole = 60 - (time.monotonic() - started)
        given.append(deadline.seconds_left / whole)
        return Proof()

    monkeypatch.setattr(Search, "improve", improve)
    without_the_last_proof(monkeypatch)
    budget = in_order(graph).peak * 3 // 4
    started = time.monotonic()
    schedule.solve(graph, budget, order="fixed", time_limit=60, workers=1)
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
