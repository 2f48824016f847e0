"""The layers of a chain side by side in one graph, each to be run on its own."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from schedule.graph import Graph, Input, Node, Tensor
from schedule.layout import Ints
from schedule.lowering import replayed
from schedule.solvers.classics.layers.detection import LayerChain

#: Nodes without memory or compute that mark where a run begins, where what is for later layers
#: has to be there, and what has to stay to the end: of a layer's own, and its input.
_MARKS = ("begin", "stay", "turn", "end", "pin")


class Bench:
    """A graph in which layers don't read each other's results, but inputs in their place.

    What a layer reads from outside is an input of its own for each storage. The
    layer's own input has its memory, and so has what no other layer reads any
    more; the rest is there for others, and has none here.

    Parameters
    ----------
    chain
        The chain of n layers.
    forward
        For each layer the forward nodes that may run.
    again
        Whether these run again, so that what is kept of the first run is there.

    Notes
    -----
    The methods run some of each layer's forward nodes, and those that go back
    its backward nodes too. What they return has the shape (n,) and counts from
    what is there before. Where the layer's input is `owned`, it is freed after
    its last use, otherwise at the end.
    """

    def __init__(self, chain: LayerChain, forward: list[list[int]], *, again: bool) -> None:
        self._backward = [layer.backward for layer in chain.layers]
        self._start: list[dict[int | str, int]] = []
        nodes: list[Node] = []
        inputs: list[Input] = []
        results: list[str] = []
        readers = _layers_reading(chain)
        for j, runs in enumerate(forward):
            part = _Part(chain, readers, j, again=again)
            part.add(runs)
            self._start.append({what: len(nodes) + at for what, at in part.place.items()})
            nodes += part.nodes
            inputs += part.inputs.values()
            results += part.results
        self._graph = Graph(nodes, inputs, results)

    def sweep(self, runs: list[list[int]], *, owned: bool) -> Ints:
        """The most in use while only what is handed on is made."""
        ahead, _, end = self._replay(
            [["begin", *each] for each in runs],
            [["stay"] if owned else ["stay", "pin"] for _ in runs],
        )
        return np.maximum(ahead, end)

    def turn(self, runs: list[list[int]], *, owned: bool) -> tuple[Ints, Ints, Ints]:
        """The most in use ahead, what is left before later layers run, and the most back."""
        return self._replay([["begin", *each, "turn"] for each in runs], self._back(owned))

    def last(self, runs: list[list[int]], *, owned: bool) -> tuple[Ints, Ints]:
        """The most in use ahead and back, where nothing is made for later layers."""
        ahead, _, back = self._replay([["begin", *each] for each in runs], self._back(owned))
        return ahead, back

    def _back(self, owned: bool) -> list[list[int | str]]:
        marks = ["end"] if owned else ["end", "pin"]
        return [[*nodes, *marks] for nodes in self._backward]

    def _replay(
        self, ahead: Sequence[Sequence[int | str]], back: Sequence[Sequence[int | str]]
    ) -> tuple[Ints, Ints, Ints]:
        """The most in use in either part, and what is in use at the end of the first."""
        runs: list[int] = []
        starts: list[int] = []
        for place, there, home in zip(self._start, ahead, back):
            starts += [len(runs), len(runs) + len(there)]
            runs += [place[what] for what in there]
            runs += [place[what] for what in home]
        trace = replayed(self._graph, np.array(runs, np.int64))
        during = trace.during[trace.codes >= 0]
        begin, turn = np.array(starts).reshape(-1, 2).T
        most = np.maximum.reduceat(during, starts)
        there = during[begin]
        return most[::2] - there, during[turn - 1] - there, most[1::2] - there


def _layers_reading(chain: LayerChain) -> list[set[int]]:
    """For each storage, the layers that read a tensor on it; −1 for the end."""
    layout, of_node = chain.graph.layout, chain.of_node.tolist()
    found: list[set[int]] = [set() for _ in range(layout.n_tensors)]
    for t, s in enumerate(layout.storage.tolist()):
        found[s].update(of_node[v] for v in layout.readers_of[t] if of_node[v] >= 0)
        if layout.is_output[t]:
            found[s].add(-1)
    return found


class _Part:
    """One layer's nodes, inputs and results, named after the layer."""

    def __init__(self, chain: LayerChain, readers: list[set[int]], j: int, *, again: bool) -> None:
        self._chain, self._layout = chain, chain.graph.layout
        self._layer, self._readers, self._j = chain.layers[j], readers, j
        self._storage: list[int] = self._layout.storage.tolist()
        input_of = chain.layers[j - 1].output if j else []
        self._input = self._storage[input_of[0]] if input_of else -1
        self._there = {*self._layer.once, *self._layer.kept} if again else set()
        self._again = again
        self._made: set[int] = set()
        self.nodes: list[Node] = []
        self.inputs: dict[str, Input] = {}
        self.results: list[str] = []
        self.place: dict[int | str, int] = {}

    def add(self, forward: list[int]) -> None:
        """All nodes, in an order in which they can run."""
        layer = self._layer
        self._made = {t for v in forward for t in self._layout.outputs_of[v]} - self._there
        own_input = [] if self._input < 0 else [self._outside(self._input)]
        given = self._given(forward)
        stay = [] if self._again else [*layer.kept, *layer.once]
        kept = [] if self._again else layer.kept
        self._add_mark("begin", own_input + given)
        for v in forward:
            self._add(v)
        handed_on = [self._inside(t) for t in layer.output if t in self._made]
        self._add_mark("stay", [*handed_on, *map(self._inside, stay), *given])
        self._add_mark("turn", [*handed_on, *map(self._inside, kept)])
        self._made.update(t for v in layer.backward for t in self._layout.outputs_of[v])
        for v in layer.backward:
            self._add(v)
        self._add_mark("end", [self._inside(t) for t in kept])
        self._add_mark("pin", own_input)
        self.results = [
            self._inside(t)
            for v in layer.backward
            for t in self._layout.outputs_of[v]
            if self._is_wanted(t)
        ]

    def _is_wanted(self, tensor: int) -> bool:
        """Whether what a backward node makes is read by an earlier layer, or at the end."""
        layout = self._layout
        readers = layout.readers_of[tensor]
        earlier = any(0 <= self._chain.of_node[v] < self._j for v in readers)
        return earlier or bool(layout.is_output[tensor])

    def _given(self, forward: list[int]) -> list[str]:
        """Freeable inputs of the graph that only this layer reads, and its forward nodes do."""
        read = {self._storage[t] for v in forward for t in self._layout.reads_of[v]}
        found = [s for s in read if self._layout.producer[s] < 0 and self._is_own(s)]
        return [self._outside(s) for s in sorted(found)]

    def _is_own(self, storage: int) -> bool:
        """Whether a storage from outside is there for this layer alone."""
        if storage == self._input:
            return True
        layout, readers = self._layout, self._readers[storage]
        if layout.resident[storage]:
            return False
        if layout.producer[storage] < 0:
            return readers == {self._j}
        return layout.producer[storage] >= layout.boundary and min(readers) == self._j

    def _outside(self, storage: int) -> str:
        """The input that stands for a storage from outside."""
        name = f"{self._j}/{storage}"
        if name not in self.inputs:
            own = bool(self._is_own(storage))
            memory = int(self._layout.memory[storage]) if own else 0
            self.inputs[name] = Input(name, memory, own)
        return name

    def _inside(self, tensor: int) -> str:
        return f"{self._j}.{tensor}"

    def _name(self, tensor: int) -> str:
        if tensor in self._made:
            return self._inside(tensor)
        return self._outside(self._storage[tensor])

    def _add(self, v: int) -> None:
        layout = self._layout
        node = self._chain.graph.nodes[v]
        number = layout.tensor_id
        outputs = []
        for t, out in zip(layout.outputs_of[v], node.outputs):
            view_of = None if out.view_of is None else self._name(number[out.view_of])
            outputs.append(Tensor(self._inside(t), out.memory, view_of))
        reads = tuple(self._name(t) for t in layout.reads_of[v])
        self.place[v] = len(self.nodes)
        name = f"{self._j}:{v}"
        self.nodes.append(Node(name, reads, tuple(outputs), 0, node.workspace))

    def _add_mark(self, mark: str, reads: Iterable[str]) -> None:
        name = f"{self._j}:{mark}"
        self.place[mark] = len(self.nodes)
        self.nodes.append(Node(name, tuple(reads), (Tensor(name),), 0))
