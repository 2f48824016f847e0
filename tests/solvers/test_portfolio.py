"""The table of `auto`: it leaves no question out, and the answer says whose it is."""

from __future__ import annotations

import math
import pickle
from dataclasses import dataclass, field, replace
from itertools import product
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import schedule
from schedule import GraphBuilder, Status, solve
from schedule.examples import EXAMPLES
from schedule.frontends.schedule_format import result_from_json
from schedule.lowering import in_order
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.greedy import Greedy
from schedule.solvers.ilp import Ilp
from schedule.solvers.portfolio import TABLE, Auto, Method, Question, _Race
from schedule.solvers.search import Search
from tests.formats import FILES_ARE_CHECKED
from tests.strategies import graphs

pytestmark = FILES_ARE_CHECKED

#: Numbers of nodes on both sides of everywhere that the table could change, and far beyond.
SIZES = sorted(
    {size + by for size in (0, 60, 200, 400, 1_000, 3_000, 30_000) for by in (0, 1)} | {10**6}
)
GAPS = (0.0, 0.005, 0.05, 0.5, float("inf"))
SECONDS = (0.5, 60.0)
QUESTIONS = [Question(*each) for each in product(SIZES, (1, 2, 8), GAPS, SECONDS)]
#: Methods of which others say that they have found something.
SPEAK = {"store_all", "revolve", "mixed", "sqrt", "reorder", "greedy"}


def asked(question, lane=None):
    """The lines of the table that apply."""
    return [method for method in TABLE if lane in (None, method.lane) and method.applies(question)]


def test_no_question_is_without_proof_or_search():
    """One method to the end of the proof where there are proofs; a start, and a search, always."""
    for question in QUESTIONS:
        solvers = [method.solver for method in asked(question)]
        whole = [method.solver for method in asked(question) if method.share == 1]
        parts = [each.until for each in whole if isinstance(each, Ilp)]
        assert parts.count("end") == (question.nodes <= 30_000), question
        assert parts.count("opening") == 1, question
        assert Greedy() in solvers, question
        assert any(isinstance(each, Search) for each in solvers), question


def test_small_graphs_are_annealed_for_half_of_the_time_before_proofs_go_on():
    """At most, and however far best and bound are: a search of states may yet decide them."""
    for question in QUESTIONS:
        if question.workers > 1 and question.nodes <= 400:
            lane = asked(question, "proof")
            searches = [each for each in lane if isinstance(each.solver, Search)]
            before_proofs = [each.share for each in searches if each.share < 1]
            assert before_proofs == ([0.5] if question.gap > 0.01 else [])


def test_whatever_ends_early_is_followed_by_what_does_not():
    """The last one has all the time that is left: in its lane, or in one after the first."""
    for question, lane in product(QUESTIONS, ("proof", "search")):
        assert all(method.share == 1 for method in asked(question, lane)[-1:]), question
    for question in QUESTIONS:
        first, *_, last = asked(question)
        assert first.lane != last.lane or last.share == 1, question
    assert all(0 < method.share <= 1 and method.least >= 0 for method in TABLE)
    assert all(method.purpose for method in TABLE)


def test_no_thread_idles_while_a_question_is_open():
    """Each lane ends with a search that begins anew for as long as there is time."""
    for question in QUESTIONS:
        lanes = ["search", "proof"] if question.workers > 1 else ["search"]
        if question.nodes <= 30_000:
            lasts = [asked(question, lane)[-1].solver for lane in lanes]
            assert all(isinstance(each, Search) and each.restarts for each in lasts)
        searches = [each.solver for each in asked(question) if isinstance(each.solver, Search)]
        assert not any(each.restarts for each in searches[: -len(lanes)])


def test_every_line_is_of_use():
    """Each applies to some question, and its solver to every graph."""
    for method in TABLE:
        assert any(method.applies(question) for question in QUESTIONS)
        assert all(method.solver.supports(schedule.example(name)) is None for name in EXAMPLES)


