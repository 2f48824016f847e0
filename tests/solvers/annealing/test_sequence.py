"""The sequence that is annealed: what moves keep up to date, against a fresh start and replay."""

from __future__ import annotations

from dataclasses import fields
from types import SimpleNamespace
from typing import NamedTuple

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

import schedule
from schedule import errors, example, solvers, verify
from schedule.graph import Graph, Input, Node, Tensor
from schedule.lowering import free_early, in_order
from schedule.memory import Trace, simulate
from schedule.memory import keeps_order as starts_in_order
from schedule.solvers.annealing import moves as parts
from schedule.solvers.annealing import rounds
from schedule.solvers.annealing import state as sequences
from schedule.solvers.annealing.loop import anneal
from schedule.solvers.annealing.moves import HUNTED, SHARES, MoveShares
from schedule.solvers.annealing.rounds import Annealing, AnnealingSettings
from schedule.solvers.annealing.state import (
    ACCEPTED,
    BEST,
    BLOCK,
    BUDGET,
    COST,
    EXCESS,
    REPEATED,
    TRIED,
    WEIGHT,
    State,
    set_up,
)
from schedule.solvers.contract import Deadline
from schedule.solvers.program.contraction import Contraction, contract
from schedule.solvers.program.operations import Operations, operations_of
from schedule.solvers.program.views import with_views
from schedule.solvers.program.waste import trimmed
from tests.enough import enough, reached
from tests.strategies import graphs, runs
from tests.wholes import whole

keeps_order, list_changes = whole(parts.keeps_order), whole(parts.list_changes)
pick, price = whole(parts.pick), whole(parts.price)
do, has_space = whole(sequences.do), whole(sequences.has_space)

