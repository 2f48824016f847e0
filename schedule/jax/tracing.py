"""A function and its arguments as a jaxpr, with what a call has to be like."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jax

from schedule.errors import BadInput, BadOption, CannotCapture, OtherStep, is_out_of_memory
from schedule.jax.internals import Aval, is_array, is_tracer, jaxpr_of
from schedule.values import integer, listed, shown


@dataclass(frozen=True)
class Traced:
    """A function as it was traced.

    Attributes
    ----------
    name
        Of the function, for messages.
    jaxpr
        With its constants.
    names, avals
        Of the arguments' arrays, one after the other.
    tree_in, tree_out
        How arguments and results are nested.
    signature
        What the function's arguments are called; None: nobody knows.
    """

    name: str
    jaxpr: Any
    names: tuple[str, ...]
    avals: tuple[Aval, ...]
    tree_in: Any
    tree_out: Any
    signature: inspect.Signature | None = None

    def leaves(self, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any]:
        """The arguments' arrays, if they are as they were traced; some may be given by name.

        Raises
        ------
        OtherStep
            They aren't; says which, and how.
        BadInput
            One is no array.
        """
        found: list[Any]
        if named:
            args = self._in_order(args, named)
        found, tree = jax.tree_util.tree_flatten(tuple(args))
        if tree != self.tree_in:
            raise OtherStep(
                f"{self.name} was planned for arguments nested as {self.tree_in}, and these are"
                f" {tree}; plan it for these"
            )
        for at, (name, leaf, aval) in enumerate(zip(self.names, found, self.avals)):
            if not isinstance(leaf, jax.Array):
                found[at] = leaf = _as_array(leaf, name, self.name)
            given = jax.typeof(leaf)
            if _kind(given) != _kind(aval):
                raise OtherStep(
                    f"{name} of {self.name} is {_described(given)}, and it was planned for"
                    f" {_described(aval)}; plan it for this"
                )
        return found

    def _in_order(self, args: Sequence[Any], named: Mapping[str, Any]) -> Sequence[Any]:
        """All arguments by their places, as they were when it was traced."""
        if self.signature is None:
            raise OtherStep(f"{self.name} doesn't name its arguments: give them in order")
        try:
            bound = self.signature.bind(*args, **named)
        except TypeError as error:
            raise OtherStep(f"{self.name} takes {self.signature}: {error}") from error
        if bound.kwargs:
            raise OtherStep(
                f"{self.name} was planned for arguments in order, and {listed(list(bound.kwargs))}"
                f" can only be given by name"
            )
        return bound.args


def trace(function: Callable[..., Any], args: Sequence[Any]) -> Traced:
    """The jaxpr of a function for such arguments, which may be mere shapes.

    Raises
    ------
    BadInput
        It is no function; an argument is no array.
    CannotCapture
        JAX can't trace it; says why.
    """
    if not callable(function):
        raise BadInput(f"function is {shown(function)}; it has to be a function of arrays")
    name = getattr(function, "__name__", type(function).__name__)
    try:
        paths, tree_in = jax.tree_util.tree_flatten_with_path(tuple(args))
    except (TypeError, ValueError) as error:
        raise BadInput(f"the arguments of {name} are no tree for JAX: {error}") from error
    names = tuple(_name(path) for path, _ in paths)
    devices: set[Any] = set()
    for label, (_, leaf) in zip(names, paths):
        if is_tracer(leaf):
            raise BadInput(f"{label} of {name} is a tracer: plan outside of jit, grad and vmap")
        devices |= _devices(leaf, label, name)
    if len(devices) > 1:
        raise BadInput(f"the arguments of {name} lie on {len(devices)} devices; a plan is for one")
    try:
        jaxpr, shapes = jaxpr_of(function, args)
    except Exception as error:  # whatever the caller's own code raises, too
        if is_out_of_memory(error):
            raise
        said = str(error).strip().split("\n")[0]
        raise CannotCapture(
            f"{name} can't be traced: {type(error).__name__}: {said}{_way_out(error)}"
        ) from error
    return Traced(
        name=name,
        jaxpr=jaxpr,
        names=names,
        avals=tuple(jaxpr.in_avals),
        tree_in=tree_in,
        tree_out=jax.tree_util.tree_structure(shapes),
        signature=_signature(function),
    )


def _signature(function: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return inspect.signature(function)
    except (TypeError, ValueError):  # of what isn't written in Python
        return None


def _name(path: Sequence[Any]) -> str:
    """`argument 0['w']` for what stands there."""
    return f"argument {path[0].idx}{jax.tree_util.keystr(tuple(path[1:]))}"


def _devices(leaf: Any, label: str, name: str) -> set[Any]:
    """Where an argument lies; nowhere, where it is a mere shape."""
    if isinstance(leaf, jax.ShapeDtypeStruct):
        return set()
    if not isinstance(leaf, (jax.Array, jax.Ref)):
        leaf = _as_array(leaf, label, name)
    if not is_array(jax.typeof(leaf)):
        raise CannotCapture(
            f"{label} of {name} is {jax.typeof(leaf)}: what changes in place isn't planned; pass"
            " the array, and return a new one"
        )
    return set(leaf.sharding.device_set)


def _as_array(leaf: Any, label: str, name: str) -> jax.Array:
    try:
        return jax.numpy.asarray(leaf)
    except (TypeError, ValueError, OverflowError) as error:
        raise BadInput(
            f"{label} of {name} is {shown(leaf)}, which is no array: bind what is none beforehand,"
            f" functools.partial({name}, …)"
        ) from error


def _kind(aval: Aval) -> tuple[Any, ...]:
    return aval.shape, aval.dtype, bool(aval.weak_type)


def _described(aval: Aval) -> str:
    weak = " of a Python number" if aval.weak_type else ""
    return f"{aval.dtype}{list(aval.shape)}{weak}"


def numbered(given: int | Collection[int], size: int, option: str) -> list[int]:
    """Numbers of arguments, negative ones from the end, as JAX has them.

    Raises
    ------
    BadOption
        They aren't.
    """
    listed = given if isinstance(given, (tuple, list, set, frozenset)) else (given,)
    found = []
    for each in listed:
        number = integer(each)
        if number is None or not -size <= number < size:
            raise BadOption(
                f"{option} is {shown(given)}; it numbers arguments, of which there are {size}"
            )
        found.append(number % size)
    return found


def _way_out(error: Exception) -> str:
    """What to do where values are looked at that aren't there yet."""
    looks = isinstance(error, (jax.errors.ConcretizationTypeError, jax.errors.JAXTypeError))
    if not looks:
        return ""
    return (
        "; what depends on the content of arrays is written with jax.numpy.where, jax.lax.cond"
        " or while_loop, or bound beforehand (functools.partial)"
    )
