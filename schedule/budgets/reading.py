"""The files of a sweep, read: every figure comes from a replay of the steps."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from schedule.bounds import TOLERANCE
from schedule.budgets.curve import Sweep
from schedule.budgets.solving import Stated, descending, reconciled, state
from schedule.claims import check_claims, faults_of
from schedule.errors import BadInput, BadOption, BadSchedule, FalseClaim, WrongGraph
from schedule.files import AnyPath, path_text, read_json, reason
from schedule.frontends.schedule_format import result_from_json
from schedule.graph import Graph, require_graph
from schedule.lowering import in_order
from schedule.memory import keeps_order
from schedule.options import SolveOptions
from schedule.result import Result, Status
from schedule.solvers import Proof, Solver
from schedule.solvers.classics.store_all import StoreAll
from schedule.steps import Schedule
from schedule.verification import verify

_NAME = re.compile(r"budget-(0|[1-9][0-9]{0,18})\.json\.gz")
#: What was asked of the solve stands in each file under this key.
ASKED = "sweep"


def read_sweep(graph: Graph, directory: AnyPath) -> Sweep:
    """The curve of the schedules in a sweep's directory.

    Parameters
    ----------
    graph
        The graph that was swept.
    directory
        What `sweep` was told to write to.

    Returns
    -------
    Sweep
        Its points are those of the files, each replayed; no figure is taken
        from a file that its steps give.

    Raises
    ------
    BadOption
        There are no schedules in it, or such of several orders, or for several machines.
    BadSchedule, WrongGraph
        A file isn't a schedule, or is one of another graph.
    InvalidSchedule
        The steps of a file break a rule, or it states what they don't do. The
        message names the file.
    """
    require_graph(graph)
    files = budget_files(directory)
    if not files:
        raise BadOption(
            f"{path_text(directory)!r} holds no schedules of a sweep (budget-….json.gz)"
        )
    found = {budget: read_point(file, graph, budget)[0] for budget, file in files.items()}
    first = next(iter(found.values()))
    for budget, point in found.items():
        if point.order != first.order:
            raise BadOption(
                f"{path_text(files[budget])}: was asked for with order {point.order!r}, others"
                f" with {first.order!r}; keep the files of one sweep"
            )
        if point.levels != first.levels:
            raise BadOption(
                f"{path_text(files[budget])}: has other levels below the device than"
                f" {path_text(next(iter(files.values())))}; keep the files of one sweep"
            )
    check_together(graph, found, files)
    asked = SolveOptions(order=first.order)
    points = reconciled(graph, found, _named(first.solver), asked, first.levels)
    curve = descending([points[budget] for budget in sorted(points)])
    return Sweep.of(graph, first.solver, first.order, curve, levels=first.levels)


def budget_files(directory: AnyPath) -> dict[int, Path]:
    """The schedule files of a directory by ascending budget."""
    shown = path_text(directory)
    try:
        names = [(_NAME.fullmatch(file.name), file) for file in Path(directory).iterdir()]
    except (OSError, ValueError) as error:
        raise BadSchedule(f"{shown}: {reason(error)}") from None
    return dict(sorted((int(name[1]), file) for name, file in names if name is not None))


def read_point(file: Path, graph: Graph, budget: int) -> tuple[Result, Any]:
    """What a file's steps do, and what was asked of the solve that gave them.

    Raises
    ------
    BadSchedule, WrongGraph, InvalidSchedule
        As for `read_sweep`.
    """
    data = read_json(file, BadSchedule)
    try:
        stated = result_from_json(data)
    except BadInput as error:
        raise BadSchedule(f"{path_text(file)}: {error}") from None
    try:
        Schedule((), stated.graph_name, stated.digest).require(graph)
    except WrongGraph as error:
        raise WrongGraph(f"{path_text(file)}: {error}") from None
    with faults_of(file):
        return _replayed(graph, stated, budget), data.get(ASKED)


def _named(name: str) -> Solver:
    """A solver of that name, which need not be installed: nobody asks it anything."""
    return StoreAll(name=name)


def _replayed(graph: Graph, stated: Result, budget: int) -> Result:
    """The result that follows from the steps, and from the proofs that they don't belie."""
    if stated.budget != budget:
        raise FalseClaim(
            f"the file states the budget {stated.budget}, but is called that of {budget}"
        )
    codes, bound, shortfall = None, stated.lower_bound, stated.shortfall
    if stated.schedule is not None:
        trace = verify(graph, stated.schedule, levels=stated.levels)
        check_claims(stated, trace)
        if stated.order == "fixed" and not keeps_order(trace):
            raise FalseClaim("the file states the order fixed, but its first runs are in another")
        codes, bound = trace.codes, None if bound is None else min(bound, trace.makespan)
    needed = node = None
    if shortfall is not None:
        needed = shortfall.needed
        node = shortfall.node if shortfall.node in graph.layout.node_names else None
    known = [Stated(codes, Proof(bound, needed, node))]
    asked = SolveOptions(order=stated.order)
    made = state(graph, budget, _named(stated.solver), asked, known, stated.levels)
    if stated.status is Status.INFEASIBLE and made.status is not stated.status:
        raise FalseClaim(f"the file states the status infeasible, but a need of {needed} only")
    if made.lower_bound is not None:  # what was rounded up once isn't rounded again
        made = replace(made, lower_bound=max(made.lower_bound, bound or 0))
    return replace(
        made,
        seconds=stated.seconds,
        seed=stated.seed,
        interrupted=stated.interrupted,
        out_of_memory=stated.out_of_memory,
        out_of_time=stated.out_of_time,
        found_by=stated.found_by,
        proved_by=stated.proved_by,
        trace=None,
    )


def check_together(graph: Graph, found: Mapping[int, Result], files: Mapping[int, Path]) -> None:
    """No proof in one file may contradict the replayed schedule of another.

    Raises
    ------
    FalseClaim
        The bound of a file, or what it says to be needed, does.
    """
    plain = in_order(graph)
    fits = [(plain.peak, plain.compute, "the program as it is")]
    fits += [(*figures, path_text(files[budget])) for budget, figures in _planned(found)]
    fits.sort()
    least_peak, slack = fits[0], TOLERANCE * float(graph.compute)
    best, at = (math.inf, ""), 0
    for budget in sorted(found):
        while at < len(fits) and fits[at][0] <= budget:
            best, at = min(best, fits[at][1:]), at + 1
        point = found[budget]
        with faults_of(files[budget]):
            if point.shortfall is not None and point.shortfall.needed > least_peak[0]:
                raise FalseClaim(
                    f"the file states that {point.shortfall.needed} are needed, but the peak of"
                    f" {least_peak[2]} is {least_peak[0]}"
                )
            if point.lower_bound is not None and point.lower_bound - best[0] > slack:
                raise FalseClaim(
                    f"the file states the lower bound {point.lower_bound}, but {best[1]} fits its"
                    f" budget, too, and takes {best[0]}"
                )


def _planned(found: Mapping[int, Result]) -> Iterator[tuple[int, tuple[int, int | float]]]:
    """Budget, and peak and what it takes, of each result that has a schedule."""
    for budget, point in found.items():
        if point.peak is not None and point.objective is not None:
            yield budget, (point.peak, point.objective)