slow = settings(
    max_examples=60,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
few = settings(slow, max_examples=30)
each_order = pytest.mark.parametrize("order", ["free", "fixed"])
#: From a handful of slots to several blocks of them.
ANY = st.one_of(graphs(min_nodes=1), graphs(min_nodes=20, max_nodes=40))
TINY = graphs(min_nodes=1, max_nodes=5, sizes=st.integers(0, 6))
#: How moves are accepted: all of them, most, some, hardly any that makes things worse.
HEATS = st.sampled_from([100.0, 1.0, 0.1, 0.01, 0.001])
#: The share of moves that are chains.
CHAINS = st.sampled_from([0.0, 0.3])
SETTINGS = AnnealingSettings()
#: Nothing comes, nothing goes.
ONLY_MOVES = MoveShares(insert=0.0, remove=0.0, shift=0.0)
PRICES = st.sampled_from([0.001, 0.1, 1.0, 10.0])


class Case(NamedTuple):
    """A graph as the annealing sees it, and one sequence of it."""

    graph: Graph
    order: str
    contraction: Contraction
    operations: Operations
    annealing: Annealing
    state: State

    def __repr__(self) -> str:
        return f"{self.graph.nodes} in {self.order} order: {self.state.run_at.tolist()}"


def case_of(graph, order, budget, begin=None, weight=1.0, seed=0) -> Case:
    """Laid out from the program as it is, or from an order of node runs."""
    contraction = contract(graph)
    operations = operations_of(graph, order)
    start = np.arange(len(operations.nodes))
    if begin is not None:
        start = operations.sequence(np.array(begin, np.int64))
    budget = max(budget - graph.layout.resident_memory, 0)
    made = Annealing(operations, start, budget, seed, SETTINGS)
    state = made._laid_out(start, weight, SETTINGS.tight.rise)
    return Case(graph, order, contraction, operations, made, state)


@st.composite
def cases(draw, order, graphs=ANY) -> Case:
    """Any graph and budget, begun with any executable order, and then moved about in."""
    graph = draw(graphs)
    assume(graph.layout.needed.any())
    begin = draw(runs(graph))
    peak = simulate(graph, free_early(graph, np.array(begin))).peak
    budget = peak * draw(st.integers(20, 110)) // 100
    case = case_of(graph, order, budget, begin, draw(PRICES), draw(st.integers(0, 99)))
    assume(len(case.operations.nodes))
    for moves in draw(st.lists(st.integers(1, 600), max_size=3)):
        shares = draw(st.sampled_from([SHARES, HUNTED]))
        case = moved(case, moves, draw(HEATS), draw(HEATS), draw(CHAINS), shares)
    return case


def moved(case, moves, hot, cold, chains=0.1, shares=SHARES) -> Case:
    """After so many moves; laid out anew where lists had no room left."""
    while moves > 0:
        anneal(case.operations, case.state, moves, hot, cold, chains, shares)
        moves -= case.state.numbers[TRIED]
        if moves > 0:
            weight = case.state.reals[WEIGHT]
            rooms = case.annealing, sequence(case.state), weight, SETTINGS.tight.rise
            state = Annealing._laid_out(*rooms, clearings=shares is HUNTED)
            case = case._replace(state=state)
    return case


def copied(state) -> State:
    return State(*(getattr(state, field.name).copy() for field in fields(state)))


def sequence(state):
    """What runs, in order."""
    return state.run_at[state.run_at >= 0]


def memory(state):
    """Shape (S,): in use in each slot."""
    return state.memory + np.repeat(state.lazy, BLOCK)[: len(state.memory)]


def uses(state):
    first = state.first_use.tolist()
    return [state.uses[start : start + count].tolist() for start, count in zip(first, state.n_uses)]


def node_runs(case, operations):
    """The nodes behind operations, with the free views that they read made before them."""
    return with_views(case.graph, case.contraction, case.operations.nodes[operations])


def replayed(case, operations) -> Trace:
    """What the memory model says; InvalidSchedule where they can't run like that."""
    return verify(case.graph, free_early(case.graph, node_runs(case, operations)))


def same(state, fresh, in_order):
    """All that follows from `run_at` is the same, whatever the bookkeeping looks like."""
    assert memory(state).tolist() == memory(fresh).tolist()
    assert state.low.tolist() == fresh.low.tolist()
    assert state.high.tolist() == fresh.high.tolist()
    assert uses(state) == uses(fresh)
    assert state.times.tolist() == fresh.times.tolist()
    if in_order:
        assert state.first_slot.tolist() == fresh.first_slot.tolist()
    repeated = state.repeated[: state.numbers[REPEATED]].tolist()
    assert sorted(repeated) == np.flatnonzero(state.times > 1).tolist()
    assert [state.position[v] for v in repeated] == list(range(len(repeated)))
    assert (np.delete(state.position, repeated) == -1).all()
    assert state.numbers[EXCESS] == fresh.numbers[EXCESS]
    assert state.reals[COST] == pytest.approx(fresh.reals[COST], abs=1e-9)


@each_order
@few
@given(data=st.data())
def test_moves_keep_everything_up_to_date(order, data):
    """After any moves, all that a state says is what follows from its sequence alone."""
    case = data.draw(cases(order))
    fresh = copied(case.state)
    set_up(case.operations, fresh)
    same(case.state, fresh, order == "fixed")
    over = np.maximum(memory(fresh) - case.state.numbers[BUDGET], 0)
    assert case.state.numbers[EXCESS] == over.sum()


def costs(graph, compute, share):
    """Whether compute is that share of every node's; shares are as exact as sums of floats are."""
    whole = float(graph.compute)
    return compute == pytest.approx(share * whole, rel=1e-9, abs=1e-11 * whole)


def agrees(case):
    """The replay of its sequence needs what the state says: in every run, and in sum."""
    state, graph, layout = case.state, case.graph, case.graph.layout
    ran = sequence(state)
    trace = replayed(case, ran)
    writes = np.diff(case.operations.first_write) > 0  # free views are made elsewhere, too
    own = np.zeros(layout.n_nodes, dtype=bool)
    own[case.operations.nodes[writes]] = True
    is_run = (trace.codes >= 0) & own[np.maximum(trace.codes, 0)]
    slots = np.flatnonzero(state.run_at >= 0)
    slots = slots[writes[state.run_at[slots]]]
    held = memory(state) + layout.resident_memory
    assert held[slots].tolist() == trace.during[is_run].tolist()
    assert trace.peak == max(trace.start, held.max())
    assert costs(graph, trace.compute, state.reals[COST])
    if case.order == "fixed":
        assert starts_in_order(trace)
    assert (trace.runs[~layout.recomputable] <= 1).all()
    assert (trace.runs[layout.needed & ~layout.recomputable] == 1).all()
    c = case.contraction
    for v in c.nodes[c.is_view].tolist():  # a free view is made once of each value, at most
        r = c.resource[layout.outputs_of[v][0]]
        maker = c.producer[r] if r >= 0 else -1
        assert trace.runs[v] <= (trace.runs[c.nodes[maker]] if maker >= 0 else 1)


@each_order
@few
@given(data=st.data())
def test_a_sequence_needs_what_its_replay_does(order, data):
    """Executable, outputs live at the end, in order, nothing twice that must not; same memory."""
    agrees(data.draw(cases(order)))


@each_order
@pytest.mark.parametrize("name", ["transformer", "resnet", "diamonds"])
def test_what_was_annealed_needs_what_its_replay_does(order, name):
    """As it goes in earnest: hundreds of slots, reruns that come and go, thousands of moves."""
    graph = example(name)
    case = case_of(graph, order, in_order(graph).peak * 7 // 10, weight=0.01)
    reruns = set()
    for heat in (0.1, 0.01, 0.001, 0.0001):
        case = moved(case, 3000, heat, heat / 10)
        fresh = copied(case.state)
        set_up(case.operations, fresh)
        same(case.state, fresh, order == "fixed")
        agrees(case)
        reruns.add(len(sequence(case.state)) - len(case.operations.nodes))
    assert max(reruns) > 5
    assert len(reruns) > 1
    assert case.state.numbers[ACCEPTED] < 3000


def all_moves(state):
    """Every run taken out, moved anywhere, and everything put in anywhere."""
    full, empty = np.flatnonzero(state.run_at >= 0), np.flatnonzero(state.run_at == -1)
    for out in full.tolist():
        yield int(state.run_at[out]), out, -1
        yield from ((int(state.run_at[out]), out, into) for into in empty.tolist())
    for v in range(len(state.times)):
        yield from ((v, -1, into) for into in empty.tolist())


def after(state, v, out, into):
    """The sequence after a move."""
    run_at = state.run_at.copy()
    if out >= 0:
        run_at[out] = -1
    if into >= 0:
        run_at[into] = v
    return run_at[run_at >= 0]


def is_executable(case, operations):
    """By the rules alone, but for how often and in which order things may run."""
    layout = case.graph.layout
    live = set(np.flatnonzero(layout.producer < 0).tolist())
    for v in node_runs(case, operations).tolist():
        if not set(layout.reads_of[v]) <= live:
            return False
        live |= set(layout.outputs_of[v])
    return set(np.flatnonzero(layout.is_output).tolist()) <= live


@each_order
@few
@given(data=st.data())
def test_what_is_refused_cannot_run(order, data):
    """All moves on tiny graphs: those that are impossible, and no others, can't be executed."""
    case = data.draw(cases(order, TINY))
    for v, out, into in all_moves(case.state):
        possible = list_changes(case.operations, case.state, v, out, into) >= 0
        assert possible == is_executable(case, after(case.state, v, out, into))


@few
@given(data=st.data())
def test_first_runs_keep_their_order(data):
    """All moves on tiny graphs: those that are let through keep it.

    Refused without need is only what makes another of several runs the first.
    """
    case = data.draw(cases("fixed", TINY))
    state = case.state
    for v, out, into in all_moves(state):
        kept = keeps_order(case.operations, state, v, out, into)
        first = list(dict.fromkeys(after(state, v, out, into).tolist()))
        in_order = first == list(range(len(state.times)))
        later = out != state.first_slot[v] and (into < 0 or into > state.first_slot[v])
        if later or (out >= 0 and state.times[v] == 1):
            assert kept == in_order
        else:
            assert in_order or not kept


@each_order
@enough(0.28)
@few
@given(data=st.data())
def test_a_move_changes_what_it_is_priced_at(order, data):
    """Whichever move is made: the excess, from scratch, and everything else."""
    case = data.draw(cases(order))
    operations, state = case.operations, case.state
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    moves = list(all_moves(state))
    for at in rng.permutation(len(moves))[:200].tolist():
        v, out, into = moves[at]
        n = list_changes(operations, state, v, out, into)
        if n < 0 or (out < 0 and not has_space(operations, state, v)):
            continue
        if order == "fixed" and not keeps_order(operations, state, v, out, into):
            continue
        there = copied(state)
        excess = price(there, n)
        do(operations, there, v, out, into, n)
        fresh = copied(there)
        set_up(operations, fresh)
        assert excess == fresh.numbers[EXCESS] - state.numbers[EXCESS]
        there.numbers[EXCESS] += excess
        there.reals[COST] = fresh.reals[COST]
        same(there, fresh, order == "fixed")
        reached()


@each_order
@enough(0.23)
@few
@given(data=st.data())
def test_only_moves_are_proposed(order, data):
    """What runs leaves its slot, an empty one is filled, and what may not repeat comes never."""
    case = data.draw(cases(order))
    operations, state = case.operations, case.state
    for at in range(150):
        v, out, into = pick(operations, state, ONLY_MOVES if at % 2 else SHARES)
        if v < 0:
            continue
        reached()
        assert max(out, into) >= 0
        assert out < 0 or state.run_at[out] == v
        assert into < 0 or state.run_at[into] == -1
        if at % 2:
            assert min(out, into) >= 0
        assert out >= 0 or operations.may_repeat[v]
        assert into >= 0 or state.times[v] > 1


@each_order
@enough(0.14)
@slow
@given(data=st.data())
def test_the_best_is_kept(order, data):
    """One move at a time: nothing cheaper that fits was met, and what is kept is that cheap."""
    case = data.draw(cases(order))
    state = case.state
    state.reals[BEST] = np.inf
    heat, chains = data.draw(HEATS), data.draw(CHAINS)
    shares = data.draw(st.sampled_from([SHARES, HUNTED]))
    least = np.inf
    for _ in range(30):
        if state.numbers[EXCESS] == 0:
            least = min(least, state.reals[COST])
        anneal(case.operations, state, 1, heat, heat, chains, shares)
        if not state.numbers[TRIED]:
            break
    if state.numbers[EXCESS] == 0:
        least = min(least, state.reals[COST])
    assert state.reals[BEST] == pytest.approx(least)
    assume(least < np.inf)
    reached()
    trace = replayed(case, state.best[state.best >= 0])
    assert trace.peak <= max(
        case.state.numbers[BUDGET] + case.graph.layout.resident_memory, trace.start
    )
    assert costs(case.graph, trace.compute, least)


@each_order
@enough(0.09)
@slow
@given(data=st.data())
def test_a_schedule_is_taken_over(order, data):
    """The runs of any schedule are a sequence that can run, and is the best where it fits."""
    graph = data.draw(ANY)
    assume(graph.layout.needed.any())
    begin = np.array(data.draw(runs(graph)))
    trace = simulate(graph, free_early(graph, begin))
    budget = trace.peak * data.draw(st.integers(50, 120)) // 100
    case = case_of(graph, order, budget, begin)
    found = replayed(case, sequence(case.state))
    assert found.compute <= trace.compute * (1 + 1e-9)
    fits = memory(case.state).max() <= case.state.numbers[BUDGET]
    assert (case.annealing.best is not None) == fits
    if fits:
        reached()
        assert costs(graph, found.compute, case.annealing.compute)


@each_order
@pytest.mark.parametrize("name", ["unet", "transformer"])
def test_same_seed_same_sequence(order, name):
    """Round by round; another seed goes another way."""
    graph = example(name)
    budget = in_order(graph).peak * 7 // 10
    found = []
    for seed in (0, 0, 1):
        made = case_of(graph, order, budget, seed=seed).annealing
        for _ in range(2):
            made.round(Deadline())
        found.append((made.moves, made.flattest.tolist(), made.compute))
        if made.best is not None:
            found[-1] += (made.best.tolist(),)
    assert found[0] == found[1]
    assert found[0] != found[2]


@each_order
def test_what_is_far_from_anything_kept_is_made_again_as_a_whole(order):
    """Only without the ten results on the way there fits what runs before it is read again."""
    builder = schedule.GraphBuilder()
    at = builder.input("x", memory=1)
    for layer in range(10):
        at = builder.node(f"layer{layer}", at, memory=10)
    early = builder.node("early", at, memory=1)
    wide = builder.node("wide", early, memory=30)
    builder.node("late", [builder.node("middle", wide, memory=1), at], memory=1)
    graph = builder.build()
    found = case_of(graph, order, 33).annealing
    for _ in range(10):
        found.round(Deadline())
    assert found.compute == pytest.approx((len(graph) + 10) / len(graph))
    assert replayed(case_of(graph, order, 33), found.best).peak <= 33


@each_order
def test_what_takes_far_more_is_taken_once_every_round_has_had_its_turn(order):
    """Not before: the search begins with the program, whatever others have found."""
    graph = example("resnet")
    plan = schedule.solve(graph, solver="recompute_all", order=order)
    made = case_of(graph, order, plan.peak).annealing
    far = made.operations.sequence(plan.trace.codes[plan.trace.codes >= 0])
    before = made.flattest.tolist()
    for _ in range(len(SETTINGS.rounds) + 1):
        made.adopt(far)
        assert made.best is None
        assert made.flattest.tolist() == before
        made.round(Deadline.after(0))  # tries nothing
    made.adopt(far)
    assert costs(graph, plan.compute, made.compute)
    assert plan.compute > SETTINGS.far * graph.layout.compute[graph.layout.needed].sum()


@each_order
def test_a_round_that_is_stopped_keeps_what_it_found(order):
    """Without time nothing is tried; stopped in the second round, what fits by then is there."""
    graph = example("resnet")
    made = case_of(graph, order, in_order(graph).peak * 9 // 10).annealing
    assert not made.round(Deadline.after(0))
    assert made.moves == 0
    assert made.best is None
    made = case_of(graph, order, in_order(graph).peak * 9 // 10).annealing
    looks = iter([False] * 30 + [True] * 99)
    for _ in SETTINGS.rounds:
        made.round(Deadline().unless(lambda: next(looks)))
    part = 30 * len(made.operations.nodes)  # a twentieth of a round of one part
    first, second = SETTINGS.quick.parts * part, SETTINGS.rounds[0].parts * part
    assert 20 * first < made.moves <= 20 * first + 10 * second
    assert made.best is not None


@pytest.mark.parametrize("seed", range(3))
def test_where_little_fits_budgets_come_down_to_it(seed):
    """A few hundred thousand moves without that find nothing: not from the start, nor after."""
    graph = example("layered", nodes=60)
    operations, start = operations_of(graph, "free"), np.arange(60)
    budget = in_order(graph).peak * 61 // 100
    own = budget - graph.layout.resident_memory
    settings = AnnealingSettings(rounds=AnnealingSettings().rounds[:1], moves=1700)
    annealing = Annealing(operations, start, own, seed, settings)
    annealing.round(Deadline())
    assert annealing.best is None
    assert annealing.round(Deadline())
    trace = simulate(graph, free_early(graph, operations.nodes[annealing.best]))
    assert trace.peak <= budget
    assert trace.compute == pytest.approx(annealing.compute * in_order(graph).compute)


@each_order
def test_a_view_of_what_is_always_there_is_only_moved(order):
    """It uses nothing that comes and goes: there is nothing of it to make again."""
    nodes = [Node("a", (), (Tensor("a", 1),), 1), Node("v", ("x",), (Tensor("v", 0, "x"),), 0)]
    case = case_of(Graph(nodes, [Input("x", 5)]), order, 6)
    anneal(case.operations, case.state, 20_000, 1.0, 1.0, 0.3, SHARES)
    assert case.state.numbers[TRIED] == 20_000
    assert case.state.times[case.operations.nodes == 1].tolist() in ([1], [])


def test_nothing_to_run():
    """Free views alone are no operations where the order is free: no move is tried."""
    graph = Graph([Node("v", ("x",), (Tensor("v", 0, "x"),), 0)], [Input("x", 5, True)])
    made = case_of(graph, "free", 0).annealing
    assert not made.round(Deadline())
    assert made.moves == 0


def test_what_cannot_run_is_noticed_by_the_replay():
    """The checks above would see it: a run before what it reads is an error."""
    graph = example("chain", layers=3)
    case = case_of(graph, "free", 10)
    with pytest.raises(errors.InputNotLive, match="has not computed yet"):
        replayed(case, sequence(case.state)[::-1])


@each_order
@enough(0.06)
@slow
@given(data=st.data())
def test_what_is_trimmed_had_no_use(order, data):
    """What is left runs, needs no more memory, and something reads each rerun."""
    case = data.draw(cases(order))
    before = sequence(case.state)
    after = trimmed(case.operations, before)
    trace = replayed(case, after)
    assert trace.peak <= replayed(case, before).peak
    assert sorted(set(after.tolist())) == sorted(set(before.tolist()))
    assert trimmed(case.operations, after).tolist() == after.tolist()
    if order == "fixed":
        assert starts_in_order(trace)
    for at in range(len(after)):
        v = after[at]
        is_first = order == "fixed" and v not in after[:at]
        if (after == v).sum() > 1 and not is_first:
            reached()
            assert _is_read(case, after, at)


def _is_read(case, runs, at):
    """Whether something reads what the run at a place writes, before that is written anew."""
    o = case.operations

    def of(first, flat, v):
        return set(flat[first[v] : first[v + 1]].tolist())

    written = of(o.first_write, o.writes, runs[at])
    for v in runs[at + 1 :]:
        if written & of(o.first_read, o.reads, v):
            return True
        written -= of(o.first_write, o.writes, v)
    return any(o.kept[r] for r in written)


def test_a_round_that_is_short_of_time_cools_faster(monkeypatch):
    """By a clock that a chunk of moves takes a second of: cold at the end, and never hotter.

    The first round takes a third of the time.
    """
    clock, heats = [0.0], []

    def counted(operations, state, moves, hot, cold, chains, shares):
        clock[0] += 1
        heats.append(cold)
        anneal(operations, state, moves, hot, cold, chains, shares)

    monkeypatch.setattr(rounds, "anneal", counted)
    monkeypatch.setattr(solvers.deadline, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    graph = example("transformer")
    case = case_of(graph, "free", in_order(graph).peak * 7 // 10)
    case.annealing.round(Deadline.after(16.5))
    assert clock[0] == 6
    assert heats == sorted(heats, reverse=True)
    assert heats[-1] * len(case.operations.nodes) < 2 * SETTINGS.rounds[0].cold
    case.annealing.round(Deadline())
    assert clock[0] >= 6 + 20
