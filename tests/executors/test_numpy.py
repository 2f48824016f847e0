"""Replays with the caller's own kernels, on NumPy."""

import gc
import os
import subprocess
import sys
import tracemalloc
import types
import weakref
from pathlib import Path

import numpy as np
import pytest

import schedule
from schedule.errors import (
    BadInput,
    BadOption,
    InputNotLive,
    KernelError,
    OutputNotLive,
    WrongGraph,
)
from schedule.executors import run
from schedule.lowering import in_order
from schedule.steps import Compute, Free, Schedule, decode
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

N = 1000
BYTES = 8 * N


def branching(freeable=False):
    """x → a → (b, c), d = a·b, with a rerun of `a` in `steps`."""
    g = schedule.GraphBuilder("branching")
    x = g.input("x", memory=BYTES, freeable=freeable)
    a = g.node("a", x, memory=BYTES)
    b, _ = g.node("split", a, memory={"b": BYTES, "c": BYTES})
    g.node("d", [a, b, a], memory=BYTES)
    return g.build(outputs=["d"])


KERNELS = {
    "a": lambda x: x + 1,
    "split": lambda a: (2 * a, 3 * a),
    "d": lambda a, b, again: a * b - again,
}
RERUN = [
    Compute("a"),
    Compute("split"),
    Free("a"),
    Free("c"),
    Compute("a"),
    Compute("d"),
    Free("a"),
    Free("b"),
]


def x():
    return np.arange(float(N))


def expected():
    a = x() + 1
    return a * (2 * a) - a


def ordered(graph):
    """The program as it is, as steps."""
    return decode(graph, in_order(graph).codes)


@pytest.mark.parametrize("wrap", [list, tuple, iter, "schedule", "result"])
def test_any_form_of_plan_is_run(wrap):
    """Steps, a Schedule and a Result give what the program gives."""
    graph = branching()
    if wrap == "result":
        plan = schedule.solve(graph, solver="store_all")
    else:
        plan = Schedule.of(graph, RERUN) if wrap == "schedule" else wrap(RERUN)
    found = schedule.replay(graph, plan, KERNELS, {"x": x()})
    assert list(found) == ["d"]
    assert np.array_equal(found["d"], expected())


def test_kernels_by_operation_or_from_a_function():
    """A mapping by operation, or a function of the node, is as good as one by name."""
    graph = branching()
    by_operation = {"add": KERNELS["a"], "fan": KERNELS["split"], "mul": KERNELS["d"]}
    of_node = {"a": "add", "split": "fan", "d": "mul"}
    for kernels, operations in (
        (by_operation, of_node),
        (by_operation, lambda node: of_node[node.name]),
        (lambda node: KERNELS[node.name], None),
    ):
        found = schedule.replay(graph, RERUN, kernels, {"x": x()}, operations=operations)
        assert np.array_equal(found["d"], expected())


def test_list_and_tuple_of_one_array_are_one_output():
    for wrap in (list, tuple):
        kernels = KERNELS | {"a": lambda x, wrap=wrap: wrap([x + 1])}
        assert "d" in schedule.replay(branching(), RERUN, kernels, {"x": x()})


def test_scalars_are_arrays_of_no_dimension():
    """NumPy's sums are scalars; they go in and out as arrays."""
    g = schedule.GraphBuilder()
    g.node("s", g.input("x", memory=8), memory=8)
    found = schedule.replay(
        g.build(), [Compute("s")], {"s": lambda x: np.sum(x)}, {"x": np.float64(3)}
    )
    assert isinstance(found["s"], np.ndarray)
    assert found["s"] == 3


def test_output_may_be_an_input():
    g = schedule.GraphBuilder()
    given = x()
    g.input("x", memory=BYTES)
    assert schedule.replay(g.build(), [], {}, {"x": given})["x"] is given


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"a": None}, r"node 'a' runs, but has no callable under its name"),
        ({"a": 7}, r"node 'a' runs, but has no callable under its name"),
    ],
)
def test_missing_kernel_is_named_before_anything_runs(change, message):
    with pytest.raises(BadInput, match=message):
        schedule.replay(branching(), RERUN, KERNELS | change, {"x": x()})


