"""A verified schedule run equation by equation."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax

from schedule.jax.graphs import Program
from schedule.jax.internals import Equation, run, wait_for_effects
from schedule.jax.operations import Fixed
from schedule.layout import Ints


class Step(NamedTuple):
    """One run: what it reads, where its results go, and what nobody needs afterwards.

    A read is a place, or (behind all places) what is fixed; a write of −1 is thrown away.
    What runs on the host is waited for: it would hold what it reads for longer.
    """

    equation: Equation
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    frees: tuple[int, ...]
    workspace: int
    is_awaited: bool


class Steps:
    """A schedule as steps that need no more thought. O(steps).

    Parameters
    ----------
    program
        What is run.
    codes
        A verified schedule of its graph.
    """

    def __init__(self, program: Program, codes: Ints) -> None:
        layout, found = program.graph.layout, program.found
        self._program = program
        self._n_places = layout.n_tensors
        self._fixed: list[Any] = []
        number = {
            value: layout.tensor_id[name]
            for value, name in program.tensors.items()
            if name in layout.tensor_id
        }
        self._arguments = [number[value] for value in found.arguments]
        self._constants = [
            (number[value], jax.device_put(constant)) for value, constant in found.constants.items()
        ]
        self._early: list[int] = []
        self._steps: list[Step] = []
        live = [t < layout.n_inputs for t in range(layout.n_tensors)]
        frees: list[list[int]] = []
        for code in codes.tolist():
            if code < 0:
                live[~code] = False
                (frees[-1] if frees else self._early).append(~code)
                continue
            operation = found.operations[code]
            self._steps.append(
                Step(
                    operation.equation,
                    tuple(self._place(read, number) for read in operation.reads),
                    tuple(-1 if live[number[v]] else number[v] for v in operation.writes),
                    (),
                    int(layout.workspace[code]),
                    operation.once,
                )
            )
            frees.append([])
            for t in layout.outputs_of[code]:
                live[t] = True
        self._steps = [s._replace(frees=tuple(f)) for s, f in zip(self._steps, frees)]
        self._donated = frozenset(self._arguments[at] for at in program.donated)
        self._results = [self._place(read, number) for read in found.results]

    def _place(self, read: int | Fixed, number: dict[int, int]) -> int:
        if isinstance(read, Fixed):
            self._fixed.append(read.value)
            return self._n_places + len(self._fixed) - 1
        return number[read]

    @property
    def constants(self) -> list[Any]:
        """Arrays that belong to the function."""
        return [constant for _, constant in self._constants]

    def __call__(
        self, leaves: Sequence[Any], watch: Callable[[int], None] | None = None
    ) -> list[Any]:
        """Run them; `watch` is told after each run, before anything is freed, its workspace."""
        places: list[Any] = [None] * self._n_places + self._fixed
        for place, leaf in zip(self._arguments, leaves):
            places[place] = leaf
        for place, constant in self._constants:
            places[place] = constant
        self._free(self._early, places)
        for step in self._steps:
            found = run(step.equation, [places[read] for read in step.reads])
            if step.is_awaited:
                wait_for_effects()
            if watch is not None:
                watch(step.workspace)
            for place, value in zip(step.writes, found):
                if place >= 0:
                    places[place] = value
            del found
            self._free(step.frees, places)
        return [places[place] for place in self._results]

    def _free(self, freed: Sequence[int], places: list[Any]) -> None:
        for place in freed:
            if place in self._donated:
                places[place].delete()  # the caller may still hold it
            places[place] = None
