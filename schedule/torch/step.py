"""One kind of training step of one model, planned: what it promises, and how it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import torch
from torch import nn

from schedule.budget import parse_memory
from schedule.errors import BadInput, CannotCapture
from schedule.graph import Graph
from schedule.result import Result
from schedule.steps import encode
from schedule.torch.costs import Costs, Meter, Workspace
from schedule.torch.internals import capture, flattened, nested
from schedule.torch.joint import Alias, Constant, Joint
from schedule.torch.program import Program, program_of
from schedule.torch.running import Session, plan_of

#: Inputs of the graph that stand for memory beside the step.
UNUSED, DECLARED = "(parameters that the step doesn't use)", "(declared resident)"


class TrainingStep(nn.Module):
    """A model and its loss as one module: takes the model's arguments, then the targets.

    Parameters
    ----------
    model
        The model.
    loss
        Takes what the model returns, then the targets; None: the model's
        output is, or has, the loss.
    n_targets
        How many targets there are.
    original
        The model's forward pass as a function of the model and its arguments;
        None: that of its class.
    """

    def __init__(
        self,
        model: nn.Module,
        loss: Callable[..., Any] | None,
        n_targets: int,
        original: Callable[..., Any] | None = None,
    ) -> None:
        super().__init__()
        self.model = model
        self.original = type(model).forward if original is None else original
        self.loss = loss
        self.n_targets = n_targets
        self.training = model.training
        kind = type(model)
        self.name = kind.__name__ if original is None else kind.__bases__[1].__name__

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """The loss; where there is none of its own, the model's tensors."""
        inner = len(args) - self.n_targets
        # Not `self.model(…)`: its own hooks run around the planned model as around the model.
        found = self.original(self.model, *args[:inner], **kwargs)
        if self.loss is not None:
            return self.loss(found, *args[inner:])
        if isinstance(found, dict):  # such as transformers' outputs, whose caches are no tensors
            return {key: value for key, value in found.items() if isinstance(value, torch.Tensor)}
        return found


@dataclass(frozen=True)
class Captured:
    """A captured step as a graph.

    Attributes
    ----------
    graph
        In bytes and nanoseconds.
    program, joint
        How it runs, and where its ends belong.
    """

    program: Program
    joint: Joint

    @property
    def graph(self) -> Graph:
        """What is scheduled."""
        return self.program.graph


def capture_step(
    step: TrainingStep,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    costs: Costs,
    resident: int | str,
    workspace: Workspace,
) -> Captured:
    """Capture a step and translate it.

    Raises
    ------
    BadInput
        Tensors on different devices.
    CannotCapture
        With the reason.
    """
    device = _device_of(step, args, kwargs)
    meter = Meter(costs, device, workspace)
    joint = capture(step, args, kwargs)
    _check_loss(step, joint)
    used = {str(s.key) for s in joint.sources.values() if s.kind in ("parameter", "buffer")}
    shared = {id(attrgetter(name)(step)) for name in used}
    rest = [*step.named_parameters(), *step.named_buffers()]
    unused = sum(t.numel() * t.element_size() for _, t in rest if id(t) not in shared)
    residents = {UNUSED: unused, DECLARED: parse_memory(resident, "resident")}
    return Captured(program_of(joint, meter, residents, step.name), joint)


