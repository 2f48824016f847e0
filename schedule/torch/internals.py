"""What is experimental in PyTorch: tracing a step, its guards, and its joint graph.

What lies under `torch._dynamo`, `torch._functorch`, `torch._guards` and
`torch._subclasses` is experimental: this module and `schedule.torch.dynamo`, and for
Inductor those that `schedule.torch.inductor` names, are the only ones that touch it.
They are tested on the PyTorch that CI installs.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx, nn
from torch.autograd import forward_ad
from torch.nn.modules import module as hooks
from torch.utils import _pytree as pytree

from schedule.errors import CannotCapture, is_out_of_memory
from schedule.torch.counters import Parted
from schedule.torch.derivatives import differentiated, differentiates
from schedule.torch.dynamo import quietly, tracing_steps
from schedule.torch.exported import joint_of
from schedule.torch.joint import Joint
from schedule.torch.layouts import correct_layouts
from schedule.torch.masks import without_known_masks
from schedule.torch.reasons import reason
from schedule.torch.upsampling import upsampling_kept_whole

#: The code with which `torch.compile` calls a backend, and what is noted of frames on its owner.
_CALLING = torch._TorchCompileWrapper.__call__.__code__
_FRAMES = "frames of schedule"

Leaves = list[Any]
Run = Callable[..., Any]


class Guards:
    """What a traced step holds for, as PyTorch noted it while tracing.

    Everything that the code read and that is no tensor's content: attributes,
    hooks, modes, shapes, types, which arguments are one tensor, autocast.
    """

    def __init__(self, checks: Any) -> None:
        # The object that made them takes them back when it goes.
        self._kept, self._checks = checks, checks.guard_manager
        self._hooks = _global_hooks()

    def hold(self, scope: Mapping[str, Any]) -> bool:
        """Whether the traced step is the one that this scope would make."""
        return bool(self._checks.check(scope)) and self._hooks == _global_hooks()

    def broken(self, scope: Mapping[str, Any]) -> str:
        """The first thing that differs, in PyTorch's words; empty: nothing does."""
        found = self._checks.check_verbose(scope)
        if not found.result:
            parts = found.verbose_code_parts or ["something that it read has changed"]
            return str(parts[0]).split("  #")[0].strip()
        return "" if self._hooks == _global_hooks() else "hooks for all modules have changed"


@dataclass(frozen=True)
class Traced:
    """A step that Dynamo has traced.

    Attributes
    ----------
    sources
        Of each input of the joint graph: a Python expression of the step's scope.
    guards
        When what was traced is still what would be traced.
    """

    sources: tuple[str, ...]
    guards: Guards
    _output: Any
    _globals: Mapping[str, Any]
    _parted: Parted

    @property
    def counts_apart(self) -> bool:
        """Whether no tensor depends on the counters, so that they may be others next time."""
        return self._parted.is_apart

    def joint(self) -> Joint:
        """Forward and backward pass as one graph.

        Raises
        ------
        CannotCapture
            With the reason that PyTorch gives.
        """
        from torch._guards import TracingContext, tracing

        given = self._output.backend_input
        with quietly(), ExitStack() as stack:
            context = TracingContext(given.fake_mode)
            context.tensor_to_context = given.tensor_to_context
            stack.enter_context(tracing(context))
            tensors = [given.example_inputs[at] for at in self._parted.places]
            return _joint(stack, self._parted.module, tensors)

    def function(self, run: Run) -> Run:
        """The traced function with `run` in place of what its graph does with tensors.

        Whatever else the code does (attributes that it sets, lists that it
        appends to, objects that it returns) is done as in the code.
        """
        whole = self._parted.whole(run)
        return self._output.forward_callable(compiled_fn=whole, extra_globals=self._globals)  # type: ignore[no-any-return]

    def values(self, scope: Mapping[str, Any]) -> list[Any]:
        """What the graph's inputs are, in a scope; None where only PyTorch can tell."""
        found = []
        for source in self.sources:
            try:
                found.append(eval(source, {"L": scope, "G": self._globals}))
            except (AttributeError, LookupError, NameError, TypeError):  # PyTorch's own helpers
                found.append(None)
        return found


