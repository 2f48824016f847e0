"""Replays on torch tensors: on the CPU and, where there is one, on a GPU."""

import gc
import importlib
import weakref

import numpy as np
import pytest
from hypothesis import given, settings

import schedule
from schedule.errors import BadInput, BadOption, KernelError
from schedule.examples import EXAMPLES
from schedule.executors import replay_synthetic, run
from schedule.lowering import in_order
from schedule.steps import Compute, Free
from tests.executors.replaying import SCRIPTS, during_runs, planned

torch = pytest.importorskip("torch")

CPU = pytest.param("cpu", id="cpu")
CUDA = pytest.param(
    "cuda",
    id="cuda",
    marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device"),
)
N = 1000
BYTES = 8 * N


pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(params=[CPU, CUDA])
def device(request):
    return request.param


@settings(max_examples=60, deadline=None)
@given(planned())
def test_any_schedule_gives_numpys_outputs_at_the_promised_peak(case):
    """The same bytes as on NumPy, and followed storages peak where the model says."""
    graph, trace = case
    found = replay_synthetic(graph, trace.codes, backend="torch")
    other = replay_synthetic(graph, trace.codes)
    assert found.planned.outputs == other.planned.outputs
    assert found.planned.measured_peak == trace.peak
    assert found.plain.measured_peak == in_order(graph).peak
    assert found.planned.backend == "torch"


@pytest.mark.parametrize("name", EXAMPLES)
def test_example_replays_at_the_promised_peak(name, device):
    graph = schedule.example(name)
    plan = schedule.solve(graph, solver="sqrt" if graph.layout.backward.any() else "store_all")
    found = replay_synthetic(graph, plan, backend="torch", device=device)
    assert found.planned.measured_peak == plan.peak
    assert found.plain.exact


class Storages:
    """Bytes of all storages that tensor factories made and that are alive, by weak references.

    A count of its own: it wraps the factory and knows nothing of the replay's tables.
    """

    def __init__(self, make):
        self.make, self.known = make, {}

    def __call__(self, size, **options):
        tensor = self.make(size, **options)
        storage = tensor.untyped_storage()
        self.known[id(storage)] = (weakref.ref(storage), storage.nbytes())
        return tensor

    @property
    def alive(self):
        return sum(size for there, size in self.known.values() if there() is not None)


@settings(max_examples=30, deadline=None)
@given(planned())
def test_storages_alive_are_the_memory_in_use(case):
    """At every run of every node, not only at the peak."""
    graph, trace = case
    seen = []
    with pytest.MonkeyPatch.context() as patch:
        storages = Storages(torch.empty)
        patch.setattr(torch, "empty", storages)
        replay_synthetic(
            graph, trace.codes, backend="torch", watch=lambda name: seen.append(storages.alive)
        )
        assert storages.alive == 0
    assert seen == during_runs(in_order(graph)) + during_runs(trace)


def test_cuda_allocator_agrees():
    """What the caching allocator hands out peaks at the promise, rounded up tensor by tensor."""
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    graph = schedule.example("transformer")
    plan = schedule.solve(graph, solver="sqrt")
    trace = schedule.verify(graph, plan.schedule)
    before, seen = torch.cuda.memory_allocated(), []
    replay_synthetic(
        graph,
        plan,
        backend="torch",
        device="cuda",
        watch=lambda name: seen.append(torch.cuda.memory_allocated() - before),
    )
    promised = during_runs(in_order(graph)) + during_runs(trace)
    rounding = 512 * graph.layout.n_tensors
    assert all(0 <= there - said <= rounding for there, said in zip(seen, promised, strict=True))


def views():
    """x (freeable) → h → transposed (a view) → sums of it and h."""
    g = schedule.GraphBuilder("views")
    h = g.node("h", g.input("x", memory=BYTES, freeable=True), memory=BYTES)
    turned = g.view("turned", h)
    g.node("sums", [turned, h], memory=80)
    return g.build()


KERNELS = {
    "h": lambda x: x + 1,
    "turned": lambda h: h.reshape(10, -1).T,
    "sums": lambda turned, h: turned.sum(dim=0) * h[0],
}
STEPS = [
    Compute("h"),
    Compute("turned"),
    Free("h"),
    Compute("h"),
    Free("x"),
    Compute("sums"),
    Free("h"),
    Free("turned"),
]


def x(device="cpu"):
    return torch.arange(float(N), dtype=torch.float64, device=device)


def test_tensors_in_tensors_out(device):
    """On their own device, with the input gone and the view on its base's storage."""
    given = {"x": x(device)}
    storage = weakref.ref(given["x"].untyped_storage())
    found = run(views(), STEPS, KERNELS, given)
    assert found.backend == "torch"
    assert found.outputs["sums"].device.type == device
    assert torch.equal(found.outputs["sums"], (x(device) + 1).reshape(10, -1).sum(dim=1))
    assert found.exact
    assert found.promised_peak == 3 * BYTES
    assert given == {}
    assert storage() is None


def test_kernels_run_without_differentiation():
    """Parameters that want gradients keep no record of the run alive."""
    given = {"x": x().requires_grad_()}
    found = run(views(), STEPS, KERNELS, given)
    assert not found.outputs["sums"].requires_grad
    assert found.exact


