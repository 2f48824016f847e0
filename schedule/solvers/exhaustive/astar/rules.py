"""What the search of states is given: masks of a graph's operations and resources."""

from __future__ import annotations

import numpy as np

from schedule.layout import Ints, offsets
from schedule.solvers.exhaustive.astar.expansion import Rules
from schedule.solvers.kit.states import Words, mask_of, masks_of
from schedule.solvers.program.contraction import as_rows
from schedule.solvers.program.operations import Operations


def rules_of(o: Operations, costs: list[int], capacity: int, of_peak: bool) -> Rules:
    """What a search is given.

    Parameters
    ----------
    o
        The operations.
    costs
        What a rerun of each costs, in whole units.
    capacity
        Memory beside resident inputs.
    of_peak
        Whether the price of a schedule is its peak.
    """
    n, r = len(o.nodes), len(o.size)
    cost = np.array(costs, float)
    written = sums_of(o.first_write, o.size[o.writes])
    # What a resource's memory pays of its writer's run, and how cheap that is by its memory.
    is_made = o.producer >= 0
    writer = np.maximum(o.producer, 0)
    owned = np.maximum(written[writer], 1)
    share = np.where(is_made, cost[writer] * o.size / owned, 0.0)
    ratio = np.where(is_made, cost[writer] / owned, np.inf)
    by_price = np.lexsort((np.arange(r), ratio))
    number = np.empty(r, np.int64)
    number[by_price] = np.arange(r)
    reads = masks_of(o.first_read, number[o.reads], r)
    writes = masks_of(o.first_write, number[o.writes], r)
    words = reads.shape[1]
    writers = o.producer[o.reads]
    reader = np.repeat(np.arange(n), np.diff(o.first_read))
    edge = writers >= 0
    first_reader, readers = as_rows(writers[edge], reader[edge], n)
    first_before, before = as_rows(reader[edge], writers[edge], n)
    ancestors = masks_of(np.arange(n + 1), np.arange(n), n)
    earlier, results = np.zeros((n, words), np.uint64), writes.copy()
    inputs = mask_of(number[~is_made], r)
    for v in range(n):
        earlier[v] = inputs
        for u in before[first_before[v] : first_before[v + 1]].tolist():
            ancestors[v] |= ancestors[u]
            earlier[v] |= earlier[u] | writes[u]
    if o.in_order:
        earlier = inputs | np.bitwise_or.accumulate(np.vstack([0 * writes[:1], writes[:-1]]))
    for v in reversed(range(n)):
        for u in readers[first_reader[v] : first_reader[v + 1]].tolist():
            results[v] |= results[u]
    size = np.zeros(64 * words, np.int64)
    size[number] = o.size
    shares = np.zeros(64 * words)
    shares[number] = share
    producer = np.full(64 * words, -1, np.int64)
    producer[number] = o.producer
    needs = o.extra + sums_of(o.first_read, o.size[o.reads])
    most = _memory(earlier & ~reads, size)
    return Rules(
        reads=reads,
        writes=writes,
        results=results,
        earlier=earlier,
        ancestors=ancestors,
        first_reader=first_reader,
        readers=readers,
        outputs=mask_of(number[o.kept], r),
        lasting=mask_of(number[~is_made | ~o.may_repeat[writer]], r),
        producer=producer,
        size=size,
        share=shares,
        cost=cost,
        extra=o.extra,
        needs=needs,
        may_repeat=o.may_repeat,
        is_crowded=needs + most > capacity,
        budget=capacity,
        in_order=o.in_order,
        of_peak=of_peak,
    )


def sums_of(first: Ints, values: Ints) -> Ints:
    """The sum of each row of CSR lists."""
    total = offsets(values)
    return total[first[1:]] - total[first[:-1]]


def _memory(masks: Words, size: Ints) -> Ints:
    """Memory of the resources in each mask."""
    bits = np.unpackbits(masks.view(np.uint8), axis=1, bitorder="little")
    found: Ints = bits @ size
    return found
