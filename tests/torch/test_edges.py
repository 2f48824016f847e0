"""Steps at the edge of what a plan can hold for, against eager PyTorch, or refused by name."""

from __future__ import annotations

import copy
import random
import threading
from collections import deque

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that it is there
from torch.autograd import forward_ad  # noqa: E402
from torch.nn import functional  # noqa: E402
from torch.utils.flop_counter import FlopCounterMode  # noqa: E402

import schedule.torch  # noqa: E402
from schedule.errors import BackwardRefused, BadInput, CannotCapture, OtherStep  # noqa: E402
from tests.torch.training_models import Live  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


class Does(nn.Module):
    """A linear layer, a batch norm, a buffer, and what a function does with them."""

    def __init__(self, does):
        super().__init__()
        self.a, self.norm, self.does = nn.Linear(8, 8), nn.BatchNorm1d(8), does
        self.register_buffer("kept", torch.ones(3, 8))

    def forward(self, *args, **kwargs):
        return self.does(self, *args, **kwargs)


def plan(model, example, **options):
    return schedule.torch.plan(model, example, **{"solver": "recompute_all"} | options)


def batch(rows=16, **options):
    return torch.randn(rows, 8, **options)


def reads_new_statistics(model, x):
    return torch.tanh(torch.relu(model.norm(model.a(x))) * model.norm.running_mean).square().mean()


def normalises_twice(model, x):
    return torch.tanh(model.norm(model.a(torch.tanh(model.norm(model.a(x)))))).square().mean()


def normalises_in_both_modes(model, x):
    here = model.norm(model.a(x))
    model.norm.eval()
    here = model.norm(model.a(here))
    model.norm.train()
    return torch.tanh(here).square().mean()


@pytest.mark.parametrize("does", [reads_new_statistics, normalises_twice, normalises_in_both_modes])
def test_new_statistics_that_are_read_are_made_once(does):
    """Batch norm may run again only where they go nowhere but into the buffers."""
    report = schedule.torch.check(Does(does), batch())
    assert report.same, report


def test_detached_outputs_stay_detached():
    """Beside what they lie on; and a parameter as it is, or detached."""

    def does(model, x):
        here = torch.tanh(model.a(x))
        model.seen = here.detach()
        return here.square().mean(), here, here.detach(), here.t(), model.a.weight.detach(), x

    model, x = Does(does), batch()
    eager = copy.deepcopy(model)
    found, wanted = plan(model, x)(x), eager(x)
    for mine, its in zip(found, wanted, strict=True):
        assert mine.requires_grad == its.requires_grad
        torch.testing.assert_close(mine, its)
    assert not model.seen.requires_grad
    for loss, here, detached, turned, *_ in (found, wanted):
        (loss + (here * detached).sum() + turned.square().sum()).backward()
    for mine, its in zip(model.parameters(), eager.parameters(), strict=True):
        assert (mine.grad is None) == (its.grad is None)
        if mine.grad is not None:
            torch.testing.assert_close(mine.grad, its.grad)


def test_gradients_of_views_that_go_out_take_no_memory_beside_the_plan():
    def does(model, x):
        here = model.a(x)
        return here.square().mean(), here.t(), here.detach()

    model, x = Does(does), batch()
    planned = plan(model, x, gradients="all")
    with Live([*model.parameters(), *model.buffers(), x]) as live:
        out = planned(x)
        gradient = torch.full_like(out[1], 0.1)
        torch.autograd.backward(out[:2], [None, gradient])
    assert live.peak <= planned.planned_step.result.peak + 16


def test_a_complex_result_and_its_parts_go_out():
    def does(model, x):
        turned = torch.view_as_complex(model.a(x).view(-1, 4, 2)) * 1j
        parts = torch.view_as_real(turned).flatten(1)
        return parts.square().mean(), parts, parts.t()

    report = schedule.torch.check(Does(does), batch())
    assert report.same, report


def test_what_would_carry_a_gradient_from_step_to_step_is_refused():
    model = Does(lambda m, x: (m.kept.add_(m.a(x)[:3]), m.a(x).square().mean())[1])
    with pytest.raises(CannotCapture, match="write what is detached"):
        plan(model, batch())
    model = Does(lambda m, x: (x.mul_(2), m.a(x).square().mean())[1])
    with pytest.raises(CannotCapture, match=r"x = x.clone\(\)"):
        plan(model, batch(requires_grad=True) * 1)


