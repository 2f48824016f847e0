"""A model whose training step keeps to a memory budget."""

from __future__ import annotations

import copy
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import nn

from schedule.errors import BadInput, BadOption, OtherStep
from schedule.files import AnyPath
from schedule.result import Order, Result
from schedule.solvers import Progress, Solver
from schedule.torch.costs import Costs, Workspace
from schedule.torch.internals import Traced
from schedule.torch.options import Gradients, Options
from schedule.torch.signature import Signature, signature_of
from schedule.torch.step import Arguments, PlannedStep, arguments_of, capture_step, in_words
from schedule.values import shown

#: What to do when a batch isn't like the one that was planned for.
OnChange = Literal["refuse", "replan"]


def plan(
    model: nn.Module,
    example_inputs: Any,
    budget: int | str | None = None,
    *,
    loss: Callable[..., Any] | None = None,
    targets: Sequence[Any] = (),
    schedule: AnyPath | Result | None = None,
    solver: str | Solver = "auto",
    order: Order = "free",
    time_limit: float = 60.0,
    gap: float = 0.0,
    seed: int = 0,
    workers: int = 2,
    costs: Costs = "model",
    resident: int | str = 0,
    workspace: Workspace = "none",
    pure: Collection[Any] = (),
    gradients: Gradients = "loss",
    on_change: OnChange = "refuse",
    progress: Callable[[Progress], None] | None = None,
) -> nn.Module:
    """Return a module that trains as the model does, within a memory budget.

    Parameters
    ----------
    model
        Any module that PyTorch can capture, in the mode it is trained in. It
        stays as it is: the planned module is another, with the same parameters,
        buffers and submodules.
    example_inputs
        A batch as it will be trained with: a tensor, a tuple of positional
        arguments, or a mapping of keyword arguments. Shapes, types and devices
        count, and the values of what is no tensor.
    budget
        Bytes (`8 * 2**30`, `"8GiB"`), or a share (`"80%"`) of the unplanned
        step's peak. In it: parameters, buffers, the batch, activations,
        gradients, and `resident`. None: no limit.
    loss
        A function (or module) of what the model returns and the targets; the
        planned module then takes the model's arguments and the targets, and
        returns the loss. None: the model's output is the loss, or has it.
    targets
        Example targets.
    schedule
        A schedule file, or what `schedule.solve` returned for the captured
        graph: it is used, and nothing is solved. Without a budget, that of the
        schedule holds.
    solver, order, time_limit, gap, seed, workers, progress
        As for `schedule.solve`.
    costs
        Of the operations: `"model"`, by operations and bytes, the same on every
        machine; `"calibrated"`, the same with constants measured on this device;
        `"measure"`, each run once; `"flops"`, floating-point operations alone;
        `"unit"`, 1 each.
    resident
        Bytes that are there beside the step, such as the optimizer's state.
    workspace
        `"measure"`: run each operation once and count what it takes only while
        it runs, as the allocator sees it. `"none"`: tensors count, no more.
    pure
        Operators of other packages that may run again (`torch.ops.mine.norm` or
        `"mine::norm"`): the same result from the same tensors each time, and
        nothing else done. Those that aren't listed run once.
    gradients
        Where the model returns more than a loss: `"loss"` keeps room for
        gradients of single numbers, and for others where their zeros would need
        it; a gradient that then doesn't fit is refused when it comes. `"all"`
        keeps room for the gradients of all that is returned.
    on_change
        What a batch of another shape, or a change of the model's state, does:
        `"refuse"` raises OtherStep, `"replan"` captures anew, and solves where
        that gives another graph.

    Returns
    -------
    torch.nn.Module
        Of a subclass of the model's class, with the same attributes, those to
        come included; its `planned_step` has the schedule with peak, overhead
        and gap. Without gradients (`torch.no_grad`), or in evaluation mode, it
        is the model as it was; where the targets are given, too, its loss.

    Raises
    ------
    CannotCapture
        The training step can't be captured, or has no loss.
    DoesNotFit
        No schedule is known for the budget; says the least that is needed.
    WrongGraph
        `schedule` belongs to another step.
    BadInput
        Tensors on several devices, a budget that is none, an unknown option.

    Notes
    -----
    Gradients, buffers and random numbers are those of the captured step, to the
    bit; that step differs from eager PyTorch's only where PyTorch's own capture
    does, which `schedule.torch.check` finds out. Its gradients arrive when the
    backward pass ends.

    What the step read of the model, the loss and everything around them while
    it was captured is guarded at each call. Where a step itself changes what it
    read (a counter, a cache), the next one is captured anew.

    Examples
    --------
    >>> import torch, schedule.torch
    >>> from torch import nn
    >>> layers = [part for _ in range(6) for part in (nn.Linear(16, 16), nn.Tanh())]
    >>> model = nn.Sequential(*layers, nn.Linear(16, 1))
    >>> x, y = torch.randn(256, 16), torch.randn(256, 1)
    >>> mse = nn.functional.mse_loss
    >>> planned = schedule.torch.plan(model, x, "80%", loss=mse, targets=[y])
    >>> planned(x, y).backward()
    >>> planned.planned_step.result.peak <= planned.planned_step.result.budget
    True
    """
    if not isinstance(model, nn.Module):
        raise BadInput(f"model is {shown(model)}; it has to be a torch.nn.Module")
    if on_change not in ("refuse", "replan"):
        raise BadOption(f"on_change is {shown(on_change)}; it is 'refuse' or 'replan'")
    options = Options(
        budget,
        solver,
        order,
        time_limit,
        gap,
        seed,
        workers,
        costs,
        resident,
        workspace,
        pure,
        gradients,
        progress,
    )
    if isinstance(model, _Planned):
        raise BadInput("the model is planned already; plan the one it was made from")
    args, kwargs = arguments_of(example_inputs)
    given = Arguments(args, kwargs, tuple(targets))
    keeper = _Keeper(model, loss, options, on_change)
    keeper.add(model, given.apart(), schedule)
    return keeper.module(model)


