"""What callers share with a planned step: memory that arguments lie in, gradients, and hooks."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that it is there

import schedule.torch  # noqa: E402
from schedule.errors import BackwardRefused, BadInput, OtherStep  # noqa: E402
from tests.torch.training_models import Live  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


class Does(nn.Module):
    """Two linear layers, a buffer, and what a function does with them."""

    def __init__(self, does):
        super().__init__()
        self.a, self.b, self.does = nn.Linear(8, 8), nn.Linear(8, 8), does
        self.register_buffer("kept", torch.ones(8))

    def forward(self, x):
        return self.does(self, x)


def plan(model, example, **options):
    return schedule.torch.plan(model, example, **{"solver": "recompute_all"} | options)


def loss_of(model, x):
    return torch.tanh(model.b(torch.tanh(model.a(x)) * model.kept)).square().mean()


def test_views_of_an_argument_lie_where_that_lies():
    """Batches that are slices of one tensor begin elsewhere at each step."""

    def does(model, x):
        model.seen = x[2:]
        return loss_of(model, x), x[1:, ::2], x.t(), x[3]

    batches = torch.randn(3, 4, 8)
    model = Does(does)
    planned = plan(model, batches[1])
    for x in batches:
        found = [*planned(x)[1:], model.seen]
        assert all(map(torch.equal, found, [*does(model, x)[1:], x[2:]]))


def test_real_views_of_a_complex_argument_lie_where_that_lies():
    turned = torch.randn(3, 4, 8, dtype=torch.complex64)
    model = Does(lambda m, x: (loss_of(m, torch.view_as_real(x)[..., 1]), torch.view_as_real(x)[1]))
    planned = plan(model, turned[1])
    for x in turned:
        assert torch.equal(planned(x)[1], torch.view_as_real(x[1]))


def test_views_of_what_was_changed_in_place_go_out():
    """PyTorch makes them when its graph ends, behind the backward pass."""

    def does(model, x):
        here = model.a(x).clone()
        here[:, 2:4] = 0
        here[1] *= 2
        return loss_of(model, here), here[2:]

    report = schedule.torch.check(Does(does), torch.randn(8, 8))
    assert report.same, report


def logits(model, x):
    """Of three dimensions: they lie on a product of two."""
    here = model.a(x.view(2, 3, 8))
    return here.square().mean(), here.detach(), here


def turned(model, x):
    """A view of a result, and the same detached."""
    here = model.a(x)
    return here.square().mean(), here, here.t(), here.t().detach()


def conjugated(model, x):
    """Which a mark on the tensor says, or that it is negated."""
    here = torch.complex(model.a(x), model.a(x) * 2)
    return here.abs().mean(), here, here.conj(), here.conj().detach(), here.conj().imag


@pytest.mark.parametrize("does", [logits, turned, conjugated])
def test_views_of_views_are_returned_as_they_are(does):
    """Planning ended in a KeyError or an IndexError; what is conjugated came out as it isn't."""
    torch.manual_seed(0)
    model, x = Does(does), torch.randn(6, 8)
    found, wanted = plan(model, x)(x), model(x)
    assert all(map(torch.equal, found, wanted))
    assert [each.requires_grad for each in found] == [each.requires_grad for each in wanted]
    assert (
        found[-1].data_ptr() - found[1].data_ptr() == wanted[-1].data_ptr() - wanted[1].data_ptr()
    )
    gradients = []
    for each in (found, wanted):
        model.zero_grad()
        sum(t.abs().sum() for t in each if t.requires_grad).backward()
        gradients.append(model.a.weight.grad.clone())
    torch.testing.assert_close(*gradients)


def test_what_is_returned_again_is_one_tensor():
    """Where a conversion has nothing to do: by object, and with all of its gradient."""

    def does(model, x):
        here = model.a(x)
        return here.float(), loss_of(model, here), here.contiguous(), here[2:], here

    model, x = Does(does), torch.randn(8, 8)
    planned, eager = plan(model, x, gradients="all"), copy.deepcopy(model)
    for module in (planned, eager):
        first, loss, second, part, third = module(x)
        assert first is second is third
        (loss + first.sum() + (2 * second).sum() + third.square().sum() + part.sum()).backward()
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(model.parameters(), eager.parameters()))
    loss_alone, others = planned(x)[1], eager(x)[1]
    model.zero_grad()
    eager.zero_grad()
    loss_alone.backward()
    others.backward()
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(model.parameters(), eager.parameters()))


def test_a_part_replaced_in_an_argument_takes_no_more_than_the_argument():
    """Not as much as the tensor that the argument is a slice of."""

    def does(model, x):
        x[2:4].add_(1)
        x[0].mul_(2)
        x.diagonal().zero_()
        return loss_of(model, x)

    batches = torch.randn(40, 8, 8)
    model, own = Does(does), batches[0].clone()
    planned = plan(model, own)
    known = [*model.parameters(), *model.buffers(), batches]
    with Live(known) as live:
        planned(batches[0])
    beside = batches.nbytes - own.nbytes
    assert live.peak - beside <= planned.planned_step.result.peak + 16
    does(Does(does), own)
    assert torch.equal(batches[0], own)


def test_gradients_that_come_in_go_when_the_plan_has_them_go():
    """Automatic differentiation doesn't hold them to the end."""

    def does(model, x):
        return loss_of(model, x), model.a(x)

    model, x = Does(does), torch.randn(64, 8)
    planned = plan(model, x, solver="store_all", gradients="all")
    with Live([*model.parameters(), *model.buffers(), x]) as live:
        loss, other = planned(x)
        (loss + other.mean()).backward()
    assert live.peak <= planned.planned_step.result.peak + 16