@dataclass
class Noted:
    """A solver of the table that notes how it is asked."""

    solver: Any
    notes: list[Any]
    number: int

    @property
    def name(self):
        return self.solver.name

    @property
    def summary(self):
        return self.solver.summary

    def supports(self, graph):
        return self.solver.supports(graph)

    def improve(self, problem, incumbent, deadline):
        self.notes.append((self.number, problem, incumbent.is_good_enough))
        return self.solver.improve(problem, incumbent, deadline)


def noted():
    """`auto` with its own table, and the list of what it asks."""
    notes = []
    table = tuple(
        replace(method, solver=Noted(method.solver, notes, at)) for at, method in enumerate(TABLE)
    )
    return Auto(table), notes


@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("name", EXAMPLES)
def test_methods_that_are_asked_stand_in_the_table_and_apply(name, workers):
    """In its order, none after the question is closed; it is one of them that has the answer."""
    graph, (auto, notes) = schedule.example(name), noted()
    plan = solve(graph, "70%", auto, time_limit=4, workers=workers)
    lanes = [TABLE[at].lane for at, *_ in notes]
    assert lanes == sorted(lanes, key=lambda lane: lane != "first")
    for lane in ("first", "proof", "search"):
        numbers = [at for at, *_ in notes if TABLE[at].lane == lane]
        assert numbers == sorted(set(numbers))
    for at, problem, is_good_enough in notes:
        assert problem.graph is graph
        assert workers > 1 or not is_good_enough
        assert any(TABLE[at].applies(Question(len(graph), workers, gap)) for gap in GAPS)
    names = {TABLE[at].solver.name for at, *_ in notes} | SPEAK
    assert {plan.found_by, plan.proved_by} - {None} <= names
    if plan.status is Status.OPTIMAL:
        assert plan.found_by is not None


@dataclass
class Says:
    """A solver that lets others speak."""

    says: Any
    name: str = "says"
    summary: str = ""
    problems: list[Any] = field(default_factory=list)

    def supports(self, graph):
        return None

    def improve(self, problem, incumbent, deadline):
        self.problems.append((problem, deadline))
        return self.says(incumbent) or Proof()


@pytest.mark.parametrize(
    ("workers", "proof", "search"),
    [(1, (1, 5), (1, 5)), (2, (1, 7), (1, 5)), (4, (1, 9), (3, 5))],
)
def test_lanes_share_the_threads_and_go_different_ways(workers, proof, search):
    """All together have as many as there may be; what runs side by side has two seeds."""
    graph = schedule.example("chain", layers=6)
    solvers = {lane: Says(lambda _: None, lane) for lane in ("proof", "search")}
    table = tuple(Method(lane, solvers[lane], lambda _: True, "") for lane in solvers)
    problem = Problem(graph, 5, seed=5, workers=workers)
    race = _Race(table, problem, Incumbent(problem), Deadline.after(20))
    for lane, expected in (("proof", proof), ("search", search)):
        race.run(lane)
        ((given_problem, _),) = solvers[lane].problems
        assert (given_problem.workers, given_problem.seed) == expected


def test_a_method_has_its_share_of_what_is_left():
    """But at least the least, and the last has all."""
    graph = schedule.example("chain", layers=6)
    solvers = [Says(lambda _: None) for _ in range(3)]
    table = (
        Method("proof", solvers[0], lambda _: True, "", share=0.1),
        Method("proof", solvers[1], lambda _: True, "", share=0.01, least=5),
        Method("proof", solvers[2], lambda _: True, ""),
    )
    problem = Problem(graph, 5)
    whole = Deadline.after(100)
    _Race(table, problem, Incumbent(problem), whole).run("proof")
    ends = [whole.end - solver.problems[0][1].end for solver in solvers]
    assert ends == pytest.approx([90, 95, 0], abs=2)


def test_a_lane_ends_with_the_question():
    """Nobody is asked after a proof that nothing fits."""
    solvers = [Says(lambda _: None), Says(lambda _: Proof(needed=7)), Says(lambda _: None)]
    table = tuple(Method("proof", solver, lambda _: True, "") for solver in solvers)
    problem = Problem(schedule.example("chain", layers=6), 5)
    proof = _Race(table, problem, Incumbent(problem), Deadline.after(20)).run("proof")
    assert proof.needed == 7
    assert [len(solver.problems) for solver in solvers] == [1, 1, 0]


