"""Replays that copy to levels below the device: same bits, promised peaks, engines side by side."""

from __future__ import annotations

import tempfile
import threading
import weakref

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import schedule
from schedule import Compute, Free, Level, Offload, Prefetch
from schedule.errors import BadInput, BadOption, KernelError
from schedule.executors.calls import kernel_table, run
from schedule.executors.levels import LevelTables
from schedule.executors.loop import Tables, execute
from schedule.executors.numpy import NumpyBackend
from schedule.executors.synthetic import _Maker, replay_synthetic
from schedule.lowering import in_order
from tests import strategies
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

HOST = Level("host", 2**30, down=1, up=1)


def executed(trace):
    """A trace's steps with synthetic kernels, and what its live outputs hold."""
    backend = NumpyBackend()
    maker = _Maker(backend, 0, None)
    inputs = {item.name: maker._input(item) for item in trace.graph.inputs}
    tables = LevelTables if trace.copies else Tables
    found = execute(
        trace,
        tables(
            trace.graph if tables is Tables else trace,
            kernel_table(trace, maker._kernel),
            inputs,
            backend,
            True,
        ),
    )
    return found, {name: a.tobytes() for name, a in found.outputs.items() if a is not None}


@settings(max_examples=60)
@given(data=st.data())
def test_any_steps_on_any_machine(data):
    """Whatever is copied where: peaks of every level to the byte, contents bit for bit."""
    graph = data.draw(strategies.graphs(min_nodes=1))
    levels = data.draw(strategies.machines())
    trace = schedule.simulate(graph, data.draw(strategies.machine_steps(graph, levels)), levels)
    assume(trace.copies)
    before = set(threading.enumerate())
    found, contents = executed(trace)
    assert found.exact
    assert found.measured_peak == trace.peak
    measured = tuple(found.levels[level.name].measured for level in levels)
    assert measured == trace.peaks_below
    _, expected = executed(in_order(graph))
    assert contents.items() <= expected.items()
    live = trace.live_before(len(trace.codes))
    there = {name for name in graph.outputs if live[graph.layout.tensor_id[name]]}
    assert set(contents) == there
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize("backend", ["numpy", "torch"])
def test_both_backends_replay_a_plan(backend):
    """A plan that copies and recomputes: equal to the plain run, as promised on both levels."""
    if backend == "torch":
        pytest.importorskip("torch")
    graph = schedule.example("unet", size=8)
    plan = schedule.solve(graph, "75%", "offload_largest", levels=HOST)
    found = replay_synthetic(graph, plan, backend=backend)
    assert found.planned.exact
    assert found.planned.levels["host"].measured == plan.level_peaks[0] > 0
    assert found.to_json()["levels"]["host"]["promised_peak"] == plan.level_peaks[0]


def example():
    """`a` waits on the host while `b` runs."""
    g = schedule.GraphBuilder("waits")
    a = g.node("a", memory=80, compute=1)
    b = g.node("b", a, memory=8, compute=5)
    g.node("y", [a, b], memory=8, compute=1)
    steps = [Compute("a"), Offload("a"), Compute("b"), Free("a"), Prefetch("a"), Compute("y")]
    return g.build(), steps


def planned(graph, steps):
    """Steps as a result with a host."""
    trace = schedule.verify(graph, steps, levels=HOST)
    made = schedule.solve(graph, levels=HOST)
    from dataclasses import replace

    from schedule.steps import Schedule

    return replace(
        made, schedule=Schedule.of_codes(graph, trace.codes), makespan=trace.makespan, trace=None
    )


KERNELS = {
    "a": lambda: np.arange(10.0),
    "b": lambda a: a[:1].copy(),
    "y": lambda a, b: (a.sum() + b).reshape(1),
}


