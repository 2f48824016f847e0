"""The graph of what runs where parts of a model are wrapped: each second run is a node."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from schedule.graph import Graph, Input, Node, Tensor
from schedule.torch.regions import Anatomy


def unrolled(anatomy: Anatomy, wrapped: Collection[int], saved: Collection[int]) -> Graph:
    """The graph of what runs where these regions are wrapped: each second run is a node.

    In its own order it is what PyTorch does, with what its memory model frees as
    soon as nobody reads it.

    Parameters
    ----------
    anatomy
        The step.
    wrapped
        Numbers of regions.
    saved
        Nodes in them whose results are kept.
    """
    return Graph(*_Unrolling(anatomy, wrapped, saved).parts())


class _Unrolling:
    def __init__(self, anatomy: Anatomy, wrapped: Collection[int], saved: Collection[int]) -> None:
        self._anatomy, self._wrapped, self._saved = anatomy, frozenset(wrapped), saved
        self._graph = anatomy.program.graph
        self._copy: dict[int, dict[str, str]] = {number: {} for number in wrapped}
        for number in self._wrapped:
            for at in anatomy.regions[number].again:
                if at not in saved:
                    outputs = self._graph.nodes[at].outputs
                    self._copy[number].update((out.name, _again(out.name)) for out in outputs)

    def parts(self) -> tuple[list[Node], list[Input], Sequence[str], str]:
        graph = self._graph
        return list(self._nodes()), list(graph.inputs), graph.outputs, graph.name

    def _nodes(self) -> Iterator[Node]:
        calls: dict[int, list[int]] = {}
        begins: dict[int, list[int]] = {}
        ends: dict[int, list[int]] = {}
        for number in sorted(self._wrapped):
            calls.setdefault(self._anatomy.regions[number].members[0], []).append(number)
            begins.setdefault(self._anatomy.regions[number].first, []).append(number)
            ends.setdefault(self._anatomy.regions[number].last, []).append(number)
        for at, node in enumerate(self._graph.nodes):
            for number in calls.get(at, ()):
                yield from self._noted(number, "as they were")
            for number in begins.get(at, ()):
                yield from self._second_run(number)
            copies: Mapping[str, str] = {}
            if at > self._anatomy.turn:
                copies = self._copy.get(self._anatomy.inside.get(at, -1), {})
            inputs = tuple(copies.get(t, t) for t in node.inputs)
            outputs = _moved(node.outputs, copies)
            yield replace(node, inputs=inputs, outputs=outputs)
            if at in self._anatomy.held:
                held = tuple(copies.get(t, t) for t in self._anatomy.held[at])
                yield _mark(f"{node.name} has run", held)
            for number in ends.get(at, ()):
                region = self._anatomy.regions[number]
                held = (*region.inputs, *self._buffers(number, "as they were"))
                if held:
                    yield _mark(f"{region.name} is done with", held)

    def _buffers(self, number: int, how: str) -> tuple[str, ...]:
        """What is noted of the buffers that a region changes, if it changes any."""
        name = self._anatomy.regions[number].name
        return (f"buffers of {name} {how}",) if self._anatomy.noted.get(number) else ()

    def _noted(self, number: int, how: str) -> Iterator[Node]:
        for name in self._buffers(number, how):
            yield Node(name, (), (Tensor(name, self._anatomy.noted[number]),), 0)

    def _second_run(self, number: int) -> Iterator[Node]:
        copies = self._copy[number]
        yield from self._noted(number, "as they are")
        for at in self._anatomy.regions[number].again:
            node = self._graph.nodes[at]
            if at in self._saved:
                kept = tuple(out.name for out in node.outputs)
                yield _mark(f"{node.name} is handed out", kept)
            else:
                yield self._copied(node, at, copies)
            if at in self._anatomy.named:
                named = tuple(copies.get(t, t) for t in self._anatomy.named[at])
                yield _mark(f"variables until {node.name}", named)
        for name in self._buffers(number, "as they are"):
            yield _mark(f"{self._anatomy.regions[number].name} has run again", (name,))

    def _copied(self, node: Node, at: int, copies: Mapping[str, str]) -> Node:
        """A node as it runs again."""
        writes = {name for _, name in self._anatomy.program.calls[node.name].writes}
        outputs = _moved(node.outputs, copies)
        reads = (copies.get(read, read) for read in self._anatomy.reads(at))
        return replace(
            node,
            name=_again(node.name),
            inputs=tuple(dict.fromkeys(reads)),
            outputs=tuple(replace(o, name=copies[o.name]) for o in outputs if o.name in writes),
            recomputable=True,
            backward=True,
        )


def _moved(outputs: Sequence[Tensor], copies: Mapping[str, str]) -> tuple[Tensor, ...]:
    """The same tensors; views lie on copies where there are any."""
    return tuple(
        out if out.view_of is None else replace(out, view_of=copies.get(out.view_of, out.view_of))
        for out in outputs
    )


def _again(name: str) -> str:
    return f"{name} (again)"


def _mark(name: str, reads: tuple[str, ...]) -> Node:
    """A node without cost that holds what it reads until it has run."""
    return Node(name, reads, (Tensor(name, 0),), 0, backward=True)
