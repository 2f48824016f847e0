"""Parameters, buffers and attributes of modules that `torch.utils.checkpoint` runs again."""

from __future__ import annotations

import copy

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that it is there

import schedule.torch  # noqa: E402
from schedule.errors import BackwardRefused, CannotCapture, OtherStep  # noqa: E402
from schedule.lowering import in_order  # noqa: E402
from schedule.solvers.contract import Deadline  # noqa: E402
from schedule.torch.choosing import Choices, Chooser  # noqa: E402
from schedule.torch.exporting import _Exporting  # noqa: E402
from schedule.torch.unrolling import unrolled  # noqa: E402
from tests.torch.training_models import Live  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_thread")

ROWS, WIDTH = 64, 8


class Block(nn.Module):
    """Normalises by the batch, and remembers what it has seen: a buffer as large as that."""

    def __init__(self):
        super().__init__()
        self.norm, self.wide = nn.BatchNorm1d(WIDTH), nn.Linear(WIDTH, 4 * WIDTH)
        self.narrow = nn.Linear(4 * WIDTH, WIDTH)
        self.register_buffer("seen", torch.zeros(ROWS, WIDTH))

    def forward(self, x):
        here = self.narrow(torch.tanh(self.wide(self.norm(x))))
        with torch.no_grad():
            self.seen.mul_(0.9).add_(here)
        return x + here + self.seen.mean()


class Tower(nn.Module):
    """Three blocks, which may share their norm, and what is done after them."""

    def __init__(self, *, is_shared=False, then=lambda model: None):
        super().__init__()
        self.blocks = nn.ModuleList(Block() for _ in range(3))
        self.head, self.then = nn.Linear(WIDTH, 1), then
        for block in self.blocks if is_shared else ():
            block.norm = self.blocks[0].norm

    def forward(self, x):
        for block in self.blocks:
            x = block(x)
        with torch.no_grad():
            self.then(self)
        return self.head(x).square().mean()


def planned_of(model, x):
    return schedule.torch.plan(model, x, solver="greedy", costs="unit")


@pytest.fixture(scope="module")
def batch():
    torch.manual_seed(0)
    return torch.randn(ROWS, WIDTH)


@pytest.mark.parametrize("is_shared", [False, True])
def test_buffers_change_once_and_what_is_noted_of_them_is_in_the_promise(batch, is_shared):
    """Whatever module they are found in: a norm in several blocks counts each call once."""
    torch.manual_seed(0)
    model = Tower(is_shared=is_shared)
    own = copy.deepcopy(model)
    export = schedule.torch.export(planned_of(model, batch), "modules", budget="80%")
    assert len(export.modules) > 1
    with export.apply(model):
        for _ in range(2):
            model.zero_grad()
            with Live([*model.parameters(), *model.buffers(), batch]) as live:
                model(batch).backward()
            assert -0.01 * export.peak <= live.peak - export.peak <= 16
    for _ in range(2):
        own.zero_grad()
        own(batch).backward()
    assert all(map(torch.equal, model.buffers(), own.buffers()))
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(model.parameters(), own.parameters()))


def test_the_memory_of_a_choice_is_that_of_its_graph_with_what_is_noted(batch):
    names = {f"blocks.{at}": (f"blocks.{at}",) for at in range(3)}
    planned = planned_of(Tower(), batch)
    anatomy = _Exporting(planned, planned.planned_step, "modules", names)._anatomy
    chooser = Chooser(anatomy, Choices(tuple(region.module for region in anatomy.regions)))
    least, choice = chooser.least(Deadline.after(20))
    chosen = [at for at, region in enumerate(anatomy.regions) if region.module in choice.wrapped]
    peaks = [
        in_order(unrolled(anatomy, wrapped, [])).peak
        for wrapped in ([], [0], [1], [2], [0, 1], [0, 2], [1, 2], [0, 1, 2])
    ]
    assert least == min(peaks) == in_order(unrolled(anatomy, chosen, [])).peak


def clamps(model):
    model.blocks[1].wide.weight.data.clamp_(-0.1, 0.1)


def changes_what_another_reads(model):
    model.blocks[1].narrow.shift.add_(1)


class Shifted(nn.Linear):
    """Adds a tensor that is no buffer."""

    shift = torch.zeros(())

    def forward(self, x):
        return super().forward(x) + self.shift


def test_what_would_be_read_as_something_else_is_refused(batch):
    with pytest.raises(CannotCapture, match=r"changes model\.blocks\.1\.wide\.weight in place"):
        schedule.torch.export(planned_of(Tower(then=clamps), batch), "modules", budget="80%")
    model = Tower(then=changes_what_another_reads)
    model.blocks[1].narrow = Shifted(4 * WIDTH, WIDTH)
    model.blocks[1].narrow.shift = torch.zeros(WIDTH)
    with pytest.raises(CannotCapture, match=r"narrow\.shift in place, and module 'blocks\.1'"):
        schedule.torch.export(planned_of(model, batch), "modules", budget="80%")


