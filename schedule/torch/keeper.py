"""The plans of one model, by kind of step."""

from __future__ import annotations

import inspect
import re
import threading
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
from schedule.torch.capturing import Captured, capture_step, training_step
from schedule.torch.internals import Traced
from schedule.torch.options import Options, digest_of
from schedule.torch.signature import Signature, in_words, signature_of
from schedule.torch.standin import Planned, of_replica, standing_in, unplanned
from schedule.torch.step import PlannedStep
from schedule.torch.watching import Planning

#: What to do when a batch isn't like the one that was planned for.
OnChange = Literal["refuse", "replan"]


#: The guard of a whole number that is an attribute.
_COUNTER = re.compile(r"(L\['model'\][\w.\[\]']*) == -?\d+")


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
    """The plans of one model, by kind of step.

    Attributes
    ----------
    loss
        As for `plan`.
    losses
        What the call at work in this thread has made, as `found`, for those around it.
    """

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
        self.losses = threading.local()

    def module(self, model: nn.Module) -> nn.Module:
        """The planned module of this keeper's model."""
        return standing_in(model, self)

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

    def like_last(
        self, copy: nn.Module, loss: Callable[..., Any] | None = None
    ) -> Callable[[], Any]:
        """What runs copies of the model and the loss on tensors like the last planned step's.

        In the modes, and under the autocast, that it was captured with.
        """
        signature = self._kinds[-1].signature
        for part, training in zip(copy.modules(), signature.modes):
            part.training = training
        args, kwargs = signature.arguments()
        inner = len(args) - len(self._planned.targets)

        def run() -> Any:
            with signature.cast():
                return training_step(copy, loss, args[:inner], kwargs, args[inner:])

        return run

    def call(self, module: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """One step; `module` is the planned one, or a replica of it."""
        was_training = self._kinds[0].signature.modes[0]
        if not torch.is_grad_enabled() or (was_training and not module.training):
            return self._unplanned_call(unplanned(module), args, kwargs)
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
        scope = given.scope(of_replica(module, self._model), self.loss)
        return self._noted(kind.run(scope, checked))

    def _noted(self, loss: Any) -> Any:
        """The same; who called the module looks whether it comes out as it is."""
        getattr(self.losses, "found", []).append(loss)
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
