"""What `jax.checkpoint` does with the names it is given: what was promised of it."""

from __future__ import annotations

import functools
from collections import Counter

import jax
import jax.numpy as jnp
import pytest

import schedule.jax
from schedule.errors import BadOption, CannotCapture, DoesNotFit, OtherStep
from schedule.jax.costs import Meter
from schedule.jax.graphs import program_of
from schedule.jax.internals import bodies_of
from schedule.jax.planned import PlannedFunction
from schedule.lowering import in_order
from tests.jax.functions import close, evaluated, mlp, mlp_loss, transformer, transformer_block


def primitives(function, *args):
    """How often each primitive stands in a jaxpr, in whatever it wraps."""
    pending = [jax.make_jaxpr(function)(*args).jaxpr]
    found = Counter()
    while pending:
        for equation in pending.pop().eqns:
            inside = list(bodies_of(equation))
            pending += inside
            found[equation.primitive.name] += not inside
    return found


def products(equation):
    """Cost 1 for a matrix product, and next to nothing for all others."""
    return 1 if equation.primitive.name == "dot_general" else 1e-6


@functools.cache
def found_for(make, share):
    loss, args = make()
    return schedule.jax.checkpoint(
        loss, *args, budget=share, solver="recompute_all", costs=products
    )


CASES = [(mlp, "60%"), (transformer, "55%")]


@pytest.mark.parametrize(("make", "share"), CASES)
def test_the_gradient_recomputes_what_was_promised(make, share):
    """Matrix products counted in its jaxpr are those that the overhead says."""
    loss, args = make()
    found = found_for(make, share)
    assert found.policies
    assert found.overhead > 0
    plain, own = (primitives(jax.value_and_grad(f), *args)["dot_general"] for f in (loss, found))
    assert round(found.compute - found.graph.compute) == own - plain
    assert own == round(found.compute)


@pytest.mark.parametrize(("make", "share"), CASES)
def test_the_gradient_keeps_to_the_budget(make, share):
    """Run equation by equation it takes what was promised, by JAX's own list of arrays."""
    loss, args = make()
    found = found_for(make, share)
    gradient = jax.value_and_grad(found)
    program = program_of(gradient, args, Meter("model", "auto"), merges=False)
    as_it_is = PlannedFunction(program, schedule.solve(program.graph, solver="store_all"))
    assert as_it_is.measure(*args) == found.peak <= found.budget < in_order(found.graph).peak
    assert close(as_it_is(*args), evaluated(jax.value_and_grad(loss), *args))


def test_under_jit_values_and_gradients_are_the_functions():
    """And all its names are what its policy saves."""
    loss, args = mlp()
    found = found_for(mlp, "60%")
    plain, own = (jax.jit(jax.value_and_grad(f))(*args) for f in (loss, found))
    assert close(own, plain)
    name_p = jax.extend.core.primitives.name_p
    saved = [
        name for policy in found.policies for name in policy.names if policy(name_p, name=name)
    ]
    assert tuple(sorted(saved)) == found.names


def test_it_is_no_worse_than_checkpoints_by_hand():
    """A checkpoint for each block, as everybody does: in as much memory, no more products."""
    loss, args = transformer(blocks=3)

    def by_hand(weights, x):
        for block in weights:
            x = jax.checkpoint(transformer_block)(block, x)
        return (x**2).mean()

    program = program_of(jax.value_and_grad(by_hand), args, Meter("model", "auto"), merges=False)
    hand = in_order(program.graph)
    found = schedule.jax.checkpoint(loss, *args, budget=hand.peak, solver="recompute_all")
    assert found.peak <= hand.peak
    assert found.compute < hand.compute


def test_without_a_budget_nothing_is_recomputed():
    """It is the function as it was."""
    loss, args = mlp(3)
    found = schedule.jax.checkpoint(loss, *args)
    assert (found.policies, found.names, found.overhead) == ((), (), 0)
    assert found.peak == in_order(found.graph).peak


def test_what_runs_once_is_in_no_wrapped_segment():
    """A callback that prints prints once in a gradient, too."""
    seen = []

    def loss(weights, x):
        for at, weight in enumerate(weights):
            x = jnp.tanh(x @ weight)
            if at == 2:
                jax.debug.callback(lambda v: seen.append(float(v)), x[0, 0])
        return (x**2).mean()

    _, args = mlp(6)
    found = schedule.jax.checkpoint(loss, *args, budget="75%", solver="recompute_all")
    assert found.policies
    jax.value_and_grad(found)(*args)
    jax.effects_barrier()
    assert len(seen) == 1


def test_options_of_the_gradient():
    """Several arguments, and something beside the loss; rules of one's own are kept."""

    @jax.custom_vjp
    def reversed_gradient(x):
        return x

    reversed_gradient.defvjp(lambda x: (x, None), lambda _, given: (-given,))

    def loss(weights, x):
        stopped = jax.lax.stop_gradient(x)
        value = mlp_loss(weights, reversed_gradient(x)) + (stopped * x).sum()
        return value, {"mean": x.mean()}

    _, args = mlp(6)
    how = {"argnums": (0, 1), "has_aux": True}
    found = schedule.jax.checkpoint(loss, *args, budget="80%", solver="recompute_all", **how)
    assert close(*(jax.value_and_grad(f, **how)(*args) for f in (found, loss)))


def test_what_doesnt_fit_says_what_does():
    """The least of what was tried, and the way out; below the floor, the floor."""
    loss, args = mlp(4)
    with pytest.raises(DoesNotFit, match=r"at least .* needed"):
        schedule.jax.checkpoint(loss, *args, budget=100)
    with pytest.raises(
        DoesNotFit, match=r"no policy is known .* least peak .*; schedule\.jax\.plan"
    ):
        schedule.jax.checkpoint(loss, *args, budget="45%", solver="recompute_all")


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (
            lambda: schedule.jax.checkpoint(jnp.sin, jnp.ones(3)),
            CannotCapture,
            "sin can't be traced: TypeError: Gradient only defined for scalar-output",
        ),
        (lambda: schedule.jax.checkpoint(jnp.sin, 1.0, has_aux=1), BadOption, "has_aux is 1; it"),
        (
            lambda: schedule.jax.checkpoint(jnp.sin, 1.0, argnums=1),
            BadOption,
            "argnums is 1; it numbers arguments, of which there are 1",
        ),
        (lambda: schedule.jax.checkpoint(jnp.sin, 1.0, argnums=()), BadOption, "argnums is empty"),
        (lambda: schedule.jax.checkpoint(jnp.sin, 1.0)(jnp.ones(3)), OtherStep, "plan it for this"),
    ],
)
def test_what_cant_be_checkpointed_is_said(call, error, message):
    """In the caller's terms."""
    with pytest.raises(error, match=message):
        call()