def test_missing_operation_is_named():
    with pytest.raises(BadInput, match=r"node 'a' runs, but has no operation"):
        schedule.replay(branching(), RERUN, KERNELS, {"x": x()}, operations={})
    with pytest.raises(BadInput, match=r"node 'a' .* no callable for its operation 'add'"):
        schedule.replay(branching(), RERUN, KERNELS, {"x": x()}, operations=lambda node: "add")
    with pytest.raises(BadInput, match=r"node 'a' .* no callable from the function of kernels"):
        schedule.replay(branching(), RERUN, lambda node: None, {"x": x()})


def test_node_that_does_not_run_needs_no_kernel():
    g = schedule.GraphBuilder()
    g.node("a", memory=8)
    g.node("b", memory=8)
    graph = g.build(outputs=["a"])
    assert schedule.replay(graph, [Compute("a")], {"a": lambda: np.zeros(1)}, {})["a"] == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"input 'x' is missing"),
        ({"x": [1.0]}, r"input 'x' is list; this replay runs on numpy.ndarrays"),
        ({"x": np.array([None])}, r"input 'x' is numpy.ndarray of object"),
        ({"x": np.zeros(3)}, r"input 'x' has 24 bytes \(float64, shape \(3,\)\); .* says 8000"),
    ],
)
def test_wrong_input_is_named(given, message):
    with pytest.raises(BadInput, match=message):
        schedule.replay(branching(), RERUN, KERNELS, given)


def test_plan_has_to_be_one_for_this_graph():
    """Another graph's schedule, an incomplete one, and none at all are refused at once."""
    graph = branching()
    with pytest.raises(WrongGraph, match=r"made for graph 'branching'"):
        schedule.replay(graph, Schedule.of(branching(freeable=True), RERUN), KERNELS, {"x": x()})
    with pytest.raises(OutputNotLive, match=r"output 'd'"):
        schedule.replay(graph, RERUN[:2], KERNELS, {"x": x()})
    with pytest.raises(InputNotLive, match=r"step 0 .* reads 'a'"):
        schedule.replay(graph, [Compute("d"), Compute("a")], KERNELS, {"x": x()})
    with pytest.raises(BadInput, match=r"there is no schedule: infeasible"):
        schedule.replay(graph, schedule.solve(graph, budget=1), KERNELS, {"x": x()})


@pytest.mark.parametrize("step", range(len(RERUN)))
def test_no_step_can_go(step):
    """Without one of its steps the plan is refused, or, without a last free, holds more."""
    rest = RERUN[:step] + RERUN[step + 1 :]
    if isinstance(RERUN[step], Compute) or step == 2:
        with pytest.raises(schedule.InvalidSchedule, match=r"step|not live"):
            run(branching(), rest, KERNELS, {"x": x()})
    else:
        more = run(branching(), rest, KERNELS, {"x": x()})
        assert more.exact
        assert schedule.simulate(branching(), rest).after[-1] > 2 * BYTES


def raising(*arrays):
    raise ZeroDivisionError("no way")


class Buffer:
    """Returns the same array at every call."""

    def __init__(self, array):
        self.array = array

    def __call__(self, *arrays):
        return self.array


