"""Tests that end early where nothing is to be seen say how often they saw something."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeVar

#: What happens more seldom is no chance.
_CHANCE = 1e-3

Test = TypeVar("Test", bound=Callable[..., Any])


@dataclass
class _Counts:
    """Of one run of a test."""

    calls: int = 0
    examples: int = 0
    #: Examples with a call in them, and whether there was one in the current example.
    telling: int = 0
    told: bool = True


_counts: ContextVar[_Counts] = ContextVar("counts")


def reached() -> None:
    """Count this example, or this turn of a loop: what follows checks something."""
    counts = _counts.get()
    counts.calls += 1
    counts.telling += not counts.told
    counts.told = True


def enough(share: float = 0.0, *, times: int = 1) -> Callable[[Test], Test]:
    """Fail where `reached` is called too seldom; to be put above Hypothesis's decorators.

    Parameters
    ----------
    share
        Of all examples that are tried, also those that `assume` turns down: it is called in
        this share of them, at least. What is drawn is chance: it fails where so few would
        be seen hardly ever.
    times
        So many calls, at least.
    """

    def checked(test: Test) -> Test:
        handle = getattr(test, "hypothesis", None)
        if handle is not None:
            handle.inner_test = _counted(handle.inner_test)

        @wraps(test)
        def counting(*args: Any, **kwargs: Any) -> None:
            counts = _Counts()
            token = _counts.set(counts)
            try:
                test(*args, **kwargs)
            finally:
                _counts.reset(token)
            found, tried = counts.telling, counts.examples
            assert counts.calls >= times, f"something was checked {counts.calls} times, not {times}"
            is_rare = share > 0 and (not found or _at_most(found, tried, share) < _CHANCE)
            assert not is_rare, f"only {found} of {tried} examples checked something"

        return counting  # type: ignore[return-value]

    return checked


def _at_most(found: int, tried: int, share: float) -> float:
    """The chance of no more than `found` in `tried` examples, each telling with this chance."""
    return sum(
        math.comb(tried, k) * share**k * (1 - share) ** (tried - k) for k in range(found + 1)
    )


def _counted(example: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(example)
    def counted(*args: Any, **kwargs: Any) -> Any:
        counts = _counts.get()
        counts.examples += 1
        counts.told = False
        return example(*args, **kwargs)

    return counted
