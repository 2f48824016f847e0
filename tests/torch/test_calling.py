"""What a planned module is to those who call it: training loops, trainers, evaluation."""

from __future__ import annotations

import copy
import functools
import inspect
import io
import sys
import threading
import types

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that it is there
from torch.nn import functional  # noqa: E402

import schedule.torch  # noqa: E402
from schedule.errors import BadInput, DoesNotFit, OtherStep  # noqa: E402
from tests.torch.training_models import Live  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")


class Masked(nn.Module):
    """Takes a mask, too, where it is given one; writes more of what it began."""

    def __init__(self):
        super().__init__()
        self.body, self.drop, self.head = nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 4)

    def forward(self, x: torch.Tensor, mask: torch.Tensor | None = None) -> torch.Tensor:
        here = torch.tanh(self.body(x))
        return self.head(self.drop(here if mask is None else here * mask))

    @torch.no_grad()
    def generate(self, x, steps):
        for _ in range(steps):
            x = torch.cat([x, self(x[:, -8:])], 1)
        return x


def batch(rows=16):
    return torch.randn(rows, 8), torch.randint(0, 4, (rows,))


def plan(model, example, budget=None, **options):
    return schedule.torch.plan(model, example, budget, **{"solver": "greedy"} | options)


def classifying(example=None, model=None, **options):
    """A planned classifier, and a batch of it."""
    x, y = batch()
    loss = functional.cross_entropy
    example = x if example is None else example(x)
    return plan(model or Masked(), example, loss=loss, targets=[y], **options), x, y


def perceptron():
    layers = [part for _ in range(4) for part in (nn.Linear(8, 8), nn.Tanh())]
    return nn.Sequential(*layers, nn.Linear(8, 4))


@pytest.mark.parametrize("example", [lambda x: x, lambda x: {"x": x}], ids=["tensor", "mapping"])
def test_outside_of_training_it_is_the_models_own_forward_pass(example):
    """Logits, by position and by name, with a loss that takes targets; and the loss with them."""
    model = Masked()
    planned, x, y = classifying(example, model)
    own, mask = copy.deepcopy(model).eval(), torch.rand(16, 8)
    planned.eval()
    assert torch.equal(planned(x), own(x))
    assert torch.equal(planned(x=x, mask=mask), own(x, mask))
    assert planned(x).requires_grad
    assert torch.equal(planned(x, None, y), functional.cross_entropy(own(x), y))
    assert torch.equal(planned.generate(x, 3), own.generate(x, 3))
    with torch.inference_mode():
        assert torch.equal(planned(x), own(x))
    planned.train()
    with torch.no_grad():
        torch.manual_seed(1)
        found = planned(x)
        torch.manual_seed(1)
        assert torch.equal(found, model(x))


def test_a_loss_without_targets_is_of_training_alone():
    planned = plan(model := Masked(), x := batch()[0], loss=lambda out: out.square().mean())
    assert planned(x).shape == ()
    with torch.no_grad():
        assert torch.equal(planned.eval()(x), model(x))


def test_what_may_be_a_mask_or_a_target_is_refused():
    """Outside of training, where both are possible; never one taken for the other."""
    planned, x, y = classifying()
    planned.eval()
    with pytest.raises(OtherStep, match=r"or Masked\.forward with all of them; give .* by name"):
        planned(x, y)


def test_a_step_with_too_few_or_too_many_arguments_says_so():
    """Also where another step would be planned anew; by name, where only that differs."""
    planned, x, y = classifying(on_change="replan")
    for given in ([], [x], [x, None, None, y]):
        with pytest.raises(OtherStep, match=r"for 1 argument and 1 target, .* targets come last"):
            planned(*given)
    planned, x, y = classifying()
    with pytest.raises(OtherStep, match="it is given 'x' and 1 target; planned was 1 argument"):
        planned(y, x=x)
    planned, x, y = classifying(lambda x: {"x": x})
    with pytest.raises(OtherStep, match=r"argument 'x' is torch.float32 of shape \(3, 8\)"):
        planned(y, x=x[:3])


