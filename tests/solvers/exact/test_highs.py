"""HiGHS, in a thread and in a process: the same answers, and nobody waits for none."""

from __future__ import annotations

import _thread
import math
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from itertools import product
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schedule
from schedule.errors import ScheduleError
from schedule.solvers.contract import Deadline
from schedule.solvers.exact import engine, highs, processes
from schedule.solvers.exact.highs import Outcome, Program, minimise
from tests.formats import FILES_ARE_CHECKED
from tests.hanging import HANGS, ends

pytestmark = FILES_ARE_CHECKED

NEVER = """
    import pickle, sys, time
    pickle.dump(("ready", None), sys.stdout.buffer)
    sys.stdout.flush()
    time.sleep(600)
"""


def knapsack() -> Program:
    """Of 10 a + 7 b + 4 c with weights 5, 4, 2, at most 6 of these: −11 is the least."""
    return Program(
        cost=-np.array([10.0, 7.0, 4.0]),
        lower=np.zeros(3),
        upper=np.ones(3),
        integer=np.ones(3, dtype=bool),
        row_lower=np.array([-np.inf]),
        row_upper=np.array([6.0]),
        starts=np.array([0, 3]),
        columns=np.array([0, 1, 2]),
        values=np.array([5.0, 4.0, 2.0]),
    )


def packing(n=300, rows=900, each=5) -> Program:
    """A packing of `n` random things: HiGHS takes minutes, and calls back often meanwhile."""
    random = np.random.default_rng(0)
    columns = [np.sort(random.choice(n, each, replace=False)) for _ in range(rows)]
    return Program(
        cost=-random.integers(1, 20, n).astype(float),
        lower=np.zeros(n),
        upper=np.ones(n),
        integer=np.ones(n, dtype=bool),
        row_lower=np.full(rows, -np.inf),
        row_upper=random.integers(1, 3, rows).astype(float),
        starts=np.arange(0, rows * each + 1, each),
        columns=np.concatenate(columns),
        values=np.ones(rows * each),
    )


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """No process of another test."""
    processes.end_idle()
    monkeypatch.setattr(processes, "_is_refused", False)
    yield
    processes.end_idle()


@pytest.fixture(params=["thread", "process"])
def where(request, monkeypatch):
    """Where programs are solved, whatever their size."""
    monkeypatch.setattr(highs, "_LARGE", -1 if request.param == "process" else 10**9)
    return request.param


class Engine:
    """A stand-in for HiGHS in a thread."""

    def __init__(self, *question):
        self.question = question

    def stop(self):
        """Nothing."""

    mute = stop


class Never(Engine):
    over = threading.Event()

    def run(self):
        assert self.over.wait(HANGS)


@pytest.fixture
def never(where, monkeypatch, tmp_path):
    """HiGHS doesn't return, there either."""
    script = tmp_path / "never.py"
    script.write_text(textwrap.dedent(NEVER))
    monkeypatch.setattr(processes, "engine", SimpleNamespace(__file__=str(script)))
    monkeypatch.setattr(highs, "Engine", Never)
    Never.over.clear()
    yield where
    Never.over.set()


def is_gone(process: int) -> bool:
    """Whether a process has ended, soon; one that nobody has waited for has."""
    for _ in range(600):
        try:
            with open(f"/proc/{process}/stat") as file:
                if file.read().rsplit(")", 1)[1].split()[0] == "Z":
                    return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.05)
    return False


def has_no_child() -> bool:
    """Whether nothing that this module's code started is left, not as a zombie either, soon."""
    for _ in range(600):
        if not processes._all:
            return True
        time.sleep(0.05)
    return False


def test_a_knapsack_with_its_bound(where):
    """A known optimum."""
    answer = minimise(knapsack(), deadline=Deadline.after(60))
    assert answer.outcome is Outcome.SOLVED
    assert answer.x.round().tolist() == [0, 1, 1]
    assert answer.bound == pytest.approx(-11)


