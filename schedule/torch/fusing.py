"""The graph of kernels that Inductor makes of a captured step: by rules, before it is asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from torch import fx

from schedule.fusion import Fusion, fuse
from schedule.graph import Graph, Node
from schedule.torch.costs import Meter
from schedule.torch.joint import Joint
from schedule.torch.program import Program
from schedule.torch.rules import Rules


def fusion_of(program: Program, joint: Joint, meter: Meter) -> Fusion:
    """The kernels of a step under Inductor.

    Views and what goes element by element are computed inside readers that go
    element by element, or reduce; matrix products, convolutions, attention and
    reductions are written. On a CPU so are exponentials and the like that
    several kernels read, as Inductor has it. A kernel costs its arithmetic, and
    the bytes of what it reads and writes.

    Parameters
    ----------
    program
        The step as operators.
    joint
        Where it comes from.
    meter
        Gives the costs.

    Notes
    -----
    O(nodes + members of all kernels). What Inductor does besides (fusing across,
    reusing buffers, orders of its own) isn't in it: `schedule.torch.rehearsal`
    finds that out.
    """
    by_name = {node.name: node for node in joint.graph.nodes if node.op == "call_function"}
    rules = Rules(meter.device)
    readers = _counts(program.graph)
    fusible, into = set(), set()
    for node in program.graph.nodes:
        if all(out.view_of for out in node.outputs) and node.compute == 0:
            fusible.add(node.name)
        if node.name not in by_name:
            continue
        kind = by_name[node.name]
        if _is_view(node) or rules.goes_by_element(kind):
            into.add(node.name)
            n_readers = max(readers[out.name] for out in node.outputs)
            if not (rules.is_heavy(kind) and n_readers > 1):
                fusible.add(node.name)
        elif rules.takes_in(kind):
            into.add(node.name)
    found = fuse(program.graph, fusible, into=into, max_reads=rules.reads, max_nodes=rules.nodes)
    return replace(found, graph=_priced(found, program.graph, by_name, meter))


def shared_in(fusion: Fusion, joint: Joint, rules: Rules) -> frozenset[str]:
    """What is computed inside its readers however many there are: it is little.

    Of the rest Inductor writes what has several readers.
    """
    by_name = {node.name: node for node in joint.graph.nodes}
    fused = fusion.fused
    made_by = {out.name: node.name for node in fusion.nodes.nodes for out in node.outputs}
    reads: dict[str, frozenset[str]] = {}
    for node in fusion.nodes.nodes:
        if node.name not in fused or (node.name in by_name and rules.is_heavy(by_name[node.name])):
            continue
        makers = [(tensor, made_by.get(tensor)) for tensor in node.inputs]
        if all(maker not in fused or maker in reads for _, maker in makers):
            found = (reads[m] if m in fused else {t} for t, m in makers)
            leaves = frozenset[str]().union(*found)
            if len(leaves) <= rules.reads_again:
                reads[node.name] = leaves
    return frozenset(reads)


def _is_view(node: Node) -> bool:
    return all(out.view_of for out in node.outputs)


def _counts(graph: Graph) -> dict[str, int]:
    """How many nodes read each tensor."""
    found = dict.fromkeys(graph.tensors, 0)
    for node in graph.nodes:
        for name in set(node.inputs):
            found[name] += 1
    return found


def _priced(fusion: Fusion, graph: Graph, by_name: Mapping[str, fx.Node], meter: Meter) -> Graph:
    """The graph of kernels, each with what a run of it costs."""
    layout = graph.layout
    size = [int(layout.memory[layout.storage[t]]) for t in range(layout.n_tensors)]
    nodes = []
    for kernel in fusion.graph.nodes:
        members = [by_name[name] for name in fusion.members[kernel.name] if name in by_name]
        if _is_view(kernel) or not members:
            nodes.append(kernel)
            continue
        names = {*kernel.inputs, *(out.name for out in kernel.outputs)}
        storages = {int(layout.storage[layout.tensor_id[name]]) for name in names}
        moved = sum(size[storage] for storage in storages)
        nodes.append(replace(kernel, compute=meter.kernel(members, moved)))
    return Graph(nodes, fusion.graph.inputs, fusion.graph.outputs, graph.name)


def kept_at(graph: Graph, codes: Any, boundary: str) -> set[str]:
    """Names of the tensors that are live after the boundary: of each storage its owner, if it is.

    Views are recomputed from the owner, which costs nothing. Where only views
    hold a storage, all of them are kept.
    """
    layout = graph.layout
    live = set(range(layout.n_inputs))
    for code in codes.tolist():
        if code < 0:
            live.discard(~code)
        elif code == layout.node_id[boundary]:
            break
        else:
            live.update(layout.outputs_of[code])
    return {
        layout.tensor_names[t]
        for t in live
        if layout.storage[t] == t or int(layout.storage[t]) not in live
    }
