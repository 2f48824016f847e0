"""Functions to plan, and what they are evaluated by: JAX itself, equation by equation."""

from __future__ import annotations

import jax
import jax.extend
import jax.numpy as jnp
import numpy as np
from jax import lax


def evaluated(function, *args):
    """The function's results, each equation by itself, by JAX's own evaluation of its jaxpr."""
    closed, shapes = jax.make_jaxpr(function, return_shape=True)(*args)
    with jax.disable_jit():
        found = jax.extend.core.jaxpr_as_fun(closed)(*jax.tree_util.tree_leaves(args))
    return jax.tree_util.tree_unflatten(jax.tree_util.tree_structure(shapes), found)


def same(a, b):
    """Whether two trees hold the same bits in the same places."""
    (left, one), (right, other) = map(jax.tree_util.tree_flatten, (a, b))
    return one == other and all(
        np.shape(x) == np.shape(y) and np.asarray(x).tobytes() == np.asarray(y).tobytes()
        for x, y in zip(left, right)
    )


def close(a, b):
    """Whether they are equal up to rounding."""
    left, right = map(jax.tree_util.tree_leaves, (a, b))
    return all(
        x.dtype == y.dtype == jax.dtypes.float0 or np.allclose(x, y, 1e-4, 1e-6)
        for x, y in zip(map(np.asarray, left), map(np.asarray, right), strict=True)
    )


def mlp(layers=6, width=8, rows=64):
    """A loss of weights and a batch, and its arguments."""
    keys = jax.random.split(jax.random.key(0), layers + 1)
    weights = [jax.random.normal(key, (width, width)) for key in keys[1:]]
    return mlp_loss, (weights, jax.random.normal(keys[0], (rows, width)))


def mlp_loss(weights, x):
    for weight in weights:
        x = jnp.tanh(x @ weight)
    return (x**2).mean()


def normalised(x):
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


def transformer_block(weights, x):
    """Attention and a feed-forward network, each with a way past it."""
    h = normalised(x)
    q, k, v = (h @ weights[name] for name in "qkv")
    x = x + jax.nn.softmax(q @ k.T / 3.0) @ v @ weights["o"]
    return x + jax.nn.gelu(normalised(x) @ weights["up"]) @ weights["down"]


def transformer(blocks=2, width=6, rows=24):
    shapes = dict.fromkeys("qkvo", (width, width))
    shapes |= {"up": (width, 2 * width), "down": (2 * width, width)}
    key = jax.random.key(1)
    weights = [
        {
            name: 0.3 * jax.random.normal(jax.random.fold_in(key, 10 * block + at), shape)
            for at, (name, shape) in enumerate(shapes.items())
        }
        for block in range(blocks)
    ]
    return transformer_loss, (weights, jax.random.normal(key, (rows, width)))


def transformer_loss(weights, x):
    for block in weights:
        x = transformer_block(block, x)
    return (x**2).mean()
