"""Beam search in the given order, from the end: a schedule where nothing that fits is known."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from schedule.memory import Trace
from schedule.solvers.contract import Deadline, Incumbent, Problem
from schedule.solvers.exact.corridor.fronts import Front, Kept, expand, keep
from schedule.solvers.exact.corridor.ground import Ground
from schedule.solvers.exact.corridor.potentials import no_potentials
from schedule.solvers.exact.corridor.states import Guide
from schedule.solvers.kit.states import COUNT, QUEUED, STATE_BYTES, States, space_for
from schedule.solvers.program.contraction import contract

#: About the seconds that a level takes, and a word of a state for each move.
_SECONDS_A_LEVEL, _SECONDS_A_MOVE = 5e-5, 5e-8


@dataclass(frozen=True, slots=True)
class BeamSettings:
    """How wide beams are, and what memory is taken to cost.

    Attributes
    ----------
    most
        The most operations of a graph: masks of what they read take memory with their square.
    widths
        How many states each level keeps, beam by beam, until a width has nothing better.
    excess
        For each width, what a unit of memory costs that is missing for the next first run, as
        multiples of the compute of every node once over the memory of everything: a beam
        that keeps only what is cheap has nothing in the end that fits.
    held
        What a unit that is live costs, as such a multiple.
    levels
        The most reruns between two first runs.
    memory
        Bytes for the states of a level.
    after, share
        The share of all seconds after which beams begin, as annealing from what they find ends
        no better than from what it finds itself; and that of the seconds left that they may take.
    """

    most: int = 2_000
    widths: tuple[int, ...] = (100, 300, 1_000)
    excess: tuple[float, ...] = (2.0, 4.0, 1.0)
    held: float = 1.0
    levels: int = 30
    memory: int = 200_000_000
    after: float = 0.1
    share: float = 0.25


#: The default.
BEAM = BeamSettings()


class Beam:
    """Schedules by beam search (Ow, Morton 1988, doi:10.1080/00207548808947840).

    States are those of `corridor.states`; a level has all that as many first runs lie before and
    as many reruns since, of which the best are kept.

    Parameters
    ----------
    problem, incumbent
        What is solved, in the given order; the incumbent takes what is found.
    settings
        How wide beams are.

    Notes
    -----
    O(words · width · live resources) for a level; a beam has at least one for each operation.
    """

    def __init__(
        self, problem: Problem, incumbent: Incumbent, settings: BeamSettings = BEAM
    ) -> None:
        self._problem, self._incumbent, self._settings = problem, incumbent, settings

    @cached_property
    def _ground(self) -> Ground:
        return Ground.of(self._problem.graph, self._problem.budget or 0)

    @cached_property
    def _guide(self) -> Guide:
        o = self._ground.operations
        nothing = no_potentials(len(o.nodes), len(o.size))
        return self._ground.guide(nothing, np.ones((len(o.nodes) + 1, len(o.nodes)), bool))

    def improve(self, deadline: Deadline) -> None:
        """Beams of each width, once, where nothing that fits is known by then."""
        begun: list[bool] = self._incumbent.resume(Beam, list)
        settings = self._settings
        is_early = deadline.seconds_left > (1 - settings.after) * deadline.limit
        if begun or is_early or self._incumbent.trace is not None:
            return
        begun.append(True)
        if contract(self._problem.graph).n_operations > settings.most:
            return
        until = deadline.share(settings.share)
        for width in settings.widths:
            before = self._incumbent.compute
            for excess in settings.excess:
                found = self._found(width, excess, until)
                if found is not None:
                    self._incumbent.offer(found)
                if until.passed:
                    return
            if before <= self._incumbent.compute < math.inf:
                return

    def _found(self, width: int, excess: float, deadline: Deadline) -> Trace | None:
        """The best at the end of one beam; None: nothing better than the incumbent arrived."""
        ground, settings, o = self._ground, self._settings, self._ground.operations
        better = float(self._incumbent.compute) - ground.once - ground.step
        most = settings.memory // (STATE_BYTES + 8 * ground.words)
        width = max(min(width, most // (len(o.size) + 1)), 1)
        size = width * (len(o.size) + 1)
        unit = ground.once / max(int(o.size.sum()), 1)
        prices = excess * unit, settings.held * unit
        front, kept = Front.of(width, ground.words), Kept.of(16 * width)
        front.live[0], front.memory[0] = ground.outputs, o.size[o.kept].sum()
        front.number[0], front.count[0] = -1, 1
        firsts = space_for(width * (settings.levels + 1), ground.words)
        agains = space_for(size, ground.words)
        for stage in range(len(o.nodes), 0, -1):
            for level in range(settings.levels + 1):
                limit = min(better, _most(firsts, width)) if level < settings.levels else -math.inf
                moves = expand(o, self._guide, *prices, front, stage, limit, firsts, agains)
                deadline.spend(_SECONDS_A_LEVEL + _SECONDS_A_MOVE * ground.words * moves)
                if not agains.number[QUEUED] or deadline.passed:
                    break
                kept = kept.with_space(width)
                keep(agains, front, kept)
            kept = kept.with_space(width)
            keep(firsts, front, kept)
            if not front.count[0] or deadline.passed:
                return None
        best = front.spent[: front.count[0]].argmin()
        return ground.trace(kept.runs_from(int(front.number[best])))


def _most(firsts: States, width: int) -> float:
    """What has spent more than so many states before the next first run isn't kept there."""
    met = int(firsts.number[COUNT])
    if met < width:
        return math.inf
    return float(np.partition(firsts.spent[:met], width - 1)[width - 1])
