"""A model whose training step keeps to a memory budget."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence
from operator import attrgetter
from types import SimpleNamespace
from typing import Any, Literal

import torch
from torch import nn

from schedule.errors import BadInput, BadOption, OtherStep
from schedule.files import AnyPath
from schedule.result import Order, Result
from schedule.solvers import Progress, Solver
from schedule.torch.costs import Costs, Workspace
from schedule.torch.internals import flattened
from schedule.torch.options import Options
from schedule.torch.signature import Signature, signature_of
from schedule.torch.step import PlannedStep, TrainingStep, arguments_of, capture_step
from schedule.values import shown

#: What to do when a batch isn't like the one that was planned for.
OnChange = Literal["refuse", "replan"]


class Outputs(dict[str, Any]):
    """What a model returns by name: `outputs["loss"]` and `outputs.loss` alike."""

    def __getattr__(self, name: str) -> Any:
        try:
            return self[name]
        except KeyError:
            raise AttributeError(name) from None


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
    on_change
        What a batch of another shape, or a change of the model's state, does:
        `"refuse"` raises OtherStep, `"replan"` captures and solves anew.

    Returns
    -------
    torch.nn.Module
        Of a subclass of the model's class; its `planned_step` has the schedule
        with peak, overhead and gap. Without gradients (`torch.no_grad`), or in
        evaluation mode, it is the model as it was.

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
    does. Its gradients arrive when the backward pass ends.

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
        progress,
    )
    made: nn.Module = _planned(model)
    keeper = _Keeper(made, loss, len(targets), options, on_change)
    made.__dict__["_keeper"] = keeper
    args, kwargs = arguments_of(example_inputs)
    keeper.add(made, (*args, *targets), kwargs, schedule)
    return made


class _Planned(nn.Module):
    """What a planned module does in place of the model's forward pass."""

    @property
    def planned_step(self) -> PlannedStep:
        """The last step that was planned."""
        return self._keeper.last

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """One step as planned, or the model itself where nothing is differentiated."""
        return self._keeper.call(self, args, kwargs)

    def __deepcopy__(self, memo: dict[int, Any]) -> Any:
        """Another planned model, with parameters of its own and the same plans."""
        made: Any = object.__new__(type(self))
        memo[id(self)] = made
        keeper = self._keeper
        rest = {name: value for name, value in self.__dict__.items() if name != "_keeper"}
        made.__dict__.update(copy.deepcopy(rest, memo))
        made.__dict__["_keeper"] = keeper.of_copy(made, copy.deepcopy(keeper.loss, memo))
        return made

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse to be pickled: kernels can't be."""
        raise TypeError(
            "a planned module can't be pickled; save its state_dict, or the model it was made"
            " from, and plan that again"
        )

    @property
    def _keeper(self) -> _Keeper:
        found: _Keeper = self.__dict__["_keeper"]
        return found


def _planned(model: nn.Module) -> Any:
    """Another module with the same parts, whose forward pass is the planned one."""
    kind = type(model)
    if isinstance(model, _Planned):
        raise BadInput("the model is planned already; plan the one it was made from")
    made: Any = object.__new__(type(f"Planned{kind.__name__}", (_Planned, kind), {}))
    made.__dict__.update(model.__dict__)
    made.__dict__["_original"] = made.__dict__.pop("forward", None)
    return made


def _original(model: Any) -> Callable[..., Any]:
    """The forward pass that the model had before it was planned, as a function of it."""
    own: Callable[..., Any] | None = model.__dict__["_original"]
    if own is not None:  # somebody had given this very model another one
        return lambda _, *args, **kwargs: own(*args, **kwargs)
    kind: Any = type(model).__bases__[1]
    found: Callable[..., Any] = kind.forward
    return found


class _Keeper:
    """The plans of one model, by kind of step."""

    def __init__(
        self,
        model: Any,
        loss: Callable[..., Any] | None,
        n_targets: int,
        options: Options,
        on_change: OnChange,
    ) -> None:
        self._known: list[tuple[Signature, PlannedStep]] = []
        self._step = TrainingStep(model, loss, n_targets, _original(model))
        self._options, self._on_change = options, on_change
        self._parameters = [attrgetter(name) for name, _ in model.named_parameters()]

    @property
    def loss(self) -> Callable[..., Any] | None:
        """As it was given."""
        return self._step.loss

    def of_copy(self, model: Any, loss: Callable[..., Any] | None) -> _Keeper:
        """The same plans for a copy of the model."""
        made = _Keeper(model, loss, self._step.n_targets, self._options, self._on_change)
        made._known = list(self._known)
        return made

    @property
    def last(self) -> PlannedStep:
        """The last step that was planned."""
        return self._known[-1][1]

    def call(self, model: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
        """One step; `model` is the planned one, or a replica of it."""
        ends = self._ends(model)
        if not torch.is_grad_enabled() or model.training != self._known[0][0].modes[0]:
            run = ends.original if ends.loss is None else TrainingStep.forward
            return run(model if ends.loss is None else ends, *args, **kwargs)
        leaves, nesting = flattened(args, kwargs)
        signature = self._signature(model, leaves, nesting)
        step = next((step for known, step in self._known if known == signature), None)
        if step is None:
            if self._on_change == "refuse":
                why = self._known[-1][0].difference(signature)
                raise OtherStep(
                    f"this step isn't the planned one: {why}; plan it anew, or with"
                    f" on_change='replan'"
                )
            step = self.add(model, args, kwargs)
        found = step.run(ends, leaves)
        return Outputs(found) if isinstance(found, dict) else found

    def _signature(self, model: Any, leaves: Sequence[Any], nesting: Any) -> Signature:
        # By name: a replica's parameters aren't registered as such.
        return signature_of(model, [get(model) for get in self._parameters], leaves, nesting)

    def _ends(self, model: Any) -> Any:
        """Where parameters are found, by the names that they have in the training step."""
        step = self._step
        return SimpleNamespace(
            model=model, loss=step.loss, n_targets=step.n_targets, original=_original(model)
        )

    def add(
        self,
        model: nn.Module,
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
        schedule: AnyPath | Result | None = None,
    ) -> PlannedStep:
        """Plan another kind of step."""
        options = self._options
        signature = self._signature(model, *flattened(args, kwargs))
        captured = capture_step(
            self._step, args, kwargs, options.costs, options.resident, options.workspace
        )
        graph = captured.graph
        result = options.solved(graph) if schedule is None else options.given(graph, schedule)
        step = PlannedStep(captured, result)
        self._known.append((signature, step))
        return step
