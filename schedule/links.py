"""Hosts and links as people write them."""

from __future__ import annotations

import re

from schedule.errors import BadBudget, BadOption
from schedule.levels import Level
from schedule.sizes import parse_memory
from schedule.values import number, shown

#: Nanoseconds: with a unit of time, compute is taken to be in these.
_TIMES = {"ns": 1, "us": 1e3, "µs": 1e3, "ms": 1e6, "s": 1e9}
_LATENCY = re.compile(r"([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]{1,2})?)\s*(ns|us|µs|ms|s)?")
#: Bits per second, as networks have them, or somebody's bytes.
_BITS = re.compile(r"[kmgtKMGT]i?b/s\s*$")
_HINT = (
    "give memory per unit of compute (25.0), or memory per second where compute is in"
    " nanoseconds (25GB/s), and after a comma what each copy takes beside that (25GB/s,10us)"
)


def host(capacity: int | str, link: float | str, name: str = "host") -> Level:
    """A level of memory, as text says it: what is below the device, for `levels`.

    Parameters
    ----------
    capacity
        An integer in the graph's unit, or a size (`64GiB`).
    link
        Its bandwidth in both directions: a number is memory per unit of compute; with
        `/s` (`25GB/s`) it is bytes per second, and compute is taken to be in
        nanoseconds (`25Gb/s` is refused: it may be bits). After a comma the latency of a
        copy, in units of compute or with a unit of time (`25GB/s,10us`).
    name
        What it is called.

    Raises
    ------
    BadInput
        It is something else; the message says what it may be.

    Examples
    --------
    >>> import schedule
    >>> schedule.host("64GiB", "25GB/s,10us")
    Level(name='host', capacity=68719476736, down=25.0, up=25.0, latency=10000)
    """
    rate, _, latency = (link if isinstance(link, str) else "").partition(",")
    if _BITS.search(rate):
        raise BadOption(
            f"link {shown(link)}: bits or bytes? Give bytes, 8 bits each, as {rate.strip()[:-3]}B/s"
        )
    bandwidth = _rate(rate) if isinstance(link, str) else number(link)
    if bandwidth is None or not bandwidth > 0:
        raise BadOption(f"link {shown(link)} is no speed above 0: {_HINT}{_meant(rate.strip())}")
    return Level(
        name,
        parse_memory(capacity, f"the capacity of {name}"),
        bandwidth,
        bandwidth,
        _latency(latency.strip(), link) if latency else 0,
    )


def _rate(text: str) -> int | float | None:
    """Memory per unit of compute; None: it is none."""
    size, slash, unit = text.strip().partition("/")
    if slash:
        try:
            return parse_memory(size.strip(), "link") / 1e9 if unit.strip() == "s" else None
        except BadBudget:
            return None
    try:
        return float(size)
    except ValueError:
        return None


def _meant(rate: str) -> str:
    """What speed a size without a time may have been meant to be: 25GB/s for 25GB."""
    meant = rate if rate.lower().endswith("/s") else f"{rate}/s"
    return f"; did you mean {meant[:-1]}s?" if _rate(meant[:-1] + "s") else ""


def _latency(text: str, link: object) -> int | float:
    match = _LATENCY.fullmatch(text)
    if match is None:
        raise BadOption(f"link {shown(link)}: {text!r} is no latency: {_HINT}")
    found = number(float(match[1]) * _TIMES[match[2] or "ns"])
    return 0 if found is None else found
