"""A real network, trained under a plan: the same figures at half the memory."""

import importlib
import tracemalloc

import numpy as np
import pytest

import schedule
from schedule.executors import run
from tests.executors.replaying import SCRIPTS

STEPS = 4


@pytest.fixture(scope="module")
def mlp():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        yield importlib.import_module("mlp_numpy")


@pytest.fixture(scope="module")
def graph(mlp):
    return mlp.build(layers=8)


@pytest.fixture(scope="module")
def half(graph):
    plan = schedule.solve(graph, budget="50%")
    assert plan.status == "optimal"
    assert plan.overhead > 0
    return plan


@pytest.fixture(scope="module")
def whole(graph):
    return schedule.solve(graph, solver="store_all")


def test_losses_and_gradients_are_the_unplanned_runs(mlp, graph, whole, half):
    """Bit for bit over several steps of descent, and the loss comes down."""
    losses = []
    for plain, planned in zip(mlp.train(graph, whole, STEPS), mlp.train(graph, half, STEPS)):
        assert plain.outputs.keys() == planned.outputs.keys() == set(graph.outputs)
        for name, array in plain.outputs.items():
            assert array.tobytes() == planned.outputs[name].tobytes()
        assert plain.exact
        assert planned.exact
        assert planned.measured_peak <= plain.measured_peak / 2
        losses.append(float(planned.outputs["loss"]))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < losses[0] - 0.5


def test_gradients_are_those_of_finite_differences(mlp, graph, half):
    """The hand-written derivatives are right: the loss moves as the gradient says."""

    def loss(parameters):
        found = run(graph, half, mlp.KERNELS, parameters | mlp.batch(0), operations=mlp.operation)
        return found.outputs

    parameters = mlp.start(graph)
    outputs = loss(parameters)
    for name in ("weight0", "bias3", "weight7"):
        gradient = outputs[f"d_{name}"]
        length = np.sqrt((gradient.astype(float) ** 2).sum())
        step = np.float32(1e-2 / length)
        there, back = (
            loss(parameters | {name: parameters[name] + sign * step * gradient})["loss"]
            for sign in (np.float32(1), np.float32(-1))
        )
        assert (float(there) - float(back)) / 2e-2 == pytest.approx(length, rel=0.02)


@pytest.mark.parametrize("plan", ["whole", "half"])
def test_allocator_agrees(mlp, graph, plan, request):
    """All that Python and NumPy allocate in one step peaks at the promise, but for small change.

    Not only tracked arrays, also what the kernels allocate for a moment: the declared workspace.
    The small change is Python's own objects and NumPy's headers.
    """
    plan = request.getfixturevalue(plan)
    parameters = mlp.start(graph)
    resident = sum(array.nbytes for array in parameters.values())
    run(graph, plan, mlp.KERNELS, parameters | mlp.batch(0), operations=mlp.operation)
    tracemalloc.start()
    try:
        inputs = parameters | mlp.batch(0)
        tracemalloc.reset_peak()
        found = run(graph, plan, mlp.KERNELS, inputs, operations=mlp.operation)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert 0 <= peak + resident - found.promised_peak < 65_536


def test_script_runs(mlp, graph, half, monkeypatch, capsys):
    """As a reader runs it, but with fewer layers."""
    monkeypatch.setattr(mlp, "build", lambda: graph)
    mlp.main()
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("optimal")
    assert all("the same gradients" in line for line in lines[1:])
    assert all(line.endswith(", as promised") for line in lines[1:])
    assert len(lines) == 6
