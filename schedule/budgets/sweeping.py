"""`sweep` and `sweeps`: many budgets of one graph, on any executor, and on several machines."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Executor
from dataclasses import replace
from typing import Unpack

from schedule.budgets.curve import Sweep
from schedule.budgets.directory import Directory
from schedule.budgets.machines import carried, reconciled_across
from schedule.budgets.running import Run, SweepProgress
from schedule.budgets.solving import state
from schedule.errors import BadOption
from schedule.files import AnyPath
from schedule.graph import Graph, require_graph
from schedule.levels import Level, levels_of
from schedule.log import LOG
from schedule.options import Cancel, SolveOptions, SweepKeywords, options_of, spelled_out
from schedule.planner import solver_for
from schedule.sizes import parse_budget
from schedule.solvers import Solver
from schedule.values import integer, shown, switch

#: More budgets than this are no curve that anyone looks at.
_MOST_POINTS = 10_000
#: What a sweep's solves are asked with, where nothing else is said.
_DEFAULTS = SolveOptions(time_limit=10.0, workers=1)


@spelled_out(SweepKeywords, _DEFAULTS)
def sweep(
    graph: Graph,
    budgets: Iterable[int | str] | None = None,
    solver: str | Solver = "auto",
    *,
    points: int = 15,
    start: int | str = "30%",
    stop: int | str = "100%",
    levels: Iterable[Level] | Level | None = None,
    workers: int | None = None,
    executor: Executor | None = None,
    directory: AnyPath | None = None,
    resume: bool = False,
    others: Iterable[Sweep] = (),
    progress: Callable[[SweepProgress], None] | None = None,
    cancel: Cancel | None = None,
    **given: Unpack[SweepKeywords],
) -> Sweep:
    """Solve a graph at many budgets: the curve of memory against compute.

    Parameters
    ----------
    graph
        The computation graph.
    budgets
        As for `schedule.solve`: integers, sizes, shares. None: `points` of them
        from `start` to `stop`, evenly spaced, rounded down.
    points, start, stop
        How many budgets, from where to where.
    solver
        As for `schedule.solve`, which is called once for each budget, with one
        thread.
    levels
        What is below the device, as for `schedule.solve`; the curve is then one of
        makespans.
    workers
        How many budgets are solved at once, the smallest first. By default two,
        or as many as the executor runs. The fewer, the more solves have a
        neighbour's schedule to begin with; with one, the same seed gives the
        same sweep, unless the time limit ends a solve.
    executor
        Where the solves run: any `concurrent.futures.Executor`, in this process
        or others. Solvers release the GIL, so threads do.
    directory
        Every result is written there as soon as it is known.
    resume
        Go on from the results in `directory`, of these budgets and others. What
        is optimal or infeasible isn't solved again, nor is what was asked for
        in the same way; the rest begins with the schedule that is there.
    others
        Curves of the graph with other levels. Solves begin with what these say: a schedule
        serves every machine that is no worse, and a bound holds for every one that is no
        better.
    progress
        Called with a `SweepProgress` for every budget that is done, and, from
        solves in threads, for everything they find.
    cancel
        As in `SolveOptions`, of the whole sweep, and asked from this thread: solves end in
        threads and in other processes of this machine; on others they are left behind.
    order, time_limit, work_limit, gap, seed, memory_share
        As in `SolveOptions`, of each solve: the time limit is 10 seconds by
        default.

    Returns
    -------
    Sweep
        One result a budget. Those too small are marked, not failed. After Ctrl-C,
        when it is cancelled, or where the executor fails or a file can't be written, it has what is
        known by then, and `ended` says why.

    Raises
    ------
    BadInput
        As `schedule.solve`; there are no budgets; the directory can't be written
        to, holds schedules though `resume` isn't set, or what isn't of this
        graph and order.

    Notes
    -----
    A schedule serves every larger budget, a bound (or a proof that nothing fits)
    every smaller one. Solves begin with what others have found by then, and in
    the end each result gets what all others say about it; so compute and bound
    never rise with the budget, whatever the solver.

    Examples
    --------
    >>> import schedule
    >>> curve = schedule.sweep(schedule.example("chain"), points=6, start="10%")
    >>> [str(point.status) for point in curve.points[:3]]
    ['infeasible', 'optimal', 'optimal']
    >>> curve.knee.budget, curve.knee.overhead == curve.knee.bound_overhead
    (7, True)
    """
    require_graph(graph)
    wanted = _budgets(graph, budgets, points, start, stop)
    below = levels_of(levels)
    chosen = solver_for(solver, below)
    # All options are checked before anything is sent anywhere or written.
    options = options_of(_DEFAULTS, given, sweep)
    replace(options, cancel=cancel)  # it stays here: each solve is told by other means
    at_once = None if workers is None else replace(options, workers=workers).workers
    if progress is not None and not callable(progress):
        raise BadOption(f"progress is {shown(progress)}; it has to be a function, or None")
    if executor is not None and not callable(getattr(executor, "submit", None)):
        raise BadOption(f"executor is {shown(executor)}; it has to have submit, as an Executor has")
    if switch(resume, "resume") and directory is None:
        raise BadOption("resume needs the directory to go on from")
    state(graph, wanted[0], chosen, options, levels=below)
    files = None
    if directory is not None:
        files = Directory(directory, graph, chosen, options, resume, below)
    LOG.info("sweep of %r: %d budgets, by %s", graph.name, len(wanted), chosen.name)
    said = _curves_of(graph, others, options)
    known = carried(graph, said, chosen, options, below)
    run = Run(graph, wanted, chosen, options, files, progress, cancel, below, known)
    return run.on(executor, at_once)


@spelled_out(SweepKeywords, _DEFAULTS)
def sweeps(
    graph: Graph,
    machines: Mapping[str, Iterable[Level] | Level | None],
    budgets: Iterable[int | str] | None = None,
    solver: str | Solver = "auto",
    *,
    points: int = 15,
    start: int | str = "30%",
    stop: int | str = "100%",
    workers: int | None = None,
    executor: Executor | None = None,
    progress: Callable[[SweepProgress], None] | None = None,
    cancel: Cancel | None = None,
    **given: Unpack[SweepKeywords],
) -> dict[str, Sweep]:
    """The curves of one graph on several machines, one after the other.

    Parameters
    ----------
    graph
        The computation graph.
    machines
        What is below the device, by a name for it.
    budgets, solver, points, start, stop, workers, executor, progress, cancel
        As for `sweep`, which is called for each machine.
    order, time_limit, work_limit, gap, seed, memory_share
        As for `sweep`.

    Returns
    -------
    dict
        The curve of each machine, by its name, in the order given; where one ended early, it
        is the last.

    Raises
    ------
    BadInput
        As `sweep`; there are no machines.

    Notes
    -----
    Each curve begins with what the others have found by then, and in the end gets what all
    others say about it. So neither makespan nor bound is ever higher where a link is faster
    or a host is larger.

    Examples
    --------
    >>> import schedule
    >>> graph = schedule.example("chain", layers=6)
    >>> machines = {rate: schedule.host(100, rate) for rate in ("0.1", "1")}
    >>> curves = schedule.sweeps(graph, machines, ["40%", "60%"])
    >>> slow, fast = ([point.makespan for point in curve.points] for curve in curves.values())
    >>> [one >= other for one, other in zip(slow, fast)]
    [True, True]
    """
    if not isinstance(machines, Mapping) or not machines:
        raise BadOption(f"machines is {shown(machines)}; it has to name levels, one machine a name")
    found: dict[str, Sweep] = {}
    for name, levels in machines.items():
        found[name] = sweep(
            graph,
            budgets,
            solver,
            points=points,
            start=start,
            stop=stop,
            levels=levels,
            workers=workers,
            executor=executor,
            others=tuple(found.values()),
            progress=progress,
            cancel=cancel,
            **given,
        )
        if found[name].ended:
            break
    options = options_of(_DEFAULTS, given, sweeps)
    return reconciled_across(graph, found, solver, options)


def _curves_of(graph: Graph, others: Iterable[Sweep], options: SolveOptions) -> tuple[Sweep, ...]:
    """Curves of this graph, in the same order."""
    found = tuple(others) if isinstance(others, Iterable) else (others,)
    for curve in found:
        if not isinstance(curve, Sweep):
            raise BadOption(f"others is to hold sweeps, not {shown(curve)}")
        if curve.digest != graph.digest:
            raise BadOption(f"others holds a sweep of another graph, {curve.graph_name!r}")
        if curve.order != options.order:
            raise BadOption(f"others holds a sweep in order {curve.order!r}: bounds don't compare")
    return found


def _budgets(
    graph: Graph,
    budgets: Iterable[int | str] | None,
    points: int,
    start: int | str,
    stop: int | str,
) -> list[int]:
    """The budgets in the graph's unit, ascending, each once."""
    if budgets is not None:
        if isinstance(budgets, str) or not isinstance(budgets, Iterable):
            raise BadOption(f"budgets is {shown(budgets)}; it has to be a list of budgets")
        found = {parse_budget(budget, graph) for budget in budgets}
        if not found:
            raise BadOption("there are no budgets to solve for")
        return sorted(found)
    many = integer(points)
    if many is None or not 2 <= many <= _MOST_POINTS:
        raise BadOption(
            f"points is {shown(points)}; it has to be an integer from 2 to {_MOST_POINTS}"
        )
    low, high = parse_budget(start, graph), parse_budget(stop, graph)
    if low > high:
        raise BadOption(f"the sweep starts at {shown(start)}, above {shown(stop)}, where it stops")
    return sorted({low + (high - low) * at // (many - 1) for at in range(many)})
