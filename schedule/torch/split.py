"""What a schedule keeps from the forward to the backward pass: all of it that Inductor leaves."""

from __future__ import annotations

import torch

from schedule.layout import Ints
from schedule.sizes import parse_memory
from schedule.steps import codes_of
from schedule.torch.costs import Meter
from schedule.torch.inductor import Split
from schedule.torch.joint import Joint, name_of
from schedule.torch.options import Options
from schedule.torch.program import BOUNDARY, Program
from schedule.torch.step import DECLARED
from schedule.torch.translation import program_of
from schedule.torch.watching import Planning


def split_of(joint: Joint, wanted: Options, device: torch.device) -> Split:
    """Plan a joint graph, and take from the plan what is live between the two passes.

    The plan's peak is an estimate of what Inductor's code will take: it fuses
    operators and has an order of its own.

    Raises
    ------
    CannotCapture
        An operation can't be planned.
    DoesNotFit
        No schedule is known for the budget.
    """
    meter = Meter(wanted.unmeasured().costs, device, "none")
    residents = {DECLARED: parse_memory(wanted.resident, "resident")}
    program = program_of(joint, meter, residents, "compiled", pure=wanted.pure_names, redraws=False)
    graph = program.graph
    with Planning("a compiled graph", wanted) as planning:
        result = planning.solving(graph, wanted).solved(graph, device)
    kept = _kept(program, codes_of(graph, result))
    once = {node.name for node in graph.nodes if not node.recomputable}
    made = [node for node in joint.graph.nodes if node.op == "call_function"]
    return Split(
        saved=frozenset(node.name for node in made if name_of(node) in kept),
        once=frozenset(node.name for node in made if node.name in once),
    )


def _kept(program: Program, codes: Ints) -> set[str]:
    """Names of the tensors that are live after the boundary: of each storage its owner, if it is.

    Views are recomputed from the owner, which costs nothing. Where only views
    hold a storage, all of them are kept.
    """
    layout = program.graph.layout
    live = set(range(layout.n_inputs))
    for code in codes.tolist():
        if code < 0:
            live.discard(~code)
        elif code == layout.node_id[BOUNDARY]:
            break
        else:
            live.update(layout.outputs_of[code])
    return {
        layout.tensor_names[t]
        for t in live
        if layout.storage[t] == t or int(layout.storage[t]) not in live
    }
