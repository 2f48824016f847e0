"""Compiled code is loaded beside the solve: nobody waits for it longer than there is time."""

from __future__ import annotations

import math
import threading
import time
from itertools import count
from types import SimpleNamespace

import pytest

import schedule
from schedule.solvers import contract
from schedule.solvers.annealing import SEQUENCES
from schedule.solvers.annealing.sections import SECTIONS
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.eviction import EVICTION
from schedule.solvers.eviction.retained import RETAINED
from schedule.solvers.kit import loading
from schedule.solvers.kit.loading import Loading
from tests.hanging import HANGS
from tests.judging import Hears

GRAPH = schedule.example("chain")


def wait(part, seconds, patience=math.inf, judge=None):
    """Whether it is ready for who has so many seconds."""
    return part.wait(Incumbent(Problem(GRAPH, 5), judge), Deadline.after(seconds), patience)


def test_the_time_limit_ends_the_wait_but_not_the_loading():
    """A later problem finds it ready, and it was loaded once."""
    go, loads = threading.Event(), []
    part = Loading(lambda: loads.append(go.wait(HANGS)))
    assert not wait(part, 0.1)
    go.set()
    assert wait(part, HANGS)
    assert wait(part, HANGS)
    assert loads == [True]


def test_patience_counts_from_the_first_wait(monkeypatch):
    """Who can go on without waits once, not every time: by a clock that counts looks at it."""
    go, looks = threading.Event(), count()
    monkeypatch.setattr(loading, "time", SimpleNamespace(monotonic=lambda: next(looks)))
    part = Loading(lambda: go.wait(HANGS) and None)
    assert not wait(part, HANGS, 5)
    before = next(looks)
    assert before > 5
    for _ in range(20):
        assert not wait(part, HANGS, 5)
    assert next(looks) == before + 20 + 1
    go.set()
    assert wait(part, HANGS)


def test_a_wait_for_the_compiler_is_announced():
    """There is a note while it lasts, and none afterwards; loading says nothing."""
    judge = Hears(GRAPH)
    assert wait(Loading(lambda: time.sleep(0.3)), 20, judge=judge)
    assert judge.notes == []

    def load():
        loading.go_on(compiles=True)
        time.sleep(0.3)

    part = Loading(load)
    assert wait(part, 20, judge=judge)
    assert len(judge.notes) == 2
    assert "compiling" in judge.notes[0]
    assert judge.notes[1] == ""
    assert wait(part, 20, judge=judge)
    assert len(judge.notes) == 2


def test_what_is_waited_for_is_counted_once():
    """By two threads at once it is the time from the first one's start to the last one's end."""
    incumbent, clock = Incumbent(Problem(GRAPH, 5)), count()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(contract, "time", SimpleNamespace(monotonic=lambda: next(clock)))
        assert incumbent.seconds_compiling == 0
        with incumbent.compiling():  # looks at the clock: 0
            with incumbent.by("another").compiling():
                assert incumbent.seconds_compiling == 1
            assert incumbent.seconds_compiling == 2
        assert incumbent.seconds_compiling == 3
        with incumbent.compiling():  # 4 to 5
            pass
        assert incumbent.seconds_compiling == 4


def test_what_helps_most_is_loaded_next():
    """Of those that wait; and one at a time."""
    go, loads = threading.Event(), []

    def part(rank):
        def load():
            loads.append(rank)
            assert go.wait(HANGS)
            loads.append(rank)

        return Loading(load, rank)

    parts = [part(rank) for rank in (3, 2, 0, 1)]
    attempts = [parts[0].begin()]
    while not loads:
        time.sleep(0.001)
    attempts += [each.begin() for each in parts[1:]]
    while len(loading._queue._waiting) < 3:
        time.sleep(0.001)
    assert not any(each.is_ready for each in parts)
    go.set()
    assert all(attempt.done.wait(HANGS) for attempt in attempts)
    assert loads == [3, 3, 0, 0, 1, 1, 2, 2]
    assert all(each.is_ready for each in parts)


def test_an_error_is_raised_by_who_waits():
    """It isn't final: who comes later tries again, and finds more memory, or the same error."""
    errors = [MemoryError("no room"), ZeroDivisionError("no compiler")]

    def load():
        if errors:
            raise errors.pop()

    part = Loading(load)
    with pytest.raises(ZeroDivisionError, match="no compiler"):
        wait(part, 20)
    with pytest.raises(MemoryError, match="no room"):
        wait(part, 20)
    assert wait(part, 20)


def test_all_that_is_compiled_is_loaded():
    """Solving compiles nothing that loading didn't: every function has one set of types."""
    import sys

    from numba.core.dispatcher import Dispatcher

    def compiled():
        return {
            f"{name}.{key}": len(value.signatures)
            for name, module in list(sys.modules.items())
            if name.startswith(("schedule.solvers.annealing", "schedule.solvers.eviction"))
            for key, value in vars(module).items()
            if isinstance(value, Dispatcher)
        }

    for part in (EVICTION, RETAINED, SEQUENCES, SECTIONS):
        assert wait(part, 600)
    before = compiled()
    assert sum(before.values()) >= 3
    for name in ("unet", "diamonds"):
        for order in ("free", "fixed"):
            for solver in ("greedy", "search"):
                graph = schedule.example(name)
                schedule.solve(graph, "70%", solver, order=order, time_limit=2)
    assert compiled() == before


LEAVING = """
import schedule
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.kit.loading import Loading, go_on

def load():
    try:
        while True:
            go_on()
            time.sleep(0.01)
    finally:
        time.sleep(0.3)  # the function that is being compiled
        print("compiled", flush=True)

import time
part = Loading(load)
incumbent = Incumbent(Problem(schedule.example("chain"), 5))
print(part.wait(incumbent, Deadline.after(60), 0.1), flush=True)
"""


def test_an_exit_waits_for_what_is_being_compiled_but_compiles_nothing_more():
    """LLVM that compiles while its library is unloaded crashes the process."""
    import subprocess
    import sys

    found = subprocess.run(
        [sys.executable, "-c", LEAVING], capture_output=True, text=True, timeout=60
    )
    assert (found.returncode, found.stdout, found.stderr) == (0, "False\ncompiled\n", "")