def arguments_of(example_inputs: Any) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Positional and keyword arguments of an example batch."""
    if isinstance(example_inputs, Mapping):
        return (), dict(example_inputs)
    if isinstance(example_inputs, (tuple, list)):
        return tuple(example_inputs), {}
    return (example_inputs,), {}


def _device_of(step: nn.Module, args: Sequence[Any], kwargs: Mapping[str, Any]) -> torch.device:
    """The one device of all tensors."""
    leaves, _ = flattened(args, kwargs)
    given = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
    found = {tensor.device: "a parameter or buffer" for tensor in step.buffers()}
    found |= {tensor.device: "a parameter or buffer" for tensor in step.parameters()}
    for at, tensor in enumerate(given):
        found.setdefault(tensor.device, f"example input {at}")
    if len(found) > 1:
        places = " and ".join(f"{what} on {device}" for device, what in found.items())
        raise BadInput(f"a step is planned for one device, but there is {places}; move them")
    return next(iter(found), torch.device("cpu"))


def _check_loss(step: TrainingStep, joint: Joint) -> None:
    """Refuse a step that returns no loss."""
    results = [node.meta["val"] for node in joint.results]
    if any(value.numel() == 1 and value.dtype.is_floating_point for value in results):
        return
    shapes = ", ".join(str(tuple(value.shape)) for value in results) or "no tensor"
    raise CannotCapture(
        f"{step.name} returns no loss (but {shapes}); pass loss=, a function of"
        f" what the model returns and the targets, which gives a single number"
    )


class PlannedStep:
    """A captured step with a schedule.

    Attributes
    ----------
    result
        The schedule and its figures: peak, overhead, bound and gap.
    graph
        What is scheduled, in bytes and nanoseconds.
    """

    def __init__(self, captured: Captured, result: Result) -> None:
        assert result.schedule is not None, "only a schedule can be run"
        self.result, self.graph = result, captured.graph
        program = captured.program
        self._plan = plan_of(program, encode(captured.graph, result.steps))
        self._joint, self._constants = captured.joint, program.constants
        self._differentiable = [name is not None for name in program.tangents]
        self._state = {
            name: attrgetter(str(source.key))
            for name, source in program.sources.items()
            if source.kind in ("parameter", "buffer")
        }
        self._arguments = {
            name: int(source.key)
            for name, source in program.sources.items()
            if source.kind == "argument"
        }

    def __str__(self) -> str:
        """What is promised, in a line."""
        return str(self.result)

    def run(self, step: Any, leaves: Sequence[Any]) -> Any:
        """One forward pass; the backward pass follows when it is asked for.

        Parameters
        ----------
        step
            The `TrainingStep`, or what has its parameters under the same names.
        leaves
            The flattened arguments.
        """
        tensors: dict[str, torch.Tensor] = {name: get(step) for name, get in self._state.items()}
        tensors |= {name: leaves[at] for name, at in self._arguments.items()}
        names = tuple(tensors)
        session = Session(self._plan, tensors | self._constants)
        apply: Any = _Run.apply
        found = apply(session, self._differentiable, names, *tensors.values())
        outputs = [self._output(item, found, leaves) for item in self._joint.outputs]
        return nested(outputs, self._joint.nesting)

    def _output(
        self, item: int | Alias | Constant, results: Sequence[torch.Tensor], leaves: Sequence[Any]
    ) -> Any:
        if isinstance(item, int):
            return results[item]
        if isinstance(item, Alias):
            return item.seen(results[item.of] if item.is_result else leaves[item.of])
        return item.value if item.argument is None else leaves[item.argument]


class _Run(torch.autograd.Function):
    """A session as one operation of automatic differentiation."""

    @staticmethod
    def forward(
        ctx: Any,
        session: Session,
        differentiable: Sequence[bool],
        names: Sequence[str],
        *tensors: torch.Tensor,
    ) -> Any:
        """Run to the turn."""
        ctx.set_materialize_grads(False)
        ctx.session, ctx.names, ctx.tensors = session, names, tensors
        with _plainly(tensors):
            found = session.forward()
        ctx.mark_non_differentiable(*(t for t, yes in zip(found, differentiable) if not yes))
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *tangents: torch.Tensor | None) -> Any:
        """Run from the turn to the gradients."""
        tensors = dict(zip(ctx.names, ctx.tensors))
        with _plainly(ctx.tensors):
            found = ctx.session.backward(tangents, tensors)
        return (None, None, None, *(found.pop(name, None) for name in ctx.names))


@contextmanager
def _plainly(tensors: Sequence[torch.Tensor]) -> Iterator[None]:
    """Neither differentiate nor cast: the captured operations have done both."""
    kinds = {tensor.device.type for tensor in tensors}
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for kind in sorted(kinds):
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield
