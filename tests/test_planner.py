"""The front door: options, verdicts, interruptions, and what a result says."""

from __future__ import annotations

import json
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pytest

import schedule
from schedule import Compute, Graph, GraphBuilder, Status, solve
from schedule.errors import (
    BadGraph,
    BadOption,
    NotApplicable,
    ScheduleError,
    SolverBug,
    SolverFailed,
)
from schedule.lowering import free_early, in_order
from schedule.solvers import Proof
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED


def said(codes=None, **proved):
    """A schedule, if any, and what is proved with it."""
    return codes, Proof(**proved)


@dataclass
class Says:
    """A solver that says what it is told to, the last proof when it ends; or raises the last."""

    sayings: list[Any]
    name: str = "says"
    summary: str = "for tests"
    reason: str | None = None
    asked: list[Any] = field(default_factory=list)

    def supports(self, graph):
        return self.reason

    def improve(self, problem, incumbent, deadline):
        self.asked.append((problem, deadline))
        for saying in self.sayings:
            if not isinstance(saying, tuple):
                raise saying
            codes, proof = saying
            if codes is not None:
                incumbent.offer(codes)
            if saying is not self.sayings[-1]:
                incumbent.prove(proof)
        return proof


def two_ways():
    """A graph of cost 6 whose first node may run twice, and those two plans."""
    g = GraphBuilder("two ways")
    a = g.node("a", memory=8, compute=2)
    b = g.node("b", a, memory=1, compute=3)
    g.node("c", [a, b], memory=1, compute=1, backward=True)
    graph = g.build()
    return graph, free_early(graph, np.array([0, 1, 2])), free_early(graph, np.array([0, 1, 0, 2]))


@pytest.mark.parametrize(
    ("option", "value", "why"),
    [
        ("order", "any", "'free' or 'fixed'"),
        ("time_limit", 0, "number of seconds"),
        ("time_limit", -1.5, "number of seconds"),
        ("time_limit", float("nan"), "number of seconds"),
        ("time_limit", float("inf"), "number of seconds"),
        ("time_limit", "60", "number of seconds"),
        ("time_limit", True, "number of seconds"),
        ("seed", -1, "integer from 0"),
        ("seed", 1.0, "integer from 0"),
        ("seed", np.True_, "seed is True; it has to be an integer from 0"),
        ("gap", np.float32("nan"), "gap is nan; it has to be a number ≥ 0"),
        ("gap", np.array([0, 1]), "number ≥ 0"),
        ("time_limit", 10**400, "number of seconds"),
        ("workers", 0, "integer ≥ 1"),
        ("workers", np.float64(2), "workers is 2.0; it has to be an integer ≥ 1"),
        ("solver", "gurobi", "unknown solver 'gurobi'; there are store_all, "),
    ],
)
def test_wrong_options_are_refused(option, value, why):
    """Before anything is solved, with the value and what it has to be."""
    with pytest.raises(BadOption, match=why):
        solve(two_ways()[0], 100, **{option: value})


def test_options_of_numpys_types_are_plain_ones():
    """The solver and the result's file get Python's own numbers."""
    graph, plain, _ = two_ways()
    solver = Says([said(plain)])
    result = solve(
        graph,
        np.int64(100),
        solver,
        time_limit=np.float32(2.5),
        gap=np.float16(0.5),
        seed=np.uint8(7),
        workers=np.int32(3),
    )
    problem, deadline = solver.asked[0]
    found = (problem.budget, deadline.limit, problem.gap, problem.seed, problem.workers)
    assert found == (100, 2.5, 0.5, 7, 3)
    assert {type(value) for value in found} <= {int, float}
    assert json.loads(json.dumps(result.to_json()))["seed"] == 7


def test_a_solver_object_is_asked_with_what_was_given():
    """Budget in units, order, seed and workers reach it; it needn't be in the table."""
    graph, plain, _ = two_ways()
    solver = Says([said(plain)])
    plan = solve(graph, "100%", solver, order="fixed", seed=7, workers=3, time_limit=5)
    problem, deadline = solver.asked[0]
    assert (problem.budget, problem.order, problem.seed) == (10, "fixed", 7)
    assert (problem.workers, deadline.limit) == (3, 5)
    assert 0 < deadline.seconds_left <= 5
    assert plan.solver == "says"
    assert plan.status == "optimal"


def test_what_the_callers_callback_raises_is_raised_whichever_thread_it_was():
    """It raised in another thread, too, before the first exception had gotten here."""
    graph, plain, _ = two_ways()

    class Threads(Says):
        def improve(self, problem, incumbent, deadline):
            try:
                incumbent.offer(plain)
            finally:
                with suppress(ZeroDivisionError):
                    incumbent.say("from another thread")

    def fail(progress):
        raise ZeroDivisionError(progress.note)

    with pytest.raises(ZeroDivisionError, match=r"^$"):
        solve(graph, 100, Threads([]), progress=fail)


def test_a_solver_that_does_not_apply_says_why():
    """NotApplicable carries the solver's own reason."""
    with pytest.raises(NotApplicable, match="'says' doesn't handle graph 'two ways': too round"):
        solve(two_ways()[0], 100, Says([said()], reason="too round"))


@pytest.mark.parametrize(
    ("saying", "why"),
    [
        (lambda plain: said("abc"), "'says' proposed an invalid schedule: 'abc' is no schedule"),
        (lambda plain: said(plain[:2]), "output 'c' is not live"),
        (lambda plain: said(plain[1:]), "it reads 'a'"),
        (lambda plain: said(plain, bound=7), "claims the bound 7"),
        (lambda plain: said(plain, needed=11), "claims that 11 are needed"),
    ],
)
def test_a_false_saying_is_a_bug_and_loud(saying, why):
    """Nothing is taken on trust: an invalid plan or a contradicted proof raises."""
    graph, plain, _ = two_ways()
    with pytest.raises(SolverBug, match=why):
        solve(graph, 10, Says([said(plain), saying(plain)]))


def test_a_plan_that_breaks_the_fixed_order_is_a_bug():
    """First runs have to keep the graph's order where that was asked for."""
    g = GraphBuilder()
    g.node("a", memory=1)
    g.node("b", memory=1)
    graph = g.build()
    swapped = Says([said(free_early(graph, np.array([1, 0])))])
    assert solve(graph, 10, swapped).status == "optimal"
    with pytest.raises(SolverBug, match="another order"):
        solve(graph, 10, swapped, order="fixed")


class Old:
    """As solvers were before they improved an incumbent."""

    name, summary = "old", ""

    def supports(self, graph):
        return None

    def propose(self, problem):
        raise AssertionError


@pytest.mark.parametrize(
    ("solver", "why"),
    [
        (Old(), r"it has no improve\(problem, incumbent, deadline\); see schedule.solvers.Solver"),
        (5, "solver 5 is no solver: it has no name and no supports"),
        (None, "solver None is no solver"),
        (schedule.SOLVERS, "is no solver"),
    ],
)
def test_an_object_that_is_no_solver_is_refused(solver, why):
    """Before anything is solved, with what it lacks."""
    with pytest.raises(BadOption, match=why):
        solve(two_ways()[0], 100, solver)


def test_the_best_offer_wins_whatever_came_last():
    """A worse plan, or one that doesn't fit, takes nothing away."""
    graph, plain, again = two_ways()
    for offers in ([plain, again], [again, plain]):
        plan = solve(graph, 10, Says([said(codes) for codes in offers]))
        assert plan.compute == 6


def test_what_does_not_fit_is_unknown_with_the_peak_it_reaches():
    """No claim beyond the replayed peak."""
    graph, plain, _ = two_ways()
    plan = solve(graph, 9, Says([said(plain)]))
    assert plan.status in ("unknown", "infeasible")
    graph, _ = too_wide()
    plan = solve(graph, 8, "store_all")
    assert plan.status == "unknown"
    assert plan.shortfall.least_peak == in_order(graph).peak == 9
    assert "the least peak reached is 9" in plan.shortfall.reason


