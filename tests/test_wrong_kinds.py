"""Every public function says in the caller's terms what it was given in place of what."""

import math
import threading
from decimal import Decimal
from pathlib import Path

import networkx as nx
import numpy as np
import pytest

import schedule
from schedule.errors import BadBudget, BadGraph, BadInput, BadOption
from schedule.solvers.classics.knapsack import Knapsack
from schedule.solvers.classics.sqrt import Sqrt
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

GRAPH = schedule.example("chain", layers=4)
PLAN = schedule.solve(GRAPH, "80%")
#: What needs a graph first of all.
OF_A_GRAPH = {
    "solve": lambda graph: schedule.solve(graph),
    "sweep": lambda graph: schedule.sweep(graph),
    "compare": lambda graph: schedule.compare(graph, 100),
    "verify": lambda graph: schedule.verify(graph, PLAN),
    "verify_claims": lambda graph: schedule.verify_claims(graph, PLAN),
    "simulate": lambda graph: schedule.simulate(graph, PLAN),
    "diff": lambda graph: schedule.diff(graph, PLAN, PLAN),
    "replay": lambda graph: schedule.replay(graph, PLAN, {}, {}),
    "minimum_budget": lambda graph: schedule.minimum_budget(graph),
    "compute_bound": lambda graph: schedule.compute_bound(graph, 100),
    "memory_floor": lambda graph: schedule.memory_floor(graph),
    "reordering_floor": lambda graph: schedule.reordering_floor(graph),
    "parse_budget": lambda graph: schedule.parse_budget("80%", graph),
    "gradient": lambda graph: schedule.gradient(graph),
    "fuse": lambda graph: schedule.fuse(graph, []),
    "to_networkx": lambda graph: schedule.to_networkx(graph),
    "makespan_bound": lambda graph: schedule.makespan_bound(graph, 10, ()),
    "Schedule.of": lambda graph: schedule.Schedule.of(graph, ()),
    "read_sweep": lambda graph: schedule.read_sweep(graph, "no"),
    "write": lambda graph: schedule.write(graph, "never.json"),
    "write_report": lambda graph: schedule.write_report(graph, PLAN, "never.html"),
}


@pytest.mark.parametrize("name", OF_A_GRAPH)
def test_what_is_no_graph(name, tmp_path, monkeypatch):
    """Each kind with what makes a graph of it; nothing is written."""
    monkeypatch.chdir(tmp_path)
    for given, way in (
        (None, "None is no graph: give a schedule.Graph"),
        (PLAN, "is no graph: give a schedule.Graph"),
        ("graph.json", "'graph.json' is no graph: schedule.read reads a file"),
        (Path("graph.json"), "is no graph: schedule.read reads a file"),
        (schedule.GraphBuilder(), r"is no graph: a builder's build\(\) makes one"),
        (nx.DiGraph(), "is no graph: schedule.from_networkx makes one"),
        (schedule.Graph, "is no graph: that is a class"),
    ):
        with pytest.raises(BadGraph, match=way):
            OF_A_GRAPH[name](given)
    assert not list(tmp_path.iterdir())


class NoSupports:
    """A solver that says nothing of what it supports."""

    name, summary = "mine", "lacks something"

    def improve(self, problem, incumbent, deadline):
        raise AssertionError("it is asked")


@pytest.mark.parametrize(
    "call",
    [
        lambda solver: schedule.solve(GRAPH, "80%", solver),
        lambda solver: schedule.sweep(GRAPH, ["80%"], solver),
        lambda solver: schedule.compare(GRAPH, "80%", [solver]),
    ],
)
def test_what_is_no_solver(call):
    """A class, something that lacks a method, anything else."""
    for given, why in (
        (Sqrt, r"solver Sqrt is a class: give an object, Sqrt\(\)"),
        (NoSupports(), r"solver <.*NoSupports.*> is no solver: it has no supports\(graph\)"),
        (5, "solver 5 is no solver: it has no name"),
        (None, "solver None is no solver"),
        ("sprt", "unknown solver 'sprt'"),
    ):
        with pytest.raises(BadOption, match=why):
            call(given)


def test_budgets_are_the_same_everywhere():
    """What `solve` takes, `verify` takes; a fraction is none of them."""
    for budget in (PLAN.budget, "80%", "1GB"):
        assert schedule.verify(GRAPH, PLAN, budget).peak == PLAN.peak
    for call in (schedule.solve, lambda *given: schedule.verify(GRAPH, PLAN, given[1])):
        for budget in (0.8, True, [80], "80 percent", -1):
            with pytest.raises(BadBudget, match="budget"):
                call(GRAPH, budget)
    with pytest.raises(schedule.InvalidSchedule, match="more than the budget"):
        schedule.verify(GRAPH, PLAN, "20%")


def test_claims_are_a_results():
    """A schedule states nothing that could be false."""
    with pytest.raises(BadInput, match=r"a Schedule states no figures to check: schedule.verify"):
        schedule.verify_claims(GRAPH, PLAN.schedule)
    for wrong in (None, 5, "plan.json"):
        with pytest.raises(BadInput, match=r"is no Result; schedule\.read_schedule reads one"):
            schedule.verify_claims(GRAPH, wrong)