@settings(max_examples=60)
@given(st.data())
def test_the_optimum_is_that_of_all_choices_whatever_limits_rows_have(data):
    """Sums of what can't be negative get another lower limit: no choice may fall below it."""
    n, rows = data.draw(st.integers(1, 5)), data.draw(st.integers(1, 4))
    numbers = st.integers(-4, 6)
    matrix = np.array([[data.draw(numbers) for _ in range(n)] for _ in range(rows)], float)
    lower = np.array([data.draw(st.integers(-1, 0)) for _ in range(n)], float)
    limits = [(data.draw(numbers), data.draw(st.integers(0, 9))) for _ in range(rows)]
    ends = [
        data.draw(st.sampled_from([(-math.inf, a + w), (a, math.inf), (a, a + w)]))
        for a, w in limits
    ]
    row_lower, row_upper = np.array(ends, float).T
    cost = np.array([data.draw(numbers) for _ in range(n)], float)
    program = Program(
        cost=cost,
        lower=lower,
        upper=np.ones(n),
        integer=np.ones(n, dtype=bool),
        row_lower=row_lower,
        row_upper=row_upper,
        starts=np.arange(0, rows * n + 1, n),
        columns=np.tile(np.arange(n), rows),
        values=matrix.ravel(),
    )
    choices = np.array(list(product(*(range(int(least), 2) for least in lower))), float)
    sums = choices @ matrix.T
    fits = ((row_lower <= sums) & (sums <= row_upper)).all(axis=1)
    answer = minimise(program, deadline=Deadline.after(60))
    if fits.any():
        assert answer.bound == pytest.approx((choices @ cost)[fits].min())
    else:
        assert answer.outcome is Outcome.INFEASIBLE


def test_rows_of_capacity_have_two_limits():
    """With one of them, HiGHS's presolve may go on for minutes."""
    arrays = tuple(getattr(knapsack(), field.name) for field in fields(Program))
    solve = engine.Engine(arrays, {}, None)
    solve._load()
    assert solve._solver.getLp().row_lower_[0] == -1.0 < 0.0


def test_a_warm_start_priced_too_low_is_no_optimum(where):
    """Of 128 points the best costs 7; HiGHS 1.16 alone returns its start, 11, as one of 6."""
    rows = np.ones((4, 7))
    rows[1:3, 3] = rows[3, [3, 5, 6]] = 0
    least, cost = np.array([3.0, 3.0, 3.0, 1.0]), np.array([3.0, 3.0, 3.0, 1.0, 5.0, 2.0, 2.0])
    row, column = np.nonzero(rows)
    program = Program(
        cost=cost,
        lower=np.zeros(7),
        upper=np.ones(7),
        integer=np.ones(7, dtype=bool),
        row_lower=least,
        row_upper=np.full(4, np.inf),
        starts=np.searchsorted(row, np.arange(5)),
        columns=column,
        values=np.ones(len(row)),
    )
    start = np.arange(7), np.array([0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 0.0])
    answer = minimise(program, deadline=Deadline.after(HANGS), start=start)
    points = np.array(list(product([0.0, 1.0], repeat=7)))
    best = (points[(points @ rows.T >= least).all(axis=1)] @ cost).min()
    assert best == 7.0
    assert (cost @ answer.x, answer.bound) == pytest.approx((best, best))


def test_what_does_not_fit(where):
    """Proved, without a solution."""
    program = knapsack()
    program.row_lower[0] = 12.0
    program.row_upper[0] = 13.0
    answer = minimise(program, deadline=Deadline.after(60))
    assert (answer.outcome, answer.x) == (Outcome.INFEASIBLE, None)


def test_a_thread_and_a_process_answer_the_same(monkeypatch):
    """To the last digit, with a warm start, and prices of a relaxation."""
    program = packing(60, 150, 4)
    start = (np.arange(60), np.zeros(60))
    found = []
    for limit in (10**9, -1):
        monkeypatch.setattr(highs, "_LARGE", limit)
        answer = minimise(program, deadline=Deadline.after(HANGS), seed=3, start=start)
        relaxed = minimise(program.relaxed(), deadline=Deadline.after(HANGS))
        assert (answer.outcome, relaxed.outcome) == (Outcome.SOLVED, Outcome.SOLVED)
        found.append((answer.x.tolist(), answer.bound, answer.work, relaxed.prices.tolist()))
    assert found[0] == found[1]


def test_a_process_is_kept(monkeypatch):
    """One program after the other; it is there when one is told to stop, too."""
    monkeypatch.setattr(highs, "_LARGE", -1)
    minimise(knapsack(), deadline=Deadline.after(60))
    (kept,) = processes._idle
    stopped = Deadline.after(HANGS)
    until = time.monotonic() + 0.5
    answer = minimise(packing(), deadline=stopped.unless(lambda: time.monotonic() > until))
    assert answer.outcome is Outcome.STOPPED
    if processes._idle:  # on a busy machine it may not have heard in time
        assert processes._idle == [kept]
        assert minimise(knapsack(), deadline=Deadline.after(60)).bound == pytest.approx(-11)