def test_it_takes_what_the_model_takes():
    """By signature, of the object and of its class, which goes by the model's name."""
    model = Masked()
    planned, *_ = classifying(model=model)
    assert inspect.signature(planned.forward) == inspect.signature(model.forward)
    names = list(inspect.signature(Masked.forward).parameters)
    assert list(inspect.signature(type(planned).forward).parameters) == names
    kind = type(planned)
    assert (kind.__name__, kind.__module__) == ("Masked", Masked.__module__)
    assert issubclass(kind, Masked)


def test_a_forward_pass_that_it_is_given_wraps_its_own():
    """As accelerate does it, and undoes it; the model knows nothing of that."""
    model = Masked()
    planned, x, y = classifying(model=model)
    before, seen = planned.forward, []

    @functools.wraps(before.__func__)
    def wrapped(module, *args, **kwargs):
        seen.append(module)
        return before.__func__(module, *args, **kwargs)

    planned.forward = types.MethodType(wrapped, planned)
    torch.manual_seed(1)
    loss = planned(x, y)
    assert seen == [planned]
    model(x)
    assert seen == [planned]
    inner = planned.forward
    while hasattr(inner, "__wrapped__"):
        inner = inner.__wrapped__
    planned.forward = types.MethodType(inner, planned)
    torch.manual_seed(1)
    assert torch.equal(planned(x, y), loss)
    assert seen == [planned]
    del planned.forward
    assert planned.forward == before
    with pytest.raises(AttributeError, match="forward"):
        del planned.forward


class OfDictionary(Masked):
    def forward(self, batch):
        return super().forward(batch["x"])


def loss_of(output, target):
    return functional.cross_entropy(output, target)


MISFITS = {
    "targets is a tensor; it has to be a list": {"targets": batch()[1]},
    "targets is a dict; it has to be a list": {"targets": {"y": batch()[1]}},
    "no loss= that takes them": {"loss": None},
    r"a module, such as CrossEntropyLoss\(\)": {"loss": nn.CrossEntropyLoss},
    "loss is 'mean'; it has to be a function": {"loss": "mean"},
    "what the model returns and no targets, which": {"targets": []},
    "and 2 targets, which it doesn't take: too many": {"targets": [*batch()]},
    r"gives OfDictionary\.forward 'x', and it takes \(batch\): .*example_inputs=\(\{": {
        "model": OfDictionary(),
        "example": {"x": batch()[0]},
    },
    "gives Masked.forward 'z', .*a mapping gives keyword": {"example": {"z": batch()[0]}},
    r"gives Masked.forward 3 arguments, .*the loss takes goes into targets=": {
        "example": (*batch(), batch()[1])
    },
}


@pytest.mark.parametrize("said", MISFITS)
def test_what_does_not_fit_is_said_in_terms_of_plan(said):
    given = {"model": Masked(), "example": batch()[0], "loss": loss_of, "targets": [batch()[1]]}
    given |= MISFITS[said]
    model, example = given.pop("model"), given.pop("example")
    before = dict(vars(model))
    with pytest.raises(BadInput, match=said):
        plan(model, example, **given)
    with pytest.raises(BadInput, match=said):
        schedule.torch.capture(model, example, **given)
    assert vars(model) == before


def test_a_decorated_forward_pass_may_take_more_than_it_says():
    """Names that a decorator knows how to translate, as libraries do with old ones."""

    class Renamed(Masked):
        @functools.wraps(Masked.forward)
        def forward(self, **kwargs):
            return super().forward(kwargs["old"])

    x, y = batch()
    planned = plan(Renamed(), {"old": x}, loss=loss_of, targets=[y], on_change="replan")
    for rows in (16, 9):
        assert torch.isfinite(planned(y[:rows], old=x[:rows]))


