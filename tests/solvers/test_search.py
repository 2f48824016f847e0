"""The annealing solver: optima of small graphs, known results, limits."""

from __future__ import annotations

import math
import random
import threading
import time
from dataclasses import replace
from itertools import count
from math import comb

import numpy as np
import pytest

from schedule import Compute, Graph, Node, Tensor, example, solve, verify
from schedule.bounds import least_compute, memory_floor
from schedule.lowering import in_order, replayed
from schedule.memory import keeps_order, simulate
from schedule.solvers.annealing.rounds import AnnealingSettings
from schedule.solvers.annealing.searcher import Searcher
from schedule.solvers.contract import Clock, Deadline, Incumbent, Problem
from schedule.solvers.search import Search
from tests import oracles
from tests.enough import enough, reached
from tests.hanging import ends
from tests.judging import Hears
from tests.solvers.exhaustive.test_states import some_graph

each_order = pytest.mark.parametrize("order", ["free", "fixed"])


#: One turn that brings nothing is enough.
QUICK = AnnealingSettings(patience=1)
SEARCH = Search(settings=QUICK)


@pytest.fixture(scope="module", autouse=True)
def compiled():
    """Before any time is taken: the annealing is compiled at its first use."""
    solve(example("chain", layers=3), 4, SEARCH, order="fixed")


def shuffled(graph, seed):
    """The same graph with its nodes in another executable order."""
    rng = random.Random(seed)
    there, left, order = {item.name for item in graph.inputs}, list(graph.nodes), []
    while left:
        node = rng.choice([node for node in left if set(node.inputs) <= there])
        left.remove(node)
        there |= {out.name for out in node.outputs}
        order.append(node)
    return Graph(order, graph.inputs, graph.outputs, graph.name)


def unit(name, *reads):
    return Node(name, reads, (Tensor(name, 1),), 1)


def pyramid(height):
    """Rows of h + 1, h, …, 1 nodes, each reading two neighbours of the row before."""
    nodes = [unit(f"0.{k}") for k in range(height + 1)]
    for row in range(1, height + 1):
        nodes += [
            unit(f"{row}.{k}", f"{row - 1}.{k}", f"{row - 1}.{k + 1}")
            for k in range(height + 1 - row)
        ]
    return Graph(nodes, name="pyramid")


def tree(height):
    """The complete binary tree from its 2^h leaves to its root, row by row."""
    nodes = [unit(f"0.{k}") for k in range(2**height)]
    for row in range(1, height + 1):
        nodes += [
            unit(f"{row}.{k}", f"{row - 1}.{2 * k}", f"{row - 1}.{2 * k + 1}")
            for k in range(2 ** (height - row))
        ]
    return Graph(nodes, name="tree")


def tight_graphs(order, wanted):
    """Small graphs with budgets that a schedule fits, but no schedule without reruns."""
    for seed in count():
        graph = some_graph(seed, fewest=8)
        sets = oracles.Sets(graph, order)
        if sets.bits > 14:
            continue
        peak = in_order(graph).peak
        for share in (70, 80, 90):
            budget = peak * share // 100
            truth = sets.least_compute(budget)
            if truth is not None and truth > least_compute(graph):
                yield seed, graph, budget, truth
                wanted -= 1
                break
        if not wanted:
            return


@pytest.mark.parametrize(("order", "most"), [("free", 9), ("fixed", 9)])
def test_it_finds_the_optimum_of_most_small_graphs(order, most):
    """Against exhaustive search, where something has to run again; and never less than that."""
    found, missed = 0, []
    for seed, graph, budget, truth in tight_graphs(order, 12):
        plan = solve(graph, budget, SEARCH, order=order)
        if plan.compute is not None:
            trace = verify(graph, plan.schedule, budget)
            assert trace.compute >= truth - 1e-9
        if plan.compute == pytest.approx(truth):
            found += 1
        else:
            missed.append((seed, budget, plan.compute, truth))
    assert found >= most, missed


@each_order
@enough(times=4)
def test_where_nothing_fits_it_says_the_least_peak_it_reached(order):
    """Just below the least budget: unknown, with a peak that some schedule really has."""
    for seed in range(16):
        graph = some_graph(seed, fewest=8)
        if oracles.Sets(graph, order).bits > 12:
            continue
        needed = oracles.least_budget(graph)
        if memory_floor(graph).memory >= needed:
            continue
        reached()
        plan = solve(graph, needed - 1, SEARCH, order=order)
        assert plan.status == "unknown"
        assert plan.schedule is None
        assert needed <= plan.shortfall.least_peak <= in_order(graph).peak


