"""Budgets and sizes as people write them."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schedule import Graph, GraphBuilder, parse_budget, solve
from schedule.errors import BadBudget
from schedule.lowering import in_order
from schedule.sizes import format_memory
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
