"""Training steps as graphs, to be solved elsewhere or later."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from contextlib import nullcontext
from typing import Any

from torch import nn

from schedule.errors import BadInput, BadOption, is_out_of_memory
from schedule.graph import Graph
from schedule.torch.arguments import arguments_of
from schedule.torch.capturing import capture_step
from schedule.torch.costs import Costs, Workspace
from schedule.torch.internals import fake_tensors, without_views
from schedule.torch.options import Gradients, Options
from schedule.values import shown

_FORM = "(model, inputs), (model, inputs, loss) or (model, inputs, loss, targets)"


def capture(
    model: nn.Module,
    example_inputs: Any,
    *,
    loss: Callable[..., Any] | None = None,
    targets: Sequence[Any] = (),
    costs: Costs = "model",
    resident: int | str = 0,
    workspace: Workspace = "none",
    pure: Collection[Any] = (),
    gradients: Gradients = "loss",
    cuda_graphs: bool = False,
) -> Graph:
    """The graph of a model's training step, as `plan` schedules it.

    Parameters
    ----------
    model, example_inputs, loss, targets, costs, resident, workspace, pure, gradients, cuda_graphs
        As in `plan`. The tensors may be fake ones (`FakeTensorMode`).

    Returns
    -------
    Graph
        In bytes and nanoseconds. A schedule of it is what `plan` takes as
        `schedule`, given the same arguments.

    Raises
    ------
    CannotCapture
        The training step can't be captured, or has no loss.
    BadInput
        Tensors on several devices, an unknown option.

    Examples
    --------
    >>> import torch, schedule.torch
    >>> graph = schedule.torch.capture(
    ...     torch.nn.Linear(8, 1), torch.randn(4, 8), loss=lambda output: output.square().mean()
    ... )
    >>> [item.name for item in graph.inputs]
    ['model.weight', 'model.bias', 'argument 0']
    """
    given = arguments_of(example_inputs, loss, targets)
    options = Options(
        costs=costs,
        resident=resident,
        workspace=workspace,
        pure=pure,
        gradients=gradients,
        cuda_graphs=cuda_graphs,
    )
    _, captured = capture_step(model, loss, given, options)
    return captured.graph


def capture_made(
    factory: Callable[[], Any],
    *,
    fake: bool,
    costs: Costs = "model",
    resident: int | str = 0,
    pure: Collection[Any] = (),
) -> Graph:
    """The graph of what a factory makes, if need be larger than memory.

    Parameters
    ----------
    factory
        Returns (model, inputs), and if the model gives no loss, a loss, and
        its targets.
    fake
        Whether to call it so that its tensors have shapes, but no memory.
    costs, resident, pure
        As in `plan`; nothing can be measured on fake tensors.

    Raises
    ------
    BadInput
        The factory raises, or returns something else.
    CannotCapture
        As `capture`.
    """
    if fake and costs in ("calibrated", "measure"):
        raise BadOption(f"costs {costs!r} are measured, which needs real tensors")
    with fake_tensors() if fake else nullcontext():
        try:
            made = factory()
        except Exception as error:  # it is the caller's
            if is_out_of_memory(error):
                raise
            hint = "; it may look at values, which fake tensors don't have" if fake else ""
            raise BadInput(f"the factory raised {type(error).__name__}: {error}{hint}") from error
        if not isinstance(made, (tuple, list)) or not 2 <= len(made) <= 4:
            raise BadInput(f"the factory returned {shown(made)}; it has to return {_FORM}")
        parts: list[Any] = [*made, *(None, ())[len(made) - 2 :]]
        model, inputs, loss, targets = parts
        if not isinstance(model, nn.Module):
            raise BadInput(f"the factory returned {shown(model)}, not a model; it returns {_FORM}")
        if fake:
            inputs, targets = without_views(inputs), without_views(targets)
        return capture(
            model, inputs, loss=loss, targets=targets, costs=costs, resident=resident, pure=pure
        )