# Whose the answer is


def too_wide():
    """A graph whose own order, in which two nodes run once, needs 9."""
    g = GraphBuilder("too wide")
    a = g.node("a", memory=4, recomputable=False)
    b = g.node("b", memory=4, recomputable=False)
    c = g.node("c", a, memory=1)
    g.node("d", [b, c], memory=1)
    return g.build()


def test_the_answer_names_who_found_and_who_proved():
    """The last that made it better; who only repeats what is known has no part in it."""
    graph = schedule.example("chain", layers=8)
    sqrt, least = (solve(graph, solver=name).trace for name in ("sqrt", "store_all"))
    best = solve(graph, sqrt.peak + 1).trace

    def say(incumbent):
        incumbent.by("one").offer(sqrt)
        incumbent.by("two").offer(best)
        incumbent.by("three").offer(best)
        incumbent.by("three").offer(sqrt)
        incumbent.by("four").offer(least)
        incumbent.by("five").prove(Proof(bound=graph.compute + 1))
        incumbent.by("six").prove(Proof(bound=graph.compute))

    plan = solve(graph, sqrt.peak + 1, Says(say))
    assert best.compute < sqrt.compute
    assert (plan.found_by, plan.proved_by) == ("two", "five")
    rows = dict(plan.rows())
    assert rows["compute"].endswith("%), by two")
    assert rows["bound"].endswith("%), by five")


def test_a_proof_that_nothing_fits_has_its_author_too():
    """It isn't the floor, which nobody had to prove."""
    plan = solve(too_wide(), 8, Says(lambda incumbent: Proof(needed=9, node="c")), order="fixed")
    assert (plan.status, plan.found_by, plan.proved_by) == (Status.INFEASIBLE, None, "says")
    plan = solve(too_wide(), 1, Says(lambda incumbent: None))
    assert (plan.status, plan.found_by, plan.proved_by) == (Status.INFEASIBLE, None, None)


def test_small_graphs_are_not_searched_for_what_programs_soon_disprove(monkeypatch):
    """Where nothing fits a long search finds nothing, and its seconds are the caller's."""
    searched, improve = [], Greedy.improve

    def spied(self, problem, incumbent, deadline):
        searched.append(self)
        return improve(self, problem, incumbent, deadline)

    graph = schedule.example("transformer", layers=1, batch=32)
    solve(graph, "60%")  # what is loaded for it
    monkeypatch.setattr(Greedy, "improve", spied)
    plan = solve(graph, "60%", time_limit=1.9)
    assert plan.status is Status.INFEASIBLE
    assert Greedy() not in searched


@pytest.mark.parametrize("gap", [0.0, 0.3, math.inf])
@pytest.mark.parametrize("name", ["chain", "mlp", "unet"])
def test_the_first_strategy_alone_is_not_good_enough(name, gap):
    """What takes next to no time is asked, too, however far from the bound one may be."""
    graph = schedule.example(name)
    plan = solve(graph, "100%", gap=gap)
    assert (plan.status, plan.overhead) == (Status.OPTIMAL, 0)
    if name != "mlp":  # there what takes little time finds nothing
        least, first = (solve(graph, "80%", each, gap=gap) for each in ("auto", "recompute_all"))
        assert least.compute < first.compute


def test_of_schedules_that_cost_nothing_more_the_shorter_one_counts():
    """Reruns of what is free are no worse, nor any better."""
    g = GraphBuilder("free reruns")
    last = g.node("a", memory=1, compute=0)
    for at in range(6):
        last = g.node(f"b{at}", last, memory=1, compute=1)
    g.node("loss", ["a", last], memory=1, compute=1, backward=True)
    graph = g.build()
    assert solve(graph, "100%").schedule == solve(graph, "100%", "store_all").schedule


def test_a_need_that_leaves_room_has_no_part_in_the_bound():
    """It says nothing of what is within the budget."""

    graph = GraphBuilder("two ways")
    a = graph.node("a", memory=8, compute=2)
    b = graph.node("b", a, memory=1, compute=3)
    graph.node("c", [a, b], memory=1, compute=1)
    for bound, author in ((None, None), (7, "one")):

        def say(incumbent, bound=bound):
            incumbent.by("one").prove(Proof(bound=bound))
            incumbent.by("two").prove(Proof(needed=11, node="c"))

        plan = solve(graph.build(), 12, Says(say))
        assert (plan.status, plan.proved_by) == (Status.UNKNOWN, author)
        assert plan.shortfall.needed == 11


