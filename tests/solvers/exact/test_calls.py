"""Calls into C++: who waits for one gets away, and what is left behind says nothing any more."""

from __future__ import annotations

import _thread
import threading

import pytest

from schedule.solvers.contract import Deadline
from schedule.solvers.exact.calls import Call
from tests.hanging import ends


class Endless:
    """A stand-in for C++ that never looks up, until a test is over."""

    def __init__(self, begin=lambda: None):
        self.begin, self.began, self.over = begin, threading.Event(), threading.Event()
        self.stops = self.leaves = 0

    def run(self):
        self.began.set()
        self.begin()
        assert self.over.wait(300)

    def stop(self):
        self.stops += 1

    def leave(self):
        self.leaves += 1

    def mute(self):
        """Nothing."""


@pytest.fixture
def endless():
    """Until the test ends."""
    work = Endless()
    yield work
    work.over.set()


def test_what_does_not_end_is_left_behind_at_the_deadline(endless):
    """It was told more than once, and then left: None is the answer."""
    call = Call()
    assert ends(lambda: call.answer(endless, Deadline.after(0.1))) is None
    assert call.left
    assert endless.stops > 1
    assert endless.leaves == 1


def test_what_does_not_end_is_left_behind_at_ctrl_c(endless):
    """Though there are hours left."""
    endless.begin = _thread.interrupt_main
    call = Call()
    with pytest.raises(KeyboardInterrupt):
        call.answer(endless, Deadline.after(3600))
    assert call.left
    assert endless.leaves == 1


def test_what_ends_when_it_is_told_is_not_left_behind(endless):
    """Its answer counts, late as it is."""
    endless.stop = endless.over.set
    call = Call()
    ends(lambda: call.answer(endless, Deadline.after(0.1)))
    assert not call.left
    assert endless.leaves == 0


def test_what_is_left_behind_reports_nothing(endless):
    """Whatever it finds later."""
    call, heard = Call(), []
    endless.begin = lambda: call.reports(lambda: heard.append("in time"))
    ends(lambda: call.answer(endless, Deadline.after(0.1)))
    call.reports(lambda: heard.append("late"))
    assert heard == ["in time"]


def test_what_a_report_raises_ends_the_call(endless):
    """With that exception, from who waits; and nothing more is reported."""
    call, heard = Call(), []

    def report():
        raise ValueError("not so")

    def begin():
        call.reports(report)
        call.reports(lambda: heard.append("after it"))

    endless.begin = begin
    with pytest.raises(ValueError, match="not so"):
        ends(lambda: call.answer(endless, Deadline.after(3600)))
    assert heard == []


def test_a_call_whose_thread_can_not_start_is_none(endless, monkeypatch):
    """Nor is it one that is waited for."""

    def start(self):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", start)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        Call().answer(endless, Deadline.after(3600))
    assert not endless.began.is_set()