@pytest.mark.parametrize("length", [2, 5, 30])
def test_a_chain_needs_two_tensors(length):
    """With one it is proved that nothing fits, with two nothing runs twice."""
    graph = Graph([unit("0")] + [unit(str(at), str(at - 1)) for at in range(1, length)])
    assert solve(graph, 1, SEARCH).status == "infeasible"
    assert solve(graph, 2, SEARCH).compute == length


@pytest.mark.parametrize("make", [pyramid, tree])
@pytest.mark.parametrize("height", [1, 2, 3, 4, 5])
def test_pyramids_and_trees_need_their_height_and_two(make, height):
    """Found by reordering alone, whatever the order of the nodes; with one less nothing fits."""
    graph = shuffled(make(height), height)
    plan = solve(graph, height + 2, SEARCH)
    assert plan.status == "optimal"
    assert plan.overhead == 0
    below = solve(graph, height + 1, SEARCH)
    assert below.schedule is None
    if height > 1:
        assert below.status == "unknown"
        assert below.shortfall.least_peak >= height + 2


def revolve(steps: int, checkpoints: int) -> int:
    """Least extra forward steps (Griewank & Walther 2000, doi:10.1145/347837.347846)."""
    if steps == 1:
        return 0
    repeats = next(r for r in range(steps) if comb(checkpoints + r, checkpoints) >= steps)
    return repeats * steps - comb(checkpoints + repeats, checkpoints + 1)


@each_order
@pytest.mark.parametrize("layers", [1, 2, 3, 4, 5, 8])
def test_training_chains_take_what_revolve_takes(order, layers):
    """Every budget from 5 on; below, where nodes run many times, never less, if it finds any."""
    graph = example("chain", layers=layers)
    for budget in range(3, layers + 3):
        plan = solve(graph, budget, SEARCH, order=order)
        least = layers + 1 + revolve(layers + 1, budget - 2)
        if budget >= 5 or layers <= 2:
            assert plan.compute == least
        else:
            assert plan.compute is None or plan.compute >= least


def test_reordering_saves_all_recomputation_where_it_can():
    """On wide graphs: every node once in a better order; the given one has to repeat some."""
    graph = example("diamonds")
    budget = in_order(graph).peak * 8 // 10
    assert solve(graph, budget, SEARCH).overhead == 0
    fixed = solve(graph, budget, SEARCH, order="fixed")
    assert fixed.overhead > 0
    trace = simulate(graph, fixed.schedule)
    assert keeps_order(trace)
    assert trace.peak <= budget


@pytest.mark.parametrize("name", ["transformer", "resnet"])
def test_what_must_not_run_twice_does_not(name):
    """Nodes without a second run have one, while others have more."""
    graph = example(name)
    plan = solve(graph, "80%", SEARCH, time_limit=5)
    runs = [step.node for step in plan.steps if isinstance(step, Compute)]
    assert len(set(runs)) < len(runs)
    assert all(runs.count(node.name) <= 1 for node in graph.nodes if not node.recomputable)


@each_order
@pytest.mark.parametrize("workers", [1, 3])
def test_same_seed_same_schedule(order, workers):
    """However long it takes, where the time limit doesn't end it, and whichever is first."""
    graph = example("chain", layers=14)
    first, again = (
        solve(graph, 6, SEARCH, order=order, seed=3, workers=workers, time_limit=3600)
        for _ in range(2)
    )
    assert first.schedule == again.schedule


def after_one_round(graph, budget, workers):
    """Moves tried, and the compute of the best."""
    problem = Problem(graph, budget)
    incumbent = Incumbent(problem)
    team = Searcher(problem, "free", incumbent, 0, workers, QUICK)
    team.round(Deadline())
    return team.moves, incumbent.compute


def test_more_workers_try_more_and_find_no_less():
    """The first goes as if it were alone; the others go other ways."""
    graph = example("transformer")
    budget = in_order(graph).peak * 75 // 100
    results = [after_one_round(graph, budget, workers) for workers in (1, 2, 4)]
    moves, found = zip(*results)
    assert moves == (moves[0], 2 * moves[0], 4 * moves[0])
    assert math.inf > found[0] >= found[1] >= found[2]
    assert found[0] > found[2]