def test_a_time_limit_does_not_wait_for_what_never_returns(never):
    """No solution, no bound, and no process is left."""
    answer = ends(lambda: minimise(knapsack(), deadline=Deadline.after(0.5)))
    assert (answer.outcome, answer.x, answer.bound) == (Outcome.STOPPED, None, -np.inf)
    assert has_no_child()


def test_ctrl_c_does_not_wait_for_what_never_returns(never):
    """Though there are hours left."""
    timer = threading.Timer(0.5, _thread.interrupt_main)
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        minimise(knapsack(), deadline=Deadline.after(3600))
    assert has_no_child()


def test_a_solve_returns_its_best_where_highs_never_returns(never):
    """The other methods' plan, and what they prove."""
    graph = schedule.example("unet")
    plan = ends(lambda: schedule.solve(graph, "60%", order="fixed", time_limit=2))
    assert plan.status == "feasible"
    assert schedule.verify(graph, plan.schedule, plan.budget).compute == plan.compute
    assert not plan.interrupted


def test_a_solve_is_interrupted_where_highs_never_returns(never):
    """The best by then."""
    graph = schedule.example("unet")
    found = threading.Event()

    def interrupt():
        assert found.wait(HANGS)
        time.sleep(0.1)
        _thread.interrupt_main()

    threading.Thread(target=interrupt, daemon=True).start()

    def hear(progress):
        if progress.best is not None:
            found.set()

    plan = schedule.solve(graph, "60%", order="fixed", time_limit=3600, progress=hear)
    assert plan.interrupted
    assert plan.status == "feasible"


@pytest.mark.parametrize("failures", [1, 2])
def test_where_highs_fails_it_is_asked_once_more_without_presolve(monkeypatch, failures):
    """A failure is no answer: not to the question, nor is a second one."""
    asked = []
    real = highs.Engine

    class Fails(Engine):
        def run(self):
            asked.append(self.question[1].get("presolve"))
            return None if len(asked) <= failures else real(*self.question).run()

    monkeypatch.setattr(highs, "Engine", Fails)
    if failures == 1:
        assert minimise(knapsack(), deadline=Deadline.after(60)).bound == pytest.approx(-11)
    else:
        with pytest.raises(ScheduleError, match="HiGHS failed"):
            minimise(knapsack(), deadline=Deadline.after(60))
    assert asked == [None, "off"]


def test_memory_that_runs_out_in_highs(monkeypatch, capfd):
    """The exception comes to who asked, and isn't printed by the thread."""

    class RunsOut(Engine):
        def run(self):
            raise MemoryError("no room")

    monkeypatch.setattr(highs, "Engine", RunsOut)
    with pytest.raises(MemoryError, match="no room"):
        minimise(knapsack(), deadline=Deadline.after(60))
    assert capfd.readouterr() == ("", "")


def test_a_program_that_highs_refuses(where):
    """An error of ours, and the next one is solved."""
    wrong = knapsack()
    wrong.columns[0] = 7
    with pytest.raises(ScheduleError, match="HiGHS refuses a model of 1 rows and 3 columns"):
        minimise(wrong, deadline=Deadline.after(60))
    assert minimise(knapsack(), deadline=Deadline.after(60)).bound == pytest.approx(-11)


@pytest.mark.parametrize(
    ("status", "error", "said"),
    [
        ("os.kill(os.getpid(), 9)", MemoryError, "process was killed"),
        ("os._exit(7)", ScheduleError, r"process ended \(7\): please report it"),
    ],
)
def test_a_process_that_ends(monkeypatch, tmp_path, status, error, said):
    """Killed, as the system does where memory runs out; or by a crash. The next one is new."""
    monkeypatch.setattr(highs, "_LARGE", -1)
    script = tmp_path / "ends.py"
    script.write_text(
        "import os, pickle, sys\n"
        "pickle.dump(('ready', None), sys.stdout.buffer)\n"
        "sys.stdout.flush()\n"
        f"pickle.load(sys.stdin.buffer)\n{status}\n"
    )
    with monkeypatch.context() as patch:
        patch.setattr(processes, "engine", SimpleNamespace(__file__=str(script)))
        with pytest.raises(error, match=said):
            minimise(knapsack(), deadline=Deadline.after(60))
    assert has_no_child()
    assert minimise(knapsack(), deadline=Deadline.after(60)).bound == pytest.approx(-11)


