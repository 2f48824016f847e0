"""The staged integer program: literature values, and what its parts promise."""

from __future__ import annotations

import random
import threading
from math import comb

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from schedule import Graph, Node, Tensor, example, memory_floor, solve, verify
from schedule.lowering import free_early, in_order
from schedule.memory import keeps_order, simulate
from schedule.solvers.contract import Clock, Deadline, Incumbent, Problem, Proof
from schedule.solvers.exact import refinement
from schedule.solvers.exact.highs import Answer, Outcome, minimise
from schedule.solvers.exact.model import StagedModel, fixed_windows, free_windows
from schedule.solvers.exact.refinement import Refinement, RefinementSettings
from schedule.solvers.exact.staged_runs import lay_out
from schedule.solvers.exact.starting import start_of
from schedule.solvers.exhaustive import states
from schedule.solvers.greedy import Greedy
from schedule.solvers.ilp import Ilp, IlpSettings, _Progress
from schedule.solvers.program.contraction import contract, heaviest_path
from tests.enough import enough, reached
from tests.hanging import ends
from tests.oracles import least_compute
from tests.strategies import graphs, runs, tight, training_chains

SMALL = graphs(
    min_nodes=3, max_nodes=6, max_inputs=2, sizes=st.integers(0, 6), costs=st.integers(0, 5)
)


def training_chain(length: int, first: int = 1) -> Graph:
    """2·length + 1 unit nodes; node 2·length − i reads node i and the one before it.

    With another cost of the first node no closed form applies.
    """
    nodes = [Node("0", (), (Tensor("0", 1),), first)]
    for i in range(1, 2 * length + 1):
        reads = [str(i - 1)]
        if i > length and str(2 * length - i) not in reads:
            reads.append(str(2 * length - i))
        nodes.append(Node(str(i), tuple(reads), (Tensor(str(i), 1),), 1, backward=i > length))
    return Graph(nodes, name=f"chain-{length}")


def revolve(steps: int, checkpoints: int) -> int:
    """Least extra forward steps (Griewank & Walther 2000, doi:10.1145/347837.347846)."""
    if steps == 1:
        return 0
    repeats = next(r for r in range(steps) if comb(checkpoints + r, checkpoints) >= steps)
    return repeats * steps - comb(checkpoints + repeats, checkpoints + 1)


def skips(depth: int, width: int = 7) -> Graph:
    """A training graph with long skip connections, uneven sizes and costs."""
    nodes = [Node("f0", (), (Tensor("f0", 50),), 10)]
    for i in range(1, depth):
        reads = (f"f{i - 1}",) if i % 3 else (f"f{i - 1}", f"f{max(0, i - width)}")
        reads = tuple(dict.fromkeys(reads))
        nodes.append(Node(f"f{i}", reads, (Tensor(f"f{i}", 40 + 13 * (i % 5)),), 5 + 7 * (i % 4)))
    last = f"f{depth - 1}"
    for i in reversed(range(depth)):
        reads = tuple(dict.fromkeys((last, f"f{i}")))
        nodes.append(Node(f"b{i}", reads, (Tensor(f"b{i}", 45),), 20 + i % 3, backward=True))
        last = f"b{i}"
    return Graph(nodes, name="skips")


def by_programs(graph: Graph, budget: int, order: str) -> tuple[Incumbent, Proof]:
    """The best found and what is proved by the integer programs alone.

    `ilp` itself decides small graphs and uniform chains without them.
    """
    problem = Problem(graph, budget, order)
    incumbent = Incumbent(problem)
    incumbent.offer(in_order(graph))
    return incumbent, Refinement(problem, order, incumbent).run(Deadline.after(120))


@pytest.mark.parametrize("length", range(1, 13))
def test_integer_programs_alone_take_what_revolve_takes_on_chains(length):
    """The closed form again, found and proved without knowing it."""
    graph = training_chain(length)
    for budget in range(3, length + 2):
        best, proof = by_programs(graph, budget, "fixed")
        assert best.compute == proof.bound == (length + 1) + revolve(length + 1, budget - 2)


