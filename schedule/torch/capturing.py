"""One kind of training step of one model, captured as a graph, and how it runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from schedule.errors import BadInput, CannotCapture
from schedule.graph import Graph
from schedule.sizes import parse_memory
from schedule.torch.arguments import Arguments, misfit_of_example, strays_of_example
from schedule.torch.costs import Meter
from schedule.torch.graphs import Recorder
from schedule.torch.internals import Traced, trace
from schedule.torch.joint import Joint
from schedule.torch.options import Options
from schedule.torch.program import Program
from schedule.torch.signature import in_words
from schedule.torch.translation import program_of
from schedule.torch.trials import is_real
from schedule.values import shown

#: Inputs of the graph that stand for memory beside the step.
UNUSED, DECLARED = "(what the step doesn't use)", "(declared resident)"
COPIES = "(copies beside CUDA graphs)"

#: PyTorch traces one thing at a time in a process.
_TRACING = threading.RLock()


def training_step(model: Any, loss: Any, args: Any, kwargs: Any, targets: Any) -> Any:
    """What is traced: the model, and its loss.

    Not `model(…)`: its own hooks run around the planned model as around the model.
    """
    found = model.forward(*args, **kwargs)
    return without_caches(found) if loss is None else loss(found, *targets)


def without_caches(found: Any) -> Any:
    """What a model returns by name, with None in the place of caches of keys and values.

    The models of transformers return them in training, too, where nobody has a
    use for them; and what is returned is held to the end of the step.
    """
    if not isinstance(found, dict) or not any(map(_is_cache, found.values())):
        return found
    return type(found)(**{k: None if _is_cache(value) else value for k, value in found.items()})


def _is_cache(value: Any) -> bool:
    return hasattr(value, "get_seq_length") and hasattr(value, "update")


@dataclass(frozen=True)
class Captured:
    """A captured step as a graph.

    Attributes
    ----------
    graph
        In bytes and nanoseconds.
    program, joint
        How it runs, and where its ends belong.
    recorder
        Makes what records it as CUDA graphs; None: it isn't to be recorded.
    needs
        Of what the step is given, by place, whether it needs a gradient.
    device
        Where all of it is.
    """

    program: Program
    joint: Joint
    recorder: Callable[[], Recorder] | None
    needs: dict[int, bool]
    device: torch.device

    @property
    def graph(self) -> Graph:
        """What is scheduled."""
        return self.program.graph


def capture_step(
    model: nn.Module,
    loss: Callable[..., Any] | None,
    given: Arguments,
    options: Options,
    counters: Collection[str] = (),
) -> tuple[Traced, Captured]:
    """Trace a step and translate it.

    `counters` are whole numbers in the scope that may be others at each step, if
    no tensor depends on them.

    Raises
    ------
    BadInput
        Tensors on different devices; arguments that the model or the loss doesn't take.
    CannotCapture
        With the reason.
    """
    given = given.apart(in_memory=True)
    device = _device_of(model, loss, given.leaves)
    recorder = options.recorder(device)
    scope = given.scope(model, loss)
    try:
        with _TRACING:
            traced = _traced(scope, counters)
            joint = traced.joint()
    except CannotCapture as error:
        # Only now: decorators may let a function take more than it says.
        reason = misfit_of_example(model, loss, given)
        if reason:
            raise BadInput(reason) from error
        if strays := strays_of_example(model, given):
            raise CannotCapture(f"{strays}; {error}") from error.__cause__
        raise
    name = type(model).__name__
    if loss is None:
        _check_loss(name, joint)
    state = _state(model, loss)
    inputs = traced.values(scope)
    has_memory = all(is_real(item) for item in inputs if isinstance(item, torch.Tensor))
    meter = Meter(options.costs, device, options.workspace, can_measure=has_memory)
    labels = _Labels(traced.sources, inputs, given.leaves, state)
    there = {id(t): t for t in given.leaves if isinstance(t, torch.Tensor)}
    there |= {id(t): t for _, t in state}
    used = set(map(id, inputs))
    unused = sum(t.numel() * t.element_size() for at, t in there.items() if at not in used)
    copied = 0 if recorder is None else copies_of(joint, given.leaves)
    residents = {
        COPIES: copied,
        UNUSED: unused,
        DECLARED: parse_memory(options.resident, "resident"),
    }
    program = program_of(
        joint,
        meter,
        residents,
        name,
        labels=labels,
        pure=options.pure_names,
        given=inputs,
        all_gradients=options.gradients == "all",
    )
    needs = {at: t.requires_grad for at, t in enumerate(inputs) if isinstance(t, torch.Tensor)}
    return traced, Captured(program, joint, recorder, needs, device)


def _traced(scope: Mapping[str, Any], counters: Collection[str]) -> Traced:
    """A step in which counters may be others each time, where it can be traced so."""
    try:
        traced = trace(training_step, scope, counters)
    except CannotCapture:  # by a number that isn't known PyTorch can't look up everything
        if not counters:
            raise
    else:
        if traced.counts_apart:
            return traced
    return trace(training_step, scope)


def copies_of(joint: Joint, arguments: Sequence[Any]) -> int:
    """Bytes of what goes in and out of recordings as copies, beside the tensors of the step."""
    ends = [*joint.results, *(node for _, node in joint.gradients)]
    copied = [*(node.meta["val"] for node in ends), *arguments]
    return sum(t.numel() * t.element_size() for t in copied if isinstance(t, torch.Tensor))


def _state(model: nn.Module, loss: Callable[..., Any] | None) -> list[tuple[str, torch.Tensor]]:
    """Parameters and buffers, each once, by the names that a step has for them."""
    found: dict[int, tuple[str, torch.Tensor]] = {}
    for name, part in (("model", model), ("loss", loss)):
        if isinstance(part, nn.Module):
            for label, tensor in [*part.named_parameters(), *part.named_buffers()]:
                found.setdefault(id(tensor), (f"{name}.{label}", tensor))
    return list(found.values())


class _Labels:
    """What the inputs of a traced graph are called, by their numbers."""

    def __init__(
        self,
        sources: Sequence[str],
        inputs: Sequence[Any],
        leaves: Sequence[Any],
        state: Sequence[tuple[str, torch.Tensor]],
    ) -> None:
        names = {id(leaf): f"argument {at}" for at, leaf in enumerate(leaves)}
        names |= {id(tensor): name for name, tensor in state}
        self._found: list[str] = []
        for at, (source, value) in enumerate(zip(sources, inputs)):
            label = names.get(id(value)) if isinstance(value, torch.Tensor) else None
            label = label or in_words(source)
            self._found.append(f"{label} ({at})" if label in self._found else label)

    def __call__(self, at: int) -> str:
        return self._found[at]


def _device_of(
    model: nn.Module, loss: Callable[..., Any] | None, leaves: Sequence[Any]
) -> torch.device:
    """The one device of all tensors."""
    state = _state(model, loss)
    lazy = next((name for name, tensor in state if nn.parameter.is_lazy(tensor)), None)
    if lazy is not None:  # made while it is traced, they would leave the random state as it was
        raise BadInput(
            f"{lazy!r} isn't initialized yet; run the model once, under torch.no_grad(), before"
        )
    found = {tensor.device: "a parameter or buffer" for _, tensor in state}
    for at, leaf in enumerate(leaves):
        if isinstance(leaf, torch.Tensor):
            found.setdefault(leaf.device, f"example input {at}")
        elif type(leaf).__module__ == "numpy" and hasattr(leaf, "__array__"):
            raise BadInput(f"example input {at} is NumPy's; give torch.from_numpy(…), or a number")
        elif isinstance(leaf, (torch.utils.data.DataLoader, Iterator)):
            raise BadInput(f"example input {at} is {shown(leaf)}; give a batch: next(iter(…))")
    if len(found) > 1:
        places = " and ".join(f"{what} on {device}" for device, what in found.items())
        raise BadInput(f"a step is planned for one device, but there is {places}; move them")
    device = next(iter(found), torch.device("cpu"))
    if device.type == "meta":  # AOTAutograd leaves the derivatives of some operators out there
        raise BadInput(
            "a step on the meta device isn't captured whole; make model and batch under torch's"
            " FakeTensorMode, on the device that is meant, as 'schedule capture' does"
        )
    return device


def _check_loss(name: str, joint: Joint) -> None:
    """Refuse a step that returns no loss."""
    results = [node.meta["val"] for node in joint.results]
    if any(value.numel() == 1 and value.dtype.is_floating_point for value in results):
        return
    shapes = ", ".join(str(tuple(value.shape)) for value in results) or "no tensor"
    raise CannotCapture(
        f"{name} returns no loss (but {shapes}); pass loss=, a function of"
        f" what the model returns and the targets, which gives a single number"
    )
