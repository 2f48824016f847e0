"""Functions that `jax.checkpoint` cuts, saves and recomputes so that their gradient fits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Unpack

import jax

from schedule.errors import BadOption, DoesNotFit
from schedule.graph import Graph
from schedule.jax.choosing import Choices
from schedule.jax.costs import Costs, Meter
from schedule.jax.graphs import Program, program_of
from schedule.jax.segments import Choice, Forward, Policy, Segmented
from schedule.jax.tracing import Traced, numbered, trace
from schedule.lowering import in_order
from schedule.memory import Trace, overhead_of
from schedule.options import SolveKeywords, SolveOptions, options_of, spelled_out
from schedule.planner import solve
from schedule.result import Result, Status
from schedule.sizes import format_memories, format_memory, format_share, parse_budget
from schedule.solvers import Solver
from schedule.values import shown

#: How often less is aimed at than was asked, where what runs takes more than was simulated.
_TRIES = 6


@dataclass(frozen=True, eq=False, repr=False)
class CheckpointedFunction:
    """A function to be differentiated, in parts that `jax.checkpoint` wraps.

    It takes what the function takes, and returns what it returns; `jax.grad`, `jax.jit` and
    others apply to it. Made by `schedule.jax.checkpoint`.

    Attributes
    ----------
    policies
        What each part that is wrapped tells `jax.checkpoint` to save: `names` that are given
        in it, and what `primitives` write, those whose derivatives read their own results. Of
        parts that aren't wrapped all is saved.
    budget
        In bytes; None: no limit.
    peak, compute, overhead
        Of the gradient as it will run, equation by equation, in the order of its jaxpr.
    exact
        The best schedule that is known of the same graph within the same budget, in whatever
        order: what is lost by `jax.checkpoint` is the difference.
    graph
        That graph: the function's value and gradient.
    running
        What will run, as a graph: the gradient of this function, with what is recomputed.
    """

    policies: tuple[Policy, ...]
    budget: int | None
    peak: int
    compute: int | float
    overhead: float
    exact: Result
    graph: Graph
    running: Graph
    _traced: Traced
    _segmented: Segmented

    @property
    def names(self) -> tuple[str, ...]:
        """Of the values that are saved by name (`jax.ad_checkpoint.checkpoint_name`)."""
        return tuple(sorted(name for policy in self.policies for name in policy.names))

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse to be pickled: JAX's equations can't be."""
        raise TypeError("a checkpointed function can't be pickled; make it anew from the function")

    def __call__(self, *args: Any, **named: Any) -> Any:
        """The function's own results; arguments may be given by their names.

        Raises
        ------
        OtherStep
            The arguments are of other shapes or types than it was planned for.
        """
        found = self._segmented(self._traced.leaves(args, named))
        return jax.tree_util.tree_unflatten(self._traced.tree_out, found)

    def __repr__(self) -> str:
        return f"<checkpointed {self._traced.name}: {self}>"

    def __str__(self) -> str:
        """What will run beside the exact schedule, in a line."""
        own = f"{len(self.names)} names saved, {len(self.policies)} segments: "
        if self.exact.peak is None:
            return f"{own}{_figures(format_memory(self.peak), self.overhead)}; no exact schedule"
        peak, exact = format_memories(self.peak, self.exact.peak)
        return (
            f"{own}{_figures(peak, self.overhead)}; the exact schedule:"
            f" {_figures(exact, self.exact.overhead)}"
        )


def _figures(peak: str, overhead: float | None) -> str:
    return f"peak {peak}, {format_share(overhead)} compute"


