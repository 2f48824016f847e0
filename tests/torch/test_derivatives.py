"""Derivatives that the step's own code asks for: gradient penalties, forces, physics."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that it is there
from torch.utils.checkpoint import checkpoint  # noqa: E402

import schedule.torch  # noqa: E402
from schedule.errors import BadInput, CannotCapture, OtherStep  # noqa: E402
from tests.torch.training_models import Live  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


class Does(nn.Module):
    """A critic, a weight, and what a function does with them."""

    def __init__(self, does):
        super().__init__()
        self.critic = nn.Sequential(
            nn.Linear(8, 16), nn.BatchNorm1d(16), nn.Softplus(), nn.Dropout(0.2), nn.Linear(16, 8)
        )
        self.weight, self.does = nn.Parameter(torch.randn(8, 8) / 8), does

    def forward(self, x):
        return self.does(self, x)


class Scaled(torch.autograd.Function):
    """With a backward pass of its own, and no second one."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x.exp())
        return x.exp()

    @staticmethod
    def backward(ctx, gradient):
        return 3 * gradient * ctx.saved_tensors[0]


def gradient(of, to, **options):
    return torch.autograd.grad(of.sum(), to, create_graph=True, **options)[0]


def penalty(model, x):
    out = model.critic(x)
    return out.mean() + (gradient(out, x).norm(dim=1) - 1).square().mean()


def physics(model, x):
    """A second derivative, of which the loss is made."""
    first = gradient(torch.tanh(x @ model.weight), x)
    return (gradient(first[:, 0], x) + first).square().mean()


def held_fixed(model, x):
    """A derivative that isn't differentiated again."""
    loss = model.critic(x).square().mean()
    (step,) = torch.autograd.grad(loss, x, retain_graph=True)
    return loss + (step * model.critic(x + step.sign())).mean()


def of_weights(model, x):
    loss = model.critic(x).square().mean()
    return loss + gradient(loss, model.critic[0].weight).square().sum()


def function_beside(model, x):
    """A function of another part, through which only the loss goes."""
    inner = torch.tanh(x @ Scaled.apply(model.weight))
    return inner.mean() + gradient(inner, x).square().mean()


def transformed(model, x):
    (first,) = torch.func.vjp(lambda y: torch.tanh(y @ model.weight).sum(), x)[1](torch.ones(()))
    return first.square().mean()


RIGHT = [penalty, physics, held_fixed, of_weights, function_beside, transformed]


def plan(does, **options):
    torch.manual_seed(0)
    model, x = Does(does), torch.randn(32, 8, requires_grad=True)
    return schedule.torch.plan(model, x, **{"solver": "recompute_all"} | options), model, x


@pytest.mark.parametrize("does", RIGHT, ids=lambda does: does.__name__)
def test_a_step_that_differentiates_is_eager_pytorchs_and_keeps_its_promise(does):
    """Loss, gradients, statistics and dropout's numbers, with all recomputed that may be."""
    planned, model, x = plan(does)
    eager = copy.deepcopy(model)
    for seed in range(3):
        runs = []
        for module in (planned, eager):
            x.grad = None
            module.zero_grad()
            torch.manual_seed(seed)
            loss = module(x)
            loss.backward()
            runs.append([loss, x.grad, *(p.grad for p in module.parameters()), *module.buffers()])
        for mine, its in zip(*runs, strict=True):
            assert (mine is None) == (its is None)
            assert mine is None or torch.equal(mine, its)
    x.grad = None
    model.zero_grad()
    with Live([*model.parameters(), *model.buffers(), x]) as live:
        planned(x).backward()
    assert live.peak <= planned.planned_step.result.peak + 16


def through(model, x):
    inner = Scaled.apply(x @ model.weight)
    return gradient(inner, x).square().mean()


def through_a_checkpoint(model, x):
    inner = checkpoint(lambda y: Scaled.apply(y @ model.weight), x, use_reentrant=False)
    return gradient(inner, x).square().mean()


def through_by_transform(model, x):
    return torch.func.grad(lambda y: Scaled.apply(y @ model.weight).sum())(x).square().mean()