def test_progress_tells_of_every_improvement():
    """The callback sees the best fall and the bound rise, within the time limit."""
    graph, plain, again = two_ways()
    seen = []
    offers = [said(again), said(bound=5.0), said(again), said(plain, bound=6)]
    solve(graph, 10, Says(offers), progress=seen.append, time_limit=9)
    assert [(one.best, one.bound) for one in seen] == [(8, 6), (6, 6)]
    assert all(one.solver == "says" and one.time_limit == 9 for one in seen)
    assert [one.seconds for one in seen] == sorted(one.seconds for one in seen)


def test_an_error_loses_nothing_that_was_found():
    """The best is returned, verified, and the error is told of, whatever it is."""
    graph, _, again = two_ways()
    plan = solve(graph, 10, Says([said(again, bound=7.0), MemoryError()]))
    assert (plan.out_of_memory, plan.compute, plan.lower_bound) == (True, 8, 7)
    for error in (ZeroDivisionError("a bug"), ScheduleError("HiGHS refuses")):
        with pytest.warns(SolverFailed, match=rf"'says' failed \({type(error).__name__}") as told:
            plan = solve(graph, 10, Says([said(again, bound=7.0), error]))
        assert [one.message.__cause__ for one in told] == [error]
        assert (plan.status, plan.compute, plan.lower_bound) == ("feasible", 8, 7)
        assert not plan.interrupted


def test_what_is_no_proof_is_told_of():
    """In the terms of who wrote the solver; what it had offered is returned."""
    graph, _, again = two_ways()
    with pytest.warns(SolverFailed, match=r"improve of solver 'says' returned None; .* Proof\(\)"):
        assert solve(graph, 10, Says([(again, None)])).compute == 8
    with pytest.raises(TypeError, match=r"returned 7; it has to return a schedule.solvers.Proof"):
        solve(graph, 10, Says([(None, 7)]))


@pytest.mark.parametrize(
    ("proved", "why"),
    [
        ({"bound": float("nan")}, "bound of a Proof is nan; it has to be a finite number"),
        ({"bound": "3"}, "bound of a Proof is '3'"),
        ({"needed": True}, "needed of a Proof is True; it has to be an integer"),
        ({"needed": 9.5}, r"needed of a Proof is 9\.5"),
        ({"runs": "many"}, "runs of a Proof is 'many'"),
        ({"node": 3}, "node of a Proof is 3; it has to be a node's name"),
    ],
)
def test_a_proof_states_figures(proved, why):
    """In the terms of who wrote the solver, before anything is made of it."""
    with pytest.raises(TypeError, match=why):
        Proof(**proved)


def test_figures_of_numpys_can_be_written():
    """What a solver counts with NumPy, a file has as JSON's own."""
    graph = too_wide()[0]
    plan = solve(graph, 8, Says([said(needed=np.int64(9), node="c")]), order="fixed")
    assert json.loads(json.dumps(plan.to_json()))["shortfall"]["needed"] == 9
    found = [Proof(bound=each).bound for each in (np.int64(3), np.float32(2.5), np.float64(3))]
    assert found == [3, 2.5, 3]
    assert {type(each) for each in found} <= {int, float}


def test_what_is_offered_is_a_schedule():
    """Anything that stands for one elsewhere, or it is said what was offered."""
    graph, plain, _ = two_ways()
    assert solve(graph, 10, Says([said(solve(graph, 10))])).compute == 6
    for offered in ("plan.json", 5, np.array(3), plain.tolist()):
        with pytest.raises(SolverBug, match=r"'says' proposed an invalid schedule: .* is"):
            solve(graph, 10, Says([said(offered)]))


