"""The memory model: what a sequence of steps keeps in memory, and whether it may.

This module has the last word on memory: whatever solvers, bounds and pictures count
for themselves (CONTRIBUTING.md lists them) is held against it. The rules are those of
the file format's contract (docs/formats.md):

1. Live at the start: all inputs; resident ones are never freed.
2. A node runs only while all its inputs are live. Meanwhile memory in use is
   all live storages, plus everything the node allocates, plus its workspace.
3. Only live tensors are freed; a storage is free with the last tensor on it.
4. A node runs again only if it may, and only while one of its outputs is not
   live. Outputs whose storage is still there keep it; the second copy counts
   while the node runs, and no longer.
5. After the last step every output is live.
6. The peak is the largest memory in use; a schedule fits when peak ≤ budget.

Where there are levels of memory below the device, tensors are copied there and back:

7. What is copied down is live, and isn't there yet; what is fetched is there, and isn't
   live. Its memory counts from the step that begins the copy, and on a level until it is
   dropped. Only what owns its storage is copied.
8. An input that is copied to a level may be freed, resident or not, and fetched again;
   the last copy of a resident one stays.
9. What each level has in use at most, is within its capacity.

What that takes in time, `schedule.engines` says.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple, NoReturn

import numpy as np

from schedule.engines import Walk, walk
from schedule.errors import (
    BadInput,
    InputNotLive,
    NothingToCompute,
    NotLive,
    ResidentFreed,
    RunTwice,
)
from schedule.events import Events, live_after
from schedule.figures import format_compute, format_memory, format_reruns, format_share
from schedule.graph import Graph, require_graph
from schedule.layout import Bools, Ints, Layout
from schedule.levels import Level, levels_of
from schedule.steps import AnySchedule, codes_of, in_words
from schedule.timeline import Timeline, in_turn
from schedule.values import total


class Share(NamedTuple):
    """One part of the memory in use: a tensor's storage, its copy, or a workspace."""

    name: str
    memory: int
    role: str


