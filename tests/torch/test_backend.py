"""`torch.compile(model, backend="schedule")`."""

from __future__ import annotations

import shutil

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that it is there

from schedule.torch import backend as backends  # noqa: E402
from schedule.torch.passes import Split  # noqa: E402
from tests.torch.training_models import Live, cases  # noqa: E402

CASES = cases()
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None, reason="Inductor needs a C++ compiler"
)
inductors_own = pytest.mark.filterwarnings("ignore:.torch.jit:DeprecationWarning")


@pytest.fixture(autouse=True)
def afresh():
    """What was compiled for one test is no other's."""
    torch._dynamo.reset()
    yield
    torch._dynamo.reset()


def compiled(model, **options):
    options = {"time_limit": 20, "solver": "greedy"} | options
    return torch.compile(model, backend="schedule", options=options, dynamic=False)


def gradients(model):
    return [None if p.grad is None else p.grad for p in model.parameters()]


@pytest.mark.parametrize("name", ["perceptron", "normed", "attending"])
def test_a_compiled_model_trains_as_without_a_budget_in_less_memory(name):
    """The same bits, buffers included, at a lower peak by a tracker of its own."""
    case = CASES[name]
    found = []
    for options in ({"solver": "store_all"}, {"budget": "85%"}):
        model = case.model()
        module = compiled(model, **options)

        def step(module=module):
            torch.manual_seed(7)
            output = module(*case.args, **case.kwargs)
            total = case.total(output if case.loss is None else case.loss(output, *case.targets))
            total.backward()
            return total.detach()

        step()  # compiles
        model.zero_grad()
        with Live(case.tensors(model)) as live:
            total = step()
        found.append((live.peak, [total, *gradients(model), *model.buffers()]))
    (plain, expected), (peak, values) = found
    assert peak < plain
    for mine, its in zip(values, expected, strict=True):
        assert (mine is None and its is None) or torch.equal(mine, its)


def test_sizes_are_planned_one_by_one_and_inference_is_left_alone():
    """With dynamic=False each shape compiles anew; without gradients nothing is planned."""
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    module = compiled(model, budget="97%")
    for rows in (64, 32, 64):
        x = torch.randn(rows, 8)
        mine = torch.autograd.grad(module(x).mean(), list(model.parameters()))
        its = torch.autograd.grad(model(x).mean(), list(model.parameters()))
        torch.testing.assert_close(mine, its)
    with torch.no_grad():
        torch.testing.assert_close(module(x), model(x))


class Breaking(nn.Module):
    """Two graphs: something between them can't be traced."""

    def __init__(self):
        super().__init__()
        self.first, self.second = nn.Linear(8, 8), nn.Linear(8, 8)

    def forward(self, x):
        here = torch.tanh(self.first(x))
        torch._dynamo.graph_break()
        return torch.tanh(self.second(here)).mean()


@pytest.mark.filterwarnings("ignore:The .grad attribute")  # PyTorch looks at it itself
def test_graphs_that_break_keep_shares_but_no_amounts():
    """Each graph by itself; an amount for both can't be promised, and that is said."""
    model, x = Breaking(), torch.randn(64, 8)
    compiled(model, budget="100%")(x).backward()
    mine = gradients(model)
    model.zero_grad()
    its = torch.autograd.grad(model(x), list(model.parameters()))
    torch.testing.assert_close(mine, list(its))
    torch._dynamo.reset()
    with pytest.raises(Exception, match="the model breaks into several graphs"):
        compiled(model, budget=10**9)(x)


class Whole(nn.Module):
    """One graph, of another class."""

    def forward(self, x):
        return torch.tanh(x).mean()


class Moving(nn.Module):
    """A buffer that the first part reads, through a view, too, and a later part changes."""

    def __init__(self, differentiates):
        super().__init__()
        self.first, self.second = nn.Linear(4, 8), nn.Linear(8, 1)
        self.register_buffer("mean", torch.zeros(8, 1))
        self.differentiates = differentiates

    def forward(self, x):
        mean = self.mean.squeeze(1)
        here = torch.exp(torch.tanh(self.first(x) + mean) + mean.cos())
        torch._dynamo.graph_break()
        with torch.no_grad():
            self.mean.mul_(0.9).add_(here.detach().mean(0)[:, None])
        if not self.differentiates:
            torch._dynamo.graph_break()
        return self.second(here).square().mean()


@pytest.mark.filterwarnings("ignore:The .grad attribute")
@pytest.mark.parametrize("differentiates", [True, False])
def test_a_buffer_that_a_later_part_changes_is_read_as_it_was(differentiates):
    """Whether that part is differentiated or not; it was refused in the backward pass."""
    torch.manual_seed(0)
    own, x = Moving(differentiates), torch.randn(6, 4)
    model = Moving(differentiates)
    model.load_state_dict(own.state_dict())
    module = compiled(model, solver="recompute_all")
    for _ in range(3):
        losses = own(x), module(x)
        for loss in losses:
            loss.backward()
        assert torch.equal(*losses)
        assert all(map(torch.equal, gradients(own), gradients(model)))
        assert torch.equal(own.mean, model.mean)


