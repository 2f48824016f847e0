"""Operators tried by themselves: what they are given, and what is made of what is found."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that it is there
from torch.nn import functional  # noqa: E402

import schedule.torch  # noqa: E402
from schedule.torch import measuring, trials  # noqa: E402
from schedule.torch.backend import backend  # noqa: E402
from schedule.torch.blocks import Blocks  # noqa: E402
from schedule.torch.measuring import KEPT  # noqa: E402
from schedule.torch.trials import Found  # noqa: E402
from tests.torch.training_models import cases  # noqa: E402

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
MIB = 2**20


class Words(nn.Module):
    """Operators that read numbers of words, classes, masks, seeds and statistics."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(7, 8)
        self.norm, self.layer = nn.BatchNorm1d(8), nn.LayerNorm(8)
        self.pool, self.head = nn.MaxPool1d(2), nn.Linear(4, 7)

    def forward(self, ids, labels):
        here = self.layer(self.norm(self.embed(ids)))
        here = functional.scaled_dot_product_attention(here, here, here, is_causal=True)
        here = self.pool(functional.dropout(here, 0.3))
        return functional.cross_entropy(self.head(here), labels)


class Stub:
    """A device on which each operator takes a millionth second and a workspace."""

    def __init__(self, kept=0):
        self.n, self.now, self.kept, self.passes = 0, 0, kept, []

    def begin(self):
        return self.now

    def run(self, is_backward, work):
        self.passes.append(is_backward)
        work()

    def take(self, run):
        run()
        self.n += 1
        self.now = self.kept

    def end(self):
        return self.now

    def found(self):
        return self.n * [Found(1000, 64)]


@pytest.fixture
def stub(monkeypatch):
    made = Stub(kept=77)
    monkeypatch.setattr(measuring, "gauge_of", lambda device, times, memory: made)
    monkeypatch.setattr(measuring, "_KNOWN", {})
    return made


def words():
    torch.manual_seed(0)
    return Words(), (torch.randint(0, 7, (5,)), torch.randint(0, 7, (5,)))


def test_each_operator_gets_what_it_expects(stub):
    """No one fails, in either pass: indices are the batch's, and the rest is what is made of it."""
    model, batch = words()
    options = {"costs": "measure", "workspace": "measure", "solver": "store_all"}
    step = schedule.torch.plan(model, batch, **options).planned_step
    assert step.unmeasured == ()
    assert stub.passes == [False, True]
    for node in step.graph.nodes:
        made = [out for out in node.outputs if not out.view_of and not out.name.endswith("here")]
        if node.name != "boundary" and made and not node.name.startswith("gradient of"):
            assert node.compute == 1000
            assert node.workspace >= 64
    assert [item.memory for item in step.graph.inputs if item.name == KEPT] == [77]


def test_inputs_are_the_batch_and_what_operators_give(monkeypatch):
    """Numbers of words lie within the table, masks and statistics are those of a forward pass."""
    seen = {}
    of = trials.Inputs.of

    def noted(self, reads):
        found = of(self, reads)
        seen.update(
            {read.name: value for read, value in zip(reads, found) if hasattr(read, "name")}
        )
        return found

    monkeypatch.setattr(trials.Inputs, "of", noted)
    monkeypatch.setattr(measuring, "_KNOWN", {})
    model, batch = words()
    schedule.torch.capture(model, batch, costs="measure")
    whole = [value for value in seen.values() if value.dtype == torch.int64]
    assert any(torch.equal(value, batch[0]) for value in whole)
    assert all(value.min() >= 0 and value.max() < 8 for value in whole)
    numbers = [value for value in seen.values() if value.is_floating_point() and value.numel() > 9]
    assert all(value.abs().sum() > 0 for value in numbers)


def test_random_states_and_the_model_are_left_as_they_were(stub):
    model, batch = words()
    before = torch.get_rng_state(), [t.clone() for t in [*model.parameters(), *model.buffers()]]
    schedule.torch.capture(model, batch, costs="measure", workspace="measure")
    assert torch.equal(torch.get_rng_state(), before[0])
    assert all(map(torch.equal, [*model.parameters(), *model.buffers()], before[1]))


def test_the_same_step_gives_the_same_graph_again(monkeypatch):
    """As what was measured in a process is known in it."""
    monkeypatch.setattr(measuring, "_KNOWN", {})
    model, batch = words()
    graphs = [schedule.torch.capture(model, batch, costs="measure") for _ in range(2)]
    assert graphs[0] == graphs[1]


def test_what_fails_is_modelled_and_named(stub, monkeypatch):
    """An operator that can't be run alone doesn't end the measurement."""
    run, take = [], stub.take

    def failing(trial):
        run.append(trial)
        if len(run) == 1:
            raise RuntimeError("no kernel")
        take(trial)

    monkeypatch.setattr(stub, "take", failing)
    model, batch = words()
    module = schedule.torch.plan(model, batch, costs="measure", solver="store_all")
    names = module.planned_step.unmeasured
    assert names
    compute = {node.name: node.compute for node in module.planned_step.graph.nodes}
    assert all(compute[name] > 0 for name in names)


