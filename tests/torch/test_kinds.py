"""Situations in which a planned step was silently wrong, kind by kind, against eager PyTorch."""

from __future__ import annotations

import copy
from dataclasses import dataclass

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that it is there
from torch.nn import functional  # noqa: E402

import schedule  # noqa: E402
import schedule.torch  # noqa: E402
from schedule.errors import CannotCapture, NotEqual, OtherStep, ScheduleError  # noqa: E402
from schedule.torch.frontend import capture_made  # noqa: E402
from tests.torch.training_models import Live  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


def close(found, wanted):
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-6)


def same_training(make, batch, loss=lambda out: out, n=3, **options):
    """Train a planned model and eager beside each other, from the same state and seeds."""
    torch.manual_seed(0)
    model = make()
    eager = copy.deepcopy(model)
    planned = schedule.torch.plan(model, copy.deepcopy(batch), **{"time_limit": 10} | options)
    for step in range(n):
        values = []
        for module in (eager, planned):
            given = copy.deepcopy(batch)
            module.zero_grad()
            torch.manual_seed(step)
            value = loss(module(**given) if isinstance(given, dict) else module(*given))
            value.backward()
            values.append((value.detach(), given))
        close(*values[::-1])
        for mine, its in zip(planned.parameters(), eager.parameters(), strict=True):
            assert (mine.grad is None) == (its.grad is None)
            close(mine, its)
            if mine.grad is not None:
                close(mine.grad, its.grad)
                with torch.no_grad():
                    mine -= 0.1 * mine.grad
                    its -= 0.1 * its.grad
        for mine, its in zip(planned.buffers(), eager.buffers(), strict=True):
            close(mine, its)
    return planned, eager


READS = {
    "view": lambda m: m.view(1, -1),
    "none": lambda m: m[None],
    "element": lambda m: m[0],
    "narrow": lambda m: m.narrow(0, 0, 8),
    "expand": lambda m: m.expand(1, 8),
    "detach": lambda m: m.detach().view(8),
    "data": lambda m: m.data,
    "turned": lambda m: m[None].t().t(),
    "split": lambda m: m.split(4)[0].repeat(2),
    "itself": lambda m: m,
}


class Centred(nn.Module):
    """Each layer's output is centred by a running mean, which then changes in place."""

    def __init__(self, read, *, by_argument=False, scaled=False, width=8):
        super().__init__()
        self.read, self.by_argument, self.scaled = read, by_argument, scaled
        self.layers = nn.ModuleList(nn.Linear(width, width) for _ in range(4))
        for at in range(4):
            self.register_buffer(f"mean{at}", torch.full((width,), 0.5))

    def forward(self, x, given=None):
        for at, layer in enumerate(self.layers):
            mean = given if self.by_argument else getattr(self, f"mean{at}")
            seen = self.read(mean.clone() if self.scaled else mean)
            here = layer(x)
            here = here * seen if self.scaled else here - seen
            x = torch.tanh(torch.sigmoid(here))
            with torch.no_grad():
                mean.mul_(0.5).add_(here.mean(0), alpha=0.5)
        return x.square().mean()


@pytest.mark.parametrize("read", READS)
def test_what_runs_again_reads_what_was_there_before_the_step_changed_it(read):
    """Whatever lies between: a buffer that changes later is read as it was."""
    batch = (torch.randn(64, 8) + 2,)
    for options in ({"solver": "recompute_all"}, {"budget": "80%", "solver": "greedy"}):
        planned, _ = same_training(lambda: Centred(READS[read]), batch, **options)
        assert planned.planned_step.result.overhead > 0


def test_arguments_and_what_the_backward_pass_reads_are_read_as_they_were():
    """An argument that changes in place, and a buffer that a derivative depends on."""
    batch = (torch.randn(64, 8) + 2, torch.full((8,), 0.5))
    options = {"solver": "recompute_all"}
    same_training(lambda: Centred(READS["none"], by_argument=True), batch, **options)
    same_training(lambda: Centred(READS["none"], scaled=True), batch[:1], **options)


