"""Functions whose evaluation keeps to a memory budget."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection
from typing import Any, Unpack

import jax
import numpy as np

from schedule.errors import BadInput, OtherStep
from schedule.files import AnyPath
from schedule.graph import Graph
from schedule.jax.costs import Costs, Meter, Workspace
from schedule.jax.graphs import Program, program_of
from schedule.jax.internals import is_tracer, live_bytes
from schedule.jax.running import Steps
from schedule.jax.tracing import Traced, numbered
from schedule.options import SolveKeywords, SolveOptions, options_of, spelled_out
from schedule.promises import promised, promised_before
from schedule.result import Result
from schedule.sizes import parse_memory
from schedule.solvers import Solver
from schedule.steps import codes_of

_UNPICKLED = (
    "a planned function can't be pickled; save its schedule (result.save) and plan the function"
    " again with schedule="
)


class PlannedFunction:
    """A function that runs equation by equation, as its schedule says.

    Call it with arguments as it was planned for; it returns what the function
    returns. Made by `schedule.jax.plan`.

    Attributes
    ----------
    graph
        The function as a graph: memory in bytes.
    result
        The schedule, with peak, overhead and gap.
    notes
        What the figures leave open, in words; empty: nothing.
    """

    def __init__(self, program: Program, result: Result) -> None:
        self._traced = program.traced
        self.graph = program.graph
        self.result = result
        self.notes = _notes(program)
        self._donated = program.donated
        self._steps = Steps(program, codes_of(program.graph, result))
        self.__name__ = program.traced.name

    def __repr__(self) -> str:
        return f"<planned {self.__name__}: {self.result}>"

    def __reduce_ex__(self, protocol: Any) -> Any:
        """Refuse to be pickled: JAX's equations can't be."""
        raise TypeError(_UNPICKLED)

    def __call__(self, *args: Any, **named: Any) -> Any:
        """Run it; arguments may be given by their names.

        Raises
        ------
        OtherStep
            The arguments are of other shapes or types, or stand for others, as they do
            under `jit`, `grad` and `vmap`.
        BadInput
            One is no array, or was donated already.
        """
        return self._returned(self._steps(self._leaves(args, named)))

    def measure(self, *args: Any, **named: Any) -> int:
        """Run it, and return its measured peak, in bytes.

        That is the most memory that `jax.live_arrays` reports after any equation, its
        workspace as promised; less what was alive before and isn't the function's. It
        equals `result.peak` where all arguments are different arrays and nothing is declared
        `resident`.

        Raises
        ------
        OtherStep, BadInput
            As a call.
        """
        leaves = self._leaves(args, named)
        own = sum(int(array.nbytes) for array in (*leaves, *self._steps.constants))
        others = live_bytes() - own
        peak = live_bytes() - others

        def watch(workspace: int) -> None:
            nonlocal peak
            peak = max(peak, live_bytes() - others + workspace)

        self._steps(leaves, watch)
        return peak

    def _leaves(self, args: tuple[Any, ...], named: dict[str, Any]) -> list[Any]:
        if any(map(is_tracer, jax.tree_util.tree_leaves((args, named)))):
            raise OtherStep(
                f"{self.__name__} is planned to run equation by equation, and XLA would reorder"
                " it under jit, grad or vmap: call it outside of them, or let"
                " schedule.jax.checkpoint make a function for there"
            )
        leaves = self._traced.leaves(args, named)
        counts = Counter(map(id, (*leaves, *self._steps.constants)))
        for at, (name, leaf) in enumerate(zip(self._traced.names, leaves)):
            if leaf.is_deleted():
                raise BadInput(f"{name} of {self.__name__} was donated, and is there no more")
            if at in self._donated and counts[id(leaf)] > 1:
                raise BadInput(
                    f"{name} of {self.__name__} is donated, and is the same array as another"
                    " argument, or a constant; give a copy"
                )
        return leaves

    def _returned(self, results: list[Any]) -> Any:
        made = [
            r if isinstance(r, (jax.Array, np.ndarray)) else jax.numpy.asarray(r) for r in results
        ]
        return jax.tree_util.tree_unflatten(self._traced.tree_out, made)


def _notes(program: Program) -> tuple[str, ...]:
    notes = []
    if program.guessed:
        notes.append(
            f"{program.guessed} while loops count as one round each: nobody knows how many"
            " they take; costs= can say"
        )
    return tuple(notes)


@spelled_out(SolveKeywords)
def plan(
    function: Callable[..., Any],
    *args: Any,
    budget: int | str | None = None,
    schedule: AnyPath | Result | None = None,
    solver: str | Solver = "auto",
    options: SolveOptions | None = None,
    costs: Costs = "model",
    workspace: Workspace = "auto",
    resident: int | str = 0,
    donate_argnums: int | Collection[int] = (),
    **given: Unpack[SolveKeywords],
) -> PlannedFunction:
    """Plan the evaluation of a function, equation by equation, within a memory budget.

    Parameters
    ----------
    function
        Any function of arrays that JAX can trace; `jax.value_and_grad(loss)` for a loss
        and its gradients, or a whole training step.
    args
        Its arguments as it will be called with, arrays nested in whatever JAX knows as a
        tree; `jax.ShapeDtypeStruct` will do. What is no array is bound beforehand
        (`functools.partial`).
    budget
        Bytes (`8 * 2**30`, `"8GiB"`), or a share (`"80%"`) of the peak that the function
        has equation by equation in its own order. In it: arguments, constants, results,
        all between, and `resident`. None: no limit.
    schedule
        A schedule file, or what `schedule.solve` returned for the captured graph: it is
        used, and nothing is solved. Without a budget, that of the schedule holds.
    solver, options
        As for `schedule.solve`.
    order, time_limit, work_limit, gap, seed, workers, progress, memory_share, cancel
        As for `schedule.solve`.
    costs
        Of the equations: `"model"`, by operations (of matrix products and convolutions) and
        bytes, in nanoseconds; `"flops"`, floating-point operations alone, in thousands;
        `"unit"`, 1 each; or a function of an equation (`jax.extend.core.JaxprEqn`) that
        returns a number ≥ 0.
    workspace
        What an equation takes only while it runs. `"auto"`: of loops and branches (`scan`,
        `while`, `cond`), each of which is one equation, a bound by what a round holds at
        once; of calls of the host copies of what they are given; of others nothing.
        `"measure"`: what XLA says of each kind of equation, which is compiled for it.
        `"none"`: nothing.
    resident
        Bytes in use beside it, such as an optimizer's state.
    donate_argnums
        Arguments, by number, whose memory may be taken: they are deleted after their last
        use, as those that `jax.jit` is told of.

    Returns
    -------
    PlannedFunction
        Takes the same arguments, returns the same results.

    Raises
    ------
    CannotCapture
        JAX can't trace the function, or it does what isn't planned.
    DoesNotFit
        No schedule is known for the budget; says the least that is needed.
    WrongGraph
        `schedule` belongs to another function, or to other shapes.
    BadInput
        No function, arguments that are no arrays, a budget that is none, an unknown option.

    Notes
    -----
    Every equation gives the same bits whenever it runs on the same values, so results are
    those of the unplanned evaluation, equation by equation, to the bit; `jax.jit` fuses
    equations and rounds otherwise. What has effects, or calls the host (`jax.debug.print`,
    `pure_callback`), runs once, and in order. Random numbers follow from their keys and may
    be drawn again.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, schedule.jax
    >>> def loss(weights, x):
    ...     for weight in weights:
    ...         x = jnp.tanh(x @ weight)
    ...     return (x**2).mean()
    >>> weights, x = [jnp.ones((16, 16))] * 6, jnp.ones((256, 16))
    >>> planned = schedule.jax.plan(jax.value_and_grad(loss), weights, x, budget="80%")
    >>> value, gradients = planned(weights, x)
    >>> planned.result.peak <= planned.result.budget
    True
    """
    solving = options_of(options, given, plan)
    program = _program(function, args, costs, workspace, resident, donate_argnums)
    if schedule is not None:
        return PlannedFunction(program, promised_before(program.graph, schedule, budget))
    return PlannedFunction(program, promised(program.graph, budget, solver, solving))


def capture(
    function: Callable[..., Any],
    *args: Any,
    costs: Costs = "model",
    workspace: Workspace = "auto",
    resident: int | str = 0,
    donate_argnums: int | Collection[int] = (),
) -> Graph:
    """Return the graph of a function, to be solved elsewhere or later.

    Parameters
    ----------
    function, args, costs, workspace, resident, donate_argnums
        As for `plan`, which takes a schedule of this graph if it is given the same.

    Returns
    -------
    schedule.Graph
        A node for each equation, memory in bytes.

    Raises
    ------
    CannotCapture, BadInput
        As `plan`.

    Examples
    --------
    >>> import jax, jax.numpy as jnp, schedule.jax
    >>> x = jax.ShapeDtypeStruct((256, 16), jnp.float32)
    >>> graph = schedule.jax.capture(lambda x: jnp.tanh(x).sum(), x)
    >>> [node.name for node in graph.nodes], [item.memory for item in graph.inputs]
    (['tanh_0', 'reduce_sum_0'], [16384])
    """
    return _program(function, args, costs, workspace, resident, donate_argnums).graph


def _program(
    function: Callable[..., Any],
    args: tuple[Any, ...],
    costs: Costs,
    workspace: Workspace,
    resident: int | str,
    donate_argnums: int | Collection[int],
) -> Program:
    numbers = numbered(donate_argnums, len(args), "donate_argnums")

    def donated(traced: Traced) -> list[int]:
        starts = tuple(f"argument {number}" for number in numbers)
        return [
            at for at, name in enumerate(traced.names) if name.split("[")[0].split(".")[0] in starts
        ]

    return program_of(
        function,
        args,
        Meter(costs, workspace),
        resident=parse_memory(resident, "resident"),
        donated=donated,
    )
