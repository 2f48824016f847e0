"""What `jax.checkpoint` makes of a plan: by equations, as promised, and what XLA makes of it.

python benchmarks/jax_policies.py [--markdown FILE]

Each way trains a small network: as it is, with a `jax.checkpoint` round each block by hand, by
`schedule.jax.checkpoint` at several budgets, and by the exact schedule. By equations: the promised
peak and compute, and the peak that `jax.live_arrays` shows. Under jit: what XLA's `memory_analysis`
says that arguments, results and temporaries take, and the operations of its `cost_analysis`.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax
from tables import show

import schedule
import schedule.jax
from schedule.errors import DoesNotFit
from schedule.jax.costs import Meter
from schedule.jax.graphs import program_of
from schedule.jax.planned import PlannedFunction
from schedule.memory import overhead_of

BUDGETS = ["80%", "60%", "40%", "35%"]
HEADINGS = [
    "model", "way", "promised, MB", "measured, MB", "compute, %", "XLA, MB", "XLA, MFLOP",
]  # fmt: skip

Block = Callable[[Any, jax.Array], jax.Array]


@dataclass(frozen=True)
class Case:
    """A network of blocks: what it is called, a block, its weights and its batch."""

    name: str
    block: Block
    weights: list[Any]
    batch: jax.Array

    def loss(self, block: Block) -> Callable[..., jax.Array]:
        """The loss of weights and batch, with each block run by `block`."""

        def loss(weights: list[Any], x: jax.Array) -> jax.Array:
            for each in weights:
                x = block(each, x)
            return (x**2).mean()

        return loss


def layers(weights: list[jax.Array], x: jax.Array) -> jax.Array:
    """Four layers."""
    for weight in weights:
        x = jnp.tanh(x @ weight)
    return x


def normalised(x: jax.Array) -> jax.Array:
    centred = x - x.mean(-1, keepdims=True)
    return centred * lax.rsqrt((centred**2).mean(-1, keepdims=True) + 1e-5)


def attention(weights: dict[str, jax.Array], x: jax.Array) -> jax.Array:
    """A block of a transformer, with four heads."""
    rows, length, width = x.shape

    def heads(name: str) -> jax.Array:
        return (h @ weights[name]).reshape(rows, length, 4, width // 4).swapaxes(1, 2)

    h = normalised(x)
    scores = jax.nn.softmax(heads("q") @ heads("k").swapaxes(-1, -2) * (width // 4) ** -0.5)
    x = x + (scores @ heads("v")).swapaxes(1, 2).reshape(x.shape) @ weights["o"]
    return x + jax.nn.gelu(normalised(x) @ weights["up"]) @ weights["down"]


def cases() -> list[Case]:
    key = jax.random.key(0)
    width = 64

    def draw(*shape: int) -> jax.Array:
        nonlocal key
        key, own = jax.random.split(key)
        return jax.random.normal(own, shape) * shape[0] ** -0.5

    deep = [[draw(width, width) for _ in range(4)] for _ in range(6)]
    wide = [
        {name: draw(width, width) for name in "qkvo"}
        | {"up": draw(width, 4 * width), "down": draw(4 * width, width)}
        for _ in range(4)
    ]
    return [
        Case("24 layers", layers, deep, draw(1024, width)),
        Case("transformer, 4 blocks", attention, wide, draw(4, 64, width)),
    ]


def row(case: Case, way: str, loss: Callable[..., Any], base: schedule.Graph) -> list[str]:
    """One way: by equations, and under jit."""
    gradient = jax.value_and_grad(loss)
    args = case.weights, case.batch
    program = program_of(gradient, args, Meter("model", "auto"), merges=False)
    run = PlannedFunction(program, schedule.solve(program.graph, solver="store_all"))
    compiled = jax.jit(gradient).lower(*args).compile()
    memory = compiled.memory_analysis()
    taken = memory.argument_size_in_bytes + memory.output_size_in_bytes + memory.temp_size_in_bytes
    return [
        case.name,
        way,
        f"{run.result.peak / 1e6:.2f}",
        f"{run.measure(*args) / 1e6:.2f}",
        f"{100 * overhead_of(base, program.graph.compute):+.1f}",
        f"{taken / 1e6:.2f}",
        f"{compiled.cost_analysis()['flops'] / 1e6:.0f}",
    ]


def rows(case: Case) -> list[list[str]]:
    """All ways of one network."""
    loss, args = case.loss(case.block), (case.weights, case.batch)
    gradient = jax.value_and_grad(loss)
    base = schedule.jax.capture(gradient, *args)
    found = [
        row(case, "as it is", loss, base),
        row(case, "a checkpoint a block", case.loss(jax.checkpoint(case.block)), base),
    ]
    for budget in BUDGETS:
        try:
            saving = schedule.jax.checkpoint(loss, *args, budget=budget, solver="recompute_all")
        except DoesNotFit as error:
            found.append([case.name, f"names, {budget}", str(error), "", "", "", ""])
        else:
            found.append(row(case, f"names, {budget}", saving, base))
        exact = schedule.jax.plan(gradient, *args, budget=budget, time_limit=20)
        plan = exact.result
        measured = exact.measure(*args)
        found.append(
            [
                case.name,
                f"exact, {budget}",
                f"{plan.peak / 1e6:.2f}",
                f"{measured / 1e6:.2f}",
                f"{100 * plan.overhead:+.1f} (bound {100 * plan.bound_overhead:+.1f})",
                "",
                "",
            ]
        )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--markdown", type=Path, help="write the table for the docs there")
    options = parser.parse_args()
    found = [line for case in cases() for line in rows(case)]
    show(
        f"JAX {jax.__version__} on {jax.devices()[0].platform}",
        HEADINGS,
        found,
        options.markdown,
        2,
    )


if __name__ == "__main__":
    main()
