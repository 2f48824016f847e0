"""Graphs to try things on: small enough to replay for real, and as large as is asked for.

Sizes of the networks are bytes of float32 arrays, their computes nanoseconds on a
machine that does 100 operations and moves 10 bytes in each; `montage` has kilobytes
and milliseconds; `chain`, `diamonds` and `layered` count in units.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable

from schedule.errors import BadOption
from schedule.examples.layered import layered
from schedule.examples.networks import mlp, resnet, transformer, unet
from schedule.examples.units import chain, diamonds
from schedule.examples.workflows import montage
from schedule.graph import Graph
from schedule.values import integer, meant, shown


def example(name: str, **sizes: int) -> Graph:
    """One of the graphs of `EXAMPLES`, the same at every call.

    Parameters
    ----------
    name
        Its name.
    sizes
        How large to make it: the keyword arguments of the function of that
        name in this package; integers ≥ 1.

    Raises
    ------
    BadOption
        There is no such example, it has no such size, a size isn't an
        integer ≥ 1, or the example can't have that size.

    Examples
    --------
    >>> import schedule
    >>> len(schedule.example("chain", layers=8))
    17
    """
    if not isinstance(name, str) or name not in EXAMPLES:
        raise BadOption(
            f"no example is called {shown(name)}; there are {', '.join(EXAMPLES)}"
            f"{meant(name, EXAMPLES)}"
        )
    make = _MAKERS[name]
    known = inspect.signature(make).parameters
    plain = {}
    for key, value in sizes.items():
        if key not in known:
            raise BadOption(f"example {name!r} has no size {key!r}; it has {', '.join(known)}")
        whole = integer(value)
        if whole is None or whole < 1:
            raise BadOption(f"example {name!r}: {key} is {shown(value)}; it is an integer ≥ 1")
        plain[key] = whole
    return make(**plain)


_MAKERS: dict[str, Callable[..., Graph]] = {
    "chain": chain,
    "diamonds": diamonds,
    "layered": layered,
    "mlp": mlp,
    "resnet": resnet,
    "unet": unet,
    "transformer": transformer,
    "montage": montage,
}
#: What `example` can make: name and summary.
EXAMPLES: dict[str, str] = {
    name: (make.__doc__ or "").partition("\n")[0] for name, make in _MAKERS.items()
}
