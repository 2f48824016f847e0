"""`cancel`: a solve that is called off returns its best soon, whatever it is busy with."""

import multiprocessing
import os
import threading
import time
from concurrent.futures import Executor, Future, ProcessPoolExecutor

import pytest

import schedule
from schedule import SolveOptions, Status, solve
from schedule.bounds import memory_floor
from schedule.errors import BadOption
from schedule.lowering import in_order
from schedule.solvers.contract import Proof
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

HARD = schedule.example("layered", nodes=200, layers=20, seed=1)  # nobody proves it in seconds


class Busy:
    """A solver that offers the program as it is, and then looks at nothing any more."""

    name, summary = "busy", "never ends"

    def __init__(self):
        self.over, self.begun, self.thread = threading.Event(), threading.Event(), None

    def supports(self, graph):
        return None

    def improve(self, problem, incumbent, deadline):
        self.thread = threading.current_thread()
        from schedule.lowering import needed_in_order

        incumbent.offer(needed_in_order(problem.graph))
        self.begun.set()
        self.over.wait(60)
        incumbent.prove(Proof(bound=2 * incumbent.compute))  # nobody hears it
        return Proof()


class After:
    """Called off some seconds after it is first asked."""

    def __init__(self, seconds):
        self.seconds, self.first, self.threads = seconds, None, set()

    def __call__(self):
        self.threads.add(threading.current_thread())
        self.first = self.first or time.monotonic()
        self.told = time.monotonic()
        return self.told > self.first + self.seconds


@pytest.mark.parametrize("make", [threading.Event, multiprocessing.Event])
def test_an_event_ends_a_solver_that_looks_at_nothing(make):
    """What it had offered is returned; what it says later changes nothing."""
    solver, event = Busy(), make()
    threading.Thread(target=lambda: solver.begun.wait(10) and event.set()).start()
    result = solve(HARD, None, solver, cancel=event, gap=0, time_limit=50)
    solver.over.set()
    assert result.compute == HARD.compute
    assert result.seconds < 50
    solver.thread.join(10)
    assert not solver.thread.is_alive()


@pytest.mark.parametrize("solver", ["auto", "ilp", "search", "intervals"])
def test_a_function_ends_a_solve(solver):
    """It is asked from the caller's thread alone; the best so far comes back."""
    cancel = After(0.4)
    result = solve(HARD, "70%", solver, cancel=cancel, time_limit=50)
    assert result.interrupted
    assert not result.out_of_memory
    assert result.status in (Status.FEASIBLE, Status.UNKNOWN)
    assert result.seconds < 25
    assert cancel.threads == {threading.current_thread()}


def test_called_off_before_it_begins():
    """Then no solver is asked at all."""
    solver = Busy()
    result = solve(HARD, "60%", solver, cancel=lambda: True)
    assert (result.status, result.interrupted, solver.thread) == (Status.UNKNOWN, True, None)


def test_nothing_is_changed_where_nobody_calls_it_off():
    """The same answer, and it isn't interrupted."""
    graph = schedule.example("chain")
    result = solve(graph, "50%", cancel=lambda: False)
    assert result.status is Status.OPTIMAL
    assert not result.interrupted
    assert result.schedule == solve(graph, "50%").schedule


def test_its_exception_is_the_callers():
    """As it is of the progress callback; the solver ends, too."""
    deadlines = []

    class Waits(Busy):
        def improve(self, problem, incumbent, deadline):
            deadlines.append(deadline)
            while not deadline.passed:
                time.sleep(0.01)
            self.over.set()
            return Proof()

    solver = Waits()

    def cancel():
        if deadlines:
            raise ZeroDivisionError("mine")
        return False

    with pytest.raises(ZeroDivisionError, match="mine"):
        solve(HARD, "70%", solver, cancel=cancel)
    assert solver.over.is_set()


def test_an_error_of_the_solver_is_raised_as_ever():
    """From the other thread."""

    class Fails(Busy):
        def improve(self, problem, incumbent, deadline):
            raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        solve(HARD, "60%", Fails(), cancel=threading.Event())


def test_a_sweep_is_called_off_as_a_whole():
    """The rows that were not solved say so; what they know still holds."""
    curve = schedule.sweep(HARD, ["60%", "70%", "80%"], "search", cancel=After(0.3), time_limit=50)
    assert curve.ended == "cancelled"
    assert curve.seconds < 25
    assert all(point.interrupted for point in curve.points if point.status is Status.UNKNOWN)


def test_a_sweep_that_is_called_off_leaves_other_processes_free():
    """Their solves end, too, long before their time."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=context) as pool:
        curve = schedule.sweep(
            HARD, ["60%"], "search", executor=pool, cancel=After(0.5), time_limit=3000
        )
        assert curve.ended == "cancelled"
        assert pool.submit(os.getpid).result(timeout=60)


class Later(Executor):
    """Another process that gets round to its task only when the sweep is over."""

    def submit(self, call, *given):
        self.task = lambda: call(*given)
        return Future()


class Asked(Busy):
    """Whether it has to end at once."""

    def improve(self, problem, incumbent, deadline):
        self.had_passed = deadline.passed
        return Proof()


def test_what_begins_after_a_sweep_was_called_off_ends_at_once(tmp_path):
    """The graph is still there, in the sweep's own directory."""
    later, solver = Later(), Asked()
    curve = schedule.sweep(
        HARD,
        ["60%"],
        solver,
        executor=later,
        cancel=After(0.1),
        time_limit=3000,
        directory=tmp_path,
    )
    assert curve.ended == "cancelled"
    later.task()
    assert solver.had_passed


def test_limits_are_called_off():
    """What was known by then holds; a bound is that of the program by then."""
    limits = schedule.minimum_budget(HARD, cancel=After(0.3), time_limit=50)
    assert limits.interrupted
    assert memory_floor(HARD).memory <= limits.needed <= limits.known <= in_order(HARD).peak
    told = threading.Event()
    told.set()
    limits = schedule.minimum_budget(HARD, recompute=False, cancel=told)
    assert limits.interrupted
    assert limits.known == in_order(HARD).peak
    bound = schedule.compute_bound(HARD, "60%", cancel=After(0.1), time_limit=50)
    assert bound >= HARD.compute


def test_a_comparison_is_called_off_as_a_whole():
    """No further solver is asked."""
    entries = schedule.compare(HARD, "70%", ["search", "ilp"], cancel=After(0.3), time_limit=50)
    assert len(entries) == 1


@pytest.mark.parametrize("wrong", [5, "yes", threading.Lock()])
def test_what_calls_nothing_off_is_refused(wrong):
    """Before anything is solved."""
    for call in (lambda: SolveOptions(cancel=wrong), lambda: schedule.sweep(HARD, cancel=wrong)):
        with pytest.raises(BadOption, match=r"cancel is .*; it has to be a function, an event"):
            call()