def test_a_parameter_that_changes_between_the_passes_is_noticed(batch):
    """Eager PyTorch reads no bias in its backward pass; run again, the module would."""
    model = Tower()
    export = schedule.torch.export(planned_of(model, batch), "modules", budget="80%")
    with export.apply(model):
        loss = model(batch)
        with torch.no_grad():
            model.get_submodule(next(iter(export.modules))).wide.bias.add_(1)
        with pytest.raises(BackwardRefused, match=r"'wide\.bias' of module 'blocks\.\d', which"):
            loss.backward()


class Counting(Block):
    """Multiplies by what others set, by a tensor that is no buffer, and by what it counts up."""

    def __init__(self):
        super().__init__()
        self.factor, self.counts, self.log = 0.0, {"calls": 0}, []
        self.scales = {"all": [torch.tensor(0.5)]}

    def forward(self, x):
        self.counts["calls"] += 1
        self.log.append(self.counts["calls"])
        x = x * self.factor * self.scales["all"][0]
        return super().forward(x * len(self.log)) * self.counts["calls"]


class Told(Tower):
    """Its blocks' attributes are other ones at each call, and at the end."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(Counting() for _ in range(2))

    def forward(self, x):
        for block in self.blocks:
            block.counts["calls"], block.factor = 0, 0.5
            block.log.clear()
        for factor in (0.25, 0.75):
            for block in self.blocks:
                block.factor = factor
                x = block(x)
        return super().forward(x)


def test_attributes_and_what_lists_and_dicts_hold_are_what_they_were(batch):
    """In the second run, whoever changes them; afterwards they are as without it."""
    torch.manual_seed(0)
    model = Told()
    own = copy.deepcopy(model)
    blocks = ["blocks.0", "blocks.1"]
    export = schedule.torch.export(planned_of(model, batch), "modules", budget="80%", among=blocks)
    with export.apply(model):
        model(batch).backward()
    own(batch).backward()
    assert all(torch.equal(p.grad, q.grad) for p, q in zip(model.parameters(), own.parameters()))
    for block, other in zip(model.blocks, own.blocks):
        assert (block.counts, block.log) == (other.counts, other.log) == ({"calls": 3}, [1, 2, 3])


def test_a_functional_call_is_differentiated_with_the_parameters_that_it_was_given(batch):
    """By the second run they are the module's own again."""
    torch.manual_seed(0)
    model = Tower()
    own = copy.deepcopy(model)
    export = schedule.torch.export(planned_of(model, batch), "modules", budget="80%")

    def gradients(called):
        given = {name: (p / 2).detach().requires_grad_() for name, p in own.named_parameters()}
        torch.func.functional_call(called, given, batch).backward()
        return [tensor.grad for tensor in given.values()]

    with export.apply(model):
        assert all(map(torch.equal, gradients(model), gradients(own)))


class Giving(nn.Module):
    """Gives its blocks a list, to which they append, or it itself, or nobody yet."""

    class Block(nn.Module):
        """Multiplies by how long the list is."""

        def __init__(self, up):
            super().__init__()
            self.parts, self.up = nn.Sequential(Block(), nn.Tanh()), up

        def forward(self, x, seen):
            if self.up[0] == "block":
                seen.append(x)
            return self.parts(x * (1 + len(seen)))

    def __init__(self, appends):
        super().__init__()
        self.appends = [appends]
        self.blocks = nn.ModuleList(Giving.Block(self.appends) for _ in range(3))
        self.head = nn.Linear(WIDTH, 1)

    def forward(self, x):
        seen = []
        for block in self.blocks:
            x = block(x, seen)
            if self.appends[0] == "model":
                seen.append(x)
        return self.head(x).square().mean()


@pytest.mark.parametrize(
    ("appends", "error", "match"),
    [
        ("block", OtherStep, r"'blocks\.\d' changes a list that it is given"),
        ("model", BackwardRefused, r"a list that was given to module 'blocks\.\d'"),
    ],
)
def test_lists_that_are_given_have_to_stay_as_they_are(batch, appends, error, match):
    """Whether the step was planned so, or only what runs later changes them."""
    names = [f"blocks.{at}" for at in range(3)]
    with pytest.raises(CannotCapture, match="is given what is changed in place"):
        schedule.torch.export(
            planned_of(Giving(appends), batch), "modules", budget="80%", among=names
        )
    model = Giving("nobody")
    export = schedule.torch.export(planned_of(model, batch), "modules", budget="80%", among=names)
    model.appends[0] = appends
    with export.apply(model), pytest.raises(error, match=match):
        model(batch).backward()


class Stages(nn.Module):
    """Its blocks lie in lists and dicts within a list, which are never called."""

    def __init__(self):
        super().__init__()
        parts = [nn.ModuleList([Block(), Block()]), nn.ModuleDict({"only": Block()})]
        self.stages = nn.ModuleList(parts)

    def forward(self, x):
        for block in (*self.stages[0], self.stages[1]["only"]):
            x = block(x)
        return x.square().mean()


def test_lists_in_lists_are_looked_into(batch):
    planned = planned_of(Stages(), batch)
    named = ["stages.0.0", "stages.0.1", "stages.1.only"]
    found, same = (
        schedule.torch.export(planned, "modules", budget="80%", among=among)
        for among in (None, named)
    )
    assert found == same
