"""What solvers are given: when to stop, and the best schedule that all of them share."""

from __future__ import annotations

import math
import threading
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedule import GraphBuilder, example
from schedule.lowering import free_early, in_order
from schedule.memory import simulate
from schedule.solvers import SOLVERS, deadline
from schedule.solvers.contract import MOST_RUNS, Deadline, Incumbent, Problem, Proof
from tests.judging import Hears


@pytest.fixture
def clock(monkeypatch):
    """Time goes by where a test says so."""
    now = [100.0]
    monkeypatch.setattr(deadline, "time", SimpleNamespace(monotonic=lambda: now[0]))
    return now


# When to stop


def test_a_deadline_is_that_many_seconds_from_now(clock):
    """It passes with the time, and no seconds are left then, not less."""
    deadline = Deadline.after(10)
    assert (deadline.seconds_left, deadline.limit, deadline.passed) == (10, 10, False)
    clock[0] += 9
    assert (deadline.seconds_left, deadline.passed) == (1, False)
    for _ in range(2):
        clock[0] += 1
        assert (deadline.seconds_left, deadline.passed) == (0, True)


def test_without_a_limit_nothing_passes():
    """No time, no work, and no condition ends it."""
    deadline = Deadline()
    assert (deadline.seconds_left, deadline.work, deadline.passed) == (math.inf, math.inf, False)
    assert deadline.share(0.1).seconds_left == math.inf
    assert deadline.most_runs == MOST_RUNS


def test_a_part_ends_no_later_than_the_whole(clock):
    """`within` and `share` shorten; the limit of the solve stays what it was."""
    whole = Deadline.after(10)
    assert whole.within(3).seconds_left == 3
    assert whole.within(30).seconds_left == 10
    assert whole.share(0.25).seconds_left == 2.5
    assert whole.share(0.25, least=4).seconds_left == 4
    assert whole.share(0.25, least=40).seconds_left == 10
    assert whole.share(0).passed
    assert whole.share(1) is whole
    assert whole.earlier(4).seconds_left == 6
    assert whole.earlier(40).passed
    assert whole.within(3).limit == whole.share(0.25).limit == 10
    assert whole.seconds_left == 10


def test_a_share_is_of_what_is_left(clock):
    """Asked later, it is shorter, and a part of a part is shorter still."""
    whole = Deadline.after(16)
    part = whole.share(0.5)
    clock[0] += 4
    assert (whole.share(0.5).seconds_left, part.seconds_left) == (6, 4)
    assert part.share(0.5).seconds_left == 2


@given(
    st.lists(
        st.tuples(st.sampled_from(["within", "share", "earlier"]), st.floats(0, 20)), max_size=6
    )
)
def test_no_part_of_a_part_ends_later(parts):
    """However they are cut, each is in the one before."""
    deadline = Deadline.after(10)
    for cut, by in parts:
        part = getattr(deadline, cut)(by)
        assert part.end <= deadline.end
        assert part.limit == 10
        deadline = part


def test_a_condition_ends_it_at_once(clock):
    """Then no seconds are left, for it and for all that is made of it; not for what it is of."""
    over = threading.Event()
    whole = Deadline.after(10)
    until = whole.unless(over.is_set)
    parts = [until, until.within(5), until.share(0.5), until.with_work(9), until.earlier(1)]
    assert not any(part.passed for part in parts)
    over.set()
    assert all(part.passed and part.seconds_left == 0 for part in parts)
    assert (whole.passed, whole.seconds_left) == (False, 10)


def test_any_of_several_conditions_ends_it():
    """One more takes none away."""
    first, second = threading.Event(), threading.Event()
    until = Deadline().unless(first.is_set).unless(second.is_set)
    assert not until.passed
    second.set()
    assert until.passed
    second.clear()
    first.set()
    assert until.passed


def test_work_is_of_its_own(clock):
    """Who works takes it off; the whole has as much as before, and as much time."""
    whole = Deadline.after(10)
    part = whole.with_work(3)
    done = 0
    while not part.passed:
        part.work -= 1
        done += 1
    assert (done, part.work, part.seconds_left) == (3, 0, 10)
    assert (whole.work, whole.passed) == (math.inf, False)
    assert not part.with_work(1).passed
    assert whole.with_work(0).passed
    clock[0] += 10
    assert whole.with_work(5).passed


# The best schedule


def two_ways():
    """A problem of compute 6 whose first node may run twice, and those two plans."""
    g = GraphBuilder("two ways")
    a = g.node("a", memory=8, compute=2)
    b = g.node("b", a, memory=1, compute=3)
    g.node("c", [a, b], memory=1, compute=1, backward=True)
    graph = g.build()
    plain, again = (free_early(graph, np.array(runs)) for runs in ([0, 1, 2], [0, 1, 0, 2]))
    return Problem(graph, 10), plain, again


def test_the_best_that_fits_is_kept():
    """Whatever is offered in which order, as codes or replayed; the answer is whether it fits."""
    problem, plain, again = two_ways()
    incumbent = Incumbent(problem)
    assert (incumbent.trace, incumbent.compute, incumbent.gap) == (None, math.inf, math.inf)
    assert incumbent.offer(again)
    assert (incumbent.compute, incumbent.bound, incumbent.gap) == (8, 6, pytest.approx(2 / 6))
    assert not incumbent.is_good_enough
    assert incumbent.offer(simulate(problem.graph, plain))
    assert incumbent.offer(again)
    assert incumbent.trace.codes.tolist() == plain.tolist()
    assert incumbent.is_good_enough