@pytest.mark.parametrize("name", ["chain", "unet", "diamonds", "mlp"])
def test_credits_are_saved_and_shown(name, tmp_path):
    """The file and what is read from it have them; tables name who isn't who was asked."""
    graph = schedule.example(name)
    plan = solve(graph, "70%", time_limit=10)
    assert plan.found_by is not None
    plan.save(tmp_path / "plan.json.gz")
    again = schedule.read_schedule(tmp_path / "plan.json.gz")
    assert again == plan
    assert (again.found_by, again.proved_by) == (plan.found_by, plan.proved_by)
    data, rows = plan.to_json(), dict(plan.rows())
    assert data["found_by"] == plan.found_by
    assert data.get("proved_by") == plan.proved_by
    assert rows["compute"].endswith(f", by {plan.found_by}")
    assert rows["bound"].endswith(f", by {plan.proved_by}") == (plan.proved_by is not None)


def test_who_was_asked_needs_no_credit():
    """A solver's own schedule is its own in the file, too; a table doesn't repeat its name."""
    plan = solve(schedule.example("chain"), "70%", "revolve")
    assert (plan.found_by, plan.proved_by) == ("revolve", "revolve")
    assert ", by " not in "".join(value for _, value in plan.rows())


@pytest.mark.parametrize("key", ["found_by", "proved_by"])
def test_a_file_that_names_nobody_is_read(key, tmp_path):
    """Older ones do; a name that is none is refused."""
    plan = solve(schedule.example("chain"), "70%")
    data = plan.to_json()
    del data[key]
    assert getattr(result_from_json(data), key) is None
    with pytest.raises(schedule.BadInput, match=key):
        result_from_json(data | {key: 5})


# The exact method, asked in parts


class InParts:
    """`ilp`, asked for one part after the other."""

    name, summary = "ilp", ""

    def supports(self, graph):
        return None

    def improve(self, problem, incumbent, deadline):
        for until in ("opening", "opening", "first programs", "first programs", "end"):
            proof = Ilp(until=until).improve(problem, incumbent, deadline)
            incumbent.prove(proof)
        return proof


def check_parts(graph, budget, order):
    """The same schedule and the same bound."""
    whole = solve(graph, budget, "ilp", order=order, time_limit=60, workers=1)
    parts = solve(graph, budget, InParts(), order=order, time_limit=60, workers=1)
    assert (parts.status, parts.lower_bound) == (whole.status, whole.lower_bound)
    assert parts.schedule == whole.schedule
    assert parts.shortfall == whole.shortfall
    assert (parts.found_by, parts.proved_by) == (whole.found_by, whole.proved_by)


@pytest.mark.parametrize("order", ["free", "fixed"])
@settings(max_examples=40, suppress_health_check=[HealthCheck.too_slow])
@given(graph=graphs(min_nodes=1, max_nodes=12), share=st.integers(40, 100))
def test_parts_of_the_exact_method_are_the_whole(order, graph, share):
    """On small graphs, which it searches."""
    check_parts(graph, in_order(graph).peak * share // 100, order)


@pytest.mark.parametrize("order", ["free", "fixed"])
@pytest.mark.parametrize("share", [60, 80])
@pytest.mark.parametrize("name", ["mlp", "unet", "diamonds", "transformer"])
def test_parts_of_the_exact_method_are_the_whole_where_programs_decide(name, share, order):
    """On larger ones, where the programs go on where they stopped."""
    graph = schedule.example(name)
    check_parts(graph, in_order(graph).peak * share // 100, order)


def test_it_can_be_sent_to_another_process():
    """With the code that its lines wait for, which is what is loaded there."""
    auto = Auto()
    sent = pickle.loads(pickle.dumps(auto))
    assert sent == auto
    assert all(there.once is here.once for there, here in zip(sent.table, auto.table))
