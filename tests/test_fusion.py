"""Fusion: which nodes are written, what each kernel is made of, and what its schedules come to."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schedule
from schedule.errors import BadGraph, BadOption
from schedule.fusion import fuse
from schedule.lowering import free_early, in_order
from schedule.values import total
from tests.oracles import walk
from tests.strategies import graphs, runs

BROAD = graphs(max_nodes=9)


@st.composite
def cases(draw):
    """A graph, with nodes that can be computed in readers and readers that can compute."""
    graph = draw(BROAD)
    names = [node.name for node in graph.nodes]
    pick = st.lists(st.sampled_from(names), unique=True) if names else st.just([])
    fusible = draw(st.one_of(st.just(names), pick))
    into = draw(st.one_of(st.none(), pick))
    return graph, fusible, into


def written_nodes(graph, fusible, into):
    """Of the definition: the least set of written nodes, grown until nothing changes."""
    able = set(fusible) | set(into or ())
    wanted = set(graph.outputs)
    written = set()
    while True:
        before = set(written)
        for node in graph.nodes:
            made = {out.name for out in node.outputs}
            readers = [other for other in graph.nodes if made & set(other.inputs)]
            kept_by = [
                other
                for other in readers
                if other.name in written and any(out.view_of in made for out in other.outputs)
            ]
            if (
                node.name not in fusible
                or not node.recomputable
                or made & wanted
                or not readers
                or kept_by
                or any(other.name not in able for other in readers)
            ):
                written.add(node.name)
        if written == before:
            return written


def reached(graph, written, name):
    """Nodes that a kernel runs, and tensors that it reads, by walking back from its node."""
    by_name = {node.name: node for node in graph.nodes}
    maker = {out.name: node.name for node in graph.nodes for out in node.outputs}
    found, reads, todo = {name}, set(), [name]
    while todo:
        for tensor in by_name[todo.pop()].inputs:
            other = maker.get(tensor)
            if other is None or other in written:
                reads.add(tensor)
            elif other not in found:
                found.add(other)
                todo.append(other)
    return found, reads


@given(cases())
def test_kernels_are_those_of_the_definition(case):
    """Members, reads, compute and workspace, by another walk over the same graph."""
    graph, fusible, into = case
    fusion = fuse(graph, fusible, into=into)
    written = written_nodes(graph, fusible, into)
    assert set(fusion.members) == written == {node.name for node in fusion.graph.nodes}
    assert fusion.fused == {node.name for node in graph.nodes} - written
    by_name = {node.name: node for node in graph.nodes}
    for kernel in fusion.graph.nodes:
        members, reads = reached(graph, written, kernel.name)
        assert set(fusion.members[kernel.name]) == members
        assert fusion.members[kernel.name][-1] == kernel.name
        assert set(kernel.inputs) == reads
        assert kernel.outputs == by_name[kernel.name].outputs
        inside = [by_name[name] for name in fusion.members[kernel.name]]
        assert kernel.compute == total(node.compute for node in inside)
        assert kernel.workspace == sum(node.workspace for node in inside)


@given(cases())
def test_the_peak_is_that_of_the_program_in_which_fused_values_take_no_memory(case):
    """Counted storage by storage over the given graph, each until the last kernel that needs it."""
    graph, fusible, into = case
    written = written_nodes(graph, fusible, into)
    kernels = [node for node in graph.nodes if node.name in written]
    reads = [reached(graph, written, node.name) for node in kernels]
    tensors = graph.tensors
    root = {name: name for name in tensors}
    for node in graph.nodes:
        for out in node.outputs:
            root[out.name] = root[out.view_of] if out.view_of else out.name
    resident = {item.name for item in graph.inputs if not item.freeable} | set(graph.outputs)
    until = {}
    for at, (_, read) in enumerate(reads):
        until.update(dict.fromkeys(read, at))
    peak = sum(item.memory for item in graph.inputs)
    live = {item.name for item in graph.inputs if item.name in until or item.name in resident}
    by_name = {node.name: node for node in graph.nodes}
    for at, node in enumerate(kernels):
        space = sum(by_name[name].workspace for name in reads[at][0])
        held = {root[name] for name in live}
        during = sum(tensors[name].memory for name in held) + space
        peak = max(peak, during + sum(out.memory for out in node.outputs))
        live |= {out.name for out in node.outputs}
        live = {name for name in live if until.get(name, -1) > at or name in resident}
    assert in_order(fuse(graph, fusible, into=into).graph).peak == peak


@given(st.data())
def test_a_schedule_of_kernels_is_one_of_the_nodes_with_the_same_compute(data):
    """By the oracle's rules, for any runs of kernels; outputs are there at the end."""
    graph, fusible, into = data.draw(cases())
    fusion = fuse(graph, fusible, into=into)
    codes = free_early(fusion.graph, data.draw(runs(fusion.graph)))
    plan = fusion.expand(codes)
    _, live = walk(graph, plan)
    assert set(graph.outputs) <= live
    spent = schedule.simulate(graph, plan).compute
    assert spent == pytest.approx(schedule.simulate(fusion.graph, codes).compute)


@given(cases(), st.integers(1, 3), st.integers(1, 3))
def test_limits_hold_and_nothing_more_is_written_than_they_ask_for(case, most, many):
    """Where a node is fused, what its place takes is within limits, unless it writes a view."""
    graph, fusible, into = case
    fusion = fuse(graph, fusible, into=into, max_reads=most, max_nodes=many)
    written = set(fusion.members)
    free = written_nodes(graph, fusible, into)
    assert free <= written
    for node in graph.nodes:
        if node.name in free or any(out.view_of for out in node.outputs):
            continue
        members, reads = reached(graph, written - {node.name}, node.name)
        assert (node.name in fusion.fused) == (len(reads) <= most and len(members) <= many)


def test_fusing_a_chain_saves_what_elementwise_values_take():
    """Of a product, a bias and a bend, the product is written, and the last."""
    g = schedule.GraphBuilder()
    x = g.input("x", memory=8)
    for at in range(3):
        x = g.node(f"product{at}", x, memory=8, compute=50)
        x = g.node(f"bias{at}", x, memory=8, compute=1)
        x = g.node(f"bend{at}", x, memory=8, compute=1)
    graph = g.build()
    fusion = fuse(graph, [n.name for n in graph.nodes if not n.name.startswith("product")])
    assert [*fusion.members] == [f"{kind}{at}" for at in range(3) for kind in ("product", "bend")]
    assert fusion.graph.compute == graph.compute


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"graph": "x"}, BadGraph, "is no graph"),
        ({"fusible": "v1"}, BadOption, "fusible is 'v1'; give a list"),
        ({"fusible": ["nobody"]}, BadOption, "fusible has 'nobody', which is no node"),
        ({"into": [3]}, BadOption, "into has 3, which is no node"),
        ({"max_reads": 0}, BadOption, "max_reads is 0; it is an integer"),
        ({"max_nodes": True}, BadOption, "max_nodes is True; it is an integer"),
    ],
)
def test_what_is_wrong_is_named(given, error, said):
    with pytest.raises(error, match=said):
        fuse(**{"graph": schedule.example("chain"), "fusible": [], **given})