def test_containers_among_the_arguments_are_the_callers():
    """What forward takes out of a dictionary, or puts into a list, is taken out and put in."""
    model, x = Does(lambda m, given: m.a(given.pop("x")).square().mean()), batch()
    given = {"x": x}
    plan(model, ({"x": x},))(given)
    assert not given

    def does(m, x, seen):
        seen.append(torch.tanh(m.a(x)))
        return seen[-1].mean()

    model, found = Does(does), []
    loss = plan(model, (x, []))(x, found)
    (loss + found[0].square().sum()).backward()
    mine = model.a.weight.grad.clone()
    model.zero_grad()
    (torch.tanh(model.a(x)).mean() + torch.tanh(model.a(x)).square().sum()).backward()
    torch.testing.assert_close(mine, model.a.weight.grad)


def test_views_of_one_storage_one_of_which_changes():
    """They share a version; what the step itself changes is no change from outside."""
    model = Does(lambda m, a, b: (b.mul_(2), m.a(a).square().mean())[1])
    for _ in range(2):
        one, other = batch().split(8)
        plan(model, tuple(batch().split(8)))(one, other).backward()
    x = batch(8)
    with pytest.raises(OtherStep, match="shares its memory"):
        plan(model, (x, x))


def test_an_expanded_argument_has_a_gradient():
    model, y = Does(lambda m, x: m.a(x).square().mean()), batch(1, requires_grad=True)
    alone = Does(lambda m, x: x.sum() * m.a.weight.sum())  # nothing else is as large
    planned = plan(alone, y.expand(400, 8))
    with Live([*alone.parameters(), *alone.buffers(), y]) as live:
        loss = planned(y.expand(400, 8))
        torch.autograd.backward(loss)
    # What autograd makes of it for `y` is made outside of the step.
    assert live.peak <= planned.planned_step.result.peak + y.nbytes + 16
    y.grad = None
    plan(model, y.expand(4, 8))(y.expand(4, 8)).backward()
    mine, y.grad = y.grad, None
    model(y.expand(4, 8)).backward()
    torch.testing.assert_close(mine, y.grad)


def test_layouts_that_pytorch_foretells_wrongly():
    """The backward pass of batch norm gives another layout than fake tensors say."""

    def does(model, x):
        here = model.a(x).view(2, 4, 8, 8).to(memory_format=torch.channels_last)
        return functional.batch_norm(here, None, None, training=True).square().mean()

    report = schedule.torch.check(Does(does), batch(64))
    assert report.same, report


def assigned(model, x):
    here = model.a(x)
    wide = torch.zeros(256, 8)
    wide[255:] = here[:1]
    wide[254:255] = here[1:2]
    return (torch.tanh(wide).sum() + here).square().mean()


