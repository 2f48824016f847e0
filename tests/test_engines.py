"""Levels below the device: memory and time, against rules written step by step."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schedule import (
    Compute,
    Drop,
    Free,
    Graph,
    GraphBuilder,
    Input,
    Level,
    Node,
    Offload,
    Prefetch,
    Schedule,
    Tensor,
    errors,
    example,
    simulate,
    verify,
)
from schedule.lowering import in_order
from schedule.steps import decode, encode
from tests.enough import enough, reached
from tests.oracles import Broken, on_machine
from tests.strategies import every_step, graphs, machine_steps, machines

HOST = Level("host", 100, down=2, up=4, latency=1)


def verdict(graph, steps, levels):
    """The oracle's objection, or None."""
    try:
        on_machine(graph, steps, levels)
    except Broken as broken:
        return broken
    return None


@enough(0.3)
@settings(max_examples=50)
@given(st.data())
def test_steps_that_copy_are_traced_as_the_rules_say(data):
    """Memory of every place after every step, and when each begins and ends."""
    graph = data.draw(graphs(min_nodes=1, max_nodes=6))
    levels = data.draw(machines())
    steps = data.draw(machine_steps(graph, levels))
    known = on_machine(graph, steps, levels)
    trace = simulate(graph, steps, levels)
    assert trace.start == known.start
    assert trace.during.tolist() == known.during
    assert trace.after.tolist() == known.after
    assert trace.below.T.tolist() == known.below
    assert trace.makespan == pytest.approx(float(known.makespan), rel=1e-9)
    line = trace.timeline
    for at, times in enumerate(known.times):
        assert (line.engine[at] >= 0) == (times is not None)
        if times is not None:
            assert (line.begin[at], line.end[at]) == pytest.approx(tuple(map(float, times)))
    names = graph.layout.tensor_names
    assert {names[t] for t in trace.live_before(len(steps)).nonzero()[0]} == known.live
    assert sum(trace.runs) == sum(isinstance(step, Compute) for step in steps)
    if trace.copies:
        reached()


@enough(0.3)
@settings(max_examples=50)
@given(st.data())
def test_any_steps_that_copy_are_judged_as_the_rules_say(data):
    """Same first faulty step, same rule, whatever is wrong."""
    graph = data.draw(graphs(min_nodes=1, max_nodes=4))
    levels = data.draw(machines(2))
    steps = data.draw(machine_steps(graph, levels, 15, wrong=2))
    broken = verdict(graph, steps, levels)
    if broken is None:
        simulate(graph, steps, levels)
        return
    reached()
    with pytest.raises(broken.kind, match=f"^step {broken.step} ") as caught:
        simulate(graph, steps, levels)
    assert (type(caught.value), caught.value.step) == (broken.kind, broken.step)


@enough(0.3)
@settings(max_examples=50)
@given(st.data())
def test_what_engines_do_and_what_compute_waits_for_adds_up(data):
    """Each engine does one thing at a time; compute and its waits fill the time to its end."""
    graph = data.draw(graphs(min_nodes=2, max_nodes=6))
    levels = data.draw(machines())
    trace = simulate(graph, data.draw(machine_steps(graph, levels, length=60)), levels)
    line = trace.timeline
    assert line.busy["compute"] == pytest.approx(float(trace.compute))
    for engine in range(len(line.engines)):
        on_it = line.engine == engine
        begins, ends = line.begin[on_it], line.end[on_it]
        assert (begins[1:] >= ends[:-1]).all()
        assert line.busy[line.engines[engine]] == pytest.approx((ends - begins).sum())
    computes = line.end[line.engine == 0]
    assert line.waited + line.busy["compute"] == pytest.approx(computes.max(initial=0))
    for wait in line.waits:
        reached()
        assert line.engine[wait.step] == 0 < line.engine[wait.copy]
        assert line.end[wait.copy] == line.begin[wait.step]
    assert trace.makespan >= trace.compute * (1 - 1e-12)


@settings(max_examples=50)
@given(st.data())
def test_parts_of_memory_add_up_where_something_is_copied(data):
    """What is fetched counts from the step on that fetches it."""
    graph = data.draw(graphs(min_nodes=1, max_nodes=5))
    levels = data.draw(machines(2))
    trace = simulate(graph, data.draw(machine_steps(graph, levels)), levels)
    for step, during in enumerate(trace.during.tolist()):
        assert sum(share.memory for share in trace.shares(step)) == during


@settings(max_examples=50)
@given(graphs())
def test_without_copies_time_is_compute(graph):
    """With levels below the device or without: everything else stays as it is."""
    plain = in_order(graph)
    with_host = verify(graph, plain.codes, levels=HOST)
    assert with_host.makespan == with_host.compute == plain.makespan == plain.compute
    assert with_host.below.tolist() == [[0] * len(plain.codes)]
    assert plain.below.shape == (0, len(plain.codes))
    assert with_host.copies == 0
    assert plain.timeline.busy == {"compute": pytest.approx(float(plain.compute))}
    assert (plain.timeline.begin[1:] >= plain.timeline.end[:-1]).all()


