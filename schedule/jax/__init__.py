"""JAX: functions within a memory budget.

>>> import jax, jax.numpy as jnp, schedule.jax
>>> def loss(weights, x):
...     for weight in weights:
...         x = jnp.tanh(x @ weight)
...     return (x**2).mean()
>>> weights, x = [jnp.ones((16, 16))] * 6, jnp.ones((256, 16))
>>> planned = schedule.jax.plan(jax.value_and_grad(loss), weights, x, budget="80%")
>>> value, gradients = planned(weights, x)

It needs the extra `jax`, and is loaded when it is first used.
"""

from importlib import import_module

from schedule.errors import MissingExtra

try:
    _version = str(import_module("jax").__version__)
except ImportError as error:
    raise MissingExtra(
        f"schedule.jax needs JAX ({error}): pip install 'graph-schedule[jax]'"
    ) from error
if tuple(map(int, _version.split(".")[:2])) < (0, 10):  # what is read of a jaxpr was otherwise
    raise MissingExtra(
        f"schedule.jax needs JAX 0.10 or newer, and this is {_version}:"
        f" pip install 'graph-schedule[jax]'"
    )

from schedule.jax.planned import PlannedFunction, capture, plan
from schedule.jax.policies import CheckpointedFunction, checkpoint

__all__ = ["CheckpointedFunction", "PlannedFunction", "capture", "checkpoint", "plan"]
