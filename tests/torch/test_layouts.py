"""Results that operators lay out otherwise than fake tensors foretell: what is a copy then."""

import pytest
import torch
from torch import nn

import schedule.torch
from schedule.torch import layouts
from tests.torch.training_models import Live

pytestmark = pytest.mark.usefixtures("one_thread")


class AcrossTime(nn.Module):
    """Layers for (batch, channel, time) within a model of (batch, time, channel)."""

    def __init__(self, *layers):
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x):
        return self.layers(x.transpose(1, 2)).transpose(1, 2)


class Attending(nn.Module):
    """PyTorch's own attention: its result is laid out by time first."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

    def forward(self, x):
        return self.attention(x, x, x, need_weights=False)[0]


MIDDLES = {
    "batch norm": lambda: AcrossTime(nn.BatchNorm1d(16)),
    "batch norm, then ReLU": lambda: AcrossTime(nn.BatchNorm1d(16), nn.ReLU()),
    "log sigmoid": lambda: AcrossTime(nn.LogSigmoid()),
    "attention": Attending,
}


@pytest.mark.parametrize("solver", ["store_all", "recompute_all"])
@pytest.mark.parametrize("middle", MIDDLES)
def test_views_that_are_copies_are_promised(middle, solver):
    """The tracker sees as much as is promised, and gradients are eager PyTorch's to the bit."""
    torch.manual_seed(0)
    layers = [nn.Linear(16, 16), MIDDLES[middle]()]
    model = nn.Sequential(*layers, *([] if middle == "attention" else [nn.Linear(16, 16)]))
    x, y, loss = torch.randn(4, 8, 16), torch.randn(4, 8, 16), nn.functional.mse_loss
    module = schedule.torch.plan(model, x, loss=loss, targets=[y], solver=solver)
    promise = module.planned_step.result.peak
    with Live([*model.parameters(), *model.buffers(), x, y]) as live:
        module(x, y).backward()
    assert 0 <= promise - live.peak + 8 <= 8  # the gradient of the loss is given, not made
    planned = [p.grad for p in model.parameters()]
    model.zero_grad(set_to_none=True)
    loss(model(x), y).backward()
    assert all(map(torch.equal, planned, [p.grad for p in model.parameters()]))


def test_what_cannot_be_run_by_itself_is_as_foretold(monkeypatch):
    """Planning doesn't end for it, and the gradients are right all the same."""
    tried = []

    def refuse(*_):
        tried.append(True)
        raise RuntimeError("not on such numbers")

    monkeypatch.setattr(layouts, "filled", refuse)
    model, x = nn.Sequential(nn.Linear(16, 16), MIDDLES["batch norm"]()), torch.randn(4, 8, 16)
    module = schedule.torch.plan(model, x, loss=torch.sum, solver="recompute_all")
    assert tried
    module(x).backward()
    planned = [p.grad for p in model.parameters()]
    model.zero_grad(set_to_none=True)
    model(x).sum().backward()
    assert all(map(torch.equal, planned, [p.grad for p in model.parameters()]))