@settings(max_examples=50)
@given(st.data())
def test_encoding_steps_that_copy_is_reversible(data):
    """Steps → codes → steps changes nothing, nor does a pickle."""
    graph = data.draw(graphs(min_nodes=1))
    steps = every_step(graph, data.draw(machines()))
    codes = encode(graph, steps)
    assert list(decode(graph, codes)) == steps
    assert len(set(codes.tolist())) == len(steps)
    by_codes = Schedule.of_codes(graph, codes)
    assert by_codes == Schedule.of(graph, steps) == pickle.loads(pickle.dumps(by_codes))
    assert by_codes.reruns == 0


def small():
    g = GraphBuilder("small")
    w = g.input("w", 6)
    x = g.input("x", 4, freeable=True)
    a = g.node("a", [w, x], memory=8, compute=3)
    v = g.view("v", a)
    b = g.node("b", v, memory=2, compute=10)
    g.node("y", [a, b, w], memory=1, compute=2)
    return g.build()


OUT = [Compute("a"), Offload("a"), Compute("v"), Compute("b"), Free("v"), Free("a")]
BACK = [Prefetch("a"), Compute("y")]


def test_a_timeline_worked_out_by_hand():
    """The copy down is hidden behind `b`; the one up isn't hidden at all."""
    trace = verify(small(), [*OUT, *BACK], levels=HOST)
    assert trace.during.tolist() == [18, 18, 18, 20, 20, 20, 20, 21]
    assert trace.below.tolist() == [[0, 8, 8, 8, 8, 8, 8, 8]]
    line = trace.timeline
    assert line.begin.tolist() == [0, 3, 3, 3, 13, 13, 13, 16]
    assert line.end.tolist() == [3, 8, 3, 13, 13, 13, 16, 18]
    assert line.engines == ("compute", "host down", "host up")
    assert line.busy == {"compute": 15, "host down": 5, "host up": 3}
    assert line.waits == ((7, 6, 3.0),)
    assert (trace.makespan, trace.compute, line.waited) == (18, 15, 3)
    assert (trace.peaks_below, trace.copies) == ((8,), 2)


def test_a_free_waits_for_the_copy_that_reads_what_it_frees():
    """So that no later step takes memory that isn't free yet."""
    g = GraphBuilder()
    a = g.node("a", memory=8, compute=1)
    b = g.node("b", memory=1, compute=1)
    g.node("y", [a, b], memory=1)
    steps = [Compute("a"), Offload("a"), Free("a"), Compute("b"), Prefetch("a"), Compute("y")]
    line = simulate(g.build(), steps, HOST).timeline
    assert line.begin.tolist() == [0, 1, 6, 6, 7, 10]
    assert line.waits == ((3, 1, 5.0), (5, 4, 3.0))


def test_copies_to_a_disk_go_by_the_host():
    """Two levels are two pairs of channels; the host's copy may go once the disk has one."""
    disk = Level("disk", 50, down=1, up=1)
    graph = Graph([Node("y", ("w",), (Tensor("y", 1),), 1)], [Input("w", 4)])
    down = [Offload("w"), Offload("w", 2), Drop("w"), Free("w")]
    trace = verify(
        graph, [*down, Prefetch("w", 2), Prefetch("w"), Compute("y")], levels=[HOST, disk]
    )
    assert trace.below.tolist() == [[4, 4, 0, 0, 4, 4, 4], [0, 4, 4, 4, 4, 4, 4]]
    assert trace.timeline.end.tolist() == [3, 7, 7, 7, 11, 13, 14]
    assert trace.peak == 5


