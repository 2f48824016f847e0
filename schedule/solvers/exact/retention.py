"""Retention intervals: when each operation runs, and from when to when its results are held.

The model of Moccasin (Bartan et al. 2023, arXiv:2304.14463) as a constraint
program for CP-SAT. Every operation has a first run and some reruns that may
happen. Each run begins an interval for every resource that it writes, which ends
where that is freed; whatever reads a resource chooses the interval that it reads
from. One cumulative constraint counts the memory.

Time is a line of positions. In the given order the first run of operation t is at
position (t + 1) · stride, and reruns before the next first run are between, in
any order (Moccasin gives every operation one position there, which leaves out
some schedules). In a free order first runs choose their positions, too. Runs at
one position are held against the budget together: so they fit one after the
other, in whatever order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from math import gcd

import numpy as np
from ortools.sat.python import cp_model

from schedule.layout import Ints
from schedule.solvers.contract import Deadline
from schedule.solvers.program.operations import Operations
from schedule.solvers.program.reruns import rows_of

#: What sizes times positions may add up to: CP-SAT counts in 64 bits.
_MOST = 1 << 60
#: About the seconds that an operation of a model takes.
_SECONDS_AN_OPERATION = 1e-4

#: A position, or a choice of one.
Position = cp_model.IntVar | int


@dataclass(frozen=True, slots=True)
class Run:
    """A run of an operation, which may happen.

    Attributes
    ----------
    operation, number
        Which, and which of its runs: 0 is the first one.
    start
        Its position.
    active
        Whether it happens: a constant for a first run.
    ends
        By resource that it writes, where that takes memory: the position from which on
        it isn't held any more.
    """

    operation: int
    number: int
    start: Position
    active: cp_model.IntVar
    ends: dict[int, cp_model.IntVar]


class OutOfTimeError(Exception):
    """There is no time to write a model down, and none to solve it."""


class RetentionModel:
    """The constraint program: minimise the cost of all reruns.

    Parameters
    ----------
    operations
        What runs; a result that takes no memory is held for good.
    cost
        Integers ≥ 0: what a rerun of each operation costs.
    reruns
        How often each operation may run again.
    together
        The most reruns of all operations together.
    limit
        What all reruns may cost together; None: no limit.
    capacity
        Memory beside resident inputs, in the graph's unit.
    fixed
        Whether first runs keep the order of the operations.
    wild
        Operations that may run again more often than their reruns, if all of these
        happen. Such a *wild* run takes no position and needs nothing; all of one
        operation cost as much as one rerun. What reads from one holds that while it
        runs. So every schedule is in the model, those with more reruns for less than
        they cost.
    deadline
        Looked at while the model is written down, which takes seconds for thousands of
        operations; None: none.

    Raises
    ------
    OutOfTimeError
        The deadline has passed.

    Attributes
    ----------
    program
        For CP-SAT.
    is_exact
        Whether sizes are exact. Where they are too large for 64 bits, they
        are rounded up and the capacity down: plans fit, but nothing is proved.
    first, end
        The earliest position of each first run; the position after the last one.
    stride
        From one first run to the next in the given order; 1 in a free order.
    inputs
        Until when each freeable input is held, by resource.
    runs
        Of each operation, in the order of its runs.
    choices
        By reader, number of its run, and resource: the runs of the producer that it
        may read from, as literals, a wild one last. Reader −1 is the end.
    wild
        Whether an operation has wild runs.
    """

    def __init__(
        self,
        operations: Operations,
        cost: list[int],
        reruns: list[int],
        together: int,
        limit: int | None,
        capacity: int,
        fixed: bool,
        wild: Collection[int] = (),
        deadline: Deadline | None = None,
    ) -> None:
        self._deadline = deadline or Deadline()
        self.program = cp_model.CpModel()
        self.fixed = fixed
        self.reads = rows_of(operations.first_read, operations.reads)
        self.writes = rows_of(operations.first_write, operations.writes)
        self.producer: list[int] = operations.producer.tolist()
        self.size: list[int] = operations.size.tolist()
        self.kept: list[bool] = operations.kept.tolist()
        self._true = self.program.new_constant(1)
        self.wild = {u: self.program.new_bool_var("") for u in wild}
        self._set_positions(len(cost), reruns, together)
        self.runs = [self._runs_of(u, reruns[u]) for u in self._in_time(range(len(cost)))]
        held = [r for r, u in enumerate(self.producer) if u < 0 and self.size[r]]
        self.inputs = {r: self.program.new_int_var(0, self.end, "") for r in held}
        self.choices: dict[tuple[int, int, int], list[cp_model.IntVar]] = {}
        self._uses: dict[tuple[int, int], list[cp_model.IntVar]] = {}
        # What is held for wild runs' readers: from where, what, and whether it is.
        self._moments: list[tuple[Position, int, cp_model.IntVar]] = []
        for v in self._in_time(range(len(cost))):
            self._add_reads(v)
        self._add_outputs()
        self._add_uses()
        written = [sum(self.size[r] for r in row) for row in self.writes]
        self._add_memory((operations.extra - np.array(written, np.int64)).tolist(), capacity)
        reruns_of = [run for runs in self.runs for run in runs[1:]]
        terms = [cost[run.operation] * run.active for run in reruns_of]
        terms += [cost[u] * happens for u, happens in self.wild.items()]
        spent: cp_model.LinearExprT = sum(terms)
        if limit is not None:
            self.program.add(spent <= limit)
        self.program.minimize(spent)

    def _in_time(self, operations: Iterable[int]) -> Iterator[int]:
        """One after the other, while there is time."""
        for u in operations:
            if self._deadline.passed:
                raise OutOfTimeError
            self._deadline.spend(_SECONDS_AN_OPERATION)
            yield u

    def _set_positions(self, count: int, reruns: list[int], together: int) -> None:
        """Where first runs may be, and where a rerun is of use."""
        self.stride = together + 1 if self.fixed else 1
        self.end = (count + 1) * self.stride if self.fixed else count + together + 1
        if self.fixed:
            self.first = self._last = [(t + 1) * self.stride for t in range(count)]
        else:
            # One run after the other; only ancestors have to be before, and descendants after.
            before, after = _kin(self.reads, self.producer)
            self.first = [ancestors + 1 for ancestors in before]
            self._last = [self.end - 1 - descendants for descendants in after]
        self._readers: list[set[int]] = [set() for _ in range(count)]
        for v, reads in enumerate(self.reads):
            for u in (self.producer[r] for r in reads):
                if u >= 0:
                    self._readers[u].add(v)
        self._latest = [0] * count
        for u in reversed(range(count)):
            uses = [self.end for r in self.writes[u] if self.kept[r]]
            for v in self._readers[u]:
                # A wild run has no position of its own.
                uses.append(self._latest[v] if reruns[v] else self._last[v])
                uses.append(self._latest[v] + 1 if v in self.wild else 0)
            self._latest[u] = max([self._last[u], *(use - 1 for use in uses)])

    def _runs_of(self, u: int, reruns: int) -> list[Run]:
        program = self.program
        runs: list[Run] = []
        for k in range(reruns + 1):
            earliest = self.first[u] + k
            start: Position = earliest
            if k:
                start = program.new_int_var(earliest, max(self._latest[u], earliest), "")
            elif not self.fixed:
                start = program.new_int_var(earliest, self._last[u], "")
            active = program.new_bool_var("") if k else self._true
            written = [r for r in self.writes[u] if self.size[r]]
            ends = {r: program.new_int_var(earliest + 1, self.end, "") for r in written}
            if k:
                self._follow(runs[-1], start, active)
            runs.append(Run(u, k, start, active, ends))
        return runs

    def _follow(self, before: Run, start: Position, active: cp_model.IntVar) -> None:
        """A run after one of the same operation.

        What it writes anew was freed before: a schedule needs the least memory with
        every value freed right after its last read (`schedule.lowering.free_early`).
        """
        self.program.add_implication(active, before.active)
        self.program.add(before.start + 1 <= start).only_enforce_if(active)
        for end in before.ends.values():
            self.program.add(end <= start).only_enforce_if(active)

    def _add_reads(self, v: int) -> None:
        """Whatever a run of v reads is held while it runs."""
        program = self.program
        for r in self.reads[v]:
            u = self.producer[r]
            if u >= 0 and not self.fixed:
                program.add(self.runs[u][0].start + 1 <= self.runs[v][0].start)
            if not self.size[r]:
                continue
            for run in self.runs[v]:
                if u >= 0 and (len(self.runs[u]) > 1 or u in self.wild):
                    use = (v, run.number, r)
                    for source, chosen in self._choose(run.active, use):
                        program.add(source.start + 1 <= run.start).only_enforce_if(chosen)
                        program.add(source.ends[r] >= run.start + 1).only_enforce_if(chosen)
                    if u in self.wild:
                        self._read_wild(run.start, r, self.choices[use][-1])
                else:
                    end = self.inputs[r] if u < 0 else self.runs[u][0].ends[r]
                    program.add(end >= run.start + 1).only_enforce_if(run.active)

    def _add_outputs(self) -> None:
        """What has to be live at the end is held until then."""
        for r in (r for r, kept in enumerate(self.kept) if kept and self.size[r]):
            if self.producer[r] < 0:
                self.program.add(self.inputs[r] == self.end)
                continue
            for source, chosen in self._choose(self._true, (-1, 0, r)):
                self.program.add(source.ends[r] == self.end).only_enforce_if(chosen)

    def _choose(
        self, where: cp_model.IntVar, use: tuple[int, int, int]
    ) -> list[tuple[Run, cp_model.IntVar]]:
        """The runs that write a resource, with a literal each: one of them where `where` is."""
        u = self.producer[use[2]]
        sources = self.runs[u]
        literals = [self.program.new_bool_var("") for _ in sources]
        self.choices[use] = literals
        if u in self.wild:
            literals.append(self.program.new_bool_var(""))
            self.program.add_implication(literals[-1], self.wild[u])
        self.program.add(sum(literals) == where)
        for source, chosen in zip(sources, literals):
            self.program.add_implication(chosen, source.active)
            self._uses.setdefault((source.operation, source.number), []).append(chosen)
        return list(zip(sources, literals))

    def _read_wild(self, start: Position, resource: int, chosen: cp_model.IntVar) -> None:
        """What a wild run wrote is held while it is read, and earlier values are not."""
        last = self.runs[self.producer[resource]][-1]
        self.program.add(last.start + 1 <= start).only_enforce_if(chosen)
        self.program.add(last.ends[resource] <= start).only_enforce_if(chosen)
        self._moments.append((start, resource, chosen))

    def _add_uses(self) -> None:
        """What nothing reads doesn't run again; wild runs follow all others."""
        for u, runs in enumerate(self.runs):
            wild = [self.wild[v] for v in sorted(self._readers[u]) if v in self.wild]
            for run in runs[1:]:
                uses = self._uses.get((u, run.number), [])
                self.program.add_bool_or([*uses, *wild, ~run.active])
            if u in self.wild:
                self.program.add_implication(self.wild[u], runs[-1].active)

    def _add_memory(self, workspace: list[int], capacity: int) -> None:
        """One cumulative constraint for all that is held, and what a run needs beside it."""
        program = self.program
        intervals = [program.new_interval_var(0, end, end, "") for end in self.inputs.values()]
        demands = [self.size[r] for r in self.inputs]
        for run in (run for u in self._in_time(range(len(self.runs))) for run in self.runs[u]):
            for r, end in run.ends.items():
                length = program.new_int_var(1, self.end, "")
                intervals.append(
                    program.new_optional_interval_var(run.start, length, end, run.active, "")
                )
                demands.append(self.size[r])
            if workspace[run.operation]:
                intervals.append(
                    program.new_optional_fixed_size_interval_var(run.start, 1, run.active, "")
                )
                demands.append(workspace[run.operation])
        for start, r, chosen in self._moments:
            intervals.append(program.new_optional_fixed_size_interval_var(start, 1, chosen, ""))
            demands.append(self.size[r])
        unit = gcd(*demands) or 1
        most = sum(demands) * self.end // unit
        self.is_exact = most <= _MOST
        unit *= -(-most // _MOST) if most else 1
        demands = [-(-demand // unit) for demand in demands]
        program.add_cumulative(intervals, demands, min(capacity // unit, sum(demands)))

    def sequence(self, value: Callable[[cp_model.IntVar], int]) -> Ints:
        """The operations in the order in which a solution runs them, wild runs when read."""
        positions = {
            (run.operation, run.number): run.start
            if isinstance(run.start, int)
            else value(run.start)
            for runs in self.runs
            for run in runs
            if value(run.active)
        }
        found = {(position, 1, u) for (u, _), position in positions.items()}
        for (v, number, r), literals in self.choices.items():
            if self.producer[r] in self.wild and value(literals[-1]):
                found.add((positions.get((v, number), self.end), 0, self.producer[r]))
        return np.array([u for _, _, u in sorted(found)], np.int64)


def _kin(reads: list[list[int]], producer: list[int]) -> tuple[list[int], list[int]]:
    """How many ancestors and descendants each operation has."""
    before, after = [0] * len(reads), [0] * len(reads)
    for v, row in enumerate(reads):
        for u in {producer[r] for r in row if producer[r] >= 0}:
            before[v] |= before[u] | 1 << u
        for u in range(v):
            after[u] += before[v] >> u & 1
    return [ancestors.bit_count() for ancestors in before], after