def test_of_what_does_not_fit_the_least_peak_is_kept():
    """It is nobody's best."""
    graph = example("chain", layers=14)
    found = Incumbent(Problem(graph, None))
    SOLVERS["sqrt"].improve(Problem(graph, None), found, Deadline())
    low, high = found.trace, in_order(graph)
    incumbent = Incumbent(Problem(graph, low.peak - 1))
    for trace, nearest in [(high, high), (low, low), (high, low)]:
        assert not incumbent.offer(trace)
        assert incumbent.nearest.peak == nearest.peak
    assert incumbent.trace is None


def test_the_replay_of_the_judge_is_what_counts():
    """Not the figures of the trace that is offered: only its codes are taken."""
    problem, _, again = two_ways()
    judge = Hears(problem.graph)
    incumbent = Incumbent(problem, judge)
    false = simulate(problem.graph, again)
    object.__setattr__(false, "compute", 1)
    incumbent.by("liar").offer(false)
    assert incumbent.compute == 8
    assert incumbent.trace is judge.offers[0][1]
    assert incumbent.trace is not false
    assert incumbent.replay(again) is judge.offers[1][1]


def test_who_speaks_is_heard_by_the_judge():
    """`by` gives a name; what is known is the same for all."""
    problem, plain, again = two_ways()
    judge = Hears(problem.graph)
    incumbent = Incumbent(problem, judge)
    one, other = incumbent.by("one"), incumbent.by("other")
    one.offer(again)
    other.prove(Proof(bound=6.5))
    one.by("third").offer(plain)
    one.say("busy")
    assert [name for name, _ in judge.offers] == ["one", "third"]
    assert [name for name, _ in judge.proofs] == ["other"]
    assert judge.notes == ["busy"]
    assert incumbent.trace is one.trace is other.trace
    assert incumbent.bound == one.bound == other.bound == 6.5


def test_bounds_only_rise():
    """A weaker proof takes nothing away, and every node once is the first."""
    problem, *_ = two_ways()
    incumbent = Incumbent(problem)
    for bound, known in [(None, 6), (5, 6), (7, 7), (6.5, 7), (None, 7)]:
        incumbent.prove(Proof(bound=bound))
        assert incumbent.bound == known


@pytest.mark.parametrize(
    ("gap", "enough"), [(0.0, False), (0.3, False), (0.34, True), (math.inf, True)]
)
def test_it_is_good_enough_as_close_to_the_bound_as_was_asked_for(gap, enough):
    """A share of every node once; without a schedule nothing is."""
    problem, _, again = two_ways()
    incumbent = Incumbent(Problem(problem.graph, 10, gap=gap))
    assert not incumbent.is_good_enough
    incumbent.offer(again)
    assert incumbent.is_good_enough == enough


def test_a_closed_one_tells_nothing():
    """The answer was given: what threads that were left behind still say isn't heard."""
    problem, plain, again = two_ways()
    judge = Hears(problem.graph)
    incumbent = Incumbent(problem, judge)
    incumbent.by("a").offer(again)
    incumbent.by("b").close()
    late = incumbent.by("late")
    late.offer(plain)
    late.prove(Proof(bound=7))
    late.say("still here")
    assert [name for name, _ in judge.offers] == ["a"]
    assert judge.proofs == judge.notes == []
    assert incumbent.bound == 6


def test_an_invalid_schedule_is_not_kept():
    """It raises in who offers it, and changes nothing."""
    problem, plain, _ = two_ways()
    incumbent = Incumbent(problem)
    with pytest.raises(Exception, match="it reads 'a'"):
        incumbent.offer(plain[1:])
    assert incumbent.trace is incumbent.nearest is None


def test_what_was_left_unfinished_is_there_again():
    """Made once for an incumbent, under whatever name; another incumbent has its own."""
    problem, *_ = two_ways()
    incumbent, made = Incumbent(problem), []

    def make():
        made.append(1)
        return [len(made)]

    first = incumbent.by("a").resume("key", make)
    assert incumbent.by("b").resume("key", make) is first == [1]
    assert incumbent.resume("other key", make) == [2]
    assert Incumbent(problem).resume("key", make) == [3]


def test_threads_make_what_is_resumed_once():
    """And offers of several threads leave the best."""
    problem, plain, again = two_ways()
    incumbent, made, start = Incumbent(problem), [], threading.Barrier(4)

    def work(codes):
        start.wait(10)
        for _ in range(50):
            incumbent.resume("key", lambda: made.append(1))
            incumbent.offer(codes)

    threads = [threading.Thread(target=work, args=(codes,)) for codes in [plain, again] * 2]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert made == [1]
    assert incumbent.compute == 6


def test_a_proof_ends_where_nothing_is_left_to_find():
    """Not with a bound alone."""
    assert not Proof().ends
    assert not Proof(bound=5).ends
    assert Proof(needed=5).ends
    assert Proof(runs=10**9).ends
