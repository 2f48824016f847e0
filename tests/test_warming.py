"""`warm`: everything that is compiled, before anybody solves."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

import schedule
from schedule import warming
from schedule.solvers import eviction, greedy, portfolio
from schedule.solvers.kit.loading import Loading, go_on


def test_it_has_all_parts_ready():
    """Those of every package of solvers; the second time there is nothing left to do."""
    warmed = schedule.warm()
    names = [part.name for part in warmed.parts]
    assert names == [
        "eviction",
        "annealing",
        "annealing.sections",
        "eviction.retained",
        "exhaustive.astar",
        "offloading.annealing",
        "exact.corridor",
        "offloading.exhaustive",
        "arena",
        "arena.ejections",
        "arena.searches",
    ]
    assert all(part.is_ready for part in warming.parts().values())
    assert warmed.folders
    assert all(Path(os.environ["NUMBA_CACHE_DIR"]) in folder.parents for folder in warmed.folders)
    again = schedule.warm()
    assert not any(part.was_compiled for part in again.parts)
    assert again.folders == warmed.folders


_COMPILED_LATER = """
import gc
import schedule
from numba.core.registry import CPUDispatcher

def compiled():
    made = {each for each in gc.get_objects() if type(each) is CPUDispatcher}
    ours = {each for each in made if each.py_func.__module__.startswith("schedule.")}
    return {f"{e.py_func.__module__}.{e.py_func.__name__}": len(e.signatures) for e in ours}

schedule.warm()
warm = compiled()
print(sorted(name for name, signatures in warm.items() if not signatures))
unet = schedule.example("unet")
for order in "fixed", "free":
    schedule.solve(unet, "60%", order=order, time_limit=1, workers=1)
    schedule.solve(unet, "60%", "search", order=order, time_limit=0.5, workers=1)
plan = schedule.solve(unet, "60%", "greedy", addresses=True, time_limit=1)
schedule.place(unet, plan.schedule, time_limit=1)
later = compiled()
print(sorted(name for name in later if later[name] != warm.get(name)))
"""


def test_it_leaves_nothing_to_compile():
    """Every function with code of its own has some, and solves ask for none of other types."""
    command = [sys.executable, "-c", _COMPILED_LATER]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines() == ["[]", "[]"]


def test_it_says_what_was_compiled(monkeypatch):
    """And not what was found in the cache."""
    made = {
        "compiled": Loading(lambda: go_on(compiles=True), 0),
        "loaded": Loading(lambda: go_on(), 1),
    }
    monkeypatch.setattr(warming, "parts", lambda: made)
    found = schedule.warm()
    assert [(part.name, part.was_compiled) for part in found.parts] == [
        ("compiled", True),
        ("loaded", False),
    ]
    assert found.seconds == sum(part.seconds for part in found.parts)
    assert str(found).startswith("2 parts ready, 1 compiled, ")
    assert "\n" not in str(found)


def test_an_error_of_the_compiler_is_raised(monkeypatch):
    """As it is: it may be memory."""

    def fail():
        raise MemoryError("no room")

    monkeypatch.setattr(warming, "parts", lambda: {"part": Loading(fail)})
    with pytest.raises(MemoryError, match="no room"):
        schedule.warm()


def test_the_command_says_how_long_and_where():
    """For people, and as JSON."""
    command = [sys.executable, "-m", "schedule", "warm"]
    shown = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    told = subprocess.run([*command, "--json"], capture_output=True, text=True, check=True).stdout
    found = json.loads(told)
    assert set(found) == {"seconds", "parts", "folders"}
    for part in found["parts"]:
        assert part["name"] in shown
    assert f"kept in {os.path.commonpath(found['folders'])}" in " ".join(shown.split())


@pytest.fixture
def never_compiled(monkeypatch):
    """A compiler that doesn't come to its end within the test."""
    go = threading.Event()

    def load():
        go_on(compiles=True)
        go.wait()

    part = Loading(load)
    for module in (eviction, portfolio, greedy):
        monkeypatch.setattr(module, "EVICTION", part)
    yield portfolio.Auto(
        tuple(
            replace(each, meanwhile=each.meanwhile and part, once=each.once and part)
            for each in portfolio.TABLE
        )
    )
    go.set()
    while not part.is_ready:
        time.sleep(0.001)


def test_auto_has_an_answer_without_a_compiler(never_compiled):
    """The one of what needs none; and it says what it waited for."""
    graph = schedule.example("unet")
    plan = schedule.solve(graph, "60%", never_compiled, time_limit=3, workers=1, seed=0)
    dtr = schedule.solve(graph, "60%", "dtr")
    assert plan.compute <= dtr.compute
    assert schedule.verify(graph, plan.schedule).peak <= plan.budget


def of_two_lines(auto):
    """`auto` with the line for while greedy is compiled, and the one for once it is."""
    return replace(auto, table=tuple(each for each in auto.table if each.meanwhile or each.once))


def test_dtr_is_asked_while_greedy_is_compiled(never_compiled):
    """By that line of the table alone: what comes before the programs waits for no compiler."""
    graph = schedule.example("unet")
    plan = schedule.solve(graph, "60%", of_two_lines(never_compiled), time_limit=20)
    assert plan.found_by == "dtr"
    assert plan.compute == schedule.solve(graph, "60%", "dtr").compute


def test_greedy_is_asked_once_it_is_ready():
    """It has a better schedule as soon."""
    schedule.warm()
    plan = schedule.solve(schedule.example("unet"), "60%", of_two_lines(portfolio.Auto()))
    assert plan.found_by == "greedy"


def test_a_wait_for_the_compiler_is_in_the_result(never_compiled):
    """In the file, too; a result that waited for nothing doesn't speak of it."""
    graph = schedule.example("unet")
    plan = schedule.solve(graph, "60%", "greedy", time_limit=0.5)
    assert plan.status == "unknown"
    assert 0.2 < plan.compiling <= plan.seconds
    assert plan.to_json()["compiling"] == plan.compiling
    assert "compiling" not in schedule.solve(graph, "60%", "dtr").to_json()
