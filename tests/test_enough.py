"""Checks that check nothing are noticed."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from tests.enough import enough, reached

few = settings(max_examples=20, database=None, derandomize=True)


def of_ten(most, *, share=0.0, times=1, turn_down=False):
    """A test of numbers from 0 to 9 that checks something of those up to `most`."""

    @enough(share=share, times=times)
    @few
    @given(st.integers(0, 9))
    def test(number):
        if turn_down:
            assume(number <= most)
        if number <= most:
            reached()
            reached()  # one example, all the same

    return test


@pytest.mark.parametrize("turn_down", [False, True])
def test_a_share_of_all_that_is_tried(turn_down):
    """What is turned down counts as tried."""
    of_ten(9, share=1.0, turn_down=turn_down)()
    of_ten(4, share=0.2, turn_down=turn_down)()
    with pytest.raises(AssertionError, match=r"only \d+ of \d+ examples checked something"):
        of_ten(4, share=0.99, turn_down=turn_down)()


def test_nothing_is_never_enough():
    with pytest.raises(AssertionError, match="something was checked 0 times, not 1"):
        of_ten(-1)()


def test_turns_of_a_loop_count_from_zero_in_every_run():
    """Without Hypothesis."""

    @enough(times=3)
    def loop(turns):
        for _ in range(turns):
            reached()

    loop(3)
    with pytest.raises(AssertionError, match="checked 2 times, not 3"):
        loop(2)


def test_a_failure_is_the_tests_own():
    @enough(times=3)
    def fails():
        raise ZeroDivisionError("its own")

    with pytest.raises(ZeroDivisionError, match="its own"):
        fails()
