"""Random numbers drawn a second time: the very numbers that were drawn at first."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that it is there
from torch.nn import functional  # noqa: E402

import schedule.torch  # noqa: E402
from schedule.torch import draws  # noqa: E402
from schedule.torch import options as told  # noqa: E402
from tests.torch.recording import Replaying  # noqa: E402
from tests.torch.training_models import Live, cases  # noqa: E402

on_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
CASES = cases()
pytestmark = pytest.mark.usefixtures("one_thread")


class Dropping(nn.Module):
    """Blocks of attention that drops, dropout, and noise."""

    def __init__(self, width=32, blocks=3, heads=2):
        super().__init__()
        self.heads = heads
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(blocks))
        self.mix = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(blocks))
        self.out = nn.ModuleList(nn.Linear(width, width) for _ in range(blocks))

    def forward(self, x):
        for norm, mix, out in zip(self.norms, self.mix, self.out):
            q, k, v = (
                part.unflatten(-1, (self.heads, -1)).transpose(1, 2)
                for part in mix(norm(x)).chunk(3, dim=-1)
            )
            seen = functional.scaled_dot_product_attention(q, k, v, dropout_p=0.2)
            x = x + functional.dropout(out(seen.transpose(1, 2).flatten(2)), 0.1)
            x = x * (1 + 0.1 * torch.rand_like(x))
        return x.float().square().mean()


def made(device="cpu", dtype=torch.float32, length=48):
    torch.manual_seed(0)
    model = Dropping().to(device, dtype)
    return model, torch.randn(4, length, 32).to(device, dtype)


def step(module, model, x, seed, between=lambda: None):
    """Loss and gradients of one step, and where the generators are after it."""
    model.zero_grad(set_to_none=True)
    torch.manual_seed(seed)
    loss = module(x)
    between()
    loss.backward()
    states = [torch.get_rng_state()] + (torch.cuda.get_rng_state_all() if x.is_cuda else [])
    return [loss.detach().clone(), *[p.grad.clone() for p in model.parameters()], *states]


def same(one, other):
    return all(map(torch.equal, one, other))


def repeated(module):
    return sum(map(len, module.planned_step._plan.repeated))


def reseed():
    torch.manual_seed(99)


@pytest.mark.parametrize(("budget", "solver"), [(None, "recompute_all"), ("40%", "greedy")])
def test_what_is_drawn_again_is_what_was_drawn(budget, solver):
    """Against eager PyTorch, to the bit, whatever is drawn between the passes."""
    model, x = made()
    module = schedule.torch.plan(model, x, budget, solver=solver)
    assert repeated(module) > (0 if budget else 3)
    for seed, between in enumerate([lambda: None, reseed, lambda: torch.rand(5), lambda: None]):
        assert same(step(module, model, x, seed, between), step(model, model, x, seed, between))


def test_states_are_in_the_promise_as_long_as_they_are_needed():
    """The tracker sees all tensors but the states themselves."""
    model, x = made()
    module = schedule.torch.plan(model, x, solver="recompute_all")
    graph = module.planned_step.graph
    states = [item for item in graph.inputs if item.name.startswith("random state of")]
    assert states
    assert {(item.memory, item.freeable) for item in states} == {(draws.STATE["cpu"], True)}
    promise = module.planned_step.result.peak
    with Live([*model.parameters(), x]) as live:
        module(x).backward()
    assert 0 <= promise - live.peak + 16 <= sum(item.memory for item in states) + 5056 + 16
    assert draws.STATE["cpu"] == torch.default_generator.get_state().nbytes


@pytest.mark.parametrize("name", ["perceptron", "attending", "odd"])
def test_small_draws_are_repeated_where_states_take_nothing(monkeypatch, name):
    """As on a GPU: many draws, in both passes, to the bits of the unplanned step."""
    monkeypatch.setitem(draws.STATE, "cpu", 0)
    case, found = CASES[name], []
    for solver in ("store_all", "recompute_all"):
        model = case.model()
        given = {"loss": case.loss, "targets": case.targets, "solver": solver}
        module = schedule.torch.plan(model, case.example(), **given)
        assert bool(repeated(module)) == (solver == "recompute_all")
        loss = case.run(module)
        gradients = [p.grad for p in model.parameters() if p.grad is not None]
        found.append([loss, torch.get_rng_state(), *gradients])
    assert same(*found)


def test_recorded_steps_repeat_draws(monkeypatch):
    """By what stands in for CUDA graphs; one that runs beside a recorded one does, too."""
    monkeypatch.setattr(told, "recorders_of", lambda device: Replaying)
    model, x = made()
    module = schedule.torch.plan(model, x, solver="recompute_all", cuda_graphs=True)
    for seed in range(4):
        assert same(step(module, model, x, seed, reseed), step(model, model, x, seed, reseed))
    assert not module.planned_step.fallback
    torch.manual_seed(5)
    losses = [module(x), module(x)]
    model.zero_grad(set_to_none=True)
    (losses[0] + losses[1]).backward()
    found = [p.grad.clone() for p in model.parameters()]
    torch.manual_seed(5)
    model.zero_grad(set_to_none=True)
    (model(x) + model(x)).backward()
    assert all(torch.allclose(p.grad, g, atol=1e-6) for p, g in zip(model.parameters(), found))


def test_a_pass_that_repeats_draws_in_their_order_goes_on_in_one_state():
    """Elsewhere one begins anew: where, and how many generators are set before a replay."""
    made = draws.Recorded.__new__(draws.Recorded)
    made._positions = draws.Positions([(0, 8), (8, 12), (16, 20)], 20)

    class Generator:
        def clone_state(self):
            return object()

    made._generator = Generator()
    states = made._of([0, 1, 2, 1, 2, 0])
    assert [start for _, start in states] == [0, -1, 16, 8, 16, 0]
    assert states[1][0] is states[0][0]
    assert len({id(state) for state, _ in states}) == 5


def test_operators_of_others_that_draw_run_once():
    """Nobody knows where they draw from; nor is a given generator's state known."""
    model, x = nn.Linear(64, 64), torch.randn(64, 64)
    loss = lambda out: (out * torch.randperm(4096).view(64, 64)).mean()  # noqa: E731 - a line
    module = schedule.torch.plan(model, x, loss=loss, solver="recompute_all")
    once = [node.name for node in module.planned_step.graph.nodes if not node.recomputable]
    assert "randperm" in once
    assert not repeated(module)