@pytest.mark.parametrize(
    ("node", "kernel", "message"),
    [
        ("a", raising, r"node 'a' \(step 0\): its kernel raised ZeroDivisionError: no way"),
        ("a", lambda: None, r"raised TypeError: .* it is given what .* reads: 'x'"),
        ("a", lambda x: None, r"node 'a' \(step 0\): 'a' is None, not a numpy.ndarray"),
        ("a", lambda x: 3.0, r"'a' is float, not a numpy.ndarray"),
        ("a", lambda x: np.array([x, None], object), r"'a' is numpy.ndarray of object"),
        ("a", lambda x: (x + 1, x), r"node 'a' .* returned 2 arrays for 1: 'a'"),
        ("a", lambda x: [], r"node 'a' .* returned 0 arrays for 1: 'a'"),
        ("split", lambda a: 2 * a, r"node 'split' \(step 1\): .* 1 array for 2: 'b', 'c'"),
        ("a", lambda x: x[:1] + 1, r"'a' takes 8 bytes \(float64, shape \(1,\)\); .* says 8000"),
        (
            "a",
            lambda x: np.zeros(2 * N)[:N],
            r"'a' takes 16000 bytes \(float64, shape \(1000,\), 8000 of them shown: return a copy",
        ),
        ("a", lambda x: x, r"node 'a' \(step 0\): 'a' shares the memory of 'x'; return a copy"),
        ("a", lambda x: x[::-1], r"'a' shares the memory of 'x'"),
        ("d", lambda a, b, again: b.reshape(10, -1), r"node 'd' .*: 'd' shares the memory of 'b'"),
        ("split", lambda a: (a + 1,) * 2, r"'c' shares the memory of 'b'"),
        ("split", lambda a: (2 * a, a), r"node 'split' \(step 1\): 'c' shares the memory of 'a'"),
    ],
)
def test_wrong_kernel_is_named(node, kernel, message):
    """What is wrong, with which output of which node, at which step."""
    with pytest.raises(KernelError, match=message):
        schedule.replay(branching(), RERUN, KERNELS | {node: kernel}, {"x": x()})


def test_exception_of_a_kernel_is_the_cause():
    with pytest.raises(KernelError, match=r"node 'd'") as caught:
        schedule.replay(branching(), RERUN, KERNELS | {"d": raising}, {"x": x()})
    assert isinstance(caught.value.__cause__, ZeroDivisionError)


def test_interruption_passes_through():
    def interrupted(*arrays):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt, match=r"^$"):
        schedule.replay(branching(), RERUN, KERNELS | {"d": interrupted}, {"x": x()})


def test_sizes_go_unchecked_where_asked():
    """A graph that doesn't count in bytes is run all the same, and measured in bytes."""
    graph = schedule.example("chain", layers=2)
    with pytest.raises(KernelError, match=r"says 1 \(check_sizes=False, where"):
        schedule.replay(graph, ordered(graph), lambda node: lambda *a: np.zeros(5), {})
    found = run(graph, ordered(graph), lambda node: lambda *a: np.zeros(5), {}, check_sizes=False)
    assert found.measured_peak == 40 * found.promised_peak


class Watched(dict):
    """Kernels that remember weakly every array they made."""

    def __init__(self, kernels):
        super().__init__({name: self._watched(kernel) for name, kernel in kernels.items()})
        self.made = []

    def _watched(self, kernel):
        def call(*arrays):
            found = kernel(*arrays)
            for array in found if isinstance(found, tuple) else (found,):
                self.made.append(weakref.ref(array))
            return found

        return call

    @property
    def alive(self):
        return [ref() for ref in self.made if ref() is not None]


@pytest.fixture
def no_collector():
    """Without the garbage collector, whatever is in a cycle of references stays."""
    gc.disable()
    yield
    gc.enable()


@pytest.mark.parametrize(
    "fault", [raising, lambda *a: None, lambda *a: a[0], lambda *a: np.ones(1)]
)
@pytest.mark.parametrize("node", ["a", "split", "d"])
def test_nothing_leaks_when_a_kernel_fails(node, fault, no_collector):
    """Once the exception is dropped every array is gone, the freeable input too."""
    kernels = Watched({name: kernel for name, kernel in KERNELS.items() if name != node})
    kernels[node] = fault
    graph = branching(freeable=True)
    given = {"x": x()}
    kernels.made.append(weakref.ref(given["x"]))
    steps = [RERUN[0], *RERUN[1:5], Free("x"), *RERUN[5:]]
    with pytest.raises(KernelError, match=rf"node '{node}'") as caught:
        schedule.replay(graph, steps, kernels, given)
    given.clear()
    del caught
    assert kernels.alive == []


