"""What eager PyTorch holds for derivatives, beside what these read, is in an export's promise."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that it is there
from torch.nn import functional  # noqa: E402

import schedule.torch  # noqa: E402
from schedule.errors import CannotCapture  # noqa: E402
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


class Kept(torch.autograd.Function):
    """Saves what it makes by the way, and what it never reads; notes another result by itself."""

    @staticmethod
    def forward(ctx, x):
        here = torch.sigmoid(x)
        ctx.save_for_backward(here, x.exp())
        ctx.noted = here * 3
        return torch.round(here * 4) / 4

    @staticmethod
    def backward(ctx, gradient):
        here, _ = ctx.saved_tensors
        slope = here * (1 - here)
        return gradient * slope * ctx.noted


def kept(x):
    """Two derivatives of their own, one after another."""
    return Kept.apply(Kept.apply(x))


def named(x):
    """Variables hold what nobody reads any more."""
    first = x * 2
    second = first + 1
    third = second + 1
    return torch.relu(third + 1)


#: A function, a budget, and whether modules have to be wrapped in it.
TRIED = [
    *((function, "100%", True) for function in (torch.erf, gathered, distance)),
    (kept, "110%", True),
    *((function, "300%", False) for function in (torch.erf, gathered, distance, kept, named)),
]


@pytest.mark.parametrize(
    ("function", "budget", "wraps"), TRIED, ids=lambda each: getattr(each, "__name__", str(each))
)
def test_the_peak_is_the_one_that_is_measured(function, budget, wraps):
    """Where modules are wrapped, and where none is; a formula's own results stay to its end."""
    torch.manual_seed(0)
    model, x = nn.Sequential(*(Block(function) for _ in range(3))), torch.randn(ROWS, WIDTH)
    planned = schedule.torch.plan(model, x, budget, loss=torch.sum, solver="greedy", costs="unit")
    export = schedule.torch.export(planned, "modules")
    assert bool(export.modules) == wraps
    with export.apply(model), Live([*model.parameters(), x]) as live:
        model(x).sum().backward()
    assert live.peak == export.peak


class Chosen(nn.Module):
    """Adds what is looked up by one-hot vectors."""

    def __init__(self):
        super().__init__()
        self.table, self.mix = nn.Linear(4, WIDTH, bias=False), nn.Linear(WIDTH, WIDTH)

    def forward(self, x):
        hot = functional.one_hot(torch.arange(len(x)) % 4, 4).to(x.dtype)
        return x + torch.tanh(self.mix(x + self.table(hot)))


def test_one_hot_vectors_are_those_of_tensors_with_memory():
    """These call other operators on them: the policies were refused at the first step."""
    torch.manual_seed(0)
    model, x = nn.Sequential(*(Chosen() for _ in range(3))), torch.randn(ROWS, WIDTH)
    planned = schedule.torch.plan(model, x, "75%", loss=torch.sum, solver="greedy", costs="unit")
    export = schedule.torch.export(planned, "selective")
    assert any(module.eager for module in export.modules.values())
    model(x).sum().backward()
    expected = [parameter.grad for parameter in model.parameters()]
    model.zero_grad()
    with export.apply(model), Live([*model.parameters(), x]) as live:
        model(x).sum().backward()
    assert live.peak == export.peak
    assert all(map(torch.equal, expected, (p.grad for p in model.parameters())))


@pytest.mark.filterwarnings("ignore:TF32")  # that PyTorch says of the flags
def test_recurrent_layers_of_a_library_are_refused():
    """What it keeps isn't known; without it the peak is what is promised."""
    torch.manual_seed(0)

    class Recurrent(nn.Module):
        def __init__(self):
            super().__init__()
            self.layers = nn.ModuleList([nn.LSTM(WIDTH, WIDTH)])

        def forward(self, x):
            return self.layers[0](x)[0]

    model, x = Recurrent(), torch.randn(4, 8, WIDTH)
    planned = schedule.torch.plan(model, x, "200%", loss=torch.sum, solver="greedy", costs="unit")
    with pytest.raises(CannotCapture, match=r"leaves lstm to oneDNN.*mkldnn\.flags"):
        schedule.torch.export(planned, "modules")
    with torch.backends.mkldnn.flags(enabled=False):
        export = schedule.torch.export(planned, "modules")
        with export.apply(model), Live([*model.parameters(), x]) as live:
            model(x).sum().backward()
    assert live.peak == export.peak


def test_gradients_of_what_a_loss_refers_to_are_counted():
    """A penalty on the model's own parameters, which the loss knows by itself."""
    torch.manual_seed(0)
    model, x = nn.Sequential(*(Block(torch.tanh) for _ in range(3))), torch.randn(4, WIDTH)

    def loss(output):
        return output.sum() + sum(p.square().sum() for p in model.parameters())

    planned = schedule.torch.plan(model, x, "300%", loss=loss, solver="greedy", costs="unit")
    export = schedule.torch.export(planned, "modules")
    assert all(parameter.grad is None for parameter in model.parameters())
    with export.apply(model), Live([*model.parameters(), x]) as live:
        loss(model(x)).backward()
    assert live.peak == export.peak


def test_what_a_loss_notes_is_as_it_was():
    """It runs once more, on tensors without memory."""
    torch.manual_seed(0)
    noted = []

    def loss(output):
        noted.append(output.detach())
        return output.sum()

    model, x = nn.Sequential(*(Block(torch.tanh) for _ in range(3))), torch.randn(ROWS, WIDTH)
    planned = schedule.torch.plan(model, x, "100%", loss=loss, solver="greedy", costs="unit")
    before = list(map(id, noted))
    schedule.torch.export(planned, "modules")
    assert list(map(id, noted)) == before


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
