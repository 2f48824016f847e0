"""From a joint graph of ATen operations to the graph that is scheduled."""

from __future__ import annotations

import operator
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import fx

from schedule.errors import CannotCapture
from schedule.graph import Graph, Input, Node, Tensor
from schedule.torch import kernels, operators
from schedule.torch.blocks import Blocks
from schedule.torch.changes import Changes
from schedule.torch.costs import Meter
from schedule.torch.drafts import Draft, Value
from schedule.torch.draws import state_of
from schedule.torch.joint import (
    Joint,
    Source,
    is_one,
    keeps_places,
    name_of,
    nbytes,
    storage_of,
)
from schedule.torch.measuring import Measuring
from schedule.torch.origins import Origin, origin_of
from schedule.torch.program import BOUNDARY, MASK, SPARE, Call, Program, Tangent, before_change


def program_of(
    joint: Joint,
    meter: Meter,
    residents: Mapping[str, int],
    name: str,
    *,
    labels: Callable[[int], str] = "argument {}".format,
    pure: Collection[str] = (),
    given: Sequence[Any] = (),
    redraws: bool = True,
    all_gradients: bool = True,
) -> Program:
    """Make the graph of a captured step.

    Parameters
    ----------
    joint
        The captured step.
    meter
        Gives the nodes' compute.
    residents
        Bytes in use beside the step, by what they are.
    name
        The graph's.
    labels
        What the step's inputs are called, by their numbers.
    pure
        Operators outside ATen that may run again, as `namespace::name`.
    given
        What the step is given, by place, as far as it is known: operators are
        tried with it, and it takes the memory that it takes.
    redraws
        Whether random numbers can be drawn a second time, and a dropout becomes
        two nodes, so that its result can be made again from its mask.
    all_gradients
        Whether memory is kept for gradients of all results, or of the loss
        alone.

    Raises
    ------
    CannotCapture
        An operation can't be run by a schedule.

    Notes
    -----
    O(nodes + edges).

    A node whose operator nobody vouches for must not run twice, and keeps its
    place among those that do: they hand on a tensor of no size, which the
    boundary reads. One that draws random numbers keeps its place, too; it may
    run again where `schedule.torch.draws` can give it the state back that it
    began with. That is an input of the graph, which may be freed after the last
    run. Of a dropout only the drawing of the mask is such a node. What the step
    changes in place is changed at the turn; `schedule.torch.changes` says who
    reads what was there before.

    The boundary writes a view of each result, which is an output of the graph:
    what goes out stays until the end, as the caller may hold it.
    """
    made = _Translation(joint, meter, labels, frozenset(pure), given, redraws, all_gradients)
    made.inputs += [Input(label, size) for label, size in residents.items() if size]
    made.translate()
    return made.program(name)