REFUSED = {
    "free of a resident without a copy": (
        [Offload("x"), Free("w")],
        errors.ResidentFreed,
        "no level has a copy",
    ),
    "free of a resident twice": (
        [Offload("w"), Free("w"), Free("w")],
        errors.NotLive,
        "'w' is not live: it was freed",
    ),
    "offload of what isn't computed": (
        [Offload("a")],
        errors.NotLive,
        "step 0 .offload 'a'.: 'a' is not live: node 'a' has not computed yet",
    ),
    "offload of a view": (
        [*OUT[:3], Offload("v")],
        errors.ViewCopied,
        "'v' is a view; copy 'a', whose storage it lies on",
    ),
    "offload twice": (
        [Offload("w"), Offload("w")],
        errors.AlreadyCopied,
        "there is a copy of 'w' on 'host' already",
    ),
    "fetch without a copy": ([Prefetch("w")], errors.NoCopy, "no copy of 'w' on 'host'"),
    "fetch of what is live": ([Offload("w"), Prefetch("w")], errors.AlreadyLive, "'w' is live"),
    "fetch of a view": ([Prefetch("v")], errors.ViewCopied, "'v' is a view"),
    "drop without a copy": ([Drop("x")], errors.NoCopy, "no copy of 'x' on 'host'"),
    "drop of the only copy": (
        [Offload("w"), Free("w"), Drop("w")],
        errors.OnlyCopyDropped,
        "the only copy of 'w', a resident input",
    ),
    "a freed view isn't fetched with its storage": (
        [*OUT, Prefetch("a"), Free("b"), Compute("b")],
        errors.InputNotLive,
        "it reads 'v', which isn't live: it was freed",
    ),
    "a level that isn't there": (
        [Offload("w"), Offload("w", 2)],
        errors.NoSuchLevel,
        r"step 1 .offload 'w'. is for level 2, but below the device are only 1",
    ),
    "no level at all": ([Offload("w", 0)], errors.UnknownName, "for level 0; levels are counted"),
    "no tensor": ([Prefetch("q")], errors.UnknownName, "step 0 .prefetch. is about 'q'"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_one_sequence_for_each_rule_that_it_breaks(case):
    """Each kind of fault is an exception of its own that names the step."""
    steps, kind, message = REFUSED[case]
    with pytest.raises(kind, match=message) as caught:
        verify(small(), steps, levels=HOST)
    assert type(caught.value) is kind
    assert caught.value.step == len(steps) - 1


def test_an_input_that_stays_on_the_device_is_copied_by_no_step():
    """It may be freed all the same, where it may be."""
    graph = Graph(
        [Node("y", ("x",), (Tensor("y", 1),), 1)], [Input("x", 4, True, offloadable=False)]
    )
    said = r"step 0 .offload 'x'.: 'x' stays on the device .offloadable: false."
    with pytest.raises(errors.NotOffloadable, match=said):
        verify(graph, [Offload("x"), Compute("y")], levels=HOST)
    assert verify(graph, [Compute("y"), Free("x")], levels=HOST).after[-1] == 1


def test_steps_that_copy_are_refused_where_there_is_nothing_below():
    """Whoever knows of no levels doesn't take them for something else."""
    for steps in (OUT, encode(small(), OUT)):
        with pytest.raises((errors.NoSuchLevel, errors.UnknownName), match="step 1 "):
            verify(small(), steps)


def test_capacity_is_the_most_that_a_level_may_hold():
    """As much as it holds is enough; one less is refused, naming the step."""
    steps = [Offload("w"), *OUT, *BACK]
    assert verify(small(), steps, levels=Level("host", 14, 1, 1)).peaks_below == (14,)
    with pytest.raises(
        errors.OverCapacity, match=r"step 2 .* 14 in use on 'host', 1 more"
    ) as caught:
        verify(small(), steps, levels=Level("host", 13, 1, 1))
    assert caught.value.step == 2


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"name": ""}, "a level's name is empty"),
        ({"capacity": -1}, "capacity is -1; it has to be an integer"),
        ({"capacity": 1.5}, "capacity is 1.5"),
        ({"down": 0}, "the bandwidth down is 0; it has to be a number > 0"),
        ({"up": float("nan")}, "the bandwidth up is nan"),
        ({"up": "fast"}, "the bandwidth up is 'fast'"),
        ({"down": 1e-320}, "the bandwidth down is 1e-320, which is too small"),
        ({"latency": -1}, "latency is -1; it has to be a number ≥ 0"),
        ({"latency": float("nan")}, "latency is nan; it has to be a number ≥ 0"),
        ({"down": float("inf")}, "the bandwidth down is inf, which is too large"),
        ({"up": -float("inf")}, "the bandwidth up is -inf; it has to be a number > 0"),
        ({"latency": 2**61}, "latency is 2305843009213693952, which is too large"),
    ],
)
def test_a_level_that_is_none_is_refused(change, said):
    """One message, with the level's name and the value."""
    with pytest.raises(errors.BadOption, match=said):
        Level(**{"name": "host", "capacity": 1, "down": 1, "up": 1} | change)


@pytest.mark.parametrize(
    ("levels", "said"),
    [
        ("host", "levels is 'host'; it has to be a list"),
        ([("host", 1)], "a level is a schedule.Level"),
        ([HOST, HOST], "two levels are called 'host'"),
        ([Level(f"l{at}", 1, 1, 1) for at in range(9)], "there are 9 levels"),
    ],
)
def test_levels_that_are_none_are_refused(levels, said):
    """Whatever stands in their place."""
    with pytest.raises(errors.BadOption, match=said):
        verify(small(), [], levels=levels)


def test_numbers_of_numpy_are_kept_as_pythons():
    """A level that was made of them is equal to one of Python's."""
    made = Level("host", np.int64(100), np.float32(2), np.int32(4), np.float64(1))
    assert made == HOST
    assert pickle.loads(pickle.dumps(made)) == HOST
    assert type(made.capacity) is int


def test_the_makespan_of_a_long_schedule_is_exact():
    """Large computes don't lose units where nothing is waited for."""
    big = 2**57 + 1
    graph = Graph(
        [Node("a", (), (Tensor("a", 1),), big), Node("b", ("a",), (Tensor("b", 1),), big)]
    )
    steps = [Compute("a"), Offload("a"), Compute("b")]
    assert simulate(graph, steps, HOST).makespan == 2 * big
    assert simulate(example("chain"), in_order(example("chain")).codes).makespan > 0