@on_gpu
@pytest.mark.filterwarnings("ignore:.*non-deterministic algorithm")
@pytest.mark.parametrize("graphs", [False, True])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_what_is_drawn_again_is_what_was_drawn(dtype, graphs):
    """Attention's own kernels among them, to the bit, by operators and as CUDA graphs."""
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    try:
        model, x = made("cuda", dtype, 256)
        module = schedule.torch.plan(model, x, solver="recompute_all", cuda_graphs=graphs)
        assert repeated(module) > 8
        named = {node.name for node in module.planned_step.graph.nodes if node.recomputable}
        assert any("scaled_dot_product" in name and "backward" not in name for name in named)
        for between in (lambda: None, reseed, lambda: torch.rand(5, device="cuda")):
            for seed in range(3):
                planned = step(module, model, x, seed, between)
                assert same(planned, step(model, model, x, seed, between))
        assert not module.planned_step.fallback
    finally:
        torch.use_deterministic_algorithms(mode=False)


@on_gpu
def test_on_a_gpu_a_recording_that_draws_otherwise_is_noticed():
    """What it would repeat would be something else."""
    torch.manual_seed(0)
    model, x = made("cuda", torch.float32, 256)
    module = schedule.torch.plan(model, x, solver="recompute_all", cuda_graphs=True)
    step(module, model, x, 0)
    module.planned_step._graphs.noted.positions.total += 4
    with pytest.raises(RuntimeError, match="random numbers, by operators it drew"):
        step(module, model, x, 1)
