"""`compare`: what is compiled is ready before a solver's seconds begin."""

from __future__ import annotations

import threading

import schedule
from schedule.budgets.comparison import compare
from schedule.lowering import needed_in_order
from schedule.report import tables
from schedule.solvers.contract import Proof
from schedule.solvers.kit.loading import Loading, go_on
from tests.report.test_report import drawn

GRAPH = schedule.example("unet")


class Compiled:
    """A solver with a part that has to be compiled, and what it saw of that."""

    name, summary = "compiled", "waits for a compiler"

    def __init__(self, part, *, declares=True):
        self.part, self.was_ready = part, None
        if declares:
            self.compiled = (part,)

    def supports(self, graph):
        """Any."""
        return

    def improve(self, problem, incumbent, deadline):
        """The program as it is, once the part is there."""
        self.was_ready = self.part.is_ready
        if self.part.wait(incumbent, deadline):
            incumbent.offer(needed_in_order(problem.graph))
        return Proof()


def slow(seconds=0.1):
    """A part that a compiler is busy with for a while."""

    def load():
        go_on(compiles=True)
        threading.Event().wait(seconds)

    return Loading(load)


def test_solvers_say_what_they_use_of_what_is_compiled(monkeypatch):
    """All of it: else it would be compiled in their seconds."""
    schedule.warm()
    used, begin = set(), Loading.begin

    def record(part):
        used.add(part)
        return begin(part)

    monkeypatch.setattr(Loading, "begin", record)
    seen = {}
    for name, solver in schedule.SOLVERS.items():
        if solver.supports(GRAPH) is None:
            used.clear()
            schedule.solve(GRAPH, "70%", name, time_limit=0.5)
            seen[name] = set(used)
            assert used <= set(getattr(solver, "compiled", ())), name
    assert all(seen[name] for name in ("greedy", "search", "ilp", "intervals", "auto"))


def test_a_compiler_takes_none_of_a_solvers_seconds():
    """Those before its turn are the entry's, not the result's."""
    solver, notes = Compiled(slow()), []
    found = compare(GRAPH, "70%", [solver], progress=lambda news: notes.append(news.note))[0]
    assert solver.was_ready
    assert found.result.compiling == 0
    assert found.to_json()["compiling"] == found.compiling > 0
    assert notes[:2] == ["compiling, once on this machine", ""]
    again = compare(GRAPH, "70%", [solver])[0]
    assert "compiling" not in again.to_json()


def test_nothing_is_compiled_where_there_is_nothing_to_search():
    """The program fits as it is, or nothing can."""
    solver = Compiled(slow())
    for budget in ("100%", "1%"):
        assert compare(GRAPH, budget, [solver])[0].compiling == 0


def test_who_waits_for_a_compiler_isnt_said_not_to_fit():
    """A solver that doesn't say what it uses waits in its own seconds."""
    go = threading.Event()

    def load():
        go_on(compiles=True)
        go.wait()

    solver = Compiled(Loading(load), declares=False)
    found = compare(GRAPH, "70%", [solver], time_limit=0.3)
    go.set()
    assert found[0].to_json()["compiling"] == found[0].result.compiling > 0
    assert found[0].reason.startswith("nothing found yet: it waited 0.")
    shown = drawn(tables.comparison_table(found))
    assert "for a compiler" in shown
    assert "doesn't fit" not in shown


def test_a_part_behind_another_one_waits_for_the_compiler():
    """Though nothing of its own is compiled yet: one part is compiled at a time."""
    go = threading.Event()

    def load():
        go_on(compiles=True)
        go.wait()

    first, behind = Loading(load), Loading(lambda: None, rank=1)
    attempt = first.begin()
    while not attempt.compiles:
        attempt.done.wait(0.001)
    result = schedule.solve(GRAPH, "70%", Compiled(behind), time_limit=0.3)
    go.set()
    assert result.compiling > 0


def test_it_is_called_off_while_something_is_compiled():
    """The solver whose turn it was is the last."""
    go, asked = threading.Event(), []

    def load():
        go_on(compiles=True)
        go.wait()

    solvers = [Compiled(Loading(load)), "store_all"]
    found = compare(
        GRAPH,
        "70%",
        solvers,
        started=asked.append,
        cancel=lambda: bool(asked),
    )
    go.set()
    assert asked == ["compiled"]
    assert [entry.result.interrupted for entry in found] == [True]
