"""The verifier of addresses: a sweep, against one that looks at every pair."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

import schedule
from schedule.addresses import check_offsets, verify_addresses
from schedule.errors import BadAddresses
from tests.arena.test_placing import buffers, lifetimes, overlaps
from tests.formats import FILES_ARE_CHECKED

pytestmark = FILES_ARE_CHECKED


@given(buffers(), st.data())
def test_sweep_finds_what_looking_at_every_pair_finds(found, data):
    """Any offsets: refused where two overlap, one leaves the arena, or isn't aligned."""
    alignment = data.draw(st.sampled_from([1, 2]))
    size = data.draw(st.integers(0, 30))
    offsets = [data.draw(st.integers(-1, 20)) for _ in range(len(found))]
    taken = [at for at, amount in enumerate(found.size.tolist()) if amount]
    right = not overlaps(found, offsets) and all(
        0 <= offsets[at] <= size - found.size[at] and offsets[at] % alignment == 0 for at in taken
    )
    try:
        check_offsets(found, offsets, size, alignment)
    except BadAddresses:
        assert not right
    else:
        assert right


def test_faults_are_named():
    """Both buffers, where they are, and when."""
    found = lifetimes([(0, 3, 4), (2, 5, 4)])
    with pytest.raises(
        BadAddresses, match=r"'b0' .*0 to 4\) and 'b1' .*3 to 7\) overlap at time 2"
    ):
        check_offsets(found, [0, 3], 10)
    with pytest.raises(BadAddresses, match=r"'b1' .* the arena ends at 7"):
        check_offsets(found, [0, 4], 7)


@pytest.fixture(scope="module")
def placed():
    graph = schedule.example("unet")
    plan = schedule.solve(graph, "70%", solver="greedy")
    arena = schedule.place(graph, plan, alignment=64)
    return graph, replace(plan, addresses=arena.addresses)


def test_addresses_are_kept_in_the_file(placed, tmp_path):
    """Written and read, they are the same, and are verified with the other claims."""
    graph, plan = placed
    plan.save(tmp_path / "plan.json")
    again = schedule.read_schedule(tmp_path / "plan.json", graph)
    assert again.addresses == plan.addresses
    trace = schedule.verify_claims(graph, again)
    assert len(verify_addresses(trace, again.addresses)) == len(plan.addresses.offsets)


def change(addresses, at, entry):
    offsets = list(addresses.offsets)
    offsets[at : at + 1] = entry
    return replace(addresses, offsets=tuple(offsets))


def test_false_addresses_are_refused(placed):
    """One that is missing, of something else, moved onto another, or beyond the arena."""
    graph, plan = placed
    addresses = plan.addresses
    step, name, _ = addresses.offsets[0]
    other = addresses.offsets[1][2]
    beyond = addresses.size + -addresses.size % 64
    roomy = replace(addresses, size=2 * addresses.size)
    for changed, message in (
        (change(addresses, 0, []), "has no address"),
        (change(addresses, 0, [addresses.offsets[0], (10**6, name, 0)]), "isn't allocated"),
        (change(roomy, 0, [(step, name, other)]), "overlap"),
        (
            change(addresses, 0, [(step, name, beyond)]),
            "the arena ends",
        ),
        (replace(addresses, alignment=2**40), "no multiple"),
    ):
        with pytest.raises(BadAddresses, match=message):
            schedule.verify_claims(graph, replace(plan, addresses=changed))


def test_inputs_may_be_outside(placed):
    """Then resident inputs have no address, and the arena is smaller by them at least."""
    graph, plan = placed
    arena = schedule.place(graph, plan, inputs="outside")
    names = {name for step, name, _ in arena.addresses.offsets if step < 0}
    assert names == {item.name for item in graph.inputs if item.freeable and item.memory}
    assert arena.load <= plan.peak - graph.layout.resident_memory
    schedule.verify_claims(graph, replace(plan, addresses=arena.addresses))
