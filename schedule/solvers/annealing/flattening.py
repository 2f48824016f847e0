"""Rounds of annealing that lower the peak of a sequence in which nothing runs twice."""

from __future__ import annotations

import math
from dataclasses import dataclass

from schedule.layout import Ints
from schedule.solvers.annealing.loop import MOST_PRICE, anneal
from schedule.solvers.annealing.rounds import laid_out
from schedule.solvers.annealing.state import BEST, TRIED, State
from schedule.solvers.contract import Deadline
from schedule.solvers.kit.randomness import random_of
from schedule.solvers.program.operations import Operations

#: The most moves between two looks at the clock and the peak, and into how many parts a
#: round is cut at least.
_CHUNK = 20_000
_PARTS = 20
#: Moves of the first round, per operation.
_MOVES = 500
#: So many turns through all rounds, each with twice the moves, that bring nothing are enough.
_PATIENCE = 2


@dataclass(frozen=True, slots=True)
class _Round:
    """Temperatures, in mean sizes times slots, and the target: how near to the best peak.

    At 0 the target is the peak that would be enough, so that the whole sequence is
    flattened; at 1 it would be the best peak itself.
    """

    hot: float
    cold: float
    near: float


#: Rounds taken in turn. The hottest leaves where the others come to rest.
_ROUNDS = (_Round(50.0, 0.5, 0.0), _Round(50.0, 0.5, 0.5), _Round(200.0, 2.0, 0.5))


class Flattening:
    """A search for the sequence of least peak among those that run everything once.

    What is annealed is the sum over all slots of the memory above a target, which
    lies below the best peak: every move that brings any slot nearer to it is seen.
    The same operations, start and seed give the same sequences, round by round,
    unless a round is stopped.

    Parameters
    ----------
    operations
        What runs.
    start
        Shape (o,): an executable sequence of operations.
    enough
        A peak below which nothing is gained, resident inputs not counted.
    seed
        Of the random choices.

    Attributes
    ----------
    best, peak
        The sequence of least peak, and that peak, resident inputs not counted.
    """

    def __init__(self, operations: Operations, start: Ints, enough: int, seed: int) -> None:
        self._operations, self._enough = operations, enough
        self._random = random_of(seed)
        held = float(operations.size.sum() + operations.extra.sum())
        self._unit = held / max(len(operations.nodes), 1)
        self._rounds = self._turn = 0  # turns up to the last that brought something
        self.best, self.peak = start, self._peak(start)

    @property
    def settled(self) -> bool:
        """Whether the peak is low enough, or the last turns brought nothing."""
        is_stuck = self._rounds // len(_ROUNDS) - self._turn >= _PATIENCE
        return is_stuck or self.peak <= self._enough

    def round(self, deadline: Deadline) -> bool:
        """One more round, from the best sequence, or a part of it; True: a lower peak."""
        turn, which = divmod(self._rounds, len(_ROUNDS))
        self._rounds += 1
        plan, before, runs = _ROUNDS[which], self.peak, self.best
        wanted = _MOVES * len(self._operations.nodes) * 2**turn
        done, cooling = 0, math.log(plan.cold / plan.hot)
        while done < wanted and not deadline.passed and self.peak > self._enough:
            count = min(_CHUNK, -(-wanted // _PARTS), wanted - done)
            target = self._enough + int((self.peak - self._enough) * plan.near)
            state = self._laid_out(runs, target)
            heat = plan.hot * self._unit * MOST_PRICE / max(target, 1)
            anneal(
                self._operations,
                state,
                count,
                heat * math.exp(cooling * done / wanted),
                heat * math.exp(cooling * (done + count) / wanted),
                False,
                0.0,
            )
            done += int(state.numbers[TRIED])
            runs = self._take_over(state)
        if self.peak < before:
            self._turn = -(-self._rounds // len(_ROUNDS))
        return self.peak < before

    def _take_over(self, state: State) -> Ints:
        """The sequence that the last moves end with, or one that met the target; keep the best."""
        met_target = state.reals[BEST] < math.inf
        slots = state.best if met_target else state.run_at
        runs = slots[slots >= 0]
        peak = self._peak(runs) if met_target else int(state.high.max())
        if peak < self.peak:
            self.best, self.peak = runs, peak
        return runs

    def _peak(self, runs: Ints) -> int:
        return int(self._laid_out(runs, self._enough).high.max())

    def _laid_out(self, runs: Ints, target: int) -> State:
        """A state at the highest price, which stays as it is while anything exceeds the target."""
        return laid_out(self._operations, target, self._random, runs, MOST_PRICE)
