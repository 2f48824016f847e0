"""What eager PyTorch holds for derivatives, beside what these read, is in an export's promise."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that it is there
from torch.nn import functional  # noqa: E402

import schedule.torch  # noqa: E402
from tests.torch.training_models import Live  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS, WIDTH = 64, 16


class Block(nn.Module):
    """A function between two linear layers."""

    def __init__(self, function):
        super().__init__()
        self.first, self.second = nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH)
        self.function = function

    def forward(self, x):
        return x + self.second(self.function(self.first(x)))


def distance(x):
    """The result has the memory of all elements."""
    return x * functional.mse_loss(x, torch.zeros_like(x))


def gathered(x):
    """Of what it was gathered from the derivative reads the shape; it is saved whole."""
    return x.gather(-1, torch.arange(WIDTH).expand(ROWS, WIDTH))


@pytest.mark.parametrize("function", [torch.erf, gathered, distance], ids=lambda f: f.__name__)
@pytest.mark.parametrize("budget", ["100%", "300%"])
def test_the_peak_is_the_one_that_is_measured(function, budget):
    """Where modules are wrapped, and where none is; a formula's own results stay to its end."""
    torch.manual_seed(0)
    model, x = nn.Sequential(*(Block(function) for _ in range(3))), torch.randn(ROWS, WIDTH)
    planned = schedule.torch.plan(model, x, budget, loss=torch.sum, solver="greedy", costs="unit")
    export = schedule.torch.export(planned, "modules")
    assert bool(export.modules) == (budget == "100%")
    with export.apply(model), Live([*model.parameters(), x]) as live:
        model(x).sum().backward()
    assert abs(live.peak - export.peak) <= 64


def test_without_time_the_choice_of_the_least_peak_is_taken():
    """It isn't called the best; the error would have said that it fits."""
    torch.manual_seed(0)
    model, x = nn.Sequential(*(Block(torch.tanh) for _ in range(3))), torch.randn(ROWS, WIDTH)
    planned = schedule.torch.plan(model, x, "100%", loss=torch.sum, solver="greedy", costs="unit")
    found = schedule.torch.export(planned, "modules", time_limit=1e-9)
    best = schedule.torch.export(planned, "modules")
    assert not found.is_best
    assert best.is_best
    assert found.peak <= found.budget
    assert found.compute >= best.compute
