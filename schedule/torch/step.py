"""One kind of training step of one model, planned: what it promises, and how it runs."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from schedule.errors import (
    BackwardRefused,
    BadInput,
    CannotCapture,
    OtherStep,
    is_out_of_memory,
)
from schedule.graph import Graph
from schedule.memory import simulate
from schedule.result import Result
from schedule.sizes import parse_memory
from schedule.steps import codes_of
from schedule.torch import kernels
from schedule.torch.arguments import Arguments, misfit_of_example, strays_of_example
from schedule.torch.blocks import in_use
from schedule.torch.costs import Meter
from schedule.torch.graphs import Graphs, Recorder, Replay
from schedule.torch.hosts import in_words_below, require_host
from schedule.torch.internals import Traced, has_tangents, trace
from schedule.torch.joint import Alias, Constant, Joint, inner_results
from schedule.torch.options import Options
from schedule.torch.plans import plan_of
from schedule.torch.program import Program
from schedule.torch.running import Session
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
            traced = trace(training_step, scope, counters)
            if not traced.counts_apart:
                traced = trace(training_step, scope)
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
    found = {tensor.device: "a parameter or buffer" for _, tensor in _state(model, loss)}
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


class PlannedStep:
    """A captured step with a schedule.

    Attributes
    ----------
    result
        The schedule and its figures: peak, overhead, bound and gap.
    graph
        What is scheduled, in bytes and nanoseconds.
    program
        The same with what its nodes run, and where they come from.
    differentiable
        Whether each result is.
    unmeasured
        Nodes of the graph that couldn't be measured where that was asked for:
        their workspace isn't in the promise.
    link
        Where there is a host: how the link to it is known. `given`, `measured`, `modelled`
        by the constants of the costs, or empty: it is the schedule's.
    """

    def __init__(self, captured: Captured, result: Result, link: str = "") -> None:
        self.result, self.graph, self.link = result, captured.graph, link
        require_host(result)
        self.program = program = captured.program
        self.unmeasured = program.unmeasured
        codes = codes_of(self.graph, result, len(result.levels))
        whole = simulate(program.whole, codes, result.levels).peak
        is_sparing = result.budget is not None and whole > result.budget
        self._plan = plan_of(program, codes, result.levels, is_sparing=is_sparing)
        self._outputs, self._needs = captured.joint.outputs, captured.needs
        self._inner = inner_results(captured.joint)
        self._has_run = False
        self._graphs = None if captured.recorder is None else Graphs(captured.recorder)
        self.differentiable = [tangent is not None for tangent in program.tangents]
        incoming = [tangent.like.numel() for tangent in program.tangents if tangent]
        self._run = _RunOfLarge if max(incoming, default=1) > 1 else _Run

    @property
    def fallback(self) -> str:
        """Why it runs operator by operator though CUDA graphs were asked for; empty: it doesn't."""
        return "" if self._graphs is None else self._graphs.reason

    def __str__(self) -> str:
        """What is promised, in a line."""
        return "; ".join([str(self.result), *in_words_below(self.result, self.link)])

    def run(self, *given: Any) -> tuple[Any, ...]:
        """One forward pass; the backward pass follows when it is asked for.

        Parameters
        ----------
        given
            What the traced graph is given, place by place.

        Returns
        -------
        tuple
            What it returns.

        Raises
        ------
        OtherStep
            Something that the step changes in place lies on another input's memory, or
            others need gradients.
        """
        if any(given[at].requires_grad != need for at, need in self._needs.items()):
            # The guards of PyTorch 2.11 don't notice it.
            raise OtherStep("this step isn't the planned one: others need gradients; plan it anew")
        if has_tangents(given):
            raise OtherStep(
                "a planned step is differentiated backward, and this one is given derivatives of"
                " forward mode (dual tensors, jvp); use the model itself, unplanned, for that part"
            )
        self.check_apart(given)
        with _plainly(given), self.saying():
            session = self._session(given)
        inner: list[weakref.ref[torch.Tensor]] = []
        apply: Any = self._run.apply
        found = apply(session, self, inner, *given)
        outputs = tuple(self._output(item, found, given) for item in self._outputs)
        for item, output in zip(self._outputs, outputs):
            at = item.of if isinstance(item, Alias) and item.is_result else item
            if at in self._inner:
                inner.append(weakref.ref(output))
        return outputs

    def _session(self, given: Sequence[Any]) -> Session | Replay:
        if self._graphs is None or not self._has_run:
            return Session(self._plan, given, is_first=not self._has_run)
        return self._graphs.session(self._plan, given)

    def check_apart(self, given: Sequence[Any]) -> None:
        """Refuse inputs on the memory of what the step changes: it would change them, too.

        Raises
        ------
        OtherStep
            There are such.
        """
        if not self._plan.changed:
            return
        tensors = [item for item in given if isinstance(item, torch.Tensor) and item.numel()]
        places = [tensor.untyped_storage().data_ptr() for tensor in tensors]
        if len(set(places)) == len(places):
            return
        for tensor in (given[at] for at in self._plan.changed):
            if isinstance(tensor, torch.Tensor) and sum(_overlap(tensor, t) for t in tensors) > 1:
                raise OtherStep(
                    f"an input of shape {tuple(tensor.shape)} that the step changes in place shares"
                    f" its memory with another input, which the planned step doesn't know; give it"
                    f" a copy"
                )

    def ended(self, session: Session | Replay) -> None:
        """Note what the first backward pass, and the forward pass before it, found out."""
        if not self._has_run:
            self._plan, self._has_run = self._plan.tightened(session.loose), True
            if self._graphs is not None:
                self._graphs.noted = session.draws

    @contextmanager
    def saying(self) -> Iterator[None]:
        """Where memory runs out, say what was promised, and what there is."""
        try:
            yield
        except RuntimeError as error:
            if is_out_of_memory(error):
                error.add_note(f"the step was planned for {self.result.peak:,} bytes{in_use()}")
            raise

    def _output(
        self, item: int | Alias | Constant, results: Sequence[torch.Tensor], given: Sequence[Any]
    ) -> Any:
        if isinstance(item, int):
            return results[item]
        if isinstance(item, Alias):
            return item.seen(results[item.of] if item.is_result else given[item.of])
        return item.value if item.given is None else given[item.given]


