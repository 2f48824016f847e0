"""A step that can't be captured: the reason is told in terms of the caller's code."""

from __future__ import annotations

import linecache
import re
from collections import OrderedDict

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - after the check that it is there

import schedule.torch  # noqa: E402
from schedule.errors import CannotCapture  # noqa: E402


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
