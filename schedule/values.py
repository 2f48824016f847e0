"""Sizes, costs and names: what counts as one, and how a message shows it."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeGuard

from schedule.errors import BadGraph, BadOption

#: Sums of sizes stay below this, so that they fit 64-bit integers.
LARGEST_MEMORY = 2**61
#: Names longer than this are refused: a message has to be able to show them.
LONGEST_NAME = 1000


def total(costs: Iterable[int | float]) -> int | float:
    """Sum of costs: exact for integers, correctly rounded otherwise."""
    costs = list(costs)
    if all(isinstance(cost, int) for cost in costs):
        return sum(costs)
    return math.fsum(costs)


def listed(names: Sequence[str], few: int = 3) -> str:
    """The first few names, and how many more there are."""
    first = ", ".join(repr(name) for name in names[:few])
    return first if len(names) <= few else f"{first} and {len(names) - few} more"


def meant(name: object, known: Iterable[str]) -> str:
    """What a name that nobody knows may have been meant to be, for the end of a message.

    Examples
    --------
    >>> from schedule.values import meant
    >>> meant("greddy", ["dtr", "greedy"]), meant("xyz", ["dtr", "greedy"])
    ("; did you mean 'greedy'?", '')
    """
    from difflib import get_close_matches

    close = get_close_matches(name.lower(), known, 1) if isinstance(name, str) else []
    return f"; did you mean {close[0]!r}?" if close else ""


#: Whether messages are about a file, and say null and true as JSON does.
_JSON = ContextVar("JSON's words", default=False)


@contextmanager
def in_json() -> Iterator[None]:
    """Inside, messages show values in JSON's words: they come from a file, not from Python."""
    token = _JSON.set(True)
    try:
        yield
    finally:
        _JSON.reset(token)


def is_listed(value: object) -> TypeGuard[Iterable[Any]]:
    """Whether it is several things in an order: a set has another one in every process."""
    if isinstance(value, (str, set, frozenset)) or getattr(value, "ndim", 1) == 0:
        return False
    return isinstance(value, Iterable)


def is_one_of(value: object, names: Iterable[str]) -> bool:
    """Whether it is one of some names; an array, which equals each part by part, is none."""
    return isinstance(value, str) and value in names


def shown(value: object) -> str:
    """`value` as a message can show it: its repr, cut where it is long; see `in_json`."""
    if isinstance(value, int) and value.bit_length() > 1000:  # Python itself may refuse to print it
        return f"an integer of {value.bit_length()} bits"
    if _kind(value) in set("biuf") and not getattr(value, "shape", ()):
        value = value.item()  # type: ignore[attr-defined]  # NumPy's scalars print their type, too
    simple = isinstance(value, (str, bytes, int, float)) and not isinstance(value, bool)
    text = repr(value) if simple else _briefly(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


def _briefly(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value] if _JSON.get() else repr(value)
    if isinstance(value, dict):
        return "an object" if _JSON.get() else "a dict"
    if isinstance(value, tuple) and not _JSON.get():
        return "a tuple"
    if isinstance(value, (list, tuple)):
        return "a list"
    return " ".join(repr(value).split())  # some objects print on several lines


def _kind(value: object) -> str:
    """The letter by which NumPy knows the type of its own scalars and arrays; empty for others."""
    kind: str = getattr(getattr(value, "dtype", None), "kind", "")
    return kind


def integer(value: Any) -> int | None:
    """`value` as Python's integer, NumPy's too; None: it is none, as booleans and 2.0 aren't."""
    if isinstance(value, bool):
        return None
    try:
        return operator.index(value)
    except TypeError:  # arrays of several have the method, too
        return None


def number(value: Any) -> int | float | None:
    """`value` as Python's number, an int where it is whole; None: it is none.

    It may be NaN or infinite. Whatever converts to a float is a number, except
    for text, truth values, complex numbers and arrays of several.
    """
    whole = integer(value)
    if whole is not None or isinstance(value, (bool, str, bytes, bytearray)):
        return whole
    if _kind(value) not in "iuf":  # also in "", where it isn't NumPy's
        return None
    try:
        found = float(value)
    except (TypeError, ValueError, OverflowError, RuntimeError):  # the last is torch's
        return None
    whole = int(value) if found.is_integer() else None
    return found if whole is None or whole != value else whole


def as_float(value: object) -> float:
    """A number as a float: infinite where it is too large for one; NaN where it is none."""
    found = number(value)
    try:
        return math.nan if found is None else float(found)
    except OverflowError:
        return math.inf


def size(value: object, what: str) -> int:
    """`value` as a size: an integer ≥ 0 below 2**61, or BadGraph naming `what`."""
    found = value if type(value) is int else number(value)
    if not isinstance(found, int):
        raise BadGraph(f"{what} is {shown(value)}; a size is an integer ≥ 0")
    if found < 0:
        raise BadGraph(f"{what} is {shown(value)}; a size can't be negative")
    if found >= LARGEST_MEMORY:
        raise BadGraph(f"{what} is {shown(value)}; sizes have to stay below 2**61")
    return found


def cost(value: object, what: str) -> int | float:
    """`value` as a cost: a finite number ≥ 0, an int where it is whole."""
    found = value if type(value) is int else number(value)
    if found is None:
        raise BadGraph(f"{what} is {shown(value)}; a cost is a number ≥ 0")
    if isinstance(found, float) and not math.isfinite(found):
        raise BadGraph(f"{what} is {shown(found)}; a cost is a finite number ≥ 0")
    if found < 0:
        raise BadGraph(f"{what} is {shown(value)}; a cost can't be negative")
    if found >= LARGEST_MEMORY:
        raise BadGraph(f"{what} is {shown(value)}; costs have to stay below 2**61")
    return found


def flag(value: object, what: str) -> bool:
    """`value` as True or False, NumPy's too, or BadGraph naming `what`."""
    if value is True or value is False:
        return value
    if _kind(value) == "b" and not getattr(value, "shape", ()):
        return bool(value)
    raise BadGraph(f"{what} is {shown(value)}; it has to be {shown(True)} or {shown(False)}")


def switch(value: object, what: str) -> bool:
    """An option as True or False, NumPy's too, or BadOption naming `what`: "no" is true."""
    try:
        return flag(value, what)
    except BadGraph as error:
        raise BadOption(str(error)) from None


def require_kind(value: object, kind: type, what: str) -> None:
    """BadOption naming `what` unless `value` is one of `kind`."""
    if not isinstance(value, kind):
        raise BadOption(f"{what} is {shown(value)}; it has to be {kind.__name__}(…)")


def name_of(value: object, what: str) -> str:
    """`value` as a name: text, not empty, of at most 1,000 characters."""
    if not isinstance(value, str):
        raise BadGraph(f"{what} is {shown(value)}; a name is text")
    if not value:
        raise BadGraph(f"{what} is empty; a name has at least one character")
    if len(value) > LONGEST_NAME:
        raise BadGraph(
            f"{what} {value[:20]!r}… has {len(value)} characters; a name has at most {LONGEST_NAME}"
        )
    if not value.isascii() and any("\ud800" <= letter <= "\udfff" for letter in value):
        raise BadGraph(f"{what} {value!a} holds half a surrogate pair; names are Unicode text")
    return value
