"""Many small solves in one process, as a compiler pass asks for them: nothing is left behind."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import schedule
from schedule import Graph, example, gradient
from schedule.solvers.exact.processes import end_idle

#: Graphs that are proved well within the time limit, each in another way.
DECIDED = {
    "closed form": lambda: example("chain", layers=40),
    "states": lambda: example("resnet", blocks=1, batch=256),
    "another order": lambda: example("layered", nodes=30, seed=4),
    "nothing fits": lambda: example("transformer", layers=1, batch=32),
    "programs": lambda: example("mlp", layers=25, batch=8192),
    "more programs": lambda: example("transformer", layers=3, batch=32),
}
#: Such as use up their time, with search beside the proof.
OPEN = {
    "a net": lambda: gradient(example("layered", nodes=36)),
    "layers": lambda: example("layered", nodes=100),
}


@pytest.fixture(scope="module", autouse=True)
def warm():
    """What loads compiled code is done."""
    schedule.warm()


def threads():
    """All that run now."""
    return set(threading.enumerate())


def ended(before):
    """Whether all threads end that weren't there before; one that has answered may be about to."""
    until = time.monotonic() + 5
    while threads() - before and time.monotonic() < until:
        time.sleep(0.001)
    return not threads() - before


def processes():
    """The processes that this one has started, where the system says so."""
    lists = Path("/proc/self/task").glob("*/children")
    return {number for each in lists for number in each.read_text().split()}


def graphs():
    """How many graphs are in memory."""
    gc.collect()
    return sum(issubclass(type(each), Graph) for each in gc.get_objects())


@pytest.mark.parametrize("name", DECIDED | OPEN)
def test_nothing_is_left_behind(name):
    """No thread, no process but for those kept, and nothing that holds on to the graph."""
    graph = (DECIDED | OPEN)[name]()
    threads_before, processes_before = threads(), processes()
    schedule.solve(graph, "60%", time_limit=1 if name in OPEN else 20, gap=0.01)
    assert ended(threads_before)
    # What is kept waits for the next large program: two at most, which can be ended.
    assert len(processes() - processes_before) <= 2
    end_idle()
    assert processes() <= processes_before
    before = graphs()
    del graph
    assert graphs() == before - 1


def answer(name):
    """All that a solve says, but for the seconds; with one worker, so that it has one answer."""
    plan = schedule.solve(DECIDED[name](), "60%", workers=1)
    said = {key: value for key, value in plan.to_json().items() if key != "seconds"}
    return said, None if plan.trace is None else plan.trace.codes.tolist()


def test_eight_threads_have_the_answers_of_one():
    """To the last step, whoever solves beside them."""
    alone = {name: answer(name) for name in DECIDED}
    before = threads()
    with ThreadPoolExecutor(8) as pool:
        names = list(DECIDED) * 2
        for name, beside in zip(names, pool.map(answer, names), strict=True):
            assert beside == alone[name], name
    assert ended(before)
