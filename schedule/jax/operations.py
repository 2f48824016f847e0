"""A jaxpr as one list of operations: what wraps others is opened, what is nothing is left out."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from schedule.errors import CannotCapture
from schedule.jax.internals import (
    CALLS,
    RULES,
    Aval,
    Equation,
    Jaxpr,
    body_of,
    bytes_of,
    has_effect,
    is_again,
    is_array,
    is_backward,
    is_literal,
    is_nothing,
    label_of,
    moves_elsewhere,
    nothing,
    runs_once,
    same_reads,
)


@dataclass(frozen=True, slots=True)
class Fixed:
    """A value that stands in the program itself."""

    value: Any


#: What an operation reads, and what a function returns: a value by its number, or one that is
#: fixed.
Read = int | Fixed


@dataclass(frozen=True, slots=True)
class Operation:
    """One equation of a function, by itself.

    Attributes
    ----------
    equation
        What runs.
    reads, writes
        Values, in the equation's order.
    once
        Whether it must not run again.
    in_order
        Whether it has effects, which keep their order.
    backward
        Whether it belongs to the backward pass.
    part
        How many names (`checkpoint_name`) had been given before it.
    """

    equation: Equation
    reads: tuple[Read, ...]
    writes: tuple[int, ...]
    once: bool
    in_order: bool
    backward: bool
    part: int


@dataclass
class Operations:
    """A function as a list of operations on values, which are numbers.

    Attributes
    ----------
    operations
        In the order in which the function runs them; those that nobody needs left out.
    avals
        Of the values, by number.
    arguments
        Numbers of the values that are given.
    constants
        Arrays that belong to the function, by number.
    results
        What it returns, in order.
    labels
        The names that `checkpoint_name` gave, in order, each with its value.
    """

    operations: list[Operation] = field(default_factory=list)
    avals: list[Aval] = field(default_factory=list)
    arguments: list[int] = field(default_factory=list)
    constants: dict[int, Any] = field(default_factory=dict)
    results: list[Read] = field(default_factory=list)
    labels: list[tuple[str, Read]] = field(default_factory=list)

    def new(self, aval: Aval) -> int:
        """The number of another value."""
        if not is_array(aval):
            raise CannotCapture(
                f"the function has a value of the kind {aval}: references to arrays that change"
                " in place (jax.new_ref) aren't planned; return new arrays"
            )
        self.avals.append(aval)
        return len(self.avals) - 1

    def bytes_of(self, value: int) -> int:
        """Memory of a value."""
        return bytes_of(self.avals[value])


def operations_of(closed: Any, *, differentiable: bool = False, merges: bool = True) -> Operations:
    """Open a jaxpr. O(equations).

    Parameters
    ----------
    closed
        The jaxpr with its constants.
    differentiable
        Whether it is yet to be differentiated: what has rules of its own for that stays as it
        is, and so does what is nothing but to differentiation (`stop_gradient`).
    merges
        Whether what `jax.checkpoint` computes again is the same operation as the first one.

    Raises
    ------
    CannotCapture
        It has references to arrays, or puts arrays elsewhere.
    """
    opening = _Opening(differentiable, merges)
    opening.open(closed)
    return opening.found


@dataclass(slots=True)
class _Frame:
    """A program that is being read: what is left of it, and what its variables stand for."""

    jaxpr: Jaxpr
    equations: Iterator[Equation]
    values: dict[Any, Read]
    caller: Equation | None
    backward: bool
    again: bool

    def read(self, atom: Any) -> Read:
        return Fixed(atom.val) if is_literal(atom) else self.values[atom]


class _Opening:
    def __init__(self, differentiable: bool, merges: bool) -> None:
        self.found = Operations()
        self._differentiable, self._merges = differentiable, merges
        self._calls = CALLS if differentiable else CALLS | RULES
        self._known: dict[Hashable, tuple[int, ...]] = {}
        self._constants: dict[int, int] = {}

    def open(self, closed: Any) -> None:
        found, jaxpr = self.found, closed.jaxpr
        found.arguments = [found.new(variable.aval) for variable in jaxpr.invars]
        values: dict[Any, Read] = dict(zip(jaxpr.invars, found.arguments))
        outer = self._frame(jaxpr, closed.consts, values, None, False, False)
        stack = [outer]
        while stack:
            frame = stack[-1]
            equation = next(frame.equations, None)
            if equation is not None:
                self._take(equation, frame, stack)
                continue
            stack.pop()
            if stack and frame.caller is not None:
                for inner, variable in zip(frame.jaxpr.outvars, frame.caller.outvars):
                    stack[-1].values[variable] = frame.read(inner)
        found.results = [outer.read(atom) for atom in jaxpr.outvars]
        found.operations = _needed(found)

    def _frame(
        self,
        jaxpr: Jaxpr,
        constants: Sequence[Any],
        values: dict[Any, Read],
        caller: Equation | None,
        backward: bool,
        again: bool,
    ) -> _Frame:
        for variable, constant in zip(jaxpr.constvars, constants):
            if id(constant) not in self._constants:
                number = self.found.new(variable.aval)
                self._constants[id(constant)] = number
                self.found.constants[number] = constant
            values[variable] = self._constants[id(constant)]
        return _Frame(jaxpr, iter(jaxpr.eqns), values, caller, backward, again)

    def _take(self, equation: Equation, frame: _Frame, stack: list[_Frame]) -> None:
        reads = [frame.read(atom) for atom in equation.invars]
        backward = frame.backward or is_backward(equation)
        body = body_of(equation, self._calls)
        if body is not None:
            inner, constants = body
            again = frame.again or is_again(equation)
            values = dict(zip(inner.invars, reads))
            stack.append(self._frame(inner, constants, values, equation, backward, again))
        elif (label := label_of(equation)) is not None:
            self.found.labels.append((label, reads[0]))
            frame.values[equation.outvars[0]] = reads[0]
        elif same_reads(equation) and not self._differentiable:
            frame.values.update(zip(equation.outvars, reads))
        elif equation.outvars and all(is_nothing(v.aval) for v in equation.outvars):
            for variable in equation.outvars:
                frame.values[variable] = Fixed(nothing(variable.aval))
        elif moves_elsewhere(equation):
            raise CannotCapture(
                "the function puts an array on a device or into a memory that it names"
                " (jax.device_put): a plan is for one memory; leave that outside of it"
            )
        else:
            writes = self._operation(equation, tuple(reads), backward, frame.again)
            frame.values.update(zip(equation.outvars, writes))

    def _operation(
        self, equation: Equation, reads: tuple[Read, ...], backward: bool, again: bool
    ) -> tuple[int, ...]:
        """The values that it writes: of the first one like it, where it is one of again."""
        once = runs_once(equation)
        key = None if once or not self._merges else _key(equation, reads)
        if again and key in self._known:
            return self._known[key]
        writes = tuple(self.found.new(variable.aval) for variable in equation.outvars)
        effect = has_effect(equation)
        self.found.operations.append(
            Operation(equation, reads, writes, once, effect, backward, len(self.found.labels))
        )
        if key is not None:
            self._known.setdefault(key, writes)
        return writes


def _key(equation: Equation, reads: tuple[Read, ...]) -> Hashable | None:
    """The same for equations that compute the same; None: nobody can tell."""
    read = tuple(r if isinstance(r, int) else (type(r.value), repr(r.value)) for r in reads)
    key = (equation.primitive, tuple(sorted(equation.params.items(), key=_first)), read)
    try:
        hash(key)
    except TypeError:
        return None
    return key


def _first(item: tuple[str, Any]) -> str:
    return item[0]


def _needed(found: Operations) -> list[Operation]:
    """The operations that some result needs, or that have effects."""
    needed = set(values_of(found.results))
    kept = []
    for operation in reversed(found.operations):
        if operation.in_order or not needed.isdisjoint(operation.writes):
            needed.update(values_of(operation.reads))
            kept.append(operation)
    return kept[::-1]


def values_of(reads: Iterable[Read]) -> list[int]:
    """The numbers among them."""
    return [read for read in reads if isinstance(read, int)]
