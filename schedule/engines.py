"""Time: what the device computes and the channels of its levels copy, and when.

Each level below the device brings two engines, its channels down and up; the device
itself is one more. Every engine does one thing at a time, in the order of the steps:

1. A compute begins when the one before it has ended, and every tensor that it
   reads is there: computed, or copied.
2. `offload` begins when the copy above it is there (computed, or copied) and the
   channel down is free.
3. `prefetch` begins when the copy below it is there and the channel up is free; one
   to the device also waits until all earlier computes have ended, as their memory
   is what it takes.
4. `free` and `drop` take no time. Where something is being copied from or to what
   they let go, no later step begins before that copy has ended.
5. The makespan is when the last compute or copy ends.

So what is in memory is a function of the sequence of steps alone, and time of the
steps, their computes and the links.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NoReturn

import numpy as np

from schedule.errors import (
    AlreadyCopied,
    AlreadyLive,
    InputNotLive,
    InvalidSchedule,
    NoCopy,
    NothingToCompute,
    NotLive,
    NotOffloadable,
    OnlyCopyDropped,
    ResidentFreed,
    RunTwice,
    ViewCopied,
)
from schedule.graph import Graph
from schedule.layout import Ints
from schedule.levels import Level
from schedule.steps import in_words, transfer_of
from schedule.timeline import COMPUTE_ENGINE, NO_ENGINE, Timeline, Wait, engine_names


@dataclass(frozen=True, eq=False)
class Walk:
    """What S steps do to a machine with K levels below its device.

    Attributes
    ----------
    during, after
        Shape (S,): memory of the device in use during and after each step; for all
        but computes and prefetches the first is the memory before it.
    below
        Shape (K, S): memory of each level in use after each step.
    timeline
        When.
    """

    during: Ints
    after: Ints
    below: Ints
    timeline: Timeline


def walk(graph: Graph, codes: Ints, levels: Sequence[Level]) -> Walk:
    """Follow steps, some of them copies, on a machine.

    Raises
    ------
    InvalidSchedule
        The first step that breaks a rule, as the subclass for it.

    Notes
    -----
    O(steps + reads) in plain Python: some microseconds a step.
    """
    machine = _Machine(graph, codes, levels)
    for at, code in enumerate(codes.tolist()):
        if code >= 0:
            machine.compute(at, code)
            continue
        tensor, level, kind = transfer_of(graph.layout, code)
        if level == 0:
            machine.free(at, tensor)
        else:
            (machine.offload, machine.prefetch, machine.drop)[kind](at, tensor, level)
    return machine.walked()


class _Machine:
    """What is where, and when every engine is free.

    Places are counted from the device, 0, downwards. Of every tensor at every place:
    whether it is there, since when it can be read, until when something is copied
    from or to it, and the step that copied it there last.
    """

    def __init__(self, graph: Graph, codes: Ints, levels: Sequence[Level]) -> None:
        layout, places = graph.layout, range(len(levels) + 1)
        self.graph, self.codes, self.layout, self.levels = graph, codes, layout, levels
        self.storage: list[int] = layout.storage.tolist()
        self.size: list[int] = layout.memory.tolist()
        self.resident: list[bool] = layout.resident.tolist()
        inputs: list[bool] = (layout.producer < 0).tolist()
        self.there = [inputs if place == 0 else [False] * len(inputs) for place in places]
        self.ready = [[0.0] * len(inputs) for _ in places]
        self.until = [[0.0] * len(inputs) for _ in places]
        self.copied_by = [[-1] * len(inputs) for _ in places]
        self.used_by = [[-1] * len(inputs) for _ in places]  # the copy that ends at `until`
        self.held = [int(is_input) for is_input in inputs]  # live tensors on each storage
        self.ran = [False] * layout.n_nodes
        self.used = [int(layout.memory[: layout.n_inputs].sum()), *[0] * len(levels)]
        self.free_at: list[int | float] = [0] * (2 * len(levels) + 1)
        self.pending: int | float = 0  # no later step begins earlier, because of a copy by a step
        self.pending_by = -1
        self.waits: list[Wait] = []
        self.during: list[int] = []
        self.after: list[int] = []
        self.below: list[list[int]] = []
        self.times: list[tuple[int, float, float]] = []

    def compute(self, at: int, v: int) -> None:
        """Run node v."""
        layout, there, ready = self.layout, self.there[0], self.ready[0]
        outputs = layout.outputs_of[v]
        before = self.free_at[COMPUTE_ENGINE]
        begin, copy = before, -1
        if self.pending > begin:
            begin, copy = self.pending, self.pending_by
        for t in layout.reads_of[v]:
            if not there[t]:
                said = f"it reads {self._name(t)}, which isn't live: {self._absence(t)}"
                self._refuse(InputNotLive, at, said)
            if ready[t] > begin:
                begin, copy = ready[t], self.copied_by[0][t]
        if self.ran[v] and not layout.recomputable[v]:
            self._refuse(RunTwice, at, "the node must not run twice (recomputable: false)")
        if all(there[t] for t in outputs):
            self._refuse(NothingToCompute, at, "all its outputs are live already")
        if begin > before:
            self.waits.append(Wait(at, copy, float(begin - before)))
        end = begin + self.graph.nodes[v].compute
        during = self.used[0] + int(layout.run_memory[v])
        for t in outputs:
            if not there[t]:
                self._bring(t)
                ready[t], self.until[0][t], self.copied_by[0][t] = end, 0.0, -1
        self.ran[v], self.free_at[COMPUTE_ENGINE] = True, end
        self._note(COMPUTE_ENGINE, begin, end, during)

    def free(self, at: int, t: int) -> None:
        """Let go of a tensor on the device."""
        if self.resident[t] and self.there[0][t] and not self._has_other(t, 0):
            said = f"{self._name(t)} is a resident input (not freeable), and no level has a copy"
            self._refuse(ResidentFreed, at, said)
        if not self.there[0][t]:
            self._refuse(NotLive, at, f"{self._name(t)} is not live: {self._absence(t)}")
        before = self.used[0]
        self.there[0][t] = False
        s = self.storage[t]
        self.held[s] -= 1
        if not self.held[s]:
            self.used[0] -= self.size[s]
        self._let_go(0, t, before)

    def offload(self, at: int, t: int, level: int) -> None:
        """Begin to copy a tensor to a level from the place above it."""
        self._require_owner(at, t)
        if not self.layout.offloadable[t]:
            said = f"{self._name(t)} stays on the device (offloadable: false)"
            self._refuse(NotOffloadable, at, said)
        if level == 1 and not self.there[0][t]:
            self._refuse(NotLive, at, f"{self._name(t)} is not live: {self._absence(t)}")
        self._require_copy(at, t, level - 1)
        if self.there[level][t]:
            self._refuse_copy(at, t, level)
        time = self.levels[level - 1].time_down(self.size[t])
        self.used[level] += self.size[t]
        self._copy(at, t, level - 1, level, time)

    def prefetch(self, at: int, t: int, level: int) -> None:
        """Begin to copy a tensor from a level to the place above it."""
        self._require_owner(at, t)
        self._require_copy(at, t, level)
        if self.there[level - 1][t]:
            if level == 1:
                self._refuse(AlreadyLive, at, f"{self._name(t)} is live already")
            self._refuse_copy(at, t, level - 1)
        time = self.levels[level - 1].time_up(self.size[t])
        if level == 1:
            self._bring(t)
        else:
            self.used[level - 1] += self.size[t]
        self._copy(at, t, level, level - 1, time)

    def drop(self, at: int, t: int, level: int) -> None:
        """Let go of a copy on a level."""
        self._require_owner(at, t)
        self._require_copy(at, t, level)
        if self.resident[t] and not self._has_other(t, level):
            said = f"it is the only copy of {self._name(t)}, a resident input (not freeable)"
            self._refuse(OnlyCopyDropped, at, said)
        self.there[level][t] = False
        self.used[level] -= self.size[t]
        self._let_go(level, t, self.used[0])

    def _bring(self, t: int) -> None:
        """A tensor is live on the device from now on; its storage may be there by a view."""
        s = self.storage[t]
        self.there[0][t] = True
        self.held[s] += 1
        if self.held[s] == 1:
            self.used[0] += self.size[s]

    def _copy(self, at: int, t: int, source: int, target: int, time: float) -> None:
        """Begin a copy as early as it may, by the channel between two places."""
        engine = 2 * max(source, target) - (target > source)
        begin = max(self.ready[source][t], self.free_at[engine], self.pending)
        if target == 0:
            begin = max(begin, self.free_at[COMPUTE_ENGINE])
        end = begin + time
        self.there[target][t] = True
        self.ready[target][t] = end
        self.copied_by[target][t] = at
        self.until[target][t], self.used_by[target][t] = end, at
        if end > self.until[source][t]:
            self.until[source][t], self.used_by[source][t] = end, at
        self.free_at[engine] = end
        self._note(engine, begin, end, self.used[0])

    def _let_go(self, place: int, t: int, during: int) -> None:
        """Wait for the copies from and to what is gone."""
        if self.until[place][t] > self.pending:
            self.pending, self.pending_by = self.until[place][t], self.used_by[place][t]
        now = max(self.pending, self.free_at[COMPUTE_ENGINE])
        self._note(NO_ENGINE, now, now, during)

    def _note(self, engine: int, begin: float, end: float, during: int) -> None:
        self.times.append((engine, begin, end))
        self.during.append(during)
        self.after.append(self.used[0])
        self.below.append(self.used[1:])

    def walked(self) -> Walk:
        """All that was seen."""
        engine, begin, end = np.array(self.times, np.float64).reshape(-1, 3).T
        timeline = Timeline(
            engine_names(self.levels),
            engine.astype(np.int64),
            begin,
            end,
            tuple(self.waits),
            max(self.free_at),
        )
        below = np.array(self.below, np.int64).reshape(-1, len(self.levels)).T
        during, after = (np.array(each, np.int64) for each in (self.during, self.after))
        return Walk(during, after, below, timeline)

    def _require_owner(self, at: int, t: int) -> None:
        if self.storage[t] != t:
            owner = self._name(self.storage[t])
            said = f"{self._name(t)} is a view; copy {owner}, whose storage it lies on"
            self._refuse(ViewCopied, at, said)

    def _require_copy(self, at: int, t: int, place: int) -> None:
        if not self.there[place][t]:
            where = self.levels[place - 1].name
            self._refuse(NoCopy, at, f"there is no copy of {self._name(t)} on {where!r}")

    def _refuse_copy(self, at: int, t: int, place: int) -> NoReturn:
        where = self.levels[place - 1].name
        self._refuse(AlreadyCopied, at, f"there is a copy of {self._name(t)} on {where!r} already")

    def _has_other(self, t: int, place: int) -> bool:
        """Whether a tensor is anywhere else."""
        return any(there[t] for other, there in enumerate(self.there) if other != place)

    def _name(self, t: int) -> str:
        return repr(self.layout.tensor_names[t])

    def _absence(self, t: int) -> str:
        """Why a tensor isn't live."""
        v = int(self.layout.producer[t])
        if v >= 0 and not self.ran[v]:
            return f"node {self.layout.node_names[v]!r} has not computed yet"
        return "it was freed"

    def _refuse(self, kind: type[InvalidSchedule], at: int, why: str) -> NoReturn:
        raise kind(f"{in_words(self.graph, self.codes, at)}: {why}", at)