def raising(*tensors):
    raise ZeroDivisionError("no way")


@pytest.mark.parametrize(
    ("node", "kernel", "message"),
    [
        ("h", raising, r"node 'h' \(step 0\): its kernel raised ZeroDivisionError"),
        ("h", lambda x: np.zeros(N), r"'h' is numpy.ndarray, not a dense torch.Tensor"),
        ("h", lambda x: x.to_sparse(), r"'h' is torch.Tensor, not a dense torch.Tensor"),
        ("h", lambda x: (x, x), r"returned 2 arrays for 1: 'h'"),
        ("h", lambda x: x.float() + 1, r"takes 4000 bytes \(torch.float32, shape \(1000,\)\)"),
        ("h", lambda x: torch.ones(2 * N, dtype=x.dtype)[:N], r"takes 16000 bytes .*, 8000 of"),
        ("h", lambda x: x.view(-1), r"'h' shares the memory of 'x'"),
        ("turned", lambda h: h.reshape(10, -1).T.contiguous(), r"'turned' has memory of its own"),
    ],
)
def test_wrong_kernel_is_named_and_nothing_leaks(node, kernel, message):
    """As on NumPy; and with the exception all storages go."""
    gc.collect()
    gc.disable()
    try:
        given = {"x": x()}
        there = weakref.ref(given["x"].untyped_storage())
        with pytest.raises(KernelError, match=message) as caught:
            schedule.replay(views(), STEPS, KERNELS | {node: kernel}, given)
        given.clear()
        del caught
        assert there() is None
    finally:
        gc.enable()


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
@pytest.mark.parametrize("arena", [False, True])
def test_nested_tensor_is_not_dense(arena):
    """It says that it is strided, but has no shape."""
    kernels = KERNELS | {"h": lambda x: torch.nested.nested_tensor([x])}
    with pytest.raises(KernelError, match=r"'h' is torch.Tensor, not a dense"):
        schedule.replay(views(), STEPS, kernels, {"x": x()}, arena=arena)


def test_arrays_of_both_kinds_are_refused():
    g = schedule.GraphBuilder()
    reads = [g.input("x", memory=BYTES), g.input("y", memory=BYTES)]
    g.node("z", reads, memory=BYTES)
    with pytest.raises(BadInput, match=r"input 'y' is numpy.ndarray; .* runs on dense torch"):
        schedule.replay(g.build(), [Compute("z")], {"z": torch.add}, {"x": x(), "y": np.zeros(N)})


@pytest.mark.parametrize("device", ["tpu", "cuda:99", "meta", 3.5])
def test_unusable_device_is_named(device):
    graph = schedule.example("chain")
    with pytest.raises(BadOption, match=rf"device (is )?'?{device}'?[ ;]"):
        replay_synthetic(graph, in_order(graph).codes, backend="torch", device=device)


@pytest.fixture(scope="module")
def mlp():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(SCRIPTS))
        yield importlib.import_module("mlp_torch")


@pytest.fixture(scope="module")
def plans(mlp):
    graph = mlp.mlp_numpy.build(layers=8)
    whole, half = schedule.solve(graph, solver="store_all"), schedule.solve(graph, budget="50%")
    assert half.overhead > 0
    return graph, whole, half


def test_training_gives_the_unplanned_losses_and_gradients(mlp, plans, device):
    """Bit for bit over several steps of descent, in half the memory."""
    graph, whole, half = plans
    losses = []
    for plain, found in zip(mlp.train(graph, whole, 4, device), mlp.train(graph, half, 4, device)):
        assert all(torch.equal(t, found.outputs[name]) for name, t in plain.outputs.items())
        assert plain.exact
        assert found.exact
        assert found.measured_peak <= plain.measured_peak / 2
        losses.append(float(found.outputs["loss"]))
    assert losses == sorted(losses, reverse=True)


def test_training_gives_the_gradients_of_autograd(mlp, plans):
    """The graph with its hand-written derivatives is the network that it says it is."""
    graph, _, half = plans
    found = next(mlp.train(graph, half, 1)).outputs
    named = mlp.tensors(mlp.mlp_numpy.start(graph), "cpu")
    for tensor in named.values():
        tensor.requires_grad_()
    batch = mlp.tensors(mlp.mlp_numpy.batch(0), "cpu")
    here = batch["images"].flatten(1)
    for k in range(8):
        here = here @ named[f"weight{k}"] + named[f"bias{k}"]
        here = here.relu() if k < 7 else here
    loss = torch.nn.functional.cross_entropy(here, batch["labels"])
    loss.backward()
    torch.testing.assert_close(found["loss"], loss.detach())
    for name, tensor in named.items():
        torch.testing.assert_close(found[f"d_{name}"], tensor.grad)


def test_script_runs(mlp, plans, monkeypatch, capsys):
    """As a reader runs it, but with fewer layers."""
    monkeypatch.setattr(mlp.mlp_numpy, "build", lambda: plans[0])
    mlp.main()
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 6
    assert all("the same gradients" in line for line in lines[1:])
    assert all(line.endswith(", as promised") for line in lines[1:])
