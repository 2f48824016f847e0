"""Whether a whole schedule is one: every rule of the memory model, the outputs, a budget."""

from __future__ import annotations

from collections.abc import Iterable

from schedule.errors import OutputNotLive, OverBudget, OverCapacity
from schedule.graph import Graph
from schedule.levels import Level
from schedule.memory import Trace, simulate
from schedule.sizes import format_short, parse_budget, with_exact
from schedule.steps import AnySchedule, in_words


def verify(
    graph: Graph,
    schedule: AnySchedule,
    budget: int | str | None = None,
    levels: Iterable[Level] | Level | None = None,
) -> Trace:
    """Check a whole schedule by the rules of the memory model.

    Parameters
    ----------
    graph
        The graph.
    schedule
        What `schedule.solve` or `schedule.read_schedule` returned, a
        `Schedule`, steps, or codes. What says for which graph it is has to be
        for this one.
    budget
        Memory that the peak must not exceed, as for `schedule.solve`: an integer,
        a size, a share; None: no limit.
    levels
        As for `schedule.simulate`; each must not hold more than its capacity.

    Returns
    -------
    Trace
        What the schedule does to memory.

    Raises
    ------
    WrongGraph
        The schedule was made for another graph.
    BadInput
        A result without a schedule, or nothing that stands for one; a budget that is none.
    InvalidSchedule
        The first rule broken, as its subclass, naming the step.

    Examples
    --------
    >>> import schedule
    >>> graph = schedule.example("chain")
    >>> plan = schedule.solve(graph, "50%")
    >>> schedule.verify(graph, plan, "50%").peak == plan.peak
    True
    """
    limit = None if budget is None else parse_budget(budget, graph)
    trace = simulate(graph, schedule, levels)
    live = trace.live_before(len(trace.codes))
    for name in graph.outputs:
        if not live[graph.layout.tensor_id[name]]:
            raise OutputNotLive(f"output {name!r} is not live after the last step")
    if limit is not None and trace.peak > limit:
        at = trace.peak_step
        asked, used, more = format_short(limit, trace.peak, trace.peak - limit)
        raise OverBudget(
            f"{in_words(graph, trace.codes, at)} has {with_exact(used, trace.peak)} in use,"
            f" {more} more than the budget {asked}",
            at,
        )
    for level, used, peak in zip(trace.levels, trace.below, trace.peaks_below):
        if peak > level.capacity:
            at = int(used.argmax())
            asked, held, more = format_short(level.capacity, peak, peak - level.capacity)
            raise OverCapacity(
                f"{in_words(graph, trace.codes, at)} has {with_exact(held, peak)} in use on"
                f" {level.name!r}, {more} more than its capacity {asked}",
                at,
            )
    return trace
