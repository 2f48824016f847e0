"""What is used of JAX beyond its documented interface, in one place; tried with 0.10."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np
from jax.extend import core

#: An operation of a jaxpr, a value's shape and type, and a program: JAX's own.
Equation = Any
Aval = Any
Jaxpr = Any

#: Primitives that only wrap a program, and the parameter that holds it: read as if its equations
#: stood there.
CALLS = {
    "jit": "jaxpr",
    "pjit": "jaxpr",
    "closed_call": "call_jaxpr",
    "core_call": "call_jaxpr",
    "call": "call_jaxpr",
}
#: The same, but with rules of their own for differentiation, which what is differentiated needs.
RULES = {
    "custom_jvp_call": "call_jaxpr",
    "custom_vjp_call": "call_jaxpr",
    "custom_vmap_call": "call",
    "remat2": "jaxpr",
    "checkpoint": "jaxpr",
}
#: Each result is the read of the same place, and needs no memory of its own.
_SAME = {"stop_gradient", "optimization_barrier", "sharding_constraint", "pvary"}
#: They run code on the host, of which nobody knows what it does.
_CALLBACKS = {"pure_callback", "io_callback", "debug_callback", "debug_print"}


def is_tracer(value: object) -> bool:
    """Whether a value stands for others, under `jit`, `grad` or `vmap`."""
    return isinstance(value, jax.core.Tracer)


def is_literal(atom: Any) -> bool:
    """Whether what an equation reads is a value, and no variable."""
    return isinstance(atom, core.Literal)


def run(equation: Equation, values: Sequence[Any]) -> Sequence[Any]:
    """Run one equation, as JAX's own evaluation of a jaxpr does."""
    primitive = equation.primitive
    with equation.ctx.manager:
        found = primitive.bind(*values, **primitive.get_bind_params(equation.params))
    return found if primitive.multiple_results else (found,)


def body_of(equation: Equation, calls: dict[str, str]) -> tuple[Jaxpr, Sequence[Any]] | None:
    """The program that an equation only wraps, with its constants; None: it is no such one."""
    inside = equation.params.get(calls.get(equation.primitive.name, ""))
    if inside is None:
        return None
    if isinstance(inside, core.ClosedJaxpr):
        return inside.jaxpr, inside.consts
    return (inside, ()) if isinstance(inside, core.Jaxpr) else None


def bodies_of(equation: Equation) -> Iterator[Jaxpr]:
    """All programs among an equation's parameters: those of a loop, or of branches."""
    for value in equation.params.values():
        for each in value if isinstance(value, (tuple, list)) else (value,):
            if isinstance(each, core.ClosedJaxpr):
                yield each.jaxpr
            elif isinstance(each, core.Jaxpr):
                yield each


def same_reads(equation: Equation) -> bool:
    """Whether each result is the read of the same place, to the bit."""
    name, params = equation.primitive.name, equation.params
    if name == "reduce_precision":
        kind = jax.numpy.finfo(equation.invars[0].aval.dtype)
        return bool((params["exponent_bits"], params["mantissa_bits"]) == (kind.nexp, kind.nmant))
    if name == "device_put":
        return all(where is None for where in params["devices"])
    return name in _SAME


def moves_elsewhere(equation: Equation) -> bool:
    """Whether it puts arrays on a device, or into a memory, that is named."""
    return equation.primitive.name == "device_put" and not same_reads(equation)


def label_of(equation: Equation) -> str | None:
    """The name that `jax.ad_checkpoint.checkpoint_name` gives; None: it is something else."""
    found: str | None = equation.params["name"] if equation.primitive.name == "name" else None
    return found


def is_again(equation: Equation) -> bool:
    """Whether it is what `jax.checkpoint` computes again in the backward pass."""
    return bool(equation.params.get("differentiated")) and equation.primitive.name in RULES


def is_backward(equation: Equation) -> bool:
    """Whether reverse-mode differentiation made it."""
    stack = equation.source_info.name_stack.stack
    return any(type(s).__name__ == "Transform" and s.name == "transpose" for s in stack)


def has_effect(equation: Equation) -> bool:
    """Whether it does something beside computing its results, in an order that matters."""
    return any(type(effect).__name__ != "NamedAxisEffect" for effect in equation.effects)


