"""Budgets and sizes as people write them, and figures as people read them."""

from __future__ import annotations

import re
from fractions import Fraction

from schedule.errors import BadBudget
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
    if isinstance(budget, str):
        match = _FORM.fullmatch(budget.strip())
        if match and match[2] == "%":
            share = Fraction(match[1]) * in_order(graph).peak / 100
            return parse_memory(int(share), "budget", _HINT)
    return parse_memory(budget, "budget", _HINT + _meant(budget))


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

    Examples
    --------
    >>> from schedule.sizes import share_meant
    >>> share_meant(60, 10**9), share_meant(60, 99)
    ('; did you mean 60%?', '')
    """
    return f"; did you mean {budget}%?" if 0 < budget <= 100 < needed else ""


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


def format_memory(amount: int) -> str:
    """A size for people: whole units below a million, else MiB, GiB or TiB.

    Examples
    --------
    >>> from schedule.sizes import format_memory
    >>> format_memory(46319), format_memory(2126008812)
    ('46319', '1.98 GiB')
    """
    return format_memories(amount)[0]


def format_memories(*amounts: int) -> list[str]:
    """Sizes of one message or column, all in one unit: the largest in which none is too small.

    Examples
    --------
    >>> from schedule.sizes import format_memories
    >>> format_memories(900 * 2**20, 2**31), format_memories(60, 2**31)
    (['0.8789 GiB', '2 GiB'], ['60', '2147483648'])
    """
    given = [abs(amount) for amount in amounts if amount]
    largest, least = max(given, default=0), min(given, default=0)
    for power, unit in ((5, "PiB"), (4, "TiB"), (3, "GiB"), (2, "MiB")):
        scale = 1024**power
        fits = largest >= (scale if power > 2 else 10**6)
        if fits and 100 * least >= scale:  # then it isn't 0.00 of them
            return [f"{_digits(amount / scale)} {unit}" for amount in amounts]
    return [str(amount) for amount in amounts]


def _digits(value: float) -> str:
    """Four digits, or more where that many stand before the point."""
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def format_compute(compute: int | float) -> str:
    """A compute for people: four digits where it is a million or more.

    Examples
    --------
    >>> from schedule.sizes import format_compute
    >>> format_compute(94655), format_compute(94655055), format_compute(0.1 + 0.2)
    ('94655', '94.66e6', '0.3')
    """
    if abs(compute) < 10**6:
        return str(compute) if isinstance(compute, int) else f"{compute:.6g}"
    power = (len(f"{abs(compute):.0f}") - 1) // 3 * 3
    return f"{_digits(compute / 10**power)}e{power}"


def format_share(share: float | None) -> str:
    """An overhead for people, in percent: two decimals, more where these would be zeros.

    Examples
    --------
    >>> from schedule.sizes import format_share
    >>> format_share(0.0737228), format_share(0.00001234), format_share(0.0), format_share(None)
    ('+7.37 %', '+0.001 %', '+0.00 %', '–')
    """
    return "–" if share is None else f"{_rounded(100 * share, '+')} %"


def format_points(gap: float | None) -> str:
    """A gap for people, in percentage points of overhead, as `format_share`."""
    return "–" if gap is None else _rounded(100 * gap)


def _rounded(value: float, sign: str = "") -> str:
    """Two decimals; where both are zeros the first digit that isn't, up to the fourth."""
    if 1e-4 <= abs(value) < 0.005:
        return f"{value:{sign}.1g}"
    return f"{round(value, 2) + 0.0:{sign}.2f}"  # no negative zero