def refolded(model, x):
    columns = functional.unfold(model.a(x).view(1, 8, 16, -1), 3, padding=1)
    return functional.fold(columns, (16, len(x) // 16), 3, padding=1).square().mean()


def copied(model, x):
    here = torch.tanh(model.a(x))
    with torch.no_grad():
        model.kept[1].copy_(here.mean(0))
    return here.square().mean()


@pytest.mark.parametrize("does", [assigned, refolded, copied])
def test_copies_into_parts_of_larger_tensors_keep_the_promise(does):
    model, x = Does(does), batch(256)
    planned = plan(model, x)
    with Live([*model.parameters(), *model.buffers(), x]) as live:
        planned(x).backward()
    assert live.peak <= planned.planned_step.result.peak + 16


def test_arguments_that_are_not_used_count():
    model = Does(lambda m, x, other: m.a(x).square().mean())
    x, other = batch(), torch.zeros(10_000)
    peaks = [plan(model, (x, y)).planned_step.result.peak for y in (other, other[:1])]
    assert peaks[0] - peaks[1] == 4 * 9_999


def test_a_second_backward_pass_is_refused_with_the_way_out():
    """As any error of PyTorch's at that place, and of this package's."""
    planned = plan(Does(lambda m, x: (m.a(x).mean(), m.a(x).amax())), batch())
    one, other = planned(batch())
    one.backward()
    with pytest.raises(BackwardRefused, match="differentiate the sum of its losses"):
        other.backward()
    assert issubclass(BackwardRefused, (OtherStep, RuntimeError))


class Dropping(nn.Module):
    """A dropout in the type of its argument, and a product that autocast leaves alone."""

    def __init__(self, rate):
        super().__init__()
        self.a, self.b, self.rate = nn.Linear(8, 64), nn.Linear(64, 1), rate

    def forward(self, x):
        here = functional.dropout(torch.tanh(self.a(x)), self.rate)
        with torch.autocast("cpu", enabled=False):
            return self.b(here.float()).square().mean()


@pytest.mark.parametrize(("is_cast", "rate"), [(True, 0.1), (False, 0.15)])
def test_dropout_and_autocast_are_eager_pytorchs_to_the_bit(is_cast, rate):
    """The scale is rounded as the mask is, and a backward pass outside of autocast isn't cast."""
    x, found = batch(64), []
    for way in (lambda model: model, lambda model: plan(model, x)):
        torch.manual_seed(0)
        model = Dropping(rate)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=is_cast):
            module = way(model)
            torch.manual_seed(1)
            loss = module(x)
        loss.backward()
        found.append([loss.detach(), *[p.grad for p in model.parameters()]])
    assert all(map(torch.equal, *found))


@pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")  # PyTorch's own use of it
def test_derivatives_of_forward_mode_are_refused():
    """Before anything has run: the statistics stay."""
    model = Does(lambda m, x: m.norm(m.a(x)).square().mean())
    planned = plan(model, batch())
    with forward_ad.dual_level(), pytest.raises(OtherStep, match="forward mode"):
        planned(forward_ad.make_dual(batch(), batch()))
    assert model.norm.num_batches_tracked == 0


def test_a_step_that_fails_has_changed_nothing():
    """Whatever it had come to: the batch norm is before what fails."""
    model, loss = Does(lambda m, x: m.norm(m.a(x))), functional.cross_entropy
    planned = plan(model, batch(), loss=loss, targets=[torch.zeros(16, dtype=torch.long)])
    before = copy.deepcopy(model.state_dict())
    with pytest.raises(IndexError, match="out of bounds"):
        planned(batch(), torch.full((16,), 99))
    assert all(map(torch.equal, before.values(), model.state_dict().values()))


def rounded(saved):
    return saved.bfloat16().float() if saved.dtype == torch.float32 else saved


def test_hooks_on_saved_tensors_are_refused():
    """They would round what eager PyTorch saves; its own hooks, which don't, have nothing to do."""
    model, graph = Does(lambda m, x: m.norm(m.a(x)).square().mean()), torch.autograd.graph
    compiled = torch.compile(copy.deepcopy(model), backend="schedule", dynamic=False)
    for run in (plan(model, batch()), compiled):
        said = pytest.raises(OtherStep, match="hooks on saved tensors")
        with said, graph.saved_tensors_hooks(rounded, lambda saved: saved):
            run(batch())
        assert run.norm.num_batches_tracked == 0
        with graph.save_on_cpu():
            run(batch()).backward()


def test_several_gradients_at_once_are_refused():
    """Their memory isn't planned, and in a first step PyTorch can't look at what they give."""
    model = Does(lambda m, x: m.a(x).square().mean(0))
    planned = plan(model, batch(), loss=lambda out: {"loss": out.sum(), "all": out})
    for _ in range(2):
        out = planned(batch())["all"]
        with pytest.raises(BackwardRefused, match="several gradients come in at once"):
            torch.autograd.grad(out, model.a.weight, torch.eye(8), is_grads_batched=True)
        planned(batch())["loss"].backward()


def test_a_rate_of_one_draws_nothing():
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(1.0), nn.Linear(8, 8), nn.Dropout(0.5))
    report = schedule.torch.check(model, batch(), loss=lambda out: out.square().mean())
    assert report.same, report


def test_the_checker_names_what_pytorchs_own_capture_does():
    """A draw that nobody reads is left out: the random state is another one."""
    model = Does(lambda m, x: (torch.rand(5), m.a(x).square().mean())[1])
    report = schedule.torch.check(model, batch())
    assert [(d.what, d.in_capture) for d in report.differences] == [("random state", True)]
    assert "PyTorch's own capture differs, too" in str(report)