def through_by_product(model, x):
    back = torch.func.vjp(lambda y: Scaled.apply(y @ model.weight).sum(), x)[1]
    return back(torch.ones(()))[0].square().mean()


@pytest.mark.parametrize(
    "does", [through, through_a_checkpoint, through_by_transform, through_by_product]
)
def test_a_second_derivative_of_a_function_is_refused(does):
    """PyTorch's capture takes the first one's numbers for constants."""
    with pytest.raises(CannotCapture, match=r"through a torch\.autograd\.Function and then once"):
        plan(does)


class Mapped(torch.autograd.Function):
    """One that torch.func can map and push forward, with another derivative than its operators'."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x):
        return x.exp()

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(output)
        ctx.save_for_forward(output)

    @staticmethod
    def backward(ctx, gradient):
        return 3 * gradient * ctx.saved_tensors[0]

    @staticmethod
    def jvp(ctx, tangent):
        return 3 * tangent * ctx.saved_tensors[0]


def mapped(model, x):
    return torch.func.vmap(lambda row: Mapped.apply(row @ model.weight))(x).mean()


def pushed(model, x):
    push = torch.func.jvp(lambda y: Mapped.apply(y @ model.weight), (x,), (torch.ones_like(x),))
    return push[1].square().mean()


@pytest.mark.parametrize("does", [mapped, pushed])
def test_a_function_under_a_transform_is_refused(does):
    """PyTorch's capture would differentiate what it computes, not as it says."""
    with pytest.raises(CannotCapture, match=r"Mapped, a torch\.autograd\.Function, is under"):
        plan(does)


class Applied(torch.autograd.Function):
    """Of a module, to which eager PyTorch gives no gradient."""

    @staticmethod
    def forward(ctx, x, module):
        return module(x)

    @staticmethod
    def backward(ctx, gradient):
        return gradient[:, :8], None


def test_what_a_function_hides_from_eager_pytorch_is_refused():
    """It would be trained; where an argument needs a gradient, nothing is."""

    def does(model, x):
        return (Applied.apply(x, model.critic[0]).mean() + x @ model.weight).mean()

    model = Does(does)
    with pytest.raises(
        CannotCapture, match=r"Applied, .* is given no tensor that needs a gradient"
    ):
        schedule.torch.plan(model, torch.randn(4, 8))
    schedule.torch.plan(model, torch.randn(4, 8, requires_grad=True))(
        torch.randn(4, 8, requires_grad=True)
    ).backward()
    assert model.critic[0].weight.grad is None


def test_hooks_that_such_a_derivative_would_run_are_refused():
    """Whenever they come; those of other tensors run as ever."""
    planned, model, x = plan(of_weights)
    model.critic[0].bias.register_hook(lambda gradient: gradient)
    planned(x).backward()
    hook = model.critic[0].weight.register_hook(lambda gradient: 2 * gradient)
    with pytest.raises(OtherStep, match="that has hooks, or retains its gradient"):
        planned(x)
    hook.remove()
    planned(x).backward()
    planned, model, x = plan(penalty)
    inner = torch.tanh(x)
    inner.retain_grad()
    with pytest.raises(OtherStep, match="that has hooks, or retains its gradient"):
        planned(inner)


def test_what_needs_a_gradient_only_inside_says_the_way_out():
    def does(model, x):
        return penalty(model, (x + 1).detach().requires_grad_())

    with pytest.raises(CannotCapture, match=r"requires_grad_\(\) before .*torch\.func\.vjp"):
        plan(does)


def of_what_is_hidden(model, x):
    """With respect to what is no input."""
    return penalty(model, x + 1)


@pytest.mark.parametrize(
    ("to", "does"),
    [("selective", penalty), ("modules", of_what_is_hidden), ("modules", transformed)],
)
def test_it_is_not_exported(to, does):
    """Eager PyTorch keeps more for a second derivative, and a wrapped module runs three times."""
    planned, _, _ = plan(does)
    with pytest.raises(BadInput, match="no peak can be promised; train the planned module"):
        schedule.torch.export(planned, to, budget="200%")
