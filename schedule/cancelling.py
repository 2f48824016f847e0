"""Work that the caller can call off: it goes on in a thread that may be left behind."""

from __future__ import annotations

import threading
from collections.abc import Callable

from schedule.log import LOG
from schedule.options import Cancel

#: How often it is looked whether the work is called off, and how long a solver is given to
#: notice that, in seconds.
_BEAT, _PATIENCE = 0.05, 0.7


def is_cancelled(cancel: Cancel) -> bool:
    """Whether the caller wants no more."""
    return bool(cancel() if callable(cancel) else cancel.is_set())


def cancelled(work: Callable[[], None], cancel: Cancel | None, told: threading.Event) -> bool:
    """Do some work in a thread of its own, until it is called off; whether it was.

    Where nobody can call it off, it is done here.

    The caller's own thread looks twenty times a second, so that `cancel` is called in no
    other one, and whatever the work is busy with. Once called off, or after Ctrl-C, `told`
    is set, and what doesn't end by that within a fraction of a second is left behind.

    Raises
    ------
    BaseException
        What the work raises, and what `cancel` does.
    """
    if cancel is None:
        work()
        return False
    errors: list[BaseException] = []
    done = threading.Event()

    def go() -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised again by who waits
            errors.append(error)
        finally:
            done.set()

    if is_cancelled(cancel):
        return True
    threading.Thread(target=go, name="schedule.solve", daemon=True).start()
    found = False
    try:
        while not done.wait(_BEAT):
            if is_cancelled(cancel):
                found = True
                LOG.info("cancelled")
                break
    finally:
        told.set()
        if not done.wait(_PATIENCE):
            LOG.info("the solver doesn't end: it is left behind")
    if errors:
        raise errors[0]
    return found
