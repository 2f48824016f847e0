"""Small graphs that count in units."""

from __future__ import annotations

from schedule.builder import GraphBuilder
from schedule.graph import Graph, renamed
from schedule.training import gradient


def chain(layers: int = 16) -> Graph:
    """The training chain of the literature: 2·layers + 1 nodes of unit size and cost.

    Node i is read by node i + 1, and by the backward node of layer i + 1. Its
    optimum is known in closed form (Griewank & Walther 2000,
    doi:10.1145/347837.347846).
    """
    g = GraphBuilder("chain")
    here = g.node("f0", memory=1)
    for layer in range(1, layers + 1):
        here = g.node(f"f{layer}", here, memory=1)
    return renamed(gradient(g.build(), reads="inputs", compute=1, keep=()), "chain")


def diamonds(count: int = 12, width: int = 3) -> Graph:
    """A chain of diamonds without a backward pass: wide in the middle, so order matters.

    Every branch of a diamond is large at first and small at its end.
    """
    g = GraphBuilder("diamonds")
    here = g.node("start", memory=4, compute=1)
    for at in range(count):
        large = [g.node(f"large{at}.{k}", here, memory=16 + 4 * k, compute=3) for k in range(width)]
        small = [g.node(f"small{at}.{k}", big, memory=2, compute=2) for k, big in enumerate(large)]
        here = g.node(f"join{at}", [here, *small], memory=4, compute=1)
    return g.build()
