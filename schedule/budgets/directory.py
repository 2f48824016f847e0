"""A directory of schedule files, one a budget: what a sweep leaves, and goes on from."""

from __future__ import annotations

import math
import os
import re
from pathlib import Path
from typing import Any

from schedule.budgets.delivery import GRAPH
from schedule.budgets.reading import ASKED, budget_files, check_together, read_point
from schedule.errors import (
    BadInput,
    BadOption,
    BadOutput,
    BadSchedule,
    InvalidSchedule,
    WrongGraph,
)
from schedule.files import AnyPath, path_text, reason, write_json
from schedule.frontends.files import read, write
from schedule.graph import Graph
from schedule.levels import Level
from schedule.options import SolveOptions
from schedule.result import Result, Status
from schedule.solvers import Solver

_ELSE = "give another directory"
_ADDRESS = re.compile(r" at 0x[0-9a-fA-F]+")


def _in_json(value: float) -> float | str:
    """JSON has no infinity."""
    return value if math.isfinite(value) else str(value)


def _said(levels: tuple[Level, ...]) -> str:
    """What is below a device, in words."""
    return ", ".join(str(level) for level in levels) or "nothing"


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
    levels
        What is below the device.

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
        There are schedules in it and `resume` isn't set, or they are of another order, or
        for other levels below the device.
    WrongGraph
        It belongs to another graph.
    BadSchedule
        A budget's file isn't a schedule, or states what its steps don't do.
    """

    def __init__(
        self,
        path: AnyPath,
        graph: Graph,
        solver: Solver,
        options: SolveOptions,
        resume: bool,
        levels: tuple[Level, ...] = (),
    ) -> None:
        self._shown = path_text(path)
        self.path = Path(path)
        self._graph, self._solver, self._options = graph, solver, options
        self._levels = levels
        self._open()
        files = budget_files(self.path)
        if files and not resume:
            raise BadOption(
                f"{self._shown}: there are schedules in it; go on from them (--resume), or {_ELSE}"
            )
        self._same_question: set[int] = set()
        at = self.path / GRAPH
        if at.exists():
            self._check_graph(at)
        self.found = {budget: self._read(file, budget) for budget, file in files.items()}
        try:
            check_together(graph, self.found, files)
        except InvalidSchedule as error:
            raise BadSchedule(f"{error}; remove it, or {_ELSE}") from None
        if not at.exists():
            write(self._graph, at)

    def _open(self) -> None:
        try:
            self.path.mkdir(exist_ok=True)
        except (OSError, ValueError) as error:
            raise BadOutput(f"{self._shown}: can't be made a directory: {reason(error)}") from None
        if not os.access(self.path, os.R_OK | os.W_OK | os.X_OK):
            raise BadOutput(f"{self._shown}: can't be written to: permission denied")

    def _check_graph(self, file: Path) -> None:
        try:
            other = read(file)
        except BadInput as error:
            raise BadOption(f"{error}; remove it, or {_ELSE}") from None
        if other.digest != self._graph.digest:
            raise WrongGraph(
                f"{self._shown}: belongs to a sweep of graph {other.name!r} with digest"
                f" {other.digest[:12]}…, but graph {self._graph.name!r} has digest"
                f" {self._graph.digest[:12]}…; {_ELSE}"
            )

    def put(self, result: Result) -> None:
        """Write a result, whole or not at all."""
        file = self.path / f"budget-{result.budget}.json.gz"
        write_json(file, result.to_json() | {ASKED: self._asked})

    @property
    def _asked(self) -> dict[str, Any]:
        text = repr(self._solver)  # with the options of a dataclass
        # Where a function of the solver lies in memory is another place in each process.
        name = self._solver.name if text.startswith("<") else _ADDRESS.sub("", text)
        asked = self._options
        return {
            "solver": name,
            "order": asked.order,
            "time_limit": _in_json(asked.time_limit),
            "gap": _in_json(asked.gap),
            "seed": asked.seed,
            **({} if asked.work_limit is None else {"work_limit": asked.work_limit}),
        }

    def settles(self, budget: int) -> bool:
        """Whether its file answers a budget: nothing is left to find, or it was asked the same."""
        result = self.found.get(budget)
        if result is None:
            return False
        if result.status in (Status.OPTIMAL, Status.INFEASIBLE):
            return True
        return budget in self._same_question and not result.interrupted

    def _read(self, file: Path, budget: int) -> Result:
        """What a file's steps do, which has to be what it states."""
        try:
            result, asked = read_point(file, self._graph, budget)
        except (BadSchedule, InvalidSchedule) as error:
            raise BadSchedule(f"{error}; remove it, or {_ELSE}") from None
        except WrongGraph as error:
            raise WrongGraph(f"{error}; or {_ELSE}") from None
        if result.order != self._options.order:
            raise BadOption(
                f"{path_text(file)}: was asked for with order {result.order!r}; {_ELSE}"
            )
        if result.levels != self._levels:
            raise BadOption(
                f"{path_text(file)}: was asked for with {_said(result.levels)} below the device,"
                f" not with {_said(self._levels)}; {_ELSE}"
            )
        if asked == self._asked:
            self._same_question.add(budget)
        return result
