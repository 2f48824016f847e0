"""Budgets and sizes as people write them."""

from __future__ import annotations

import re
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedule import Graph, GraphBuilder, example, parse_budget, solve
from schedule.bounds import memory_floor
from schedule.errors import BadBudget
from schedule.lowering import in_order
from schedule.sizes import (
    format_enough,
    format_memory,
    parse_memory,
    share_meant,
    share_overlooked,
)
from tests.strategies import graphs


def graph_of(memory: int) -> Graph:
    g = GraphBuilder()
    g.node("a", memory=memory)
    return g.build()


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        (0, 0),
        (123, 123),
        (np.int64(7), 7),
        ("123", 123),
        (" 123 ", 123),
        ("512MiB", 512 * 2**20),
        ("2GB", 2 * 10**9),
        ("2 GiB", 2 * 2**30),
        ("1.5KiB", 1536),
        ("1.0001KB", 1000),
        ("1.9999KB", 1999),
        ("10b", 10),
        ("3tib", 3 * 2**40),
        ("400M", 400 * 10**6),
        ("2Gi", 2 * 2**30),
        ("1e8", 10**8),
        ("1.5e3KB", 1_500_000),
        ("100%", 1000),
        ("66.66%", 666),
        ("150 %", 1500),
        ("0%", 0),
    ],
)
def test_amounts(text, amount):
    """Integers, sizes, and shares of a peak of 1000, rounded down."""
    assert parse_budget(text, graph_of(1000)) == amount


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (-1, "negative"),
        ("-1", "no amount"),
        ("abc", "no amount"),
        ("-5%", "no amount"),
        ("", "no amount"),
        ("1.5", "whole number"),
        ("5 XB", "'XB' is no unit"),
        ("2E", "'E' is no unit"),
        ("1e-9", "not a whole number"),
        ("1e999", "no amount"),
        ("1e99", "too large"),
        ("0.6", "did you mean 60%"),
        (0.6, "did you mean 60%"),
        ("nan", "no amount"),
        ("9" * 5000, "characters"),
        ("9" * 30, "too large"),
        ("99999999PiB", "too large"),
        (2**61, "too large"),
        (True, "no amount"),
        (1.5, "no amount"),
        (None, "no amount"),
        ("²", "no amount"),
    ],
)
def test_what_is_no_budget(text, why):
    """One message that shows the value and what to give instead."""
    with pytest.raises(BadBudget, match=why):
        parse_budget(text, graph_of(1000))


@given(graphs(), st.integers(0, 20000))
def test_shares_are_exact(graph, basis_points):
    """p % of the unplanned peak, rounded down, by exact fractions."""
    text = f"{basis_points // 100}.{basis_points % 100:02d}%"
    want = in_order(graph).peak * Fraction(basis_points, 10000)
    assert parse_budget(text, graph) == want.numerator // want.denominator


@pytest.mark.parametrize(
    ("budget", "needed", "is_meant"),
    [(0, 999, False), (1, 200, True), (60, 6099, False), (60, 6100, True), (101, 10**9, False)],
)
def test_a_budget_too_small_may_lack_its_percent_sign(budget, needed, is_meant):
    """From 1 to 100, where it is less than 1 % of what is needed."""
    assert share_meant(budget, needed) == (f"; did you mean {budget}%?" if is_meant else "")


@given(st.integers(1, 100), st.integers(1, 10**5), st.data())
def test_who_said_80_percent_isnt_asked_about_it(share, peak, data):
    """Nor about any other number of units that is a share of 1 % or more."""
    budget = peak * share // 100
    needed = data.draw(st.integers(budget + 1, max(peak, budget + 1)))
    assert share_meant(budget, needed) == ""


@pytest.mark.parametrize(
    ("budget", "is_meant"), [(17, False), (18, True), ("99", True), (100, False), ("60%", False)]
)
def test_a_budget_that_asks_for_nothing_may_lack_its_percent_sign(budget, is_meant):
    """From the peak of 18 on, which fits as it is, and below 100."""
    said = share_overlooked(budget, graph_of(18))
    assert (f"did you mean {budget}%?" in said) if is_meant else said == ""


def test_no_memory_is_an_amount_too():
    """A budget of 0 is answered, not refused: a graph without memory fits it."""
    assert solve(graph_of(0), 0, "store_all").status == "optimal"
    assert solve(graph_of(1), 0, "store_all").status == "infeasible"


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        (0, "0"),
        (999_999, "999999"),
        (2**20, "1 MiB"),
        (20_975_000, "20 MiB"),
        (2_126_008_812, "1.98 GiB"),
        (1023 * 2**30, "1023 GiB"),
        (2**40, "1 TiB"),
        (-3 * 2**20, "-3 MiB"),
    ],
)
def test_sizes_for_people(amount, text):
    """Plain numbers below a million, then four figures and a unit."""
    assert format_memory(amount) == text


@given(st.integers(1, 2**60), st.integers(1, 2**60))
def test_what_is_said_to_be_enough_is(one, other):
    """Given as a budget as it is printed; and what differs looks different where it has to."""
    small, large = format_enough(min(one, other), max(one, other), apart=True)
    assert parse_memory(small, "budget") >= min(one, other)
    assert parse_memory(large, "budget") >= max(one, other)
    assert (small == large) == (one == other)
    assert parse_memory(format_enough(one)[0], "budget") >= one


def test_a_budget_that_is_too_small_names_one_that_isnt():
    """As it is printed, in one unit."""
    graph = example("unet")
    reason = solve(graph, "20%").shortfall.reason
    said = re.search(
        r"fits ([\d.]+ MiB): at least ([\d.]+ MiB) \((\d+)\) needed.* MiB more", reason
    )
    floor = memory_floor(graph).memory
    assert int(said[3]) == floor <= parse_memory(said[2], "budget")
    assert f"fits {floor - 1}: at least {floor} needed" in solve(graph, floor - 1).shortfall.reason
