"""The plans of one model, by kind of step, and the module that runs by them."""

from __future__ import annotations

import copy
import inspect
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from schedule.errors import BadInput, OtherStep
from schedule.files import AnyPath
from schedule.result import Result
from schedule.torch.internals import Traced
from schedule.torch.options import Options, digest_of
from schedule.torch.signature import Signature, in_words, signature_of
from schedule.torch.step import Arguments, Captured, PlannedStep, capture_step

#: What to do when a batch isn't like the one that was planned for.
OnChange = Literal["refuse", "replan"]


#: The guard of a whole number that is an attribute.
_COUNTER = re.compile(r"(L\['model'\][\w.\[\]']*) == -?\d+")


class Planned(nn.Module):
    """What a planned module does in place of the model's forward pass.

    It shares the model's `__dict__`: what one of them is given the other has.
    """

    _keeper: Keeper  # of the class, which is made for one model

    @property
    def planned_step(self) -> PlannedStep:
        """The last step that was planned."""
        return self._keeper.last

    @property  # so that a forward pass that the model itself was given doesn't come before
    def forward(self) -> Any:
        """One step as planned, or the model itself where nothing is differentiated."""
        return self._forward

    @forward.setter
    def forward(self, value: Any) -> None:
        self.__dict__["forward"] = value

    @forward.deleter
    def forward(self) -> None:
        del self.__dict__["forward"]

    def _forward(self, *args: Any, **kwargs: Any) -> Any:
        return self._keeper.call(self, args, kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Another planned model, with parameters of its own and the same plans."""
        made = copy.deepcopy(_unplanned(self), memo)
        keeper = self._keeper.of_copy(made, copy.deepcopy(self._keeper.loss, memo))
        memo[id(self)] = found = keeper.module(made)
        return found

    def __copy__(self) -> Any:
        """Another planned model with the same parts and plans, and attributes of its own."""
        made = copy.copy(_unplanned(self))
        return self._keeper.of_copy(made, self._keeper.loss).module(made)

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse to be pickled: kernels can't be."""
        raise TypeError(
            "a planned module can't be pickled; save its state_dict, or the model it was made"
            " from, and plan that again"
        )


def _unplanned(module: Any) -> Any:
    """The model of a planned module: an object of its class with the same `__dict__`."""
    made: Any = object.__new__(type(module).__bases__[1])
    made.__dict__ = module.__dict__
    return made


def _of_replica(module: Any, model: Any) -> Any:
    """The model of a replica, which has its parameters as plain attributes.

    `DataParallel` makes such of `model`.
    """
    made: Any = object.__new__(type(model))
    made.__dict__ = dict(module.__dict__)
    for kind in ("_parameters", "_buffers"):
        had = getattr(model, kind)
        made.__dict__[kind] = {name: getattr(module, name) for name in had}
    made.__dict__["_modules"] = {
        name: child if child is None else _of_replica(module._modules[name], child)
        for name, child in model._modules.items()
    }
    return made


@dataclass
class _Kind:
    """One kind of step: what it holds for, and how it runs.

    Attributes
    ----------
    signature
        What its arguments and the model's state were, for messages.
    moved
        What of that the step itself changes, found out at its first run; None:
        it hasn't run.
    """

    signature: Signature
    traced: Traced
    step: PlannedStep
    moved: str | None = None

    def __post_init__(self) -> None:
        self._function = self.traced.function(self.step.run)

    def run(self, scope: Mapping[str, Any], checked: Mapping[str, Any]) -> Any:
        """One step; guards were, and are, checked in the scope `checked`."""
        found = self._function(**scope)
        if self.moved is None:
            self.moved = self.traced.guards.broken(checked)
        return found


class Keeper:
    """The plans of one model, by kind of step."""

    #: So many kinds in a row may come of what the steps themselves change.
    _AT_MOST = 8

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Any] | None,
        options: Options,
        on_change: OnChange,
    ) -> None:
        self.loss = loss
        self._model, self._options, self._on_change = model, options, on_change
        self._kinds: list[_Kind] = []
        self._last: _Kind | None = None  # the last that was run
        self._n_moved = 0  # kinds in a row that came of what the steps themselves change
        self._counters: set[str] = set()  # whole numbers that a step itself changes
        self._n_given = self._n_targets = 0

    def module(self, model: nn.Module) -> nn.Module:
        """The planned module of this keeper's model."""
        kind = type(model)
        made: Any = object.__new__(
            type(f"Planned{kind.__name__}", (Planned, kind), {"_keeper": self})
        )
        made.__dict__ = model.__dict__
        found: nn.Module = made
        return found

    def of_copy(self, model: nn.Module, loss: Callable[..., Any] | None) -> Keeper:
        """The same plans for a copy of the model."""
        made = Keeper(model, loss, self._options, self._on_change)
        made._kinds = list(self._kinds)
        made._n_given, made._n_targets = self._n_given, self._n_targets
        made._counters = set(self._counters)
        return made

    @property
    def last(self) -> PlannedStep:
        """The last step that was planned."""
        return self._kinds[-1].step

    def call(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One step; `module` is the planned one, or a replica of it."""
        was_training = self._kinds[0].signature.modes[0]
        if not torch.is_grad_enabled() or (was_training and not module.training):
            return self._unplanned_call(_unplanned(module), args, kwargs)
        inner = len(args) - self._n_targets
        given = Arguments(args[:inner], self._ordered(kwargs), args[inner:]).apart()
        checked = given.scope(self._model, self.loss)
        kind = next((kind for kind in self._kinds if kind.traced.guards.hold(checked)), None)
        if kind is None:
            kind = self._another(given, checked)
        elif kind.moved == "":
            self._n_moved = 0
        self._last = kind
        if "_is_replica" not in module.__dict__:
            return kind.run(checked, checked)
        return kind.run(given.scope(_of_replica(module, self._model), self.loss), checked)

    def _unplanned_call(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The model itself; its loss where the targets are given as in a step."""
        if self.loss is None or not self._n_targets or len(args) < self._n_given:
            return model.forward(*args, **kwargs)
        inner = len(args) - self._n_targets
        return self.loss(model.forward(*args[:inner], **kwargs), *args[inner:])

    def _ordered(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Keyword arguments in the order in which the model names them, others after them."""
        if len(kwargs) < 2:
            return kwargs
        named = inspect.signature(self._model.forward).parameters
        ordered = {name: kwargs[name] for name in named if name in kwargs}
        return ordered | kwargs

    def _another(self, given: Arguments, scope: Mapping[str, Any]) -> _Kind:
        """A kind of step that wasn't seen before, where that may be."""
        last = self._last or self._kinds[-1]
        broken = last.traced.guards.broken(scope)
        counter = _COUNTER.fullmatch(last.moved or "")
        if counter is not None:
            self._counters.add(counter[1])
        is_own = bool(last.moved) or any(name in broken for name in self._counters)
        if not is_own and self._on_change == "refuse":
            now = signature_of(self._model, given.leaves, given.nesting)
            why = last.signature.difference(now) or in_words(broken)
            raise OtherStep(
                f"this step isn't the planned one: {why}; plan it anew, or with on_change='replan'"
            )
        self._n_moved += is_own
        if self._n_moved > self._AT_MOST:
            raise OtherStep(
                f"each step makes the next one another ({in_words(last.moved or broken)}); keep"
                f" it in a buffer, or change it outside of forward"
            )
        return self.add(self._model, given)

    def add(
        self,
        model: nn.Module,
        given: Arguments,
        schedule: AnyPath | Result | None = None,
    ) -> _Kind:
        """Capture another kind of step; solve it unless it has the graph of one that is known."""
        if any(isinstance(part, Planned) for part in model.modules()):
            raise BadInput("a part of the model is planned by itself; plan the whole model alone")
        if not self._kinds:
            self._n_targets = len(given.targets)
            self._n_given = len(given.args) + self._n_targets
        given = given._replace(kwargs=self._ordered(given.kwargs))
        signature = signature_of(model, given.leaves, given.nesting)
        traced, captured = self._captured(model, given, schedule)
        graph, whole = captured.graph, captured.program.whole
        known = [kind.step.result for kind in self._kinds if kind.step.graph == graph]
        if known:
            result = known[0]
        elif schedule is not None:
            result = self._options.given(graph, whole, schedule)
        else:
            result = self._options.solved(graph, whole)
        step = PlannedStep(captured, result)
        step.check_apart(traced.values(given.apart().scope(model, self.loss)))
        kind = _Kind(signature, traced, step)
        self._kinds.append(kind)
        return kind

    def _captured(
        self, model: nn.Module, given: Arguments, schedule: AnyPath | Result | None
    ) -> tuple[Traced, Captured]:
        """A step, captured as it was for a schedule that is given."""
        if schedule is not None:
            # Made elsewhere, most likely, where nothing was measured.
            plain = self._options.unmeasured()
            found = capture_step(model, self.loss, given, plain, self._counters)
            if plain == self._options or digest_of(schedule) == found[1].graph.digest:
                return found
        return capture_step(model, self.loss, given, self._options, self._counters)