class _Translation:
    """What has been translated so far."""

    def __init__(
        self,
        joint: Joint,
        meter: Meter,
        labels: Callable[[int], str],
        pure: frozenset[str],
        given: Sequence[Any],
        redraws: bool,
        all_gradients: bool,
    ) -> None:
        self.joint, self.meter, self._labels = joint, meter, labels
        self._pure, self._redraws = pure, redraws
        self._real = given
        self._blocks = Blocks(meter.device, given if meter.measures_workspace else ())
        self._all_gradients = all_gradients
        self.nodes: list[Node] = []
        self.inputs: list[Input] = []
        self.calls: dict[str, Call] = {}
        self.origins: dict[str, Origin] = {}
        self.given: dict[str, int] = {}
        self.mutations: list[tuple[str, str]] = []
        self._name: dict[fx.Node, str] = {}
        self._label: dict[Source, str] = {}
        self._storage: dict[str, int] = {}
        self._counted: dict[int, int] = {}  # bytes of inputs' storages that are counted
        self._fresh: set[int] = set()  # storages that a node of the step made
        self._before_turn: list[str] = []
        self._last_once = ""
        self._twins: dict[str, str] = {}  # outputs that are other outputs of their node
        self._tangents: dict[int, fx.Node] = {}
        self._depends: dict[fx.Node, frozenset[int]] = {}  # backward nodes: on which tangents
        self._measuring = Measuring(joint, pure)
        for node, source in joint.sources.items():
            self._take(node, source)
        self._changes = Changes(joint)
        self._keeps_places = keeps_places(joint)

    def _take(self, node: fx.Node, source: Source) -> None:
        """An input of the joint graph; gradients from outside come in at the boundary."""
        if source.kind == "tangent":
            self._tangents[int(source.key)] = node
            self._depends[node] = frozenset([int(source.key)])
            return
        value = node.meta.get("val")
        label = str(source.key)
        if source.kind == "constant":
            value = self.joint.constants[label]
        if not isinstance(value, torch.Tensor):
            return  # an argument that is no tensor: its value is a part of the step
        real: Any = value
        if source.kind == "input":
            label = self._labels(int(source.key))
            self.given[label] = int(source.key)
            real = self._real[int(source.key)] if self._real else None
        storage = storage_of(value)
        counted = self._counted.get(storage, 0)
        size = min(value.numel() * value.element_size(), max(nbytes(value) - counted, 0))
        self._counted[storage] = counted + size
        slack = 0 if counted else self._blocks.slack(real, nbytes(value))
        self.inputs.append(Input(label, size + slack))
        self._label[source] = label
        self._know(node, label, value)

    def _know(self, node: fx.Node, name: str, value: torch.Tensor) -> None:
        self._name[node] = name
        self._storage[name] = storage_of(value)

    def translate(self) -> None:
        """All nodes in the order in which they were traced, and the boundary between them."""
        turned = False
        for node in self.joint.graph.nodes:
            if node.op != "call_function" or operators.is_idle(node):
                continue
            depends = [
                self._depends[read] for read in node.all_input_nodes if read in self._depends
            ]
            if depends:
                if not turned:
                    self._boundary()
                turned = True
                self._depends[node] = frozenset[int]().union(*depends)
            if node.target is operator.getitem:
                name = name_of(node)
                self._name[node] = self._twins.get(name, name)
            else:
                self._translate(node)
        if not turned:
            raise CannotCapture(
                "the step has no backward pass: nothing that it returns needs a gradient"
            )

    def _boundary(self) -> None:
        """The node that reads all results, and writes their gradients and views to hold them by."""
        results = [self._name[node] for node in self.joint.results]
        self.mutations = [
            (self._label[source], self._read(None, node)) for source, node in self.joint.mutations
        ]
        reads = results + [new for _, new in self.mutations]
        if self._last_once:
            self._before_turn.append(self._last_once)
        outputs = []
        for _, node in sorted(self._tangents.items()):
            value = node.meta["val"]
            outputs.append(Tensor(node.name, self._blocks.made(nbytes(value))))
            self._know(node, node.name, value)
        outputs += [Tensor(held(name), 0, name) for name in results]
        inputs = tuple(dict.fromkeys([*reads, *self._before_turn]))
        self.nodes.append(
            Node(BOUNDARY, inputs, tuple(outputs), 0, recomputable=False, backward=True)
        )

    def _translate(self, node: fx.Node) -> None:
        operators.check(node)
        if self._redraws and operators.is_dropout(node):
            for draft in self._drafts_of_dropout(node):
                self._add(node, draft)
            return
        given, kernel = kernels.compiled(node)
        reads = tuple(self._read(node, read) for read in given)
        draft = Draft(node.name, kernel, reads, given, self._values(node))
        draft.once = node in self.joint.effects or not operators.may_run_again(node, self._pure)
        if self._changes.pins(node):
            draft.once = True
            self._before_turn += [value.name for value in draft.values]
        read = set(map(storage_of, draft.fakes))
        fresh = [value.fake for value in draft.values if storage_of(value.fake) not in read]
        loose = [nbytes(fake) for fake in fresh if nbytes(fake) > self._own(fake)]
        if operators.is_loose(node):
            loose.append(max(map(nbytes, draft.fakes)))
        if loose:
            draft.kernel, draft.workspace = kernels.tightened(kernel), sum(loose)
        if draft.once and operators.is_random(node) and not self._changes.pins(node):
            self._draw(node, draft)
        self._add(node, draft)

    def _draw(self, node: fx.Node, draft: Draft) -> None:
        """A node that draws random numbers: it may draw them again, or runs once."""
        draft.once = True
        if not self._redraws or node in self._depends or node in self.joint.effects:
            return
        written = sum(self._size(value.fake) for value in draft.values)
        draft.state = state_of(node, self.meter.device, written)
        if draft.state is not None:
            draft.once = False
            draft.workspace += draft.state  # while it runs again: the state that there is then

    def _drafts_of_dropout(self, node: fx.Node) -> Iterator[Draft]:
        """One node that draws the mask, once, and one that applies it."""
        given = node.args[0]
        assert isinstance(given, fx.Node)
        read = self._read(node, given)
        out, mask = (replace(value, place=-1) for value in self._values(node))
        drawing = Draft(node.name + MASK, kernels.dropout_mask(node), (read,), [given], [mask])
        drawing.workspace = nbytes(out.fake)
        self._draw(node, drawing)
        yield drawing
        apply = kernels.dropout_apply(node)
        yield Draft(node.name, apply, (read, mask.name), [given, mask.fake], [out])

    def _read(self, node: fx.Node | None, read: fx.Node) -> str:
        """The name of what a node reads; None: the boundary, which changes inputs."""
        if read not in self._name:
            raise CannotCapture(f"{node or BOUNDARY} reads {read.name!r}, which is no tensor")
        source = self._changes.copied(read, node)
        if source is not None:
            return self._snapshot(read, source)
        return self._name[read]

    def _snapshot(self, read: fx.Node, source: Source) -> str:
        """The copy of an input that the step changes, made where it is first read."""
        label, value = self._label[source], read.meta["val"]
        name = before_change(label)
        if name not in self._storage:
            draft = Draft(name, kernels.like(value), (label,), [value], [Value(-1, name, value)])
            draft.once = True
            self._storage[name] = self._storage[label]
            size = self._blocks.made(kernels.size_like(value))
            self._write(draft, (Tensor(name, size),), self.meter.copy(value))
            self._before_turn.append(name)
        return name

    def _values(self, node: fx.Node) -> list[Value]:
        """The tensors that a node writes."""
        value = node.meta["val"]
        if isinstance(value, torch.Tensor):
            self._name[node] = node.name
            return [Value(-1, node.name, value)]
        found: list[Value] = []
        for place, item in enumerate(value or ()):
            if isinstance(item, torch.Tensor):
                made = Value(place, f"{node.name}.{place}", item)
                twin = next((other for other in found if is_one(other.fake, item)), None)
                if twin is None:
                    found.append(made)
                else:  # such as the gradients of a recurrent layer's two biases
                    self._twins[made.name] = twin.name
        if not found and node not in self.joint.effects:
            raise CannotCapture(f"operation {node.name!r} ({node.target}) gives no tensor")
        return found

    def _outputs(
        self, node: fx.Node, reads: Sequence[str], values: Sequence[Value]
    ) -> tuple[Tensor, ...]:
        """What a node writes, as the graph has it: memory of its own, or a view."""
        outputs = []
        known = {self._storage[read]: read for read in reversed(reads)}
        for value in values:
            storage = storage_of(value.fake)
            self._storage[value.name] = storage
            if storage in known:
                outputs.append(Tensor(value.name, 0, known[storage]))
                continue
            if storage in self._fresh:
                raise CannotCapture(
                    f"operation {node.name!r} ({node.target}) gives tensors that share memory"
                )
            self._fresh.add(storage)
            outputs.append(Tensor(value.name, self._size(value.fake)))
        return tuple(outputs)

    def _size(self, made: torch.Tensor) -> int:
        """Bytes of what a node makes, as the allocator has them."""
        return self._blocks.made(self._own(made))

    def _own(self, made: torch.Tensor) -> int:
        """Bytes of its elements alone, if its place in a larger storage is free."""
        return nbytes(made) if self._keeps_places else kernels.extent(made)

    def _add(self, node: fx.Node, draft: Draft) -> None:
        """A node of the graph, and how it runs."""
        draft.backward = node in self._depends
        self.origins[draft.name] = origin_of(node)
        outputs = self._outputs(node, draft.reads, draft.values)
        cost = 0
        if not outputs or not all(out.view_of for out in outputs):
            cost = self.meter.cost(node, draft.fakes)
            self._measuring.add(
                node, draft.name, draft.kernel, draft.given, draft.fakes, draft.backward
            )
        self._write(draft, outputs, cost)

    def _write(self, draft: Draft, outputs: tuple[Tensor, ...], cost: int) -> None:
        inputs = tuple(dict.fromkeys(draft.reads))
        state, mark = "", f"{draft.name} was here"
        if draft.state is not None:
            state = f"random state of {draft.name}"
            self.inputs.append(Input(state, draft.state, freeable=True))
            inputs += (state,)
        if draft.once or state:  # random numbers are first drawn in the order of the program
            inputs += (self._last_once,) if self._last_once else ()
            self._last_once = mark
        if draft.once:
            outputs += (Tensor(mark, 0),)
        writes = tuple((value.place, value.name) for value in draft.values)
        self.calls[draft.name] = Call(draft.kernel, draft.reads, writes, state)
        self.nodes.append(
            Node(
                draft.name,
                inputs,
                outputs,
                cost,
                draft.workspace,
                recomputable=not draft.once,
                backward=draft.backward,
            )
        )
        if state:  # its mark stays, whenever it runs again
            first = (outputs[0].name,)
            self.nodes.append(Node(mark, first, (Tensor(mark, 0),), 0, recomputable=False))

    def program(self, name: str) -> Program:
        """The graph and all that belongs to it."""
        results = tuple(self._name[node] for node in self.joint.results)
        gradients = self._gradients()
        outputs = [*map(held, results), *gradients.values()]
        if self._last_once:
            outputs.append(self._last_once)  # what runs once runs, whoever reads it
        tangents = [self._tangent(at) for at in range(len(results))]
        unmeasured = self._measuring.fill_in(self.nodes, self.inputs, self.meter, self._real)
        spare = self._blocks.spare([out.memory for node in self.nodes for out in node.outputs])
        if spare:
            self.inputs.append(Input(SPARE, spare))
        outputs = list(dict.fromkeys(outputs))
        # All that isn't the step's own stays where it is: see `staying`.
        self.inputs = [replace(item, offloadable=False) for item in self.inputs]
        spread = {tangent.name for tangent in tangents if tangent and tangent.is_spread}
        whole = Graph(self.nodes, self.inputs, outputs, name)
        graph = whole
        if spread and not self._all_gradients:
            graph = Graph(_sparing(self.nodes, spread), self.inputs, outputs, name)
        return Program(
            graph=graph,
            whole=whole,
            calls=self.calls,
            inputs=self.given,
            constants=self.joint.constants,
            results=results,
            tangents=tuple(tangents),
            mutations=tuple(self.mutations),
            gradients=gradients,
            needs={
                self._label[source]: self._depends.get(node, frozenset())
                for source, node in self.joint.gradients
            },
            unmeasured=unmeasured,
            device=self.meter.device,
            origins=self.origins,
        )

    def _tangent(self, at: int) -> Tangent | None:
        node = self._tangents.get(at)
        if node is None:
            return None
        value = node.meta["val"]
        is_spread = (
            value.numel() > 1 and value.is_contiguous() and operators.is_read_pointwise(node)
        )
        return Tangent(node.name, value, is_spread)

    def _gradients(self) -> dict[str, str]:
        """Each gradient as a tensor of its own, in the layout of what it is the gradient of.

        Otherwise automatic differentiation would copy it when it arrives, or two
        gradients would change with each other.
        """
        found: dict[str, str] = {}
        taken = {self._storage[self._name[node]] for node in self.joint.results}
        of = {source: node for node, source in self.joint.sources.items()}
        for source, node in self.joint.gradients:
            name, wanted = self._name[node], of[source].meta["val"]
            value, storage = node.meta["val"], self._storage[self._name[node]]
            same = value.stride() == wanted.stride() and value.dtype == wanted.dtype
            if storage in taken or not same or storage not in self._fresh:
                name = self._copy(node, name, f"gradient of {self._label[source]}", wanted)
            taken.add(storage)
            found[self._label[source]] = name
        return found

    def _copy(self, node: fx.Node, name: str, copy: str, wanted: torch.Tensor) -> str:
        """A node that copies a tensor into the layout of another."""
        self.calls[copy] = Call(kernels.like(wanted), (name,), ((-1, copy),))
        size, cost = self._blocks.made(kernels.size_like(wanted)), self.meter.copy(wanted)
        out = Tensor(copy, size)
        self.nodes.append(Node(copy, (name,), (out,), cost, backward=node in self._depends))
        return copy


def _sparing(nodes: Sequence[Node], spread: Collection[str]) -> list[Node]:
    """The same nodes, with no memory for these outputs of the boundary."""
    return [
        node
        if node.name != BOUNDARY
        else replace(
            node,
            outputs=tuple(
                replace(out, memory=0) if out.name in spread else out for out in node.outputs
            ),
        )
        for node in nodes
    ]


def held(name: str) -> str:
    """The view of a result by which the caller holds it."""
    return f"{name} (held)"