def test_names_of_solvers_are_those_that_files_can_have():
    """What is written is read again; refused before anything is solved, and by whoever offers."""
    graph, plain, _ = two_ways()
    for name, why in (("", "is empty"), ("x" * 1001, "has 1001 characters"), ("\ud800", "half a")):
        with pytest.raises(BadOption, match=f"can't be called so: its name .*{why}"):
            solve(graph, 10, Says([said(plain)], name=name))

        class Credits(Says):
            def improve(self, problem, incumbent, deadline, name=name):
                incumbent.by(name).offer(plain)

        with pytest.raises(BadGraph, match=f"a solver's name .*{why}"):
            solve(graph, 10, Credits([]))


def too_wide():
    """A graph whose own order, in which two nodes run once, needs 9; and that plan."""
    g = GraphBuilder("too wide")
    a = g.node("a", memory=4, recomputable=False)
    b = g.node("b", memory=4, recomputable=False)
    c = g.node("c", a, memory=1)
    g.node("d", [b, c], memory=1)
    graph = g.build()
    return graph, in_order(graph).codes


def times_four(graph, workspace=0):
    """The graph with four times the memory, and a workspace for its last node."""
    nodes = [
        replace(node, outputs=tuple(replace(out, memory=4 * out.memory) for out in node.outputs))
        for node in graph.nodes
    ]
    return Graph([*nodes[:-1], replace(nodes[-1], workspace=workspace)])


@pytest.mark.parametrize(("workspace", "needed"), [(0, 36), (2, 34), (3, 33)])
def test_what_is_needed_is_rounded_up_to_what_schedules_can_take(workspace, needed):
    """All peaks are multiples of what divides every size, workspaces, too."""
    graph = times_four(too_wide()[0], workspace)
    plan = solve(graph, 32, Says([said(needed=33, node="c")]), order="fixed")
    assert (plan.status, plan.shortfall.needed) == ("infeasible", needed)


@pytest.mark.parametrize(("workspace", "asked"), [(0, 36), (2, 38), (3, 39)])
def test_solvers_are_asked_for_the_largest_peak_within_the_budget(workspace, asked):
    """None lies between, so the answer is the same; the result names the budget that was given."""
    graph = times_four(too_wide()[0], workspace)
    solver = Says([said(in_order(graph).codes)])
    plan = solve(graph, 39, solver)
    assert (solver.asked[0][0].budget, plan.budget) == (asked, 39)
    assert plan.schedule is not None


def test_what_was_verified_stays_as_it_was():
    """A solver may use its array again; nobody writes into the best that is known."""
    graph, _, again = two_ways()

    class Reuses(Says):
        def improve(self, problem, incumbent, deadline):
            codes = again.copy()
            incumbent.offer(codes)
            codes[:] = codes[::-1]
            with pytest.raises(ValueError, match="read-only"):
                incumbent.trace.codes[0] = 1
            return Proof()

    plan = solve(graph, 10, Reuses([]))
    assert schedule.verify(graph, plan.steps, 10).codes.tolist() == again.tolist()


def test_an_error_loses_no_proof():
    """That nothing fits is an answer, too."""
    graph, _ = too_wide()
    proved = said(needed=9, node="c")
    with pytest.warns(SolverFailed, match="a bug"):
        plan = solve(graph, 8, Says([proved, ZeroDivisionError("a bug")]), order="fixed")
    assert plan.status == "infeasible"
    plan = solve(graph, 8, Says([proved, MemoryError("no room")]), order="fixed")
    assert (plan.status, plan.out_of_memory) == ("infeasible", True)


def test_an_error_with_nothing_found_is_raised():
    """What doesn't fit the budget is nothing, and nor is a bound."""
    graph, plain = too_wide()
    for found in ([], [said(plain)], [said(bound=5.0)]):
        with pytest.raises(ZeroDivisionError, match="a bug"):
            solve(graph, 8, Says([*found, ZeroDivisionError("a bug")]))


def test_an_error_of_the_callback_is_the_callers():
    """It is how a caller ends a solve: it isn't taken for the solver's."""
    graph, plain, again = two_ways()

    def enough(progress):
        raise StopIteration("enough")

    with pytest.raises(StopIteration, match="enough"):
        solve(graph, 10, Says([said(again), said(plain)]), progress=enough)