def test_what_is_true_and_how_long():
    """Text isn't True, and what comes before now is no time."""
    for recompute in ("no", 0, None):
        with pytest.raises(BadOption, match=r"recompute is .*; it has to be True or False"):
            schedule.minimum_budget(GRAPH, recompute=recompute)
    for limit in (-1, math.inf, math.nan, "5", True, None):
        with pytest.raises(BadOption, match=f"time_limit is {limit!r}; it has to be a number"):
            schedule.Summary.of(GRAPH, time_limit=limit)
    assert schedule.Summary.of(GRAPH, 0).limits == ()


def test_numbers_too_large_to_be_any():
    """They overrun what Python can convert."""
    with pytest.raises(BadOption, match=r"time_limit is an integer of .*; it has to be a number"):
        schedule.place(GRAPH, PLAN, time_limit=10**400)
    assert schedule.place(GRAPH, PLAN, time_limit=Decimal("5")).size == PLAN.peak
    with pytest.raises(BadOption, match=r"the bandwidth down is an integer of .* too large"):
        schedule.host(8, 10**400)


def test_bounds_on_the_makespan_take_what_solve_takes():
    """Budgets as text, and levels that aren't listed."""
    level = schedule.host(99, "0.5")
    found = schedule.makespan_bound(GRAPH, "50%", level)
    assert found == schedule.makespan_bound(GRAPH, schedule.parse_budget("50%", GRAPH), [level])
    for budget in (None, True, -1, 0.5):
        with pytest.raises(BadBudget, match="budget"):
            schedule.makespan_bound(GRAPH, budget, level)
    for levels in ("host", 5, [5]):
        with pytest.raises(BadOption, match="level"):
            schedule.makespan_bound(GRAPH, 10, levels)


def test_kernels_and_inputs_are_looked_up():
    """What isn't a mapping is refused before anything runs."""
    for kernels in (None, [len], 5):
        with pytest.raises(BadInput, match=r"kernels is .*; it has to be a mapping from nodes"):
            schedule.replay(GRAPH, PLAN, kernels, {})
    for inputs in (None, [1.0]):
        with pytest.raises(BadInput, match=r"inputs is .*; it has to be a mapping from names"):
            schedule.replay(GRAPH, PLAN, {}, inputs)


def test_lists_and_functions():
    """What has to be a list is no single one, and what is called is a function."""
    with pytest.raises(BadOption, match="solvers is 'sqrt'; it has to be a list of solvers"):
        schedule.compare(GRAPH, "80%", "sqrt")
    with pytest.raises(BadOption, match="progress is 5; it has to be a function, or None"):
        schedule.sweep(GRAPH, ["80%"], progress=5)
    with pytest.raises(BadOption, match=r"cancel is the class Event: give an object, Event\(\)"):
        schedule.solve(GRAPH, "80%", cancel=threading.Event)
    with pytest.raises(BadOption, match="executor is 5; it has to have submit"):
        schedule.sweep(GRAPH, ["80%"], executor=5)
    with pytest.raises(BadOption, match="started is 5; it has to be a function, or None"):
        schedule.compare(GRAPH, "80%", ["sqrt"], started=5)
    with pytest.raises(BadOption, match="resume is 'no'; it has to be True or False"):
        schedule.sweep(GRAPH, ["80%"], directory="never", resume="no")
    for steps in (5, None, PLAN, {schedule.Compute("f0")}):
        with pytest.raises(
            BadInput, match=r"steps is .*; it has to be a list of schedule\.Compute"
        ):
            schedule.Schedule.of(GRAPH, steps)
    for names, lower in ((None, [0]), (5, [0]), (np.array(3), [0]), (["a"], None)):
        with pytest.raises(BadGraph, match=r"names of buffers are|lower of 1 lifetimes"):
            schedule.Lifetimes(names, lower, [1], [1])
    with pytest.raises(BadInput, match="None is no path"):
        schedule.read_sweep(GRAPH, None)
    with pytest.raises(BadInput, match="5 is no path; give a file's name"):
        schedule.sweep(GRAPH, ["80%"], directory=5)
    with pytest.raises(BadInput, match="None is no path; give a file's name"):
        schedule.write_report(GRAPH, PLAN, None)
    for inputs in (5, {"x", "y"}, frozenset("x")):
        with pytest.raises(BadGraph, match=r"node 'a': inputs is .*; give a name, or several in"):
            schedule.GraphBuilder().node("a", inputs)
    with pytest.raises(BadGraph, match=r"outputs is {'f0'}; it has to be a list of tensors' names"):
        schedule.Graph(GRAPH.nodes, GRAPH.inputs, {"f0"})
    for nodes, inputs in ((None, ()), (5, ()), ((), "x"), (set(GRAPH.nodes), ())):
        with pytest.raises(BadGraph, match=r"the graph's (nodes|inputs) are .*; give a list"):
            schedule.Graph(nodes, inputs)
    builder = schedule.GraphBuilder()
    builder.node("b", [builder.node("a", memory=[5])])
    with pytest.raises(BadGraph, match=r"node 'b' reads a tuple; an input is .*, unpack them"):
        builder.build()
    builder = schedule.GraphBuilder()
    builder.node("a", memory="5")
    with pytest.raises(BadGraph, match="node 'a': memory of 'a' is '5'"):
        builder.build()


def test_an_array_in_place_of_a_word():
    """It equals the word part by part, which is neither true nor false."""
    several = np.array(["free", "fixed"])
    for wrong in (
        lambda: schedule.solve(GRAPH, "80%", order=several),
        lambda: schedule.place(GRAPH, PLAN.schedule, inputs=several),
        lambda: Knapsack(method=several),
    ):
        with pytest.raises(BadOption, match="array"):
            wrong()
