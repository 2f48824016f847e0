"""The memory model, against one written step by step and against its own rules."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedule import (
    Compute,
    Free,
    Graph,
    GraphBuilder,
    Input,
    Node,
    Schedule,
    Tensor,
    errors,
    example,
    simulate,
    verify,
)
from schedule.lowering import free_early, in_order
from schedule.steps import decode, encode
from tests.enough import enough, reached
from tests.oracles import Broken, Model, walk
from tests.strategies import graphs, runs


def steps_of(graph, length):
    """Any steps of this graph, most of them nonsense."""
    moves = [Compute(node.name) for node in graph.nodes] + [Free(name) for name in graph.tensors]
    return st.lists(st.sampled_from(moves), max_size=length) if moves else st.just([])


def verdict(graph, steps):
    """Memory and what is live at the end, or the oracle's objection."""
    try:
        return *walk(graph, steps), None
    except Broken as broken:
        return None, None, broken


@enough(0.2)
@given(st.data())
def test_any_steps_are_judged_as_the_rules_say(data):
    """Same verdict, same first faulty step, same memory at every step."""
    graph = data.draw(graphs())
    steps = data.draw(steps_of(graph, 12))
    memory, live, broken = verdict(graph, steps)
    if broken is not None:
        with pytest.raises(broken.kind, match=f"^step {broken.step} ") as caught:
            simulate(graph, steps)
        assert caught.value.step == broken.step
        return
    reached()
    trace = simulate(graph, steps)
    assert trace.start == memory.start
    assert trace.during.tolist() == memory.during
    assert trace.after.tolist() == memory.after
    names = graph.layout.tensor_names
    assert {names[t] for t in trace.live_before(len(steps)).nonzero()[0]} == live
    assert trace.peak == max([memory.start, *memory.during, *memory.after])


@given(st.data())
def test_valid_schedules_are_traced_as_the_rules_say(data):
    """Long valid schedules, with reruns, views and second copies."""
    graph = data.draw(graphs(min_nodes=1))
    order = data.draw(runs(graph))
    steps = decode(graph, free_early(graph, encode(graph, [Compute(f"n{v}") for v in order])))
    memory, live = walk(graph, steps)
    trace = verify(graph, Schedule.of(graph, steps))
    assert trace.during.tolist() == memory.during
    assert trace.after.tolist() == memory.after
    assert set(graph.outputs) <= live
    assert trace.compute == pytest.approx(sum(graph.nodes[v].compute for v in order))
    assert sum(trace.runs) == len(order)


@given(st.data())
def test_the_parts_of_memory_add_up_at_every_step(data):
    """Live storages, outputs, second copies and workspace are all there is."""
    graph = data.draw(graphs(min_nodes=1))
    order = data.draw(runs(graph))
    trace = simulate(graph, free_early(graph, encode(graph, [Compute(f"n{v}") for v in order])))
    for step, during in enumerate(trace.during.tolist()):
        assert sum(share.memory for share in trace.shares(step)) == during
    assert sum(share.memory for share in trace.peak_shares) == trace.peak
    at = trace.peak_step
    assert trace.peak == (trace.start if at < 0 else trace.during[at])


@enough(0.3)
@given(st.data())
def test_deleting_a_step_breaks_a_schedule_or_only_keeps_memory_longer(data):
    """Without a run that is read the schedule is refused; without a free memory never falls."""
    graph = data.draw(graphs(min_nodes=1))
    order = data.draw(runs(graph, extra=3))
    steps = decode(graph, free_early(graph, encode(graph, [Compute(f"n{v}") for v in order])))
    whole = simulate(graph, steps)
    for at, step in enumerate(steps):
        less = [*steps[:at], *steps[at + 1 :]]
        broken = verdict(graph, less)[2]
        if broken is not None:
            with pytest.raises(broken.kind, match="step"):
                simulate(graph, less)
            continue
        reached()
        trace = simulate(graph, less)
        if isinstance(step, Free):
            assert trace.peak >= whole.peak
        else:  # then every tensor that it wrote is never freed, and so never read
            assert not any(
                isinstance(other, Free) and other.tensor in {out.name for out in node.outputs}
                for node in graph.nodes
                if node.name == step.node
                for other in steps[at + 1 :]
            )


