"""From operations to kernels: what is computed inside its readers takes no memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from schedule.errors import BadOption
from schedule.graph import Graph, Node, require_graph
from schedule.steps import AnySchedule, Schedule, codes_of
from schedule.values import shown, total

if TYPE_CHECKING:
    from schedule.layout import Ints


@dataclass(frozen=True)
class Fusion:
    """A graph of kernels, and the graph of nodes that it was made from.

    Attributes
    ----------
    graph
        The kernels. Each has the name, the outputs and the flags of the node that
        it ends with.
    nodes
        The graph that was given.
    members
        By kernel: the nodes that it runs, in the order of the program; the last
        one is the node of its name. A node may be in several kernels, or, where
        nobody reads it, in its own alone.
    """

    graph: Graph
    nodes: Graph
    members: Mapping[str, tuple[str, ...]]

    @property
    def fused(self) -> frozenset[str]:
        """The nodes that are no kernels: they are computed in those that read them."""
        return frozenset(node.name for node in self.nodes.nodes if node.name not in self.members)

    def runs(self, kernels: AnySchedule) -> Ints:
        """The runs of nodes that a schedule of kernels comes to.

        Parameters
        ----------
        kernels
            A schedule of `graph`, or what stands for one.

        Returns
        -------
        numpy.ndarray
            Shape (r,): numbers of nodes of `nodes`, in order.

        Raises
        ------
        WrongGraph, UnknownName, BadInput
            It is no schedule of `graph`.
        """
        import numpy as np

        number = self.nodes.layout.node_id
        inside = [[number[name] for name in self.members[k.name]] for k in self.graph.nodes]
        codes = codes_of(self.graph, kernels)
        found = [node for code in codes[codes >= 0].tolist() for node in inside[code]]
        return np.array(found, dtype=np.int64)

    def expand(self, kernels: AnySchedule) -> Schedule:
        """A schedule of kernels as a schedule of the nodes, freed as early as can be.

        Its compute is the same. Its peak is that of running node by node, where
        what is inside a kernel has memory after all.

        Raises
        ------
        WrongGraph, UnknownName, BadInput
            It is no schedule of `graph`.
        """
        from schedule.lowering import free_early

        return Schedule.of_codes(self.nodes, free_early(self.nodes, self.runs(kernels)))


def fuse(
    graph: Graph,
    fusible: Iterable[str],
    *,
    into: Iterable[str] | None = None,
    max_reads: int | None = None,
    max_nodes: int | None = None,
) -> Fusion:
    """The graph of kernels that a compiler makes of a graph of operations.

    A node in `fusible` is computed inside each of its readers, instead of being
    written, if all of them can take it in, and it may run again. Its memory is
    gone, its compute is paid once in each kernel that it is in, and that kernel
    reads what it read.

    Parameters
    ----------
    graph
        The operations.
    fusible
        Names of nodes that can be computed inside a reader: what goes element by
        element, and views.
    into
        Names of nodes that can compute what they read: those that are fusible,
        by default. A reduction is in here without being fusible: it takes in
        what it reduces, and its own result is written.
    max_reads, max_nodes
        A node that would make its readers read more tensors, or run more nodes,
        than so many in its place is written; at least 1; None: no limit. Inside
        a residual connection that goes through the whole program there would
        otherwise be all of it. What writes a view is never written for that.

    Returns
    -------
    Fusion
        The kernels, and which nodes each of them runs.

    Raises
    ------
    BadGraph
        `graph` is none.
    BadOption
        A name is no node's, or a limit is no integer ≥ 1.

    Notes
    -----
    What holds, exactly. A node is written if it isn't in `fusible`; if it must
    not run twice; if an output of the graph is among what it writes, or nobody
    reads it; if one of its readers isn't in `into`, or is written and writes a
    view of it; or by the limits. All others are fused. A kernel's members are its
    node and the fused nodes from which a path through fused nodes leads to it,
    each once. It reads what its members read and none of them writes; its
    compute, and its workspace, are the sums of its members'. Names, sizes and
    order are the graph's, so that a schedule of the kernels within a budget is
    one of the program in which fused values take no memory, and its compute is
    that of `Fusion.expand`'s.

    O(sum of the members of all kernels). This is inlining with a rule instead of
    a search; for searches over what to fuse see e.g. Jia et al., TASO (2019),
    https://doi.org/10.1145/3341301.3359630.

    Examples
    --------
    >>> import schedule
    >>> g = schedule.GraphBuilder()
    >>> x = g.input("x", memory=8)
    >>> product = g.node("product", x, memory=8, compute=50)
    >>> scaled = g.node("scaled", product, memory=8, compute=1)
    >>> bent = g.node("bent", scaled, memory=8, compute=2)
    >>> last = g.node("last", bent, memory=8, compute=50)
    >>> fusion = schedule.fuse(g.build(), ["scaled", "bent"])
    >>> fusion.members["bent"], fusion.graph.compute
    (('scaled', 'bent'), 103)
    """
    require_graph(graph)
    names = {node.name for node in graph.nodes}
    inner = _names(fusible, "fusible", names)
    outer = inner if into is None else inner | _names(into, "into", names)
    limits = _limit(max_reads, "max_reads"), _limit(max_nodes, "max_nodes")
    fused = _could_fuse(graph, inner, outer)
    made_by = {out.name: node.name for node in graph.nodes for out in node.outputs}
    node_of = {node.name: node for node in graph.nodes}
    reads: dict[str, dict[str, None]] = {}
    inside: dict[str, dict[str, None]] = {}
    for node in graph.nodes:
        reads[node.name], inside[node.name] = {}, {}
        for tensor in node.inputs:
            maker = made_by.get(tensor)
            if maker in fused:
                reads[node.name].update(reads[maker])
                inside[node.name].update(inside[maker])
            else:
                reads[node.name][tensor] = None
        inside[node.name][node.name] = None
        sizes = len(reads[node.name]), len(inside[node.name])
        is_large = any(limit is not None and n > limit for n, limit in zip(sizes, limits))
        if is_large and not any(out.view_of for out in node.outputs):
            fused.discard(node.name)
    position = {node.name: at for at, node in enumerate(graph.nodes)}
    members = {
        node.name: tuple(sorted(inside[node.name], key=position.__getitem__))
        for node in graph.nodes
        if node.name not in fused
    }
    kernels = [
        _kernel(node_of[name], tuple(reads[name]), [node_of[member] for member in found])
        for name, found in members.items()
    ]
    return Fusion(Graph(kernels, graph.inputs, graph.outputs, graph.name), graph, members)


def _kernel(node: Node, reads: tuple[str, ...], members: list[Node]) -> Node:
    """One kernel, that ends with a node."""
    return Node(
        node.name,
        reads,
        node.outputs,
        total(member.compute for member in members),
        sum(member.workspace for member in members),
        node.recomputable,
        node.backward,
    )


def _could_fuse(graph: Graph, inner: set[str], outer: set[str]) -> set[str]:
    """The nodes that all their readers can compute, without regard to limits."""
    readers: dict[str, list[Node]] = {name: [] for name in graph.tensors}
    for node in graph.nodes:
        for tensor in set(node.inputs):
            readers[tensor].append(node)
    wanted = set(graph.outputs)
    fused: set[str] = set()
    for node in reversed(graph.nodes):
        if node.name not in inner or not node.recomputable:
            continue
        written = {out.name for out in node.outputs}
        found = [reader for name in written for reader in readers[name]]
        viewing = [r for r in found if any(out.view_of in written for out in r.outputs)]
        if (
            found
            and not written & wanted
            and all(reader.name in outer for reader in found)
            and all(reader.name in fused for reader in viewing)
        ):
            fused.add(node.name)
    return fused


def _names(given: Iterable[str], what: str, known: set[str]) -> set[str]:
    if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
        raise BadOption(f"{what} is {shown(given)}; give a list of nodes' names")
    found = set()
    for name in given:
        if not isinstance(name, str) or name not in known:
            raise BadOption(f"{what} has {shown(name)}, which is no node of the graph")
        found.add(name)
    return found


def _limit(value: int | None, what: str) -> int | None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise BadOption(f"{what} is {shown(value)}; it is an integer ≥ 1, or None")
    return value
