"""Random numbers drawn a second time: what the generator's state was is noted, and given back.

Operators draw from their device's default generator. On a CPU its state is a tensor
of some kilobytes; on a GPU it is a seed and an offset (Philox: Salmon et al., 2011,
https://doi.org/10.1145/2063384.2063405), and the generator is given another state
while an operator runs again, so that its own stays as it is. While CUDA graphs are
recorded nobody can look at offsets, nor set them: there each draw that is repeated has
a state of its own, which is set before each replay to where the first draw began, as
the first step, which runs by operators, has noted.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import torch
from torch import fx

from schedule.torch import operators
from schedule.torch.kernels import Kernel

#: Bytes on the device itself that a noted state takes, by kind of device; on others it can't be
#: given back.
STATE = {"cpu": 5056, "cuda": 0}


def state_of(node: fx.Node, device: torch.device, written: int) -> int | None:
    """Bytes of the state with which a node can draw again what it drew; None: it can't.

    Parameters
    ----------
    node
        It draws random numbers.
    device
        Of the step.
    written
        Bytes of what it writes: where its state takes more, there is nothing to gain.
    """
    size = STATE.get(device.type)
    value: Any = node.meta["val"]
    first = value[0] if isinstance(value, (tuple, list)) else value
    if size is None or written <= size or first.device.type != device.type:
        return None
    return size if operators.draws_by_default(node) else None


class Draws(Protocol):
    """How one step notes random states, and gives them back."""

    def first(self, kernel: Kernel, reads: Sequence[Any]) -> tuple[Any, Any]:
        """The state that an operator begins with, and what it returns."""

    def again(self, kernel: Kernel, reads: Sequence[Any], state: Any) -> Any:
        """What it returned from that state; the generator goes on as if it hadn't run."""

    def turn(self) -> None:
        """The forward pass has ended."""


def noting(kernel: Kernel) -> Kernel:
    """A kernel that returns the random state it began with, before its results.

    It reads a step's `Draws` besides, as the last.
    """

    def run(*reads: Any) -> list[Any]:
        *given, draws = reads
        state, found = draws.first(kernel, given)
        return [state, found] if isinstance(found, torch.Tensor) else [state, *found]

    return run


def repeating(kernel: Kernel) -> Kernel:
    """A kernel that draws what it drew from a state; it reads that and a `Draws` besides."""

    def run(*reads: Any) -> Any:
        *given, state, draws = reads
        return draws.again(kernel, given, state)

    return run


class OnCpu:
    """The state of the CPU's generator as a tensor."""

    def first(self, kernel: Kernel, reads: Sequence[Any]) -> tuple[torch.Tensor, Any]:
        """Note it whole."""
        state = torch.default_generator.get_state()
        return state, kernel(*reads)

    def again(self, kernel: Kernel, reads: Sequence[Any], state: torch.Tensor) -> Any:
        """Set it, and set it back."""
        now = torch.default_generator.get_state()
        torch.default_generator.set_state(state)
        try:
            return kernel(*reads)
        finally:
            torch.default_generator.set_state(now)

    def turn(self) -> None:
        """States are whole, wherever they are."""


def _generator(device: torch.device) -> Any:
    cuda: Any = torch.cuda
    cuda.init()
    at = device.index if device.index is not None else cuda.current_device()
    return cuda.default_generators[at]


def _beside(generator: Any, other: Any, kernel: Kernel, reads: Sequence[Any]) -> Any:
    """Run with another generator's state in the place of this one's."""
    own = generator.graphsafe_get_state()
    generator.graphsafe_set_state(other)
    try:
        return kernel(*reads)
    finally:
        generator.graphsafe_set_state(own)


@dataclass
class Positions:
    """Where draws begin and end that are repeated, in the random numbers of a forward pass.

    Attributes
    ----------
    spans
        Offsets from where the pass began, in the order of the draws.
    total
        How far the pass gets.
    """

    spans: list[tuple[int, int]] = field(default_factory=list)
    total: int = 0


