"""A directory of schedule files, one a budget: what a sweep leaves, and goes on from."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from schedule.errors import (
    BadInput,
    BadOption,
    BadOutput,
    BadSchedule,
    ScheduleError,
    WrongGraph,
)
from schedule.files import AnyPath, path_text, read_json, write_json
from schedule.frontends.files import read, result_from_json, write
from schedule.graph import Graph
from schedule.result import Result, Status
from schedule.solvers import Solver
from schedule.sweeps.delivery import GRAPH
from schedule.sweeps.solving import Options, proposal_of, state

_NAME = re.compile(r"budget-([0-9]{1,19})\.json\.gz")
#: What was asked of the solve stands in each file under this key.
_KEY = "sweep"
_ELSE = "give another directory"


class Directory:
    """The files of one sweep: its graph, and a schedule file for each budget.

    A file beyond these is nobody's business, and left alone.

    Parameters
    ----------
    path
        Made if it isn't there; its parent has to be.
    graph
        The graph that is swept.
    solver, options
        What every solve is asked with.
    resume
        Whether schedules that are there already are to be gone on from.

    Attributes
    ----------
    path
        Where it is.
    found
        The results that were there, each replayed.

    Raises
    ------
    BadOutput
        It can't be written to.
    BadOption
        There are schedules in it and `resume` isn't set, or they are of another order.
    WrongGraph
        It belongs to another graph.
    BadSchedule
        A budget's file isn't a schedule, or states what its steps don't do.
    """

    def __init__(
        self, path: AnyPath, graph: Graph, solver: Solver, options: Options, resume: bool
    ) -> None:
        self.path = Path(path)
        self._shown = path_text(path)
        self._graph, self._solver, self._options = graph, solver, options
        self._open()
        files = {int(m[1]): file for file in self.path.iterdir() if (m := _NAME.match(file.name))}
        if files and not resume:
            raise BadOption(
                f"{self._shown}: there are schedules in it; go on from them (--resume), or {_ELSE}"
            )
        self._same_question: set[int] = set()
        at = self.path / GRAPH
        if at.exists():
            self._check_graph(at)
        self.found = {budget: self._read(files[budget], budget) for budget in sorted(files)}
        if not at.exists():
            write(self._graph, at)

    def _open(self) -> None:
        try:
            self.path.mkdir(exist_ok=True)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise BadOutput(f"{self._shown}: can't be made a directory: {reason}") from None
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise BadOutput(f"{self._shown}: can't be written to: permission denied")

    def _check_graph(self, file: Path) -> None:
        try:
            other = read(file)
        except BadInput as error:
            raise BadOption(f"{error}; remove it, or {_ELSE}") from None
        self._require(self._shown, "belongs to a sweep", other.name, other.digest)

    def _require(self, shown: str, said: str, name: str, digest: str) -> None:
        """Refuse what belongs to another graph."""
        if digest != self._graph.digest:
            raise WrongGraph(
                f"{shown}: {said} of graph {name!r} with digest {digest[:12]}…, but graph"
                f" {self._graph.name!r} has digest {self._graph.digest[:12]}…; {_ELSE}"
            )

    def put(self, result: Result) -> None:
        """Write a result, whole or not at all."""
        file = self.path / f"budget-{result.budget}.json.gz"
        write_json(file, result.to_json() | {_KEY: self._asked})

    @property
    def _asked(self) -> dict[str, Any]:
        text = repr(self._solver)  # with the options of a dataclass
        name = self._solver.name if text.startswith("<") else text
        return {"solver": name, **self._options}

    def settles(self, budget: int) -> bool:
        """Whether its file answers a budget: nothing is left to find, or it was asked the same."""
        result = self.found.get(budget)
        if result is None:
            return False
        if result.status in (Status.OPTIMAL, Status.INFEASIBLE):
            return True
        return budget in self._same_question and not result.interrupted

    def _read(self, file: Path, budget: int) -> Result:
        """The result that a file states, held against a replay of its steps."""
        shown = path_text(file)
        data = read_json(file, BadSchedule)
        try:
            stated = result_from_json(data)
        except BadInput as error:
            raise BadSchedule(f"{shown}: {error}; remove it, or {_ELSE}") from None
        self._require(shown, "is a schedule", stated.graph_name, stated.digest)
        if stated.order != self._options["order"]:
            raise BadOption(f"{shown}: was asked for with order {stated.order!r}; {_ELSE}")
        if data.get(_KEY) == self._asked:
            self._same_question.add(budget)
        if stated.budget != budget or not self._is_true(stated, budget):
            raise BadSchedule(f"{shown}: isn't what its steps do; remove it, or {_ELSE}")
        return stated

    def _is_true(self, stated: Result, budget: int) -> bool:
        try:
            known = proposal_of(self._graph, stated)
            made = state(self._graph, budget, self._solver, self._options, [known])
        except ScheduleError:  # the steps break a rule, or belie the bound
            return False
        figures = made.status, made.peak, made.compute
        return figures == (stated.status, stated.peak, stated.compute)
