"""Rounds of annealing: short ones first, from the start or from the best so far."""

from __future__ import annotations

import math
from dataclasses import dataclass

from schedule.layout import Ints
from schedule.solvers.annealing.laying import laid_out
from schedule.solvers.annealing.loop import anneal
from schedule.solvers.annealing.moves import HUNTED, SHARES, MoveShares
from schedule.solvers.annealing.state import BEST, COST, EXCESS, SAME, TRIED, WEIGHT, State
from schedule.solvers.contract import Deadline
from schedule.solvers.kit.randomness import random_of
from schedule.solvers.program.operations import Operations
from schedule.solvers.program.waste import trimmed


@dataclass(frozen=True, slots=True)
class Round:
    """One round of annealing; temperatures and price are times the number of operations.

    Attributes
    ----------
    hot, cold
        The temperatures that it begins and ends with.
    price
        What excess costs at first.
    from_best
        Whether it begins with the best sequence instead of the start.
    chains
        The share of moves that insert chains of reruns.
    parts
        Its length, as a multiple of that of a round with 1.
    held
        The share of its moves, from the first on, in which the price stays the same.
    rise
        The factor by which the price rises or falls after that.
    """

    hot: float
    cold: float
    price: float
    from_best: bool = False
    chains: float = 0.0
    parts: int = 1
    held: float = 0.0
    rise: float = 1.003

    def heat(self, passed: float) -> float:
        """The temperature when a share of the round has passed."""
        return self.hot * math.exp(math.log(self.cold / self.hot) * passed)


#: What a move takes, and laying out a run of a sequence between chunks of them.
SECONDS_A_MOVE, SECONDS_A_RUN = 1.5e-6, 4e-7

#: The distance between the seeds of two steps of a tightening.
_TIGHTENED = 2**40

#: A round from the best sequence: one of every cycle, and all that there is time for at last.
_POLISH = Round(0.1, 0.003, 10.0, from_best=True, chains=0.01, parts=2)


