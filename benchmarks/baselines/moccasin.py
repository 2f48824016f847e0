"""Moccasin's retention intervals (Bartan et al., ICML 2023, arXiv:2304.14463) on CP-SAT.

Stage t of n runs some of the nodes 0 … t − 1 again and then node t for the
first time; a run of node i in it is event n·t + i. A node's tensor is there in
up to two intervals of events, each from a run of the node on.

A first phase starts from every node once and looks for a plan
that fits the budget, and a second phase takes it to the least compute.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass

import numpy as np
from ortools.sat.python import cp_model

from baselines.contract import Answer, Plain
from schedule.graph import Graph
from schedule.layout import Ints
from schedule.lowering import free_early

_WORKERS = 2


def solve(graph: Graph, budget: int, time_limit: float) -> Answer:
    """The least compute with at most two runs of every node."""
    started = time.monotonic()
    model = _Model(Plain.of(graph, budget))
    model.seek_room()
    fitting, found = _solved(model.program, started + time_limit)
    if not found or fitting.value(model.excess):
        bound = math.inf if fitting.best_objective_bound > 0 else -math.inf
        return Answer(None, bound, time.monotonic() - started)
    model.seek_thrift(fitting)
    thrifty, found = _solved(model.program, started + time_limit)
    codes = free_early(graph, model.runs(thrifty if found else fitting))
    return Answer(codes, thrifty.best_objective_bound, time.monotonic() - started)


def _solved(program: cp_model.CpModel, deadline: float) -> tuple[cp_model.CpSolver, bool]:
    """A solver that has run until the monotonic clock's `deadline`; whether it found anything."""
    solver = cp_model.CpSolver()
    solver.parameters.num_workers = _WORKERS
    solver.parameters.max_time_in_seconds = max(0.0, deadline - time.monotonic())
    status = solver.solve(program)
    return solver, status in (cp_model.OPTIMAL, cp_model.FEASIBLE)


@dataclass(frozen=True, slots=True)
class _Retention:
    """One interval: the tensor is there at the events start ≤ e < end."""

    start: cp_model.LinearExprT
    end: cp_model.IntVar
    active: cp_model.IntVar


class _Model:
    """The constraint program of a plain graph."""

    def __init__(self, plain: Plain) -> None:
        self.program = cp_model.CpModel()
        self._plain = plain
        self._end = plain.n_nodes**2
        self._intervals: list[cp_model.IntervalVar] = []
        self._demands: list[int] = []
        self._retentions = [self._retained(node) for node in range(plain.n_nodes)]
        for tail, head in zip(plain.tail.tolist(), plain.head.tolist()):
            for reader in self._retentions[head]:
                self._cover(tail, reader)
        for node in np.flatnonzero(plain.is_output).tolist():
            self._keep(node)
        #: By how much memory may be over the budget, while the first phase lasts.
        self.excess = self.program.new_int_var(0, max(0, plain.peak - plain.capacity), "")
        room = self.excess + plain.capacity
        self.program.add_cumulative(self._intervals, self._demands, room)

    def _retained(self, node: int) -> list[_Retention]:
        """Both intervals of a node, the second after the first; one where it can't run again."""
        last = self._plain.n_nodes - 1
        first = self._interval(node, node, node, self.program.new_constant(1))
        if node == last or not self._plain.recomputable[node]:
            return [first]
        second = self._interval(node, node + 1, last, self.program.new_bool_var(""))
        self.program.add(first.end <= second.start).only_enforce_if(second.active)
        return [first, second]

    def _interval(
        self, node: int, earliest: int, latest: int, active: cp_model.IntVar
    ) -> _Retention:
        """One interval that starts in one of the stages earliest … latest."""
        program, plain = self.program, self._plain
        start = plain.n_nodes * program.new_int_var(earliest, latest, "") + node
        size = program.new_int_var(1, self._end, "")
        end = program.new_int_var(plain.n_nodes * earliest + node + 1, self._end, "")
        self._intervals.append(program.new_optional_interval_var(start, size, end, active, ""))
        self._demands.append(int(plain.memory[node]))
        if plain.workspace[node]:
            space = program.new_optional_fixed_size_interval_var(start, 1, active, "")
            self._intervals.append(space)
            self._demands.append(int(plain.workspace[node]))
        return _Retention(start, end, active)

    def _cover(self, tail: int, reader: _Retention) -> None:
        """Where the reader starts, one of the intervals of what it reads goes on."""
        for retention, chosen in self._one_of(tail, reader.active):
            self.program.add(retention.start < reader.start).only_enforce_if(chosen)
            self.program.add(retention.end > reader.start).only_enforce_if(chosen)

    def _keep(self, node: int) -> None:
        """One of the intervals of an output reaches the end."""
        for retention, chosen in self._one_of(node, self.program.new_constant(1)):
            self.program.add(retention.end == self._end).only_enforce_if(chosen)

    def _one_of(
        self, node: int, where: cp_model.IntVar
    ) -> list[tuple[_Retention, cp_model.IntVar]]:
        """A literal for every interval of `node`; one of them is true where `where` is."""
        program = self.program
        choices = [(retention, program.new_bool_var("")) for retention in self._retentions[node]]
        program.add(sum(chosen for _, chosen in choices) == where)
        for retention, chosen in choices:
            program.add_implication(chosen, retention.active)
        return choices

    def seek_room(self) -> None:
        """Aim for the least excess, from every node once."""
        plain = self._plain
        last = np.where(plain.is_output, plain.n_nodes, np.arange(plain.n_nodes))
        np.maximum.at(last, plain.tail, plain.head)
        for (first, *again), node in zip(self._retentions, last.tolist()):
            end = min(self._end, node * (plain.n_nodes + 1) + 1)
            self.program.add_hint(first.end, end)
            for second in again:
                self.program.add_hint(second.active, False)
        self.program.minimize(self.excess)

    def seek_thrift(self, fitting: cp_model.CpSolver) -> None:
        """Aim for the least compute without excess, from a solution that has none."""
        program = self.program
        program.add(self.excess == 0)
        program.clear_hints()
        for number in range(len(program.proto.variables)):
            variable = program.get_int_var_from_proto_index(number)
            program.add_hint(variable, fitting.value(variable))
        every = zip(self._plain.compute.tolist(), self._retentions)
        program.minimize(sum(cost * one.active for cost, both in every for one in both))

    def runs(self, solver: cp_model.CpSolver) -> Ints:
        """The nodes in the order in which the solution's intervals start."""
        begun = [
            (solver.value(retention.start), node)
            for node, both in enumerate(self._retentions)
            for retention in both
            if solver.value(retention.active)
        ]
        return np.array([node for _, node in sorted(begun)], dtype=np.int64)