def watches(out):
    out.register_hook(lambda gradient: None)


@pytest.mark.parametrize("look", [watches, torch.Tensor.retain_grad])
def test_a_look_at_the_gradient_of_what_the_loss_is_made_of_is_refused(look):
    """Most of it stays inside of the step; what nothing is made of has all of it outside."""

    def does(model, x):
        here = model.a(x)
        return loss_of(model, here), here, model.b(x)

    model, x = Does(does), torch.randn(8, 8)
    planned = plan(model, x, gradients="all")
    loss, here, apart = planned(x)
    look(here)
    with pytest.raises(BackwardRefused, match="only a part of its gradient goes through it"):
        (loss + apart.mean()).backward()
    loss, here, apart = planned(x)
    look(apart)
    (loss + apart.mean()).backward()


def test_who_holds_a_loss_holds_no_batch():
    model = Does(loss_of)
    planned, held = plan(model, torch.randn(64, 8)), []
    with Live([*model.parameters(), *model.buffers()]) as live:
        for _ in range(3):
            held.append(planned(torch.randn(64, 8)))
            held[-1].backward()
            model.zero_grad()
            assert live.now - sum(p.nbytes for p in model.parameters()) < 256


CHANGED = {
    "'model.b.weight'": lambda model, x, out: model.b.weight.data.mul_(2),
    "'model.kept'": lambda model, x, out: model.kept.data.neg_(),
    "'argument 0'": lambda model, x, out: x.data.add_(1),
    "'a result'": lambda model, x, out: out.data.clamp_(min=0),
}


@pytest.mark.parametrize("said", CHANGED)
def test_what_is_changed_behind_pytorchs_back_between_the_passes_is_noticed(said):
    """`.data` counts no version; eager PyTorch would go on with two contents."""

    def does(model, x):
        here = torch.tanh(model.a(x))
        return loss_of(model, here), here

    model, x = Does(does), torch.randn(64, 8)
    loss, out = plan(model, x)(x)
    CHANGED[said](model, x, out)
    with pytest.raises(BackwardRefused, match=f"{said} was changed between"):
        loss.backward()


def test_a_parameter_given_other_memory_between_the_passes_leaves_the_step_its_own():
    model, x = Does(loss_of), torch.randn(16, 8)
    other = copy.deepcopy(model)
    loss = plan(model, x)(x)
    model.b.weight.data = torch.zeros(8, 8)
    loss.backward()
    other(x).backward()
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(model.parameters(), other.parameters()))


def test_memory_that_is_let_go_between_the_passes_is_not_looked_at():
    """As FSDP lets go of parameters: refused while it is gone, right once it is back elsewhere."""
    model, x = Does(loss_of), torch.randn(16, 8)
    other, planned = copy.deepcopy(model), plan(model, x)
    storage = model.b.weight.untyped_storage()
    content, size = storage.clone(), storage.nbytes()
    gone = planned(x)
    loss = planned(x)
    storage.resize_(0)
    with pytest.raises(BackwardRefused, match=r"'model\.b\.weight' was changed"):
        gone.backward()
    storage.resize_(size)
    storage.copy_(content)
    loss.backward()
    other(x).backward()
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(model.parameters(), other.parameters()))


class Tripled(Does):
    def __call__(self, *args):
        return super().__call__(*args) * 3


def tripled(_, __, out):
    return out * 3


def test_what_runs_around_forward_must_not_change_the_loss():
    """It would be done to the loss in place of the output; watching is no change."""
    output, x = (lambda m, x: torch.tanh(m.a(x))), torch.randn(16, 8)
    model = Tripled(output)
    planned = plan(model, x, loss=torch.mean)
    with pytest.raises(OtherStep, match="its own __call__, or a forward hook"):
        planned(x)
    with torch.no_grad():
        assert torch.equal(planned.eval()(x), model(x))
    model, seen = Does(output), []
    planned = plan(model, x.requires_grad_(), loss=torch.mean)
    hook = model.register_forward_hook(lambda *_: seen.append(1))
    model.register_full_backward_hook(lambda *_: seen.append(2))
    planned(x).backward()
    assert seen == [1, 2]
    hook.remove()
    model._backward_hooks.clear()
    model.register_forward_hook(tripled)
    with pytest.raises(OtherStep, match="a forward hook on the model"):
        planned(x)
    model = Tripled(loss_of)
    torch.testing.assert_close(plan(model, x)(x), model(x))


@pytest.fixture
def alone():
    """One process, as many are."""
    torch.distributed.init_process_group(
        "gloo", store=torch.distributed.HashStore(), rank=0, world_size=1
    )
    yield
    torch.distributed.destroy_process_group()


@pytest.mark.skipif(not torch.distributed.is_available(), reason="a PyTorch for one process")
def test_what_is_planned_is_wrapped_and_not_the_other_way_round(alone):
    wrapped, (model, x) = nn.parallel.DistributedDataParallel, (Does(loss_of), torch.randn(8, 8))
    with pytest.raises(BadInput, match=r"plan model\.module, and wrap that"):
        plan(wrapped(model), x)
    other = copy.deepcopy(model)
    wrapped(plan(model, x), gradient_as_bucket_view=True)(x).backward()
    other(x).backward()
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(model.parameters(), other.parameters()))