def test_nothing_leaks_after_success(no_collector):
    """Only the outputs are left, and they go with the last reference."""
    kernels = Watched(KERNELS)
    found = schedule.replay(branching(), RERUN, kernels, {"x": x()})
    assert [id(array) for array in kernels.alive] == [id(found["d"])]
    del found
    assert kernels.alive == []


def test_frees_are_real():
    """While a node runs, only what is live exists: seen by weak references from inside."""
    kernels = Watched(KERNELS)
    counts = []
    observed = {
        name: lambda *arrays, kernel=kernel: (counts.append(len(kernels.alive)), kernel(*arrays))[1]
        for name, kernel in kernels.items()
    }
    schedule.replay(branching(), RERUN, observed, {"x": x()})
    assert counts == [0, 1, 1, 2]


def test_freed_input_leaves_the_callers_mapping():
    """A mutable mapping loses it, any other keeps it; resident inputs stay in both."""
    graph = branching(freeable=True)
    steps = ordered(graph)
    given = {"x": x(), "more": 1}
    there = weakref.ref(given["x"])
    found = run(graph, steps, KERNELS, given)
    assert found.exact
    assert given == {"more": 1}
    assert there() is None
    kept = types.MappingProxyType({"x": x()})
    found = run(graph, steps, KERNELS, kept)
    assert list(kept) == ["x"]
    assert found.measured_peak > found.promised_peak  # it's there, so it is counted
    given = {"x": x()}
    run(branching(), RERUN, KERNELS, given)
    assert list(given) == ["x"]


def test_kept_result_is_measured():
    """A kernel that keeps what it made is seen, though the schedule frees it."""
    kept = []

    def keeping(x):
        kept.append(x + 1)
        return kept[-1]

    found = run(branching(), RERUN, KERNELS | {"a": keeping}, {"x": x()})
    assert found.promised_peak == 4 * BYTES
    assert found.measured_peak == 5 * BYTES


def test_slice_counts_as_itself():
    """A batch cut out of a data set counts as the batch, though the whole set is there."""
    data = np.zeros(5 * N)
    assert run(branching(), RERUN, KERNELS, {"x": data[N : 2 * N]}).exact


def views():
    """x → h, left and right views of it, left's twin a view of left; sums of both."""
    g = schedule.GraphBuilder("views")
    h = g.node("h", g.input("x", memory=BYTES), memory=BYTES)
    left, right = g.views("split", h, ["left", "right"])
    twin = g.view("twin", left)
    g.node("sums", [twin, right], memory=16)
    return g.build()


