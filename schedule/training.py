"""From a forward graph to its training graph."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import Literal

from schedule.errors import BadOption
from schedule.graph import Graph, Input, Node, Tensor, require_graph
from schedule.values import cost, is_listed, shown, switch

#: What a backward node reads of its forward node's tensors beside the incoming gradients.
Reads = Literal["both", "inputs", "outputs", "nothing"]
#: The same for one node: a choice, or the tensors by name.
Saved = Reads | Collection[str]
#: A cost: a multiple of the forward node's, or per node, or computed from the node.
Costs = float | Mapping[str, float] | Callable[[Node], float]


def gradient(
    forward: Graph,
    *,
    loss: str | Iterable[str] | None = None,
    wrt: str | Iterable[str] | None = None,
    reads: Reads | Mapping[str, Saved] = "both",
    passes: str | Iterable[str] = (),
    compute: Costs = 2,
    sum_compute: float = 0,
    seed: bool = False,
    keep: Iterable[str] | None = None,
) -> Graph:
    """The training graph: the forward nodes, then one backward node for each, in reverse.

    The backward node of `v` is called `d_v`. It reads the gradients of what v
    writes and, as `reads` says, what v reads and writes; it writes one
    gradient for each tensor that v reads and that needs one, as large as the
    tensor (as its storage, where it is a view; divided evenly where v makes
    several views of one tensor). Where one tensor has several readers, their
    gradients are summed as they arrive, two at a time, as automatic
    differentiation does: so at most two are live at once. Nodes that the loss
    doesn't depend on, or that depend on nothing in `wrt`, get no backward node.

    Parameters
    ----------
    forward
        A graph without backward nodes.
    loss
        The tensors to differentiate; by default the graph's outputs.
    wrt
        The tensors whose gradients are wanted. By default the resident inputs
        (parameters); where there are none, all inputs; where the graph has no
        inputs, what those nodes write that read nothing.
    reads
        What a backward node reads of its forward node's tensors: `"inputs"`
        (a convolution), `"outputs"` (a ReLU), `"both"`, or `"nothing"` (a
        sum). One choice for all; or a mapping from nodes' names to a choice
        or a list of tensors (a dropout's mask); nodes left out: `"both"`.
    passes
        Nodes whose backward hands the one incoming gradient on as it is (a
        residual addition): it is a view and costs nothing. A node whose only
        output is a view does so by itself.
    compute
        A backward node's compute: this many times the forward node's, or a
        mapping from nodes' names to costs (others: twice), or a function of
        the forward node.
    sum_compute
        Compute of each sum of two gradients.
    seed
        True: the gradient of each loss comes from outside, as a freeable
        input. False: it is the constant 1, without memory; the loss's
        backward node reads the loss itself instead.
    keep
        Forward tensors that stay until the end; by default the graph's outputs.

    Returns
    -------
    Graph
        Its outputs are those of `keep`, then the gradients in the order of `wrt`.

    Raises
    ------
    BadOption
        An option names what the graph doesn't have, or isn't of its kind (a set of tensors
        has no order); or nothing in `wrt` influences the loss.

    Notes
    -----
    O(nodes + edges). Backward nodes have the forward node's workspace.

    Examples
    --------
    >>> from schedule import GraphBuilder, gradient
    >>> g = GraphBuilder()
    >>> w = g.input("w", memory=8)
    >>> y = g.node("y", g.node("h", w, memory=8), memory=1)
    >>> [node.name for node in gradient(g.build(), reads="inputs").nodes]
    ['h', 'y', 'd_y', 'd_h']
    """
    require_graph(forward)
    losses = _names(loss, forward.outputs, "loss")
    backward = _Backward(forward, losses, _wanted(forward, wrt))
    backward.saved = _saved(forward, reads)
    if not isinstance(passes, Iterable):
        raise BadOption(f"passes is {shown(passes)}; give a node's name, or several")
    backward.passes = {passes} if isinstance(passes, str) else set(passes)
    if isinstance(compute, Mapping):
        _check_nodes(forward, compute, "compute")
    backward.cost = _cost_of(compute)
    backward.sum_compute = sum_compute
    _check_nodes(forward, backward.passes, "passes")
    kept = _names(keep, forward.outputs, "keep")
    _check_tensors(forward, kept, "keep")
    if switch(seed, "seed"):
        backward.seed()
    for node in reversed(forward.nodes):
        backward.differentiate(node)
    outputs = dict.fromkeys([*kept, *backward.found()])
    nodes, inputs = [*forward.nodes, *backward.nodes], [*forward.inputs, *backward.seeds]
    return Graph(nodes, inputs, outputs, f"{forward.name}-train")


def _names(given: str | Iterable[str] | None, default: Iterable[str], option: str) -> list[str]:
    if given is None:
        return list(default)
    if not isinstance(given, str) and not is_listed(given):
        raise BadOption(f"{option} is {shown(given)}; give a tensor's name, or several in a list")
    return [given] if isinstance(given, str) else list(given)


def _wanted(forward: Graph, wrt: str | Iterable[str] | None) -> list[str]:
    """The tensors whose gradients are wanted."""
    sources = [out.name for node in forward.nodes if not node.inputs for out in node.outputs]
    resident = [item.name for item in forward.inputs if not item.freeable]
    inputs = [item.name for item in forward.inputs]
    return _names(wrt, resident or inputs or sources, "wrt")


def _saved(forward: Graph, reads: Reads | Mapping[str, Saved]) -> dict[str, tuple[str, ...]]:
    """By forward node: the tensors that its backward node reads."""
    given = {} if isinstance(reads, str) else reads
    if not isinstance(given, Mapping):
        raise BadOption(
            f"reads is {shown(reads)}; it is a choice, or a mapping from nodes' names to choices"
        )
    _check_nodes(forward, given, "reads")
    default: Saved = reads if isinstance(reads, str) else "both"
    return {node.name: _saved_by(node, given.get(node.name, default)) for node in forward.nodes}


def _saved_by(node: Node, choice: Saved) -> tuple[str, ...]:
    outputs = tuple(out.name for out in node.outputs)
    choices = {"both": node.inputs + outputs, "inputs": node.inputs}
    choices |= {"outputs": outputs, "nothing": ()}
    if isinstance(choice, str):
        if choice not in choices:
            known = ", ".join(choices)
            raise BadOption(
                f"reads of node {node.name!r} is {shown(choice)};"
                f" it is one of {known}, or a list of tensors"
            )
        return choices[choice]
    if not is_listed(choice):
        raise BadOption(f"reads of node {node.name!r} is {shown(choice)}; give a list of tensors")
    for name in choice:
        if name not in choices["both"]:
            raise BadOption(
                f"reads of node {node.name!r} names {shown(name)},"
                f" which the node neither reads nor writes"
            )
    return tuple(choice)


def _cost_of(compute: Costs) -> Callable[[Node], float]:
    if callable(compute):
        return compute
    if isinstance(compute, Mapping):
        return lambda node: compute.get(node.name, 2 * node.compute)
    factor = cost(compute, "compute")
    return lambda node: factor * node.compute


def _check_nodes(forward: Graph, names: Iterable[str], option: str) -> None:
    known = {node.name for node in forward.nodes}
    for name in names:
        if name not in known:
            raise BadOption(f"{option} names {shown(name)}, which is no node of the graph")


def _check_tensors(forward: Graph, names: Iterable[str], option: str) -> None:
    known = forward.tensors
    for name in names:
        if name not in known:
            raise BadOption(f"{option} names {shown(name)}, which is no tensor of the graph")


class _Backward:
    """The backward nodes made so far, and the gradient of each tensor so far."""

    saved: dict[str, tuple[str, ...]]
    passes: set[str]
    cost: Callable[[Node], float]
    sum_compute: float

    def __init__(self, forward: Graph, losses: list[str], wanted: list[str]) -> None:
        for node in forward.nodes:
            if node.backward:
                raise BadOption(f"node {node.name!r} is a backward node; give a forward graph")
        _check_tensors(forward, losses, "loss")
        _check_tensors(forward, wanted, "wrt")
        self.nodes: list[Node] = []
        self.seeds: list[Input] = []
        self._losses, self._wanted = set(losses), wanted
        self._needs = set(wanted)
        for node in forward.nodes:
            if not self._needs.isdisjoint(node.inputs):
                self._needs.update(out.name for out in node.outputs)
        if self._needs.isdisjoint(losses):
            raise BadOption(
                f"no gradient: the loss ({', '.join(losses)}) depends on none of"
                f" {', '.join(wanted) or 'nothing'}"
            )
        self._size = _sizes(forward)
        self._gradient: dict[str, str] = {}
        self._taken = {node.name for node in forward.nodes} | set(forward.tensors)

    def seed(self) -> None:
        """Let the losses' gradients come from outside."""
        for loss in sorted(self._losses & self._needs):
            self.seeds.append(Input(self._fresh(f"d_{loss}"), self._size[loss], freeable=True))
            self._gradient[loss] = self.seeds[-1].name
        self._losses = set()

    def differentiate(self, node: Node) -> None:
        """Add the backward node of `node` (and sums), where it needs one."""
        targets = [name for name in dict.fromkeys(node.inputs) if name in self._needs]
        outputs = [out.name for out in node.outputs]
        incoming = [name for name in outputs if name in self._losses]  # the loss for its gradient 1
        incoming += [self._gradient[name] for name in outputs if name in self._gradient]
        if not targets or not incoming:
            return
        name = self._fresh(f"d_{node.name}")
        given = incoming[0] not in outputs  # not a loss, which only stands for its gradient
        passed = len(incoming) == 1 and given and self._hands_on(node, targets)
        made = [name] if len(targets) == 1 else [self._fresh(f"{name}.{t}") for t in targets]
        written = tuple(
            Tensor(out, 0, incoming[0]) if passed else Tensor(out, self._size[target])
            for out, target in zip(made, targets)
        )
        inputs = tuple(dict.fromkeys(incoming if passed else [*incoming, *self.saved[node.name]]))
        workspace = 0 if passed else node.workspace
        compute = 0 if passed and node.name in self.passes else self.cost(node)
        self.nodes.append(Node(name, inputs, written, compute, workspace, backward=True))
        for target, out in zip(targets, made):
            self._add(target, out)

    def _hands_on(self, node: Node, targets: list[str]) -> bool:
        """Whether the node's gradients are the incoming one, seen otherwise."""
        views = [out.view_of for out in node.outputs]
        return views == targets or node.name in self.passes

    def _add(self, target: str, part: str) -> None:
        """Take a part of `target`'s gradient: the first as it is, later ones summed."""
        known = self._gradient.get(target)
        if known is not None:
            name = self._fresh(f"d_{target}.sum")
            total = Tensor(name, self._size[target])
            self.nodes.append(Node(name, (known, part), (total,), self.sum_compute, backward=True))
            part = name
        self._gradient[target] = part

    def found(self) -> list[str]:
        """The gradients of what was wanted, those that the loss depends on."""
        return [self._gradient[name] for name in self._wanted if name in self._gradient]

    def _fresh(self, name: str) -> str:
        """`name`, or where that is taken, the first of `name_2`, `name_3`, … that isn't."""
        fresh, number = name, 2
        while fresh in self._taken:
            fresh, number = f"{name}_{number}", number + 1
        self._taken.add(fresh)
        return fresh


def _sizes(forward: Graph) -> dict[str, int]:
    """How large the gradient of each tensor is."""
    found = {item.name: item.memory for item in forward.inputs}
    for node in forward.nodes:
        bases = [out.view_of for out in node.outputs]
        for out in node.outputs:
            if out.view_of is None:
                found[out.name] = out.memory
            else:
                found[out.name] = -(-found[out.view_of] // bases.count(out.view_of))
    return found
