"""A step that can't be captured: the reason is told in terms of the caller's code."""

from __future__ import annotations

import inspect
import itertools
import linecache
import random
import re
import sys
import threading
import time
from collections import OrderedDict

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that it is there

import schedule.torch  # noqa: E402
from schedule.errors import BadInput, CannotCapture  # noqa: E402


class Output(OrderedDict):
    """What models return that name their results."""


class Keyed(nn.Module):
    """Takes any names, and misses its own."""

    def __init__(self, named=False):
        super().__init__()
        self.inner, self.named = nn.Linear(4, 4), named

    def forward(self, states=None, mask=None, **kwargs):
        """A tensor, or one by name."""
        if states is None:
            raise ValueError("states are needed")
        found = self.inner(states)
        return Output(logits=found) if self.named else found


def refused(model, batch, loss, capfd, targets=()):
    """What is said of a step, when nothing else is."""
    with pytest.raises(CannotCapture, match=r"\.py:\d+|loss=") as found:
        schedule.torch.plan(model, batch, budget="100%", loss=loss, targets=targets)
    assert capfd.readouterr() == ("", "")
    assert type(found.value.__cause__).__module__.startswith("torch."), "PyTorch's text"
    return str(found.value)


def line_of(said):
    """The line of this file that a message names."""
    return linecache.getline(__file__, int(re.search(r"test_reasons\.py:(\d+)", said)[1]))


def test_an_exception_of_the_models_is_told_as_it_is(capfd):
    """Its type, its message and its line; and the name that was meant, where one was misspelt."""
    said = refused(Keyed(), {"state": torch.ones(2, 4)}, torch.sum, capfd)
    assert said.startswith("Keyed.forward has no argument 'state'")
    assert "did you mean 'states'?" in said
    assert "ValueError: states are needed" in said
    assert 'raise ValueError("states' in line_of(said)
    assert "did you mean" not in refused(Keyed(), {"other": torch.ones(2, 4)}, torch.sum, capfd)


def test_wrong_shapes_are_told_at_the_callers_line(capfd):
    """Not at that of a layer in PyTorch."""
    said = refused(Keyed(), {"states": torch.ones(2, 5)}, torch.sum, capfd)
    assert said.startswith("the training step fails at ")
    assert "RuntimeError: a and b must have same reduction dim, but got [2, 5] X [4, 4]" in said
    assert "self.inner(states)" in line_of(said)


def test_a_loss_of_something_else_than_a_tensor_is_told(capfd):
    """Whether it is PyTorch's own, or calls one."""
    batch, target = {"states": torch.ones(2, 4)}, torch.zeros(2, dtype=torch.long)
    cross_entropy = nn.functional.cross_entropy
    said = refused(Keyed(named=True), batch, cross_entropy, capfd, [target])
    assert said.startswith("the loss is given an object of class Output")
    assert "output.logits" in said

    def loss(output, target):
        return cross_entropy(output, target)

    said = refused(Keyed(named=True), batch, loss, capfd, [target])
    assert "is given an object of class Output" in said
    assert "return cross_entropy" in line_of(said)