@spelled_out(SolveKeywords)
def checkpoint(
    function: Callable[..., Any],
    *args: Any,
    budget: int | str | None = None,
    argnums: int | Sequence[int] = 0,
    has_aux: bool = False,
    solver: str | Solver = "auto",
    options: SolveOptions | None = None,
    costs: Costs = "model",
    **given: Unpack[SolveKeywords],
) -> CheckpointedFunction:
    """Return a function whose gradient fits a memory budget, by `jax.checkpoint` and names.

    Parameters
    ----------
    function
        A loss: it returns a single number, or with `has_aux` a pair of it and something else.
    args
        Its arguments, as for `plan`.
    budget
        For the evaluation of its value and gradient, as for `plan`.
    argnums, has_aux
        As for `jax.value_and_grad`.
    solver, options
        As for `schedule.solve`.
    order, time_limit, work_limit, gap, seed, workers, progress, memory_share, cancel
        As for `schedule.solve`, for the exact schedule beside it.
    costs
        As for `plan`.

    Returns
    -------
    CheckpointedFunction
        To be differentiated: `jax.value_and_grad(found)`.

    Raises
    ------
    DoesNotFit
        No schedule is known for the budget, or none of those that `jax.checkpoint` can do.
    CannotCapture, BadInput
        As `plan`; the function returns no single number.

    Notes
    -----
    The function is cut into segments, and some are wrapped by `jax.checkpoint`: what crosses a
    cut, and some values between, are saved, by names (`checkpoint_name`) or, where a derivative
    reads its own result, by their primitive; the rest of the segment is computed again before
    its backward pass. Which, is searched: cuts where least
    crosses, into more and more segments, and for each what can be saved besides within the
    budget; each choice is simulated on the graph, and the one taken is traced and counted. What
    runs once, is never in a wrapped segment.

    What is lost against an exact schedule: everything runs at most twice, a segment is
    recomputed at once, what is saved stays until its last read, and what differentiation
    itself computes in the forward pass has no name.

    Peak and compute are those of the gradient's jaxpr, equation by equation. Under `jax.jit`
    XLA orders, fuses and merges as it likes: measure it
    (`jax.jit(f).lower(…).compile().memory_analysis()`).

    Examples
    --------
    >>> import jax, jax.numpy as jnp, schedule.jax
    >>> def loss(weights, x):
    ...     for weight in weights:
    ...         x = jnp.tanh(x @ weight)
    ...     return (x**2).mean()
    >>> weights, x = [jnp.ones((16, 16))] * 6, jnp.ones((256, 16))
    >>> saving = schedule.jax.checkpoint(loss, weights, x, budget="80%")
    >>> value, gradients = jax.value_and_grad(saving)(weights, x)
    >>> saving.peak <= saving.budget
    True
    """
    solving = options_of(options, given, checkpoint)
    if not isinstance(has_aux, bool):
        raise BadOption(f"has_aux is {shown(has_aux)}; it is True or False")
    if not numbered(argnums, len(args), "argnums"):
        raise BadOption("argnums is empty; it numbers the arguments that have a gradient")
    search = _Search(function, args, argnums, has_aux, costs)
    limit = None if budget is None else parse_budget(budget, search.program.graph)
    exact = solve(search.program.graph, limit, solver, options=solving)
    if exact.status is Status.INFEASIBLE and exact.shortfall is not None:
        raise DoesNotFit(f"{exact.graph_name}: {exact.shortfall.reason}")
    return search.within(limit, exact)


class _Search:
    """Choices for less and less, until what `jax.checkpoint` makes of one fits."""

    def __init__(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        argnums: int | Sequence[int],
        has_aux: bool,
        costs: Costs,
    ) -> None:
        self._args, self._how, self._costs = args, (argnums, has_aux), costs
        self._traced = trace(function, args)
        self._forward = Forward(self._traced)
        self.program = self._gradient(self._forward.named)
        self._choices = Choices(self._forward, self.program)

    def _gradient(self, flat: Callable[[Sequence[Any]], list[Any]]) -> Program:
        """The value and gradient of the function in another form, as it will run."""
        traced = self._traced

        def call(*args: Any) -> Any:
            found = flat(jax.tree_util.tree_leaves(args))
            return jax.tree_util.tree_unflatten(traced.tree_out, found)

        call.__name__ = traced.name
        differentiated = jax.value_and_grad(call, *self._how)
        return program_of(differentiated, self._args, Meter(self._costs, "auto"), merges=False)

    def within(self, limit: int | None, exact: Result) -> CheckpointedFunction:
        """The choice of least compute that really keeps to the limit."""
        target = limit
        least = None
        for _ in range(_TRIES):
            trace_, choice = self._best(target)
            found = self._made(choice, exact)
            least = found.peak if least is None else min(least, found.peak)
            if limit is None or target is None or found.peak <= limit:
                return found
            if trace_.peak > target:
                break
            target -= found.peak - limit
        raise DoesNotFit(
            f"{exact.graph_name}: no policy is known that fits {format_memory(limit or 0)}: the"
            f" least peak of those tried is {format_memory(least or 0)}{_instead(exact)}"
        )

    def _best(self, limit: int | None) -> tuple[Trace, Choice]:
        def rank(found: tuple[Trace, Choice]) -> tuple[int, int | float, int]:
            trace_, _ = found
            over = 0 if limit is None else max(trace_.peak - limit, 0)
            return over, trace_.compute, trace_.peak

        return min(self._choices.search(limit), key=rank)

    def _made(self, choice: Choice, exact: Result) -> CheckpointedFunction:
        graph = self.program.graph
        segmented = Segmented(self._forward, choice, self._choices.self_reading)
        running = self._gradient(segmented).graph
        trace_ = in_order(running)
        return CheckpointedFunction(
            policies=segmented.policies,
            budget=exact.budget,
            peak=trace_.peak,
            compute=trace_.compute,
            overhead=overhead_of(graph, trace_.compute),
            exact=exact,
            graph=graph,
            running=running,
            _traced=self._traced,
            _segmented=segmented,
        )


def _instead(exact: Result) -> str:
    """What else there is where no policy fits."""
    if exact.peak is None:
        return ""
    return f"; schedule.jax.plan does it in {format_memory(exact.peak)}, outside of jit"