VIEW_KERNELS = {
    "h": lambda x: x + 1,
    "split": lambda h: (h[: N // 2], h[N // 2 :]),
    "twin": lambda left: left.reshape(2, -1),
    "sums": lambda twin, right: np.array([twin.sum(), right.sum()]),
}


def test_views_keep_their_storage_and_no_more():
    """The base's name is freed early; its memory stays with the last view, and goes with it."""
    graph = views()
    kernels = Watched(VIEW_KERNELS)
    steps = [Compute("h"), Compute("split"), Free("h"), Compute("twin"), Free("left")]
    steps += [Compute("sums"), Free("twin"), Free("right")]
    found = run(graph, steps, kernels, {"x": x()})
    halves = (x() + 1).reshape(2, -1).sum(axis=1)
    assert np.array_equal(found.outputs["sums"], halves)
    assert found.exact
    assert [id(array) for array in kernels.alive] == [id(found.outputs["sums"])]


def test_rerun_on_a_live_storage_gets_that_storage_back():
    """The second copy goes at once: tensor and old view lie on the same memory again."""
    graph = views()
    seen = []
    split = VIEW_KERNELS["split"]
    kernels = VIEW_KERNELS | {"split": lambda h: (seen.append(h), split(h))[1]}
    steps = [Compute("h"), Compute("split"), Free("h"), Free("left"), Compute("h")]
    steps += [Compute("split"), Free("h"), Compute("twin"), Compute("sums")]
    steps += [Free(name) for name in ("left", "right", "twin")]
    found = run(graph, steps, kernels, {"x": x()})
    assert seen[0] is seen[1]
    assert np.array_equal(found.outputs["sums"], (x() + 1).reshape(2, -1).sum(axis=1))
    assert found.promised_peak == 3 * BYTES
    del seen[:]
    assert run(graph, steps, kernels, {"x": x()}).measured_peak == 3 * BYTES


@pytest.mark.parametrize(
    ("node", "kernel", "message"),
    [
        ("twin", lambda left: left.copy(), r"'twin' has memory of its own; .* a view of 'left'"),
        ("split", lambda h: (h[:5], h[5:] + 1), r"'right' has memory of its own; .* view of 'h'"),
    ],
)
def test_copy_in_place_of_a_view_is_refused(node, kernel, message):
    with pytest.raises(KernelError, match=message):
        schedule.replay(views(), ordered(views()), VIEW_KERNELS | {node: kernel}, {"x": x()})


def test_empty_arrays_share_nothing():
    """One empty array may stand for many tensors: it has no memory to share."""
    g = schedule.GraphBuilder()
    a = g.node("a", memory=0)
    b = g.node("b", a, memory=0)
    g.node("c", [a, b], memory=0)
    empty = Buffer(np.empty(0))
    graph = g.build()
    assert run(graph, ordered(graph), dict.fromkeys("abc", empty), {}).measured_peak == 0


def test_unknown_backend_is_named():
    with pytest.raises(BadOption, match=r"backend is 'jax'; there are 'numpy' and 'torch'"):
        schedule.replay(branching(), RERUN, KERNELS, {"x": x()}, backend="jax")


def test_replay_without_torch_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(schedule.ScheduleError, match=r"pip install 'graph-schedule\[torch\]'"):
        schedule.replay(branching(), RERUN, KERNELS, {"x": x()}, backend="torch")


def test_replay_needs_numpy_alone(tmp_path):
    """A training machine has no solver: none of its packages is imported."""
    graph = branching()
    schedule.write(graph, tmp_path / "graph.json")
    schedule.solve(graph, solver="store_all").save(tmp_path / "plan.json")
    code = """
import sys
for name in ("highspy", "ortools", "networkx", "torch", "click", "rich", "numba", "matplotlib"):
    sys.modules[name] = None
import numpy as np
import schedule
from schedule.executors import replay_synthetic
graph, plan = schedule.read("graph.json"), schedule.read_schedule("plan.json")
kernels = {"a": lambda x: x + 1, "split": lambda a: (a + 1, a + 2), "d": lambda a, b, c: a + b}
print(schedule.replay(graph, plan, kernels, {"x": np.zeros(1000)})["d"].sum())
print(replay_synthetic(graph, plan).planned.exact)
print([name for name in sys.modules if name.startswith(("schedule.solvers", "schedule.planner"))])
"""
    path = os.environ | {"PYTHONPATH": str(Path(schedule.__file__).parent.parent)}
    found = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, env=path, capture_output=True, text=True
    )
    assert found.stdout.split("\n") == ["3000.0", "True", "[]", ""], found.stderr


def test_interpreter_overhead_is_small():
    """All that Python allocates for a replay beside the arrays is a few kilobytes."""
    graph = branching()
    steps, given = tuple(RERUN), {"x": x()}
    run(graph, steps, KERNELS, given)
    tracemalloc.start()
    try:
        found = run(graph, steps, KERNELS, given)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    allocated = found.promised_peak - BYTES  # the input was there before
    assert 0 <= peak - allocated < 50_000
