"""The module that stands in for a model: its class by name, its state, its signature."""

from __future__ import annotations

import copy
import functools
import inspect
import threading
import types
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from schedule.errors import OtherStep

if TYPE_CHECKING:
    from schedule.torch.keeper import Keeper
    from schedule.torch.step import PlannedStep


class Planned(nn.Module):
    """What a planned module does in place of the model's forward pass.

    It shares the model's `__dict__`: what one of them is given the other has.
    """

    #: The `Keeper` of the class, which is made for one model; transformers evaluates annotations.
    _keeper: Any

    @property
    def planned_step(self) -> PlannedStep:
        """The last step that was planned."""
        keeper: Keeper = self._keeper
        return keeper.last

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Another planned model, with parameters of its own and the same plans."""
        made = copy.deepcopy(unplanned(self), memo)
        keeper = self._keeper.of_copy(made, copy.deepcopy(self._keeper.loss, memo))
        memo[id(self)] = found = keeper.module(made)
        return found

    def __copy__(self) -> Any:
        """Another planned model with the same parts and plans, and attributes of its own."""
        made = copy.copy(unplanned(self))
        return self._keeper.of_copy(made, self._keeper.loss).module(made)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse to be pickled: kernels can't be."""
        raise TypeError(
            "a planned module can't be pickled; save its state_dict, or the model it was made"
            " from, and plan that again"
        )


class _Forward:
    """`forward` of a planned module: one step, or the model itself where nothing is differentiated.

    Its signature is the model's. A forward pass that the model itself was given
    doesn't come before it, in the `__dict__` that both share; and what it is set to
    is the planned module's alone, as who sets it wraps it (accelerate does).
    """

    def __init__(self, keeper: Keeper, own: Callable[..., Any]) -> None:
        self._keeper, self._function = keeper, _step_like(own, keeper)
        self._given: Callable[..., Any] | None = None

    def __get__(self, module: Any, kind: type) -> Callable[..., Any]:
        if module is None:
            return self._function
        return self._given or types.MethodType(self._function, module)

    def __set__(self, module: Any, value: Callable[..., Any]) -> None:
        self._given = value

    def __delete__(self, module: Any) -> None:
        if self._given is None:
            raise AttributeError("forward")
        self._given = None


def _called(own: Callable[..., Any], losses: threading.local) -> Callable[..., Any]:
    """A planned module's `__call__`: its model's own, which has to leave the loss as it is."""

    def call(module: Any, /, *args: Any, **kwargs: Any) -> Any:
        made: list[Any] = []
        losses.found = made
        try:
            found = own(module, *args, **kwargs)
        finally:
            del losses.found
        # Hooks for the backward pass put a view in its place.
        is_watched = module._backward_hooks or module._backward_pre_hooks
        if made and made[-1] is not found and not is_watched:
            raise OtherStep(
                f"a planned step with loss= returns the loss, and it has been changed by what runs"
                f" around {type(module).__name__}.forward: its own __call__, or a forward hook on"
                f" the model; do that in forward, or plan a module that holds this one"
            )
        return found

    return call


def _step_like(own: Callable[..., Any], keeper: Keeper) -> Callable[..., Any]:
    """A function that makes a planned module's step, with the signature of the model's own."""

    def forward(module: Any, /, *args: Any, **kwargs: Any) -> Any:
        return keeper.call(module, args, kwargs)

    # What is planned, `torch.compile` leaves as it is: its operators run in the planned order.
    left_alone: Any = torch.compiler.disable
    made: Any = functools.update_wrapper(left_alone(forward), own, updated=())
    # Who unwraps a forward pass to undo what was done to it would find the unplanned one.
    made.__wrapped__ = forward
    signature = inspect.signature(own)
    first = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    made.__signature__ = signature.replace(parameters=[first, *signature.parameters.values()])
    found: Callable[..., Any] = made
    return found


def unplanned(module: Any) -> Any:
    """The model of a planned module: an object of its class with the same `__dict__`."""
    made: Any = object.__new__(type(module).__bases__[1])
    made.__dict__ = module.__dict__
    return made


def of_replica(module: Any, model: Any) -> Any:
    """The model of a replica, which has its parameters as plain attributes.

    `DataParallel` makes such of `model`.
    """
    made: Any = object.__new__(type(model))
    made.__dict__ = dict(module.__dict__)
    for kind in ("_parameters", "_buffers"):
        had = getattr(model, kind)
        made.__dict__[kind] = {name: getattr(module, name) for name in had}
    made.__dict__["_modules"] = {
        name: child if child is None else of_replica(module._modules[name], child)
        for name, child in model._modules.items()
    }
    return made


def standing_in(model: nn.Module, keeper: Keeper) -> nn.Module:
    """A planned module of a keeper's model.

    Its class goes by the name of the model's: that is what others write into
    files, and look up in their tables.
    """
    kind = type(model)
    inner = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
    inner |= {"_keeper": keeper, "forward": _Forward(keeper, model.forward)}
    if keeper.loss is not None:
        inner["__call__"] = _called(kind.__call__, keeper.losses)
    made: Any = object.__new__(type(kind.__name__, (Planned, kind), inner))
    made.__dict__ = model.__dict__
    found: nn.Module = made
    return found
