"""Figures as people read them: sizes, computes, shares."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from decimal import Decimal
from fractions import Fraction

#: Of a figure for people.
_DIGITS = 4


def format_memory(amount: int) -> str:
    """A size for people: whole units below a million, else MiB, GiB or TiB.

    Examples
    --------
    >>> from schedule.figures import format_memory
    >>> format_memory(46319), format_memory(2126008812)
    ('46319', '1.98 GiB')
    """
    return format_memories(amount)[0]


def format_memories(*amounts: int) -> list[str]:
    """Sizes of one message or column, all in one unit: the largest in which none is too small.

    Examples
    --------
    >>> from schedule.figures import format_memories
    >>> format_memories(900 * 2**20, 2**31), format_memories(60, 2**31)
    (['0.8789 GiB', '2 GiB'], ['60', '2147483648'])
    """
    return _in_one_unit(amounts, [round] * len(amounts))


def format_enough(*amounts: int, apart: bool = False) -> list[str]:
    """The same rounded up, so that each is enough as it is printed.

    `apart`: with as many digits as tell different ones apart.

    Examples
    --------
    >>> from schedule.figures import format_enough
    >>> format_enough(17550276), format_enough(17550275, 17550276, apart=True)
    (['16.74 MiB'], ['16.737247 MiB', '16.737248 MiB'])
    """
    return _apart(amounts, [math.ceil] * len(amounts), apart)


def format_reached(amounts: Sequence[int], fit: Sequence[bool]) -> list[str]:
    """Sizes of one column: those that fit to the nearest, others rounded up, to be enough.

    Examples
    --------
    >>> from schedule.figures import format_reached
    >>> format_reached([32505860, 44040196], [True, False])
    ['31 MiB', '42.01 MiB']
    """
    return _in_one_unit(amounts, [round if fits else math.ceil for fits in fit])


def format_short(budget: int, *enough: int) -> list[str]:
    """A budget to the nearest, and beside it what is more, rounded up and apart from it.

    Examples
    --------
    >>> from schedule.figures import format_short
    >>> format_short(16770530, 17550276), format_short(17545000, 17550276)
    (['15.99 MiB', '16.74 MiB'], ['16.73 MiB', '16.74 MiB'])
    >>> format_short(20124636, 20124636)
    ['19.19 MiB', '19.2 MiB']
    """
    return _apart((budget, *enough), [round, *[math.ceil] * len(enough)], True)


def _apart(
    amounts: Sequence[int], roundings: Sequence[Callable[[Fraction], int]], apart: bool
) -> list[str]:
    digits = _DIGITS
    while True:
        found = _in_one_unit(amounts, roundings, digits)
        # Equal ones may look different: one to the nearest, the other rounded up.
        if not apart or len(set(found)) >= len(set(amounts)):
            return found
        digits += 1


def with_exact(text: str, amount: int) -> str:
    """A size that was rounded, and beside it what it is.

    Examples
    --------
    >>> from schedule.figures import with_exact
    >>> with_exact("16.74 MiB", 17550276), with_exact("9", 9)
    ('16.74 MiB (17550276)', '9')
    """
    return text if text == str(amount) else f"{text} ({amount})"


def _in_one_unit(
    amounts: Sequence[int], roundings: Sequence[Callable[[Fraction], int]], digits: int = _DIGITS
) -> list[str]:
    given = [abs(amount) for amount in amounts if amount]
    largest, least = max(given, default=0), min(given, default=0)
    for power, unit in ((5, "PiB"), (4, "TiB"), (3, "GiB"), (2, "MiB")):
        scale = 1024**power
        fits = largest >= (scale if power > 2 else 10**6)
        if fits and 100 * least >= scale:  # then it isn't 0.00 of them
            return [
                f"{_rounded_to(Fraction(amount, scale), digits, rounding)} {unit}"
                for amount, rounding in zip(amounts, roundings)
            ]
    return [str(amount) for amount in amounts]


def _rounded_to(value: Fraction, digits: int, rounding: Callable[[Fraction], int]) -> str:
    """So many digits, or more where that many stand before the point."""
    if not value:
        return "0"
    decimals = max(0, digits - 1 - math.floor(math.log10(abs(value))))
    return format(Decimal(rounding(value * 10**decimals)).scaleb(-decimals).normalize(), "f")


def _digits(value: float) -> str:
    """Four digits, or more where that many stand before the point."""
    return f"{value:.4g}" if abs(value) < 1000 else f"{value:.0f}"


def format_compute(compute: int | float) -> str:
    """A compute for people: four digits where it is a million or more.

    Examples
    --------
    >>> from schedule.figures import format_compute
    >>> format_compute(94655), format_compute(94655055), format_compute(0.1 + 0.2)
    ('94655', '94.66e6', '0.3')
    """
    if abs(compute) < 10**6:
        return str(compute) if isinstance(compute, int) else f"{compute:.6g}"
    power = (len(f"{abs(compute):.0f}") - 1) // 3 * 3
    return f"{_digits(compute / 10**power)}e{power}"


def format_computes(*computes: int | float) -> list[str]:
    """Computes of one column, all with one power of ten: the largest in which none is too small.

    Examples
    --------
    >>> from schedule.figures import format_computes
    >>> format_computes(10737418, 838861), format_computes(94655060, 5)
    (['10.74e6', '0.8389e6'], ['94655060', '5'])
    """
    given = [abs(compute) for compute in computes if compute]
    power = (len(f"{max(given, default=0):.0f}") - 1) // 3 * 3
    while power >= 6:
        if 100 * min(given) >= 10**power:
            scaled = (Fraction(compute) / 10**power for compute in computes)
            return [
                f"{_rounded_to(value, _DIGITS, round)}e{power}" if value else "0"
                for value in scaled
            ]
        power -= 3
    return [f"{c:.6g}" if isinstance(c, float) else str(c) for c in computes]


def format_share(share: float | None) -> str:
    """An overhead for people, in percent: two decimals, more where these would be zeros.

    Examples
    --------
    >>> from schedule.figures import format_share
    >>> format_share(0.0737228), format_share(0.00001234), format_share(0.0), format_share(None)
    ('+7.37 %', '+0.001 %', '+0.00 %', '–')
    """
    return "–" if share is None else f"{_rounded(100 * share, '+')} %"


def format_points(gap: float | None) -> str:
    """A gap for people, in percentage points of overhead, as `format_share`."""
    return "–" if gap is None else _rounded(100 * gap)


def format_seconds(seconds: float) -> str:
    """How long something took, for people: two digits, not below a millisecond.

    Examples
    --------
    >>> from schedule.figures import format_seconds
    >>> format_seconds(240.3), format_seconds(1.56), format_seconds(0.0213), format_seconds(4e-5)
    ('240 s', '1.6 s', '0.021 s', '0.001 s')
    """
    return f"{seconds:.0f} s" if seconds >= 9.95 else f"{max(seconds, 0.001):.2g} s"


def format_reruns(count: int) -> str:
    """How many runs a schedule has beyond the first of each node.

    Examples
    --------
    >>> from schedule.figures import format_reruns
    >>> format_reruns(1), format_reruns(2)
    ('1 run beyond the first', '2 runs beyond the first')
    """
    return f"{count} run{'' if count == 1 else 's'} beyond the first"


def _rounded(value: float, sign: str = "") -> str:
    """Two decimals; where both are zeros the first digit that isn't, up to the fourth."""
    if 1e-4 <= abs(value) < 0.005:
        return f"{value:{sign}.1g}"
    return f"{round(value, 2) + 0.0:{sign}.2f}"  # no negative zero
