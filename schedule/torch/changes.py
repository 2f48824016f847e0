"""What a step changes in place, and who reads what was there before.

Inputs are changed at the boundary. What runs again after it must not read them: it
would find what the step has made of them. That is so for every tensor on the
memory of such an input, whatever views lie between.
"""

from __future__ import annotations

import operator
from typing import Any, TypeGuard

import torch
from torch import fx

from schedule.torch import operators
from schedule.torch.joint import Joint, Source, nbytes, storage_of


class Changes:
    """For each input that the step changes, one of two ways to read it.

    *A copy*, made before the boundary where the input is first read; everything that
    reads it reads the copy, and may run again. Or *no copy*: what reads it runs
    once, before the boundary. A copy is made where the backward pass reads it, or
    where it takes less memory than the results that could not be recomputed.

    Batch norm reads its running statistics as they are, each time: it
    normalises by its batch alone, and what it makes of them counts only once.
    """

    def __init__(self, joint: Joint) -> None:
        of = {source: node for node, source in joint.sources.items()}
        self._source = {storage_of(of[source].meta["val"]): source for source, _ in joint.mutations}
        self._joint = joint
        self._copied: set[Source] = set()
        if self._source:
            self._choose(of)

    def copied(self, read: fx.Node, by: fx.Node | None) -> Source | None:
        """The input whose copy a node reads in the place of `read`; `by` None: the boundary."""
        source = self._joint.sources.get(read)
        if source not in self._copied or (by is not None and operators.is_batch_norm(by)):
            return None
        return source

    def pins(self, node: fx.Node) -> bool:
        """Whether a node reads what is changed later, and has to run before."""
        if not self._source or operators.is_batch_norm(node) or _is_view(node):
            return False
        return not self._copied.issuperset(self._read_by(node))

    def _read_by(self, node: fx.Node) -> list[Source]:
        """The changed inputs on whose memory a node reads."""
        values = [read.meta.get("val") for read in node.all_input_nodes]
        found = [self._source.get(storage_of(v)) for v in values if _is_strided(v)]
        return [source for source in found if source is not None]

    def _choose(self, of: dict[Source, fx.Node]) -> None:
        late, needed = _after_turn(self._joint), _needed(self._joint)
        pinned = dict.fromkeys(self._source.values(), 0)
        for node in self._joint.graph.nodes:
            if node.op != "call_function" or node.target is operator.getitem:
                continue
            if _is_view(node) or operators.is_batch_norm(node) or node not in needed:
                continue
            for source in self._read_by(node):
                pinned[source] += sum(nbytes(value) for value in _values(node))
                if node in late:
                    self._copied.add(source)
        self._copied |= {s for s, size in pinned.items() if size > nbytes(of[s].meta["val"])}
        # One input becomes what another one was: the order of the changes mustn't matter.
        for _, new in self._joint.mutations:
            value = new.meta.get("val")
            if _is_strided(value) and storage_of(value) in self._source:
                self._copied.add(self._source[storage_of(value)])


def _is_strided(value: Any) -> TypeGuard[torch.Tensor]:
    return isinstance(value, torch.Tensor) and value.layout == torch.strided


def _values(node: fx.Node) -> list[torch.Tensor]:
    value = node.meta.get("val")
    found = value if isinstance(value, (tuple, list)) else [value]
    return [item for item in found if _is_strided(item)]


def _is_view(node: fx.Node) -> bool:
    """Whether all that a node gives lies on what it reads."""
    read = {
        storage_of(r.meta["val"]) for r in node.all_input_nodes if _is_strided(r.meta.get("val"))
    }
    made = _values(node)
    return bool(made) and read.issuperset(map(storage_of, made))


def _after_turn(joint: Joint) -> set[fx.Node]:
    """Nodes that depend on gradients from outside."""
    found = {node for node, source in joint.sources.items() if source.kind == "tangent"}
    for node in joint.graph.nodes:
        if node.op == "call_function" and not found.isdisjoint(node.all_input_nodes):
            found.add(node)
    return found


def _needed(joint: Joint) -> set[fx.Node]:
    """Nodes of which results or gradients are made, and not the changes alone."""
    found = set(joint.results) | {node for _, node in joint.gradients}
    for node in reversed(joint.graph.nodes):
        if node in found:
            found.update(node.all_input_nodes)
    return found
