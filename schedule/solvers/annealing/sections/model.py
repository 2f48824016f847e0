"""A sequence cut into sections, and what they hand to each other."""

from __future__ import annotations

import numpy as np

from schedule.layout import Bools, Floats, Ints, first_of, offsets
from schedule.solvers.kit.structs import Struct
from schedule.solvers.program.operations import Operations


class Sections(Struct):
    """The coarse graph: s sections that run as one, and b bundles of what they hand on.

    A bundle is all that is written in one section and read in the same others.

    Attributes
    ----------
    first
        Shape (s + 1,): section i is positions first[i] to first[i + 1] of the sequence.
    first_read, reads, first_write, writes
        CSR: the bundles that each section reads and writes. It doesn't read its own.
    cost
        Shape (s,): compute as a share of every node once.
    again
        Shape (b,): whether another run of its section writes it again.
    size, kept
        Shape (b,): memory in shares of the budget; whether it has to be live at the end.
    """

    first: Ints
    first_read: Ints
    reads: Ints
    first_write: Ints
    writes: Ints
    cost: Floats
    again: Bools
    size: Floats
    kept: Bools


def sections_of(
    operations: Operations, sequence: Ints, count: int, budget: float, most: int
) -> Sections:
    """Cut a sequence of all operations, each once, into `count` sections or fewer.

    Of more than `most` bundles there is only a sample. O((operations + reads) · log).
    """
    o = operations
    cut = _cut(operations, sequence, count)
    count = int(cut[-1]) + 1
    section = np.empty(len(sequence), np.int64)
    section[sequence] = cut
    home = np.append(section, -1)[o.producer]
    again = np.append(o.may_repeat, False)[o.producer]
    resource, reader = _readers(operations, section, home, count)
    example, total = _bundles(operations, np.stack([home, again, o.kept], 1), resource, reader)
    total, which = sampled(total, most)
    example = example[which]

    first = np.searchsorted(resource, np.arange(len(o.size) + 1))
    read_by = [reader[first[r] : first[r + 1]] for r in example.tolist()]
    reading: Ints = np.concatenate([np.zeros(0, np.int64), *read_by])
    read = np.repeat(np.arange(len(example)), [len(each) for each in read_by])
    written = np.flatnonzero(home[example] >= 0)
    writing = home[example][written]
    return Sections(
        first=np.searchsorted(cut, np.arange(count + 1)),
        first_read=offsets(np.bincount(reading, minlength=count)),
        reads=read[np.argsort(reading, kind="stable")],
        first_write=offsets(np.bincount(writing, minlength=count)),
        writes=written[np.argsort(writing, kind="stable")],
        cost=_sums(cut, o.cost[sequence], count),
        again=again[example],
        size=total / max(budget, 1e-300),
        kept=o.kept[example],
    )


def _sums(group: Ints, value: Ints | Floats, count: int) -> Floats:
    """Shape (count,): the sum of the values in each group."""
    sums: Floats = np.bincount(group, value.astype(float), count).astype(np.float64)
    return sums


def _cut(operations: Operations, sequence: Ints, count: int) -> Ints:
    """Shape (o,): the section of each position; all write about as much, in about as many runs."""
    o, n = operations, len(sequence)
    made = o.producer >= 0
    written = _sums(o.producer[made], o.size[made], n)[sequence]
    weight = written / max(float(written.sum()), 1e-300) + 1 / n
    passed = np.cumsum(weight)
    cut: Ints = np.unique((passed - weight / 2) * count // passed[-1], return_inverse=True)[1]
    return cut


def _readers(operations: Operations, section: Ints, home: Ints, count: int) -> tuple[Ints, Ints]:
    """Pairs, ascending: a resource, and a section that reads it and isn't its own."""
    pair = operations.reads * count + np.repeat(section, np.diff(operations.first_read))
    resource, reader = np.divmod(np.unique(pair), count)
    elsewhere = home[resource] != reader
    return resource[elsewhere], reader[elsewhere]


def _bundles(
    operations: Operations, traits: Ints, resource: Ints, reader: Ints
) -> tuple[Ints, Floats]:
    """Of each bundle one of its resources, and its memory: the same traits, the same readers."""
    o = operations
    # The same readers: the same sum of a random number for each, almost certainly.
    marks = np.random.default_rng(0).integers(2**40, size=int(reader.max(initial=0)) + 1)
    sums = np.zeros(len(o.size), np.int64)
    np.add.at(sums, resource, marks[reader])
    is_read = np.zeros(len(o.size), dtype=bool)
    is_read[resource] = True
    handed = np.flatnonzero(is_read | o.kept)
    keys = np.column_stack([traits, sums])[handed]
    _, example, bundle = np.unique(keys, axis=0, return_index=True, return_inverse=True)
    return handed[example], _sums(bundle.reshape(-1), o.size[handed], len(example))


def expanded(sections: Sections, operations: Operations, sequence: Ints, runs: Ints) -> Ints:
    """The operations of runs of sections; those that must not repeat run the first time only."""
    parts = []
    for section, is_first in zip(runs.tolist(), first_of(runs).tolist()):
        part = sequence[sections.first[section] : sections.first[section + 1]]
        parts.append(part if is_first else part[operations.may_repeat[part]])
    return np.concatenate(parts)


def sampled(size: Floats, most: int) -> tuple[Floats, Ints]:
    """A sample of about `most` bundles that stands for all: their sizes, and which they are.

    Threshold sampling (Duffield, Lund, Thorup 2005, doi:10.1109/TIT.2005.847746): what is
    larger than a threshold stays as it is; of what is smaller, one bundle is taken for each
    threshold's worth of memory, and counts as the threshold.
    """
    if len(size) <= most:
        return size, np.arange(len(size))
    ascending = np.sort(size)
    # For each size: the threshold, if all that is larger stays as it is, and the rest has to
    # make do with what remains of `most`.
    left = most - np.arange(len(size) - 1, -1, -1)
    thresholds = np.where(left > 0, np.cumsum(ascending) / np.maximum(left, 1), np.inf)
    threshold = thresholds[np.argmax(thresholds <= np.append(ascending[1:], np.inf))]
    passed = np.cumsum(np.minimum(size / threshold, 1.0)) + 0.5
    which = np.flatnonzero(np.diff(np.floor(passed), prepend=0.0) > 0)
    return np.maximum(size[which], threshold), which
