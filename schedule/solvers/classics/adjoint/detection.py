"""Adjoint chains: steps that write the next state and what their adjoints read."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from schedule.graph import Graph
from schedule.layout import Bools, Ints, Layout


@dataclass(frozen=True)
class AdjointChain:
    """A graph as n steps forward, perhaps a loss, and n adjoint steps back.

    Step j (from 1) reads state j − 1 and writes state j and its *dependency data*, all that
    its adjoint reads of the forward pass. Memory is what the model counts: m below is the
    budget less what is stored for other steps. Steps are numbered from 1, states from 0.

    Attributes
    ----------
    length
        The number of steps n.
    state
        Shape (n + 1,): memory of each state; 0 for the first one where it is resident, and
        for the last one where nothing reads it.
    dependency
        Shape (n + 1,): memory of each step's dependency data; 0 for step 0, as there is none.
    forward
        Shape (n + 1,): memory that a run of each step allocates.
    back
        Shape (n + 1,): least m for each adjoint step.
    turn
        Least m for the loss; 0 where there is none.
    around
        Shape (n + 2,): memory in use in any case when step r is the next to go back: what is
        resident, the gradient that its adjoint reads, results of later adjoints. The last one
        is for the first pass, before any gradient.
    compute
        Shape (n + 1,): compute of one run of each step.
    has_loss
        Whether a node lies between the last step and its adjoint.
    """

    length: int
    state: Ints
    dependency: Ints
    forward: Ints
    back: Ints
    turn: int
    around: Ints
    compute: list[int | float]
    has_loss: bool

    def adjoint(self, step: int) -> int:
        """The node that is the adjoint of a step."""
        return 2 * self.length - step + int(self.has_loss)

    @property
    def is_uniform(self) -> bool:
        """Whether all steps are alike, but for what the first and the last one begin and end with.

        What lies beside them are the first state, the last one, the gradient that the loss
        writes, and all that only the adjoint of the first step takes.
        """
        alike = (
            self.state[1:-1],
            self.dependency[1:-1],
            self.forward[1:-1],
            self.back[2:-1],
            self.around[1:-2],
            np.array(self.compute[1:]),
        )
        return all((each == each[:1]).all() for each in alike)


def adjoint_chain(graph: Graph) -> AdjointChain | None:
    """The graph as an adjoint chain, where it is one. O(nodes + edges)."""
    return None if reason_against(graph) is not None else _measured(graph)


def reason_against(graph: Graph) -> str | None:
    """Why a graph is no adjoint chain; None: it is one. O(nodes + edges)."""
    layout = graph.layout
    length, odd = divmod(layout.n_nodes, 2)
    if length < 2:
        return "it has fewer than two steps with adjoints"
    if not np.array_equal(layout.storage, np.arange(layout.n_tensors)):
        return "it has views: states and dependency data have to lie on storages of their own"
    edges = _Edges(layout)
    wrong = np.flatnonzero(~edges.is_in_place)
    if len(wrong):
        reader = layout.node_names[edges.reader[wrong[0]]]
        tensor = layout.tensor_names[layout.reads[wrong[0]]]
        return (
            f"{reader!r} reads {tensor!r}: a step may read only the state before it, its adjoint"
            " what that step wrote and what the adjoint before wrote"
        )
    both = np.flatnonzero(edges.is_state & edges.is_dependency & ~edges.is_last_step)
    if len(both):
        return (
            f"both the next step and its own adjoint read {layout.tensor_names[both[0]]!r}: states"
            " and dependency data have to be tensors apart"
        )
    return _against_nodes(layout, edges, length + odd)


def _against_nodes(layout: Layout, edges: _Edges, back: int) -> str | None:
    """The same for what nodes lack, `back` being the first adjoint, and what may not be."""
    names, count = layout.node_names, layout.n_nodes
    reads_before = np.zeros(count, dtype=bool)
    reads_before[edges.reader[edges.is_before]] = True
    reads_step = np.zeros(count, dtype=bool)
    reads_step[edges.reader[edges.is_mirrored]] = True
    apart = np.flatnonzero(~reads_before[1:])
    if len(apart):
        v = int(apart[0])
        return f"{names[v + 1]!r} reads nothing that {names[v]!r} wrote, so they are no chain"
    lacking = np.flatnonzero(~reads_step[back:])
    if len(lacking):
        step = names[count - 1 - (back + int(lacking[0]))]
        return f"{names[back + lacking[0]]!r} reads nothing that {step!r} wrote for it"
    if not layout.needed.all():
        return "it has nodes that no output needs"
    if not layout.recomputable[: count // 2 - 1].all():
        return f"{names[layout.recomputable.argmin()]!r} must not run twice"
    outputs = np.flatnonzero(layout.is_output & ~layout.resident)
    early = outputs[layout.producer[outputs] < count // 2]
    if len(early):
        return f"{layout.tensor_names[early[0]]!r} is an output of the forward pass, so it stays"
    return None


class _Edges:
    """Who reads what: the parts that reads have in an adjoint chain.

    Attributes
    ----------
    reader
        Shape (edges,): the node that reads.
    is_before, is_mirrored, is_in_place
        Shape (edges,): whether the node right before it wrote what is read, or the step of
        which it is the adjoint, or that, or an input from which it may read.
    is_state, is_dependency, is_last_step
        Shape (tensors,): whether a step's result is read by the next step (or the loss), or by
        its adjoint, and whether the last step has written it.
    """

    def __init__(self, layout: Layout) -> None:
        count = layout.n_nodes
        length = count // 2
        self.reader = np.repeat(np.arange(count), np.diff(layout.first_read))
        maker = layout.producer[layout.reads]
        of_step = (maker >= 0) & (maker < length)
        self.is_mirrored = of_step & (self.reader == count - 1 - maker)
        self.is_before = (maker >= 0) & (self.reader == maker + 1)
        given = (maker < 0) & (layout.resident[layout.reads] | (self.reader == 0))
        self.is_in_place: Bools = self.is_before | self.is_mirrored | given
        self.is_dependency = np.zeros(layout.n_tensors, dtype=bool)
        self.is_dependency[layout.reads[self.is_mirrored]] = True
        self.is_state = np.zeros(layout.n_tensors, dtype=bool)
        self.is_state[layout.reads[self.is_before & of_step]] = True
        self.is_last_step = layout.producer == length - 1


def _measured(graph: Graph) -> AdjointChain:
    """What the steps of a graph take that is an adjoint chain."""
    layout = graph.layout
    length, odd = divmod(layout.n_nodes, 2)
    count, edges = layout.n_nodes, _Edges(layout)

    def written(which: Bools) -> Ints:
        """Shape (count,): memory of these of the tensors that each node writes."""
        made = np.flatnonzero(which & (layout.producer >= 0))
        found = np.zeros(count, np.int64)
        np.add.at(found, layout.producer[made], layout.memory[made])
        return found

    dependency = np.concatenate([[0], written(edges.is_dependency)[:length]])
    state = np.concatenate([[0], written(edges.is_state & ~edges.is_dependency)[:length]])
    # Of nodes from the loss on, from the last adjoint step (1) to the loss (length + 1).
    read = np.zeros(layout.n_tensors, dtype=bool)
    read[layout.reads] = True
    state[0] = layout.memory[layout.freeable & read].sum()
    gradient = written(read & ~layout.is_output)[::-1][: length + odd]
    kept = written(layout.is_output)[::-1][: length + odd]
    # While adjoint step r is the next: what step r + 1 wrote for it, what all before it keep.
    around = np.full(length + 2, layout.resident_memory)
    around[: length + odd] += gradient + np.cumsum(kept[::-1])[::-1]
    step = np.arange(1, length + 1)
    allocated = layout.run_memory[::-1][:length]
    back = around[step] + dependency[step] + allocated
    turn = around[-1] + dependency[-1] + state[-1] + layout.run_memory[length] if odd else 0
    return AdjointChain(
        length=length,
        state=state,
        dependency=dependency,
        forward=np.concatenate([[0], layout.run_memory[:length]]),
        back=np.concatenate([[0], back]),
        turn=int(turn),
        around=around,
        compute=[0, *(node.compute for node in graph.nodes[:length])],
        has_loss=bool(odd),
    )
