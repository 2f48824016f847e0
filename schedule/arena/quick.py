"""Packings of a part in one go, without a search: fitted and laid in several orders."""

from __future__ import annotations

from collections.abc import Callable

from schedule.arena.part import Part
from schedule.layout import Ints
from schedule.solvers.contract import Deadline

#: Fits in the order of time: whether backwards, and whether into the tightest gap.
BY_TIME = ((False, True), (False, False), (True, True), (True, False))
#: Powers of the width in the weights of buffers too many to list their pairs, best ones first.
_POWERS = (0.3, 0.2, 0.25, 0.35, 0.1)


def pack(part: Part, height: int, deadline: Deadline) -> None:
    """Fast methods, from what is best most often on, until a packing is within a height."""
    if part.is_crowded:
        _sweep(part, deadline)
        return
    ways: list[tuple[str, Callable[[Ints], Ints | None]]] = [
        ("best fit", lambda order: part.fit(order, True, deadline)),
        ("first fit", lambda order: part.fit(order, False, deadline)),
    ]
    if part.is_free:
        ways.insert(0, ("laid", lambda order: part.lay(order, deadline)))
    for name, order in part.orders().items():
        for way, make in ways:
            if deadline.passed or (part.size is not None and part.size <= height):
                return
            found = make(order)
            if found is not None:
                part.offer(found, f"{way} by {name}")


def _sweep(part: Part, deadline: Deadline) -> None:
    """Fit too many buffers in the order of time, and of time run backwards."""
    if not part.is_free:
        _fit_crowd(part, 0, deadline)
        return
    for backwards, tightest in BY_TIME:
        part.sweep(backwards, tightest, deadline)


def pack_varied(part: Part, turn: int, deadline: Deadline) -> None:
    """Fit a part in another order: what is too large for a search, or has fixed buffers."""
    if part.is_crowded:
        _fit_crowd(part, turn, deadline)
        return
    orders = part.orders()
    order = part.varied(orders[list(orders)[turn // 2 % 3]])
    if part.is_free and turn % 2:
        found = part.lay(order, deadline)
    else:
        found = part.fit(order, True, deadline)
    if found is not None:
        part.offer(found, "varied order")


def _fit_crowd(part: Part, turn: int, deadline: Deadline) -> None:
    """Fit too many buffers to list their pairs, by another weight in every turn."""
    power = _POWERS[turn % len(_POWERS)]
    order = part.by_weight(power)
    found = part.fit_crowd(order if turn < len(_POWERS) else part.varied(order), deadline)
    if found is not None:
        part.offer(found, f"first fit by weight, {power}")
