"""A verified schedule as two lists of steps, forward and backward, that need no more thought."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import numpy as np
import torch

from schedule.layout import Ints
from schedule.levels import Level
from schedule.memory import simulate
from schedule.steps import transfer_of
from schedule.torch import kernels, moves
from schedule.torch.draws import Draws, OnCpu, OnCuda, noting, repeating
from schedule.torch.kernels import Kernel
from schedule.torch.program import BOUNDARY, KEPT, SPARE, Program, Tangent


class Step(NamedTuple):
    """One run: what it reads, where its outputs go, and what nobody needs afterwards."""

    kernel: Kernel
    reads: tuple[int, ...]
    writes: tuple[tuple[int, int], ...]
    frees: tuple[int, ...]


class _Incoming(NamedTuple):
    """The gradient of a result: where it goes, and the layout in which it is read."""

    to: int
    size: tuple[int, ...]
    stride: tuple[int, ...]
    dtype: torch.dtype
    device: torch.device
    is_spread: bool

    def taken(self, given: torch.Tensor | None) -> torch.Tensor:
        """What came in, in that layout; zeros where nothing did."""
        if given is None and self.is_spread:
            return torch.zeros((), dtype=self.dtype, device=self.device).expand(self.size)
        if given is not None and (given.stride() == self.stride or self.takes_no_memory(given)):
            return given
        made = torch.empty_strided(self.size, self.stride, dtype=self.dtype, device=self.device)
        return made.zero_() if given is None else made.copy_(given)

    def takes_no_memory(self, given: torch.Tensor | None) -> bool:
        """Whether it is one number spread over the shape, or nothing, and may be so."""
        return self.is_spread and (given is None or not any(given.stride()))


@dataclass(frozen=True)
class Plan:
    """A schedule as two lists of steps, the boundary between them; tensors are numbers.

    Attributes
    ----------
    size
        How many tensors there are.
    forward, backward
        The steps before and after the boundary.
    at_turn
        Tensors that nothing after the boundary reads.
    inputs
        By number: what the step is given at which place.
    constants
        By number.
    results, tangents, mutations, gradients
        As in `Program`, by number; gradients by the inputs' places, each with
        the results on whose gradients it depends.
    late
        Inputs, by place, whose memory the backward steps read, through whatever view: they must
        not change before.
    late_results
        Results, by place, whose memory they read.
    changed
        Inputs, by place, that the step changes in place.
    is_sparing
        Whether no memory is kept for gradients of results that could do without.
    sizes
        Bytes that are promised, by number; of views 0.
    repeated
        For each half the draws of random numbers that it repeats, in order, by
        their numbers among those that are noted.
    device
        Of the step.
    made
        Bytes that it takes at its peak, beside what is there before it; in blocks
        that may be larger than their tensors.
    kept
        Bytes that libraries keep.
    copies
        Whether it copies tensors to the host and back.
    """

    size: int
    forward: tuple[Step, ...]
    backward: tuple[Step, ...]
    at_turn: tuple[int, ...]
    inputs: dict[int, int]
    constants: dict[int, torch.Tensor]
    results: tuple[int, ...]
    tangents: tuple[_Incoming | None, ...]
    mutations: tuple[tuple[int, int], ...]
    gradients: dict[int, tuple[int, frozenset[int]]]
    late: dict[int, str]
    late_results: tuple[int, ...]
    changed: tuple[int, ...]
    is_sparing: bool
    sizes: tuple[int, ...]
    repeated: tuple[tuple[int, ...], ...]
    device: torch.device
    made: int
    kept: int
    copies: bool

    def draws(self) -> Draws | None:
        """What notes and repeats draws in a step by operators; None: none is repeated."""
        if not any(self.repeated):
            return None
        return OnCuda(self.device) if self.device.type == "cuda" else OnCpu()

    def given_gradients(self, tangents: Sequence[torch.Tensor | None]) -> list[int]:
        """The inputs, by place, whose gradients depend on any of the results' gradients."""
        missing = {at for at, tangent in enumerate(tangents) if tangent is None}
        return [
            at
            for at, (_, needs) in self.gradients.items()
            if not needs or not missing.issuperset(needs)
        ]

    def tightened(self, loose: Collection[Kernel]) -> Plan:
        """The same with kernels that leave no more memory than is promised."""
        if not loose:
            return self

        def tight(steps: Sequence[Step]) -> tuple[Step, ...]:
            made = {kernel: kernels.tightened(kernel) for kernel in loose}
            return tuple(s._replace(kernel=made.get(s.kernel, s.kernel)) for s in steps)

        return replace(self, forward=tight(self.forward), backward=tight(self.backward))


