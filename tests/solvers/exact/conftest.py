"""What tests of calls into C++ need."""

from __future__ import annotations

import signal

import pytest


@pytest.fixture(autouse=True)
def _ctrl_c_is_heard():
    """Also where tests run in a shell's background, in which it is ignored."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)