class Swapping(nn.Module):
    """Two buffers change places, by way of the step."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)
        self.register_buffer("a", torch.ones(4))
        self.register_buffer("b", torch.full((4,), 2.0))

    def forward(self, x):
        here = torch.tanh(torch.sigmoid(self.layer(x) - self.a.view(1, -1)) - self.b)
        old = self.a.clone()
        self.a.copy_(self.b)
        self.b.copy_(old)
        return here.square().mean()


def test_buffers_that_change_places():
    same_training(Swapping, (torch.randn(8, 4),), solver="recompute_all")


def test_inputs_on_the_memory_of_what_changes_are_refused():
    """Eager would see the change through the other one."""
    batch = (torch.randn(16, 8), torch.full((8,), 0.5))
    planned = schedule.torch.plan(Centred(READS["none"], by_argument=True), batch)
    whole = torch.zeros(24, 8)
    with pytest.raises(OtherStep, match="shares its memory with another input"):
        planned(whole[:16], whole[3])
    planned(whole[:16], torch.full((8,), 0.5)).backward()


class Words(nn.Module):
    """Returns loss and logits, by name."""

    def __init__(self):
        super().__init__()
        self.embed, self.body, self.head = nn.Embedding(99, 8), nn.Linear(8, 8), nn.Linear(8, 99)

    def forward(self, ids, labels):
        logits = self.head(torch.tanh(self.body(self.embed(ids))))
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}


def words():
    torch.manual_seed(0)
    ids = torch.randint(0, 99, (256,))
    return {"ids": ids, "labels": ids.roll(-1)}


USES = {
    "loss": lambda out: out["loss"],
    "spread": lambda out: out["loss"] + 1e-3 * out["logits"].sum(),
    "both": lambda out: out["loss"] + 1e-3 * out["logits"].square().mean(),
}


@pytest.fixture(scope="module")
def room_for_all():
    """Bytes that the step of `Words` takes, with room for the gradients of all that goes out."""
    step = schedule.torch.plan(Words(), words(), solver="store_all", gradients="all").planned_step
    return step.result.peak


@pytest.mark.parametrize("share", [1.0, 0.9, 0.8])
@pytest.mark.parametrize("use", USES)
def test_what_goes_out_is_held_to_the_end_within_the_budget(use, share, room_for_all):
    """With gradients for the loss alone, or for all; what there is no room for is refused."""
    batch, loss, budget = words(), USES[use], int(share * room_for_all)
    if use == "both" and share < 1:
        with pytest.raises(OtherStep, match="comes in for result"):
            same_training(Words, batch, loss, budget=budget)
        return
    same_training(Words, batch, loss, budget=budget)
    torch.manual_seed(0)
    model = Words()
    planned = schedule.torch.plan(model, batch, budget)
    with Live([*model.parameters(), *batch.values()]) as live:
        output = planned(**batch)
        total = loss(output)
        total.backward()
        held = output["logits"].sum()
    assert torch.isfinite(held)
    if use != "both":  # what the caller computes with takes memory of its own
        assert live.peak <= planned.planned_step.result.peak + 16


def test_room_for_all_gradients_is_kept_on_request():
    batch = words()
    options = {"budget": "100%", "gradients": "all", "solver": "greedy"}
    same_training(Words, batch, USES["both"], **options)
    with pytest.raises(ScheduleError, match="'loss' or 'all'"):
        schedule.torch.plan(Words(), batch, gradients="some")


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.body, self.main, self.aux = nn.Linear(8, 8), nn.Linear(8, 1), nn.Linear(8, 1)

    def forward(self, x):
        here = torch.tanh(self.body(x))
        return self.main(here).square().mean(), self.aux(here).square().mean()


def test_a_head_without_gradient_has_none():
    """Not zeros, by which weight decay would move it."""
    for at in (0, 1):
        same_training(Two, (torch.randn(16, 8),), loss=lambda out, at=at: out[at])


def test_a_second_derivative_is_refused_where_it_is_asked_for():
    critic, x = nn.Sequential(nn.Linear(8, 8), nn.Tanh(), nn.Linear(8, 1)), torch.randn(4, 8)
    planned = schedule.torch.plan(critic, x.clone().requires_grad_(), loss=torch.sum)
    compiled = torch.compile(critic, backend="schedule", dynamic=False)
    for run in (planned, lambda y: compiled(y).sum()):
        y = x.clone().requires_grad_()
        with pytest.raises(OtherStep, match=r"create_graph=True.*use the model itself"):
            torch.autograd.grad(run(y), y, create_graph=True)


def test_one_tensor_in_two_places_is_two_arguments():
    """When planned, when run, and with gradients for it."""
    model, x = nn.Sequential(nn.Linear(8, 4), nn.Tanh(), nn.Linear(4, 8)), torch.randn(16, 8)
    planned = schedule.torch.plan(model, x, loss=functional.mse_loss, targets=[x])
    noisy = x + torch.randn_like(x)
    for given, target in ((noisy, x), (x, x), (x, noisy)):
        close(planned(given, target), functional.mse_loss(model(given), target))
    pair = nn.Bilinear(8, 8, 1)
    zeros = torch.zeros(4, 8, requires_grad=True)
    planned = schedule.torch.plan(pair, (zeros, zeros), loss=torch.sum)
    one, other = torch.randn(4, 8), torch.randn(4, 8)
    close(planned(one.requires_grad_(), other.requires_grad_()), pair(one, other).sum())
    planned(zeros, zeros).backward()
    mine = zeros.grad.clone()
    zeros.grad = None
    pair(zeros, zeros).sum().backward()
    close(mine, zeros.grad)


class Keeps(nn.Module):
    """Assigns to itself, in every way."""

    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(8, 8)
        self.register_buffer("mean", torch.zeros(8))
        self.aux, self.cache, self.calls, self.log = None, None, 0, {"last": None}

    def forward(self, x):
        here = self.layer(x)
        self.calls += 1
        self.aux = here.abs().mean()
        self.log["last"] = here.detach().amax()
        if self.cache is None:
            self.cache = torch.arange(8.0)
        out = torch.tanh(here - self.mean) * self.cache
        self.mean = 0.9 * self.mean + 0.1 * here.detach().mean(0)
        return out.square().mean()


def test_what_forward_assigns_is_assigned():
    """A buffer bound anew, attributes, a counter, a cache, a dictionary."""
    batch = (torch.randn(16, 8) + 3,)
    planned, eager = same_training(Keeps, batch, n=5)
    assert planned.calls == eager.calls == 5
    close(planned.aux, eager.aux)
    close(planned.log, eager.log)
    close(planned.cache, eager.cache)


class Stored:
    """A hook that stores what comes by."""

    def __init__(self):
        self.last, self.all = None, []

    def __call__(self, module, args, output):
        self.last = output.detach().sum()
        self.all.append(self.last)


def test_what_hooks_store_is_stored():
    def make():
        model = nn.Sequential(nn.Linear(4, 4), nn.Tanh(), nn.Linear(4, 1))
        model[0].register_forward_hook(Stored())
        return model

    batch = (torch.randn(8, 4),)
    planned, eager = same_training(make, batch, loss=lambda out: out.sum(), n=4)
    (mine,), (its,) = planned[0]._forward_hooks.values(), eager[0]._forward_hooks.values()
    assert len(mine.all) == len(its.all) == 4
    close(mine.all, its.all)
    close(mine.last, its.last)


class Growing(nn.Module):
    """Reads what it lets grow."""

    def __init__(self):
        super().__init__()
        self.layer, self.log = nn.Linear(4, 1), [1.0]

    def forward(self, x):
        self.log.append(float(len(self.log)))
        return self.layer(x).sum() * sum(self.log)


def test_a_step_that_makes_each_next_one_another_is_refused_by_name():
    """Right as long as it goes on; then the reason and the way out."""
    model, x = Growing(), torch.randn(2, 4)
    eager = copy.deepcopy(model)
    planned = schedule.torch.plan(model, x)

    def train():
        for _ in range(20):
            close(planned(x), eager(x))

    with pytest.raises(OtherStep, match=r"log.*keep it in a buffer"):
        train()


class Counting(nn.Module):
    """Counts, and does something else at every third step; or computes with the count."""

    def __init__(self, *, computes=False):
        super().__init__()
        self.part = nn.Sequential(nn.Linear(4, 1))
        self.calls, self.part.seen, self.computes = 0, 5, computes

    def forward(self, x):
        self.calls += 1
        self.part.seen += 2
        here = self.part(x)
        if self.calls % 3 == 0:
            here = here * 2
        return here.sum() * (self.calls if self.computes else 1)


def test_a_counter_counts_without_an_end():
    """What depends on it is followed; only tensors that do would make each step another."""
    torch.manual_seed(0)
    x = torch.randn(2, 4)
    model = Counting()
    eager, planned = copy.deepcopy(model), schedule.torch.plan(model, x)
    for _ in range(20):
        close(planned(x), eager(x))
    assert (model.calls, model.part.seen) == (eager.calls, eager.part.seen) == (20, 45)
    planned = schedule.torch.plan(Counting(computes=True), x)

    def train():
        for _ in range(20):
            planned(x)

    with pytest.raises(OtherStep, match=r"each step makes the next one another \(model.calls"):
        train()


class Rotating(nn.Module):
    """Keeps factors by length, and the greatest length that it has seen."""

    def __init__(self):
        super().__init__()
        self.inner, self.known, self.most = nn.Linear(4, 4), {}, 0

    def forward(self, x):
        length = len(x)
        self.most = max(self.most, length)
        if length not in self.known:
            self.known[length] = torch.arange(1.0, length + 1)[:, None]
        return (self.inner(x) * self.known[length]).sum() * self.most


def test_what_is_looked_up_by_a_number_that_changes_is_planned_anew():
    """Where PyTorch can't do so by one that it doesn't know, the number is a part of the step."""
    torch.manual_seed(0)
    model = Rotating()
    planned = schedule.torch.plan(model, torch.ones(3, 4), on_change="replan")
    eager = copy.deepcopy(model)
    for rows in (3, 3, 2, 3, 5, 2):
        x = torch.randn(rows, 4)
        close(planned(x), eager(x))
    assert (model.most, model.known.keys()) == (eager.most, eager.known.keys()) == (5, {2, 3, 5})


@dataclass
class Weights:
    aux: float = 0.0


class Stages(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))
        self.norm, self.drop, self.used = nn.BatchNorm1d(8), nn.Dropout(0.1), [0, 1]
        self.weights, self.loss = Weights(), nn.CrossEntropyLoss()

    def forward(self, x):
        for at in self.used:
            x = torch.tanh(self.layers[at](x))
        x = self.drop(self.norm(x))
        classes = torch.zeros(len(x), dtype=torch.long)
        return self.loss(x, classes) + self.weights.aux * x.abs().mean()


def tied(model):
    model.layers[1].weight = model.layers[0].weight


CHANGES = {
    "dropout's rate": lambda m: setattr(m.drop, "p", 0.7),
    "momentum": lambda m: setattr(m.norm, "momentum", 0.5),
    "eps": lambda m: setattr(m.norm, "eps", 0.5),
    "weight in the loss": lambda m: setattr(m.weights, "aux", 1.0),
    "label smoothing": lambda m: setattr(m.loss, "label_smoothing", 0.3),
    "layers in use": lambda m: m.used.append(2),
    "a part in evaluation mode": lambda m: m.norm.eval(),
    "a hook": lambda m: m.layers[0].register_forward_hook(lambda _, __, out: out * 2),
    "a hook before": lambda m: m.layers[0].register_forward_pre_hook(lambda _, x: (x[0] * 2,)),
    "a layer wrapped": lambda m: m.layers.__setitem__(0, nn.Sequential(m.layers[0], nn.ReLU())),
    "a layer of another kind": lambda m: m.layers.__setitem__(0, nn.Linear(8, 8, bias=False)),
    "weights tied": tied,
    "another forward": lambda m: setattr(m.layers[0], "forward", torch.sigmoid),
    "a parameter frozen": lambda m: m.layers[0].weight.requires_grad_(requires_grad=False),
}


@pytest.mark.parametrize("what", CHANGES)
def test_plain_state_that_changes_is_followed_or_refused(what):
    """Whichever of the two is changed: they are one."""
    torch.manual_seed(0)
    x = torch.randn(16, 8)
    for on_change in ("refuse", "replan"):
        model = Stages()
        planned = schedule.torch.plan(model, x, on_change=on_change, time_limit=5)
        planned(x).backward()
        CHANGES[what](model if on_change == "refuse" else planned)
        if on_change == "refuse":
            with pytest.raises(OtherStep, match=r"isn't the planned one: .*plan it anew"):
                planned(x)
            continue
        eager = copy.deepcopy(model)
        for module in (planned, eager):
            torch.manual_seed(1)
            module.zero_grad()
            module(x).backward()
        for mine, its in zip(model.parameters(), eager.parameters(), strict=True):
            assert (mine.grad is None) == (its.grad is None)
            if mine.grad is not None:
                close(mine.grad, its.grad)


def test_a_parameter_in_place_of_another_is_used():
    """Of the same kind: the planned step goes on with it; weights untied are two."""
    torch.manual_seed(0)
    model, x = Stages(), torch.randn(16, 8)
    planned = schedule.torch.plan(model, x, solver="greedy")
    planned(x).backward()
    model.layers[0].weight = nn.Parameter(torch.randn(8, 8))
    planned(x).backward()
    assert model.layers[0].weight.grad is not None
    tied(model)
    planned = schedule.torch.plan(model, x, solver="greedy")
    model.layers[1].weight = nn.Parameter(torch.randn(8, 8))
    with pytest.raises(OtherStep, match="isn't the planned one"):
        planned(x)


class Switch(nn.Module):
    def __init__(self):
        super().__init__()
        self.a = nn.Linear(8, 8)

    def forward(self, x, k):
        kind = 3 if isinstance(k, bool) else 0.5 if isinstance(k, int) else k
        return (self.a(x) * kind).mean()


def test_equal_values_of_different_types_are_different_arguments():
    model, x = Switch(), torch.randn(4, 8)
    planned = schedule.torch.plan(model, (x, 1))
    for other in (1.0, True):
        with pytest.raises(OtherStep, match="argument 1 is"):
            planned(x, other)
    planned = schedule.torch.plan(model, (x, 1), on_change="replan")
    for k in (1, 1.0, True):
        close(planned(x, k), model(x, k))


def test_the_order_of_keyword_arguments_does_not_matter():
    batch = words()
    planned = schedule.torch.plan(Words(), batch)
    close(planned(labels=batch["labels"], ids=batch["ids"]), planned(**batch))


@torch.library.custom_op("schedule_kinds::noise", mutates_args=())
def noise(x: torch.Tensor) -> torch.Tensor:
    return x + torch.rand_like(x)


@noise.register_fake
def _(x):
    return torch.empty_like(x)


noise.register_autograd(lambda ctx, grad: grad)


class Noisy(nn.Module):
    def __init__(self):
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(8, 8) for _ in range(3))

    def forward(self, x):
        for layer in self.layers:
            x = torch.tanh(torch.sigmoid(noise(layer(x))))
        return x.square().mean()


def test_operators_of_others_run_once_unless_they_are_declared_pure():
    """Nobody knows whether they draw: this one does, without saying so."""
    batch = (torch.randn(16, 8),)
    planned, _ = same_training(Noisy, batch, solver="recompute_all")

    def again(step):
        graph = step.planned_step.graph
        return {n.recomputable for n in graph.nodes if n.name.startswith("noise")}

    assert again(planned) == {False}
    for pure in ([noise], ["schedule_kinds::noise"], [torch.ops.schedule_kinds.noise.default]):
        assert again(schedule.torch.plan(Noisy(), batch, pure=pure)) == {True}
    with pytest.raises(ScheduleError, match="it lists operators"):
        schedule.torch.plan(Noisy(), batch, pure=[torch.rand_like])


class Scaled(nn.Module):
    def __init__(self):
        super().__init__()
        self.a, self.scale = nn.Linear(8, 8), nn.Parameter(torch.tensor(5.0))

    def forward(self, x):
        with torch.no_grad():
            self.scale.clamp_(0, 4.6)
        return (self.scale * torch.tanh(self.a(x))).square().mean()


class Embedded(nn.Module):
    def __init__(self, **options):
        super().__init__()
        self.e, self.a = nn.Embedding(50, 8, **options), nn.Linear(8, 8)

    def forward(self, ids):
        return torch.tanh(self.a(self.e(ids))).square().mean()


def test_a_parameter_that_the_step_changes():
    ids = torch.randint(0, 50, (4, 6))
    same_training(Scaled, (torch.randn(4, 8),), solver="recompute_all")
    same_training(lambda: Embedded(max_norm=1.0), (ids,), solver="recompute_all")
    with pytest.raises(CannotCapture, match="sparse=False"):
        schedule.torch.plan(Embedded(sparse=True), ids)


class Recurrent(nn.Module):
    def __init__(self, kind, **options):
        super().__init__()
        self.rnn, self.head = kind(8, 8, batch_first=True, **options), nn.Linear(8, 1)

    def forward(self, x):
        return self.head(self.rnn(x)[0]).square().mean()


@pytest.mark.parametrize("kind", [nn.RNN, nn.GRU, nn.LSTM])
def test_recurrent_layers(kind):
    """Served, but for dropout between layers, which PyTorch's capture would lose."""
    batch = (torch.randn(4, 5, 8),)
    same_training(lambda: Recurrent(kind, num_layers=2), batch, solver="recompute_all")
    with pytest.raises(CannotCapture, match=r"dropout=0.3 between its 2 layers.*nn.Dropout"):
        schedule.torch.plan(Recurrent(kind, num_layers=2, dropout=0.3), batch)