def plan_of(
    program: Program, codes: Ints, levels: Sequence[Level] = (), *, is_sparing: bool
) -> Plan:
    """Prepare a verified schedule, which copies no input of the graph. O(steps)."""
    layout = program.graph.layout
    number, storage = layout.tensor_id, layout.storage.tolist()
    halves = _Halves(program, codes)
    for code in codes.tolist():
        halves.take(code)
    halves.end()
    (_, forward), (early, backward) = (
        _fused(half, halves.marks[at], layout.n_tensors + 1) for at, half in enumerate(halves.found)
    )
    read = {t for step in backward for t in step.reads if t < layout.n_tensors}
    gradients = {
        program.inputs[name]: (number[of], program.needs[name])
        for name, of in program.gradients.items()
    }
    kept = read | {t for t, _ in gradients.values()}
    late_storages = {storage[t] for t in read}
    changed = {name for name, _ in program.mutations}
    given = {item.name: item.memory for item in program.graph.inputs}
    results = tuple(number[name] for name in program.results)
    return Plan(
        size=layout.n_tensors,
        forward=forward,
        backward=backward,
        at_turn=tuple(sorted((_left(forward, layout.n_inputs) - kept).union(early))),
        inputs={number[name]: at for name, at in program.inputs.items()},
        constants={number[name]: value for name, value in program.constants.items()},
        results=results,
        tangents=tuple(map(partial(_incoming, number), program.tangents)),
        mutations=tuple((number[into], number[new]) for into, new in program.mutations),
        gradients=gradients,
        late={
            at: name
            for name, at in program.inputs.items()
            if storage[number[name]] in late_storages and name not in changed
        },
        late_results=tuple(at for at, t in enumerate(results) if storage[t] in late_storages),
        changed=tuple(program.inputs[name] for name in sorted(changed)),
        is_sparing=is_sparing,
        sizes=tuple(layout.memory.tolist()),
        repeated=tuple(map(tuple, halves.repeated)),
        device=program.device,
        made=simulate(program.graph, codes, levels).peak
        - layout.resident_memory
        + given.get(SPARE, 0),
        kept=given.get(KEPT, 0),
        copies=bool(codes.size and codes.min() < -layout.n_tensors),
    )


def _left(forward: Sequence[Step], n_inputs: int) -> set[int]:
    """The tensors that are live after the forward steps."""
    found = set(range(n_inputs))
    for step in forward:
        found.update(t for _, t in step.writes)
        found.difference_update(step.frees)
    return found


def _incoming(number: Mapping[str, int], tangent: Tangent | None) -> _Incoming | None:
    if tangent is None:
        return None
    like = tangent.like
    return _Incoming(
        number[tangent.name],
        tuple(like.size()),
        tuple(like.stride()),
        like.dtype,
        like.device,
        tangent.is_spread,
    )


