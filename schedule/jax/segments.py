"""A function cut into segments, each of which `jax.checkpoint` may wrap."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import jax
from jax.ad_checkpoint import checkpoint_name

from schedule.jax.graphs import Names
from schedule.jax.internals import bodies_of, run
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
class Policy:
    """What `jax.checkpoint` is told to save: these names, and what these primitives write.

    A name is no help to a primitive whose derivative reads its own result (`tanh`, `exp`):
    that reads what the name was given to, and would compute it again.
    """

    names: frozenset[str]
    primitives: frozenset[str]

    def __call__(self, primitive: Any, *_: Any, **params: Any) -> bool:
        """Whether to save what an equation writes, as JAX asks it."""
        if primitive.name == "name":
            return params["name"] in self.names
        return primitive.name in self.primitives


@dataclass(frozen=True)
class _Segment:
    """Operations in a row: what they read from before, and write for later.

    `names` are those that it gives. It is wrapped where there is a policy.
    """

    operations: Sequence[Operation]
    reads: tuple[int, ...]
    writes: tuple[int, ...]
    names: dict[int, str]
    policy: Policy | None


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
    """A function in segments, those that are to be computed again wrapped by `jax.checkpoint`.

    Parameters
    ----------
    forward
        The function.
    choice
        How it is cut, and what is saved.
    self_reading
        Values that the derivatives of the operations that write them read.

    Attributes
    ----------
    policies
        Of the segments that are wrapped.
    """

    def __init__(self, forward: Forward, choice: Choice, self_reading: frozenset[int]) -> None:
        self._forward, self._self_reading = forward, self_reading
        ends = [*choice.cuts, len(forward.operations)]
        self._segments = [
            self._segment(start, end, choice.saved if at in choice.again else None)
            for at, (start, end) in enumerate(zip([0, *ends], ends))
        ]
        self.policies = tuple(each.policy for each in self._segments if each.policy)

    def _segment(self, start: int, end: int, saved: frozenset[int] | None) -> _Segment:
        forward = self._forward
        operations = forward.operations[start:end]
        inside = [v for operation in operations for v in operation.writes]
        read = dict.fromkeys(v for operation in operations for v in values_of(operation.reads))
        for value in inside:
            read.pop(value, None)
        later = [v for v in inside if forward.crosses(v, end) or v in forward.results]
        names: dict[int, str] = {}
        policy = None
        if saved is not None:
            kept = saved.intersection(inside).union(later)
            primitives = self._primitives(operations, kept)
            for operation in operations:
                if operation.equation.primitive.name not in primitives:
                    names.update((v, forward.names[v]) for v in operation.writes if v in kept)
            policy = Policy(frozenset(names.values()), primitives)
        return _Segment(operations, tuple(read), tuple(later), names, policy)

    def _primitives(self, operations: Sequence[Operation], kept: frozenset[int]) -> frozenset[str]:
        """Those that read their own results, if of all their operations these are kept."""
        wanted, others = set(), set()
        for operation in operations:
            (first, *more), name = operation.writes or (-1,), operation.equation.primitive.name
            one = not more and not any(bodies_of(operation.equation))
            if one and first in kept:
                wanted |= {name} if first in self._self_reading else set()
            else:
                others.add(name)
        return frozenset(wanted - others)

    def __call__(self, leaves: Sequence[Any]) -> list[Any]:
        """Run it: arguments' arrays in, results out."""
        values = self._forward.given(leaves)
        for segment in self._segments:
            call: Any = partial(self._run, segment)
            if segment.policy is not None:
                call = jax.checkpoint(call, policy=segment.policy)
            values.update(zip(segment.writes, call([values[v] for v in segment.reads])))
        return self._forward.returned(values)

    def _run(self, segment: _Segment, reads: Sequence[Any]) -> list[Any]:
        values, names = dict(zip(segment.reads, reads)), segment.names
        for operation in segment.operations:
            self._forward.run([operation], values)
            for value in operation.writes:
                if value in names:
                    values[value] = checkpoint_name(values[value], names[value])
        return [values[value] for value in segment.writes]