class _Planned(nn.Module):
    """What a planned module does in place of the model's forward pass.

    It shares the model's `__dict__`: what one of them is given the other has.
    """

    _keeper: _Keeper  # of the class, which is made for one model

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


class _Keeper:
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
        self._n_given = self._n_targets = 0

    def module(self, model: nn.Module) -> nn.Module:
        """The planned module of this keeper's model."""
        kind = type(model)
        made: Any = object.__new__(
            type(f"Planned{kind.__name__}", (_Planned, kind), {"_keeper": self})
        )
        made.__dict__ = model.__dict__
        found: nn.Module = made
        return found

    def of_copy(self, model: nn.Module, loss: Callable[..., Any] | None) -> _Keeper:
        """The same plans for a copy of the model."""
        made = _Keeper(model, loss, self._options, self._on_change)
        made._kinds = list(self._kinds)
        made._n_given, made._n_targets = self._n_given, self._n_targets
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
        self._last = kind
        if "_is_replica" not in module.__dict__:
            return kind.run(checked, checked)
        return kind.run(given.scope(_of_replica(module, self._model), self.loss), checked)

    def _unplanned_call(self, model: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """The model itself; its loss where the targets are given as in a step."""
        if self.loss is None or len(args) < self._n_given or not self._n_targets:
            found = model.forward(*args, **kwargs)
            whole = len(args) >= self._n_given and self.loss is not None
            return self.loss(found) if whole and self.loss is not None else found
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
        if not last.moved:
            self._n_moved = 0
        if not last.moved and self._on_change == "refuse":
            now = signature_of(self._model, given.leaves, given.nesting)
            why = last.signature.difference(now) or in_words(last.traced.guards.broken(scope))
            raise OtherStep(
                f"this step isn't the planned one: {why}; plan it anew, or with on_change='replan'"
            )
        self._n_moved += bool(last.moved)
        if self._n_moved > self._AT_MOST:
            raise OtherStep(
                f"each step makes the next one another: it reads and changes what was"
                f" {in_words(last.moved or '')!r}; keep it in a buffer, or change it outside of"
                f" forward"
            )
        return self.add(self._model, given)

    def add(
        self,
        model: nn.Module,
        given: Arguments,
        schedule: AnyPath | Result | None = None,
    ) -> _Kind:
        """Capture another kind of step; solve it unless it has the graph of one that is known."""
        if not self._kinds:
            self._n_targets = len(given.targets)
            self._n_given = len(given.args) + self._n_targets
        given = given._replace(kwargs=self._ordered(given.kwargs))
        signature = signature_of(model, given.leaves, given.nesting)
        traced, captured = capture_step(model, self.loss, given, self._options)
        graph, whole = captured.graph, captured.program.whole
        known = [kind.step.result for kind in self._kinds if kind.step.graph == graph]
        if known:
            result = known[0]
        elif schedule is not None:
            result = self._options.given(graph, whole, schedule)
        else:
            result = self._options.solved(graph, whole)
        kind = _Kind(signature, traced, PlannedStep(captured, result))
        self._kinds.append(kind)
        return kind
