"""When the steps of a schedule take place: a timeline of what each engine does."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from schedule.graph import Graph
from schedule.layout import Floats, Ints
from schedule.levels import Level
from schedule.values import total

#: Which engine a step keeps busy: none, or the device's own; those of the levels follow.
NO_ENGINE, COMPUTE_ENGINE = -1, 0


class Wait(NamedTuple):
    """A time in which the device did nothing, though there was more to compute.

    `step` computed as soon as the copy of step `copy` had ended; `time` passed
    between the compute before it and that.
    """

    step: int
    copy: int
    time: float


@dataclass(frozen=True, eq=False)
class Timeline:
    """When each of S steps begins and ends, on which engine.

    Attributes
    ----------
    engines
        Names: `compute`, then `NAME down` and `NAME up` of each level.
    engine
        Shape (S,): the engine that a step keeps busy, −1 for steps that take no time.
    begin, end
        Shape (S,): in units of compute. A step that takes no time begins and
        ends when all before it that it waits for has ended.
    waits
        Where compute waited for a copy, in the order of the steps.
    makespan
        When the last compute or copy ends.
    """

    engines: tuple[str, ...]
    engine: Ints
    begin: Floats
    end: Floats
    waits: tuple[Wait, ...]
    makespan: int | float

    @cached_property
    def busy(self) -> dict[str, float]:
        """For how long each engine worked."""
        worked = self.engine >= 0
        time = np.bincount(
            self.engine[worked],
            (self.end - self.begin)[worked],
            minlength=len(self.engines),
        )
        return dict(zip(self.engines, time.tolist()))

    @cached_property
    def clock(self) -> Floats:
        """Shape (S + 1,): when the memory of each step counts, which never falls; then the end.

        A compute and a free are when they begin; a copy is asked for when all computes
        before it have ended, and begins then or later.
        """
        here = self.engine <= COMPUTE_ENGINE
        done = np.maximum.accumulate(np.append(0.0, np.where(here, self.end, 0.0)))
        asked = np.where(here, self.begin, done[:-1])
        return np.maximum.accumulate(np.append(asked, max(float(self.makespan), done[-1])))

    @property
    def waited(self) -> float:
        """For how long compute waited for copies, between two computes."""
        return float(total([wait.time for wait in self.waits]))


def engine_names(levels: Sequence[Level]) -> tuple[str, ...]:
    """What the engines of a machine are called, in the order of their numbers."""
    names = [f"{level.name} {way}" for level in levels for way in ("down", "up")]
    return ("compute", *names)


def in_turn(graph: Graph, codes: Ints, levels: Sequence[Level], compute: int | float) -> Timeline:
    """The timeline of steps without copies, which take `compute` in all: one after another."""
    ran = codes >= 0
    cost = np.zeros(len(codes))
    cost[ran] = graph.layout.compute[codes[ran]]
    end = np.cumsum(cost)
    engine = np.where(ran, COMPUTE_ENGINE, NO_ENGINE)
    return Timeline(engine_names(levels), engine, np.append(0.0, end)[:-1], end, (), compute)
