"""Rounds of annealing: short ones first, from the start or from the best so far."""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np

from schedule.layout import Ints, offsets
from schedule.solvers.annealing.loop import anneal
from schedule.solvers.annealing.moves import SHARES, MoveShares
from schedule.solvers.annealing.state import (
    BEST,
    BLOCK,
    COST,
    EXCESS,
    SAME,
    TRIED,
    WEIGHT,
    State,
    set_up,
)
from schedule.solvers.contract import Deadline
from schedule.solvers.kit.randomness import Words, random_of
from schedule.solvers.program.operations import Operations
from schedule.solvers.program.waste import trimmed


@dataclass(frozen=True, slots=True)
class Round:
    """How one round goes; temperatures and price times the number of operations.

    `hot` and `cold` are temperatures, `price` is what excess costs at first,
    `from_best` whether it begins with the best sequence instead of the start,
    `chains` the share of moves that are chains of runs. `parts` says how long
    it is beside others, `held` for which share of its moves the price stays
    as it is.
    """

    hot: float
    cold: float
    price: float
    from_best: bool = False
    chains: float = 0.0
    parts: int = 1
    held: float = 0.0

    def heat(self, passed: float) -> float:
        """The temperature when a share of the round has passed."""
        return self.hot * math.exp(math.log(self.cold / self.hot) * passed)


#: A round from the best sequence where there is no time for more; in its place among others, too.
_POLISH = Round(0.1, 0.003, 10.0, from_best=True, chains=0.01, parts=2)


@dataclass(frozen=True, slots=True)
class AnnealingSettings:
    """How sequences are annealed.

    Attributes
    ----------
    rounds
        Taken in turn, each turn with four times the moves. Those from the start hold the
        price of excess while they are hot: what is repeated together, because it reads
        the same, comes and goes through sequences that don't fit, which a price that
        adapts makes impassable. Which price is best differs from graph to graph, so
        there are two.
    quick, quick_share
        What comes first of all: something good to have while longer rounds are under
        way; and the share of the seconds left that it takes at most. On large graphs
        little fits in it, and where nothing does, the rounds from the start won't either.
    warm
        What is done instead of rounds from the start that have found nothing that fits.
    polish
        What is done instead of a round that would have to be hurried.
    worthwhile
        A round that begins hot is hurried too much where there is time for less than this
        share of its moves.
    moves
        Of the first round of one part, for each operation.
    chunk, parts
        The most moves at a time, between two looks at the clock, and into how many parts
        a round is cut at least: after each, empty slots are spread evenly again.
    longest
        A sequence that has so many runs for each operation is given up.
    rise
        The factor by which the price of excess rises or falls, where it isn't held.
    patience
        So many turns through all rounds that bring nothing are enough.
    shares
        How moves are chosen.
    """

    rounds: tuple[Round, ...] = (
        Round(20.0, 0.15, 35.0, parts=4, held=0.75),
        _POLISH,
        Round(20.0, 0.2, 15.0, parts=2, held=0.65),
        Round(1.0, 0.025, 1.0, from_best=True),
        Round(0.3, 0.01, 10.0, from_best=True, chains=0.01),
    )
    quick: Round = Round(5.0, 0.05, 1.0, parts=3)
    quick_share: float = 1 / 3
    warm: Round = Round(8.0, 0.05, 3.0, from_best=True, parts=2)
    polish: Round = _POLISH
    worthwhile: float = 0.3
    moves: int = 600
    chunk: int = 50_000
    parts: int = 20
    longest: int = 4
    rise: float = 1.003
    patience: int = 2
    shares: MoveShares = SHARES

    @property
    def from_start(self) -> set[int]:
        """Which rounds begin with the start."""
        return {which for which, plan in enumerate(self.rounds) if not plan.from_best}


