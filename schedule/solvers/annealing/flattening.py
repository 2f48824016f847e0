"""Rounds of annealing that lower the peak of a sequence in which nothing runs twice."""

from __future__ import annotations

import math
from dataclasses import dataclass

from schedule.layout import Ints
from schedule.solvers.annealing.laying import laid_out
from schedule.solvers.annealing.loop import MOST_PRICE, anneal
from schedule.solvers.annealing.moves import MoveShares
from schedule.solvers.annealing.rounds import SECONDS_A_MOVE, SECONDS_A_RUN
from schedule.solvers.annealing.state import BEST, TRIED, State
from schedule.solvers.contract import Deadline
from schedule.solvers.kit.randomness import random_of
from schedule.solvers.program.operations import Operations


@dataclass(frozen=True, slots=True)
class FlatRound:
    """Temperatures, in mean sizes times slots, and the target: how near to the best peak.

    At 0 the target is the peak that would be enough, so that the whole sequence is
    flattened; at 1 it would be the best peak itself.
    """

    hot: float
    cold: float
    near: float


@dataclass(frozen=True, slots=True)
class FlatteningSettings:
    """How the peak of a sequence is lowered.

    Attributes
    ----------
    rounds
        A cycle goes through all of them, and each cycle has twice the moves of the one
        before. The hottest leaves the local optima in which the others end.
    moves
        Moves of the first round, for each operation.
    chunk, parts
        The most moves between two looks at the clock and the peak, and into how many
        parts a round is cut at least.
    patience
        Cycles in a row without a lower peak after which the search ends.
    rise
        The factor by which the price of excess falls while nothing exceeds the target.
    """

    rounds: tuple[FlatRound, ...] = (
        FlatRound(50.0, 0.5, 0.0),
        FlatRound(50.0, 0.5, 0.5),
        FlatRound(200.0, 2.0, 0.5),
    )
    moves: int = 500
    chunk: int = 20_000
    parts: int = 20
    patience: int = 2
    rise: float = 1.003


#: Runs only move: none is inserted, none removed.
_ONLY_MOVES = MoveShares(insert=0.0, remove=0.0, shift=0.0)


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
        A peak that ends the search, as no lower one is of use; without resident inputs.
    seed, settings
        Seed of the random choices; how the search is done.

    Attributes
    ----------
    best, peak
        The sequence of least peak, and that peak, resident inputs not counted.
    """

    def __init__(
        self,
        operations: Operations,
        start: Ints,
        enough: int,
        seed: int,
        settings: FlatteningSettings,
    ) -> None:
        self._operations, self._enough, self._settings = operations, enough, settings
        self._random = random_of(seed)
        held = float(operations.size.sum() + operations.extra.sum())
        self._unit = held / max(len(operations.nodes), 1)
        self._rounds = self._cycles = 0  # the latter up to the last one that lowered the peak
        self.best, self.peak = start, self._peak(start)

    @property
    def settled(self) -> bool:
        """Whether the peak is low enough, or the last cycles didn't lower it."""
        is_stuck = (
            self._rounds // len(self._settings.rounds) - self._cycles >= self._settings.patience
        )
        return is_stuck or self.peak <= self._enough

    def round(self, deadline: Deadline) -> bool:
        """One more round, from the best sequence, or a part of it; True: a lower peak."""
        settings = self._settings
        cycle, which = divmod(self._rounds, len(settings.rounds))
        self._rounds += 1
        chosen, before, runs = settings.rounds[which], self.peak, self.best
        wanted = settings.moves * len(self._operations.nodes) * 2**cycle
        done, cooling = 0, math.log(chosen.cold / chosen.hot)
        while done < wanted and not deadline.passed and self.peak > self._enough:
            count = min(settings.chunk, -(-wanted // settings.parts), wanted - done)
            target = self._enough + int((self.peak - self._enough) * chosen.near)
            state = self._laid_out(runs, target)
            heat = chosen.hot * self._unit * MOST_PRICE / max(target, 1)
            anneal(
                self._operations,
                state,
                count,
                heat * math.exp(cooling * done / wanted),
                heat * math.exp(cooling * (done + count) / wanted),
                0.0,
                _ONLY_MOVES,
            )
            tried = int(state.numbers[TRIED])
            done += tried
            deadline.spend(SECONDS_A_MOVE * tried + SECONDS_A_RUN * len(state.run_at))
            runs = self._take_over(state)
        if self.peak < before:
            self._cycles = -(-self._rounds // len(settings.rounds))
        return self.peak < before

    def _take_over(self, state: State) -> Ints:
        """The sequence at the end of the last moves, or one that met the target; keep the best."""
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
        return laid_out(
            self._operations, target, self._random, runs, MOST_PRICE, self._settings.rise
        )
