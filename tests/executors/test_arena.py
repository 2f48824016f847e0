"""Replays in one arena: the plain run's values, in as many bytes as promised."""

import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import schedule
from schedule.errors import BadAddresses, BadInput, BadOption, KernelError, NotEqual
from schedule.executors import Into, replay_compared, replay_synthetic, run, slots
from tests.executors.replaying import planned


@pytest.mark.parametrize("backend", ["numpy", "torch"])
@settings(max_examples=12, deadline=None)
@given(planned(), st.sampled_from([1, 64]), st.sampled_from(["inside", "outside"]))
def test_any_schedule_gives_the_plain_outputs(backend, case, alignment, inputs):
    """Equal hashes, and what was allocated is the arena's size and the inputs outside."""
    if backend == "torch":
        pytest.importorskip("torch")
    graph, trace = case
    arena = schedule.place(graph, trace.codes, alignment=alignment, inputs=inputs)
    plan = replace(
        schedule.solve(graph, solver="store_all"),
        schedule=schedule.Schedule.of_codes(graph, trace.codes),
        addresses=arena.addresses,
    )
    found = replay_synthetic(graph, plan, backend=backend, arena=True)
    outside = sum(i.memory for i in graph.inputs if inputs == "outside" and not i.freeable)
    assert found.planned.outputs == found.plain.outputs
    assert found.planned.arena == arena.size
    assert found.planned.measured_peak == arena.size + outside
    assert found.planned.exact


def test_made_up_inputs_are_in_the_arena_alone():
    """Beside an arena with four inputs of a megabyte there is one of them at a time."""
    g = schedule.GraphBuilder("inputs")
    g.node("sum", [g.input(f"x{at}", memory=2**20) for at in range(4)], memory=8)
    graph = g.build()
    plan, held = schedule.solve(graph), []
    tracemalloc.start()
    before = tracemalloc.get_traced_memory()[0]
    replay_synthetic(
        graph,
        plan,
        arena=True,
        watch=lambda node: held.append(tracemalloc.get_traced_memory()[0] - before),
    )
    peak = tracemalloc.get_traced_memory()[1] - before
    tracemalloc.stop()
    assert max(held) < 4.5 * 2**20
    assert peak < 5.5 * 2**20


def test_what_overlaps_shows(monkeypatch):
    """Refused before anything runs; let through, the outputs differ."""
    g = schedule.GraphBuilder("overlap")
    a = g.node("a", [], memory=32)
    b = g.node("b", [a], memory=32)
    c = g.node("c", [b], memory=32)
    g.node("d", [a, c], memory=32)
    graph = g.build()
    plan = schedule.solve(graph, solver="store_all")
    good = schedule.place(graph, plan).addresses
    first = next(offset for _, name, offset in good.offsets if name == "a")
    moved = tuple((s, n, first if n == "c" else at) for s, n, at in good.offsets)
    bad = replace(plan, addresses=replace(good, offsets=moved))
    with pytest.raises(BadAddresses, match="overlap"):
        replay_synthetic(graph, bad, arena=True)
    monkeypatch.setattr(slots, "verify_addresses", lambda trace, addresses: [])
    with pytest.raises(NotEqual, match="'d'"):
        replay_synthetic(graph, bad, arena=True)


def doubling(kernel, memory=32):
    g = schedule.GraphBuilder("double")
    g.node("y", g.input("x", memory=32), memory=memory)
    return g.build(), lambda graph: ({"y": kernel}, {"x": np.arange(4.0)})


@pytest.mark.parametrize(
    "kernel",
    [
        lambda x: 2 * x,
        lambda x: np.asfortranarray((2 * x).reshape(2, 2)),
        Into(lambda x, out: np.multiply(x, 2, out=out[0].view(x.dtype))),
    ],
)
def test_given_kernels_copied_in_or_in_place(kernel):
    graph, made = doubling(kernel)
    found = replay_compared(graph, schedule.solve(graph), made, arena=True)
    assert found.planned.exact
    assert found.planned.outputs["y"].strides == found.plain.outputs["y"].strides


def test_freed_memory_is_poison():
    """A kernel that keeps its input reads NaN once that is freed."""
    kept = []
    g = schedule.GraphBuilder("stale")
    a = g.node("a", [], memory=32)
    b = g.node("b", [a], memory=32)
    g.node("c", [b], memory=32)
    graph = g.build()
    kernels = {
        "a": lambda: np.ones(4),
        "b": lambda a: kept.append(a) or a + 1,
        "c": lambda b: b + kept[0],
    }
    plan = schedule.solve(graph)
    assert np.isnan(run(graph, plan, kernels, {}, arena=True).outputs["c"]).all()


@pytest.mark.parametrize(
    ("kernel", "message"),
    [
        (lambda x: np.ma.array(2 * x), "MaskedArray; .* only ndarrays"),
        (lambda x: x[:2].copy(), "the graph says 32"),
        (lambda x: x, "shares the memory of 'x'"),
        (lambda x: np.array([None] * 4), "object"),
    ],
)
def test_what_cannot_lie_there_is_refused(kernel, message):
    graph, made = doubling(kernel)
    kernels, inputs = made(graph)
    with pytest.raises(KernelError, match=message):
        run(graph, schedule.solve(graph), kernels, inputs, arena=True)


def test_inputs_and_options_are_refused():
    graph, made = doubling(lambda x: 2 * x)
    kernels, _ = made(graph)
    plan = schedule.solve(graph)
    with pytest.raises(BadInput, match="'x' has gaps"):
        run(graph, plan, kernels, {"x": np.arange(8.0)[::2]}, arena=True)
    with pytest.raises(BadOption, match="check_sizes"):
        run(graph, plan, kernels, {"x": np.arange(4.0)}, arena=True, check_sizes=False)
