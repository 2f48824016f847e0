"""Pictures of an arena: every allocation is drawn where it lies, and nothing else."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

import schedule
from schedule.errors import BadAddresses, BadOption
from schedule.report.arena import arena_section, blocks_of
from schedule.report.page import page
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED


@pytest.fixture(scope="module")
def placed():
    graph = schedule.example("unet")
    plan = schedule.solve(graph, "70%", solver="greedy")
    return graph, replace(plan, addresses=schedule.place(graph, plan).addresses)


def test_blocks_fill_what_is_in_use(placed):
    """While a node runs, the blocks there add up to the memory in use."""
    graph, plan = placed
    trace = schedule.verify(graph, plan)
    blocks = list(blocks_of(trace, plan.addresses))
    for step, code in enumerate(trace.codes.tolist()):
        if code >= 0:
            there = sum(block.size for block in blocks if block.start <= step < block.end)
            assert there == trace.during[step]


def test_page_shows_the_arena(placed):
    """One block for each allocation, in a page that is otherwise the same; none without."""
    graph, plan = placed
    trace = schedule.verify(graph, plan)
    section = arena_section(trace, plan.addresses)
    assert len(re.findall("<rect ", section)) == len(plan.addresses.offsets)
    assert section in page(trace, plan)
    assert 'id="arena"' not in page(trace, replace(plan, addresses=None))


def test_picture_needs_right_addresses(placed, tmp_path):
    """It is written; without addresses, or with wrong ones, nothing is."""
    pytest.importorskip("matplotlib")
    graph, plan = placed
    schedule.write_report(graph, plan, tmp_path / "arena.svg", "arena")
    assert (tmp_path / "arena.svg").read_text("utf-8").startswith("<?xml")
    wrong = replace(plan, addresses=replace(plan.addresses, size=1))
    with pytest.raises(BadAddresses, match="the arena ends at 1"):
        schedule.write_report(graph, wrong, tmp_path / "no.svg", "arena")
    with pytest.raises(BadOption, match="no addresses"):
        schedule.write_report(graph, replace(plan, addresses=None), tmp_path / "no.svg", "arena")
    assert not (tmp_path / "no.svg").exists()
