"""Budgets and sizes as people write them."""

from __future__ import annotations

import operator
import re
from fractions import Fraction

from schedule.errors import BadBudget
from schedule.graph import Graph
from schedule.lowering import in_order
from schedule.values import LARGEST_MEMORY, shown

_UNITS = {"b": 1}
_UNITS |= {f"{prefix}b": 1000**power for power, prefix in enumerate("kmgtp", start=1)}
_UNITS |= {f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgtp", start=1)}
_FORM = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*(%|[A-Za-z]*)")
_HINT = "give an integer, a size (512MiB, 2GB) or a share of the unplanned peak (80%)"


def parse_budget(budget: int | str, graph: Graph) -> int:
    """The budget in the graph's unit.

    Parameters
    ----------
    budget
        An integer ≥ 0, or text: an integer, a size (`512MiB`, `2GB`), or a
        share (`80%`) of the peak that the graph has in its own order with
        nothing recomputed. Sizes and shares are rounded down.

    Raises
    ------
    BadBudget
        Anything else.

    Examples
    --------
    >>> from schedule import GraphBuilder, parse_budget
    >>> g = GraphBuilder()
    >>> _ = g.node("a", memory=1000)
    >>> parse_budget("2KiB", g.build()), parse_budget("66.6%", g.build())
    (2048, 666)
    """
    if isinstance(budget, str):
        return _parse_text(budget, graph)
    if isinstance(budget, bool) or not hasattr(budget, "__index__"):
        raise BadBudget(f"budget {shown(budget)} is no amount of memory: {_HINT}")
    amount = operator.index(budget)
    if amount < 0:
        raise BadBudget(f"budget {shown(amount)} is negative: {_HINT}")
    if amount >= LARGEST_MEMORY:
        raise BadBudget(f"budget {shown(amount)} is too large: budgets stay below 2**61")
    return amount


def _parse_text(text: str, graph: Graph) -> int:
    match = _FORM.fullmatch(text.strip())
    if not match:
        raise BadBudget(f"budget {shown(text)} is no amount of memory: {_HINT}")
    number, unit = Fraction(match[1]), match[2].lower()
    if unit == "%":
        return parse_budget(int(number * in_order(graph).peak / 100), graph)
    if not unit:
        if number.denominator != 1:
            raise BadBudget(f"budget {shown(text)} is not a whole number of units: {_HINT}")
        return parse_budget(int(number), graph)
    if unit not in _UNITS:
        raise BadBudget(f"budget {shown(text)}: {match[2]!r} is no unit of memory: {_HINT}")
    return parse_budget(int(number * _UNITS[unit]), graph)


def format_memory(amount: int) -> str:
    """A size for people: whole units below a million, else MiB, GiB or TiB.

    Examples
    --------
    >>> from schedule.budget import format_memory
    >>> format_memory(46319), format_memory(2126008812)
    ('46319', '1.98 GiB')
    """
    if abs(amount) < 10**6:
        return str(amount)
    value, unit = amount / 2**20, "MiB"
    for larger in ("GiB", "TiB", "PiB"):
        if abs(value) < 1024:
            break
        value, unit = value / 1024, larger
    return f"{value:.4g} {unit}" if abs(value) < 1000 else f"{value:.0f} {unit}"
