"""A captured training step as a `schedule.Graph`, with a kernel for every node."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import fx

from schedule.errors import CannotCapture
from schedule.graph import Graph, Input, Node, Tensor
from schedule.torch import kernels
from schedule.torch.costs import Meter, likeness
from schedule.torch.joint import Joint, Source
from schedule.torch.kernels import Kernel
from schedule.torch.workspaces import Run, workspaces

#: The node at which the forward pass ends: results go out, their gradients come in.
TURN = "turn"


@dataclass(frozen=True, slots=True)
class Call:
    """How a node runs.

    Attributes
    ----------
    kernel
        Takes the tensors `reads`.
    reads
        Names, in order; `Node.inputs` may have more, which only keep an order.
    writes
        Names of the tensors that are kept, each with its place in what the
        kernel returns (−1: it returns the tensor itself).
    """

    kernel: Kernel
    reads: tuple[str, ...]
    writes: tuple[tuple[int, str], ...]


@dataclass(frozen=True)
class Program:
    """A training step that any schedule of its graph can run.

    Attributes
    ----------
    graph
        Memory in bytes, compute as `schedule.torch.costs` has it.
    calls
        By node; the turn has none.
    sources
        By name: where the graph's inputs come from, but for `residents`.
    constants
        By name: inputs that belong to the step.
    results, tangents
        The tensors that go out at the turn, and their gradients (None: none).
    mutations
        Pairs of an input and the tensor that is copied into it at the turn.
    gradients
        The gradient of each input that gets one, by the input's name.
    """

    graph: Graph
    calls: dict[str, Call]
    sources: dict[str, Source]
    constants: dict[str, torch.Tensor]
    results: tuple[str, ...]
    tangents: tuple[str | None, ...]
    mutations: tuple[tuple[str, str], ...]
    gradients: dict[str, str]


def program_of(
    joint: Joint,
    meter: Meter,
    residents: Mapping[str, int],
    name: str,
    *,
    parts_dropout: bool = True,
) -> Program:
    """Make the graph of a captured step.

    Parameters
    ----------
    joint
        The captured step.
    meter
        Gives the nodes' compute.
    residents
        Bytes that are there beside the step, by what they are.
    name
        The graph's.
    parts_dropout
        Whether a dropout becomes two nodes, so that its result can be made
        again from its mask.

    Raises
    ------
    CannotCapture
        An operation can't be run by a schedule.

    Notes
    -----
    O(nodes + edges).

    A node that draws random numbers must not run twice, and keeps its place
    among those that do: they hand on a tensor of no size. Of a dropout only
    the drawing of the mask is such a node. What reads a buffer that the step
    changes runs before the turn, where the change is made, and once, but for
    batch norm, which normalises by the batch alone.
    """
    made = _Translation(joint, meter, parts_dropout)
    made.inputs += [Input(label, size) for label, size in residents.items() if size]
    made.translate()
    return made.program(name)


@dataclass(frozen=True, slots=True)
class _Value:
    """A tensor that a node writes: its place in what the kernel returns, and its name."""

    place: int
    name: str
    fake: torch.Tensor


@dataclass(slots=True)
class _Draft:
    """A node in the making: what it reads, as names and as fake tensors, and what it writes."""

    name: str
    kernel: Kernel
    reads: tuple[str, ...]
    fakes: Sequence[torch.Tensor]
    values: Sequence[_Value]
    once: bool = False
    workspace: int = 0


class _Translation:
    """What has been translated so far."""

    def __init__(self, joint: Joint, meter: Meter, parts_dropout: bool) -> None:
        self.joint, self.meter, self._parts_dropout = joint, meter, parts_dropout
        self.nodes: list[Node] = []
        self.inputs: list[Input] = []
        self.calls: dict[str, Call] = {}
        self.sources: dict[str, Source] = {}
        self._name: dict[fx.Node, str] = {}
        self._storage: dict[str, int] = {}
        self._fresh: set[int] = set()  # storages that a node of the step made
        self._changed = {source for source, _ in joint.mutations}
        self._before_turn: list[str] = []
        self._random = ""
        self._tangents: dict[int, fx.Node] = {}
        self._backward: set[fx.Node] = set()
        self._runs: dict[str, tuple[Any, Run]] = {}
        for node, source in joint.sources.items():
            self._take(node, source)

    def _take(self, node: fx.Node, source: Source) -> None:
        """An input of the joint graph; gradients from outside come in at the turn."""
        if source.kind == "tangent":
            self._tangents[int(source.key)] = node
            self._backward.add(node)
            return
        value = node.meta.get("val")
        if source.kind == "constant":
            value = self.joint.constants[str(source.key)]
        if not isinstance(value, torch.Tensor):
            return  # an argument that is no tensor: its value is a part of the step
        label = f"argument {source.key}" if source.kind == "argument" else str(source.key)
        self.inputs.append(Input(label, value.numel() * value.element_size()))
        self.sources[label] = source
        self._know(node, label, value)

    def _know(self, node: fx.Node, name: str, value: torch.Tensor) -> None:
        self._name[node] = name
        self._storage[name] = _storage(value)

    def translate(self) -> None:
        """All nodes in the order in which they were traced, and the turn between them."""
        turned = False
        for node in self.joint.graph.nodes:
            if node.op != "call_function" or kernels.is_idle(node):
                continue
            if not self._backward.isdisjoint(node.all_input_nodes):
                if not turned:
                    self._turn()
                turned = True
                self._backward.add(node)
            if node.target is operator.getitem:
                self._name[node] = name_of(node)
            else:
                self._translate(node)
        if not turned:
            raise CannotCapture(
                "the step has no backward pass: nothing that it returns needs a gradient"
            )

    def _turn(self) -> None:
        """The node that reads all results and writes their gradients."""
        reads = [self._name[node] for node in self.joint.results]
        reads += [self._name[node] for _, node in self.joint.mutations]
        outputs = []
        for _, node in sorted(self._tangents.items()):
            value = node.meta["val"]
            outputs.append(Tensor(node.name, _nbytes(value)))
            self._know(node, node.name, value)
        inputs = tuple(dict.fromkeys([*reads, *self._before_turn]))
        self.nodes.append(Node(TURN, inputs, tuple(outputs), 0, recomputable=False, backward=True))

    def _translate(self, node: fx.Node) -> None:
        kernels.check(node)
        if self._parts_dropout and kernels.is_dropout(node):
            for draft in self._drafts_of_dropout(node):
                self._add(node, draft)
            return
        given, kernel = kernels.compiled(node)
        reads = tuple(self._read(node, read) for read in given)
        fakes = [read.meta["val"] for read in given if "val" in read.meta]
        draft = _Draft(node.name, kernel, reads, fakes, self._values(node))
        draft.once = kernels.is_random(node)
        if self._reads_changed(given) and not kernels.is_batch_norm(node):
            draft.once = True
            self._before_turn += [value.name for value in draft.values]
        if kernels.is_loose(node):
            draft.kernel, draft.workspace = kernels.tightened(kernel), max(map(_nbytes, fakes))
        self._add(node, draft)

    def _drafts_of_dropout(self, node: fx.Node) -> Iterator[_Draft]:
        """One node that draws the mask, once, and one that applies it."""
        given = node.args[0]
        assert isinstance(given, fx.Node)
        read, x = self._read(node, given), given.meta["val"]
        out, mask = (replace(value, place=-1) for value in self._values(node))
        drawing = _Draft(f"{node.name}.mask", kernels.dropout_mask(node), (read,), [x], [mask])
        drawing.once, drawing.workspace = True, _nbytes(out.fake)
        yield drawing
        apply = kernels.dropout_apply(node)
        yield _Draft(node.name, apply, (read, mask.name), [x, mask.fake], [out])

    def _read(self, node: fx.Node, read: fx.Node) -> str:
        if read not in self._name:
            raise CannotCapture(f"operation {node.name!r} reads {read.name!r}, which is no tensor")
        return self._name[read]

    def _reads_changed(self, given: Sequence[fx.Node]) -> bool:
        return any(self.joint.sources.get(read) in self._changed for read in given)

    def _values(self, node: fx.Node) -> list[_Value]:
        """The tensors that a node writes."""
        value = node.meta["val"]
        if isinstance(value, torch.Tensor):
            self._name[node] = node.name
            return [_Value(-1, node.name, value)]
        found = [
            _Value(place, f"{node.name}.{place}", item)
            for place, item in enumerate(value or ())
            if isinstance(item, torch.Tensor)
        ]
        if not found:
            raise CannotCapture(f"operation {node.name!r} ({node.target}) gives no tensor")
        return found

    def _outputs(
        self, node: fx.Node, reads: Sequence[str], values: Sequence[_Value]
    ) -> tuple[Tensor, ...]:
        """What a node writes, as the graph has it: memory of its own, or a view."""
        outputs = []
        known = {self._storage[read]: read for read in reversed(reads)}
        for value in values:
            storage = _storage(value.fake)
            self._storage[value.name] = storage
            if storage in known:
                outputs.append(Tensor(value.name, 0, known[storage]))
                continue
            if storage in self._fresh:
                raise CannotCapture(
                    f"operation {node.name!r} ({node.target}) gives tensors that share memory"
                )
            self._fresh.add(storage)
            outputs.append(Tensor(value.name, _nbytes(value.fake)))
        return tuple(outputs)

    def _add(self, node: fx.Node, draft: _Draft) -> None:
        """A node of the graph, and how it runs."""
        inputs = tuple(dict.fromkeys(draft.reads))
        outputs = self._outputs(node, draft.reads, draft.values)
        cost = 0
        if not all(out.view_of for out in outputs):
            cost = self.meter.cost(node, draft.fakes, draft.kernel)
            self._runs[draft.name] = likeness(node, draft.fakes), Run(draft.kernel, draft.fakes)
        if draft.once:  # random numbers are drawn in the order of the program
            inputs += (self._random,) if self._random else ()
            self._random = f"{draft.name} was here"
            outputs += (Tensor(self._random, 0),)
        writes = tuple((value.place, value.name) for value in draft.values)
        self.calls[draft.name] = Call(draft.kernel, draft.reads, writes)
        self.nodes.append(
            Node(
                draft.name,
                inputs,
                outputs,
                cost,
                draft.workspace,
                recomputable=not draft.once,
                backward=node in self._backward,
            )
        )

    def program(self, name: str) -> Program:
        """The graph and all that belongs to it."""
        results = tuple(self._name[node] for node in self.joint.results)
        gradients = self._gradients(set(results))
        outputs = list(dict.fromkeys([*results, *gradients.values()]))
        label = {source: text for text, source in self.sources.items()}
        tangents = [
            self._tangents[at].name if at in self._tangents else None for at in range(len(results))
        ]
        if self.meter.measures_workspace:
            self._measure()
        return Program(
            graph=Graph(self.nodes, self.inputs, outputs, name),
            calls=self.calls,
            sources=self.sources,
            constants=self.joint.constants,
            results=results,
            tangents=tuple(tangents),
            mutations=tuple((label[s], self._name[n]) for s, n in self.joint.mutations),
            gradients=gradients,
        )

    def _measure(self) -> None:
        """Fill in the workspaces; the same operator on the same shapes is run once."""
        runs = dict(self._runs.values())
        found = dict(zip(runs, workspaces(list(runs.values()), self.meter.device)))
        for at, made in enumerate(self.nodes):
            if made.name in self._runs:
                more = found[self._runs[made.name][0]]
                self.nodes[at] = replace(made, workspace=max(more, made.workspace))

    def _gradients(self, taken: set[str]) -> dict[str, str]:
        """Each gradient as a tensor of its own, in the layout of what it is the gradient of.

        Otherwise automatic differentiation would copy it when it arrives.
        """
        found: dict[str, str] = {}
        of = {source: node for node, source in self.joint.sources.items()}
        label = {source: text for text, source in self.sources.items()}
        for source, node in self.joint.gradients:
            name, wanted = self._name[node], of[source].meta["val"]
            value = node.meta["val"]
            same = value.stride() == wanted.stride() and value.dtype == wanted.dtype
            if name in taken or not same or self._storage[name] not in self._fresh:
                name = self._copy(node, name, f"gradient of {label[source]}", wanted)
            taken.add(name)
            found[label[source]] = name
        return found

    def _copy(self, node: fx.Node, name: str, copy: str, wanted: torch.Tensor) -> str:
        """A node that copies a tensor into the layout of another."""
        self.calls[copy] = Call(kernels.like(wanted), (name,), ((-1, copy),))
        out, cost = Tensor(copy, _nbytes(wanted)), self.meter.copy(wanted)
        self.nodes.append(Node(copy, (name,), (out,), cost, backward=node in self._backward))
        return copy


def name_of(node: fx.Node) -> str:
    """The name of the tensor that a node gives, where it gives one."""
    if node.target is not operator.getitem:
        return node.name
    whole, place = node.args
    assert isinstance(whole, fx.Node)
    return f"{whole.name}.{place}"


def _storage(value: torch.Tensor) -> int:
    """The same number for all fake tensors on one storage."""
    return int(value.untyped_storage()._cdata)


def _nbytes(value: torch.Tensor) -> int:
    return int(value.untyped_storage().nbytes())