def test_models_that_share_their_options_are_not_pieces_of_one():
    """Nor is anything added to what the caller gave."""
    options = {"budget": 10**9, "solver": "greedy"}
    given = dict(options)
    for model in (Whole(), nn.Linear(8, 1)):
        run = torch.compile(model, backend="schedule", options=given, dynamic=False)
        run(torch.randn(64, 8, requires_grad=True)).sum().backward()
    assert given == options


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"mode": "max-autotune"}, "mode is 'max-autotune': modes are Inductor's own"),
        ({"options": [1]}, "options is a list; it has to be a dict"),
    ],
)
def test_a_mode_and_options_that_are_no_dict_are_refused(given, said):
    run = torch.compile(nn.Linear(8, 1), backend="schedule", **given)
    with pytest.raises(Exception, match=said):
        run(torch.randn(64, 8))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"budget": 100}, "no schedule fits 100"),
        ({"badget": 100}, "option 'badget' is none of budget"),
        ({"budget": "much"}, "budget 'much' is no amount of memory"),
        ({"inductor": "no"}, "inductor is 'no'; it is True or False"),
        ({"inductor": True, "workspace": "measure"}, "workspace can't be measured under Inductor"),
    ],
)
def test_what_cannot_be_kept_is_refused_at_the_first_step(options, said):
    model = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1))
    with pytest.raises(Exception, match=said):
        compiled(model, **options)(torch.randn(64, 8))


def kept_by(module, case, model):
    """Loss and gradients of a step, and the bytes that it keeps for its backward pass."""
    known = {tensor.untyped_storage().data_ptr() for tensor in case.tensors(model)}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in known:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    torch._dynamo.reset()
    model.zero_grad()
    torch.manual_seed(7)
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        output = module(*case.args, **case.kwargs)
        total = case.total(output if case.loss is None else case.loss(output, *case.targets))
    total.backward()
    return [total.detach(), *gradients(model)], sum(kept.values())


@needs_compiler
@inductors_own
# The first draws masks from Inductor's own seeds, the second has statistics.
@pytest.mark.parametrize(("name", "budget"), [("attending", "75%"), ("normed", "97%")])
@pytest.mark.filterwarnings("ignore::schedule.errors.BudgetMissed")  # a few kilobytes are in it
def test_inductor_saves_less_and_computes_the_same(name, budget):
    """Its own values, with the same masks and statistics; where the budget bites, less is kept."""
    case, found = CASES[name], []
    for made in (
        lambda model: torch.compile(model, dynamic=False),
        lambda model: compiled(model, budget=budget, inductor=True),
    ):
        model = case.model()
        values, kept = kept_by(made(model), case, model)
        found.append(([*values, *model.buffers()], kept))
    (expected, most), (mine, least) = found
    assert least < most or name == "normed"  # of which nearly all has to be there at once
    for found, its in zip(mine, expected, strict=True):
        assert (found is None) == (its is None)
        if its is not None:  # what is fused otherwise is rounded otherwise
            torch.testing.assert_close(found, its, rtol=1e-4, atol=1e-5)


@needs_compiler
@inductors_own
def test_a_split_that_would_draw_again_is_refused(monkeypatch):
    """Where the mask of a dropout isn't saved, other gradients would follow, silently."""
    split = Split(frozenset(), frozenset(["native_dropout"]))
    monkeypatch.setattr(backends, "split_of", lambda *_: split)
    model = nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 1))
    with (
        torch._inductor.config.patch(fallback_random=True),
        pytest.raises(Exception, match="'native_dropout' must not run twice"),
    ):
        compiled(model, inductor=True)(torch.randn(64, 8))


class Inverting(nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(4, 4)

    def forward(self, x):
        return torch.linalg.inv(self.linear(x)).square().mean()


@inductors_own
def test_checks_are_made_or_refused_under_inductor():
    """A singular matrix raises in the forward pass, as in eager PyTorch."""
    model, x = Inverting(), torch.randn(4, 4)
    compiled = torch.compile(model, backend="schedule", dynamic=False)
    torch.testing.assert_close(compiled(x), model(x))
    compiled(x).backward()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.zero_()
    with pytest.raises(torch.linalg.LinAlgError, match="singular"):
        compiled(x)
    torch._dynamo.reset()
    options = {"inductor": True}
    refused = torch.compile(model, backend="schedule", options=options, dynamic=False)
    with pytest.raises(torch._dynamo.exc.BackendCompilerFailed, match="leave the option"):
        refused(x)
