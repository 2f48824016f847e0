"""H-Revolve: chains of equal steps, with checkpoints on the device and in the levels below."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from schedule.graph import Graph
from schedule.layout import Ints
from schedule.levels import Level
from schedule.lowering import needed_in_order
from schedule.solvers.classics.adjoint.detection import adjoint_chain, reason_against
from schedule.solvers.classics.revolve import uniform_chain
from schedule.solvers.contract import Deadline, Incumbent, Problem, Proof
from schedule.solvers.offloading.attempt import Attempt
from schedule.solvers.offloading.gaps import Gap, Runs
from schedule.solvers.offloading.hierarchy import Action, Hierarchy, Operation, Storage


@dataclass(frozen=True)
class Steps:
    """A chain as H-Revolve sees it: states, and what runs from each.

    Attributes
    ----------
    states
        The tensors of each state that can be copied, n lists.
    turns
        The nodes that take a step back from the state before it, n lists. (Node i advances
        from state i.)
    """

    states: list[list[int]]
    turns: list[list[int]]


def steps_of(graph: Graph) -> Steps | None:
    """The steps of an adjoint chain, or of a uniform training chain; None: it is neither."""
    layout = graph.layout
    training = uniform_chain(graph)
    if training is not None:  # state i is what node i − 1 wrote, state 0 is nothing
        last = training.length
        back = [[2 * last - state + 1] for state in range(1, last)]
        turns = [[], *back, [last, last + 1]]
        return Steps([[], *([layout.n_inputs + v] for v in range(last))], turns)
    chain = adjoint_chain(graph)
    if chain is None:
        return None
    turns = [[v, chain.adjoint(v + 1)] for v in range(chain.length)]
    if chain.has_loss:
        turns[-1].insert(1, chain.length)
    read = [layout.reads_of[v] for v in range(chain.length)]
    made_by = [range(layout.n_inputs), *layout.outputs_of]
    states = [
        [t for t in read[v] if t in made_by[v] and not layout.resident[t]]
        for v in range(chain.length)
    ]
    return Steps(states, turns)


@dataclass(frozen=True, slots=True)
class HRevolve:
    """Checkpoints of a chain on the device and below it, as H-Revolve places them.

    For adjoint chains (see `mixed`), and training chains of equal layers. Dynamic programming
    says which states are kept on the device, which are written to a level below, and when
    each is read, such that runs, writing and reading take least, one after the other
    (Herrmann & Pallez 2020, doi:10.1145/3378672; `HRevolve` in the package
    checkpoint-schedules). Steps count as equal: as large as the largest, as expensive as the
    mean. The device has as many slots as fit its budget beside one, the levels below as
    many as their capacity.

    What copies take counts in full, and then in part, as here they are made while steps run:
    whatever is best is proposed.

    Parameters
    ----------
    shares
        Which parts of the time of copies count.

    Notes
    -----
    O(n² · slots) for each part, vectorised, and O(n · slots) memory for n steps.
    """

    shares: tuple[float, ...] = (1.0, 0.5, 0.0)
    knows_levels: bool = True
    name: str = "h_revolve"
    summary: str = "checkpoints of a chain in several levels (H-Revolve; Herrmann & Pallez 2020)"

    def supports(self, graph: Graph) -> str | None:
        """Adjoint chains, and uniform training chains."""
        return None if uniform_chain(graph) else reason_against(graph)

    def improve(self, problem: Problem, incumbent: Incumbent, deadline: Deadline) -> Proof:
        """A schedule for each share of the time of copies, as far as there is time."""
        steps = steps_of(problem.graph)
        if incumbent.offer(needed_in_order(problem.graph)) or steps is None:
            return Proof()
        attempt = Attempt(problem, incumbent)
        for share in self.shares:
            if deadline.passed:
                break
            _Chain(problem, steps, share, deadline).improve(attempt)
        return Proof()


class _Chain:
    """One chain, where copies cost so much of their time."""

    def __init__(self, problem: Problem, steps: Steps, share: float, deadline: Deadline) -> None:
        self.graph, self.steps, self.deadline = problem.graph, steps, deadline
        self.budget = problem.budget or 0
        layout = self.graph.layout
        sizes = [int(layout.memory[state].sum()) for state in steps.states]
        self.size = max(*sizes, 1)
        self.below = _storages(problem.levels, self.size, share)
        self.forward = float(layout.compute[: len(steps.states)].mean())

    def improve(self, attempt: Attempt) -> None:
        """Offer the plan with the most slots on the device that fits."""
        one = self._planned(1)
        if one is None:
            return
        runs, gaps = one
        slots = 2 + max(self.budget - peak_with(runs, gaps), 0) // self.size
        while slots > 0 and not self.deadline.passed:
            found = one if slots == 1 else self._planned(slots)
            if found is not None and np.isfinite(attempt.offer(*found)):
                break
            slots -= 1 + slots // 8

    def _planned(self, slots: int) -> tuple[Runs, list[Gap]] | None:
        """The runs with so many slots on the device, and what is copied; None: too many runs."""
        levels = (Storage(slots, 0.0, 0.0), *self.below)
        plan = Hierarchy(len(self.steps.states), levels, self.forward, 0.0)
        runs, loads = runs_of(self.steps, plan.operations(), self.deadline.most_runs)
        if runs is None:
            return None
        laid_out = Runs(self.graph, runs)
        gaps = [gap for gap in laid_out.gaps() if (gap.storage, gap.next) in loads]
        return laid_out, gaps


def runs_of(
    steps: Steps, operations: Iterable[Operation], most: int
) -> tuple[Ints | None, set[tuple[int, int]]]:
    """The runs of a plan (None: more than `most`), and which tensors are loaded before which."""
    runs: list[int] = []
    loads: set[tuple[int, int]] = set()
    for action, state, to in operations:
        if action is Action.ADVANCE:
            runs += range(state, to)
        elif action is Action.TURN:
            runs += steps.turns[state]
        elif action is Action.LOAD and to:
            loads.update((t, len(runs)) for t in steps.states[state])
        if len(runs) > most:
            return None, loads
    return np.array(runs, np.int64), loads


def peak_with(runs: Runs, gaps: list[Gap]) -> int:
    """The peak of runs where storages are away in these gaps."""
    memory = runs.memory.copy()
    for gap in gaps:
        memory[gap.last + 1 : gap.next] -= gap.size
    return int(memory.max(initial=0))


def _storages(levels: tuple[Level, ...], size: int, share: float) -> list[Storage]:
    """The levels below the device; what is on one went through those above it."""
    found, write, read = [], 0.0, 0.0
    for level in levels:
        write += level.time_down(size) * share
        read += level.time_up(size) * share
        found.append(Storage(level.capacity // size, write, read))
    return found