def trace(
    function: Callable[..., Any], scope: Mapping[str, Any], counters: Collection[str] = ()
) -> Traced:
    """Trace a function of named arguments that returns what is differentiated.

    Parameters
    ----------
    function
        A plain function; modules among its arguments in the mode, and all of it
        under the autocast, that it will be run with.
    scope
        Its arguments by name, in order: of tensors shapes, types and devices
        count, of everything else the values.
    counters
        Expressions of the scope: whole numbers that may be others at each step.

    Raises
    ------
    CannotCapture
        With the reason that PyTorch gives, and what to do.

    Notes
    -----
    Nothing is computed; some seconds for thousands of nodes.
    """
    from torch._dynamo.convert_frame import fullgraph_capture
    from torch._dynamo.hooks import Hooks
    from torch._dynamo.types import GuardFilterEntry
    from torch._dynamo.utils import dynamo_timed, get_metrics_context
    from torch._dynamo.variables.torch_function import (
        torch_function_mode_stack_state_mgr as modes,
    )

    read: list[Any] = []

    def wanted(entries: Sequence[GuardFilterEntry]) -> list[bool]:
        read.extend(entry.value for entry in entries)
        return ["_validate_args" not in entry.name for entry in entries]

    try:
        with tracing_steps(counters), get_metrics_context(), dynamo_timed("schedule"), modes:
            output = fullgraph_capture(function, tuple(scope.values()))
            if output.backend_input is None:
                raise CannotCapture("the step computes nothing with tensors")
            found = output.graph_capture_output
            with modes.temp_restore_stack() if modes.stack else nullcontext():
                checks = found.build_guards(function.__code__, Hooks(guard_filter_fn=wanted))
    except CannotCapture:
        raise
    except Exception as error:  # whatever the model's own code raises, too
        if is_out_of_memory(error):
            raise
        raise CannotCapture(reason(error)) from error
    if any(isinstance(value, random.Random) for value in read):
        raise CannotCapture(
            "the step draws from an object of random.Random, which would give the same numbers at"
            " each step; use torch's random numbers, or draw outside of forward"
        )
    _check_recurrent(output.backend_input.graph_module)
    ends: Any = found.output_graph.export_metadata.graph_input_idx_to_local_source
    parted = Parted(output.backend_input.graph_module, output.backend_input.example_inputs)
    sources = tuple(ends[at].name for at in parted.places)
    return Traced(sources, Guards(checks), output, found.f_globals, parted)


def _global_hooks() -> tuple[Any, ...]:
    """Hooks that run for every module: of them Dynamo keeps no guards."""
    names = ("forward_hooks", "forward_pre_hooks", "backward_hooks", "backward_pre_hooks")
    return tuple(tuple(getattr(hooks, f"_global_{name}")) for name in names)


def _check_recurrent(module: fx.GraphModule) -> None:
    """Refuse recurrent layers whose dropout PyTorch's decomposition would lose."""
    recurrent = {getattr(torch, name) for name in ("lstm", "gru", "rnn_tanh", "rnn_relu")}
    for node in module.graph.nodes:
        if node.op != "call_function" or node.target not in recurrent:
            continue
        rest = [item for item in node.args if isinstance(item, (bool, int, float))]
        _, layers, dropout, train, *_ = rest  # after has_biases, wherever that is
        if train and dropout and layers > 1:
            raise CannotCapture(
                f"{node.target.__name__} with dropout={dropout} between its {layers} layers:"
                f" PyTorch's capture leaves that dropout out; use one recurrent module a layer"
                f" with nn.Dropout between them, or dropout=0"
            )


def capture_traced(traced: nn.Module, args: Sequence[Any]) -> Joint:
    """The joint graph of what `torch.compile` traced already."""
    with quietly(), ExitStack() as stack:
        return _joint(stack, traced, args)


def compiled_frames() -> set[int]:
    """The pieces of a program that one `torch.compile` has come to, with the one that it is at.

    They are noted on what it made, not in its options, which others may be given, too.
    Where a backend is called in another way there are none.
    """
    from torch._guards import CompileContext

    current, caller = CompileContext.current_compile_id(), sys._getframe(1)
    while caller is not None and caller.f_code is not _CALLING:
        caller = caller.f_back  # type: ignore[assignment]
    if current is None or caller is None:
        return set()
    found: set[int] = vars(caller.f_locals["self"]).setdefault(_FRAMES, set())
    if current.frame_id is not None:
        found.add(current.frame_id)
    return found


