"""Budgets and sizes as people write them."""

from __future__ import annotations

import re
from fractions import Fraction

from schedule.errors import BadBudget
from schedule.graph import Graph, require_graph
from schedule.lowering import in_order
from schedule.values import LARGEST_MEMORY, integer, shown

_UNITS = {"b": 1}
_UNITS |= {f"{prefix}b": 1000**power for power, prefix in enumerate("kmgtp", start=1)}
_UNITS |= {f"{prefix}ib": 1024**power for power, prefix in enumerate("kmgtp", start=1)}
_FORM = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,30})?)\s*(%|[A-Za-z]*)")
_HINT = "give an integer, a size (512MiB, 2GB) or a share of the unplanned peak (80%)"
_SIZES = "give an integer or a size (512MiB, 2GB)"


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
    require_graph(graph)
    if isinstance(budget, str):
        match = _FORM.fullmatch(budget.strip())
        if match and match[2] == "%":
            share = Fraction(match[1]) * in_order(graph).peak / 100
            return parse_memory(int(share), "budget", _HINT)
    return parse_memory(budget, "budget", _HINT)


def parse_memory(amount: int | str, what: str, hint: str = _SIZES) -> int:
    """An amount of memory: an integer ≥ 0, or text, such as `512MiB`, rounded down.

    Raises
    ------
    BadBudget
        Anything else; the message begins with `what`.
    """
    if isinstance(amount, str):
        return _parse_text(amount, what, hint)
    number = integer(amount)
    if number is None:
        raise BadBudget(f"{what} {shown(amount)} is no amount of memory: {hint}")
    if number < 0:
        raise BadBudget(f"{what} {shown(number)} is negative: {hint}")
    if number >= LARGEST_MEMORY:
        raise BadBudget(f"{what} {shown(number)} is too large: it has to stay below 2**61")
    return number


def _parse_text(text: str, what: str, hint: str) -> int:
    match = _FORM.fullmatch(text.strip())
    if not match or match[2] == "%":
        raise BadBudget(f"{what} {shown(text)} is no amount of memory: {hint}")
    number, unit = Fraction(match[1]), match[2].lower()
    if unit and unit not in _UNITS:
        raise BadBudget(f"{what} {shown(text)}: {match[2]!r} is no unit of memory: {hint}")
    if not unit and number.denominator != 1:
        raise BadBudget(f"{what} {shown(text)} is not a whole number of units: {hint}")
    return parse_memory(int(number * _UNITS.get(unit, 1)), what, hint)


def format_memory(amount: int) -> str:
    """A size for people: whole units below a million, else MiB, GiB or TiB.

    Examples
    --------
    >>> from schedule.sizes import format_memory
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
