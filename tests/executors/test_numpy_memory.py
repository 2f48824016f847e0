"""Measured is promised: what NumPy allocates is what the memory model says, to the byte.

NumPy reports its arrays' buffers to tracemalloc in a domain of their own, so Python's own
objects (an array's header among them) are kept apart. So are, by the file that allocates them,
the integer arrays that the package itself works with.
"""

import tracemalloc
from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings

import schedule
from schedule.errors import BadInput, BadOption, InvalidSchedule, NotEqual
from schedule.examples import EXAMPLES
from schedule.executors import Into, machine, replay_synthetic
from schedule.executors import numpy as numpy_executor
from schedule.executors.machine import available_memory
from schedule.lowering import in_order
from schedule.memory import simulate
from tests.enough import enough, reached
from tests.executors.replaying import during_runs, planned
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED

#: The only place that allocates arrays for a replay without the caller's kernels.
MAKES_ARRAYS = [
    tracemalloc.DomainFilter(True, np.lib.tracemalloc_domain),
    tracemalloc.Filter(True, numpy_executor.__file__),
]
SLOW = settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])


def traced_arrays():
    """Bytes in the buffers of all arrays that the replay has allocated and not given back."""
    snapshot = tracemalloc.take_snapshot()
    for wanted in MAKES_ARRAYS:
        snapshot = snapshot.filter_traces([wanted])
    return sum(trace.size for trace in snapshot.traces)


def traced_during_runs(graph, codes):
    """What tracemalloc sees while each node runs: in the plain run, then in the planned one."""
    found = []
    tracemalloc.start()
    try:
        replay_synthetic(graph, codes, watch=lambda name: found.append(traced_arrays()))
        assert traced_arrays() == 0
    finally:
        tracemalloc.stop()
    return found


def less_memory(graph):
    """A plan that recomputes, where there is a backward pass to plan for."""
    return schedule.solve(graph, solver="sqrt" if graph.layout.backward.any() else "store_all")


@SLOW
@given(planned())
def test_tracemalloc_sees_what_the_model_says(case):
    """At every run of every node, the buffers that NumPy holds are the memory in use."""
    graph, trace = case
    expected = during_runs(in_order(graph)) + during_runs(trace)
    assert traced_during_runs(graph, trace.codes) == expected


@pytest.mark.parametrize("name", ["layered", "mlp", "unet"])
def test_tracemalloc_sees_what_the_model_says_of_examples(name):
    graph = schedule.example(name)
    trace = schedule.verify(graph, less_memory(graph).schedule)
    expected = during_runs(in_order(graph)) + during_runs(trace)
    assert traced_during_runs(graph, trace.codes) == expected


@settings(max_examples=50, deadline=None)
@given(planned())
def test_any_schedule_gives_the_plain_outputs_at_the_promised_peak(case):
    """Followed storages agree with the model too, and outputs with the plain run's."""
    graph, trace = case
    found = replay_synthetic(graph, trace.codes)
    assert found.plain.outputs == found.planned.outputs
    assert list(found.planned.outputs) == list(graph.outputs)
    for run, expected in ((found.plain, in_order(graph)), (found.planned, trace)):
        assert run.promised_peak == run.measured_peak == expected.peak
        assert run.exact
        assert run.runs == expected.runs.sum()
        assert run.steps == len(expected.codes)


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_replays_under_a_budget(name):
    """A plan for less memory measures less, by as much as it promises."""
    graph = schedule.example(name)
    plan = less_memory(graph)
    found = replay_synthetic(graph, plan)
    assert found.planned.measured_peak == plan.peak
    assert found.plain.measured_peak == in_order(graph).peak
    if graph.layout.backward.any():
        assert plan.peak < found.plain.measured_peak


def chain(length=6, size=64):
    """x → n0 → n1 → …, each as large."""
    g = schedule.GraphBuilder("chain")
    here = g.input("x", memory=size)
    for at in range(length):
        here = g.node(f"n{at}", here, memory=size)
    return g.build()


def outputs_with(change, seed=0):
    """Output of a chain of made-up kernels where `change(at, arrays)` alters what node n2 reads."""
    graph = chain()
    trace = in_order(graph)
    maker = synthetic_maker(seed)
    kernels = {node.name: maker._kernel(node) for node in graph.nodes}
    honest = kernels["n2"]
    kernels["n2"] = Into(lambda *arrays, out: honest(*change(arrays), out=out))
    inputs = {"x": maker._input(graph.inputs[0])}
    found = schedule.replay(graph, trace.codes, kernels, inputs)
    return maker._hash(found["n5"])


def synthetic_maker(seed):
    from schedule.executors.calls import backend_named
    from schedule.executors.synthetic import _Maker

    return _Maker(backend_named("numpy"), seed, None)