def _overlap(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether the addresses that two tensors span have some in common."""
    (start, end), (first, last) = _span(one), _span(other)
    return start < last and first < end


def _span(tensor: torch.Tensor) -> tuple[int, int]:
    return tensor.data_ptr(), tensor.data_ptr() + kernels.extent(tensor)


class _Run(torch.autograd.Function):
    """A session as one operation of automatic differentiation."""

    @staticmethod
    def forward(
        ctx: Any,
        session: Session | Replay,
        step: PlannedStep,
        inner: Sequence[weakref.ref[torch.Tensor]],
        *given: torch.Tensor,
    ) -> Any:
        """Run to the boundary; `inner` will be what goes out, and is read inside, too."""
        ctx.set_materialize_grads(False)
        ctx.session, ctx.step, ctx.inner, ctx.given = session, step, inner, given
        with _plainly(given), step.saying():
            found = session.forward()
        ctx.mark_non_differentiable(*(t for t, yes in zip(found, step.differentiable) if not yes))
        return tuple(found)

    @staticmethod
    def backward(ctx: Any, *given: Any) -> Any:
        """Run from the boundary to the gradients."""
        tangents = given[0] if given and isinstance(given[0], list) else list(given)
        if torch.is_grad_enabled():
            raise BackwardRefused(
                "a planned step is differentiated once, but this backward pass is to be"
                " differentiated again (create_graph=True: a gradient penalty, a Hessian-vector"
                " product); use the model itself, unplanned, for the part that needs it"
            )
        for output in (ref() for ref in ctx.inner):
            if output is not None and _is_looked_at(output):
                raise BackwardRefused(
                    f"a hook, or retain_grad, on a result of shape {tuple(output.shape)} of which"
                    f" the step makes another result: only a part of its gradient goes through it;"
                    f" have forward return what the loss is made of, and compute that outside"
                )
        with _plainly(ctx.given), ctx.step.saying():
            found = ctx.session.backward(tangents)
        ctx.step.ended(ctx.session)
        ctx.given = ()  # who holds a loss doesn't hold its batch
        return (None, None, None, *found)


class _RunOfLarge(_Run):
    """The same where gradients come in that are more than numbers.

    They come in a list, and are let go when they are taken out of it: as arguments PyTorch
    holds them until the backward pass ends, as one that doesn't know this attribute does.
    Compiled autograd refuses it.
    """

    boxed_grads_call = True


def _is_looked_at(output: Any) -> bool:
    """Whether somebody wants to see, or to change, the gradient of what a step returned.

    FSDP only wants to know when there is one.
    """
    hooks = (getattr(hook, "func", hook) for hook in (output._backward_hooks or {}).values())
    modules = [getattr(hook, "__module__", None) or "" for hook in hooks]
    return output.retains_grad or not all(name.startswith("torch.") for name in modules)


@contextmanager
def _plainly(tensors: Sequence[torch.Tensor]) -> Iterator[None]:
    """Neither differentiate nor cast: the captured operations have done both."""
    kinds = {tensor.device.type for tensor in tensors if isinstance(tensor, torch.Tensor)}
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        for kind in sorted(kinds):
            stack.enter_context(torch.autocast(kind, enabled=False))
        yield