class OnCuda:
    """The seed and the offset of a GPU's generator.

    Parameters
    ----------
    device
        Of the step.

    Attributes
    ----------
    positions
        Of what has been noted.
    """

    def __init__(self, device: torch.device) -> None:
        self._generator = _generator(device)
        self._other = self._generator.clone_state()
        self._begun = self._generator.get_offset()
        self.positions = Positions()

    def first(self, kernel: Kernel, reads: Sequence[Any]) -> tuple[torch.Tensor, Any]:
        """Sixteen bytes on the host."""
        generator = self._generator
        state, start = generator.get_state(), generator.get_offset()
        found = kernel(*reads)
        end = generator.get_offset()
        self.positions.spans.append((start - self._begun, end - self._begun))
        return state, found

    def turn(self) -> None:
        """How far the generator got."""
        self.positions.total = self._generator.get_offset() - self._begun

    def again(self, kernel: Kernel, reads: Sequence[Any], state: torch.Tensor) -> Any:
        """Its own state isn't touched."""
        self._other.set_state(state)
        return _beside(self._generator, self._other, kernel, reads)


class Recorded:
    """Draws while both passes of a step are recorded as CUDA graphs.

    Parameters
    ----------
    device
        Of the step.
    repeated
        For each pass the draws that it repeats, in order, by their numbers among
        those that are noted.
    positions
        As a step that ran by operators noted them.
    """

    def __init__(
        self, device: torch.device, repeated: Sequence[Sequence[int]], positions: Positions
    ) -> None:
        self._generator = _generator(device)
        self._positions = positions
        self._states = [self._of(numbers) for numbers in repeated]
        self._left = [state for states in self._states for state, _ in states]
        self._noted = 0
        self._base = 0, 0

    def _of(self, numbers: Sequence[int]) -> list[tuple[Any, int]]:
        """For each repeated draw its state, and where that begins; −1: where the last one ended.

        Draws that follow on one another, as they did at first, go on in one state.
        """
        found: list[tuple[Any, int]] = []
        at = -1
        for number in numbers:
            start, end = self._positions.spans[number]
            follows = bool(found) and at == start
            state = found[-1][0] if follows else self._generator.clone_state()
            found.append((state, -1 if follows else start))
            at = end
        return found

    def states(self, half: int) -> list[Any]:
        """The generators that a pass (0: forward, 1: backward) draws from besides the default."""
        return [state for state, start in self._states[half] if start >= 0]

    def first(self, kernel: Kernel, reads: Sequence[Any]) -> tuple[int, Any]:
        """Its number stands for the state."""
        self._noted += 1
        return self._noted - 1, kernel(*reads)

    def again(self, kernel: Kernel, reads: Sequence[Any], state: int) -> Any:  # noqa: ARG002 - known
        """From its own state, in the order in which passes repeat draws."""
        return _beside(self._generator, self._left.pop(0), kernel, reads)

    def turn(self) -> None:
        """Offsets can't be asked for."""

    def begin(self, half: int) -> None:
        """Before a replay: set where the draws that it repeats begin."""
        if not half:
            self._base = self._generator.initial_seed(), self._generator.get_offset()
        seed, base = self._base
        for state, start in self._states[half]:
            if start >= 0:
                state.manual_seed(seed)
                state.set_offset(base + start)

    def end(self, half: int) -> None:
        """After a replay.

        Raises
        ------
        RuntimeError
            Another number of random numbers was drawn than by operators: what
            is repeated would be something else.
        """
        drawn = self._generator.get_offset() - self._base[1]
        if not half and self._positions.spans and drawn != self._positions.total:
            raise RuntimeError(
                f"a recorded step draws {drawn} random numbers, by operators it drew"
                f" {self._positions.total}; plan with cuda_graphs=False, and please report it"
            )
