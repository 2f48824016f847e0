"""The command `schedule`, also as `python -m schedule`: signals, then all that `schedule.cli` does.

Nothing is imported here that takes time, so that Ctrl-C is heard from the beginning.
"""

from __future__ import annotations

import _thread
import atexit
import os
import signal
import sys
import time
from contextlib import suppress
from types import FrameType
from typing import NoReturn

#: The exit status after Ctrl-C with nothing to show.
_INTERRUPTED = 130
#: How often it is looked whether imports are over, in seconds.
_BEAT = 0.02


class _Interrupts:
    """Makes a `KeyboardInterrupt` of SIGINT, and of SIGTERM, but not inside an import.

    There Python loses it, or a lock of its own, for which everything then waits. So it
    comes when the import is over; a second one in the meantime ends the process. In a
    destructor, or the callback of a weak reference, Python would only note it: so it comes
    once more, after that. When all is said the process only ends, and then either ends it
    at once, with its status.
    """

    def __init__(self) -> None:
        self._waits = False
        self._again: int | None = None  # the signal that is to come once more
        self._status: int | None = None
        self._note = sys.unraisablehook

    def hear(self) -> None:
        """Handle both signals from now on, each unless it is ignored."""
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._handle)
        sys.unraisablehook = self._come_again
        # Python's last act would be to have the system handle them again.
        atexit.register(self._ignore)

    def end_with(self, status: int) -> None:
        """All is said: nothing is left to be interrupted."""
        self._status = status

    def _ignore(self) -> None:
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, signal.SIG_IGN)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self._status is not None:
            os._exit(self._status)
        if again := number == self._again:
            self._again = None
            if not self._waits:  # another one was first
                return
        if not _imports(frame):
            self._waits = False
            raise KeyboardInterrupt
        if self._waits and not again:
            _leave("interrupted")
        self._come_later(number if again else _OTHER[number])

    def _come_again(self, ignored: sys.UnraisableHookArgs) -> None:
        if isinstance(ignored.exc_value, KeyboardInterrupt):
            self._come_later(signal.SIGINT)
        else:
            self._note(ignored)

    def _come_later(self, number: int) -> None:
        """Have it come once more: as the other signal, or a second one might be taken for it."""
        if signal.getsignal(number) is signal.SIG_IGN:
            number = _OTHER[number]
        self._waits = True
        _thread.start_new_thread(self._repeat, (number,))

    def _repeat(self, number: int) -> None:
        time.sleep(_BEAT)
        self._again = number
        if hasattr(signal, "pthread_kill"):
            signal.pthread_kill(_MAIN, number)  # wakes a wait, too
        else:
            _thread.interrupt_main(signal.Signals(number))


#: Each signal, and the other one: Python handles two of one kind as one.
_OTHER = {
    int(signal.SIGINT): int(signal.SIGTERM),
    int(signal.SIGTERM): int(signal.SIGINT),
}
_MAIN = _thread.get_ident()


def _imports(frame: FrameType | None) -> bool:
    """Whether an import is under way in a frame or those that called it."""
    while frame is not None:
        if frame.f_code.co_filename.startswith("<frozen importlib"):
            return True
        frame = frame.f_back
    return False


def _leave(message: str = "") -> NoReturn:
    """End the process, without waiting for threads.

    After a Ctrl-C that came inside `exec`, as in many an import, Python would end by the
    signal, whatever status it is told to end with.
    """
    with suppress(OSError, ValueError, AttributeError):
        if message:
            sys.stderr.write(f"schedule: {message}\n")
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(_INTERRUPTED)


def main() -> None:
    """Run the command that `sys.argv` gives, and exit with its status."""
    interrupts = _Interrupts()
    interrupts.hear()
    try:
        from schedule.cli import main as run

        run()
    except KeyboardInterrupt:
        _leave("interrupted")
    except SystemExit as ended:
        if ended.code == _INTERRUPTED:
            _leave()
        interrupts.end_with(ended.code if isinstance(ended.code, int) else 1)
        raise


if __name__ == "__main__":
    main()