def test_it_begins_with_what_comes_nearest():
    """Where nothing fits, the schedule of least peak that was offered is known to the search."""
    graph = example("chain", layers=14)
    names = {node.name: at for at, node in enumerate(graph.nodes)}
    plan = solve(graph, 4, "ilp")
    runs = [names[step.node] for step in plan.steps if isinstance(step, Compute)]
    near = replayed(graph, np.array(runs))
    problem, judge = Problem(graph, near.peak - 1), Hears(graph)
    incumbent = Incumbent(problem, judge)
    for trace in (in_order(graph), near, in_order(graph)):
        assert not incumbent.offer(trace)
    assert incumbent.trace is None
    assert incumbent.nearest.codes.tolist() == near.codes.tolist()
    team = Searcher(problem, "free", incumbent, 0, settings=replace(QUICK, far=math.inf))
    team.round(Deadline.after(0))  # no time for any move
    team.offer_least_peak()
    assert len(judge.offers) == 4
    assert judge.offers[-1][1].peak == near.peak < in_order(graph).peak


@pytest.mark.parametrize("workers", [1, 2])
def test_it_settles_when_nothing_gets_better(workers):
    """One whole turn after the last round that found less; floats that drift are not less."""
    for _, graph, budget, _ in tight_graphs("free", 10):
        problem = Problem(graph, budget)
        incumbent = Incumbent(problem)
        team = Searcher(problem, "free", incumbent, 0, workers, QUICK)
        last = rounds = 0
        while not team.settled:
            before = incumbent.compute
            team.round(Deadline())
            rounds += 1
            if incumbent.compute < before:
                last = rounds
            assert rounds <= last + 2 * len(QUICK.rounds)
        assert math.isinf(incumbent.compute) or rounds >= last + len(QUICK.rounds)


def test_with_restarts_it_takes_the_work_that_is_left():
    """Where it would end without; what it had found by then is where it goes on from."""
    graph, work, computes = example("chain", layers=6), 0.7, []
    for restarts in (False, True):
        problem, clock = Problem(graph, 4), Clock(counts_work=True)
        incumbent = Incumbent(problem, clock=clock)
        search = Search(refines=False, restarts=restarts, settings=QUICK)
        search.improve(problem, incumbent, Deadline.after(work, clock))
        assert (clock.done >= work) == restarts
        computes.append(incumbent.compute)
    assert math.inf > computes[0] >= computes[1]


def test_a_restart_goes_ways_of_its_own():
    """From the program, as at first, but by other moves; what was tried before still counts."""
    graph = example("transformer")
    problem, judge = Problem(graph, in_order(graph).peak * 75 // 100), Hears(graph)
    team, found = Searcher(problem, "free", Incumbent(problem, judge), 0, settings=QUICK), []
    for _ in range(2):
        before, heard = team.moves, len(judge.offers)
        team.round(Deadline())
        assert team.moves == before + team.moves // (len(found) + 1)
        found.append([trace.codes.tolist() for _, trace in judge.offers[heard:]])
        team.restart()
        assert not team.settled
    assert found[0]
    assert found[1]
    assert found[0] != found[1]


def test_it_gets_better_as_it_goes():
    """Every offer costs less than the one before; the last is what is returned."""
    seen = []
    graph = example("unet")
    plan = solve(graph, "90%", SEARCH, time_limit=5, progress=lambda p: seen.append(p.best))
    seen = [best for best in seen if best is not None]
    assert seen == sorted(seen, reverse=True)
    assert seen[-1] == plan.compute < seen[0]


def large(seed=0, count=1500):
    """A wide random graph that keeps a search busy."""
    rng = random.Random(seed)
    nodes = [unit("0")]
    for at in range(1, count):
        reads = {str(rng.randrange(max(0, at - 60), at)) for _ in range(3)}
        nodes.append(Node(str(at), tuple(sorted(reads)), (Tensor(str(at), rng.randint(1, 9)),), 2))
    return Graph(nodes, outputs=[nodes[-1].name], name="large")


def test_it_stops_at_the_time_limit():
    """Not before; without one it goes on for hours."""
    for limit in (0.3, 1.0):
        plan = ends(lambda limit=limit: solve(large(), "70%", SEARCH, time_limit=limit))
        assert limit <= plan.seconds
        assert plan.schedule is None or plan.status == "feasible"


def test_ctrl_c_returns_the_best_so_far():
    """Flagged, though there are hours left."""
    graph = example("unet")
    found = threading.Event()

    def interrupt():
        found.wait(60)
        time.sleep(0.1)
        __import__("_thread").interrupt_main()

    thread = threading.Thread(target=interrupt)
    thread.start()
    plan = solve(
        graph,
        "60%",
        SEARCH,
        time_limit=3600,
        progress=lambda p: p.best is not None and found.set(),
    )
    thread.join()
    assert plan.interrupted
    assert plan.status == "feasible"
    assert verify(graph, plan.schedule).compute == plan.compute