class Annealing:
    """A search on the sequences of runs of one graph.

    The same operations, start, budget and seed give the same sequences, round
    by round, unless time is short.

    Parameters
    ----------
    operations
        What runs.
    start
        Shape (p,): an executable sequence of operations.
    budget
        Memory that must not be exceeded, resident inputs not counted.
    seed, settings
        Of the random choices; how it is done.

    Attributes
    ----------
    best, compute
        The cheapest sequence that fits (None: none yet), and its compute as a
        share of every node once.
    flattest, least_peak
        Of the sequences at the ends of chunks of moves, the one of least peak, and that peak.
    moves
        Moves tried.
    """

    def __init__(
        self,
        operations: Operations,
        start: Ints,
        budget: int,
        seed: int,
        settings: AnnealingSettings,
    ) -> None:
        self.operations, self._settings = operations, settings
        self.best: Ints | None = None
        self.compute = math.inf
        self.moves = 0
        self._start, self._round, self._seconds = start, -1, 0.0
        self._vain: set[int] = set()  # rounds from the start that found nothing that fits
        self._budget = budget
        self._random = random_of(seed)
        self.flattest, self.least_peak = start, int(self._laid_out(start, 0.0).high.max())
        self.learn(start)

    def load(self) -> None:
        """Load what is compiled, or compile it: the rounds needn't then."""
        anneal(
            self.operations,
            self._laid_out(self._start, 0.0),
            0,
            1.0,
            1.0,
            0.0,
            self._settings.shares,
        )
        trimmed(self.operations, self._start)

    def learn(self, sequence: Ints) -> None:
        """Take over a sequence where it fits and is no dearer than the best.

        Of two that cost the same, the new one: runs without use have been taken out of it.
        Where it doesn't fit, it may be the flattest yet.
        """
        state = self._laid_out(sequence, 0.0)
        peak = int(state.high.max())
        if peak < self.least_peak:
            self.flattest, self.least_peak = sequence, peak
        if state.numbers[EXCESS] == 0 and state.reals[COST] < self.compute + SAME:
            self.best, self.compute = sequence, float(state.reals[COST])

    def round(self, deadline: Deadline) -> bool:
        """One more round; True: a better sequence.

        Where it would take longer than there are seconds left, the temperature falls
        faster, so that it comes to its end: only there is anything found.
        """
        settings = self._settings
        turn, which = divmod(max(self._round, 0), len(settings.rounds))
        size = settings.moves * len(self.operations.nodes) * 4**turn
        is_quick, before = self._round < 0, self.compute
        plan = settings.quick if is_quick else settings.rounds[which]
        self._round += 1
        started = time.monotonic()
        if is_quick:
            deadline = deadline.share(settings.quick_share)
        else:
            plan = settings.warm if which in self._vain else plan
            is_late = self._is_too_late(plan, size, deadline.seconds_left)
            plan = settings.polish if is_late else plan
        fits = self._follow(plan, size * plan.parts, deadline)
        self._seconds += time.monotonic() - started
        if not (plan.from_best or fits or (self.best is None and not is_quick)):
            self._vain |= settings.from_start if is_quick else {which}
        return self.compute < before

    def _follow(self, plan: Round, wanted: int, deadline: Deadline) -> bool:
        """Try so many moves, chunk by chunk, as planned; whether anything met fits."""
        started, scale = time.monotonic(), 1.0 / max(len(self.operations.nodes), 1)
        runs = self._start
        if plan.from_best:
            runs = self.flattest if self.best is None else self.best
        settings = self._settings
        most = settings.longest * max(len(self.operations.nodes), len(runs))
        price, done, passed, fits = plan.price * scale, 0, 0.0, False
        left = deadline.seconds_left
        while done < wanted and left > 0:
            state = self._laid_out(runs, price, 1.0 if passed < plan.held else settings.rise)
            count = min(settings.chunk, -(-wanted // settings.parts), wanted - done)
            hot, cold = (plan.heat(f) * scale for f in (passed, min(passed + count / wanted, 1.0)))
            anneal(self.operations, state, count, hot, cold, plan.chains, settings.shares)
            done += int(state.numbers[TRIED])
            runs, price = self._take_over(state), float(state.reals[WEIGHT])
            fits |= math.isfinite(state.reals[BEST])
            if len(runs) > most:
                break
            left, spent = deadline.seconds_left, time.monotonic() - started
            passed = max(done / wanted, spent / max(spent + left, 1e-9))
        self.moves += done
        return fits

    def _is_too_late(self, plan: Round, size: int, seconds_left: float) -> bool:
        """Whether a round that begins hot would have to be hurried too much."""
        if self.best is None or (plan.from_best and plan is not self._settings.warm):
            return False
        affordable = seconds_left * self.moves / max(self._seconds, 1e-9)
        return self._seconds > 0 and affordable < self._settings.worthwhile * size * plan.parts

    def _take_over(self, state: State) -> Ints:
        """Keep what the last moves found; the sequence that they end with."""
        runs = trimmed(self.operations, state.run_at[state.run_at >= 0])
        peak = int(state.high.max())
        if peak < self.least_peak:
            self.flattest, self.least_peak = runs, peak
        if state.reals[BEST] < self.compute - SAME:
            self.compute = float(state.reals[BEST])
            self.best = state.best[state.best >= 0]
        return runs

    def _laid_out(self, runs: Ints, price: float, rise: float = 1.0) -> State:
        return laid_out(self.operations, self._budget, self._random, runs, price, rise)


def laid_out(
    operations: Operations,
    budget: int,
    random: Words,
    runs: Ints,
    price: float,
    rise: float = 1.0,
) -> State:
    """A state for a sequence, with an empty slot after each run."""
    o = operations
    times = np.bincount(runs, minlength=len(o.nodes))
    counts = np.bincount(
        np.concatenate([o.reads, o.writes]),
        np.concatenate(
            [np.repeat(times, np.diff(o.first_read)), np.repeat(times, np.diff(o.first_write))]
        ),
        len(o.size),
    ).astype(np.int64)
    first_use = offsets(2 * counts + 32)
    slots = 2 * len(runs) + 2
    run_at = np.full(slots, -1, np.int64)
    run_at[0] = -2  # the start
    run_at[1 : 1 + 2 * len(runs) : 2] = runs
    blocks = -(-slots // BLOCK)
    widest = int((np.diff(o.first_read) + np.diff(o.first_write)).max(initial=0))
    n_ranges = 2 * widest + 2
    n_operations, n_resources = len(o.nodes), len(o.size)

    def zeros(count: int) -> Ints:
        return np.zeros(count, np.int64)

    state = State(
        run_at=run_at,
        first_use=first_use,
        n_uses=zeros(n_resources),
        uses=zeros(int(first_use[-1])),
        times=zeros(n_operations),
        first_slot=zeros(n_operations),
        repeated=zeros(n_operations),
        place=zeros(n_operations),
        memory=zeros(slots),
        lazy=zeros(blocks),
        low=zeros(blocks),
        high=zeros(blocks),
        best=run_at.copy(),
        ranges=zeros(3 * n_ranges),
        events=zeros(4 * n_ranges + 2),
        numbers=np.array([0, 0, 0, 0, budget]),
        reals=np.array([0.0, math.inf, price, rise]),
        random=random,
    )
    set_up(operations, state)
    return state
