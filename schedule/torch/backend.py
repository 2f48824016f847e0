"""The backend of `torch.compile` that is called `schedule`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import fx

from schedule.errors import BadOption, CannotCapture
from schedule.sizes import parse_memory
from schedule.torch.capturing import COPIES, DECLARED, Captured, copies_of
from schedule.torch.costs import Meter
from schedule.torch.inductor import compile_split
from schedule.torch.internals import capture_traced, compiled_frames
from schedule.torch.options import Options
from schedule.torch.running import keep_from_change
from schedule.torch.split import split_of
from schedule.torch.step import PlannedStep
from schedule.torch.translation import program_of
from schedule.torch.watching import Planning
from schedule.values import shown

#: The option that no other way of planning has.
_INDUCTOR = "inductor"


def backend(
    traced: fx.GraphModule,
    example_inputs: Sequence[Any],
    options: Mapping[str, Any] | None = None,
    mode: str | None = None,
) -> Callable[..., Any]:
    """Compile a traced graph so that its training step keeps to a budget.

    `torch.compile(model, backend="schedule", options={"budget": "8GiB"})` calls
    this: options are those of `schedule.torch.plan`. What isn't differentiated
    runs as it is.

    With the option `inductor=True` Inductor compiles both passes, and what is
    planned is the graph of kernels that it will run: what is saved for the
    backward pass, what is recomputed there, how often and when. Before any code
    is generated each plan is lowered and scheduled by Inductor, and corrected by
    what that takes; where the budget is missed all the same, `BudgetMissed` is
    warned of.

    A model that breaks into several graphs is planned graph by graph, each
    without the others: a share (`"80%"`) is then of each graph's own peak, and
    what one graph holds while another runs isn't counted. An amount of memory
    can't be promised so: the second graph is refused.

    Raises
    ------
    CannotCapture
        Sizes that aren't fixed, or a second graph under an amount of memory.
    DoesNotFit
        No schedule is known for the budget.
    """
    given = {} if options is None else options
    if mode is not None:  # which PyTorch allows without options alone
        raise BadOption(
            f"mode is {shown(mode)}: modes are Inductor's own; give this backend options, as"
            ' options={"budget": "8GiB", "inductor": True}'
        )
    wanted = _options(given)
    tensors = [item for item in example_inputs if isinstance(item, torch.Tensor)]
    if not torch.is_grad_enabled() or not any(item.requires_grad for item in tensors):
        return _as_it_is(traced)
    if len(tensors) < len(example_inputs):
        raise CannotCapture(
            "a size of the step isn't fixed; use torch.compile(…, dynamic=False), which plans"
            " each size anew"
        )
    _check_frame(wanted.budget)
    device = tensors[0].device
    if given.get(_INDUCTOR):
        return compile_split(
            traced,
            example_inputs,
            lambda joint, rehearse: split_of(joint, wanted, device, rehearse),
            measures=wanted.workspace != "none" and device.type == "cpu",
        )
    with Planning("a compiled graph", wanted) as planning:
        joint = capture_traced(traced, example_inputs)
        if not joint.gradients:  # what comes of it isn't differentiated
            return _as_it_is(traced)
        recorder = wanted.recorder(device)
        copied = 0 if recorder is None else copies_of(joint, tensors)
        residents = {COPIES: copied, DECLARED: parse_memory(wanted.resident, "resident")}
        meter = Meter(wanted.costs, device, wanted.workspace)
        program = program_of(joint, meter, residents, "compiled", pure=wanted.pure_names)
        captured = Captured(program, joint, recorder, {}, device)
        result = planning.solving(program.graph, wanted).solved(program.graph, device)
    source, is_part = wanted.link_source(device), _is_part(traced)
    return PlannedStep(captured, result, source, is_part=is_part).run


def _is_part(traced: fx.GraphModule) -> bool:
    """Whether others follow that the same call of the model comes to."""
    return bool(getattr(getattr(traced, "compile_subgraph_reason", None), "graph_break", False))


def _as_it_is(traced: fx.GraphModule) -> Callable[..., Any]:
    """What isn't differentiated; where it may change something, other parts keep copies."""
    names = [str(getattr(node.target, "__name__", node.target)) for node in traced.graph.nodes]
    if not any(name.endswith("_") or name == "setitem" for name in names):
        return traced.forward

    def run(*given: Any) -> Any:
        keep_from_change([item for item in given if isinstance(item, torch.Tensor)])
        return traced.forward(*given)

    return run


def _options(given: Mapping[str, Any]) -> Options:
    if not isinstance(given, Mapping):
        raise BadOption(f'options is {shown(given)}; it has to be a dict: {{"budget": "8GiB"}}')
    if not isinstance(given.get(_INDUCTOR, False), bool):
        raise BadOption(f"{_INDUCTOR} is {shown(given[_INDUCTOR])}; it is True or False")
    if given.get(_INDUCTOR) and given.get("workspace") == "measure":
        raise BadOption("workspace can't be measured under Inductor, which writes its own kernels")
    if given.get(_INDUCTOR) and given.get("host") is not None:
        raise BadOption("host can't be used under Inductor, which runs no copies of a plan's")
    return Options.of(given, beside=(_INDUCTOR,))


def _check_frame(budget: int | str | None) -> None:
    """Refuse a second graph of one model under an amount of memory."""
    is_share = budget is None or (isinstance(budget, str) and budget.strip().endswith("%"))
    if len(compiled_frames()) > 1 and not is_share:
        raise CannotCapture(
            f"the model breaks into several graphs, and a budget of {budget} can only be kept by"
            f" one: find the breaks with fullgraph=True, or give a share such as '80%', which each"
            f" graph keeps by itself"
        )
