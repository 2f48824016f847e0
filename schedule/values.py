"""Sizes, costs and names: what counts as one, and how a message shows it."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Sequence

from schedule.errors import BadGraph

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


def shown(value: object) -> str:
    """`value` as a message can show it: its repr, cut where it is long."""
    if isinstance(value, int) and value.bit_length() > 1000:  # Python itself may refuse to print it
        return f"an integer of {value.bit_length()} bits"
    simple = isinstance(value, (str, bytes, int, float)) and not isinstance(value, bool)
    text = repr(value) if simple else _briefly(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"


def _briefly(value: object) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, (list, tuple)):
        return "a list"
    return " ".join(repr(value).split())  # some objects print on several lines


def size(value: object, what: str) -> int:
    """`value` as a size: an integer ≥ 0 below 2**61, or BadGraph naming `what`."""
    if type(value) is int:
        number = value
    elif isinstance(value, float) and value.is_integer():
        number = int(value)
    else:
        number = _index(value, what)
    if number < 0:
        raise BadGraph(f"{what} is {shown(value)}; a size can't be negative")
    if number >= LARGEST_MEMORY:
        raise BadGraph(f"{what} is {shown(value)}; sizes have to stay below 2**61")
    return number


def _index(value: object, what: str) -> int:
    """The integer behind `value` (NumPy's integers are integers too)."""
    if not isinstance(value, (bool, float)) and hasattr(value, "__index__"):
        return operator.index(value)
    raise BadGraph(f"{what} is {shown(value)}; a size is an integer ≥ 0")


def cost(value: object, what: str) -> int | float:
    """`value` as a cost: a finite number ≥ 0, an int where it is whole."""
    if type(value) is int:
        number: int | float = value
    elif not isinstance(value, (bool, str)) and hasattr(value, "__index__"):
        number = operator.index(value)
    elif not isinstance(value, (bool, str)) and hasattr(value, "__float__"):
        number = float(value)
        if not math.isfinite(number):
            raise BadGraph(f"{what} is {shown(number)}; a cost is a finite number ≥ 0")
        if number.is_integer():
            number = int(number)
    else:
        raise BadGraph(f"{what} is {shown(value)}; a cost is a number ≥ 0")
    if number < 0:
        raise BadGraph(f"{what} is {shown(value)}; a cost can't be negative")
    if number >= LARGEST_MEMORY:
        raise BadGraph(f"{what} is {shown(value)}; costs have to stay below 2**61")
    return number


def flag(value: object, what: str) -> bool:
    """`value` as true or false, or BadGraph naming `what`."""
    if value is True or value is False:
        return value
    raise BadGraph(f"{what} is {shown(value)}; it has to be true or false")


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