@dataclass(frozen=True, slots=True)
class AnnealingSettings:
    """How sequences are annealed.

    Attributes
    ----------
    rounds
        A cycle goes through all of them, and each cycle has four times the moves of the
        one before. Those from the start hold the price of excess while they are hot.
        Reruns that read the same only pay together, and the sequences on the way to all
        of them don't fit: a price that adapts makes those impassable. Which price is best
        differs from graph to graph, so there are two.
    quick, quick_share
        The very first round, for a good incumbent while longer rounds run; and the share
        of the seconds left that it takes at most. On large graphs few of its sequences
        fit, and where none does, no round from the start finds one that does.
    warm
        The round instead of those from the start that have found nothing that fits, but for
        the first of them.
    slack, least_slack, steps, step, tight
        Instead of that one: so many steps, each with that share of its moves, the first of
        them within a budget that is larger by so large a share, twice as large where nothing
        fits; the others from the sequence before, with half the slack of that each, down to
        the least one, and then with none. Each of those finds what fits now and then, so that
        most steps are of that kind.
    polish
        The round instead of one that would have to be hurried.
    worthwhile
        A round that begins hot is hurried too much where there is time for less than this
        share of its moves.
    moves
        Moves of the first round of one part, for each operation.
    chunk, parts
        The most moves at a time, between two looks at the clock, and into how many parts
        a round is cut at least: after each, empty slots are spread evenly again.
    longest
        A sequence that has this many runs for each operation is given up.
    patience
        Cycles in a row without a better sequence after which the search ends.
    shares
        How moves are chosen.
    hunting, hunted
        The share of moves that insert chains in all but the quick round while nothing is known
        that fits, and how moves are chosen then. Near the peak everything may wait for what
        reads it last, and nothing is saved by fewer reruns than take it all the way back.
    far
        What others found that takes more, as a share of every node once, isn't gone on from
        before each round has had its turn: it would be polished for long, and stay far.
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
    slack: float = 0.07
    least_slack: float = 0.005
    steps: int = 16
    step: float = 1 / 8
    tight: Round = Round(2.0, 0.01, 100.0, from_best=True, rise=1.01)
    polish: Round = _POLISH
    worthwhile: float = 0.3
    moves: int = 600
    chunk: int = 50_000
    parts: int = 20
    longest: int = 4
    patience: int = 2
    shares: MoveShares = SHARES
    hunting: float = 0.1
    hunted: MoveShares = HUNTED
    far: float = 1.5

    @property
    def from_start(self) -> set[int]:
        """Which rounds begin with the start."""
        return {which for which, each in enumerate(self.rounds) if not each.from_best}


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
        Seed of the random choices; how sequences are annealed.

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
        self._budget, self._seed = budget, seed
        self._random = random_of(seed)
        state = self._laid_out(start, 0.0)
        self.flattest, self.least_peak = start, int(state.high.max())
        self._take(start, state)

    def load(self) -> None:
        """Load the compiled code, or compile it, so that no round has to."""
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

    def adopt(self, sequence: Ints) -> None:
        """Take what others found for the best, where it fits and costs no more.

        Of two that cost the same, the new one: runs without use have been removed from it.
        Where it doesn't fit, it may be the flattest so far. What takes far more than the
        program isn't taken before every round has had its turn.
        """
        state = self._laid_out(sequence, 0.0)
        is_far = state.reals[COST] > self._settings.far
        if not (is_far and self._round < len(self._settings.rounds)):
            self._take(sequence, state)

    def _take(self, sequence: Ints, state: State) -> None:
        peak = int(state.high.max())
        if peak < self.least_peak:
            self.flattest, self.least_peak = sequence, peak
        if state.numbers[EXCESS] == 0 and state.reals[COST] < self.compute + SAME:
            self.best, self.compute = sequence, float(state.reals[COST])

    def round(self, deadline: Deadline) -> bool:
        """One more round; True: a better sequence.

        Where it would take longer than there are seconds left, the temperature falls
        faster, so that it comes to its end: good sequences are found only there.
        """
        settings = self._settings
        cycle, which = divmod(max(self._round, 0), len(settings.rounds))
        size = settings.moves * len(self.operations.nodes) * 4**cycle
        is_quick, before = self._round < 0, self.compute
        tightens = is_late = False
        chosen = settings.quick if is_quick else settings.rounds[which]
        self._round += 1
        started = deadline.clock.now()
        if is_quick:
            deadline = deadline.share(settings.quick_share)
        else:
            tightens = which in self._vain and which == min(settings.from_start)
            chosen = settings.warm if which in self._vain else chosen
            is_late = self._is_too_late(chosen, size, deadline.seconds_left)
            chosen = settings.polish if is_late else chosen
        if tightens and not is_late:
            fits = self._tighten(settings.rounds[which], size, deadline)
        else:
            fits = self._anneal(chosen, size * chosen.parts, deadline)
        self._seconds += deadline.clock.now() - started
        if not (chosen.from_best or fits or (self.best is None and not is_quick)):
            self._vain |= settings.from_start if is_quick else {which}
        return self.compute < before

    def _anneal(self, chosen: Round, wanted: int, deadline: Deadline) -> bool:
        """Try `wanted` moves, chunk by chunk; whether any sequence that was met fits."""
        clock, scale = deadline.clock, 1.0 / max(len(self.operations.nodes), 1)
        started, runs = clock.now(), self._start
        if chosen.from_best:
            runs = self.flattest if self.best is None else self.best
        settings = self._settings
        most = settings.longest * max(len(self.operations.nodes), len(runs))
        chains, shares = chosen.chains, settings.shares
        is_hunting = self.best is None and chosen is not settings.quick
        if is_hunting:
            chains, shares = max(chains, settings.hunting), settings.hunted
        price, done, passed, fits = chosen.price * scale, 0, 0.0, False
        left = deadline.seconds_left
        while done < wanted and left > 0:
            rise = 1.0 if passed < chosen.held else chosen.rise
            state = self._laid_out(runs, price, rise, is_hunting)
            # A move takes as long as what it reruns is rerun often.
            often = max(len(runs) // (settings.longest * len(self.operations.nodes)), 1)
            count = min(settings.chunk // often, -(-wanted // settings.parts), wanted - done)
            hot, cold = (
                chosen.heat(f) * scale for f in (passed, min(passed + count / wanted, 1.0))
            )
            anneal(self.operations, state, count, hot, cold, chains, shares)
            tried = int(state.numbers[TRIED])
            done += tried
            clock.spend(SECONDS_A_MOVE * tried + SECONDS_A_RUN * len(state.run_at))
            runs, price = self._take_over(state), float(state.reals[WEIGHT])
            fits |= math.isfinite(state.reals[BEST])
            if len(runs) > most:
                break
            left, spent = deadline.seconds_left, clock.now() - started
            passed = max(done / wanted, spent / max(spent + left, 1e-9))
        self.moves += done
        return fits

    def _tighten(self, chosen: Round, size: int, deadline: Deadline) -> bool:
        """Come down to the budget from larger ones; whether any step's sequence fits.

        The first step is `chosen`, which says of how many moves of `size` each has a share. Where
        few sequences fit, the best within a little more lead to the best of them; rounds in
        which excess is cheap lead elsewhere.
        """
        settings, runs, slack, fits = self._settings, self._start, self._settings.slack, False
        wanted = math.ceil(size * chosen.parts * settings.step)
        for step in range(settings.steps):
            if deadline.passed:
                break
            self._seed += _TIGHTENED
            budget = self._budget + int(self._budget * slack)
            looser = Annealing(self.operations, runs, budget, self._seed, settings)
            looser._anneal(chosen, wanted, deadline.share(1 / (settings.steps - step)))
            self.moves += looser.moves
            if looser.best is None and not chosen.from_best:
                slack *= 2
                continue
            runs = looser.flattest if looser.best is None else looser.best
            state = self._laid_out(runs, 0.0)
            fits |= bool(state.numbers[EXCESS] == 0)
            if state.reals[COST] < self.compute - SAME:
                self._take(runs, state)
            chosen, slack = settings.tight, slack / 2 if slack > settings.least_slack else 0.0
        return fits

    def _is_too_late(self, chosen: Round, size: int, seconds_left: float) -> bool:
        """Whether a round that begins hot would have to be hurried too much."""
        if self.best is None or (chosen.from_best and chosen is not self._settings.warm):
            return False
        affordable = seconds_left * self.moves / max(self._seconds, 1e-9)
        return self._seconds > 0 and affordable < self._settings.worthwhile * size * chosen.parts

    def _take_over(self, state: State) -> Ints:
        """Keep the best of the last moves; returns the sequence that they end with."""
        runs = trimmed(self.operations, state.run_at[state.run_at >= 0])
        peak = int(state.high.max())
        if peak < self.least_peak:
            self.flattest, self.least_peak = runs, peak
        if state.reals[BEST] < self.compute - SAME:
            self.compute = float(state.reals[BEST])
            self.best = state.best[state.best >= 0]
        return runs

    def _laid_out(
        self, runs: Ints, price: float, rise: float = 1.0, clearings: bool = False
    ) -> State:
        o, budget, random = self.operations, self._budget, self._random
        return laid_out(o, budget, random, runs, price, rise, clearings)
