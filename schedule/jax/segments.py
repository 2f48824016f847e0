"""A function cut into segments, each of which `jax.checkpoint` may wrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

from schedule.jax.graphs import Names
from schedule.jax.internals import run
from schedule.jax.operations import Fixed, Operation, operations_of, values_of
from schedule.jax.tracing import Traced

#: What the name of a gradient begins with; the number of the operation whose result it is for
#: follows.
GRADIENT = "gradient of "


@dataclass(frozen=True)
class Choice:
    """How a function is cut, and what is saved.

    Attributes
    ----------
    cuts
        Operations before which it is cut, ascending.
    again
        Segments, by number, that are wrapped: all that isn't saved is computed again.
    saved
        Values that are saved in these, beside those that cross a cut.
    """

    cuts: tuple[int, ...]
    again: frozenset[int]
    saved: frozenset[int] = frozenset()


@dataclass(frozen=True)
class _Segment:
    """Operations in a row: what they read from before, and write for later.

    `names` are those of the values that are saved; None: all are, it isn't wrapped.
    """

    operations: Sequence[Operation]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    names: dict[int, str] | None


class Forward:
    """A function, before it is differentiated, as operations whose values have names.

    Parameters
    ----------
    traced
        The function.
    """

    def __init__(self, traced: Traced) -> None:
        self.found = operations_of(traced.jaxpr, differentiable=True, merges=False)
        self.operations = self.found.operations
        self.names = Names(self.found, traced.names).tensors
        self.results = frozenset(values_of(self.found.results))
        self.last_read = {
            v: at for at, each in enumerate(self.operations) for v in values_of(each.reads)
        }

    def named(self, leaves: Sequence[Any]) -> list[Any]:
        """The function with a name on everything that it computes, and on each gradient."""
        values = self.given(leaves)
        for at, operation in enumerate(self.operations):
            self.run([operation], values)
            for value in operation.writes:
                values[value] = _marked(values[value], self.names[value], f"{GRADIENT}{at}")
        return self.returned(values)

    def given(self, leaves: Sequence[Any]) -> dict[int, Any]:
        """What is there at the beginning: arguments and constants."""
        return dict(zip(self.found.arguments, leaves)) | self.found.constants

    def returned(self, values: dict[int, Any]) -> list[Any]:
        """The results."""
        return [r.value if isinstance(r, Fixed) else values[r] for r in self.found.results]

    def run(self, operations: Sequence[Operation], values: dict[int, Any]) -> None:
        """Run some operations."""
        for operation in operations:
            reads = [r.value if isinstance(r, Fixed) else values[r] for r in operation.reads]
            values.update(zip(operation.writes, run(operation.equation, reads)))

    def crosses(self, value: int, end: int) -> bool:
        """Whether a value is read by operation `end` or one after it."""
        return self.last_read.get(value, -1) >= end


def _marked(value: Any, name: str, gradient: str) -> Any:
    """The value under a name, and its gradient, where it has one, under another."""
    if not jax.numpy.issubdtype(value.dtype, jax.numpy.inexact):
        return checkpoint_name(value, name)

    def forward(value: Any) -> tuple[Any, None]:
        return checkpoint_name(value, name), None

    def backward(_: None, given: Any) -> tuple[Any]:
        return (checkpoint_name(given, gradient),)

    same = jax.custom_vjp(lambda value: checkpoint_name(value, name))
    same.defvjp(forward, backward)
    return same(value)


class Segmented:
    """A function in segments, those that are to be computed again wrapped by `jax.checkpoint`."""

    def __init__(self, forward: Forward, choice: Choice) -> None:
        self._forward = forward
        ends = [*choice.cuts, len(forward.operations)]
        self._segments = [
            self._segment(start, end, choice.saved if at in choice.again else None)
            for at, (start, end) in enumerate(zip([0, *ends], ends))
        ]
        self.wrapped = len(choice.again)
        self.names = tuple(name for each in self._segments for name in (each.names or {}).values())

    def _segment(self, start: int, end: int, saved: frozenset[int] | None) -> _Segment:
        forward = self._forward
        operations = forward.operations[start:end]
        inside = [v for operation in operations for v in operation.writes]
        read = dict.fromkeys(v for operation in operations for v in values_of(operation.reads))
        for value in inside:
            read.pop(value, None)
        later = [v for v in inside if forward.crosses(v, end) or v in forward.results]
        names = None
        if saved is not None:
            names = {v: forward.names[v] for v in inside if v in saved or v in later}
        return _Segment(operations, tuple(read), tuple(later), names)

    def __call__(self, leaves: Sequence[Any]) -> list[Any]:
        """Run it: arguments' arrays in, results out."""
        values = self._forward.given(leaves)
        policy = jax.checkpoint_policies.save_only_these_names(*self.names)
        for segment in self._segments:
            call: Any = partial(self._run, segment)
            if segment.names is not None:
                call = jax.checkpoint(call, policy=policy)
            values.update(zip(segment.writes, call([values[v] for v in segment.reads])))
        return self._forward.returned(values)

    def _run(self, segment: _Segment, reads: Sequence[Any]) -> list[Any]:
        values, names = dict(zip(segment.reads, reads)), segment.names or {}
        for operation in segment.operations:
            self._forward.run([operation], values)
            for value in operation.writes:
                if value in names:
                    values[value] = checkpoint_name(values[value], names[value])
        return [values[value] for value in segment.writes]
