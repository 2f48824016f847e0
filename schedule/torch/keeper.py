"""The plans of one model, by kind of step, and the module that runs by them."""

from __future__ import annotations

import copy
import functools
import inspect
import re
import threading
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

import torch
from torch import nn

from schedule.errors import BadInput, DoesNotFit, OtherStep
from schedule.files import AnyPath
from schedule.levels import Level
from schedule.result import Result
from schedule.torch.arguments import Arguments, count, misfit
from schedule.torch.capturing import Captured, capture_step
from schedule.torch.internals import Traced
from schedule.torch.options import Options, digest_of
from schedule.torch.signature import Signature, in_words, signature_of
from schedule.torch.step import PlannedStep
from schedule.torch.watching import Planning

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
        self._planned = Arguments((), {}, ())  # of what was planned first, only what there is
        self._budgets: dict[torch.device, int | None] = {}  # in bytes, of the first step there
        self._below: Level | None = None  # of a schedule that was given
        self._losses = threading.local()  # of the call that is at work

    def module(self, model: nn.Module) -> nn.Module:
        """The planned module of this keeper's model.

        Its class goes by the name of the model's: that is what others write into
        files, and look up in their tables.
        """
        kind = type(model)
        inner = {name: getattr(kind, name) for name in ("__module__", "__qualname__", "__doc__")}
        inner |= {"_keeper": self, "forward": _Forward(self, model.forward)}
        if self.loss is not None:
            inner["__call__"] = _called(kind.__call__, self._losses)
        made: Any = object.__new__(type(kind.__name__, (Planned, kind), inner))
        made.__dict__ = model.__dict__
        found: nn.Module = made
        return found

    def of_copy(self, model: nn.Module, loss: Callable[..., Any] | None) -> Keeper:
        """The same plans for a copy of the model."""
        made = Keeper(model, loss, self._options, self._on_change)
        made._kinds = list(self._kinds)
        made._planned, made._budgets = self._planned, dict(self._budgets)
        made._below = self._below
        made._counters = set(self._counters)
        return made

    @property
    def last(self) -> PlannedStep:
        """The last step that was planned."""
        return self._kinds[-1].step

    @property
    def model(self) -> nn.Module:
        """The model that was planned."""
        return self._model

    @property
    def is_cast(self) -> bool:
        """Whether the last step that was planned runs under autocast."""
        return any(enabled for enabled, _ in self._kinds[-1].signature.casting)

    def was_training(self, name: str) -> bool:
        """Whether a part of the model was in training mode when that step was planned."""
        names = [known for known, _ in self._model.named_modules()]
        return self._kinds[-1].signature.modes[names.index(name)]

    def run_like(self, copy: nn.Module) -> None:
        """The forward pass of a copy of the model, on tensors of the last planned step's shapes.

        In the modes, and under the autocast, that it was captured with.
        """
        signature = self._kinds[-1].signature
        for part, training in zip(copy.modules(), signature.modes):
            part.training = training
        args, kwargs = signature.arguments()
        with signature.cast():
            copy.forward(*args[: len(args) - len(self._planned.targets)], **kwargs)

    def call(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One step; `module` is the planned one, or a replica of it."""
        was_training = self._kinds[0].signature.modes[0]
        if not torch.is_grad_enabled() or (was_training and not module.training):
            return self._unplanned_call(_unplanned(module), args, kwargs)
        inner = max(0, len(args) - len(self._planned.targets))
        given = Arguments(args[:inner], self._ordered(kwargs), args[inner:]).apart()
        checked = given.scope(self._model, self.loss)
        kind = next((kind for kind in self._kinds if kind.traced.guards.hold(checked)), None)
        if kind is None:
            kind = self._another(given, checked)
        elif kind.moved == "":
            self._n_moved = 0
        self._last = kind
        if "_is_replica" not in module.__dict__:
            return self._noted(kind.run(checked, checked))
        scope = given.scope(_of_replica(module, self._model), self.loss)
        return self._noted(kind.run(scope, checked))

    def _noted(self, loss: Any) -> Any:
        """The same; who called the module looks whether it comes out as it is."""
        getattr(self._losses, "found", []).append(loss)
        return loss

    def _unplanned_call(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The model itself; its loss where the targets are given, too, as in a step.

        Raises
        ------
        OtherStep
            It can be either.
        """
        planned, inner = self._planned, len(args) - len(self._planned.targets)
        if self.loss is None or not planned.targets or inner < 0:
            return model.forward(*args, **kwargs)
        is_as_planned = inner == len(planned.args) and kwargs.keys() == planned.kwargs.keys()
        if not misfit(model.forward, args, kwargs):
            if is_as_planned:
                raise OtherStep(
                    f"{count(len(args), 'positional argument')} can be a step with its targets, or"
                    f" {type(model).__name__}.forward with all of them; give it what it takes by"
                    f" name, and compute the loss of what it returns"
                )
            return model.forward(*args, **kwargs)
        if misfit(model.forward, args[:inner], kwargs):
            return model.forward(*args, **kwargs)  # which says what it takes
        return self._noted(self.loss(model.forward(*args[:inner], **kwargs), *args[inner:]))

    def _ordered(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        """Keyword arguments in the order in which the model names them, others after them."""
        if len(kwargs) < 2:
            return kwargs
        named = inspect.signature(self._model.forward).parameters
        ordered = {name: kwargs[name] for name in named if name in kwargs}
        return ordered | kwargs

    def _another(self, given: Arguments, scope: Mapping[str, Any]) -> _Kind:
        """A kind of step that wasn't seen before, where that may be."""
        self._check_form(given)
        last = self._last or self._kinds[-1]
        broken = last.traced.guards.broken(scope)
        counter = _COUNTER.fullmatch(last.moved or "")
        if counter is not None:
            self._counters.add(counter[1])
        is_own = bool(last.moved) or any(name in broken for name in self._counters)
        if not is_own and self._on_change == "refuse":
            why = last.signature.difference(signature_of(self._model, given)) or in_words(broken)
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

    def _check_form(self, given: Arguments) -> None:
        """Refuse a call that is no step of the model: to plan it anew can't help."""
        if given.in_words() == self._planned.in_words():
            return
        reason = misfit(self._model.forward, given.args, given.kwargs)
        if len(given.targets) == len(self._planned.targets) and not reason:
            return
        why = reason
        if self._planned.targets:
            why = (
                "targets come last; the model's own forward pass, without them, is what it is"
                " under torch.no_grad()"
            )
        call = Arguments((*given.args, *given.targets), given.kwargs, ())
        raise OtherStep(
            f"a step is planned for {self._planned.in_words()}, and this call gives"
            f" {call.in_words()}; {why}"
        )

    def add(
        self,
        model: nn.Module,
        given: Arguments,
        schedule: AnyPath | Result | None = None,
    ) -> _Kind:
        """Capture another kind of step; solve it unless it has the graph of one that is known."""
        if any(isinstance(part, Planned) for part in model.modules()):
            raise BadInput("a part of the model is planned by itself; plan the whole model alone")
        given = given._replace(kwargs=self._ordered(given.kwargs))
        if not self._kinds:
            self._planned = given.without_values()
        signature = signature_of(model, given)
        with Planning(type(model).__name__, self._options) as planning:
            traced, captured = self._captured(model, given, schedule)
            result = self._scheduled(captured, schedule, planning)
        source = self._options.link_source(captured.device)
        step = PlannedStep(captured, result, source)
        step.check(traced.values(given.apart().scope(model, self.loss)))
        kind = _Kind(signature, traced, step)
        self._kinds.append(kind)
        return kind

    def _scheduled(
        self, captured: Captured, schedule: AnyPath | Result | None, planning: Planning
    ) -> Result:
        """A schedule of a step: a known one, the given one, or within the budget.

        A share of the first step's peak is an amount of memory for those that
        come: a smaller batch has as much of it, and recomputes less.
        """
        graph, device = captured.graph, captured.device
        for kind in self._kinds:
            if kind.step.graph == graph:
                return kind.step.result
        if schedule is not None:
            result = self._options.given(graph, schedule)
            self._below = next(iter(result.levels), None)
        else:
            budget = self._budgets.get(device, self._options.budget)
            if budget is None:  # that of a schedule that was given
                budget = next(iter(self._budgets.values()), None)
            options = replace(self._options, budget=budget)
            try:
                result = planning.solving(graph, options).solved(graph, device, self._below)
            except DoesNotFit as error:
                if device not in self._budgets:
                    raise
                raise DoesNotFit(
                    f"{error}; the budget is that of the step that was planned first: plan with"
                    f" the largest batch, or with more"
                ) from None
        self._budgets.setdefault(device, result.budget)
        return result

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