def test_what_only_pytorchs_tracer_refuses_says_where(capfd):
    """Then the model is as good as before."""

    class Reads(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Linear(4, 4)

        def forward(self, x):
            found = self.inner(x)
            return found if found.sum() > 0 else -found

    said = refused(Reads(), torch.ones(2, 4), torch.sum, capfd)
    assert said.startswith("PyTorch can't capture the training step at ")
    assert "trains as before" in said
    assert "found.sum() > 0" in line_of(said)
    assert "Hint" not in said


class Does(nn.Module):
    """A linear layer, and what a function does with it."""

    def __init__(self, does):
        super().__init__()
        self.inner, self.does = nn.Linear(4, 4), does

    def forward(self, x):
        return self.does(self, x).sum()


def packed(model, x):
    return model.inner(nn.utils.rnn.pack_padded_sequence(x[None], [2], batch_first=True).data)


def sequential(model, x):
    layers = nn.Sequential(model.inner, model.inner)
    return torch.utils.checkpoint.checkpoint_sequential(layers, 2, x, use_reentrant=False)


def counted(model, x):
    return nn.functional.ctc_loss(model.inner(x)[:, None].log_softmax(-1), LABELS, (2,), (1,))


LOCK, FOUND = threading.Lock(), []


def looked_up(model, x):
    """What needs a lock at the first call alone."""
    if not FOUND:
        with LOCK:
            FOUND.append(2.0)
    return model.inner(x) * FOUND[0]


def watched(model, x):
    here = model.inner(x)
    here.register_hook(FOUND.append)
    return here


@torch.compiler.disable
def kept(x):
    return x * 2


def packed_up(model, x):
    with torch.autograd.graph.save_on_cpu():
        return model.inner(x)


NESTED = torch.nested.nested_tensor([torch.ones(1, 4), torch.ones(2, 4)], layout=torch.jagged)
TURNS = itertools.cycle([1.0, 2.0])
OWN, LABELS = torch.Generator(), torch.ones(1, 1, dtype=torch.long)
OUT = {
    "leave it out": sequential,
    "draw outside of forward": lambda m, x: m.inner(x) * random.random(),
    "draw them outside of forward": lambda m, x: m.inner(x) + torch.rand(2, 4, generator=OWN),
    "padded ones": packed,
    "plan the model alone": counted,
    "index_add": lambda m, x: torch.eye(2).to_sparse() @ m.inner(x),
    "or use a logger": lambda m, x: (print(x.shape), m.inner(x))[1],  # noqa: T201
    "compute both ways": lambda m, x: m.inner(x) if x.sum() > 0 else x,
    "compute all, and choose": lambda m, x: torch.cond(x.sum() > 0, m.inner, m.inner, (x,)),
    "call the model and its loss once": looked_up,
    "look at gradients with the model itself": watched,
    "its plan says what is kept": packed_up,
    "read it outside of forward": lambda m, x: m.inner(x) * time.time(),
    "keep a list and a counter": lambda m, x: m.inner(x) * next(TURNS),
    "plan what lies around it": lambda m, x: kept(m.inner(x)),
    "give plain tensors": lambda m, x: m.inner(NESTED).values(),
}


@pytest.mark.parametrize("way", OUT)
def test_the_way_out_is_said(way):
    """Not PyTorch's hints, which are about `torch.compile`."""
    with pytest.raises(CannotCapture, match=way):
        schedule.torch.plan(Does(OUT[way]), torch.ones(2, 4))


def test_what_is_looked_up_at_the_first_call_alone_is_planned_after_it():
    """The way out is one."""
    model = Does(looked_up)
    with torch.no_grad():
        model(torch.ones(2, 4))
    schedule.torch.plan(model, torch.ones(2, 4))(torch.ones(2, 4)).backward()


def test_hooks_on_a_part_say_where_hooks_may_be():
    model = Does(lambda m, x: m.inner(x))
    model.inner.register_full_backward_hook(lambda *_: None)
    with pytest.raises(CannotCapture, match="hooks on the model itself and on parameters"):
        schedule.torch.plan(model, torch.ones(2, 4))


def test_parameters_that_are_not_made_yet_are_refused():
    """Planning would draw them, and set the random state back."""
    model = nn.Sequential(nn.LazyLinear(4))
    with pytest.raises(BadInput, match=r"'model\.0\.weight' isn't initialized yet; run the model"):
        schedule.torch.plan(model, torch.ones(2, 4), loss=torch.sum)
    with torch.no_grad():
        model(torch.ones(2, 4))
    schedule.torch.plan(model, torch.ones(2, 4), loss=torch.sum)(torch.ones(2, 4)).backward()


class Nested(nn.Module):
    """A linear layer around another module."""

    def __init__(self, inner):
        super().__init__()
        self.inner, self.layer = inner, nn.Linear(4, 4)

    def forward(self, x):
        return torch.tanh(self.layer(self.inner(x)))


def test_what_is_nested_deeper_than_python_allows_is_said_to_be_that():
    """It ended in words that the model fails without a plan, too."""
    model, x = nn.Identity(), torch.randn(2, 4)
    for _ in range(10):
        model = Nested(model)
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(len(inspect.stack()) + 110)
    try:
        model(x)
        with pytest.raises(CannotCapture, match=r"raise the limit of \d+ first \(sys\."):
            schedule.torch.plan(model, x, loss=torch.sum)
    finally:
        sys.setrecursionlimit(before)