@pytest.mark.parametrize(
    "executable", [None, "", "/opt/app/embedding", "/nowhere/python3", "exits"]
)
def test_without_another_python_it_is_a_thread(monkeypatch, tmp_path, executable):
    """In an interpreter that is part of something else, and where nothing can be started."""
    if executable == "exits":
        script = tmp_path / "python"
        script.write_text("#!/bin/sh\nexit 1\n")
        script.chmod(0o755)
        executable = str(script)
    monkeypatch.setattr(highs, "_LARGE", -1)
    monkeypatch.setattr(sys, "executable", executable)
    for _ in range(2):
        assert minimise(knapsack(), deadline=Deadline.after(60)).bound == pytest.approx(-11)
    assert not processes._all


def test_eight_threads_at_once(where):
    """Each has its own answer; no more processes are kept than a few."""
    programs = [packing(40 + n, 80, 4) for n in range(8)]
    alone = [minimise(program, deadline=Deadline.after(HANGS)) for program in programs]
    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(lambda each: minimise(each, deadline=Deadline.after(HANGS)), programs * 2)
        )
    for answer, other in zip(found, alone * 2):
        assert (answer.bound, answer.work) == (other.bound, other.work)
        assert answer.x.tolist() == other.x.tolist()
    assert len(processes._all) == len(processes._idle) <= processes._most_idle


SETUP = """
    import atexit, os, sys, threading, time
    from schedule.solvers.contract import Deadline
    from schedule.solvers.exact import highs, processes
    from tests.solvers.exact.test_highs import knapsack, packing
    print("begun", flush=True)
    highs._LARGE = {large}
"""


def script(large, body):
    """A script's text."""
    return textwrap.dedent(SETUP).format(large=large) + textwrap.dedent(body)


def environment():
    """In which a script finds what this one has."""
    return os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def run(*args):
    """A Python process, to its end."""
    return subprocess.run(
        [sys.executable, *args],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=HANGS,
    )


@pytest.mark.parametrize("large", [-1, 10**9])
@pytest.mark.parametrize("delay", [0.1, 0.3, 0.5])
def test_an_interpreter_may_end_while_highs_is_busy(large, delay):
    """With status 0 and without a word, wherever HiGHS is at that moment."""
    body = f"""
        solve = lambda: highs.minimise(packing(), deadline=Deadline.after(3600))
        threading.Thread(target=solve, daemon=True).start()
        time.sleep({delay})
    """
    ended = run("-W", "error", "-c", script(large, body))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "begun\n", "")


@pytest.mark.parametrize("large", [-1, 10**9])
def test_an_interpreter_may_end_after_what_never_returned(large):
    """What was left behind is in C++ still, and stays there: it isn't waited for."""
    body = """
        class Deaf(highs.Engine):
            def stop(self):
                pass
        highs.Engine = Deaf
        found = highs.minimise(packing(), deadline=Deadline.after(3600).unless(ended.is_set))
        print(found.outcome.name)
    """
    body = "ended = threading.Event()\nthreading.Timer(0.3, ended.set).start()\n" + textwrap.dedent(
        body
    )
    ended = run("-W", "error", "-c", script(large, body))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "begun\nSTOPPED\n", "")


def test_an_interpreter_may_end_while_what_was_left_behind_comes_back():
    """HiGHS ends, deaf until then, while Python does: the status is Python's, not an abort's."""
    body = """
        ended = threading.Event()
        threading.Timer(0.1, ended.set).start()
        class Deaf(highs.Engine):
            def stop(self):
                pass
        class Slow:
            def __del__(self, sleep=time.sleep):
                sleep(3)
        highs.Engine, sys.slow = Deaf, Slow()
        found = highs.minimise(packing(), deadline=Deadline.after(1.5).unless(ended.is_set))
        print(found.outcome.name)
    """
    ended = run("-W", "error", "-c", script(10**9, body))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "begun\nSTOPPED\n", "")


def test_a_script_without_a_guard_is_not_run_again(tmp_path):
    """Another Python runs nothing of its caller's."""
    file = tmp_path / "plain.py"
    file.write_text(
        script(-1, "print(highs.minimise(knapsack(), deadline=Deadline.after(60)).bound)\n")
    )
    ended = run("-W", "error", str(file))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "begun\n-11.0\n", "")


