"""A work limit: the same schedule for the same seed, however busy the machine is."""

import math
import random
import threading
import time

import pytest
from hypothesis import given, settings

import schedule
from schedule import SolveOptions, solve
from schedule.errors import BadOption, NotApplicable
from schedule.solvers import SOLVERS
from schedule.solvers.contract import Clock, Deadline, Proof
from schedule.warming import parts
from tests.strategies import graphs

HARD = schedule.example("unet")
SEARCHING = ("auto", "ilp", "search", "greedy", "intervals", "lp_rounding")


def found(graph, solver, work, **more):
    """What says that two solves did the same, and when both did all that they were to."""
    result = solve(graph, "60%", solver, work_limit=work, time_limit=math.inf, **more)
    assert not result.interrupted
    steps = None if result.schedule is None else result.schedule.steps
    return result.status, steps, result.lower_bound, result.found_by


@pytest.fixture
def uneven_time(monkeypatch):
    """A clock on which other work takes most of the time, now and then for minutes."""
    rng, lock, real = random.Random(5), threading.Lock(), time.monotonic
    late = [0.0]

    def monotonic():
        with lock:
            late[0] += rng.choice((0.0, 0.001, 0.5)) if rng.random() < 0.999 else 100.0
            return real() + late[0]

    monkeypatch.setattr(time, "monotonic", monotonic)


@pytest.fixture
def load():
    """Another thread that takes Python's lock, and a core, as often as it gets them."""
    over = threading.Event()

    def work():
        while not over.is_set():
            sum(range(1_000))

    thread = threading.Thread(target=work)
    thread.start()
    yield
    over.set()
    thread.join()


@pytest.mark.parametrize("solver", SEARCHING)
def test_neither_load_nor_a_clock_changes_what_is_found(solver, request):
    """On a graph that no solver here ends in that work."""
    before = found(HARD, solver, 0.15)
    request.getfixturevalue("uneven_time")
    request.getfixturevalue("load")
    assert found(HARD, solver, 0.15, workers=4) == before


@given(graphs())
@settings(max_examples=8, deadline=None)
def test_any_graph(graph):
    """Where there is little work to do: the same twice, by every solver."""
    for name, solver in SOLVERS.items():
        if solver.supports(graph) is None and name != "intervals":
            assert found(graph, name, 0.02) == found(graph, name, 0.02)


def test_compiled_code_is_waited_for(monkeypatch):
    """What is found doesn't depend on when it is loaded."""
    before = found(HARD, "auto", 0.3)
    for part in parts().values():
        load = part._load

        def slowly(load=load):
            time.sleep(0.2)
            load()

        monkeypatch.setattr(part, "_attempt", None)
        monkeypatch.setattr(part, "_load", slowly)
    assert found(HARD, "auto", 0.3) == before


def test_more_work_finds_no_worse_a_schedule():
    """With one method, that goes on where it would have stopped."""
    few, many = (solve(HARD, "60%", "search", work_limit=work) for work in (0.1, 1.0))
    assert many.compute <= few.compute
    assert few.lower_bound <= many.compute


def test_the_time_limit_is_said_to_have_ended_it():
    """As then the schedule isn't the same everywhere."""
    result = solve(HARD, "60%", "search", work_limit=1000, time_limit=0.3)
    assert result.interrupted
    assert result.out_of_time
    assert not result.out_of_memory
    assert not solve(HARD, "60%", "search", work_limit=0.05).interrupted


def test_who_runs_out_of_time_leaves_the_others_theirs():
    """Each solver has the time limit; after Ctrl-C no other would be asked."""
    asked = {"work_limit": 1000, "time_limit": 0.2}
    search, sqrt = schedule.compare(HARD, "80%", ["search", "sqrt"], **asked)
    assert (search.result.out_of_time, sqrt.solver) == (True, "sqrt")


def test_who_does_not_count_is_refused():
    """With the way out; and one that says that it does isn't."""

    class Searches:
        name, summary = "searches", "until its deadline"

        def supports(self, graph):
            return None

        def improve(self, problem, incumbent, deadline):
            self.asked = problem, deadline
            while not deadline.passed:
                deadline.spend(0.25)
            return Proof()

    with pytest.raises(NotApplicable, match=r"'searches' doesn't count its work.* time_limit"):
        solve(HARD, "60%", Searches(), work_limit=1)
    sqrt, other = schedule.compare(HARD, "80%", [Searches(), "sqrt"], work_limit=1)
    assert (sqrt.solver, other.result) == ("sqrt", None)
    assert other.reason == "doesn't apply: it doesn't count its work, so no work limit ends it"
    counting = Searches()
    counting.counts_work = True
    assert not solve(HARD, "60%", counting, work_limit=1, workers=3).interrupted
    problem, deadline = counting.asked
    assert problem.workers == 1
    assert deadline.clock.done == 1.0


def test_all_solvers_count():
    """Every one of the table takes a work limit."""
    assert all(solver.counts_work is True for solver in SOLVERS.values())


def test_seconds_of_work_are_shared_like_others():
    """A deadline's parts are of the work that is left."""
    clock = Clock(counts_work=True)
    whole = Deadline.after(10, clock)
    clock.spend(2)
    half = whole.share(0.5)
    assert (whole.seconds_left, half.seconds_left) == (8, 4)
    half.spend(4)
    assert half.passed
    assert not whole.passed
    assert whole.unless(lambda: True).at_least(1).seconds_left == 1
    assert whole.at_least(6).seconds_left == 6


@pytest.mark.parametrize("wrong", [0, -1, math.inf, math.nan, "1", True])
def test_what_is_no_limit_is_refused(wrong):
    """And without one, a solve has to end by the time."""
    with pytest.raises(BadOption, match=r"work_limit is .*; it has to be a finite number > 0"):
        SolveOptions(work_limit=wrong)
    with pytest.raises(BadOption, match="time_limit is inf"):
        SolveOptions(time_limit=math.inf)


def test_a_sweep_takes_it():
    """For each of its solves; with one at a time it is the same sweep."""
    first, second = (
        schedule.sweep(HARD, ["60%", "80%"], "search", work_limit=0.05, workers=1) for _ in range(2)
    )
    assert [p.schedule for p in first.points] == [p.schedule for p in second.points]


def test_limits_after_so_much_work_are_the_same():
    """Every time; and they are no limits of the time."""
    graph = schedule.example("layered", nodes=40, layers=6, seed=1)
    found = [schedule.minimum_budget(graph, work_limit=0.1, time_limit=120) for _ in range(2)]
    assert found[0] == found[1]
    assert not found[0].interrupted
    bounds = {schedule.compute_bound(graph, "70%", work_limit=0.1) for _ in range(2)}
    assert len(bounds) == 1
    assert schedule.minimum_budget(graph, work_limit=1e6, time_limit=0.05).interrupted
