"""Whether a whole schedule is one: every rule of the memory model, the outputs, a budget."""

from __future__ import annotations

from schedule.errors import OutputNotLive, OverBudget
from schedule.graph import Graph
from schedule.memory import Trace, simulate, step_in_words
from schedule.sizes import parse_budget
from schedule.steps import AnySchedule


def verify(graph: Graph, schedule: AnySchedule, budget: int | str | None = None) -> Trace:
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
    trace = simulate(graph, schedule)
    live = trace.live_before(len(trace.codes))
    for name in graph.outputs:
        if not live[graph.layout.tensor_id[name]]:
            raise OutputNotLive(f"output {name!r} is not live after the last step")
    if limit is not None and trace.peak > limit:
        at = trace.peak_step
        raise OverBudget(
            f"{step_in_words(graph, trace.codes, at)} has {trace.peak} in use,"
            f" {trace.peak - limit} more than the budget {limit}",
            at,
        )
    return trace