def test_stale_missing_or_altered_input_changes_the_outputs():
    """One wrong byte in the middle is seen at the end: contents are mixed all the way."""

    def altered(arrays):
        copy = arrays[0].copy()
        copy[-1] ^= 1
        return (copy,)

    honest = outputs_with(lambda arrays: arrays)
    assert honest == outputs_with(lambda arrays: (arrays[0].copy(),))
    assert honest != outputs_with(lambda arrays: (np.zeros(64, np.uint8),))
    assert honest != outputs_with(altered)
    assert honest != outputs_with(lambda arrays: ())
    assert honest != outputs_with(lambda arrays: arrays, seed=1)
    assert honest == replay_synthetic(chain(), in_order(chain()).codes).plain.outputs["n5"]


def test_schedule_that_computes_something_else_is_caught(monkeypatch):
    """Kernels whose second run differs from their first make the outputs unequal."""
    import schedule.executors.synthetic as module

    calls = []
    honest = module._Maker._mix

    def forgetful(self, name, arrays):
        calls.append(name)
        return honest(self, name if calls.count(name) == 1 else "something else", arrays)

    monkeypatch.setattr(module._Maker, "_mix", forgetful)
    with pytest.raises(NotEqual, match=r"output 'n5' of graph 'chain' differs"):
        replay_synthetic(chain(), in_order(chain()).codes)


@enough(0.28)
@settings(max_examples=30, deadline=None)
@given(planned(late=0, once=False))
def test_schedule_without_one_step_is_refused_or_still_right(case):
    """What the memory model lets pass without a step gives the plain outputs all the same."""
    graph, trace = case
    for at in range(len(trace.codes)):
        rest = np.delete(trace.codes, at)
        try:
            shorter = schedule.verify(graph, rest)
        except InvalidSchedule:
            continue
        reached()
        assert replay_synthetic(graph, rest).planned.measured_peak == shorter.peak


def test_every_step_of_a_chain_is_needed():
    """Without one of its runs a chain is refused; without a free it ends with more in use."""
    graph = chain()
    trace = in_order(graph)
    for at, code in enumerate(trace.codes.tolist()):
        rest = np.delete(trace.codes, at)
        if code >= 0:
            with pytest.raises(InvalidSchedule, match=r"reads 'n\d'|'n\d' is not live"):
                replay_synthetic(graph, rest)
        else:
            assert simulate(graph, rest).after[-1] > trace.after[-1]


def test_too_little_memory_is_said_before_anything_is_allocated():
    """A peak beyond what the machine has is refused, naming both figures."""
    g = schedule.GraphBuilder("large")
    g.node("a", memory=2**50)
    graph = g.build()
    with pytest.raises(BadInput, match=r"the plain run needs 1 PiB, but only .* are available"):
        replay_synthetic(graph, in_order(graph).codes)


def test_available_memory_is_between_nothing_and_the_machine():
    """The container's limit counts where there is one, and only then."""
    assert 2**20 < available_memory() < 2**50


@pytest.fixture
def system(tmp_path, monkeypatch):
    """A machine whose own words about its memory can be written down."""
    meminfo, group = tmp_path / "meminfo", tmp_path / "cgroup"
    group.mkdir()
    monkeypatch.setattr(machine, "_MACHINE", meminfo)
    monkeypatch.setattr(machine, "_CONTAINER", group)
    return SimpleNamespace(meminfo=meminfo, group=group)


def test_available_memory_is_the_least_of_machine_and_container(system):
    system.meminfo.write_text("MemTotal: 9000 kB\nMemAvailable:    8000 kB\n")
    assert available_memory() == 8000 * 1024
    (system.group / "memory.max").write_text("max\n")
    assert available_memory() == 8000 * 1024
    (system.group / "memory.max").write_text("1000000\n")
    (system.group / "memory.current").write_text("300000\n")
    (system.group / "memory.stat").write_text("anon 7\ninactive_file 50000\n")
    assert available_memory() == 750_000


def test_available_memory_without_linux_is_the_machines(system, monkeypatch):
    monkeypatch.setattr("os.sysconf", {"SC_PHYS_PAGES": 1000, "SC_PAGE_SIZE": 4096}.__getitem__)
    assert available_memory() == 4_096_000
    monkeypatch.delattr("os.sysconf")
    assert available_memory() > 2**60


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"backend": "jax"}, r"backend is 'jax'; there are 'numpy' and 'torch'"),
        ({"device": "cuda"}, r"device is 'cuda'; NumPy has only 'cpu'"),
    ],
)
def test_unknown_backend_or_device_is_named(options, message):
    with pytest.raises(BadOption, match=message):
        replay_synthetic(chain(), in_order(chain()).codes, **options)
