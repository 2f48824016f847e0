"""A schedule of a training step, run: forward to the turn, and from there when gradients come."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from schedule.layout import Ints
from schedule.torch.kernels import Kernel
from schedule.torch.program import TURN, Program


class _Step(NamedTuple):
    """One run: what it reads, where its outputs go, and what nobody needs afterwards."""

    kernel: Kernel
    reads: tuple[int, ...]
    writes: tuple[tuple[int, int], ...]
    frees: tuple[int, ...]


@dataclass(frozen=True)
class Plan:
    """A schedule as two lists of steps, the turn between them; tensors are numbers.

    Attributes
    ----------
    size
        How many tensors there are.
    forward, backward
        The steps before and after the turn.
    at_turn
        Tensors that are freed right after the turn, before any gradient is there.
    inputs
        By number: names of the graph's inputs that have tensors.
    results, tangents, mutations, gradients
        As in `Program`, by number; gradients by the inputs' names.
    late
        Names of inputs that the backward steps read: they must not change before.
    """

    size: int
    forward: tuple[_Step, ...]
    backward: tuple[_Step, ...]
    at_turn: tuple[int, ...]
    inputs: dict[int, str]
    results: tuple[int, ...]
    tangents: tuple[int | None, ...]
    mutations: tuple[tuple[int, int], ...]
    gradients: dict[str, int]
    late: tuple[str, ...]


def plan_of(program: Program, codes: Ints) -> Plan:
    """Prepare a verified schedule. O(steps)."""
    number = program.graph.layout.tensor_id
    halves = _Halves(program)
    for code in codes.tolist():
        halves.take(code)
    (_, forward), (early, backward) = map(_fused, halves.found)
    read = {t for step in backward for t in step.reads}
    sources = {number[name]: name for name in program.sources}
    # A constant is the step's own: nobody can change it in between.
    fixed = {name for name, _ in program.mutations} | set(program.constants)
    return Plan(
        size=program.graph.layout.n_tensors,
        forward=forward,
        backward=backward,
        at_turn=early,
        inputs=sources,
        results=tuple(number[name] for name in program.results),
        tangents=tuple(None if name is None else number[name] for name in program.tangents),
        mutations=tuple((number[into], number[new]) for into, new in program.mutations),
        gradients={name: number[of] for name, of in program.gradients.items()},
        late=tuple(name for t, name in sources.items() if t in read and name not in fixed),
    )


class _Halves:
    """Steps before and after the turn: runs, and numbers of tensors that go.

    A tensor that owns a storage goes with the last tensor on it, so that what
    runs again finds the storage that is still there.
    """

    def __init__(self, program: Program) -> None:
        self._program, self._layout = program, program.graph.layout
        self._turn = self._layout.node_id[TURN]
        self._storage = self._layout.storage.tolist()
        inputs = self._layout.n_inputs
        self._live = [t < inputs for t in range(self._layout.n_tensors)]
        self._held = [int(live) for live in self._live]
        self.found: list[list[_Step | int]] = [[]]

    def take(self, code: int) -> None:
        """The next step."""
        if code < 0:
            self._free(~code)
            return
        if code == self._turn:
            self.found.append([])
        else:
            self.found[-1].append(self._step(code))
        for t in self._layout.outputs_of[code]:
            self._held[self._storage[t]] += not self._live[t]
            self._live[t] = True

    def _step(self, node: int) -> _Step:
        """A run of a node; what is still there isn't written a second time."""
        number = self._layout.tensor_id
        call = self._program.calls[self._layout.node_names[node]]
        writes = [(place, number[name]) for place, name in call.writes]
        return _Step(
            call.kernel,
            tuple(number[name] for name in call.reads),
            tuple((place, t) for place, t in writes if not (self._live[t] or self._held[t])),
            (),
        )

    def _free(self, t: int) -> None:
        owner = self._storage[t]
        self._live[t] = False
        self._held[owner] -= 1
        if t != owner:
            self.found[-1].append(t)
        if not self._held[owner]:
            self.found[-1].append(owner)


def _fused(half: Sequence[_Step | int]) -> tuple[tuple[int, ...], tuple[_Step, ...]]:
    """What is freed before the first run, and the runs with what is freed after each."""
    early: list[int] = []
    steps: list[_Step] = []
    frees: list[list[int]] = []
    for item in half:
        if isinstance(item, _Step):
            steps.append(item)
            frees.append([])
        else:
            (frees[-1] if frees else early).append(item)
    return tuple(early), tuple(s._replace(frees=tuple(f)) for s, f in zip(steps, frees))


class Session:
    """One pass through a plan: what is live between forward and backward pass."""

    def __init__(self, plan: Plan, tensors: Mapping[str, torch.Tensor]) -> None:
        self._plan = plan
        self._values: list[Any] = [None] * plan.size
        for t, name in plan.inputs.items():
            self._values[t] = tensors[name].detach()
        self._versions = {name: tensors[name]._version for name in plan.late}
        self._done = False

    def forward(self) -> list[torch.Tensor]:
        """Run to the turn; buffers change there."""
        plan, values = self._plan, self._values
        _run(plan.forward, values)
        for into, new in plan.mutations:
            values[into].copy_(values[new])
        # Others of the same memory: what goes out will refer to this session.
        found = [values[t].detach() for t in plan.results]
        for t in plan.at_turn:
            values[t] = None
        return found

    def backward(
        self, tangents: Sequence[torch.Tensor | None], tensors: Mapping[str, torch.Tensor]
    ) -> dict[str, torch.Tensor]:
        """Run on from the turn; the gradients by the inputs' names."""
        if self._done:
            raise RuntimeError(
                "a planned step runs backward once: what it held is gone (retain_graph is ignored)"
            )
        self._done = True
        plan, values = self._plan, self._values
        for name, version in self._versions.items():
            if tensors[name]._version != version:
                raise RuntimeError(
                    f"{name!r} was changed between the forward and the backward pass, which"
                    f" recomputes from it"
                )
        for t, result, tangent in zip(plan.tangents, plan.results, tangents):
            if t is not None:
                values[t] = torch.zeros_like(values[result]) if tangent is None else tangent
        _run(plan.backward, values)
        found = {name: values[t] for name, t in plan.gradients.items()}
        values.clear()
        return found


def _run(steps: Sequence[_Step], values: list[Any]) -> None:
    for kernel, reads, writes, frees in steps:
        found = kernel(*[values[t] for t in reads])
        for place, t in writes:
            values[t] = found if place < 0 else found[place]
        found = None
        for t in frees:
            values[t] = None
