"""Random layered graphs."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator, Sequence
from itertools import pairwise

from schedule.errors import BadOption
from schedule.graph import Graph, Node, Tensor

#: Width of a graph over its width and depth together; the recipe draws it from 0.25 … 0.5.
_WIDTH = 0.35
#: How far the width of a layer may be from the mean, as a share of the mean.
_VARIABILITY = 0.75
#: How far to the side a skip goes at most, as a share of the width of its layers.
_ASIDE = 0.2
#: Sizes in tens: weight, mean and standard deviation of normal distributions.
_SIZES = ((0.14, 28, 17), (0.32, 87, 38), (0.25, 208, 79), (0.29, 390, 132))
#: Computes are drawn from 0 up to this.
_COMPUTES = 1000


def layered(
    nodes: int = 100, layers: int | None = None, density: int = 20, skips: int = 14, seed: int = 1
) -> Graph:
    """Random layers from a source to a sink, with skips: wide, so order matters most.

    Nodes are called `layer.place`. Between neighbouring layers, every node of the
    wider one is joined to neighbours in the other, at about the same share of its
    width; skips go over one layer or more, a little to one side.

    Parameters
    ----------
    nodes
        How many, ≥ 3, with source and sink.
    layers
        About how many, without source and sink. By default √(nodes · (1/0.35 − 1)),
        so that with the nodes depth grows, and width too.
    density
        Of 100 pairs of nodes in neighbouring layers, how many are joined beside what
        leaves no node alone: 1 … 100.
    skips
        Of 100 edges, how many are skips, 1 … 99; a few less, where two are drawn alike.
    seed
        Another graph for each.

    Raises
    ------
    BadOption
        A number is out of its range.

    Notes
    -----
    O(nodes + edges). The recipe is that of Gagrani et al. 2022, "Neural Topological
    Ordering for Computation Graphs" (arXiv:2207.05899, appendix A), read off what others
    tell of it and off four graphs that were made by it, those of Moccasin (Bartan et al.
    2023, arXiv:2304.14463): the number of layers, their widths of 1/4 to 7/4 of the mean,
    the number of edges, and where they go. Like those graphs are, but with distributions
    of our own: sizes are multiples of 10 from four normal distributions that were fitted
    to theirs, computes are uniform below 1,000 and 0 at both ends, and the nodes are
    listed in an order that takes any node that can run.
    """
    if nodes < 3 or density > 100 or skips > 99:
        raise BadOption(
            f"example 'layered': nodes is {nodes}, density {density}, skips {skips};"
            " nodes are ≥ 3, density is 1 … 100, skips are 1 … 99"
        )
    rng = random.Random(seed)
    widths = _widths(nodes, layers or math.ceil(math.sqrt(nodes * (1 / _WIDTH - 1))), rng)
    reads = _reads(widths, density / 100, skips / 100, rng)
    names = [f"{layer}.{place}" for layer, width in enumerate(widths) for place in range(width)]
    made = []
    for v in _any_order(reads, rng):
        (size,) = rng.choices(_SIZES, [weight for weight, _, _ in _SIZES])
        memory = 10 * max(1, round(rng.gauss(*size[1:])))
        compute = rng.randrange(_COMPUTES) if 0 < v < nodes - 1 else 0
        sources = tuple(names[u] for u in sorted(reads[v]))
        made.append(Node(names[v], sources, (Tensor(names[v], memory),), compute))
    return Graph(made, name="layered")


def _widths(nodes: int, layers: int, rng: random.Random) -> list[int]:
    """Of each layer, the source's and the sink's at the ends."""
    left = nodes - 2
    low = math.ceil(nodes / layers * (1 - _VARIABILITY))
    high = max(low, math.floor(nodes / layers * (1 + _VARIABILITY)))
    widths = [1]
    while left:
        widths.append(min(left, rng.randint(low, high)))
        left -= widths[-1]
    return [*widths, 1]


def _reads(
    widths: Sequence[int], density: float, skips: float, rng: random.Random
) -> list[set[int]]:
    """What each node reads; nodes are numbered layer by layer."""
    first = [0]
    for width in widths:
        first.append(first[-1] + width)
    reads: list[set[int]] = [set() for _ in range(first[-1])]
    edges = 0
    for layer, (before, after) in enumerate(pairwise(widths)):
        for u, v in _joined(before, after, density, rng):
            reads[first[layer + 1] + v].add(first[layer] + u)
            edges += 1
    last = len(widths) - 2  # neither the source nor the sink has skips
    for _ in range(math.ceil(edges * skips / (1 - skips)) if last > 2 else 0):
        start = rng.randint(1, last - 2)
        end = rng.randint(start + 2, last)
        share = rng.random()
        aside = share + _ASIDE * rng.random()
        place = min(int(aside * widths[end]), widths[end] - 1)
        reads[first[end] + place].add(first[start] + int(share * widths[start]))
    return reads


def _joined(
    before: int, after: int, density: float, rng: random.Random
) -> Iterator[tuple[int, int]]:
    """Edges between layers of such widths, as places in each.

    Every node of the wider layer has as many as the others or one more, to neighbours
    around its own share of the narrower layer's width.
    """
    narrow, wide = sorted((before, after))
    count = round(density * before * after + (1 - density) * wide)
    more = set(rng.sample(range(wide), count % wide))
    for place in range(wide):
        degree = count // wide + (place in more)
        middle = round(place * (narrow - 1) / max(wide - 1, 1))
        start = min(max(middle - (degree - 1) // 2, 0), narrow - degree)
        for other in range(start, start + degree):
            yield (other, place) if before == narrow else (place, other)


def _any_order(reads: Sequence[set[int]], rng: random.Random) -> Iterator[int]:
    """All nodes, each time any of those whose reads are there."""
    readers: list[list[int]] = [[] for _ in reads]
    missing = [len(sources) for sources in reads]
    for v, sources in enumerate(reads):
        for u in sorted(sources):
            readers[u].append(v)
    ready = [v for v, count in enumerate(missing) if not count]
    while ready:
        at = rng.randrange(len(ready))
        ready[at], ready[-1] = ready[-1], ready[at]
        v = ready.pop()
        yield v
        for reader in readers[v]:
            missing[reader] -= 1
            if not missing[reader]:
                ready.append(reader)