class Watched(NumpyBackend):
    """Copies wait until they are let go, and are counted."""

    def __init__(self):
        super().__init__()
        self.go, self.made = threading.Event(), []

    def moved_across(self, array, slot):
        assert self.go.wait(60), "nothing runs beside the copy"
        self.made.append((threading.current_thread().name, array.nbytes))
        return super().moved_across(array, slot)


def test_channels_work_beside_kernels():
    """A copy down is made while a kernel runs; the free after it waits; the reader waits, too."""
    graph, steps = example()
    backend, first = Watched(), []

    def a():
        made = np.arange(10.0)
        first.append(weakref.ref(made))
        return made

    def b(array):
        assert not backend.made  # else the kernel would have waited for the copy
        backend.go.set()
        return array[:1].copy()

    def y(array, other):
        names = [name for name, _ in backend.made]
        assert names == ["schedule: host down", "schedule: host up"]
        assert first[0]() is None  # what was freed has gone; this is another array
        return (array.sum() + other).reshape(1)

    found = run(graph, planned(graph, steps), {"a": a, "b": b, "y": y}, {}, backend=backend)
    assert found.outputs["y"].tolist() == [45.0]
    assert found.levels["host"].measured == 80
    assert found.exact


def test_links_are_kept_to():
    """With seconds for a unit of compute, no replay is quicker than its copies."""
    graph, steps = example()
    plan = planned(graph, steps)
    found = run(graph, plan, KERNELS, {}, unit_seconds=1e-4)
    assert found.seconds >= 2 * 80 * 1e-4
    for wrong in (-1, "fast", float("inf")):
        with pytest.raises(BadOption, match="unit_seconds is"):
            run(graph, plan, KERNELS, {}, unit_seconds=wrong)


def test_resident_inputs_leave_the_device():
    """A parameter that lives on the host is gone from the caller's mapping, and comes back."""
    g = schedule.GraphBuilder("parameter")
    w = g.input("w", memory=80, freeable=False)
    h = g.node("h", w, memory=8)
    big = g.node("big", h, memory=80)
    g.node("y", [w, g.node("small", big, memory=8)], memory=8)
    graph = g.build()
    steps = [Offload("w"), Compute("h"), Free("w"), Compute("big"), Free("h")]
    steps += [Compute("small"), Free("big"), Prefetch("w"), Compute("y"), Free("small")]
    kernels = {
        "h": lambda w: w[:1].copy(),
        "big": lambda h: np.full(10, h[0]),
        "small": lambda big: big[:1] + 1,
        "y": lambda w, small: w[1:2] + small,
    }
    found = run(graph, planned(graph, steps), kernels, {"w": np.arange(10.0)})
    assert found.outputs["y"].tolist() == [2.0]
    assert found.exact
    assert found.measured_peak < 2 * 80


def test_what_cannot_be_copied_is_named(tmp_path, monkeypatch):
    """Of an array of a subclass a copy wouldn't be the same; nothing stays behind."""
    graph, steps = example()
    plan = planned(graph, steps)

    class Odd(np.ndarray):
        pass

    before = set(threading.enumerate())
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with pytest.raises(BadInput, match=r"'a' can't be copied to another level: it is a .*Odd"):
        run(graph, plan, KERNELS | {"a": lambda: np.arange(10.0).view(Odd).copy()}, {})
    with pytest.raises(KernelError, match="its kernel raised ZeroDivisionError"):
        run(graph, plan, KERNELS | {"b": lambda a: 1 // 0}, {})
    assert set(threading.enumerate()) == before
    assert list(tmp_path.iterdir()) == []


def test_a_backend_that_cannot_copy_is_refused():
    """Before anything has run."""
    graph, steps = example()

    class Plain:
        name, kind = "plain", "array"

        def __getattr__(self, name):
            if name in ("moved_across", "in_file", "in_host"):
                raise AttributeError(name)
            return getattr(NumpyBackend(), name)

    with pytest.raises(BadOption, match="'plain' can't copy between levels"):
        run(graph, planned(graph, steps), KERNELS, {}, backend=Plain())