@dataclass(frozen=True, eq=False)
class Trace:
    """What a valid sequence of S steps does to memory.

    Attributes
    ----------
    graph
        The graph that was run.
    codes
        Shape (S,): the steps as codes (see `schedule.layout`).
    start
        Memory of the inputs, before the first step.
    during, after
        Shape (S,): memory in use during and after each step. For a free,
        `during` is the memory before it.
    runs
        Shape (n,): how often each node runs.
    levels
        What is below the device: K levels.
    """

    graph: Graph
    codes: Ints
    start: int
    during: Ints
    after: Ints
    runs: Ints
    levels: tuple[Level, ...] = ()
    _walk: Walk | None = None  # None: nothing is copied

    def __str__(self) -> str:
        """One line: the graph, peak, compute, runs beyond the first, checkpoints, steps."""
        parts = [
            f"{self.graph.name}: peak {format_memory(self.peak)}",
            f"compute {format_compute(self.compute)} ({format_share(self.overhead)})",
            format_reruns(int(np.maximum(self.runs - 1, 0).sum())),
        ]
        if self.held_checkpoints:
            parts.append(f"{len(self.held_checkpoints)} checkpoints")
        return ", ".join([*parts, f"{len(self.codes)} steps"])

    @cached_property
    def peak(self) -> int:
        """Largest memory in use, the start included."""
        return max(self.start, int(self.during.max(initial=0)))

    @cached_property
    def peak_step(self) -> int:
        """The first step during which memory is at its peak; −1 is the start."""
        return -1 if self.start == self.peak else int(self.during.argmax())

    @cached_property
    def compute(self) -> int | float:
        """Compute of all runs together: exact where all costs are integers."""
        return compute_of(self.graph, self.runs)

    def __repr__(self) -> str:
        # Not every field: there may be a million steps.
        peak, share = format_memory(self.peak), format_share(self.overhead)
        steps = f"{len(self.codes)} steps, peak {peak}, {share} compute"
        return f"<Trace of {self.graph.name!r}: {steps}>"

    @cached_property
    def overhead(self) -> float:
        """`compute` relative to every node once, minus 1."""
        return overhead_of(self.graph, self.compute)

    @property
    def below(self) -> Ints:
        """Shape (K, S): memory of each level below the device in use after each step."""
        if self._walk is None:
            return np.zeros((len(self.levels), len(self.codes)), np.int64)
        return self._walk.below

    @property
    def peaks_below(self) -> tuple[int, ...]:
        """The largest memory in use of each level below the device."""
        return tuple(self.below.max(axis=1, initial=0).tolist())

    @property
    def copies(self) -> int:
        """How many times a tensor is copied to a level or from one."""
        return 0 if self._walk is None else int((self._walk.timeline.engine > 0).sum())

    @cached_property
    def timeline(self) -> Timeline:
        """When each step begins and ends, and what compute waits for."""
        if self._walk is not None:
            return self._walk.timeline
        return in_turn(self.graph, self.codes, self.levels, self.compute)

    @property
    def makespan(self) -> int | float:
        """When the last compute or copy ends; where nothing is copied that is the compute."""
        return self.compute if self._walk is None else self._walk.timeline.makespan

    def require_no_copies(self, what: str) -> Trace:
        """Raise BadInput where a step copies, which `what` knows nothing of; else the trace."""
        if self.copies:
            at = int((self.timeline.engine > 0).argmax())
            raise BadInput(
                f"the schedule copies between levels of memory, as in"
                f" {in_words(self.graph, self.codes, at)}; {what} is for one level so far"
            )
        return self

    def live_before(self, step: int) -> Bools:
        """Shape (m,): the tensors that are live just before step `step` (S: at the end)."""
        return live_after(self.graph.layout, self.codes[:step])

    @cached_property
    def peak_shares(self) -> tuple[Share, ...]:
        """What makes up the peak, largest first; the parts add up to `peak`."""
        return self.shares(self.peak_step)

    def shares(self, step: int) -> tuple[Share, ...]:
        """What makes up the memory in use during step `step`, largest first."""
        layout, names = self.graph.layout, self.graph.layout.tensor_names
        live = self.live_before(max(step, 0))
        if step >= 0 and -layout.n_tensors * 2 > self.codes[step]:
            live |= self.live_before(step + 1)  # what is fetched counts from then on
        stored = np.unique(layout.storage[live])
        found = [Share(names[s], int(layout.memory[s]), "live") for s in stored.tolist()]
        if step >= 0 and self.codes[step] >= 0:
            v = int(self.codes[step])
            there = set(stored.tolist())
            for t in layout.outputs_of[v]:
                role = "second copy" if t in there else "output"
                found.append(Share(names[t], int(layout.memory[t]), role))
            found.append(Share(layout.node_names[v], int(layout.workspace[v]), "workspace"))
        return tuple(sorted((s for s in found if s.memory), key=lambda s: (-s.memory, s.name)))

    @cached_property
    def boundary(self) -> int | None:
        """The step that runs the first backward node; None where none runs."""
        runs_backward = self.codes >= 0
        runs_backward[runs_backward] = self.graph.layout.backward[self.codes[runs_backward]]
        return int(runs_backward.argmax()) if runs_backward.any() else None

    @cached_property
    def checkpoints(self) -> tuple[str, ...]:
        """Tensors of forward nodes that are live when the first backward node starts.

        Empty where no backward node runs.
        """
        if self.boundary is None:
            return ()
        layout, live = self.graph.layout, self.live_before(self.boundary)
        forward = (layout.producer >= 0) & ~layout.backward[np.maximum(layout.producer, 0)]
        return tuple(layout.tensor_names[t] for t in np.flatnonzero(live & forward).tolist())

    @cached_property
    def held_checkpoints(self) -> tuple[str, ...]:
        """Those of the checkpoints that take memory, or are on what does: what people count."""
        layout = self.graph.layout
        return tuple(
            name
            for name in self.checkpoints
            if layout.memory[layout.storage[layout.tensor_id[name]]]
        )


def compute_of(graph: Graph, runs: Ints) -> int | float:
    """Compute of running node v `runs[v]` times: exact where all costs are integers."""
    return total(node.compute * count for node, count in zip(graph.nodes, runs.tolist()) if count)


def overhead_of(graph: Graph, compute: int | float) -> float:
    """`compute` relative to every node of `graph` once, minus 1 (0 where that is 0)."""
    return float(compute / graph.compute - 1) if graph.compute else 0.0


def keeps_order(trace: Trace) -> bool:
    """Whether nodes run for the first time in the graph's own order."""
    ran = trace.codes[trace.codes >= 0]
    _, first = np.unique(ran, return_index=True)
    return bool((np.diff(first) > 0).all())