def test_an_interrupt_returns_the_best_so_far():
    """Ctrl-C in the middle of a solve is no loss."""
    graph, _, again = two_ways()
    plan = solve(graph, 10, Says([said(again), KeyboardInterrupt]))
    assert plan.interrupted
    assert plan.status == "feasible"
    assert plan.compute == 8
    assert "interrupted" in str(plan)
    nothing = solve(graph, 10, Says([KeyboardInterrupt]))
    assert nothing.interrupted
    assert nothing.status == "unknown"


def test_a_result_says_it_in_a_line_in_a_table_and_in_json(tmp_path):
    """One readable line, rows, HTML, and the contract's keys."""
    graph = schedule.example("unet")
    plan = solve(graph, "70%")
    line = str(plan)
    assert "\n" not in line
    for part in ("optimal: peak", " of ", "% compute (bound ", "checkpoints, auto, ", " s"):
        assert part in line
    rows = dict(plan.rows())
    assert rows["compute"].split("(")[1].split(")")[0] in line, "the same figure in both"
    for seconds, said in ((240.2, " 240 s"), (1.24, " 1.2 s"), (3e-5, " 0.001 s")):
        assert str(replace(plan, seconds=seconds)).endswith(said)
    assert {"status", "solver", "budget", "peak", "compute", "bound", "gap", "steps"} <= set(rows)
    assert all(re.search(f"<th [^>]*>{key}</th>", plan._repr_html_()) for key in rows)
    data = json.loads(json.dumps(plan.to_json()))
    assert data["format"] == "schedule/1"
    assert data["graph"] == {
        "name": "unet",
        "sha256": graph.digest,
        "compute": graph.compute,
    }
    assert {"solver", "status", "budget", "peak", "compute", "overhead"} <= set(data)
    assert {"lower_bound", "seconds", "seed", "checkpoints", "steps"} <= set(data)
    assert "order" not in data
    assert solve(graph, "70%", "store_all", order="fixed").to_json()["order"] == "fixed"
    plan.save(tmp_path / "plan.json.gz")
    assert schedule.read_schedule(tmp_path / "plan.json.gz") == plan


def test_a_result_without_a_schedule_says_why_and_is_not_saved(tmp_path):
    """There are no steps to write or to read."""
    plan = solve(schedule.example("unet"), "10%")
    assert plan.status is Status.INFEASIBLE
    assert plan.shortfall.node == "d_join0a"
    assert "needed (node 'd_join0a')" in str(plan)
    assert (plan.gap, plan.bound_overhead) == (None, None)
    with pytest.raises(ScheduleError, match="there is no schedule"):
        _ = plan.steps
    with pytest.raises(ScheduleError, match="there is no schedule"):
        plan.save(tmp_path / "plan.json")
    assert not list(tmp_path.iterdir())


def test_gap_is_the_distance_of_the_overheads():
    """0.01 is one percentage point."""
    graph, _, again = two_ways()
    plan = solve(graph, 10, Says([said(again)]))
    assert plan.overhead == pytest.approx(8 / 6 - 1)
    assert plan.gap == pytest.approx(2 / 6)
    runs = [step for step in plan.steps if isinstance(step, Compute)]
    assert dict(plan.rows())["recomputed"].startswith(str(len(runs) - len(graph)))


def test_a_printed_answer_says_its_reason_first_and_ends():
    """Who was asked, and for how long, is no part of it."""
    plan = solve(schedule.example("unet"), "10%")
    assert str(plan).startswith(f"infeasible: {plan.shortfall.reason} (auto, ")


def test_a_replay_is_printed_in_a_line():
    """Its figures, not its arrays."""
    graph = schedule.example("unet")
    plan = solve(graph, "70%", "sqrt")
    told = str(schedule.verify(graph, plan))
    runs = plan.schedule.reruns
    assert told.startswith("unet: peak ")
    assert told.endswith(f", {runs} runs beyond the first, 8 checkpoints, {len(plan.steps)} steps")
