"""What a training step can't copy to the host: its inputs, which aren't its own.

Parameters, buffers and the batch are in others' hands, who would find them gone; random
states are noted when they are first needed. So a solver with a host is given a twin of
the graph, with the same nodes and tensors, in which their memory is that of one input
that can't leave the device: a view of it that can't be made again is an output. All that
computes reads it, so that bounds count it everywhere.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from schedule.errors import BadInput
from schedule.graph import Graph, Input, Node, Tensor
from schedule.levels import Level
from schedule.makespan import makespan_bound
from schedule.options import SolveOptions
from schedule.planner import solve
from schedule.promises import restated
from schedule.result import Result, Status
from schedule.sizes import parse_budget
from schedule.solvers import Solver
from schedule.steps import TRANSFER_WORDS, Compute, Schedule, codes_of, transfer_of
from schedule.verification import verify

#: The input of a twin that has all the memory, and its view.
STAYS, HELD = "(what stays on the device)", "(it is held there)"


def solve_staying(
    graph: Graph, budget: int | str | None, solver: str | Solver, level: Level, asked: SolveOptions
) -> Result:
    """A schedule of a captured step on a device with a host, which copies none of its inputs.

    The bound is that of such schedules.
    """
    limit = None if budget is None else parse_budget(budget, graph)
    states = sum(item.memory for item in graph.inputs if item.freeable)
    found = solve(_twin(graph, states), limit, solver, options=asked, levels=level)
    found = replace(found, digest=graph.digest)
    if found.schedule is None:
        return found
    steps = [step for step in found.schedule if step != Compute(HELD)]
    made = replaying(graph, replace(found, schedule=Schedule.of(graph, steps)), limit)
    if not states or limit is None:
        return made
    # Random states may be freed, which the twin knows nothing of: without them it takes no
    # more than the graph, so that this bound holds, and theirs may not.
    bound = makespan_bound(_twin(graph, 0), limit, [level]).makespan
    is_best = made.makespan is not None and made.makespan <= bound
    return replace(made, lower_bound=bound, status=Status.OPTIMAL if is_best else Status.FEASIBLE)


def replaying(graph: Graph, result: Result, limit: int | None) -> Result:
    """A result with the figures of its schedule as this graph has them.

    Raises
    ------
    WrongGraph, InvalidSchedule
        It isn't one, or not within that budget.
    BadInput
        It copies what a training step can't copy.
    """
    trace = verify(graph, result, limit)
    _require_movable(graph, result)
    return restated(graph, result, limit, trace)


def _require_movable(graph: Graph, result: Result) -> None:
    """Refuse copies of inputs, and those to a level below the host."""
    layout = graph.layout
    codes = codes_of(graph, result, len(result.levels))
    for at in np.flatnonzero(codes < -layout.n_tensors).tolist():
        tensor, level, kind = transfer_of(layout, int(codes[at]))
        said = f"step {at} ({TRANSFER_WORDS[kind]} {layout.tensor_names[tensor]!r})"
        if level > 1:
            raise BadInput(
                f"{said} is for level {level}; a training step copies to the host alone, the first"
                f" level below the device: solve with one"
            )
        if tensor < layout.n_inputs:
            raise BadInput(
                f"{said} copies an input of the training step, which isn't its own: the caller's"
                f" tensors stay where they are; schedule.torch.plan(…, host=…) finds schedules that"
                f" leave them there"
            )


def _twin(graph: Graph, states: int) -> Graph:
    """The same with inputs that stay, and so many bytes for random states."""
    stay = sum(item.memory for item in graph.inputs if not item.freeable) + states
    inputs = [replace(item, memory=0) for item in graph.inputs]
    anchor = Node(HELD, (STAYS,), (Tensor(HELD, 0, STAYS),), 0, recomputable=False)
    nodes = [
        node
        if all(out.view_of for out in node.outputs)
        else replace(node, inputs=(*node.inputs, STAYS))
        for node in graph.nodes
    ]
    return Graph(
        [anchor, *nodes], [*inputs, Input(STAYS, stay)], [*graph.outputs, HELD], graph.name
    )