class Solves(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.a, self.function = nn.Linear(8, 8), function

    def forward(self, x):
        here = self.a(x)
        return self.function(here.mT @ here + torch.eye(8)).square().mean()


def density(a):
    return torch.distributions.MultivariateNormal(torch.zeros(8), a).log_prob(torch.ones(8))


@pytest.mark.parametrize(
    "function", [torch.linalg.inv, torch.linalg.cholesky, torch.linalg.svdvals, density]
)
def test_linear_algebra_with_checks(function):
    same_training(lambda: Solves(function), (torch.randn(16, 8),), solver="recompute_all")


def test_in_evaluation_mode_a_model_planned_with_a_loss_gives_its_output():
    """Its loss only where targets are given, too."""
    model, x, y = nn.Linear(8, 1), torch.randn(4, 8), torch.randn(4, 1)
    planned = schedule.torch.plan(model, x, loss=functional.mse_loss, targets=[y])
    planned.eval()
    close(planned(x), model(x))
    close(planned(x, y), functional.mse_loss(model(x), y))
    planned.train()
    with torch.no_grad():
        close(planned(x), model(x))
    planned(x, y).backward()
    planned = schedule.torch.plan(model, x, loss=torch.mean)
    close(planned.eval()(x), model(x))


def test_a_model_moved_to_another_type_in_a_factory_is_captured_without_memory():
    """The same graph as with memory."""

    def factory():
        model = nn.Sequential(nn.Linear(8, 8), nn.LayerNorm(8), nn.Linear(8, 8))
        model[2].weight = model[0].weight
        return model.to(torch.bfloat16), torch.zeros(4, 8, dtype=torch.bfloat16), torch.sum

    assert capture_made(factory, fake=True) == capture_made(factory, fake=False)


class Liar(nn.Module):
    """An operator that is declared pure, and isn't."""

    def __init__(self):
        super().__init__()
        self.inner = Noisy()
        self.calls, self.weights = [0], Weights()

    def forward(self, x):
        self.calls[0] += 1
        self.weights.aux = 1.0
        return self.inner(x)


def test_the_checker_finds_what_is_wrong_and_leaves_the_model_as_it_was():
    """By name and figure; a model that is planned rightly has no difference."""
    torch.manual_seed(0)
    model, x = Liar(), torch.randn(16, 8)
    before = copy.deepcopy(model.state_dict())
    state = torch.get_rng_state()
    good = schedule.torch.check(model, x)
    assert good.same
    assert "6 gradients" in str(good)
    bad = schedule.torch.check(model, x, pure=[noise])
    assert not bad.same
    assert any(d.what == "gradient of inner.layers.0.weight" for d in bad.differences)
    assert "differs by up to" in str(bad)
    assert not any(difference.in_capture for difference in bad.differences)
    assert (model.calls, model.weights.aux) == ([0], 0.0)
    assert all(p.grad is None for p in model.parameters())
    assert torch.equal(torch.get_rng_state(), state)
    torch.testing.assert_close(dict(model.state_dict()), dict(before))
    with pytest.raises(NotEqual, match="differs from the model's own"):
        schedule.torch.plan(model, x, solver="recompute_all", pure=[noise], check=True)
    schedule.torch.plan(model, x, solver="recompute_all", check=True)


@torch.library.custom_op("schedule_kinds::loose", mutates_args=())
def loose(x: torch.Tensor) -> torch.Tensor:
    return x.repeat(50, 1)[: len(x)]


@loose.register_fake
def _(x):
    return torch.empty_like(x)


loose.register_autograd(lambda ctx, grad: grad)


class Loose(nn.Module):
    """Results that lie in larger storages than they need, said to be so or not."""

    def __init__(self, middle):
        super().__init__()
        self.first, self.middle, self.last = nn.Linear(8, 27), middle, nn.LazyLinear(4)

    def forward(self, x):
        return self.last(torch.tanh(self.middle(torch.tanh(self.first(x))))).square().mean()


def folded(x):
    return functional.fold(x.view(4, 16, 27).mT, (4, 4), 3, padding=1).flatten(1)


def lost(x):
    return x * functional.smooth_l1_loss(x, torch.ones_like(x))


@pytest.mark.parametrize("middle", [folded, lost, loose])
def test_results_in_larger_storages_keep_the_promise(middle):
    """From the first step on, or where only the first one could tell, from the second."""
    torch.manual_seed(0)
    model, x = Loose(middle), torch.randn(64, 8)
    model(x)
    for solver in ("store_all", "recompute_all"):
        planned = schedule.torch.plan(model, x, solver=solver)
        if middle is loose:
            planned(x).backward()
        model.zero_grad(set_to_none=True)
        with Live([*model.parameters(), x]) as live:
            total = planned(x)
            assert live.now <= planned.planned_step.result.peak
            total.backward()
        if middle is not loose:  # of others' operators nobody knows what they take for a moment
            assert live.peak <= planned.planned_step.result.peak + 16


@pytest.mark.parametrize(
    ("mode", "dimensions", "operator"),
    [
        ("nearest", 2, "upsample_nearest2d"),
        ("nearest-exact", 1, "_upsample_nearest_exact1d"),
        ("linear", 1, "upsample_linear1d"),
        ("bilinear", 2, "upsample_bilinear2d"),
        ("bicubic", 2, "upsample_bicubic2d"),
        ("trilinear", 3, "upsample_trilinear3d"),
    ],
)
def test_upsampling_is_the_operator_of_eager_pytorch(mode, dimensions, operator):
    """One node forward and one backward, with eager PyTorch's bits."""
    target = getattr(torch.ops.aten, operator).vec
    before = dict(target.py_kernels)
    torch.manual_seed(0)
    sizes = (3, 4, 5)[:dimensions]
    model = nn.Sequential(nn.Linear(sizes[-1], sizes[-1]), nn.Upsample(scale_factor=2, mode=mode))
    eager, batch = copy.deepcopy(model), torch.randn(2, 3, *sizes)
    planned = schedule.torch.plan(model, batch, loss=lambda out: out.square().mean())
    planned(batch).backward()
    eager(batch).square().mean().backward()
    for mine, its in zip(planned.parameters(), eager.parameters(), strict=True):
        assert torch.equal(mine.grad, its.grad)
    names = [node.name for node in planned.planned_step.graph.nodes if "upsample" in node.name]
    assert len(names) == 2
    assert target.py_kernels == before, "others trace as before"