def test_threads_that_plan_anew_do_not_mix():
    """PyTorch traces one thing at a time."""
    model = Does(lambda m, x: m.a(x).square().mean())
    planned = plan(model, batch(), on_change="replan", solver="store_all")
    wrong = []

    def work(rows):
        x = batch(rows)
        if abs(planned(x).item() - model(x).item()) > 1e-5:
            wrong.append(rows)

    threads = [threading.Thread(target=work, args=(rows,)) for rows in range(3, 9)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_a_default_device_may_be_set():
    model, x = Does(lambda m, x: m.a(x).square().mean()), batch()
    torch.set_default_device("cpu")
    try:
        planned = plan(model, x)
        torch.testing.assert_close(planned(x), model(x))
    finally:
        torch.set_default_device(None)
    with pytest.raises(OtherStep, match="another default device"):
        planned(x)


def test_a_shallow_copy_has_the_same_plans_and_its_own_attributes():
    model, x = Does(lambda m, x: m.a(x).square().mean() * m.weight), batch()
    model.weight = 1.0
    planned = plan(model, x)
    other = copy.copy(planned)
    torch.testing.assert_close(other(x), planned(x))
    other.weight = 2.0
    with pytest.raises(OtherStep, match="weight is no longer"):
        other(x)
    planned(x)


def moved(model, x):
    model.kept.data = model.kept * 2
    return (model.a(x) * model.kept[0]).mean()


def drawn(model, x):
    return (model.a(x) * torch.from_numpy(np.random.rand(8))).mean()  # noqa: NPY002 - as people do


WEIGHTS, NUMBERS, RECENT = np.ones(8, np.float32), random.Random(0), deque([1.0], maxlen=2)


def remembered(model, x):
    RECENT.append(RECENT[0] + 1)
    return model.a(x).mean() * sum(RECENT)


@pytest.mark.parametrize(
    ("does", "said"),
    [
        (lambda m, x: m.a(x).mean() * float(x.sum()), "reads a number out of a tensor"),
        (lambda m, x: m.a(x)[x > 0].exp().mean(), "a size that depends on data .*torch.where"),
        (drawn, "aren't torch's"),
        (moved, "change its content"),
        (lambda m, x: m.a(x).mean() * NUMBERS.random(), "an object of random.Random"),
        (remembered, "use a list, and cut it"),
        (lambda m, x: (m.a(x) * torch.from_numpy(WEIGHTS)).mean(), "make a tensor of it"),
    ],
)
def test_what_cannot_be_captured_says_why(does, said):
    with pytest.raises(CannotCapture, match=said):
        plan(Does(does), batch())


def test_what_cannot_be_an_argument_or_a_part_is_refused():
    model = Does(lambda m, x: m.a(x).mean())
    with pytest.raises(BadInput, match=r"torch.from_numpy"):
        plan(model, np.zeros((4, 8), np.float32))
    with pytest.raises(BadInput, match=r"is <.*DataLoader.*; give a batch"):
        plan(model, torch.utils.data.DataLoader([1]))
    planned = plan(model, batch())
    with FlopCounterMode(display=False), pytest.raises(OtherStep, match="a mode watches operators"):
        planned(batch())
    whole = nn.Sequential(planned)
    with pytest.raises(BadInput, match="plan the whole model alone"):
        plan(whole, batch(), loss=torch.mean)


CHANGES = {
    "the hooks of model.a have changed": lambda m: m.a.register_forward_hook(lambda *_: None),
    "more parts than it had, or fewer": lambda m: setattr(m, "more", nn.Linear(1, 1)),
    "parameter 'a.bias' is new, gone": lambda m: setattr(m.a, "bias", None),
    "the stride of model.a.weight is another": lambda m: setattr(
        m.a.weight, "data", m.a.weight.data.t().contiguous().t()
    ),
    "model.norm.momentum is no longer 0.1": lambda m: setattr(m.norm, "momentum", 0.2),
}


@pytest.mark.parametrize("said", CHANGES)
def test_what_has_changed_is_said_in_the_readers_words(said):
    model, x = Does(normalises_twice), batch()
    planned = plan(model, x)
    CHANGES[said](model)
    if "parts" in said:  # nothing that the step reads: it goes on
        planned(x)
        model.does = lambda m, x: m.more(m.a(x)[:, :1]).mean()
    with pytest.raises(OtherStep, match=said):
        planned(x)


@pytest.mark.parametrize(
    "view",
    [lambda x: x[:, ::2], lambda x: x[:, 0].unsqueeze(1).expand(-1, 8)],
    ids=["gaps", "overlaps"],
)
def test_a_batch_that_is_a_view_is_checked_as_it_is(view):
    """Each of the two steps is given a copy that lies as it does, gaps and all."""
    batch = view(torch.rand(4, 16))
    report = schedule.torch.check(nn.Linear(8, 2), batch, loss=torch.sum, budget="100%")
    assert report.same, report
