"""A guard against what doesn't end: a test that waits for it fails, and goes on with the others."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

Found = TypeVar("Found")

#: Seconds after which a call hangs: far more than any test's own time limits, on any machine.
HANGS = 300.0


def ends(call: Callable[[], Found]) -> Found:
    """What a call returns or raises; TimeoutError where it hangs."""
    future: Future[Found] = Future()

    def work() -> None:
        try:
            future.set_result(call())
        except BaseException as error:  # noqa: BLE001 - raised by who waits
            future.set_exception(error)

    Thread(target=work, daemon=True).start()
    return future.result(HANGS)