def calls_host(equation: Equation) -> bool:
    """Whether it hands copies of what it reads to code on the host."""
    return equation.primitive.name in _CALLBACKS


def wait_for_effects() -> None:
    """Until what runs on the host beside the device has ended, and let go of what it was given."""
    jax.effects_barrier()


def runs_once(equation: Equation) -> bool:
    """Whether it, or something in its loops and branches, must not run a second time."""
    pending = [equation]
    while pending:
        each = pending.pop()
        if has_effect(each) or calls_host(each):
            return True
        pending += [inner for body in bodies_of(each) for inner in body.eqns]
    return False


def is_array(aval: Aval) -> bool:
    """Whether a value is an array, and not a reference to one that changes."""
    return type(aval) is jax.core.ShapedArray


def is_nothing(aval: Aval) -> bool:
    """Whether a value is the tangent of an integer, which JAX has no memory for."""
    return bool(aval.dtype == jax.dtypes.float0)


def nothing(aval: Aval) -> Any:
    """The tangent of an integer, as JAX returns it."""
    return np.zeros(aval.shape, jax.dtypes.float0)


def bytes_of(aval: Aval) -> int:
    """Memory of an array; of random keys, that of their words."""
    if is_nothing(aval):
        return 0
    if jax.dtypes.issubdtype(aval.dtype, jax.dtypes.prng_key):
        key = jax.ShapeDtypeStruct(aval.shape, aval.dtype)
        aval = jax.eval_shape(jax.random.key_data, key)
    return int(math.prod(aval.shape)) * int(aval.dtype.itemsize)


def temporary_bytes(equation: Equation) -> int:
    """Memory that XLA takes for one run beside reads and results; compiles it."""
    reads = [atom.aval for atom in equation.invars if not is_literal(atom)]

    def alone(*values: Any) -> Sequence[Any]:
        left = iter(values)
        return run(equation, [a.val if is_literal(a) else next(left) for a in equation.invars])

    shapes = [jax.ShapeDtypeStruct(a.shape, a.dtype, weak_type=a.weak_type) for a in reads]
    analysis = jax.jit(alone).lower(*shapes).compile().memory_analysis()
    return int(analysis.temp_size_in_bytes) if analysis is not None else 0


def live_bytes() -> int:
    """Memory of all arrays that are alive in this process."""
    return sum(int(array.nbytes) for array in jax.live_arrays())


def jaxpr_of(function: Callable[..., Any], args: Sequence[Any]) -> tuple[Any, Any]:
    """A function's jaxpr, and what it returns as shapes."""
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
    return _owned(closed, {}), shapes


def _owned(part: Any, known: dict[int, tuple[Any, Any]]) -> Any:
    """A part of a program, without NumPy's arrays that their owner may change: with copies.

    What has none is itself, and what is there twice is one thing still.
    """
    if type(part) in (tuple, list):
        parts = [_owned(each, known) for each in part]
        return part if all(map(operator.is_, parts, part)) else type(part)(parts)
    if not isinstance(
        part, (np.ndarray, core.Literal, core.JaxprEqn, core.Jaxpr, core.ClosedJaxpr)
    ):
        return part
    if id(part) not in known:
        known[id(part)] = part, _copied(part, known)
    return known[id(part)][1]


def _copied(part: Any, known: dict[int, tuple[Any, Any]]) -> Any:
    if isinstance(part, np.ndarray):
        return np.array(part)
    if isinstance(part, core.Literal):
        value = _owned(part.val, known)
        return part if value is part.val else core.Literal(value, part.aval)
    if isinstance(part, core.ClosedJaxpr):
        jaxpr, consts = _owned(part.jaxpr, known), _owned(list(part.consts), known)
        is_same = jaxpr is part.jaxpr and all(map(operator.is_, consts, part.consts))
        return part if is_same else core.ClosedJaxpr(jaxpr, consts)
    if isinstance(part, core.Jaxpr):
        equations, results = _owned(part.eqns, known), _owned(part.outvars, known)
        is_same = equations is part.eqns and results is part.outvars
        return part if is_same else part.replace(eqns=equations, outvars=results)
    reads = _owned(part.invars, known)
    params = {name: _owned(value, known) for name, value in part.params.items()}
    is_same = all(params[name] is value for name, value in part.params.items())
    return part if is_same and reads is part.invars else part.replace(invars=reads, params=params)
