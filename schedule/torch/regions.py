"""What `torch.utils.checkpoint` runs again where parts of a model are wrapped in it.

Non-reentrant checkpointing keeps the tensors that a wrapped part is given, and nothing
that automatic differentiation saves inside. When the backward pass first asks for
something saved there, the part's forward pass runs again, in order, and ends with the
last operation that saves something; what is saved then stays until it is read.
Selective checkpointing keeps the results of some operations besides, and hands them
out in that second run instead of running them; what comes before them runs all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from schedule.errors import BadInput
from schedule.graph import Graph
from schedule.torch.operators import LOOSE
from schedule.torch.program import BOUNDARY, MASK, Program

#: A part's name, and the number of its call.
Call = tuple[str, int]


@dataclass(frozen=True)
class Region:
    """One call of a part of the model, if it is wrapped; nodes are numbers.

    Attributes
    ----------
    module, call
        The part's name, and which of its calls it is.
    members
        The nodes of its forward pass.
    again
        Those that run again, in order.
    inputs
        Tensors from outside that it reads: they are kept till it is done with.
    first
        The node of the backward pass before which they run.
    last
        The last one that reads something saved inside.
    """

    module: str
    call: int
    members: tuple[int, ...]
    again: tuple[int, ...]
    inputs: tuple[str, ...]
    first: int
    last: int

    @property
    def name(self) -> str:
        """What it is called in a graph."""
        return f"{self.module} ({self.call})" if self.call else self.module


@dataclass(frozen=True)
class Anatomy:
    """A step's graph, by the calls of some parts of the model.

    Attributes
    ----------
    program
        The step.
    turn
        The number of the node between forward and backward pass.
    regions
        The calls of the parts in which the backward pass finds something saved.
    inside
        The region of each node: one of its forward pass, or of the backward pass
        that reads what was saved there.
    made
        The node that makes each tensor that isn't an input.
    held
        By a node: the tensors that are held until it has run. By the last node of each
        derivative those that it reads, as what was saved, the gradient that came in, and
        what a formula has in between, go then; by the turn the `casts`.
    casts
        Nodes whose results autocast keeps for the next cast of the same parameter,
        until the outermost autocast ends: that of the forward pass, or of a second run.
    named
        By a node that runs again: the tensors that the code's own variables hold
        until it has, though nothing reads them any more.
    noted
        By a region: bytes of the buffers that its module changes, which are noted before
        it runs, and once more while it runs again.
    """

    program: Program
    turn: int
    regions: tuple[Region, ...]
    inside: dict[int, int]
    made: dict[str, int]
    held: dict[int, tuple[str, ...]]
    casts: tuple[int, ...] = ()
    named: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    noted: Mapping[int, int] = field(default_factory=dict)

    def reads(self, at: int) -> tuple[str, ...]:
        """The tensors that a node reads, without those that only keep an order."""
        node = self.program.graph.nodes[at]
        call = self.program.calls.get(node.name)
        return node.inputs if call is None else tuple(dict.fromkeys(call.reads))


def as_eager(program: Program) -> Program:
    """The same step as eager PyTorch has it, where what is captured takes other memory.

    A dropout's mask has numbers of the type of what it is applied to on a CPU, where
    it is made in place, and some losses keep the memory of all their elements. Random
    states are left out: checkpointing keeps them on the host.
    """
    graph, states = program.graph, {call.state for call in program.calls.values()}
    noted = {item.name: item.memory for item in graph.inputs if item.name in states}
    nodes = []
    for node in graph.nodes:
        inputs = tuple(read for read in node.inputs if read not in noted)
        workspace = node.workspace - sum(noted.get(read, 0) for read in node.inputs)
        made = replace(node, inputs=inputs, workspace=workspace)
        if node.name.endswith(MASK) and program.device.type == "cpu":
            mask, *rest = node.outputs
            made = replace(made, outputs=(replace(mask, memory=workspace), *rest), workspace=0)
        elif node.name in program.origins and program.origins[node.name].operator in LOOSE:
            (out,) = node.outputs  # of which a copy is kept, in memory of its own size
            loose = replace(out, memory=max(out.memory, workspace))
            made = replace(made, outputs=(loose,), workspace=0)
        nodes.append(made)
    given = [item for item in graph.inputs if item.name not in noted]
    return replace(program, graph=Graph(nodes, given, graph.outputs, graph.name))


def anatomy_of(program: Program, parts: Mapping[str, str], *, is_cast: bool = False) -> Anatomy:
    """Find the calls of parts of the model in its step.

    Parameters
    ----------
    program
        The step.
    parts
        By the names under which the code reaches them: the parts, by their own names.
    is_cast
        Whether the step runs under autocast.

    Raises
    ------
    BadInput
        A part runs inside of another one.

    Notes
    -----
    O(nodes + edges).
    """
    nodes = program.graph.nodes
    turn = next(at for at, node in enumerate(nodes) if node.name == BOUNDARY)
    made = {out.name: at for at, node in enumerate(nodes) for out in node.outputs}
    casts = _casts(program, turn) if is_cast else ()
    found = Anatomy(program, turn, (), {}, made, {}, casts)
    if casts:
        found.held[turn] = tuple(out.name for at in casts for out in nodes[at].outputs)
    calls = _calls(found, parts)
    key_of = {at: key for key, members in calls.items() for at in members}
    inner: dict[Call, list[_Derivative]] = {key: [] for key in calls}
    whole: dict[Call, list[_Derivative]] = {key: [] for key in calls}
    for derivative in _derivatives(found):
        if len(derivative.late) > 1:
            reads = dict.fromkeys(read for at in derivative.late for read in nodes[at].inputs)
            found.held[derivative.late[-1]] = tuple(read for read in reads if read in made)
        if derivative.owner in key_of:
            inner[key_of[derivative.owner]].append(derivative)
    for function in _functions(found):
        if function.owner in key_of:
            whole[key_of[function.owner]].append(function)
    regions: list[Region] = []
    for key, members in calls.items():
        region = _region(found, key, members, inner[key], whole[key])
        if region is not None:
            found.inside.update(dict.fromkeys(members, len(regions)))
            late = [at for derivative in inner[key] for at in derivative.late]
            found.inside.update(dict.fromkeys(late, len(regions)))
            regions.append(region)
    return replace(found, regions=tuple(regions))


def _casts(program: Program, turn: int) -> tuple[int, ...]:
    """The casts of the forward pass that read what needs a gradient itself: autocast keeps them."""
    return tuple(
        at
        for at, node in enumerate(program.graph.nodes[:turn])
        if node.name in program.origins
        and program.origins[node.name].operator == "aten._to_copy.default"
        and program.gradients.keys() >= set(program.calls[node.name].reads)
    )


def _calls(anatomy: Anatomy, parts: Mapping[str, str]) -> dict[Call, list[int]]:
    """The nodes of the forward pass in each call of a part."""
    nodes, origins = anatomy.program.graph.nodes, anatomy.program.origins
    found: dict[Call, list[int]] = {}
    for at in range(anatomy.turn):
        if nodes[at].name not in origins:
            continue
        inside = [(parts[n], call) for n, call in origins[nodes[at].name].calls if n in parts]
        if len(inside) > 1:
            raise BadInput(
                f"module {inside[-1][0]!r} runs inside of {inside[0][0]!r}; list modules of which"
                f" none runs inside of another"
            )
        for call in inside:
            found.setdefault(call, []).append(at)
    return found


class _Derivative(NamedTuple):
    """A node of automatic differentiation: the operation that made it, and its own nodes.

    Those are one after another. Sums of gradients have the number of whatever came last.
    """

    number: int
    owner: int
    late: list[int]


def _derivatives(anatomy: Anatomy) -> list[_Derivative]:
    origins = anatomy.program.origins
    found: dict[int, _Derivative] = {}
    last: int | None = None
    for at, node in enumerate(anatomy.program.graph.nodes):
        origin = origins.get(node.name)
        if origin is None or origin.derivative is None:
            continue
        number = origin.derivative
        if at < anatomy.turn:
            found.setdefault(number, _Derivative(number, at, []))
            continue
        is_known = number in found and not _is_written_out(anatomy, at)
        if is_known and (number == last or not found[number].late):
            found[number].late.append(at)
            last = number
        else:
            last = None
    return [derivative for derivative in found.values() if derivative.late]


def _is_written_out(anatomy: Anatomy, at: int) -> bool:
    """Whether a node is of the backward pass that a `torch.autograd.Function` has of its own.

    Unlike derivatives that PyTorch knows, that is code in a part of the model.
    """
    origin = anatomy.program.origins.get(anatomy.program.graph.nodes[at].name)
    return at > anatomy.turn and origin is not None and bool(origin.calls)


def _functions(anatomy: Anatomy) -> list[_Derivative]:
    """Calls of a `torch.autograd.Function`: the last node of each one's forward pass owns it.

    Of its backward pass PyTorch notes another number. It reads what its forward pass has read
    or made, as another operation may that comes after it: then that counts, too.
    """
    nodes, origins = anatomy.program.graph.nodes, anatomy.program.origins
    groups: list[list[int]] = []
    last: tuple[Call, ...] = ()
    for at in range(anatomy.turn + 1, len(nodes)):
        if _is_written_out(anatomy, at):
            calls = origins[nodes[at].name].calls
            if not groups or (at - 1, calls) != (groups[-1][-1], last):
                groups.append([])
            groups[-1].append(at)
            last = calls
    known = {derivative.number for derivative in _derivatives(anatomy)}
    forward: dict[int, list[int]] = {}
    for at in range(anatomy.turn) if groups else ():
        origin = origins.get(nodes[at].name)
        if origin is not None and origin.derivative is not None and origin.derivative not in known:
            forward.setdefault(origin.derivative, []).append(at)
    found: list[_Derivative] = []
    for late in groups:
        read = {anatomy.made[t] for at in late for t in nodes[at].inputs if t in anatomy.made}
        calls = origins[nodes[late[0]].name].calls
        for number, own in forward.items():
            mine = {*own, *(anatomy.made.get(t, -1) for at in own for t in nodes[at].inputs)}
            if origins[nodes[own[0]].name].calls == calls and not mine.isdisjoint(read):
                found.append(_Derivative(number, own[-1], late))
    return found


def _region(
    anatomy: Anatomy,
    key: Call,
    members: Sequence[int],
    derivatives: Sequence[_Derivative],
    functions: Sequence[_Derivative],
) -> Region | None:
    """One call of a part; None: nothing is saved in it.

    What a `torch.autograd.Function` saves isn't told from what it keeps beside: all is
    counted as kept, and all of its forward pass as run again.
    """
    nodes, origins = anatomy.program.graph.nodes, anatomy.program.origins
    through = before = -1  # nodes that run again: up to this one, and before that one
    asked: list[int] = []
    for number, owner, late in derivatives:
        makers = [anatomy.made.get(read, -1) for at in late for read in nodes[at].inputs]
        saved = [maker for maker in makers if maker < anatomy.turn]
        for maker in saved:
            origin = origins.get(nodes[maker].name) if maker >= owner else None
            if origin is not None and origin.derivative == number:
                through = max(through, maker)  # its own result
            else:
                before = max(before, owner)  # saved before the operation runs
        asked += (late[0], late[-1]) if saved else ()
    for _, owner, late in functions:
        through = max(through, owner)
        asked += (late[0], late[-1])
    if not asked:
        return None
    mine = set(members)
    reads = [read for at in members for read in anatomy.reads(at)]
    outside = [t for t in reads if t in anatomy.made and anatomy.made[t] not in mine]
    again = tuple(at for at in members if at <= through or at < before)
    inputs = tuple(dict.fromkeys(outside))
    return Region(*key, tuple(members), again, inputs, min(asked), max(asked))
