"""Binomial checkpointing: the optimum on uniform training chains, by theorem.

On a chain of equal steps the least number of forward runs is known in closed
form, and so is a schedule that reaches it (Griewank & Walther 2000, Algorithm
799, doi:10.1145/347837.347846). Integer programs have a hard time there: the
checkpoints of equal steps can be swapped at will.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterator
from dataclasses import dataclass
from math import comb
from typing import ClassVar

import numpy as np

from schedule.graph import Graph
from schedule.layout import Ints, Layout, distinct, offsets
from schedule.lowering import free_early, needed_in_order, replayed
from schedule.memory import Trace
from schedule.solvers.classics.layers.detection import LayerChain, find_layers, reason_against
from schedule.solvers.classics.layers.runs import Choice, Task, layer_runs
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.values import total

#: Up to here every number of checkpoints is tried.
_ALL = 64


def least_steps(length: int, checkpoints: int) -> int:
    """The least number of forward steps that reverse `length` steps with this many checkpoints.

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
class Revolve:
    """Put checkpoints where the binomial coefficients say: best for layers that are all equal.

    The forward pass advances to a state, which is kept; the steps behind it are
    reversed from there, and then the steps before it, with the freed
    checkpoint. On a uniform training chain the distances of Griewank and
    Walther (2000, Algorithm 799, doi:10.1145/347837.347846) take the fewest
    forward runs of all schedules, so that the answer is proved there.

    Any other graph is taken as a chain of layers, as `chain` does
    (`schedule.solvers.classics.layers.detection`), and all layers as equal. Before its
    backward nodes, each layer runs once more from the state before it.

    Under a budget it takes the most checkpoints whose schedule fits (on replay:
    states differ in size); where none fits, that of least peak. Beyond 64
    checkpoints it tries every tenth fewer, then what lies between the first that
    fits and the last that doesn't. Without a budget, or where the graph fits as
    it is, nothing runs twice.

    Parameters
    ----------
    checkpoints
        How many states to keep at a time, at least 1, whatever the budget. The
        state before the first layer counts as one, though it takes no memory.
        None: as above.

    Notes
    -----
    O(runs) for a uniform chain; elsewhere for each number of checkpoints tried.
    """

    checkpoints: int | None = None
    counts_work: ClassVar[bool] = True
    name: str = "revolve"
    summary: str = "binomial checkpoints, best for equal layers (Griewank & Walther 2000)"

    def supports(self, graph: Graph) -> str | None:
        """Graphs with a backward pass whose forward pass can be cut into layers."""
        return None if uniform_chain(graph) else reason_against(graph)

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """The plan with the most checkpoints that fits, or the one of least peak."""
        graph = problem.graph
        uniform = uniform_chain(graph)
        if self.checkpoints is not None:
            return self._fixed(problem, incumbent, deadline, uniform)
        plain = needed_in_order(graph)
        if problem.budget is None or problem.fits(plain.peak):
            incumbent.offer(plain)
            return Proof()
        if uniform is not None:
            proof = uniform.improve(problem, incumbent, deadline)
            if proof is not None:
                return proof
        incumbent.offer(plain)
        chain = None if uniform else find_layers(graph, problem.order)
        if chain is not None:
            _offer_most_that_fit(problem, incumbent, deadline, chain)
        return Proof()

    def _fixed(
        self,
        problem: Problem,
        incumbent: Incumbent,
        deadline: Deadline,
        uniform: UniformChain | None,
    ) -> Proof:
        """The plan with as many checkpoints as the option says."""
        graph, slots = problem.graph, max(self.checkpoints or 1, 1)
        if uniform is not None:
            count = uniform.count(slots)
            if count > deadline.most_runs:
                return Proof(runs=count)
            incumbent.offer(free_early(graph, uniform.runs_with(slots)))
            return Proof()
        chain = find_layers(graph, problem.order)
        plan = _binomial(chain, slots, deadline) if chain else needed_in_order(graph)
        if plan is not None:
            incumbent.offer(plan)
        return Proof()


def _offer_most_that_fit(
    problem: Problem, incumbent: Incumbent, deadline: Deadline, chain: LayerChain
) -> None:
    """Offer the plan with the most checkpoints that fits, or that of least peak."""
    least: Trace | None = None
    above = len(chain.layers) + 1  # with this many or more, nothing fits
    for slots in _falling(len(chain.layers)):
        found = _binomial(chain, slots, deadline)
        if found is not None and problem.fits(found.peak):
            for more in range(above - 1, slots, -1):  # what was skipped on the way here
                closer = _binomial(chain, more, deadline)
                if closer is not None and problem.fits(closer.peak):
                    found = closer
                    break
            incumbent.offer(found)
            return
        above = slots
        if found is not None and (least is None or found.peak < least.peak):
            least = found
        if deadline.passed:
            break
    if least is not None:
        incumbent.offer(least)