@pytest.mark.parametrize("order", ["free", "fixed"])
@enough(0.02)
@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
@given(tight(st.one_of(SMALL, training_chains())))
def test_integer_programs_alone_prove_nothing_false(order, case):
    """Bounds and needs hold against exhaustive search, on graphs that `ilp` searches instead."""
    graph, budget = case
    assume(graph.layout.needed.all())
    truth = least_compute(graph, budget, order)
    best, proof = by_programs(graph, budget, order)
    assert truth is None or proof.needed is None
    if truth is not None:
        reached()
        assert (proof.bound or 0) <= truth + 1e-9 * graph.compute
        assert best.compute >= truth


def test_no_worse_than_greedy_in_little_work():
    """Where programs lay nothing out that fits in that work, there is what evictions find."""
    graph = example("layered", nodes=60, seed=1)
    greedy = solve(graph, "60%", "greedy", order="fixed")
    plan = solve(graph, "60%", "ilp", order="fixed", work_limit=0.5)
    assert plan.compute <= greedy.compute


def test_a_far_incumbent_holds_nothing_up():
    """On a graph that is proved without it: one that runs everything three times is no end."""
    graph = example("layered", nodes=120, seed=2)
    problem = Problem(graph, int(0.6 * in_order(graph).peak))
    incumbent = Incumbent(problem)
    Greedy().improve(problem, incumbent, Deadline.after(60))
    assert incumbent.compute > 2 * graph.compute
    deadline = Deadline.after(1, Clock(counts_work=True))
    proof = Ilp().improve(problem, incumbent, deadline)
    assert incumbent.compute == proof.bound < 1.1 * graph.compute


def too_small() -> Problem:
    """One that is neither searched exhaustively nor known in closed form."""
    graph = skips(40)
    return Problem(graph, memory_floor(graph).memory + 1, "fixed")


def test_what_was_proved_too_small_stays_so():
    """Asked again, the parts of the method say so again, and at once."""
    problem, asked = too_small(), Deadline.after(60)
    incumbent = Incumbent(problem)
    first = Ilp(until="first programs").improve(problem, incumbent, asked)
    assert first.needed > problem.budget
    for until in ("first programs", "end"):
        assert Ilp(until=until).improve(problem, incumbent, asked) == first


def test_other_settings_begin_anew(monkeypatch):
    """What one left unfinished isn't for one that is asked to do it otherwise."""
    problem, incumbent, made = too_small(), Incumbent(too_small()), []
    init = Refinement.__init__

    def noted(self, problem, order, incumbent, searcher, settings):
        made.append(settings.ordered)
        init(self, problem, order, incumbent, searcher, settings)

    monkeypatch.setattr(Refinement, "__init__", noted)
    for ordered in (14, 0, 14):
        few = IlpSettings(refinement=RefinementSettings(ordered=ordered))
        Ilp(until="first programs", settings=few).improve(problem, incumbent, Deadline.after(60))
    assert made == [14, 0]


def test_whether_it_searches_is_asked_each_time(monkeypatch):
    """Programs that began without the search of sequences go on with it, where it is asked for."""
    problem, incumbent, asked = too_small(), Incumbent(too_small()), []
    monkeypatch.setattr(Refinement, "run", lambda self, deadline, **_: self._searcher(deadline))
    monkeypatch.setattr(_Progress, "_loaded_searcher", lambda self, deadline: asked.append(True))
    for searches, count in ((False, 0), (True, 1), (False, 1)):
        solver = Ilp(until="first programs", searches=searches)
        solver.improve(problem, incumbent, Deadline.after(60))
        assert len(asked) == count