def test_targets_of_a_batch_size_are_listed():
    with pytest.raises(BadInput, match=r"make_targets\(1\) is a tensor; it has to be a list"):
        schedule.torch.largest_batch(
            perceptron(),
            lambda size: batch(size)[0],
            "1MiB",
            loss=loss_of,
            make_targets=lambda size: batch(size)[1],
        )


def test_what_is_planned_anew_has_the_bytes_of_the_first_plan():
    """A smaller batch recomputes nothing where all of it fits; a larger one may not fit."""
    model, (x, y) = perceptron(), batch(256)
    given = {"loss": loss_of, "targets": [y], "on_change": "replan"}
    planned = plan(model, x, "80%", **given)
    first = planned.planned_step.result
    assert first.overhead > 0
    planned(x[:180], y[:180]).backward()
    smaller = planned.planned_step.result
    whole = plan(perceptron(), x[:180], loss=loss_of, targets=[y[:180]], solver="store_all")
    assert whole.planned_step.result.peak <= first.budget
    assert (smaller.budget, smaller.overhead) == (first.budget, 0)
    with pytest.raises(DoesNotFit, match="of the step that was planned first"):
        planned(torch.cat([x] * 4), torch.cat([y] * 4))
    for again in (plan(model, x, schedule=first, **given), copy.deepcopy(planned)):
        again(x[:100], y[:100]).backward()
        assert again.planned_step.result.budget == first.budget


def test_a_part_that_is_unfrozen_is_planned_anew_or_refused():
    model, (x, y) = perceptron(), batch(256)
    model[0].requires_grad_(requires_grad=False)
    given = {"loss": loss_of, "targets": [y]}
    planned = plan(model, x, "80%", on_change="replan", **given)
    planned(x, y).backward()
    assert model[0].weight.grad is None
    budget = planned.planned_step.result.budget
    refusing = plan(model, x, "80%", **given)
    model[0].requires_grad_()
    with pytest.raises(OtherStep, match="others need gradients"):
        refusing(x, y)
    model.zero_grad()
    planned(x, y).backward()
    assert planned.planned_step.result.peak <= budget == planned.planned_step.result.budget
    mine = [p.grad for p in model.parameters()]
    expected = torch.autograd.grad(loss_of(model(x), y), list(model.parameters()))
    torch.testing.assert_close(mine, list(expected))


class Words(nn.Module):
    """Returns loss and logits, which are large."""

    def __init__(self):
        super().__init__()
        self.embed, self.head = nn.Embedding(99, 8), nn.Linear(8, 99)

    def forward(self, ids, labels):
        logits = self.head(torch.tanh(self.embed(ids)))
        return {"loss": functional.cross_entropy(logits, labels), "logits": logits}


def test_a_share_is_of_what_the_model_itself_takes():
    """With the logits that it returns; in a shell a share of the captured graph is as much."""
    model, ids = Words(), torch.randint(0, 99, (256,))
    given = {"ids": ids, "labels": ids.roll(-1)}
    budget = plan(model, given, "100%").planned_step.result.budget
    with Live([*model.parameters(), *given.values()]) as live:
        output = model(**given)
        output["loss"].backward()
    assert abs(live.peak - budget) <= 0.001 * budget
    assert schedule.parse_budget("100%", schedule.torch.capture(model, given)) == budget


def test_gradients_that_add_up_are_declared_and_counted():
    """Between the batches of one step of the optimizer."""
    model, (x, y) = perceptron(), batch(256)
    added = sum(p.nbytes for p in model.parameters())
    planned = plan(model, x, "90%", loss=loss_of, targets=[y], resident=added)
    with Live([*model.parameters(), x, y]) as live:
        for _ in range(3):
            planned(x, y).backward()
    assert live.peak <= planned.planned_step.result.peak + 16


