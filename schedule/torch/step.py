"""One kind of training step of one model, planned: what it promises, and how it runs."""

from __future__ import annotations

import weakref
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any

import torch

from schedule.errors import BackwardRefused, OtherStep, is_out_of_memory
from schedule.memory import simulate
from schedule.result import Result
from schedule.steps import codes_of
from schedule.torch import kernels
from schedule.torch.blocks import in_use
from schedule.torch.capturing import Captured
from schedule.torch.graphs import Graphs, Replay
from schedule.torch.hosts import in_words_below, require_host
from schedule.torch.internals import has_tangents, hooks_on_saved_tensors, is_batched
from schedule.torch.joint import Alias, Constant, inner_results
from schedule.torch.plans import plan_of
from schedule.torch.running import Session


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
    differentiated
        Inputs, by place, with respect to which the step's own code differentiates.
    differentiates
        Whether it differentiates at all.
    unmeasured
        Nodes of the graph that couldn't be measured where that was asked for:
        their workspace isn't in the promise.
    link
        Where there is a host: how the link to it is known. `given`, `measured`, `modelled`
        by the constants of the costs, or empty: it is the schedule's.
    """

    def __init__(  # `is_part` as for a Session
        self, captured: Captured, result: Result, link: str = "", *, is_part: bool = False
    ) -> None:
        self.result, self.graph, self.link = result, captured.graph, link
        self._is_part = is_part
        require_host(result)
        self.program = program = captured.program
        self.unmeasured = program.unmeasured
        codes = codes_of(self.graph, result, len(result.levels))
        whole = simulate(program.whole, codes, result.levels).peak
        is_sparing = result.budget is not None and whole > result.budget
        self._plan = plan_of(program, codes, result.levels, is_sparing=is_sparing)
        self._outputs, self._needs = captured.joint.outputs, captured.needs
        self._inner = inner_results(captured.joint)
        self.differentiated = sorted(captured.joint.differentiated)
        self.differentiates = captured.joint.differentiates
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
            Something that the step changes in place lies on another input's memory,
            others need gradients, or what is saved is to be packed.
        """
        if any(given[at].requires_grad != need for at, need in self._needs.items()):
            # The guards of PyTorch 2.11 don't notice it.
            raise OtherStep("this step isn't the planned one: others need gradients; plan it anew")
        if has_tangents(given):
            raise OtherStep(
                "a planned step is differentiated backward, and this one is given derivatives of"
                " forward mode (dual tensors, jvp); use the model itself, unplanned, for that part"
            )
        if hooks_on_saved_tensors():
            raise OtherStep(
                "hooks on saved tensors are set around this step (torch.autograd.graph"
                ".saved_tensors_hooks), and a planned step saves nothing by way of them; leave them"
                " out around it: its plan says what is kept, recomputed, or copied to a host"
            )
        self.check(given)
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
            first = not self._has_run
            return Session(self._plan, given, is_first=first, is_part=self._is_part)
        return self._graphs.session(self._plan, given)

    def check(self, given: Sequence[Any]) -> None:
        """Refuse inputs that the planned step would treat otherwise than eager PyTorch.

        Raises
        ------
        OtherStep
            They lie on the memory of what the step changes, which would change them, too; or
            they have hooks that derivatives in the step's own code would run.
        """
        for tensor in (given[at] for at in self.differentiated if given[at] is not None):
            hooks = tensor._backward_hooks or tensor._post_accumulate_grad_hooks
            if hooks or tensor.retains_grad:
                raise OtherStep(
                    f"the step's own code differentiates with respect to an input of shape"
                    f" {tuple(tensor.shape)} that has hooks, or retains its gradient, which would"
                    f" count there, too, and doesn't in a planned step; take them off, or do what"
                    f" they do after the backward pass"
                )
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
        if any(map(is_batched, tangents)):
            raise BackwardRefused(
                "several gradients come in at once (is_grads_batched, vectorize=True, vmap), which"
                " take several times the memory that is planned; differentiate one by one, each"
                " after a step of its own"
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