def _falling(count: int) -> Iterator[int]:
    """Numbers from `count` to 1: in steps of a tenth down to `_ALL`, then each."""
    while count >= 1:
        yield count
        count -= max(1, count // 10 if count > _ALL else 1)


def _binomial(chain: LayerChain, slots: int, deadline: Deadline) -> Trace | None:
    """The plan with `slots` checkpoints; None where it is too long."""

    def choose(task: Task, slots: int) -> Choice:
        steps = task.end - task.start + 1
        if steps == 1:
            return Choice(None, 0, 0)
        slots = min(slots, steps)
        ahead = steps - 1 if slots == 1 else _ahead(steps, slots)
        return Choice(task.start + ahead, max(slots - 1, 1), slots)

    runs = layer_runs(chain, choose, slots, deadline.most_runs)
    return None if runs is None else replayed(chain.graph, runs)


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
        """Checkpoint slots: states that fit beside the two in work, the void one included."""
        layout = self.graph.layout
        return int((budget - layout.resident_memory) // self.memory) - 2

    def least_compute(self, budget: int) -> int | float | None:
        """The least compute within the budget; None where it is below three tensors.

        The forward nodes are `length` + 1 steps from nothing to the last; the
        last backward node needs no step of its own.
        """
        slots = self.checkpoints(budget)
        if slots < 1:
            return None
        nodes = self.graph.nodes
        once = total(node.compute for node in nodes[self.length + 1 :])
        return once + (self.count(slots) - self.length) * nodes[0].compute

    def count(self, checkpoints: int) -> int:
        """How many runs `runs_with` has."""
        steps = self.length + 1
        return least_steps(steps, min(checkpoints, steps)) + 1 + self.length

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof | None:
        """Offer the schedule of least compute within the budget; the proof, None as above.

        Where it is too long to be written, so is every schedule that fits; then that with
        the fewest checkpoints that isn't.
        """
        least = self.least_compute(problem.budget or 0)
        if least is None:
            return None
        slots, most = self.checkpoints(problem.budget or 0), deadline.most_runs
        count = self.count(slots)
        if count <= most:
            incumbent.offer(free_early(self.graph, self.runs_with(slots)))
            return Proof(bound=least)
        more = slots + bisect_left(
            range(slots, self.length + 1), -most, key=lambda slots: -self.count(slots)
        )
        if self.count(more) <= most:
            incumbent.offer(free_early(self.graph, self.runs_with(more)))
        return Proof(bound=least, runs=count)

    def runs_with(self, checkpoints: int) -> Ints:
        """Runs of least compute with this many states kept beside the two in work. O(runs)."""
        found: list[tuple[int, int]] = []  # from a node up to another, in order
        stack = [(0, self.length + 1, min(checkpoints, self.length + 1))]
        while stack:
            # Reverse `steps` steps from `state`, which is live: 0 is void, i is node i − 1.
            state, steps, slots = stack.pop()
            if steps == 1:
                found += self._backward_from(state)
            elif slots == 1:
                found.append((state, state + steps - 1))
                stack.append((state, steps - 1, 1))
                stack.append((state + steps - 1, 1, 1))
            else:
                ahead = _ahead(steps, slots)
                found.append((state, state + ahead))
                stack.append((state, ahead, slots))
                stack.append((state + ahead, steps - ahead, slots - 1))
        first, end = np.array(found, np.int64).T
        start = offsets(end - first)
        runs: Ints = np.arange(start[-1]) + np.repeat(first - start[:-1], end - first)
        return runs

    def _backward_from(self, state: int) -> list[tuple[int, int]]:
        """What runs backward from a state."""
        if state == 0:
            return []
        if state == self.length:
            return [(self.length, self.length + 2)]
        back = 2 * self.length - state + 1
        return [(back, back + 1)]


def _ahead(steps: int, slots: int) -> int:
    """How many steps to advance before the next checkpoint, at the least total."""
    repeats = _repeats(steps, slots)
    fewest = comb(slots + repeats - 2, slots) if repeats > 1 else 1
    return max(fewest, steps - comb(slots - 1 + repeats, slots - 1), 1)


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
    if not np.array_equal(_reads_of_nodes(layout), _reads_of_a_chain(length)):
        return None
    return UniformChain(graph, length, int(layout.new_memory[0]))


def _reads_of_nodes(layout: Layout) -> Ints:
    """Pairs of a node and one whose tensor it reads, as one number each, ascending."""
    reader = np.repeat(np.arange(layout.n_nodes), np.diff(layout.first_read))
    maker = layout.reads - layout.n_inputs
    return distinct(reader[maker >= 0] * layout.n_nodes + maker[maker >= 0])


def _reads_of_a_chain(length: int) -> Ints:
    """The same for a training chain: the node before, and for a backward node its forward one."""
    nodes, back = 2 * length + 1, np.arange(length + 1, 2 * length + 1)
    onward = np.arange(1, nodes)
    return distinct(np.concatenate([onward * nodes + onward - 1, back * nodes + 2 * length - back]))