def test_an_averaged_copy_follows_the_planned_module():
    """`AveragedModel` copies it: with parameters of its own, and its forward pass."""
    planned, x, y = classifying()
    averaged = torch.optim.swa_utils.AveragedModel(planned)
    seen = [planned.head.weight.detach().clone()]
    averaged.update_parameters(planned)
    planned(x, y).backward()
    torch.optim.SGD(planned.parameters(), lr=1.0).step()
    seen.append(planned.head.weight.detach().clone())
    averaged.update_parameters(planned)
    torch.testing.assert_close(averaged.module.head.weight.detach(), (seen[0] + seen[1]) / 2)
    expected = Masked()
    expected.load_state_dict(averaged.module.state_dict())
    assert torch.equal(averaged.eval()(x), expected.eval()(x))


def test_torch_compile_leaves_a_planned_step_as_it_is():
    """The operators of the plan run, as its peak is the promised one."""
    model, (x, y) = perceptron(), batch(256)
    planned = plan(model, x, "80%", loss=loss_of, targets=[y])
    compiled = torch.compile(planned, backend="eager")
    compiled(x, y).backward()
    model.zero_grad()
    with Live([*model.parameters(), x, y]) as live:
        loss = compiled(x, y)
        loss.backward()
    assert torch.equal(loss, planned(x, y))
    assert abs(live.peak - planned.planned_step.result.peak) <= 16


class Terminal(io.StringIO):
    def isatty(self):
        return True


def terminal(monkeypatch):
    """In the test itself: between a fixture and a test pytest sets standard error anew."""
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setattr(sys, "stderr", Terminal())
    return sys.stderr


class Late:
    """A timer whose time has come, or never comes."""

    daemon = False

    def __init__(self, seconds, function):
        assert seconds == 2
        self.function = function

    def cancel(self):
        pass

    def start(self):
        self.function()


class Early(Late):
    def start(self):
        pass


def test_planning_that_takes_long_is_shown_on_a_terminal(monkeypatch):
    """After two seconds: what it does; gone at the end. Before: nothing."""
    (x, y), error = batch(), terminal(monkeypatch)
    monkeypatch.setattr(threading, "Timer", Early)
    planned = plan(perceptron(), x, loss=loss_of, targets=[y], on_change="replan")
    assert error.getvalue() == ""
    monkeypatch.setattr(threading, "Timer", Late)
    planned(x[:9], y[:9])
    shown = error.getvalue()
    assert "planning Sequential: capturing the training step" in shown
    assert "planning Sequential: greedy: 60 s left" in shown
    assert shown.endswith("\x1b[2K")
    n_before = len(shown)
    plan(perceptron(), x, loss=loss_of, targets=[y], check=True)
    assert "comparing a step with the model's own" in error.getvalue()[n_before:]


@pytest.mark.parametrize(
    ("timer", "options"),
    [(Early, {}), (Late, {"show_progress": False}), (Late, {"progress": lambda found: None})],
    ids=["quick", "not wanted", "the caller's own"],
)
def test_planning_is_silent(timer, options, monkeypatch, capfd):
    """Where it is quick, told so, or followed by the caller; and where there is no terminal."""
    (x, y), error = batch(), terminal(monkeypatch)
    monkeypatch.setattr(threading, "Timer", timer)
    plan(perceptron(), x, loss=loss_of, targets=[y], **options)
    assert error.getvalue() == ""
    monkeypatch.setattr(sys, "stderr", other := io.StringIO())
    plan(perceptron(), x, loss=loss_of, targets=[y])
    assert (other.getvalue(), *capfd.readouterr()) == ("", "", "")


def test_whether_progress_is_shown_is_yes_or_no():
    with pytest.raises(BadInput, match="show_progress is 'no'; it is True or False"):
        plan(perceptron(), batch()[0], show_progress="no")


def test_what_is_no_solver_is_refused_by_the_one_who_asks_it():
    """Not by the line that would name it."""
    x, y = batch()
    with pytest.raises(BadInput, match="is no solver: it has no name"):
        plan(perceptron(), x, loss=loss_of, targets=[y], solver=object())
