"""Uniform training chains: the binomial optimum, by theorem.

On a chain of equal steps the least number of forward runs is known in closed
form, and so is a schedule that reaches it (Griewank & Walther 2000, Algorithm
799, doi:10.1145/347837.347846). Integer programs have a hard time there: the
checkpoints of equal steps can be swapped at will.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import comb

import numpy as np

from schedule.graph import Graph
from schedule.layout import Ints
from schedule.values import total


def least_steps(length: int, checkpoints: int) -> int:
    """Forward steps that reversing `length` steps takes with that many checkpoints, at least.

    T(l, c) = r·l − β(c + 1, r − 1), where β(c, r) = C(c + r, c) and r is the least
    integer with β(c, r) ≥ l. The first state takes one of the checkpoints.

    Examples
    --------
    >>> least_steps(1, 5), least_steps(10, 1), least_steps(10, 3)
    (0, 45, 15)
    """
    if length <= 1:
        return 0
    repeats = _repeats(length, checkpoints)
    return repeats * length - comb(checkpoints + repeats, repeats - 1)


def _repeats(length: int, checkpoints: int) -> int:
    """The least r with C(checkpoints + r, checkpoints) ≥ length."""
    repeats = 0
    while comb(checkpoints + repeats, checkpoints) < length:
        repeats += 1
    return repeats


@dataclass(frozen=True, slots=True)
class UniformChain:
    """A training chain of `length` + 1 forward nodes and `length` backward ones.

    Node i reads node i − 1, and beyond `length` node 2·length − i as well. All
    tensors have the size `memory`, all forward nodes the same compute.
    """

    graph: Graph
    length: int
    memory: int

    def checkpoints(self, budget: int) -> int:
        """How many states the budget has room for beside the two in work, the void one too."""
        layout = self.graph.layout
        return int((budget - layout.resident_memory) // self.memory) - 2

    def least_compute(self, budget: int) -> int | float | None:
        """The least compute within the budget; None where it is below three tensors.

        The forward nodes are `length` + 1 steps from nothing to the last; the
        last backward node needs no step of its own.
        """
        room = self.checkpoints(budget)
        if room < 1:
            return None
        forward = least_steps(self.length + 1, min(room, self.length + 1)) + 1
        nodes = self.graph.nodes
        once = total(node.compute for node in nodes[self.length + 1 :])
        return once + forward * nodes[0].compute

    def runs(self, budget: int) -> Ints:
        """Runs of least compute within a budget of at least three tensors. O(runs)."""
        found: list[int] = []
        stack = [(0, self.length + 1, min(self.checkpoints(budget), self.length + 1))]
        while stack:
            # Reverse `steps` steps from `state`, which is there: 0 is void, i is node i − 1.
            state, steps, room = stack.pop()
            if steps == 1:
                found += self._turn(state)
            elif room == 1:
                found += range(state, state + steps - 1)
                stack.append((state, steps - 1, 1))
                stack.append((state + steps - 1, 1, 1))
            else:
                ahead = _ahead(steps, room)
                found += range(state, state + ahead)
                stack.append((state, ahead, room))
                stack.append((state + ahead, steps - ahead, room - 1))
        return np.array(found, np.int64)

    def _turn(self, state: int) -> list[int]:
        """What runs backward from a state."""
        if state == 0:
            return []
        if state == self.length:
            return [self.length, self.length + 1]
        return [2 * self.length - state + 1]


def _ahead(steps: int, room: int) -> int:
    """How many steps to advance before the next checkpoint, at the least total."""
    repeats = _repeats(steps, room)
    fewest = comb(room + repeats - 2, room) if repeats > 1 else 1
    return max(fewest, steps - comb(room - 1 + repeats, room - 1), 1)


def uniform_chain(graph: Graph) -> UniformChain | None:
    """The graph as a uniform training chain, where it is one. O(nodes)."""
    layout = graph.layout
    length, odd = divmod(layout.n_nodes - 1, 2)
    forward = graph.nodes[: length + 1]
    plain = (
        length >= 1
        and not odd
        and layout.resident[: layout.n_inputs].all()
        and layout.n_tensors == layout.n_inputs + layout.n_nodes
        and (layout.memory[layout.n_inputs :] == layout.new_memory[0]).all()
        and layout.new_memory[0] > 0
        and not layout.workspace.any()
        and layout.recomputable[: length + 1].all()
        and len({node.compute for node in forward}) == 1
        and layout.is_output.sum() == layout.is_output[-1] == 1
    )
    if not plain:
        return None
    for v, reads in enumerate(layout.reads_of):
        made = [t - layout.n_inputs for t in reads if t >= layout.n_inputs]
        want = {v - 1} if v <= length else {v - 1, 2 * length - v}
        if set(made) != want - {-1}:
            return None
    return UniformChain(graph, length, int(layout.new_memory[0]))
