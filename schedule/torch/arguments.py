"""What a planned module is called with, and whether that fits the model and its loss."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any, NamedTuple

import torch
from torch import nn

from schedule.errors import BadInput
from schedule.torch.internals import flattened
from schedule.values import shown


class Arguments(NamedTuple):
    """One call of a planned module: what the model takes, and the targets."""

    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    targets: tuple[Any, ...]

    @property
    def leaves(self) -> list[Any]:
        """All that is given, flattened in this order."""
        return flattened((*self.args, *self.targets), self.kwargs)[0]

    @property
    def nesting(self) -> Any:
        """How it is nested."""
        return flattened((*self.args, *self.targets), self.kwargs)[1]

    def without_values(self) -> Arguments:
        """What there is, without what it is."""
        nothing = (None,)
        return Arguments(
            nothing * len(self.args), dict.fromkeys(self.kwargs), nothing * len(self.targets)
        )

    def inputs_in_words(self) -> str:
        """How many positional arguments the model is given, and the names of the others."""
        counted = [count(len(self.args), "argument")] if self.args else []
        return " and ".join([*counted, *map(repr, self.kwargs)]) or "nothing"

    def in_words(self) -> str:
        """The same with how many targets."""
        targets = f" and {count(len(self.targets), 'target')}" if self.targets else ""
        return self.inputs_in_words() + targets

    def apart(self, *, in_memory: bool = False) -> Arguments:
        """The same, with a view where a tensor is an argument for a second time.

        Whether two arguments are one tensor is no part of a step: it may be
        so at one call and not at the next. Inside of containers it is one.
        With `in_memory` it is a copy, to be counted as a tensor of its own.
        """
        seen: set[int] = set()

        def once(value: Any) -> Any:
            if not isinstance(value, torch.Tensor):
                return value  # what forward does to a list has to reach the caller's
            if id(value) in seen and in_memory:
                return value.clone()
            if id(value) in seen:
                return value.view_as(value) if value.requires_grad else value.detach()
            seen.add(id(value))
            return value

        return Arguments(
            tuple(map(once, self.args)),
            {name: once(value) for name, value in self.kwargs.items()},
            tuple(map(once, self.targets)),
        )

    def scope(self, model: nn.Module, loss: Callable[..., Any] | None) -> dict[str, Any]:
        """What a step is traced and run with."""
        return {"model": model, "loss": loss, **self._asdict()}


def arguments_of(
    example_inputs: Any, loss: Callable[..., Any] | None, targets: Sequence[Any]
) -> Arguments:
    """An example batch and targets as the arguments of one call.

    Raises
    ------
    BadInput
        The targets aren't listed, or there is no loss that takes them; the loss is none.
    """
    listed = targets_of(targets)
    if loss is None and listed:
        raise BadInput(
            "targets are given, but no loss= that takes them; what the model itself takes, such as"
            " labels, goes into example_inputs"
        )
    if loss is not None and (inspect.isclass(loss) or not callable(loss)):
        instance = f", such as {loss.__name__}()," if inspect.isclass(loss) else ""
        raise BadInput(
            f"loss is {shown(loss)}; it has to be a function or a module{instance} of what the"
            f" model returns and the targets"
        )
    if isinstance(example_inputs, Mapping):
        return Arguments((), dict(example_inputs), listed)
    if isinstance(example_inputs, (tuple, list)):
        return Arguments(tuple(example_inputs), {}, listed)
    return Arguments((example_inputs,), {}, listed)


def targets_of(targets: Sequence[Any], what: str = "targets") -> tuple[Any, ...]:
    """Targets as they are listed; `what` is said where they aren't.

    Raises
    ------
    BadInput
        They are no list or tuple.
    """
    if isinstance(targets, (tuple, list)):
        return tuple(targets)
    given = "a tensor" if isinstance(targets, torch.Tensor) else shown(targets)
    raise BadInput(f"{what} is {given}; it has to be a list, also of one target: [y]")


def misfit(function: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    """Why a function can't be called so, as Python says it; empty: it can, or nobody knows."""
    try:
        signature = inspect.signature(function)
    except (TypeError, ValueError):  # one of those that don't say what they take
        return ""
    try:
        signature.bind(*args, **kwargs)
    except TypeError as error:
        return str(error)
    return ""


def misfit_of_example(model: nn.Module, loss: Callable[..., Any] | None, given: Arguments) -> str:
    """Why the model doesn't take the example, or the loss its targets, in terms of `plan`."""
    reason = misfit(model.forward, given.args, given.kwargs)
    if reason:
        takes = ", ".join(inspect.signature(model.forward).parameters)
        return (
            f"example_inputs gives {type(model).__name__}.forward {given.inputs_in_words()}, and it"
            f" takes ({takes}): {reason}; {_WAY_OF_NAMES if given.kwargs else _WAY_OF_ORDER}"
        )
    if loss is None:
        return ""
    called = loss.forward if isinstance(loss, nn.Module) else loss
    reason = misfit(called, ("what the model returns", *given.targets), {})
    if not reason:
        return ""
    return (
        f"loss is given what the model returns and {count(len(given.targets), 'target')}, which it"
        f" doesn't take: {reason}; targets=[…] lists its arguments after the first, in order"
    )


def strays_of_example(model: nn.Module, given: Arguments) -> str:
    """Names that the model takes only as some of its `**kwargs`, and are like one it has."""
    parameters = inspect.signature(model.forward).parameters.values()
    own = [each.name for each in parameters if each.kind is not each.VAR_KEYWORD]
    for name in given.kwargs:
        meant = (
            [] if name in own else get_close_matches(name, sorted(set(own) - set(given.kwargs)), 1)
        )
        if meant:
            return (
                f"{type(model).__name__}.forward has no argument {name!r} but among its **kwargs;"
                f" did you mean {meant[0]!r}?"
            )
    return ""


#: What example inputs stand for.
_WAY_OF_NAMES = (
    "a mapping gives keyword arguments, by its keys; a dictionary that is one argument goes into a"
    " tuple: example_inputs=({…},)"
)
_WAY_OF_ORDER = (
    "a tuple or list gives arguments in order, a mapping by name; a list that is one argument goes"
    " into a tuple: example_inputs=([…],); what only the loss takes goes into targets=[…]"
)


def count(number: int, of: str) -> str:
    """A number of things in words."""
    return f"{number or 'no'} {of}{'' if number == 1 else 's'}"