def simulate(
    graph: Graph, steps: AnySchedule, levels: Iterable[Level] | Level | None = None
) -> Trace:
    """Run `steps` on paper: memory after and during each step, and time.

    Parameters
    ----------
    graph
        The graph.
    steps
        What `schedule.solve` or `schedule.read_schedule` returned, a
        `Schedule`, any steps, or codes; they need not be complete.
    levels
        The levels of memory below the device, a host first; None: those that a
        result was made for, else none. An empty list refuses steps that copy.

    Raises
    ------
    BadInput
        A result without a schedule; a schedule of another graph (WrongGraph).
    InvalidSchedule
        The first step that breaks rules 1–4 or 7–8, as the subclass for that rule.

    Notes
    -----
    O((steps + reads) log(steps + reads)), vectorised: about a microsecond a step;
    several where something is copied.
    """
    require_graph(graph)
    layout = graph.layout
    below = levels_of(getattr(steps, "levels", None) if levels is None else levels)
    codes = codes_of(graph, steps, len(below))
    if codes.size and codes.min() < -layout.n_tensors:
        return _walked(graph, codes, below)
    events = Events(layout, codes)
    _check(graph, codes, events)
    start = int(layout.memory[: layout.n_inputs].sum())
    after = start + np.cumsum(events.memory_changes())
    before = np.concatenate([np.array([start], np.int64), after])[:-1]
    ran = codes >= 0
    v = codes[ran]
    during = before.copy()
    during[ran] += layout.run_memory[v]
    runs = np.bincount(v, minlength=layout.n_nodes)
    return Trace(graph, codes, start, during, after, runs, below)


def _walked(graph: Graph, codes: Ints, levels: tuple[Level, ...]) -> Trace:
    """The trace of steps of which some copy."""
    layout, found = graph.layout, walk(graph, codes, levels)
    start = int(layout.memory[: layout.n_inputs].sum())
    runs = np.bincount(codes[codes >= 0], minlength=layout.n_nodes)
    return Trace(graph, codes, start, found.during, found.after, runs, levels, found)


def _check(graph: Graph, codes: Ints, events: Events) -> None:
    """Raise for the earliest step that breaks a rule."""
    layout = graph.layout
    faults: list[tuple[int, int, int]] = []  # step, rule (in the order below), tensor

    def note(steps: Ints, rule: int, tensors: Ints | None = None) -> None:
        if len(steps):
            at = int(steps.argmin())
            faults.append((int(steps[at]), rule, -1 if tensors is None else int(tensors[at])))

    read_steps, read_tensors = events.dead_reads()
    note(read_steps, 0, read_tensors)
    fresh = np.zeros(len(codes), dtype=bool)
    fresh[events.step[events.is_write & ~events.was_live]] = True
    ran = events.ran
    nodes = codes[ran]
    once = ran[~layout.recomputable[nodes]]
    order = np.argsort(codes[once], kind="stable")
    again = np.flatnonzero(codes[once][order][1:] == codes[once][order][:-1]) + 1
    note(once[order][again], 1)
    note(ran[~fresh[ran]], 2)
    frees = ~events.is_write
    resident = frees & layout.resident[events.tensor]
    note(events.step[resident], 3, events.tensor[resident])
    dead = frees & ~events.was_live
    note(events.step[dead], 4, events.tensor[dead])
    if faults:
        _refuse(graph, codes, *min(faults))


def _refuse(graph: Graph, codes: Ints, step: int, rule: int, tensor: int) -> NoReturn:
    layout = graph.layout
    said, name = in_words(graph, codes, step), layout.tensor_names[tensor]
    if rule == 0:
        where = _whereabouts(layout, codes[:step], tensor)
        raise InputNotLive(f"{said}: it reads {name!r}, which {where}", step)
    if rule == 1:
        raise RunTwice(f"{said}: the node must not run twice (recomputable: false)", step)
    if rule == 2:
        raise NothingToCompute(f"{said}: all its outputs are live already", step)
    if rule == 3:
        raise ResidentFreed(f"{said}: {name!r} is a resident input (not freeable)", step)
    where = _whereabouts(layout, codes[:step], tensor)
    raise NotLive(f"{said}: {name!r} is not live; it {where}", step)


def _whereabouts(layout: Layout, codes: Ints, tensor: int) -> str:
    """Why `tensor` isn't live after `codes`."""
    freed = np.flatnonzero(codes == ~tensor)
    if len(freed):
        return f"was freed at step {freed[-1]}"
    # An input that is not live was freed, so what is left has a producer.
    return f"node {layout.node_names[layout.producer[tensor]]!r} has not computed yet"