def mlp():
    g = GraphBuilder("mlp")
    x = g.input("x", 8)
    batch = g.input("batch", 4, freeable=True)
    a = g.node("a", [x, batch], memory=16, compute=3, workspace=2)
    v = g.view("v", a)
    left, right = g.node("split", v, memory={"left": 5, "right": 6}, compute=1)
    drop = g.node("drop", right, memory=7, compute=1, recomputable=False)
    g.node("y", [left, drop], memory=1, compute=2, backward=True)
    return g.build()


GOOD = (
    Compute("a"),
    Free("batch"),
    Compute("v"),
    Compute("split"),
    Free("a"),
    Free("v"),
    Compute("drop"),
    Free("right"),
    Compute("y"),
    Free("left"),
    Free("drop"),
)


def test_a_schedule_worked_out_by_hand():
    """Every figure of a small schedule, counted on paper."""
    trace = verify(mlp(), GOOD)
    assert trace.start == 12
    assert trace.during.tolist() == [30, 28, 24, 35, 35, 35, 26, 26, 21, 21, 16]
    assert trace.after.tolist() == [28, 24, 24, 35, 35, 19, 26, 20, 21, 16, 9]
    assert (trace.peak, trace.peak_step) == (35, 3)
    assert (trace.boundary, trace.checkpoints) == (8, ("left", "drop"))
    assert trace.compute == 7
    assert trace.overhead == 0


REFUSED = {
    "unknown node": ([Compute("b")], errors.UnknownName, "step 0 runs 'b'", 0),
    "unknown tensor": ([Free("b")], errors.UnknownName, "step 0 frees 'b'", 0),
    "not a step": ([("compute", "a")], errors.UnknownName, "step 0 is", 0),
    "input not computed": ([Compute("v")], errors.InputNotLive, "'a' has not computed yet", 0),
    "input freed": (
        [*GOOD[:6], Compute("v")],
        errors.InputNotLive,
        "'a', which was freed at step 4",
        6,
    ),
    "input never back": (
        [Free("batch"), Compute("a")],
        errors.InputNotLive,
        "'batch', which was freed at step 0",
        1,
    ),
    "all outputs live": ([GOOD[0], Compute("a")], errors.NothingToCompute, "live already", 1),
    "must not run twice": (
        [*GOOD[:7], Free("drop"), Compute("drop")],
        errors.RunTwice,
        "must not run twice",
        8,
    ),
    "resident freed": ([Free("x")], errors.ResidentFreed, "'x' is a resident input", 0),
    "freed before computed": ([Free("a")], errors.NotLive, "'a' is not live", 0),
    "freed twice": ([*GOOD[:2], Free("batch")], errors.NotLive, "it was freed at step 1", 2),
    "output not there": (GOOD[:-3], errors.OutputNotLive, "output 'y' is not live", None),
    "output freed": ([*GOOD, Free("y")], errors.OutputNotLive, "output 'y' is not live", None),
}


@pytest.mark.parametrize("case", REFUSED)
def test_one_schedule_for_each_rule_that_it_breaks(case):
    """Each kind of fault is an exception of its own that names the step."""
    steps, kind, message, at = REFUSED[case]
    with pytest.raises(kind, match=message) as caught:
        verify(mlp(), steps)
    assert type(caught.value) is kind
    assert caught.value.step == at


def test_the_budget_is_the_largest_peak_that_fits():
    """Peak = budget fits; one unit less is refused, naming the step and the excess."""
    assert verify(mlp(), GOOD, 35).peak == 35
    with pytest.raises(errors.OverBudget, match=r"step 3 \(compute 'split'\).* 1 more") as caught:
        verify(mlp(), GOOD, 34)
    assert caught.value.step == 3


def test_the_inputs_before_the_first_step_count():
    """A graph whose inputs alone exceed the budget fits no schedule."""
    graph = Graph([Node("a", ("x",), (Tensor("a", 1),), 1)], [Input("x", 9, freeable=True)])
    steps = [Compute("a"), Free("x")]
    with pytest.raises(errors.OverBudget, match="step 0"):
        verify(graph, steps, 9)
    only = Graph([], [Input("x", 9)])
    with pytest.raises(errors.OverBudget, match="the start"):
        verify(only, [], 8)


def test_a_storage_outlives_its_tensor_while_a_view_is_live():
    """Freeing the base frees nothing; freeing the last view does."""
    g = GraphBuilder()
    a = g.node("a", memory=10)
    v = g.view("v", a)
    g.node("y", v, memory=1)
    graph = g.build()
    steps = [Compute("a"), Compute("v"), Free("a"), Compute("y"), Free("v")]
    assert simulate(graph, steps).after.tolist() == [10, 10, 10, 11, 1]