def test_a_model_stopped_with_nothing_cheaper_than_the_incumbent_is_solved_again(monkeypatch):
    """As it is, and by who has the time: then all is proved that would have been without."""
    graph = skips(12)
    problem = Problem(graph, in_order(graph).peak * 7 // 10, "free")
    Ilp().improve(problem, incumbent := Incumbent(problem), Deadline.after(120))
    best = incumbent.trace
    (incumbent := Incumbent(problem)).offer(best)
    want = Refinement(problem, "free", incumbent).run(Deadline.after(120))
    asked = []

    def stopped_once(program, **options):
        asked.append(program)
        if len(asked) > 1:
            return minimise(program, **options)
        columns, values = options["start"]
        x = np.zeros(len(program.cost))
        x[columns] = values
        return Answer(Outcome.STOPPED, x, -np.inf)

    monkeypatch.setattr(refinement, "minimise", stopped_once)
    (incumbent := Incumbent(problem)).offer(best)
    programs = Refinement(problem, "free", incumbent)
    for _ in range(2):
        programs.run(Deadline.after(120), patient=False)
        assert (len(asked), programs.finished) == (1, False)
    assert programs.run(Deadline.after(120)) == want
    assert asked[1].values.tolist() == asked[0].values.tolist()
    assert want.bound > graph.compute


@pytest.mark.parametrize("length", range(1, 13))
def test_training_chains_take_what_revolve_takes(length):
    """Every budget of the training chain costs (L + 1) + T(L + 1, B − 2), proved."""
    graph = training_chain(length)
    assert solve(graph, 2, "ilp").status == "infeasible"
    for budget in range(3, length + 4):
        plan = solve(graph, budget, "ilp", order="fixed")
        assert plan.status == "optimal", (budget, str(plan))
        want = (length + 1) + revolve(length + 1, budget - 2) if budget < length + 2 else None
        assert plan.compute == (2 * length + 1 if want is None else want), budget


def test_the_published_chain_of_eight():
    """L = 8: 45, 26, 22, 21, 20, 19, 18, 17 for budgets 3 … 10."""
    graph = training_chain(8)
    found = [solve(graph, budget, "ilp", order="fixed").compute for budget in range(3, 11)]
    assert found == [45, 26, 22, 21, 20, 19, 18, 17]


def test_more_memory_never_costs_more_and_astar_never_costs_more_than_one():
    """Optima fall with the budget, and the free order's is at most the given order's."""
    graph = skips(14)
    peak = in_order(graph).peak
    before = {"fixed": np.inf, "free": np.inf}
    for share in (60, 70, 80, 90, 100):
        found = {}
        for order in ("fixed", "free"):
            plan = solve(graph, peak * share // 100, "ilp", order=order, time_limit=20)
            assert plan.status in ("optimal", "feasible")
            assert plan.lower_bound <= plan.compute
            if plan.status == "optimal":
                assert plan.compute <= before[order]
                before[order] = plan.compute
            found[order] = plan
        assert found["free"].compute <= found["fixed"].compute
        assert found["free"].lower_bound <= found["fixed"].lower_bound


def test_it_is_never_worse_than_the_heuristics():
    """Cut short, it still returns what sqrt finds."""
    graph = training_chain(40, first=2)
    for budget in (15, 20, 30):
        quick = solve(graph, budget, "sqrt")
        for limit in (0.5, 2.0):
            plan = solve(graph, budget, "ilp", time_limit=limit)
            assert plan.schedule is not None
            assert plan.compute <= quick.compute
            assert plan.lower_bound <= plan.compute


def test_every_choice_of_cut_points_bounds_the_optimum():
    """The model is a relaxation whatever its cut points, in both orders."""
    graph = skips(10)
    budget = in_order(graph).peak * 7 // 10
    optimum = {order: solve(graph, budget, "ilp", order=order) for order in ("fixed", "free")}
    assert all(plan.status == "optimal" for plan in optimum.values())
    contraction = contract(graph)
    path = heaviest_path(contraction, np.ones(contraction.n_operations))
    rng = np.random.default_rng(0)
    for _ in range(10):
        some = np.sort(rng.choice(path, size=4, replace=False))
        for order, windows in (("fixed", fixed_windows), ("free", free_windows)):
            rows = [(int(rng.integers(5)), int(rng.integers(contraction.n_operations)))]
            model = StagedModel(graph, contraction, windows(contraction, some), budget, rows)
            answer = minimise(model.program, deadline=Deadline.after(20))
            assert answer.outcome is Outcome.SOLVED
            assert model.compute(answer.bound) <= optimum[order].compute + 1e-6


def test_windows_of_astar_contain_every_executable_order():
    """In random executable orders every first run falls into its window."""
    graph = skips(12)
    contraction = contract(graph)
    cuts = np.array(heaviest_path(contraction, np.ones(contraction.n_operations))[3::6])
    windows = free_windows(contraction, cuts)
    rng = np.random.default_rng(1)
    reads = graph.layout.reads_of
    for _ in range(50):
        done: list[int] = []
        waiting = set(range(len(graph)))
        while waiting:
            ready = [v for v in sorted(waiting) if not set(reads[v]) & waiting]
            done.append(ready[rng.integers(len(ready))])
            waiting.discard(done[-1])
        place = {v: at for at, v in enumerate(done)}
        at_cut = [place[v] for v in cuts.tolist()]
        for v in range(len(graph)):
            interval = sum(place[v] >= at for at in at_cut)
            assert windows.earliest[v] <= interval <= windows.latest[v]


def test_a_plan_runs_no_more_than_the_solution_pays_for():
    """The layout of a solution costs at most its objective and satisfies the model's holds."""
    graph = skips(16)
    budget = in_order(graph).peak * 8 // 10
    contraction = contract(graph)
    cuts = np.array([8, 16, 24])
    windows = fixed_windows(contraction, cuts)
    model = StagedModel(graph, contraction, windows, budget)
    answer = minimise(model.program, deadline=Deadline.after(20))
    assert answer.x is not None
    hold, _ = model.holds_and_runs(answer.x)
    first = [np.flatnonzero(windows.earliest == k) for k in range(4)]
    plan = lay_out(graph, contraction, first, hold)
    trace = simulate(graph, free_early(graph, plan.runs))
    objective = float(model.program.cost @ answer.x)
    assert trace.compute <= model.compute(objective) + 1e-6


def test_free_views_fold_into_their_storage_and_others_do_not():
    """A view that costs nothing is no resource; one that costs something needs its base."""
    graph = Graph(
        [
            Node("a", (), (Tensor("a", 8),), 3),
            Node("v", ("a",), (Tensor("v", 0, "a"),), 0),
            Node("w", ("v",), (Tensor("w", 0, "v"),), 2),
            Node("y", ("w", "v"), (Tensor("y", 4),), 1),
        ]
    )
    found = contract(graph)
    a, v, w, _ = found.resource.tolist()
    assert a == v != w
    assert found.base.tolist()[w] == a
    assert found.is_view.tolist() == [False, True, False, False]


def test_ctrl_c_stops_the_solver_in_its_own_code(monkeypatch):
    """An interrupt returns the best found so far, though there are hours left."""
    graph = training_chain(60, first=2)
    timer = threading.Timer(1.0, lambda: __import__("_thread").interrupt_main())
    timer.start()
    plan = solve(graph, 8, "ilp", time_limit=3600)
    timer.cancel()
    assert plan.interrupted
    assert plan.status in ("feasible", "unknown")


def test_a_small_graph_that_is_not_decided_soon_keeps_its_time_limit():
    """What its search has proved until then is not lost, nor are the integer programs."""
    rng = random.Random(0)
    nodes = [Node("n0", (), (Tensor("n0", 7),), 5)]
    for at in range(1, 40):
        reads = tuple(sorted({f"n{rng.randrange(max(0, at - 8), at)}" for _ in range(3)}))
        nodes.append(Node(f"n{at}", reads, (Tensor(f"n{at}", rng.randint(1, 20)),), 1 + at % 9))
    graph = Graph(nodes)
    budget = in_order(graph).peak * 8 // 10
    for limit in (0.2, 2.0):
        plan = ends(
            lambda limit=limit: solve(graph, budget, "ilp", order="fixed", time_limit=limit)
        )
        searched = states.least_compute(graph, budget, "fixed", deadline=Deadline(work=2_000))
        assert not searched.decided
        assert searched.bound > graph.compute
    # Nobody knows what is proved in a fifth of a second; so few states take no two seconds.
    assert plan.status == "infeasible" or plan.lower_bound >= searched.bound


def test_what_is_said_to_be_needed_is_never_too_much():
    """The least budget that a proof leaves open is at most one for which a schedule is known."""
    graph = example("mlp")
    peak = in_order(graph).peak
    beyond_the_floor = 0
    needed = 0
    for share in range(40, 101, 4):
        plan = solve(graph, peak * share // 100, Ilp(), order="fixed")
        if plan.status == "infeasible":
            assert plan.shortfall.needed > plan.budget
            assert plan.shortfall.node in graph.layout.node_id
            needed = max(needed, plan.shortfall.needed)
            beyond_the_floor += plan.shortfall.needed > memory_floor(graph).memory
        else:
            assert plan.peak >= needed
    assert beyond_the_floor


@pytest.mark.parametrize("order", ["free", "fixed"])
@enough(0.25)
@settings(suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much])
@given(data=st.data())
def test_every_schedule_is_a_solution_at_its_compute(order, data):
    """Whatever the cut points: what it holds and runs satisfies every row, and costs no more."""
    graph = data.draw(graphs(min_nodes=2, max_nodes=12))
    assume(graph.layout.needed.any())
    begin = data.draw(runs(graph))
    trace = simulate(graph, free_early(graph, np.array(begin, np.int64)))
    assume((trace.runs[~graph.layout.recomputable] <= 1).all())
    assume(order == "free" or keeps_order(trace))
    contraction = contract(graph)
    places = heaviest_path(contraction, np.ones(contraction.n_operations))
    if order == "fixed":
        places = list(range(contraction.n_operations))
    places = [v for v in places if not contraction.is_view[v]]
    assume(places)
    reached()
    cuts = data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3, unique=True))
    windows = (fixed_windows if order == "fixed" else free_windows)(
        contraction, np.array(sorted(cuts))
    )
    model = StagedModel(graph, contraction, windows, trace.peak)
    columns, values = start_of(model, trace)
    assert len(columns) == model.n_columns
    program = model.program
    x = np.zeros(model.n_columns)
    x[columns] = values
    row = np.repeat(np.arange(len(program.row_upper)), np.diff(program.starts))
    sums = np.bincount(row, program.values * x[program.columns], len(program.row_upper))
    assert (sums >= program.row_lower - 1e-9).all()
    assert (sums <= program.row_upper + 1e-9).all()
    assert model.compute(float(program.cost @ x)) <= trace.compute + 1e-6


def test_a_program_begins_with_the_solution_that_it_is_given():
    """Before any node of the search tree it has it, or a better one."""
    graph = skips(16)
    plan = solve(graph, "80%", "greedy", order="fixed")
    trace = verify(graph, plan.schedule)
    contraction = contract(graph)
    model = StagedModel(
        graph, contraction, fixed_windows(contraction, np.array([8, 16, 24])), trace.peak
    )
    found = minimise(
        model.program, deadline=Deadline.after(20), nodes=0, start=start_of(model, trace)
    )
    assert found.x is not None
    assert model.compute(float(model.program.cost @ found.x)) <= trace.compute + 1e-6
