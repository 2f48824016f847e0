"""Hosts and links as text."""

from __future__ import annotations

import pytest

from schedule import Level, host
from schedule.errors import BadInput


@pytest.mark.parametrize(
    ("capacity", "link", "level"),
    [
        ("64GiB", "25GB/s,10us", Level("host", 2**36, 25, 25, 10_000)),
        (100, 2.5, Level("host", 100, 2.5, 2.5)),
        ("100", "2.5", Level("host", 100, 2.5, 2.5)),
        ("1kB", "12.5 GB/s, 3", Level("host", 1000, 12.5, 12.5, 3)),
        ("1kB", "1GiB/s,2.5ms", Level("host", 1000, 2**30 / 1e9, 2**30 / 1e9, 2_500_000)),
        ("1kB", "1e3,1e-1", Level("host", 1000, 1000, 1000, 0.1)),
    ],
)
def test_text_is_a_level(capacity, link, level):
    """A speed per second takes compute as nanoseconds; plain numbers are in the graph's units."""
    assert host(capacity, link) == level


@pytest.mark.parametrize(
    ("capacity", "link", "said"),
    [
        ("much", 1, "the capacity of host 'much' is no amount of memory"),
        (-1, 1, "the capacity of host -1 is negative"),
        (1, 0, "link 0 is no speed above 0: give memory per unit"),
        (1, "0GB/s", "link '0GB/s' is no speed above 0"),
        (1, "25GB", r"link '25GB' is no speed above 0.*; did you mean 25GB/s\?"),
        (1, "25GB/S,1us", r"no speed above 0.*; did you mean 25GB/s\?"),
        (1, "25GB/h", "link '25GB/h' is no speed above 0"),
        (1, "nan", "link 'nan' is no speed above 0"),
        (1, "25Gb/s,1us", "link '25Gb/s,1us': bits or bytes.* as 25GB/s"),
        (1, None, "link None is no speed above 0"),
        (1, "1,fast", "link '1,fast': 'fast' is no latency"),
        (1, "1,-2us", "link '1,-2us': '-2us' is no latency"),
        (1, "inf", "the bandwidth down is inf, which is too large: it has to stay below"),
        (1, "1e30", "the bandwidth down is 1e\\+30, which is too large"),
        (1, "1,1e30", "latency is 1.*, which is too large"),
    ],
)
def test_what_is_no_host_is_refused(capacity, link, said):
    """One message with the value and what it may be."""
    with pytest.raises(BadInput, match=said):
        host(capacity, link)
