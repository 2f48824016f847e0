"""SCHEDULE, the file that several commands read: what it states, and what its steps do."""

from __future__ import annotations

from typing import TYPE_CHECKING

from schedule.cli.shell import NOT, show, show_json
from schedule.errors import InvalidSchedule

if TYPE_CHECKING:
    from schedule.graph import Graph
    from schedule.result import Result


def read_plan(path: str, graph: Graph) -> Result:
    """What the file at `path` states about a schedule of `graph`.

    Raises
    ------
    InvalidSchedule
        It states that there is none.
    """
    from schedule.frontends.files import read_schedule

    stated = read_schedule(path, graph)
    if stated.schedule is None:
        raise InvalidSchedule(f"the file has no schedule: {stated}")
    return stated


def show_fault(error: InvalidSchedule, as_json: bool) -> int:
    """Say why a schedule isn't valid; the exit status."""
    if as_json:
        fault = {"kind": type(error).__name__, "step": error.step, "message": str(error)}
        show_json({"valid": False, "fault": fault})
    else:
        show(f"not valid: {error}")
    return NOT