@torch.library.custom_op("measuring::doubled", mutates_args=())
def doubled(x: torch.Tensor) -> torch.Tensor:
    """Somebody's operator, which may do more than compute."""
    CALLS.append(x.shape)
    return 2 * x


CALLS = []
doubled.register_fake(lambda x: torch.empty_like(x))
doubled.register_autograd(lambda ctx, gradient: 2 * gradient)


def test_operators_of_others_are_not_run_to_be_measured():
    """Unless they are said to be pure."""
    model = nn.Linear(3, 3)
    given = {"loss": lambda output: doubled(output).sum(), "costs": "measure"}
    CALLS.clear()
    schedule.torch.capture(model, torch.ones(2, 3), **given)
    assert not CALLS
    schedule.torch.capture(model, torch.ones(2, 3), pure=["measuring::doubled"], **given)
    assert CALLS


@pytest.mark.parametrize(
    ("size", "block"),
    [
        (0, 0),
        (4, 512),
        (513, 1024),
        (9 * MIB, 9 * MIB),
        (10 * MIB + MIB // 2, 10 * MIB + MIB // 2),
        (11 * MIB + MIB // 2, 12 * MIB),
        (12 * MIB, 12 * MIB),
    ],
)
def test_blocks_are_what_the_caching_allocator_hands_out(size, block):
    """In multiples of 512 bytes; of a large one what is up to 1 MiB isn't split off."""
    assert Blocks(torch.device("cuda")).made(size) == block
    assert Blocks(torch.device("cpu")).made(size) == size


def test_room_is_left_for_blocks_that_are_handed_out_again():
    """A mebibyte each, for eight at the most; small tensors have none."""
    blocks = Blocks(torch.device("cuda"))
    assert blocks.spare([MIB, 2 * MIB, 3 * MIB]) == 2 * MIB
    assert blocks.spare(100 * [2 * MIB]) == 8 * MIB
    assert Blocks(torch.device("cpu")).spare([2 * MIB]) == 0


def test_a_schedule_is_for_the_graph_that_was_measured_or_for_the_plain_one(monkeypatch):
    """Whichever it was made for."""
    monkeypatch.setattr(measuring, "_KNOWN", {})
    model, batch = words()
    for options in ({}, {"costs": "measure", "workspace": "measure"}):
        graph = schedule.torch.capture(model, batch, **options)
        plan = schedule.solve(graph, solver="store_all")
        step = schedule.torch.plan(model, batch, schedule=plan, **options).planned_step
        assert step.graph == graph


@on_gpu
@pytest.mark.parametrize("name", cases())
def test_on_a_gpu_the_allocators_peak_is_within_the_promise(name):
    """And close below, by default."""
    torch.set_default_device("cuda")
    try:
        case = cases()[name]
        model = case.model()
        given = {"loss": case.loss, "targets": case.targets, "solver": "recompute_all"}
        module = schedule.torch.plan(model, case.example(), **given)
        case.run(module)
        model.zero_grad()
        there = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        case.run(module)
        used = torch.cuda.max_memory_allocated() - there
        kept = [i.memory for i in module.planned_step.graph.inputs if i.name == KEPT]
        known = sum(t.untyped_storage().nbytes() for t in case.tensors(model)) + sum(kept)
        promise = module.planned_step.result.peak
        assert used + known <= promise + 64 * 1024
        assert promise <= used + known + 9 * MIB
    finally:
        torch.set_default_device(None)


@on_gpu
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of what PyTorch 2.11 imports
def test_on_a_gpu_a_compiled_model_is_measured_and_trains():
    """While `torch.compile` is at work, too."""
    torch._dynamo.reset()
    model, batch = words()
    model, batch = model.cuda(), tuple(t.cuda() for t in batch)
    torch.manual_seed(3)
    model(*batch).backward()
    expected = [p.grad.clone() for p in model.parameters()]
    model.zero_grad()
    given = {"options": {"solver": "recompute_all"}, "dynamic": False}
    compiled = torch.compile(model, backend=backend, **given)
    torch.manual_seed(3)
    compiled(*batch).backward()
    for parameter, gradient in zip(model.parameters(), expected):
        assert torch.allclose(parameter.grad, gradient, rtol=1e-2, atol=1e-4)
    torch._dynamo.reset()


@on_gpu
def test_on_a_gpu_the_largest_batch_is_planned_as_it_was_found():
    """By its schedule, in the same process, to the same promise."""
    layers = [part for _ in range(6) for part in (nn.Linear(512, 512), nn.Tanh())]
    model = nn.Sequential(*layers, nn.Linear(512, 1)).cuda()
    given = {"loss": lambda output: output.square().mean(), "solver": "dtr"}
    make = lambda size: torch.ones(size, 512, device="cuda")  # noqa: E731 - a line
    found = schedule.torch.largest_batch(model, make, "256MiB", **given, at_most=2**16)
    module = schedule.torch.plan(model, make(found.size), schedule=found.result, **given)
    assert module.planned_step.result.peak == found.result.peak <= 256 * MIB
    module(make(found.size)).backward()