def test_a_second_copy_counts_while_the_node_runs_and_no_longer():
    """A rerun for one output allocates the other again, whose first copy stays."""
    g = GraphBuilder()
    left, right = g.node("two", memory={"left": 3, "right": 4})
    g.node("y", [left, right], memory=1)
    graph = g.build()
    steps = [Compute("two"), Free("right"), Compute("two"), Compute("y")]
    trace = simulate(graph, steps)
    assert trace.during.tolist() == [7, 7, 10, 8]
    assert trace.after.tolist() == [7, 3, 7, 8]
    assert ("left", 3, "second copy") in trace.shares(2)
    assert "1 run beyond the first" in str(trace)


def test_a_storage_held_by_a_view_is_kept_when_its_tensor_is_computed_again():
    """The tensor returns to the storage that its view still holds."""
    g = GraphBuilder()
    a = g.node("a", memory=10)
    v = g.view("v", a)
    g.node("y", [a, v], memory=1)
    graph = g.build()
    steps = [Compute("a"), Compute("v"), Free("a"), Compute("a"), Compute("y")]
    trace = simulate(graph, steps)
    assert trace.during.tolist() == [10, 10, 10, 20, 11]
    assert trace.after.tolist() == [10, 10, 10, 10, 11]


def test_a_schedule_of_another_graph_is_refused():
    """The digest is checked; the graph's name doesn't matter."""
    plan = Schedule.of(mlp(), GOOD)
    assert verify(mlp(), plan).peak == 35
    with pytest.raises(errors.WrongGraph, match="solve this graph"):
        verify(example("chain"), plan)


def test_sums_of_large_sizes_and_costs_are_exact():
    """Figures beyond the precision of floats come out to the unit."""
    big = 2**57 + 1
    graph = Graph(
        [
            Node("a", (), (Tensor("a", big),), big),
            Node("b", ("a",), (Tensor("b", big),), big, backward=True),
        ]
    )
    trace = in_order(graph)
    assert trace.peak == 2 * big
    assert trace.compute == 2 * big


@given(graphs())
def test_encoding_is_reversible(graph):
    """Steps → codes → steps changes nothing."""
    steps = [Compute(node.name) for node in graph.nodes] + [Free(name) for name in graph.tensors]
    assert list(decode(graph, encode(graph, steps))) == steps


def test_the_oracle_itself_knows_storages():
    """A chain of views has one root."""
    g = GraphBuilder()
    a = g.node("a", memory=4)
    g.view("w", g.view("v", a))
    model = Model(g.build())
    assert model.root == {"a": "a", "v": "a", "w": "a"}
    assert model.stored({"w", "v"}) == 4


@given(graph=graphs(min_nodes=1, max_nodes=12))
def test_a_schedule_of_codes_is_that_of_its_steps(graph):
    """Made from codes or from steps: equal, with the same hash, runs, steps and pickle."""
    codes = np.concatenate([in_order(graph).codes, in_order(graph).codes])
    by_codes = Schedule.of_codes(graph, codes)
    by_steps = Schedule.of(graph, decode(graph, codes))
    assert len(by_codes) == len(by_steps) == len(codes)
    assert by_codes.reruns == by_steps.reruns == len(graph)
    assert by_codes == Schedule.of_codes(graph, codes.copy()) != Schedule.of_codes(graph, codes[1:])
    assert by_codes == by_steps == pickle.loads(pickle.dumps(by_codes))
    assert hash(by_codes) == hash(by_steps)
    assert list(by_codes) == list(by_steps) == list(by_codes.steps)
    assert repr(by_codes) == repr(by_steps)
    assert (encode(graph, by_codes) == encode(graph, by_steps)).all()
    with pytest.raises(AttributeError, match="immutable"):
        by_codes.digest = ""


def test_what_takes_no_memory_is_a_checkpoint_that_nobody_counts():
    """A view of what takes some is counted; the file's list has all of them."""
    g = GraphBuilder("marks")
    g.input("x", memory=1)
    g.node("kept", ["x"], memory=5)
    g.view("view", of="kept")
    g.node("mark", ["x"], memory=0)
    g.node("back", ["view", "mark"], memory=1, backward=True)
    trace = simulate(g.build(), [Compute(name) for name in ("kept", "view", "mark", "back")])
    assert trace.checkpoints == ("kept", "view", "mark")
    assert trace.held_checkpoints == ("kept", "view")
    assert "2 checkpoints" in str(trace)