needs_proc = pytest.mark.skipif(not os.path.exists("/proc/self/stat"), reason="no /proc")


@needs_proc
@pytest.mark.parametrize("busy", [True, False])
@pytest.mark.parametrize("held", [True, False])
def test_a_process_ends_with_the_one_that_started_it(busy, held):
    """Killed as it may be, at work or not, and where another child keeps the pipes open."""
    body = """
        ask = lambda each: highs.minimise(each, deadline=Deadline.after(3600))
        ask(knapsack())
        if {held} and not os.fork():
            time.sleep(60)
            os._exit(0)
        if {busy}:
            threading.Thread(target=ask, args=[packing()], daemon=True).start()
            while processes._idle:
                time.sleep(0.01)
        print(next(iter(processes._all))._process.pid, flush=True)
        time.sleep(600)
    """
    code = script(-1, textwrap.dedent(body).format(busy=busy, held=held))
    with subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", code],
        env=environment(),
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as parent:
        assert parent.stdout.readline() == "begun\n"
        child = int(parent.stdout.readline())
        assert not held or os.path.exists(f"/proc/{child}")
        parent.send_signal(signal.SIGKILL)
        assert is_gone(child)
        os.killpg(parent.pid, signal.SIGKILL)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
@pytest.mark.parametrize("large", [-1, 10**9])
def test_a_fork_that_ends_does_not_stop_what_its_parent_solves(large):
    """Though it ends as any interpreter does."""
    body = """
        answers = []
        solve = lambda: answers.append(highs.minimise(packing(), deadline=Deadline.after(2)))
        solving = threading.Thread(target=solve)
        solving.start()
        time.sleep(0.5)
        child = os.fork()
        if not child:
            sys.exit(5)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
        time.sleep(0.5)
        print(len(answers))
        solving.join()
        print(answers[0].x is not None)
    """
    ended = run("-W", "ignore", "-c", script(large, body))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "begun\n0\nTrue\n", "")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork")
def test_a_fork_of_the_caller_has_processes_of_its_own():
    """It doesn't use, nor end, those of its parent."""
    body = """
        ask = lambda: highs.minimise(knapsack(), deadline=Deadline.after(60)).bound
        print(ask(), flush=True)
        (kept,) = processes._idle
        child = os.fork()
        assert ask() == -11
        (mine,) = processes._idle
        if not child:
            assert mine is not kept
            processes.end_idle()
            os._exit(5)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 5
        assert mine is kept
        print(ask())
    """
    ended = run("-W", "ignore", "-c", script(-1, body))
    assert (ended.returncode, ended.stdout, ended.stderr) == (0, "begun\n-11.0\n-11.0\n", "")


@settings(max_examples=60)
@given(data=st.data())
def test_rows_that_presolve_dwells_on_have_two_limits_and_mean_the_same(data):
    """HiGHS passes over those; a limit that it is given excludes nothing that there could be."""
    rows, size = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 4))
    numbers = st.integers(-2, 3).map(float)
    lower = np.array([data.draw(st.sampled_from([0.0, 0.0, 1.0, -1.0])) for _ in range(size)])
    matrix = np.array([[data.draw(numbers) for _ in range(size)] for _ in range(rows)])
    row_lower = np.array(
        [data.draw(st.sampled_from([-np.inf, -np.inf, -5.0])) for _ in range(rows)]
    )
    row_upper = np.array([data.draw(st.sampled_from([-2.0, 0.0, 7.0])) for _ in range(rows)])
    program = Program(
        cost=np.ones(size),
        lower=lower,
        upper=lower + 2,
        integer=np.ones(size, dtype=bool),
        row_lower=row_lower,
        row_upper=row_upper,
        starts=np.arange(rows + 1) * size,
        columns=np.tile(np.arange(size), rows),
        values=matrix.ravel(),
    )
    asked = engine.Engine(tuple(getattr(program, each.name) for each in fields(program)), {}, None)
    asked._load()
    told = np.array(asked._solver.getLp().row_lower_)
    for k, row in enumerate(matrix):
        least = min(row @ np.array(x) for x in product(*((low, low + 1, low + 2) for low in lower)))
        is_capacity = row_lower[k] == -np.inf and row_upper[k] >= 0
        dwells = is_capacity and (row >= 0).all() and (lower >= 0).all()
        assert told[k] == row_lower[k] or (is_capacity and told[k] < least)
        assert not dwells or told[k] > -np.inf