class _Halves:
    """Steps before and after the boundary: runs, and numbers of tensors that are freed.

    A tensor that owns a storage is freed with the last tensor on it, so that what
    runs again finds the storage that is still there. What draws random numbers, and
    does so again, notes their state at first; its `Draws` are behind all tensors.

    Copies to the host and back are runs, too, of kernels that read the step's `Copies`,
    which are behind the `Draws`. What waits for them is known beforehand: the first that
    reads what was fetched, and whatever lets go of what is copied from or to.
    """

    def __init__(self, program: Program, codes: Ints) -> None:
        self._program, self._layout = program, program.graph.layout
        self._boundary = self._layout.node_id[BOUNDARY]
        self._storage = self._layout.storage.tolist()
        inputs = self._layout.n_inputs
        self._live = [t < inputs for t in range(self._layout.n_tensors)]
        self._held = [int(live) for live in self._live]
        self._n_runs = np.bincount(codes[codes >= 0], minlength=self._layout.n_nodes)
        self._noted: dict[int, int] = {}
        self._copies = self._layout.n_tensors + 1
        self._arriving: set[int] = set()  # fetched, and not read yet
        self._under_way: dict[int, None] = {}  # copied from or to, and not waited for yet
        self._written: dict[int, tuple[int, int]] = {}  # by a run: which half, and where in it
        self.marks: list[dict[int, list[int]]] = [defaultdict(list)]
        self.repeated: list[list[int]] = [[]]
        self.found: list[list[Step | int]] = [[]]

    def take(self, code: int) -> None:
        """The next step."""
        if code < 0:
            t, _, kind = transfer_of(self._layout, code)
            (self._offload, self._prefetch, self._drop, self._free)[kind](t)
            return
        if code == self._boundary:
            self._arrive(self._layout.reads_of[code])
            self.marks.append(defaultdict(list))
            self.found.append([])
            self.repeated.append([])
        elif self._layout.node_names[code] in self._program.calls:
            step = self._step(code)
            self._arrive(step.reads)
            here = len(self.found) - 1, len(self.found[-1])
            self._written.update((t, here) for _, t in step.writes)
            self.found[-1].append(step)
        for t in self._layout.outputs_of[code]:
            self._held[self._storage[t]] += not self._live[t]
            self._live[t] = True

    def _step(self, node: int) -> Step:
        """A run of a node; what is still there isn't written a second time."""
        number = self._layout.tensor_id
        call = self._program.calls[self._layout.node_names[node]]
        writes = [(place, number[name]) for place, name in call.writes]
        step = Step(
            call.kernel,
            tuple(number[name] for name in call.reads),
            tuple((place, t) for place, t in writes if not (self._live[t] or self._held[t])),
            (),
        )
        if not call.state or self._n_runs[node] < 2:
            return step
        return self._drawing(node, step, number[call.state])

    def _drawing(self, node: int, step: Step, state: int) -> Step:
        """The same, where the draw is noted, or repeated."""
        draws = self._layout.n_tensors
        if node in self._noted:
            self.repeated[-1].append(self._noted[node])
            return step._replace(kernel=repeating(step.kernel), reads=(*step.reads, state, draws))
        self._noted[node] = len(self._noted)
        writes = [(max(place, 0) + 1, t) for place, t in step.writes]
        return step._replace(
            kernel=noting(step.kernel),
            reads=(*step.reads, draws),
            writes=((0, state), *writes),
        )

    def end(self) -> None:
        """After the last step: what is still copied is waited for."""
        for t in list(self._under_way):
            self._wait(t)

    def _move(self, kernel: Kernel, *reads: int, to: int | None = None) -> None:
        writes = () if to is None else ((-1, to),)
        self.found[-1].append(Step(kernel, (*reads, self._copies), writes, ()))

    def _offload(self, t: int) -> None:
        """Begin to copy; no later than the run that wrote it has ended."""
        if t in self._written:
            half, at = self._written[t]
            if (half, at) != (len(self.found) - 1, len(self.found[-1]) - 1):
                self.marks[half][at].append(t)
        self._move(moves.offloading(t), t)
        self._under_way[t] = None

    def _prefetch(self, t: int) -> None:
        """Begin to copy back, unless a view has held the storage, so that it is all there."""
        if not self._held[t]:
            self._written.pop(t, None)
            self._move(moves.fetching(t), to=t)
            self._arriving.add(t)
            self._under_way[t] = None
        self._held[t] += 1
        self._live[t] = True

    def _drop(self, t: int) -> None:
        self._move(moves.dropping(t))
        self._waited(t)

    def _arrive(self, tensors: Iterable[int]) -> None:
        """Wait for those of them that are being fetched."""
        for t in sorted(self._arriving.intersection(tensors)):
            self._wait(t)

    def _wait(self, t: int) -> None:
        self._move(moves.awaiting(t), t)
        self._waited(t)

    def _waited(self, t: int) -> None:
        self._under_way.pop(t, None)
        self._arriving.discard(t)

    def _free(self, t: int) -> None:
        if t in self._under_way:
            self._wait(t)
        owner = self._storage[t]
        self._live[t] = False
        self._held[owner] -= 1
        if t != owner:
            self.found[-1].append(t)
        if not self._held[owner]:
            self.found[-1].append(owner)


def _fused(
    half: Sequence[Step | int], marks: Mapping[int, Sequence[int]], copies: int
) -> tuple[tuple[int, ...], tuple[Step, ...]]:
    """What is freed before the first run, and the runs with what is freed after each.

    After some of the items it is marked that these tensors have been written.
    """
    early: list[int] = []
    steps: list[Step] = []
    frees: list[list[int]] = []
    for at, item in enumerate(half):
        if isinstance(item, Step):
            steps.append(item)
            frees.append([])
        else:
            (frees[-1] if frees else early).append(item)
        if at in marks:
            steps.append(Step(moves.marking(marks[at]), (copies,), (), ()))
            frees.append([])
    return tuple(early), tuple(s._replace(frees=tuple(f)) for s, f in zip(steps, frees))