@contextmanager
def fake_tensors() -> Iterator[None]:
    """Make tensors that have shapes, but no memory.

    Truncated normal distributions are drawn by looking at values; here nobody
    needs them, and models that begin with them can be made all the same. Moving
    a module to another type swaps its fake parameters, which PyTorch refuses for
    tensors that something refers to weakly: here fake tensors' own tables do.
    """
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode(allow_non_fake_inputs=True), ExitStack() as stack:
        name = "_no_grad_trunc_normal_"
        if hasattr(nn.init, name):  # elsewhere the factory says what it can't do
            stack.callback(setattr, nn.init, name, getattr(nn.init, name))
            setattr(nn.init, name, lambda tensor, *_, **__: tensor)
        stack.callback(setattr, torch.utils, "swap_tensors", torch.utils.swap_tensors)
        torch.utils.swap_tensors = _swap
        yield


def _swap(one: torch.Tensor, other: torch.Tensor) -> None:
    """Swap the contents of two tensors, whoever refers to them."""
    for name in ("__class__", "__dict__"):
        value = getattr(one, name)
        setattr(one, name, getattr(other, name))
        setattr(other, name, value)
    torch._C._swap_tensor_impl(one, other)


def _joint(stack: ExitStack, captured: Any, args: Sequence[Any]) -> Joint:
    inner = differentiated(captured)
    joint = joint_of(_export(stack, captured, args))
    return replace(joint, differentiated=inner, differentiates=differentiates(captured))


def _export(stack: ExitStack, captured: Any, args: Sequence[Any]) -> Any:
    from torch._functorch import config
    from torch._functorch.aot_autograd import aot_export_joint_with_descriptors

    if hasattr(config, "backward_pass_autocast"):
        # Eager PyTorch's backward pass casts nothing: it is to be outside of autocast.
        patched: Any = config.patch(backward_pass_autocast="off")
        stack.enter_context(patched)
    if any(node.target is torch.lstm for node in captured.graph.nodes):
        # The kernel that PyTorch would take on a CPU has no backward pass that works.
        stack.enter_context(torch.backends.mkldnn.flags(enabled=False))
    try:
        known = without_known_masks(captured)
        with upsampling_kept_whole():
            exported = aot_export_joint_with_descriptors(stack, known, tuple(args), {})
    except Exception as error:
        if is_out_of_memory(error):
            raise
        raise CannotCapture(reason(error)) from error
    correct_layouts(exported.graph_module.graph)
    return exported


def without_views(value: Any) -> Any:
    """The same, nested as it was, with memory of its own for each view.

    Dynamo can't follow a view among fake tensors to what it is a view of.
    """
    return pytree.tree_map(
        lambda item: item.clone() if isinstance(item, torch.Tensor) and item._is_view() else item,
        value,
    )


def has_tangents(values: Sequence[Any]) -> bool:
    """Whether any of these carries a derivative of automatic differentiation in forward mode."""
    if forward_ad._current_level < 0:
        return False
    unpack: Any = forward_ad.unpack_dual
    tensors = [value for value in values if isinstance(value, torch.Tensor)]
    return any(unpack(tensor).tangent is not None for tensor in tensors)


def hooks_on_saved_tensors() -> bool:
    """Whether somebody else than PyTorch packs and unpacks what is saved for backward passes."""
    found: Any = torch._C._autograd._top_saved_tensors_default_hooks(True)
    return found is not None and not str(getattr(found[0], "__module__", "")).startswith("torch.")


def is_batched(value: Any) -> bool:
    """Whether a tensor stands for several, as gradients do with `is_grads_batched`."""
    if not isinstance(value, torch.Tensor):
        return False
    return bool(torch._C._dispatch_keys(value).has(torch._C._dispatch_key_parse("Batched")))


def run_backward(losses: Sequence[torch.Tensor], leaves: Sequence[torch.Tensor]) -> None:
    """As `torch.autograd.backward`, but within modes for PyTorch's functions that are set."""
    run: Any = torch.autograd.graph._engine_run_backward
    ones = tuple(torch.ones_like(loss) for loss in losses)
    options = {"allow_unreachable": True, "accumulate_grad": True}
    run(tuple(losses), ones, False, False, tuple(leaves), **options)


def flattened(args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[Leaves, Any]:
    """Arguments as a flat list, and how they were nested."""
    return pytree.tree_flatten((tuple(args), dict(kwargs)))


def nested(leaves: Leaves, spec: Any) -> Any:
    """The inverse."""
    return pytree.tree_unflatten(leaves, spec)
