"""Budgets and sizes as people write them, and figures as people read them."""

from __future__ import annotations

import re
from fractions import Fraction

from schedule.errors import BadBudget
from schedule.figures import format_compute as format_compute
from schedule.figures import format_computes as format_computes
from schedule.figures import format_enough as format_enough
from schedule.figures import format_memories as format_memories
from schedule.figures import format_memory as format_memory
from schedule.figures import format_points as format_points
from schedule.figures import format_reached as format_reached
from schedule.figures import format_seconds as format_seconds
from schedule.figures import format_share as format_share
from schedule.figures import format_short as format_short
from schedule.figures import with_exact as with_exact
from schedule.graph import Graph, require_graph
from schedule.lowering import in_order
from schedule.values import LARGEST_MEMORY, integer, number, shown

_UNITS = {"b": 1}
for _power, _prefix in enumerate("kmgtp", start=1):
    # Without the B, too, as in Kubernetes: taken for less, a budget is kept all the same.
    _UNITS |= dict.fromkeys((_prefix, f"{_prefix}b"), 1000**_power)
    _UNITS |= dict.fromkeys((f"{_prefix}i", f"{_prefix}ib"), 1024**_power)
_FORM = re.compile(r"([0-9]{1,30}(?:\.[0-9]{1,30})?(?:[eE][+-]?[0-9]{1,2})?)\s*(%|[A-Za-z]*)")
_HINT = "give an integer, a size (512MiB, 2GB) or a share of the unplanned peak (80%)"
_SIZES = "give an integer or a size (512MiB, 2GB)"


def parse_budget(budget: int | str, graph: Graph) -> int:
    """The budget in the graph's unit.

    Parameters
    ----------
    budget
        An integer ≥ 0, or text: an integer, perhaps as `1e9`, a size (`512MiB`,
        `2GB`; `400M` is 400 MB, `400Mi` 400 MiB), or a share (`80%`) of the peak
        that the graph has in its own order with nothing recomputed. Sizes and
        shares are rounded down.

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
    share = share_of(budget)
    if share is not None:
        budget = int(share * in_order(graph).peak)
    return parse_memory(budget, "budget", _HINT + _meant(budget))


def share_of(budget: object) -> Fraction | None:
    """What a budget is a share of something, as a fraction; None: it is none."""
    match = _FORM.fullmatch(budget.strip()) if isinstance(budget, str) else None
    return Fraction(match[1]) / 100 if match and match[2] == "%" else None


def _meant(budget: object) -> str:
    """What share a budget may have been meant to be that is none: 0.6 for 60%."""
    match = _FORM.fullmatch(budget.strip()) if isinstance(budget, str) else None
    if match and not match[2]:
        share: float | Fraction | None = Fraction(match[1])
    else:
        share = None if isinstance(budget, str) else number(budget)
    return f"; did you mean {float(100 * share):g}%?" if share and 0 < share < 1 else ""


def share_meant(budget: int, needed: int) -> str:
    """What to say of a budget that is proved too small: perhaps its percent sign is missing.

    Nothing where it may have been given as a share of 1 % or more, rounded down: no more is
    needed than the program takes as it is.

    Examples
    --------
    >>> from schedule.sizes import share_meant
    >>> share_meant(60, 10**9), share_meant(60, 100)
    ('; did you mean 60%?', '')
    """
    return (
        f"; did you mean {budget}%?" if 0 < budget <= 100 and needed >= 100 * budget + 100 else ""
    )


def share_overlooked(budget: int | str, graph: Graph) -> str:
    """What to say of a budget that asks for nothing: perhaps its percent sign is missing.

    Empty where the program as it is takes more, or where it is no number from 1 to 99.

    Examples
    --------
    >>> from schedule import example
    >>> from schedule.sizes import share_overlooked
    >>> share_overlooked(60, example("chain"))
    '60 units are no less than the peak of 18, so nothing is recomputed; did you mean 60%?'
    """
    text = str(budget).strip()
    peak = in_order(graph).peak
    if not (text.isascii() and text.isdecimal() and 0 < int(text) < 100 and int(text) >= peak):
        return ""
    return (
        f"{text} units are no less than the peak of {peak}, so nothing is recomputed; did you mean"
        f" {text}%?"
    )


def parse_memory(amount: int | str, what: str, hint: str = _SIZES) -> int:
    """An amount of memory: an integer ≥ 0, or text, such as `512MiB`, rounded down.

    Raises
    ------
    BadBudget
        Anything else; the message begins with `what`.
    """
    if isinstance(amount, str):
        return _parse_text(amount, what, hint)
    found = integer(amount)
    if found is None:
        raise BadBudget(f"{what} {shown(amount)} is no amount of memory: {hint}")
    if found < 0:
        raise BadBudget(f"{what} {shown(found)} is negative: {hint}")
    if found >= LARGEST_MEMORY:
        raise BadBudget(f"{what} {shown(found)} is too large: it has to stay below 2**61")
    return found


def _parse_text(text: str, what: str, hint: str) -> int:
    match = _FORM.fullmatch(text.strip())
    if not match or match[2] == "%":
        raise BadBudget(f"{what} {shown(text)} is no amount of memory: {hint}")
    amount, unit = Fraction(match[1]), match[2].lower()
    if unit and unit not in _UNITS:
        raise BadBudget(f"{what} {shown(text)}: {match[2]!r} is no unit of memory: {hint}")
    if not unit and amount.denominator != 1:
        raise BadBudget(f"{what} {shown(text)} is not a whole number of units: {hint}")
    return parse_memory(int(amount * _UNITS.get(unit, 1)), what, hint)
